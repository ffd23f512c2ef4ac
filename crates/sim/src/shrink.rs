//! Makes a plan that fails smaller, until everything that is left matters: what goes wrong, then
//! what is asked for, who is there, and how long messages take. A step counts only if the same
//! property still fails; another one would be another story.
//!
//! In the end the plan tells every number that was drawn from its seed, and as many of them as
//! possible are made the least: what is left is a script that depends on no generator.

use crate::{
    event::Violation,
    plan::{Draws, Fault, Plan, Told},
    report::Report,
};

/// With so many other seeds the smallest plan is tried.
pub const OTHER_SEEDS: u64 = 10;

/// How much a plan asks of whoever wants to understand it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    /// What goes wrong.
    pub faults: usize,
    /// Nodes at the beginning.
    pub nodes: u32,
    /// Requests of all clients.
    pub requests: u64,
    /// What happens until the property fails.
    pub events: u64,
}

impl Size {
    fn new(plan: &Plan, events: u64) -> Self {
        let cluster = &plan.cluster;
        Self {
            faults: plan.faults.len(),
            nodes: cluster.full + cluster.witnesses + cluster.read_copies,
            requests: u64::from(plan.workload.clients) * u64::from(plan.workload.requests),
            events,
        }
    }
}

/// What a plan has been shrunk to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shrunk {
    /// The smaller plan.
    pub plan: Plan,
    /// How it fails.
    pub violation: Violation,
    /// How large it was.
    pub before: Size,
    /// How large it is.
    pub after: Size,
    /// How many plans were tried.
    pub runs: u64,
    /// With how many of [`OTHER_SEEDS`] other seeds it failed in the same way, before it told what
    /// it had drawn.
    pub other_seeds: u64,
    /// How many numbers it tells, besides those that are the least possible.
    pub told: usize,
}

/// Shrinks a plan; nothing, if it does not fail. `run` runs a plan: [`run`](crate::run), or
/// [`run_with`](crate::run_with) with another state machine. `progress` is called before each run,
/// with the number of runs so far and the smallest plan, and ends the search by returning false.
///
/// Whatever is left out of a plan changes what is drawn afterwards, and a failure that needs some
/// luck may vanish with it. So each step has `rolls` chances more, with other seeds.
///
/// ```
/// # use synod_sim::{Plan, run, shrink};
/// assert_eq!(shrink(&Plan::of_seed(1), 0, run, |_, _| true), None);
/// ```
pub fn shrink(
    plan: &Plan,
    rolls: u64,
    run: impl Fn(&Plan) -> Report,
    progress: impl FnMut(u64, &Plan) -> bool,
) -> Option<Shrunk> {
    let report = run(plan);
    let violation = report.outcome.err()?;
    let before = Size::new(plan, report.events);
    let survivable = plan.is_survivable();
    let mut search = Search {
        plan: plan.clone(),
        violation,
        size: before,
        survivable,
        rolls,
        runs: 1,
        run,
        progress,
    };
    loop {
        let last = search.plan.clone();
        search.drop_kinds_of_faults();
        search.drop_faults();
        search.edit();
        search.lower();
        if search.plan == last {
            break;
        }
    }
    let other_seeds = search.other_seeds();
    search.tell();
    let Search { plan, violation, size: after, runs, .. } = search;
    let told = plan.draws.as_ref().map_or(0, Draws::len);
    Some(Shrunk { plan, violation, before, after, runs, other_seeds, told })
}

