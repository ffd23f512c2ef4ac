//! Clients that use the store all the time, each on a thread, and write down what they see.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::history::{Action, Clock, History, Operation};
use crate::store::{Outcome, Store};

/// Numbers from which a client takes the values that it writes.
const VALUES: u64 = 1_000_000;
/// When everything is well, an operation that has not returned by then never will.
const PATIENCE: Duration = Duration::from_secs(60);
/// Writes that have to succeed before it is said that they do: more than were in flight before.
const PROGRESS: u64 = 20;

/// What the clients do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) clients: usize,
    pub(crate) registers: usize,
    pub(crate) lists: usize,
    /// Each client thinks for so long before its next operation.
    pub(crate) pause: Duration,
    /// Each value of a register has so many bytes more.
    pub(crate) padding: usize,
    pub(crate) seed: u64,
}

impl Default for Plan {
    fn default() -> Self {
        let pause = Duration::from_millis(3);
        Self { clients: 8, registers: 40, lists: 15, pause, padding: 0, seed: 1 }
    }
}

impl Plan {
    /// All keys of registers.
    pub(crate) fn register_keys(self) -> impl Iterator<Item = String> {
        (0..self.registers).map(|number| format!("r{number}"))
    }

    /// All keys of lists.
    pub(crate) fn list_keys(self) -> impl Iterator<Item = String> {
        (0..self.lists).map(|number| format!("l{number}"))
    }
}

/// What a client uses its session for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Habit {
    ReadsAndWrites,
    /// It never waits for a write, so it sees all that its node is ready to tell.
    Reads,
}

#[derive(Default)]
struct Progress {
    stop: AtomicBool,
    /// Operations that returned a result.
    done: AtomicU64,
    /// Those of them that change something.
    written: AtomicU64,
    refused: AtomicU64,
    /// Operations whose outcome is unknown.
    unknown: AtomicU64,
}

/// Clients at work.
pub(crate) struct Load {
    clock: Clock,
    progress: Arc<Progress>,
    clients: Vec<JoinHandle<History>>,
}

