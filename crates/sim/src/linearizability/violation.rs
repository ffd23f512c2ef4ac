//! What to show of a history that is not linearizable.

use std::fmt::{self, Display};

use super::search::{Found, Numbered, Part, Placed};
use super::specification::Specification;
use super::{Operation, Outcome};

/// Operations of the longest order that a report shows.
const SHOWN: usize = 12;

/// Why a history is not linearizable. Operations are given by their places in the history. What it
/// displays is for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Of the orders on the key at fault that explain all that is in them, one with the most
    /// operations that returned.
    pub order: Vec<usize>,
    /// The operations of which one had to come next, and none could.
    pub stuck: Vec<usize>,
    /// Operations that failed, and without which there is no order, but with which there is one.
    pub failed: Vec<usize>,
    report: String,
}

impl Violation {
    /// From the longest order of a part, and what is found if failed operations may have come too.
    pub(super) fn new<S: Specification>(
        spec: &S,
        key: &S::Key,
        (part, longest): (&Part<'_, S>, &[usize]),
        (all, found): (&Part<'_, S>, &Found),
    ) -> Self {
        let (mut placed, mut state) = (Placed::none_of(part), spec.initial());
        for op in longest {
            placed.insert(part, *op);
            spec.apply(&mut state, &part.operation(*op).1.op);
        }
        let numbered = |ops: &[usize]| ops.iter().map(|op| part.operation(*op)).collect();
        let order: Vec<Numbered<'_, S>> = numbered(longest);
        let mut stuck: Vec<Numbered<'_, S>> = numbered(&placed.candidates(part));
        stuck.retain(|(_, operation)| operation.returned_at().is_some());
        let failed = failed_in(all, found);

        let (count, rest) = (order.len(), order.len().saturating_sub(SHOWN));
        let mut lines = vec![format!("not linearizable, key {key:?}")];
        lines.push(format!("the longest order that explains its results has {count} operations:"));
        if rest > 0 {
            lines.push(format!("  ... {rest} more, and then"));
        }
        lines.extend(order[rest..].iter().map(|(_, operation)| format!("  {operation}")));
        lines.push("one of these has to come next, and none can:".into());
        lines.extend(stuck.iter().map(|(_, op)| format!("  {op}{}", why(spec, &state, op))));
        if !failed.is_empty() {
            lines.push("there would be an order if these had not failed:".into());
        }
        lines.extend(failed.iter().map(|(_, operation)| format!("  {operation}")));

        let places = |numbered: &[Numbered<'_, S>]| numbered.iter().map(|(at, _)| *at).collect();
        Self {
            order: places(&order),
            stuck: places(&stuck),
            failed: places(&failed),
            report: lines.join("\n"),
        }
    }
}

fn failed_in<'history, S: Specification>(
    all: &Part<'history, S>,
    found: &Found,
) -> Vec<Numbered<'history, S>> {
    let order = match found {
        Found::Order(order) => &order[..],
        Found::Longest(_) | Found::Undecided => &[],
    };
    let order = order.iter().map(|op| all.operation(*op));
    order.filter(|(_, operation)| matches!(operation.outcome, Outcome::Failed)).collect()
}

/// Why an operation does not come next.
fn why<S: Specification>(
    spec: &S,
    state: &S::State,
    operation: &Operation<S::Op, S::Result>,
) -> String {
    let expected = spec.apply(&mut state.clone(), &operation.op);
    match &operation.outcome {
        Outcome::Returned { result, .. } if *result != expected => {
            format!(", would return {expected:?}")
        }
        Outcome::Returned { .. } | Outcome::Pending | Outcome::Failed => {
            ", could, but leads no further".into()
        }
    }
}

impl Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.report)
    }
}
