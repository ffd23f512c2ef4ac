//! Clusters that exist only in tests: one whose answers are given by hand, and one that answers
//! after a time that a function tells.

use std::{
    cell::RefCell,
    ops::Range,
    rc::Rc,
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};

use super::{
    Error,
    target::{Completion, Operation, Outcome, Sessions, Target},
};

/// Sessions whose answers are given by hand. Clones are the same sessions.
#[derive(Clone, Default)]
pub(super) struct Script(Rc<RefCell<Exchange>>);

#[derive(Default)]
struct Exchange {
    taken: Vec<(usize, u64)>,
    answers: Vec<Completion>,
}

impl Script {
    /// The client and the ticket of each command so far.
    pub(super) fn taken(&self) -> Vec<(usize, u64)> {
        self.0.borrow().taken.clone()
    }

    pub(super) fn answer(&self, ticket: u64, outcome: Outcome) {
        self.0.borrow_mut().answers.push(Completion { ticket, outcome });
    }
}

impl Sessions for Script {
    fn submit(&mut self, client: usize, _: Operation<'_>, ticket: u64) {
        self.0.borrow_mut().taken.push((client, ticket));
    }

    fn poll(&mut self, _: Duration, completions: &mut Vec<Completion>) {
        completions.append(&mut self.0.borrow_mut().answers);
    }
}

/// Given the time since the start, and when somebody first asked who leads, if anybody has: when a
/// command that is taken now will be answered, and how.
type Service = dyn Fn(Duration, Option<Duration>) -> (Duration, Outcome) + Send + Sync;

/// A cluster in this process.
#[derive(Clone)]
pub(super) struct Fake {
    service: Arc<Service>,
    start: Instant,
    asked: Arc<OnceLock<Duration>>,
}

impl Fake {
    pub(super) fn new(
        service: impl Fn(Duration, Option<Duration>) -> (Duration, Outcome) + Send + Sync + 'static,
    ) -> Self {
        Self { service: Arc::new(service), start: Instant::now(), asked: Arc::default() }
    }

    /// Answers everything after `latency`.
    pub(super) fn steady(latency: Duration) -> Self {
        Self::new(move |now, _| (now + latency, Outcome::Done))
    }
}

impl Fake {
    fn serve(&self) -> (Duration, Outcome) {
        (self.service)(self.start.elapsed(), self.asked.get().copied())
    }
}

impl Target for Fake {
    fn connect(&self, _: Range<usize>) -> Result<Box<dyn Sessions>, Error> {
        Ok(Box::new(FakeSessions { fake: self.clone(), waiting: Vec::new() }))
    }

    fn leader(&self) -> Option<usize> {
        self.asked.get_or_init(|| self.start.elapsed());
        Some(1)
    }
}

struct FakeSessions {
    fake: Fake,
    waiting: Vec<(Duration, Completion)>,
}

impl Sessions for FakeSessions {
    fn submit(&mut self, _: usize, _: Operation<'_>, ticket: u64) {
        let (at, outcome) = self.fake.serve();
        self.waiting.push((at, Completion { ticket, outcome }));
    }

    fn poll(&mut self, timeout: Duration, completions: &mut Vec<Completion>) {
        let start = self.fake.start;
        let patience = start.elapsed() + timeout;
        let first = self.waiting.iter().map(|(at, _)| *at).min();
        let until = first.map_or(patience, |first| first.min(patience));
        thread::sleep(until.saturating_sub(start.elapsed()));
        let now = start.elapsed();
        let ready = self.waiting.extract_if(.., |(at, _)| *at <= now);
        completions.extend(ready.map(|(_, completion)| completion));
    }
}
