//! One run, and what is known of it afterwards.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use synod::Machine;

use crate::{
    event::{Judged, Violation},
    marks::Marks,
    plan::{Draws, Plan},
    recorder::Recorder,
    trace::Trace,
    workload::{Tallies, Workload},
    world::World,
};

/// Of one seed in so many, the clients' history is also given to the checker of linearizability,
/// which costs about as much as the run.
const SECOND_OPINIONS: u64 = 16;

/// What is known of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The first property that did not hold, if there was one.
    pub outcome: Result<(), Violation>,
    /// How many things happened.
    pub events: u64,
    /// A number that is another one if anything happened otherwise.
    pub trace: u64,
    /// Rare events.
    pub marks: Marks,
    /// How often each fault of the plan came about.
    pub faults: BTreeMap<&'static str, u64>,
    /// How many requests were answered before the faults ended.
    pub answered: u64,
    /// The last things that happened, if they were asked for.
    pub transcript: Vec<String>,
    /// All that was drawn, for a plan to tell.
    pub draws: Draws,
}

/// Runs a plan.
#[must_use]
pub fn run(plan: &Plan) -> Report {
    replay(plan, 0)
}

/// Runs a plan once more, and keeps the last `lines` lines of what happens.
#[must_use]
pub fn replay(plan: &Plan, lines: usize) -> Report {
    again(plan, &tallies(plan), Trace::new(lines, None))
}

/// The same, while somebody looks on. The report is the same, too.
#[must_use]
pub fn record(plan: &Plan, lines: usize, recorder: &mut dyn Recorder) -> Report {
    let tallies = tallies(plan);
    again(plan, &tallies, Trace::new(lines, Some(recorder)))
}

fn again<'w>(plan: &'w Plan, tallies: &'w Tallies, trace: Trace<'w>) -> Report {
    let mut world = World::new(plan, tallies, trace);
    world.history.kept = plan.seed.is_multiple_of(SECOND_OPINIONS);
    let ran = catch_unwind(AssertUnwindSafe(|| world.run()));
    let outcome = judged(ran).and_then(|()| world.history.judge());
    Report::new(outcome, world)
}

/// In some runs, snapshots are longer than one part.
fn tallies(plan: &Plan) -> Tallies {
    Tallies { ballast: if plan.seed.is_multiple_of(11) { 300_000 } else { 0 } }
}

/// Runs a plan with another state machine. An assertion that fails inside of it, or inside of a
/// node, is a violation like any other.
#[must_use]
pub fn run_with<M: Machine>(plan: &Plan, workload: &dyn Workload<M>, lines: usize) -> Report {
    let mut world = World::new(plan, workload, Trace::new(lines, None));
    let ran = catch_unwind(AssertUnwindSafe(|| world.run()));
    Report::new(judged(ran), world)
}

fn judged(ran: Result<Judged, Box<dyn Any + Send>>) -> Judged {
    ran.unwrap_or_else(|panic| Err(Violation::new("assertion", text(&*panic))))
}

impl Report {
    fn new<M: Machine>(outcome: Judged, world: World<'_, M>) -> Self {
        let (events, trace) = (world.events, world.trace.hash());
        let (marks, faults, answered) = (world.marks, world.faults, world.answered);
        let draws = world.streams.draws();
        let transcript = world.trace.into_lines();
        Self { outcome, events, trace, marks, faults, answered, transcript, draws }
    }
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panicked").to_owned()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.transcript.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        match &self.outcome {
            Ok(()) => writeln!(f, "all properties hold, over {} events", self.events),
            Err(violation) => writeln!(f, "violated after {} events: {violation}", self.events),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plans() -> impl Iterator<Item = Plan> {
        (0..40).map(Plan::of_seed)
    }

    #[test]
    fn what_was_drawn_can_be_told() {
        for drawn in plans() {
            let report = run(&drawn);
            let told = Plan { draws: Some(report.draws.clone()), ..drawn };
            assert_eq!(run(&told), report, "seed {}", told.seed);
        }
    }

    #[test]
    fn what_is_not_told_is_not_drawn() {
        for plan in plans() {
            // How it ends is not asked for, and may take long.
            let told = Plan { draws: Some(Draws::default()), healing: 2_000_000, ..plan };
            assert_eq!(run(&told).draws, Draws::default(), "seed {}", told.seed);
        }
    }
}