/// What is simpler one way than the other.
const EDITS: [fn(&mut Plan); 26] = [
    |plan| plan.workload.reads = 0,
    |plan| plan.workload.leased = 0,
    |plan| plan.workload.local = 0,
    |plan| plan.workload.retried = 0,
    |plan| plan.workload.restarts = 0,
    |plan| plan.workload.within = 4_000_000,
    |plan| plan.cluster.read_copies = 0,
    |plan| plan.cluster.witnesses = 0,
    |plan| plan.cluster.phase2 = 0,
    |plan| plan.cluster.lease = 0,
    |plan| plan.cluster.true_drift_ppm = 0,
    |plan| plan.cluster.sessions = 1000,
    |plan| plan.cluster.snapshot_every = 1 << 20,
    |plan| plan.cluster.wire = false,
    |plan| plan.cluster.in_phase = false,
    |plan| plan.cluster.batch = 0,
    |plan| plan.cluster.frame = 0,
    |plan| plan.cluster.backlog = 0,
    |plan| plan.cluster.turn = 0,
    |plan| plan.cluster.work = 0,
    |plan| plan.cluster.sync.1 = 0,
    |plan| plan.network.in_order = true,
    |plan| plan.network.late = 0,
    |plan| plan.network.lost = 0,
    |plan| plan.network.doubled = 0,
    |plan| plan.seed = 1,
];

const DOMAINS: [fn(&mut Draws) -> &mut Told; 5] = [
    |draws| &mut draws.network,
    |draws| &mut draws.disk,
    |draws| &mut draws.process,
    |draws| &mut draws.client,
    |draws| &mut draws.operator,
];

/// A number that is better low.
struct Knob {
    least: u64,
    get: fn(&Plan) -> u64,
    set: fn(&mut Plan, u64),
}

macro_rules! knobs {
    ($($least:literal <= $($field:tt).+),+ $(,)?) => {
        [$(Knob {
            least: $least,
            get: |plan| plan.$($field).+.into(),
            set: |plan, value| plan.$($field).+ = value.try_into().unwrap_or(plan.$($field).+),
        }),+]
    };
}

/// In the order in which they are turned down.
const KNOBS: [Knob; 10] = knobs![
    1 <= workload.clients,
    1 <= workload.requests,
    1 <= workload.in_flight,
    1 <= cluster.full,
    1 <= cluster.window,
    1 <= cluster.sync.0,
    0 <= network.latency.1,
    1 <= network.latency.0,
    1 <= workload.think,
    1 <= chaos,
];

/// Parts of a number that are not worth a run.
const FINE: u64 = 16;

struct Search<R, P> {
    /// The smallest plan that fails.
    plan: Plan,
    /// How it fails.
    violation: Violation,
    size: Size,
    /// What the plan destroys can be done without, and that must stay so.
    survivable: bool,
    rolls: u64,
    runs: u64,
    run: R,
    progress: P,
}

impl<R: Fn(&Plan) -> Report, P: FnMut(u64, &Plan) -> bool> Search<R, P> {
    /// Whether another plan is one, and fails in the same way. If so, it is the smallest so far.
    fn accepts(&mut self, plan: &Plan) -> bool {
        let possible = *plan != self.plan
            && plan.validate().is_ok()
            && (plan.is_survivable() || !self.survivable);
        let rolls = if plan.draws.is_none() { self.rolls } else { 0 };
        possible && (0..=rolls).any(|roll| self.fails(plan, plan.seed.wrapping_add(roll)))
    }

    /// Whether a plan fails in the same way with this seed.
    fn fails(&mut self, plan: &Plan, seed: u64) -> bool {
        if !(self.progress)(self.runs, &self.plan) {
            return false;
        }
        self.runs += 1;
        let plan = Plan { seed, ..plan.clone() };
        let report = (self.run)(&plan);
        match report.outcome {
            Err(violation) if is_alike(&violation, &self.violation) => {
                self.size = Size::new(&plan, report.events);
                (self.plan, self.violation) = (plan, violation);
                true
            }
            Err(_) | Ok(()) => false,
        }
    }

    fn accepts_change(&mut self, change: impl FnOnce(&mut Plan)) -> bool {
        let mut plan = self.plan.clone();
        change(&mut plan);
        self.accepts(&plan)
    }

