//! How much smaller a plan has become.

use std::fmt;

use serde::Serialize;
use synod_sim::{OTHER_SEEDS, Shrunk, Size};

use super::{
    account::Outcome,
    table::{align, count, table},
};

/// What shrinking has come to.
pub(super) struct Comparison<'a>(pub(super) &'a Shrunk);

/// The same as an object to compute with.
#[derive(Serialize)]
pub(super) struct Shrinking<'a> {
    before: Measures,
    after: Measures,
    runs: u64,
    other_seeds_alike: u64,
    other_seeds: u64,
    told: usize,
    outcome: Outcome<'a>,
}

#[derive(Serialize)]
struct Measures {
    faults: usize,
    nodes: u32,
    requests: u64,
    events: u64,
}

impl From<Size> for Measures {
    fn from(Size { faults, nodes, requests, events }: Size) -> Self {
        Self { faults, nodes, requests, events }
    }
}

impl<'a> Comparison<'a> {
    pub(super) fn json(&self, outcome: Outcome<'a>) -> Shrinking<'a> {
        let Shrunk { before, after, runs, other_seeds, told, .. } = *self.0;
        Shrinking {
            before: before.into(),
            after: after.into(),
            runs,
            other_seeds_alike: other_seeds,
            other_seeds: OTHER_SEEDS,
            told,
            outcome,
        }
    }
}

impl fmt::Display for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shrunk { before, after, runs, other_seeds, told, .. } = self.0;
        let mut sizes = table();
        sizes.set_header(["", "before", "after"]);
        for (name, before, after) in [
            ("faults", before.faults as u64, after.faults as u64),
            ("nodes", before.nodes.into(), after.nodes.into()),
            ("requests", before.requests, after.requests),
            ("events", before.events, after.events),
        ] {
            sizes.add_row([name.to_owned(), count(before), count(after)]);
        }
        align(&mut sizes, 1..3);
        writeln!(f, "{sizes}")?;
        writeln!(f, "after {runs} runs; of {OTHER_SEEDS} other seeds, {other_seeds} fail alike")?;
        writeln!(f, "it tells {told} numbers that were drawn; all others are the least possible")
    }
}

#[cfg(test)]
mod tests {
    use synod_sim::{Plan, Violation};

    use super::*;

    #[test]
    fn both_sizes_are_told() {
        let before = Size { faults: 31, nodes: 5, requests: 400, events: 98_765 };
        let after = Size { faults: 1, nodes: 3, requests: 2, events: 99 };
        let violation = Violation { property: "G1", what: String::new() };
        let plan = Plan::of_seed(1);
        let (runs, other_seeds, told) = (77, 10, 4);
        let shrunk = Shrunk { plan, violation, before, after, runs, other_seeds, told };
        let text = Comparison(&shrunk).to_string();
        for expected in
            ["│ faults   ┆     31 ┆     1 │", "98,765 ┆    99", "77 runs", "10 fail", "4 numbers"]
        {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
    }
}
