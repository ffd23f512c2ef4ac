//! For whoever has a state machine: it is put through what real clusters go through.

use std::{env, fmt, marker::PhantomData, thread};

use fastrand::Rng;
use synod::{Machine, StateMachine};

use crate::{
    event::Violation, explore::explore_with, plan::Plan, report::run_with, workload::Workload,
};

/// What is asked of a user's state machine.
struct Asked<S, C, Q> {
    command: C,
    query: Q,
    machine: PhantomData<fn() -> S>,
}

impl<S, C, Q> Workload<S> for Asked<S, C, Q>
where
    S: StateMachine,
    C: Fn(&mut Rng) -> S::Command + Sync,
    Q: Fn(&mut Rng) -> S::Query + Sync,
{
    fn machine(&self) -> S {
        S::default()
    }

    fn command(&self, rng: &mut Rng) -> <S as Machine>::Command {
        (self.command)(rng)
    }

    fn query(&self, rng: &mut Rng) -> <S as Machine>::Query {
        (self.query)(rng)
    }
}

/// A seed with which a state machine fails, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failed {
    /// The seed.
    pub seed: u64,
    /// What did not hold.
    pub violation: Violation,
    /// The end of what happened.
    pub transcript: Vec<String>,
}

/// How many lines of a transcript are kept.
pub(crate) const LINES: usize = 60;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.transcript.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        writeln!(f, "with seed {}: {}", self.seed, self.violation)?;
        write!(f, "run it again with SYNOD_FROM={} SYNOD_SEEDS=1", self.seed)
    }
}

impl std::error::Error for Failed {}

/// Runs a state machine on `seeds` simulated clusters, with commands and queries as the two
/// functions draw them. Nodes crash, disks fail, networks lose, leaders change, snapshots travel:
/// whatever happens, all copies must stay the same, and every command be performed once.
///
/// What this finds in a state machine is what makes copies differ: a clock, randomness, the order
/// of a `HashMap`, something left out of the snapshot, a panic. Equal states must have equal
/// snapshots, too, byte for byte: those of a `HashMap` are not, even if it is only looked up in.
///
/// `SYNOD_SEEDS` asks for more seeds, `SYNOD_FROM` for others.
///
/// # Errors
/// The first seed that fails.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use synod::StateMachine;
///
/// #[derive(Clone, Default, Serialize, Deserialize)]
/// struct Counter(u64);
///
/// impl StateMachine for Counter {
///     type Command = u64;
///     type Reply = u64;
///     type Query = ();
///     type Answer = u64;
///     fn apply(&mut self, add: u64) -> u64 {
///         self.0 = self.0.wrapping_add(add);
///         self.0
///     }
///     fn query(&self, (): ()) -> u64 {
///         self.0
///     }
/// }
///
/// synod_sim::check::<Counter>(3, |rng| rng.u64(..), |_| ())?;
/// # Ok::<(), Box<synod_sim::Failed>>(())
/// ```
///
/// A map whose order is another one in each process does not go unnoticed:
///
/// ```
/// use std::collections::HashMap;
///
/// use serde::{Deserialize, Serialize};
/// use synod::StateMachine;
///
/// #[derive(Clone, Default, Serialize, Deserialize)]
/// struct Purses(HashMap<u8, u64>);
///
/// impl StateMachine for Purses {
///     type Command = (u8, u64);
///     type Reply = Option<u8>;
///     type Query = ();
///     type Answer = ();
///     /// Pays in, and says whose purse is the first: in which order?
///     fn apply(&mut self, (who, coins): (u8, u64)) -> Option<u8> {
///         *self.0.entry(who).or_default() += coins;
///         self.0.keys().next().copied()
///     }
///     fn query(&self, (): ()) {}
/// }
///
/// let command = |rng: &mut fastrand::Rng| (rng.u8(..), rng.u64(..100));
/// let failed = synod_sim::check::<Purses>(10, command, |_| ()).unwrap_err();
/// assert_eq!(failed.violation.property, "G8");
/// ```
pub fn check<S: StateMachine>(
    seeds: u64,
    command: impl Fn(&mut Rng) -> S::Command + Sync,
    query: impl Fn(&mut Rng) -> S::Query + Sync,
) -> Result<(), Box<Failed>> {
    let workload = Asked::<S, _, _> { command, query, machine: PhantomData };
    let (first, seeds) = (number("SYNOD_FROM", 0), number("SYNOD_SEEDS", seeds));
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    let summary = explore_with(&workload, first, seeds, jobs, |so_far| so_far.failed.is_empty());
    let Some((seed, violation)) = summary.failed.into_iter().next() else { return Ok(()) };
    let again = run_with(&Plan::of_seed(seed), &workload, LINES);
    Err(Box::new(Failed { seed, violation, transcript: again.transcript }))
}

pub(crate) fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