    /// Does without whole kinds of faults: most seeds have some that do not matter.
    fn drop_kinds_of_faults(&mut self) {
        let mut kinds: Vec<_> = self.plan.faults.iter().map(|it| it.fault.name()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        for kind in kinds {
            self.accepts_change(|plan| plan.faults.retain(|it| it.fault.name() != kind));
        }
    }

    /// Delta debugging: does without as many faults at once as possible, then without fewer. In the
    /// end each of them is needed.
    fn drop_faults(&mut self) {
        let mut chunk = self.plan.faults.len();
        while chunk > 0 {
            let (mut from, mut dropped) = (0, false);
            while from < self.plan.faults.len() {
                let end = (from + chunk).min(self.plan.faults.len());
                match self.accepts_change(|plan| drop(plan.faults.drain(from..end))) {
                    true => dropped = true,
                    false => from = end,
                }
            }
            // What was needed before may be needed no more.
            let again = dropped && chunk == 1;
            chunk = if again { 1 } else { chunk / 2 };
        }
    }

    /// Tells what was drawn, and does without as much of it as possible.
    fn tell(&mut self) {
        if self.plan.draws.is_none() && (self.progress)(self.runs, &self.plan) {
            let draws = (self.run)(&self.plan).draws;
            self.runs += 1;
            self.accepts_change(|plan| plan.draws = Some(draws));
        }
        for domain in DOMAINS {
            self.drop_numbers(domain);
        }
    }

    /// Delta debugging, as with faults.
    fn drop_numbers(&mut self, domain: fn(&mut Draws) -> &mut Told) {
        let Some(mut draws) = self.plan.draws.clone() else { return };
        let mut chunk = domain(&mut draws).0.len();
        while chunk > 0 {
            let mut from = 0;
            while from < domain(&mut draws).0.len() {
                let mut fewer = draws.clone();
                let numbers = &mut domain(&mut fewer).0;
                let end = (from + chunk).min(numbers.len());
                numbers.drain(from..end);
                match self.accepts_change(|plan| plan.draws = Some(fewer.clone())) {
                    true => draws = fewer,
                    false => from = end,
                }
            }
            chunk /= 2;
        }
    }

    fn edit(&mut self) {
        for change in EDITS {
            self.accepts_change(change);
        }
    }

    fn lower(&mut self) {
        for Knob { least, get, set } in KNOBS {
            self.bisect(least, get, set);
        }
        for place in 0..self.plan.faults.len() {
            let lasts = |plan: &Plan| {
                let mut fault = plan.faults.get(place).map(|it| it.fault.clone());
                fault.as_mut().and_then(lasts).map_or(0, |time| *time)
            };
            self.bisect(1, lasts, |plan, value| {
                if let Some(time) =
                    plan.faults.get_mut(place).and_then(|it| self::lasts(&mut it.fault))
                {
                    *time = value;
                }
            });
        }
    }

    /// The lowest number that will do, or nearly.
    fn bisect(&mut self, least: u64, get: impl Fn(&Plan) -> u64, set: impl Fn(&mut Plan, u64)) {
        let mut too_low = least;
        if get(&self.plan) <= least || self.accepts_change(|plan| set(plan, least)) {
            return;
        }
        loop {
            let enough = get(&self.plan);
            let between = enough - too_low;
            if between <= 1.max(enough / FINE) {
                return;
            }
            let middle = too_low + between / 2;
            if !self.accepts_change(|plan| set(plan, middle)) {
                too_low = middle;
            }
        }
    }

    fn other_seeds(&mut self) -> u64 {
        let seeds = (1..=OTHER_SEEDS).map(|seed| self.plan.seed.wrapping_add(seed));
        let plans = seeds.map(|seed| Plan { seed, ..self.plan.clone() });
        let alike = |plan: &Plan| {
            let violation = (self.run)(plan).outcome.err();
            violation.is_some_and(|violation| is_alike(&violation, &self.violation))
        };
        plans.filter(alike).count() as u64
    }
}

/// How long something is wrong, if that can be said of it.
fn lasts(fault: &mut Fault) -> Option<&mut u64> {
    match fault {
        Fault::Part { lasts, .. }
        | Fault::Isolate { lasts }
        | Fault::Cut { lasts, .. }
        | Fault::Lose { lasts, .. }
        | Fault::Hold { lasts, .. }
        | Fault::Slow { lasts, .. }
        | Fault::Garble { lasts, .. }
        | Fault::Pause { lasts, .. }
        | Fault::Sluggish { lasts, .. }
        | Fault::SlowDisk { lasts, .. }
        | Fault::HungDisk { lasts, .. }
        | Fault::FullDisk { lasts, .. }
        | Fault::LyingDisk { lasts, .. }
        | Fault::Panic { lasts, .. }
        | Fault::Poison { lasts, .. }
        | Fault::StoppedClock { lasts, .. } => Some(lasts),
        Fault::Crash { down, .. }
        | Fault::PowerCut { down, .. }
        | Fault::LastWords { down, .. }
        | Fault::CrashInDisk { down, .. }
        | Fault::FailingDisk { down, .. }
        | Fault::Rot { down, .. }
        | Fault::Stale { down, .. }
        | Fault::Wipe { down, .. }
        | Fault::WrongPlace { down, .. }
        | Fault::Upgrade { down, .. } => Some(down),
        Fault::Cloned { after, .. } => Some(after),
        Fault::Leap { by, .. } => Some(by),
        Fault::Restore { .. }
        | Fault::Misdirect { .. }
        | Fault::Foreign { .. }
        | Fault::FormerSession { .. }
        | Fault::Reset { .. }
        | Fault::Reconfigure { .. }
        | Fault::HandOver { .. }
        | Fault::Save { .. } => None,
    }
}

/// Whether two violations are of the same property. Assertions share a name; which one it is is
/// told by its words, of which the numbers may differ.
fn is_alike(one: &Violation, other: &Violation) -> bool {
    let words = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
    one.property == other.property
        && (one.property != "assertion" || words(&one.what) == words(&other.what))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        marks::Marks,
        plan::{Left, Planned},
    };

