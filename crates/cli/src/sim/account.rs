//! One run: what was planned, what happened, and what did not hold.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use synod_sim::{PROPERTIES, Plan, Report, Violation};

use super::{Found, Source, schedule::Schedule, table::count};

/// Everything that can be said about a run.
pub(super) struct Account<'a> {
    source: &'a Source,
    pub(super) report: Report,
}

/// A run as an object to compute with.
#[derive(Serialize)]
pub(super) struct Outcome<'a> {
    plan: &'a Plan,
    version: String,
    violated: Option<Violated<'a>>,
    events: u64,
    /// Rare events, by name.
    marks: BTreeMap<&'static str, u64>,
    trace: String,
}

/// A property that does not hold.
#[derive(Serialize)]
pub(super) struct Violated<'a> {
    property: &'static str,
    means: &'static str,
    what: &'a str,
}

impl<'a> Violated<'a> {
    pub(super) fn new(violation: &'a Violation) -> Self {
        let Violation { property, what } = violation;
        Self { property, means: meaning(property), what }
    }
}

impl<'a> Account<'a> {
    pub(super) fn new(source: &'a Source, report: Report) -> Self {
        Self { source, report }
    }

    pub(super) fn found(&self) -> Found {
        if self.report.outcome.is_ok() { Found::Nothing } else { Found::Something }
    }

    pub(super) fn json(&self) -> Outcome<'_> {
        Outcome {
            plan: &self.source.plan,
            version: version(),
            violated: self.report.outcome.as_ref().err().map(Violated::new),
            events: self.report.events,
            marks: self.report.marks.iter().collect(),
            trace: hex(self.report.trace),
        }
    }
}

impl fmt::Display for Account<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Source { name, arguments, plan, shrunk } = self.source;
        let Report { outcome, events, trace, transcript, .. } = &self.report;
        writeln!(f, "{name}, with synod {}\n\n{}", version(), Schedule(plan))?;
        if !transcript.is_empty() {
            transcript.iter().try_for_each(|line| writeln!(f, "{line}"))?;
            writeln!(f)?;
        }
        let (events, trace) = (count(*events), hex(*trace));
        let Err(violation) = outcome else {
            return writeln!(f, "all properties hold, over {events} events; trace {trace}");
        };
        let Violation { property, what } = violation;
        writeln!(f, "{property} is violated after {events} events; trace {trace}")?;
        writeln!(f, "  it says: {}", meaning(property))?;
        writeln!(f, "  but:     {what}")?;
        writeln!(f, "all of it:   synod sim {arguments} --trace-text")?;
        if *shrunk {
            return Ok(());
        }
        writeln!(f, "less of it:  synod sim {arguments} --shrink --write smaller.toml")
    }
}

/// What a property says.
pub(super) fn meaning(property: &str) -> &'static str {
    let known = PROPERTIES.iter().find(|(name, _)| *name == property);
    known.map_or("no assertion fails in a node or in a state machine", |(_, meaning)| meaning)
}

/// The release, and the commit if it is known: elsewhere a seed may draw another plan.
pub(super) fn version() -> String {
    let release = env!("CARGO_PKG_VERSION");
    match option_env!("SYNOD_COMMIT") {
        Some(commit) => format!("{release} (commit {commit})"),
        None => release.to_owned(),
    }
}

pub(super) fn hex(trace: u64) -> String {
    format!("{trace:016x}")
}

/// A plan as a file, which says what it is about.
pub(super) fn script(name: &str, violation: Option<&Violation>, plan: &Plan) -> String {
    let mut about = format!("{name}, of synod {}", version());
    if let Some(Violation { property, what }) = violation {
        about += &format!("\n{property}, {}:\n{what}", meaning(property));
    }
    let about: Vec<String> = about.lines().map(|line| format!("# {line}\n")).collect();
    format!("{}\n{}", about.concat(), plan.to_text())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use synod_sim::Marks;

    use super::*;

    fn violated() -> Report {
        Report {
            outcome: Err(Violation { property: "G3", what: "n1 and n2 differ\nat slot 4".into() }),
            events: 12_345,
            answered: 0,
            trace: 0xab,
            marks: Marks::default(),
            faults: BTreeMap::new(),
            transcript: vec!["0.1 n1 -> n2 p1a".into()],
            draws: synod_sim::plan::Draws::default(),
        }
    }

    #[test]
    fn what_was_violated_is_told_by_name_meaning_and_place() {
        let source = Source::of_seed(5);
        let account = Account::new(&source, violated());
        let text = account.to_string();
        for expected in [
            "seed 5, with synod ",
            "[workload]\n",
            "n1 -> n2 p1a\n",
            "G3 is violated after 12,345 events; trace 00000000000000ab\n",
            "it says: all replicas that are at one slot have performed the same\n",
            "n1 and n2 differ",
            "synod sim --seed 5 --trace-text\n",
        ] {
            assert!(text.contains(expected), "{expected}\n\n{text}");
        }
        assert_eq!(account.found(), Found::Something);
    }

    #[test]
    fn what_holds_is_told_briefly() {
        let source = Source::of_seed(5);
        let account = Account::new(&source, Report { outcome: Ok(()), ..violated() });
        assert!(account.to_string().contains("all properties hold, over 12,345 events"));
        assert_eq!(account.found(), Found::Nothing);
    }

    #[test]
    fn each_property_has_a_meaning_of_its_own() {
        assert_ne!(meaning("G1"), meaning("assertion"));
        assert!(meaning("assertion").contains("assertion"));
    }

    #[test]
    fn a_script_says_what_it_is_about_and_can_be_read_again() {
        let (plan, report) = (Plan::of_seed(5), violated());
        let text = script("seed 5", report.outcome.as_ref().err(), &plan);
        assert!(text.starts_with("# seed 5, of synod "), "{text}");
        assert!(text.contains("\n# G3, all replicas") && text.contains("\n# at slot 4\n"));
        assert_eq!(Plan::from_text(&text), Ok(plan));
    }
}
