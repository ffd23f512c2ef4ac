//! Clients, history and verdict together, on a store in memory that may have a bug.

use std::cell::Cell;
use std::sync::{Arc, Mutex};

use fastrand::Rng;

use super::*;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    StaleReads,
    LosesAppends,
    DoublesAppends,
    DoesWhatItRefused,
    LosesWrites,
    SwapsBlindly,
}

/// A store that is correct but for its bug, which shows once in a hundred times. Some outcomes
/// are unknown, some operations are refused.
struct Memory {
    bug: Bug,
    rng: Rng,
    content: Arc<Mutex<BTreeMap<String, String>>>,
    old: BTreeMap<String, String>,
}

impl Memory {
    fn open(bug: Bug, content: &Arc<Mutex<BTreeMap<String, String>>>, seed: u64) -> Box<dyn Store> {
        let (rng, old) = (Rng::with_seed(seed), BTreeMap::new());
        Box::new(Self { bug, rng, content: Arc::clone(content), old })
    }

    fn shows(&mut self, bug: Bug) -> bool {
        self.bug == bug && self.rng.u8(0..100) == 0
    }

    fn change<T>(&mut self, change: impl FnOnce(&mut BTreeMap<String, String>) -> T) -> Outcome<T> {
        let fate = self.rng.u8(0..100);
        let refused = fate == 0;
        if refused && self.bug != Bug::DoesWhatItRefused || fate == 1 {
            return if refused { Outcome::NotDone("busy".into()) } else { Outcome::Unknown };
        }
        let result = change(&mut self.content.lock().unwrap());
        match fate {
            0 => Outcome::NotDone("busy".into()),
            2 => Outcome::Unknown,
            _ => Outcome::Done(result),
        }
    }
}

impl Store for Memory {
    fn put(&mut self, key: &str, value: &str) -> Outcome<()> {
        let lost = self.shows(Bug::LosesWrites);
        self.change(|content| {
            if !lost {
                content.insert(key.into(), value.into());
            }
        })
    }

    fn swap(&mut self, key: &str, expect: Option<&str>, value: &str) -> Outcome<bool> {
        let blind = self.shows(Bug::SwapsBlindly);
        self.change(|content| {
            let fits = blind || content.get(key).map(String::as_str) == expect;
            if fits {
                content.insert(key.into(), value.into());
            }
            fits
        })
    }

    fn append(&mut self, key: &str, text: &str) -> Outcome<()> {
        let times = match (self.shows(Bug::LosesAppends), self.shows(Bug::DoublesAppends)) {
            (true, _) => 0,
            (_, true) => 2,
            (false, false) => 1,
        };
        self.change(|content| {
            content.entry(key.into()).or_default().push_str(&text.repeat(times));
        })
    }

    fn get(&mut self, key: &str) -> Outcome<Option<String>> {
        let content = self.content.lock().unwrap().clone();
        let old = std::mem::replace(&mut self.old, content.clone());
        let source = if self.shows(Bug::StaleReads) { old } else { content };
        Outcome::Done(source.get(key).cloned())
    }
}

/// What is said of a store with this bug after some thousand operations.
fn judged(bug: Bug) -> Result<(), String> {
    let content = Arc::default();
    let pause = Duration::from_micros(200);
    let plan = Plan { registers: 6, lists: 3, pause, padding: 7, ..Plan::default() };
    let load = Load::start(plan, |number| {
        let habit = if number % 3 == 2 { Habit::Reads } else { Habit::ReadsAndWrites };
        (Memory::open(bug, &content, number as u64 + 1), habit)
    });
    for _ in 0..150 {
        load.progress(BOUND).unwrap();
    }
    let clock = load.clock();
    let mut history = load.finish();
    let end = read_all(Memory::open(Bug::None, &content, 0).as_mut(), plan, clock, 100);
    let lists = lists_of(&end);
    assert_eq!(lists.len(), plan.lists);
    history.extend(end);
    let unknown = history.operations.iter().filter(|operation| operation.returned.is_none());
    assert!(unknown.count() > 0 && !history.refused.is_empty() && history.operations.len() > 1000);
    verdict(&history, &lists)
}

#[test]
fn a_store_without_bugs_passes() {
    judged(Bug::None).unwrap();
}

#[test]
fn every_bug_is_found() {
    let bugs = [
        (Bug::StaleReads, "not linearizable"),
        (Bug::LosesAppends, "lost: "),
        (Bug::DoublesAppends, "2 times: "),
        (Bug::DoesWhatItRefused, "never would be"),
        (Bug::LosesWrites, "not linearizable"),
        (Bug::SwapsBlindly, "not linearizable"),
    ];
    for (bug, expected) in bugs {
        let why = judged(bug).expect_err("a bug that nobody notices");
        assert!(why.contains(expected), "{bug:?}: {why}");
    }
}

#[test]
fn standing_still_and_hanging_are_noticed() {
    let content = Arc::default();
    let open = |_| (Memory::open(Bug::None, &content, 1), Habit::ReadsAndWrites);
    let load = Load::start(Plan::default(), open);
    load.progress(BOUND).unwrap();
    let guard = content.lock().unwrap();
    load.must_stand_still("while it is locked", Duration::from_millis(100));
    load.progress(Duration::from_millis(100)).unwrap_err();
    drop(guard);
    load.progress(BOUND).unwrap();
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        load.must_stand_still("while it works", Duration::from_millis(100));
    }));
    assert!(failed.is_err());
    load.finish();
}

fn status(slot: u64, hash: u64) -> Option<Status> {
    Some(Status { slot, hash, leader: None, disk_full: false })
}

#[test]
fn nodes_converge_when_all_say_the_same() {
    let asked = Cell::new(0);
    let late = |id| {
        asked.set(asked.get() + 1);
        match id {
            3 if asked.get() < 10 => None,
            3 if asked.get() < 20 => status(8, 1),
            _ => status(9, 2),
        }
    };
    assert_eq!(Some(converge(&[1, 2, 3], BOUND, late)), status(9, 2));
}

#[test]
#[should_panic(expected = "at one slot the states differ")]
fn states_that_differ_are_reported_at_once() {
    converge(&[1, 2, 3], BOUND, |id| status(9, id / 3));
}

#[test]
#[should_panic(expected = "not the same within")]
fn nodes_that_stay_behind_are_reported() {
    converge(&[1, 2], Duration::from_millis(50), |id| status(id, 1));
}