impl Load {
    /// Starts the clients; `connect` opens the session of each, by its number from 0 on.
    pub(crate) fn start(plan: Plan, connect: impl Fn(usize) -> (Box<dyn Store>, Habit)) -> Self {
        let (clock, progress) = (Clock::start(), Arc::new(Progress::default()));
        let client = |number| {
            let client = Client::new(number, plan, clock, connect(number));
            let progress = Arc::clone(&progress);
            let builder = thread::Builder::new().name(format!("client {number}"));
            builder.spawn(move || client.run(&progress)).expect("threads are available")
        };
        let clients = (0..plan.clients).map(client).collect();
        Self { clock, progress, clients }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    fn written(&self) -> u64 {
        self.progress.written.load(Ordering::Relaxed)
    }

    fn done(&self) -> u64 {
        self.progress.done.load(Ordering::Relaxed)
    }

    /// Waits until writes succeed.
    ///
    /// # Errors
    /// When that takes longer than `within`: how many did.
    pub(crate) fn progress(&self, within: Duration) -> Result<(), String> {
        let (start, before) = (Instant::now(), self.written());
        while self.written() < before + PROGRESS {
            if start.elapsed() > within {
                let Progress { done, refused, unknown, .. } = &*self.progress;
                return Err(format!(
                    "{} writes within {within:?}; in all {done:?} were done, {refused:?} \
                     refused, {unknown:?} are unknown",
                    self.written() - before
                ));
            }
            self.must_run();
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Fails if anything at all is answered in this time, after what was on its way before.
    pub(crate) fn must_stand_still(&self, when: &str, time: Duration) {
        thread::sleep(Duration::from_millis(500));
        let before = self.done();
        thread::sleep(time);
        self.must_run();
        assert_eq!(self.done() - before, 0, "{when}: operations were answered");
    }

    /// Waits until operations are answered with a definite "not done".
    pub(crate) fn must_be_refused(&self, when: &str, within: Duration) {
        let refused = || self.progress.refused.load(Ordering::Relaxed);
        let (start, before) = (Instant::now(), refused());
        while refused() < before + PROGRESS {
            assert!(start.elapsed() < within, "{when}: nothing is refused");
            self.must_run();
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Fails early if a client has failed.
    fn must_run(&self) {
        assert!(!self.clients.iter().any(JoinHandle::is_finished), "a client has stopped");
    }

    /// Stops the clients, and returns what they saw.
    pub(crate) fn finish(self) -> History {
        self.progress.stop.store(true, Ordering::Relaxed);
        let mut history = History::default();
        let deadline = Instant::now() + PATIENCE;
        for client in self.clients {
            while !client.is_finished() {
                let name = client.thread().name().unwrap_or_default();
                assert!(Instant::now() < deadline, "{name} waits for ever for an answer");
                thread::sleep(Duration::from_millis(5));
            }
            history.extend(client.join().expect("a client that fails has said why"));
        }
        let Progress { done, refused, unknown, .. } = &*self.progress;
        eprintln!("operations done: {done:?}, refused: {refused:?}, unknown: {unknown:?}");
        history
    }
}

struct Client {
    number: usize,
    plan: Plan,
    clock: Clock,
    store: Box<dyn Store>,
    habit: Habit,
    rng: Rng,
    next_value: u64,
    /// What each register held when this client looked last.
    known: HashMap<String, u64>,
    history: History,
}

impl Client {
    fn new(number: usize, plan: Plan, clock: Clock, session: (Box<dyn Store>, Habit)) -> Self {
        let ordinal = u64::try_from(number).expect("few clients") + 1;
        let (store, habit) = session;
        Self {
            number,
            plan,
            clock,
            store,
            habit,
            rng: Rng::with_seed(plan.seed.wrapping_mul(1_000).wrapping_add(ordinal)),
            next_value: ordinal * VALUES,
            known: HashMap::new(),
            history: History::default(),
        }
    }

    fn run(mut self, progress: &Progress) -> History {
        while !progress.stop.load(Ordering::Relaxed) {
            self.operate(progress);
            thread::sleep(self.plan.pause);
        }
        self.history
    }

    fn operate(&mut self, progress: &Progress) {
        let register = format!("r{}", self.rng.usize(0..self.plan.registers));
        let list = format!("l{}", self.rng.usize(0..self.plan.lists));
        self.next_value += 1;
        let value = self.next_value;
        let first = match self.habit {
            Habit::ReadsAndWrites => 0,
            Habit::Reads => 75,
        };
        let called = self.clock.now();
        let (key, attempted, outcome) = match self.rng.u8(first..100) {
            0..30 => (register.clone(), Action::Write(value), self.write(&register, value)),
            30..50 => self.swap(register, value),
            50..75 => (list.clone(), Action::Append(value), self.append(&list, value)),
            75..93 => (register.clone(), Action::Read(None), self.read(&register)),
            _ => (list.clone(), Action::List(vec![]), self.list(&list)),
        };
        let returned = self.clock.now();
        let changes = attempted.brings().is_some();
        let client = self.number;
        let record = |action, returned| Operation { client, key, action, called, returned };
        match outcome {
            Outcome::Done(action) => {
                self.history.operations.push(record(action, Some(returned)));
                progress.done.fetch_add(1, Ordering::Relaxed);
                progress.written.fetch_add(u64::from(changes), Ordering::Relaxed);
            }
            Outcome::NotDone(_) => {
                self.history.refused.extend(attempted.brings());
                progress.refused.fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Unknown => {
                if changes {
                    self.history.operations.push(record(attempted, None));
                }
                progress.unknown.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn write(&mut self, key: &str, value: u64) -> Outcome<Action> {
        let text = format!("{value}{}", " ".repeat(self.plan.padding));
        self.store.put(key, &text).map(|()| Action::Write(value))
    }

    fn swap(&mut self, key: String, new: u64) -> (String, Action, Outcome<Action>) {
        let expect = self.known.get(&key).copied();
        let padded = |value: u64| format!("{value}{}", " ".repeat(self.plan.padding));
        let outcome = self.store.swap(&key, expect.map(padded).as_deref(), &padded(new));
        let action = |swapped| Action::Swap { expect, new, swapped };
        if outcome == Outcome::Done(true) {
            self.known.insert(key.clone(), new);
        }
        (key, action(None), outcome.map(|swapped| action(Some(swapped))))
    }

    fn read(&mut self, key: &str) -> Outcome<Action> {
        self.store.get(key).map(|text| {
            let value = text.map(|text| number(key, &text));
            self.known.extend(value.map(|value| (key.to_owned(), value)));
            Action::Read(value)
        })
    }

    fn append(&mut self, key: &str, item: u64) -> Outcome<Action> {
        self.store.append(key, &format!("{item} ")).map(|()| Action::Append(item))
    }

    fn list(&mut self, key: &str) -> Outcome<Action> {
        list(self.store.as_mut(), key).map(Action::List)
    }
}

/// Reads a register: its value, without the padding.
pub(crate) fn register(store: &mut dyn Store, key: &str) -> Outcome<Option<u64>> {
    store.get(key).map(|text| text.map(|text| number(key, &text)))
}

/// Reads a list.
pub(crate) fn list(store: &mut dyn Store, key: &str) -> Outcome<Vec<u64>> {
    store.get(key).map(|text| {
        let text = text.unwrap_or_default();
        text.split_whitespace().map(|item| number(key, item)).collect()
    })
}

fn number(key: &str, text: &str) -> u64 {
    let value = text.trim_end().parse();
    value.unwrap_or_else(|_| panic!("{key} holds {text:?}, which nobody wrote"))
}