    /// A run that fails as `judge` says.
    fn report(plan: &Plan, judge: impl Fn(&Plan) -> Option<Violation>) -> Report {
        Report {
            outcome: judge(plan).map_or(Ok(()), Err),
            events: plan.chaos,
            trace: 0,
            marks: Marks::default(),
            faults: BTreeMap::new(),
            answered: 0,
            transcript: Vec::new(),
            draws: Draws::default(),
        }
    }

    fn shrunk(plan: &Plan, judge: impl Fn(&Plan) -> Option<Violation>) -> Option<Shrunk> {
        shrink(plan, 0, |plan| report(plan, &judge), |_, _| true)
    }

    fn has(plan: &Plan, what: impl Fn(&Fault) -> bool) -> bool {
        plan.faults.iter().any(|planned| what(&planned.fault))
    }

    /// A plan with something of everything.
    fn crowded() -> Plan {
        let mut plans = (0..).map(Plan::of_seed);
        let mut plan = plans.find(|plan| plan.cluster.full == 5).expect("seeds differ");
        plan.cluster.read_copies = 1;
        plan.faults = (0..100).flat_map(|seed| Plan::of_seed(seed).faults).collect();
        plan.faults.retain(|it| it.at <= plan.chaos && it.fault.destroys().is_none());
        plan
    }

    impl Fault {
        fn pauses(&self, of: u32) -> bool {
            matches!(self, Self::Pause { node, .. } if *node == of)
        }

        fn crashes_with(&self, what: Left) -> bool {
            matches!(self, Self::Crash { left, .. } if *left == what)
        }
    }

