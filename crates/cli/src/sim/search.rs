//! Many runs: what happened in them, how often, and whether all went well.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use synod_sim::{MARKS, Summary};

use super::{
    account::{Violated, hex, version},
    table::{align, count, each, rate, table},
};

/// What a search has come to.
pub(super) struct Search<'a> {
    pub(super) summary: &'a Summary,
    pub(super) from: u64,
    pub(super) jobs: usize,
    /// Each rare event has to have occurred.
    pub(super) all_marks: bool,
}

/// The same as an object to compute with.
#[derive(Serialize)]
pub(super) struct Totals<'a> {
    version: String,
    from: u64,
    seeds: u64,
    events: u64,
    seconds: f64,
    jobs: usize,
    events_per_s_and_core: u64,
    faults: &'a BTreeMap<&'static str, u64>,
    marks: BTreeMap<&'static str, u64>,
    never: Vec<&'static str>,
    failed: BTreeMap<u64, Violated<'a>>,
    trace: String,
}

impl<'a> Search<'a> {
    /// Whether nothing was violated, and enough has happened.
    pub(super) fn is_well(&self) -> bool {
        let enough = !self.all_marks || self.summary.marks.missing().is_empty();
        self.summary.failed.is_empty() && enough
    }

    fn rate(&self) -> u64 {
        each(rate(self.summary).into(), self.jobs as u128)
    }

    pub(super) fn json(&self) -> Totals<'a> {
        let Summary { seeds, events, took, marks, faults, failed, trace } = self.summary;
        Totals {
            version: version(),
            from: self.from,
            seeds: *seeds,
            events: *events,
            seconds: took.as_secs_f64(),
            jobs: self.jobs,
            events_per_s_and_core: self.rate(),
            faults,
            marks: marks.iter().collect(),
            never: marks.missing(),
            failed: failed.iter().map(|(seed, it)| (*seed, Violated::new(it))).collect(),
            trace: hex(*trace),
        }
    }
}

impl fmt::Display for Search<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { seeds, events, took, marks, faults, failed, trace } = self.summary;
        let mut totals = table();
        for (name, value) in [
            ("seeds", format!("{}, from {}", count(*seeds), self.from)),
            ("events", count(*events)),
            ("seconds", format!("{:.1}", took.as_secs_f64())),
            ("events per second and core", count(self.rate())),
            ("trace", hex(*trace)),
        ] {
            totals.add_row([name, &value]);
        }
        align(&mut totals, 1..2);
        let kinds = faults.iter().map(|(name, count)| (*name, *count));
        let rare = MARKS.into_iter().map(|name| (name, marks.get(name)));
        writeln!(f, "{totals}")?;
        writeln!(f, "{}", self.occurrences("faults", kinds))?;
        writeln!(f, "{}", self.occurrences("rare events", rare.filter(|(_, count)| *count > 0)))?;
        let missing = marks.missing();
        if !missing.is_empty() {
            writeln!(f, "never occurred: {}", missing.join(", "))?;
        }
        for (seed, violation) in failed {
            writeln!(f, "seed {seed} violates {violation}")?;
        }
        Ok(())
    }
}

impl Search<'_> {
    fn occurrences(
        &self,
        title: &str,
        counts: impl Iterator<Item = (&'static str, u64)>,
    ) -> comfy_table::Table {
        let mut rows = table();
        rows.set_header([title, "count", "per million seeds"]);
        for (name, number) in counts {
            let share = each(u128::from(number) * 1_000_000, self.summary.seeds.into());
            rows.add_row([name.to_owned(), count(number), count(share)]);
        }
        align(&mut rows, 1..3);
        rows
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use synod_sim::Violation;

    use super::*;

    fn summary() -> Summary {
        Summary {
            seeds: 500,
            events: 3_000_000,
            took: Duration::from_secs(10),
            faults: BTreeMap::from([("crash", 250)]),
            ..Summary::default()
        }
    }

    #[test]
    fn totals_and_rates_are_told_and_what_never_occurred_is_named() {
        let summary = summary();
        let search = Search { summary: &summary, from: 7, jobs: 2, all_marks: false };
        let text = search.to_string();
        for expected in ["500, from 7 │", "150,000 │", "│ crash  ┆   250 ┆           500,000 │"]
        {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
        assert!(text.contains("never occurred: elected, preempted"), "{text}");
        assert!(search.is_well());
        assert!(!Search { all_marks: true, ..search }.is_well());
    }

    #[test]
    fn a_seed_that_fails_is_named() {
        let mut summary = summary();
        summary.failed.insert(11, Violation { property: "G1", what: "two decrees".into() });
        let search = Search { summary: &summary, from: 0, jobs: 1, all_marks: false };
        assert!(search.to_string().contains("seed 11 violates G1: two decrees"));
        let json = serde_json::to_value(search.json()).unwrap();
        assert_eq!(json["failed"]["11"]["property"], "G1");
        assert_eq!(json["never"].as_array().map(Vec::len), Some(MARKS.len()));
        assert!(!search.is_well());
    }
}
