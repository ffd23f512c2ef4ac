//! For whoever changes a state machine: two versions of it in one cluster, as in an upgrade of one
//! node after the other.

use std::{marker::PhantomData, thread};

use fastrand::Rng;
use synod::{
    StateMachine,
    machine::{Machine, Restore, Snapshot},
};

use crate::{
    check::{Failed, LINES, number},
    explore::explore_runs,
    plan::Plan,
    report::run_with,
    workload::Workload,
};

/// One of two versions.
enum Version<Old, New> {
    Old(Old),
    New(New),
}

impl<Old: StateMachine, New: StateMachine> Machine for Version<Old, New> {
    type Command = New::Command;
    type Reply = New::Reply;
    type Query = New::Query;
    type Answer = New::Answer;

    fn apply(&mut self, command: &[u8], reply: &mut Vec<u8>) {
        match self {
            Self::Old(machine) => Machine::apply(machine, command, reply),
            Self::New(machine) => Machine::apply(machine, command, reply),
        }
    }

    fn query(&self, query: &[u8], answer: &mut Vec<u8>) {
        match self {
            Self::Old(machine) => Machine::query(machine, query, answer),
            Self::New(machine) => Machine::query(machine, query, answer),
        }
    }

    fn snapshot(&self) -> Snapshot {
        match self {
            Self::Old(machine) => machine.snapshot(),
            Self::New(machine) => machine.snapshot(),
        }
    }

    fn restore(&self) -> Restore<Self> {
        match self {
            Self::Old(machine) => {
                let restore = machine.restore();
                Box::new(|from| restore(from).map(Self::Old))
            }
            Self::New(machine) => {
                let restore = machine.restore();
                Box::new(|from| restore(from).map(Self::New))
            }
        }
    }

    fn encode_command(command: &New::Command, out: &mut Vec<u8>) {
        New::encode_command(command, out);
    }

    fn decode_reply(reply: &[u8]) -> Option<New::Reply> {
        New::decode_reply(reply)
    }

    fn encode_query(query: &New::Query, out: &mut Vec<u8>) {
        New::encode_query(query, out);
    }

    fn decode_answer(answer: &[u8]) -> Option<New::Answer> {
        New::decode_answer(answer)
    }
}

/// What is asked of a cluster that is upgraded.
struct Upgraded<Old, New, C, Q, S> {
    command: C,
    query: Q,
    switch: S,
    machines: PhantomData<fn() -> (Old, New)>,
}

impl<Old, New, C, Q, S> Workload<Version<Old, New>> for Upgraded<Old, New, C, Q, S>
where
    Old: StateMachine,
    New: StateMachine,
    C: Fn(&mut Rng) -> New::Command + Sync,
    Q: Fn(&mut Rng) -> New::Query + Sync,
    S: Fn() -> New::Command + Sync,
{
    fn machine(&self) -> Version<Old, New> {
        Version::Old(Old::default())
    }

    fn upgraded(&self) -> Version<Old, New> {
        Version::New(New::default())
    }

    fn command(&self, rng: &mut Rng) -> New::Command {
        (self.command)(rng)
    }

    fn query(&self, rng: &mut Rng) -> New::Query {
        (self.query)(rng)
    }

    fn switch(&self, _: &mut Rng) -> New::Command {
        (self.switch)()
    }
}

/// As [`check`](crate::check), on clusters whose nodes are restarted with another version of the
/// state machine, one after the other. Both versions must read each other's snapshots. `command`
/// draws what clients send all the time: both must be able to read it, and must answer alike.
/// `switch` is sent when all nodes run the new version, so that is where what it does may begin to
/// differ.
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
/// /// Counts twice as fast: on some nodes earlier than on others.
/// #[derive(Clone, Default, Serialize, Deserialize)]
/// struct Faster(u64);
///
/// # macro_rules! counts { ($name:ident, $by:literal) => {
/// impl StateMachine for $name {
///     type Command = u64;
///     type Reply = u64;
///     type Query = ();
///     type Answer = u64;
///     fn apply(&mut self, add: u64) -> u64 {
///         self.0 = self.0.wrapping_add(add.wrapping_mul($by));
///         self.0
///     }
///     fn query(&self, (): ()) -> u64 {
///         self.0
///     }
/// }
/// # } }
/// # counts!(Counter, 1);
/// # counts!(Faster, 2);
///
/// let command = |rng: &mut fastrand::Rng| rng.u64(1..);
/// let failed = synod_sim::check_upgrade::<Counter, Faster>(3, command, |_| (), || 1).unwrap_err();
/// assert_eq!(failed.violation.property, "G8");
/// ```
pub fn check_upgrade<Old: StateMachine, New: StateMachine>(
    seeds: u64,
    command: impl Fn(&mut Rng) -> New::Command + Sync,
    query: impl Fn(&mut Rng) -> New::Query + Sync,
    switch: impl Fn() -> New::Command + Sync,
) -> Result<(), Box<Failed>> {
    let workload = Upgraded::<Old, New, _, _, _> { command, query, switch, machines: PhantomData };
    let (first, seeds) = (number("SYNOD_FROM", 0), number("SYNOD_SEEDS", seeds));
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    let run = |seed, lines| run_with(&Plan::of_seed(seed).with_upgrade(), &workload, lines);
    let summary =
        explore_runs(first, seeds, jobs, |so_far| so_far.failed.is_empty(), |seed| run(seed, 0));
    let Some((seed, violation)) = summary.failed.into_iter().next() else { return Ok(()) };
    Err(Box::new(Failed { seed, violation, transcript: run(seed, LINES).transcript }))
}