    #[test]
    fn what_is_left_is_what_it_takes() {
        let plan = crowded();
        let small = shrunk(&plan, |plan| {
            let needed = has(plan, |fault| fault.pauses(2))
                && has(plan, |fault| fault.crashes_with(Left::Sectors))
                && plan.cluster.full >= 4
                && plan.workload.requests >= 7;
            needed.then(|| Violation::new("G1", "both of them, with four nodes"))
        });
        let small = small.expect("it fails");
        let names: Vec<_> = small.plan.faults.iter().map(|it| it.fault.name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(names.contains(&"pause") && names.contains(&"crash"), "{names:?}");
        assert_eq!((small.plan.cluster.full, small.plan.cluster.read_copies), (4, 0));
        assert_eq!((small.plan.workload.clients, small.plan.workload.requests), (1, 7));
        assert_eq!((small.plan.network.latency, small.plan.seed), ((1, 0), 1));
        assert!(small.plan.faults.iter().all(|it| lasts(&mut it.fault.clone()) == Some(&mut 1)));
        assert_eq!(small.before, Size::new(&plan, plan.chaos));
        assert_eq!(small.after, Size::new(&small.plan, small.plan.chaos));
        assert_eq!(small.other_seeds, OTHER_SEEDS);
    }

    #[test]
    fn another_failure_is_not_followed() {
        let plan = crowded();
        let small = shrunk(&plan, |plan| {
            let both = has(plan, |fault| fault.pauses(1)) && has(plan, |fault| fault.pauses(2));
            Some(Violation::new(if both { "G1" } else { "V1" }, "one or the other"))
        });
        let small = small.expect("it fails");
        assert_eq!((small.violation.property, small.plan.faults.len()), ("G1", 2));
    }

    #[test]
    fn assertions_are_told_apart_by_their_words_but_not_by_their_numbers() {
        let plan = crowded();
        let small = shrunk(&plan, |plan| {
            let (requests, clients) = (plan.workload.requests, plan.workload.clients);
            let words = if plan.cluster.full >= 3 { "R1 at" } else { "A2 at" };
            Some(Violation::new("assertion", format!("{words} {requests}.{clients}")))
        });
        let small = small.expect("it fails");
        assert_eq!(small.violation.what, "R1 at 1.1");
        assert_eq!(small.plan.cluster.full, 3);
    }

    #[test]
    fn what_a_seed_decides_is_left_to_it() {
        let plan = Plan { seed: 77, ..crowded() };
        let small = shrunk(&plan, |plan| {
            plan.seed.is_multiple_of(7).then(|| Violation::new("G1", "a matter of luck"))
        });
        let small = small.expect("it fails");
        // Of the ten seeds after it, only 84.
        assert_eq!((small.plan.faults.len(), small.plan.seed, small.other_seeds), (0, 77, 1));
    }

    #[test]
    fn a_failure_that_needs_luck_has_more_chances() {
        let plan = Plan { seed: 77, ..crowded() };
        // Whatever is changed, another seed is needed.
        let lucky = |plan: &Plan| (plan.faults.len() as u64 + plan.seed).is_multiple_of(5);
        let run = |plan: &Plan| {
            report(plan, |plan| lucky(plan).then(|| Violation::new("G1", "a matter of luck")))
        };
        let plan = (0..5).map(|more| Plan { seed: 77 + more, ..plan.clone() }).find(lucky);
        let small = shrink(&plan.expect("one of five is"), 4, run, |_, _| true);
        assert_eq!(small.expect("it fails").plan.faults, []);
    }

    #[test]
    fn no_more_disks_are_lost_than_can_be() {
        let mut plan = crowded();
        (plan.cluster.full, plan.cluster.witnesses, plan.cluster.phase2) = (5, 0, 0);
        plan.faults.clear();
        for node in [1, 2] {
            plan.faults.push(Planned { at: 1, fault: Fault::Rot { node, down: 1, vote: false } });
        }
        let small = shrunk(&plan, |plan| {
            (plan.faults.len() == 2).then(|| Violation::new("V1", "does not end"))
        });
        // Of three or four nodes, two could not be lost.
        assert_eq!(small.expect("it fails").plan.cluster.full, 5);
    }

    #[test]
    fn a_search_ends_when_it_is_told_to() {
        let plan = crowded();
        let fails = |plan: &Plan| report(plan, |_| Some(Violation::new("G1", "always")));
        let small = shrink(&plan, 0, fails, |runs, _| runs < 3).expect("it fails");
        assert_eq!(small.runs, 3);
        assert_eq!(shrink(&plan, 0, |plan| report(plan, |_| None), |_, _| true), None);
    }
}
