//! A lock service with fencing tokens, put through everything that can go wrong (C6).
//!
//! Whoever is given a lock gets a token with it. The simulator looks at the replies: whoever has
//! asked later has the higher token, and no token is given twice. That one lock has one holder at a
//! time is the state machine's own affair, and is looked at in its states.

use std::{collections::BTreeMap, thread};

use serde::{Deserialize, Serialize};
use synod::{Machine, StateMachine};
use synod_sim::{Plan, Workload, explore_with, run_with};

/// Seeds that a test runs.
const SEEDS: u64 = 25;

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Command {
    Acquire { lock: u8, holder: u32 },
    Release { lock: u8, holder: u32 },
}

/// Which mistake a service makes.
trait Mistake: Clone + Default + Send + Sync + 'static {
    /// The token that comes after `last`, in a service that has given `held` away.
    fn next(last: u64, held: usize) -> u64;
}

/// A service without one.
#[derive(Clone, Default)]
struct Sound;

impl Mistake for Sound {
    fn next(last: u64, _: usize) -> u64 {
        last + 1
    }
}

/// Tokens count the locks that are taken, so that they fall when one is given back.
#[derive(Clone, Default)]
struct Counted;

impl Mistake for Counted {
    fn next(_: u64, held: usize) -> u64 {
        held as u64 + 1
    }
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Locks<K> {
    last: u64,
    held: BTreeMap<u8, (u32, u64)>,
    #[serde(skip)]
    mistake: std::marker::PhantomData<K>,
}

impl<K: Mistake> StateMachine for Locks<K> {
    type Command = Command;
    /// The token of whoever was given the lock.
    type Reply = Option<u64>;
    type Query = u8;
    type Answer = Option<(u32, u64)>;

    fn apply(&mut self, command: Command) -> Option<u64> {
        match command {
            Command::Acquire { lock, .. } if self.held.contains_key(&lock) => None,
            Command::Acquire { lock, holder } => {
                self.last = K::next(self.last, self.held.len());
                self.held.insert(lock, (holder, self.last));
                Some(self.last)
            }
            Command::Release { lock, holder } => {
                self.held.retain(|taken, (by, _)| (*taken, *by) != (lock, holder));
                None
            }
        }
    }

    fn query(&self, lock: u8) -> Option<(u32, u64)> {
        self.held.get(&lock).copied()
    }
}

/// Three people and two locks.
struct People;

impl<K: Mistake> Workload<Locks<K>> for People {
    fn machine(&self) -> Locks<K> {
        Locks::default()
    }

    fn command(&self, rng: &mut fastrand::Rng) -> Command {
        let (lock, holder) = (rng.u8(0..2), rng.u32(0..3));
        if rng.bool() {
            Command::Acquire { lock, holder }
        } else {
            Command::Release { lock, holder }
        }
    }

    fn query(&self, rng: &mut fastrand::Rng) -> u8 {
        rng.u8(0..2)
    }

    fn token(&self, reply: &[u8]) -> Option<u64> {
        <Locks<K> as Machine>::decode_reply(reply).flatten()
    }
}

#[test]
fn tokens_only_rise() {
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    let going = |so_far: &synod_sim::Summary| so_far.failed.is_empty();
    let summary = explore_with::<Locks<Sound>>(&People, 0, SEEDS, jobs, going);
    if let Some((seed, violation)) = summary.failed.iter().next() {
        panic!("seed {seed} violates {violation}");
    }
}

#[test]
fn a_service_that_gives_a_token_twice_is_found_out() {
    let run = |seed| run_with::<Locks<Counted>>(&Plan::of_seed(seed), &People, 0).outcome;
    let violation = (0..SEEDS).find_map(|seed| run(seed).err()).expect("tokens fall");
    assert_eq!(violation.property, "C6", "{violation}");
}
