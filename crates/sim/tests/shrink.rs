//! State machines with a mistake in them, and how little it takes to show it in the end.

use fastrand::Rng;
use serde::{Deserialize, Serialize};
use synod::{Machine, StateMachine};
use synod_sim::{
    Plan, Report, Shrunk, Workload,
    plan::{Fault, Left, Planned},
    run_with, shrink,
};

/// Draws the commands of any state machine here.
struct Numbers;

impl<M: Machine<Command = u64, Query = ()> + Default> Workload<M> for Numbers {
    fn machine(&self) -> M {
        M::default()
    }

    fn command(&self, rng: &mut Rng) -> u64 {
        rng.u64(1..1000)
    }

    fn query(&self, _: &mut Rng) {}
}

/// The first of these plans with which a state machine fails, shrunk.
fn smallest<M>(mut plans: impl Iterator<Item = Plan>) -> (Plan, Shrunk)
where
    M: Machine<Command = u64, Query = ()> + Default,
{
    let run = |plan: &Plan| -> Report { run_with::<M>(plan, &Numbers, 0) };
    let failing = |plan: &Plan| run(plan).outcome.is_err();
    let plan = plans.find(failing).expect("the mistake shows with some seed");
    let shrunk = shrink(&plan, 0, run, |_, _| true).expect("it still does");
    // It is a story of its own, which can be told again from a file.
    let read = Plan::from_text(&shrunk.plan.to_text()).expect("it was written by itself");
    let report = run(&read);
    assert_eq!(report.outcome, Err(shrunk.violation.clone()));
    assert_eq!(report.events, shrunk.after.events);
    let draws = read.draws.as_ref().expect("it tells what was drawn");
    assert_eq!(draws.len(), shrunk.told);
    let other = Plan { seed: read.seed + 1, ..read };
    assert_eq!(run(&other), report, "the seed means nothing any more");
    (plan, shrunk)
}

/// A sum, part of which is left out of snapshots.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Forgetful {
    sum: u64,
    #[serde(skip)]
    count: u64,
}

impl StateMachine for Forgetful {
    type Command = u64;
    type Reply = u64;
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, number: u64) -> u64 {
        self.sum = self.sum.wrapping_add(number);
        self.count += 1;
        self.sum.wrapping_mul(self.count)
    }

    fn query(&self, (): ()) -> u64 {
        self.sum
    }
}

/// Three nodes crash again and again, and make snapshots all the time.
fn restarts(seed: u64) -> Plan {
    let mut plan = Plan::of_seed(seed);
    plan.chaos = 1_000_000;
    let cluster = &mut plan.cluster;
    (cluster.full, cluster.witnesses, cluster.read_copies, cluster.phase2) = (3, 0, 0, 0);
    cluster.snapshot_every = 300;
    (plan.workload.clients, plan.workload.requests) = (3, 30);
    let crash = |node| Fault::Crash { node, left: Left::All, down: 10_000 };
    let crashes = (1..=6).map(|n| Planned { at: u64::from(n) * 150_000, fault: crash(n % 3 + 1) });
    plan.faults = crashes.collect();
    plan
}

#[test]
fn what_is_left_out_of_a_snapshot_takes_one_restart() {
    let (_, shrunk) = smallest::<Forgetful>((0..20).map(restarts));
    assert_eq!(shrunk.violation.property, "G8");
    assert!(shrunk.plan.faults.len() <= 1, "{}", shrunk.plan);
    assert!(shrunk.told < 10, "{shrunk:?}");
    assert_eq!(shrunk.plan.workload.clients, 1, "{}", shrunk.plan);
    assert!(shrunk.after.requests < shrunk.before.requests / 4, "{shrunk:?}");
}

/// A sum that cannot bear the third multiple of ten.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Superstitious {
    tens: u64,
}

impl StateMachine for Superstitious {
    type Command = u64;
    type Reply = ();
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, number: u64) {
        self.tens += u64::from(number.is_multiple_of(10));
        assert!(self.tens < 3, "that makes {}", self.tens);
    }

    fn query(&self, (): ()) -> u64 {
        self.tens
    }
}

#[test]
fn a_poisoned_command_takes_no_fault_at_all() {
    let (_, shrunk) = smallest::<Superstitious>((0..20).map(Plan::of_seed));
    assert_eq!(shrunk.violation.property, "assertion");
    assert_eq!(shrunk.plan.faults, []);
    assert_eq!((shrunk.after.nodes, shrunk.plan.workload.clients), (1, 1), "{}", shrunk.plan);
}
