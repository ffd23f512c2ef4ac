//! Everything that has come up in the search, once each, under a number: a state of the whole is
//! then a few numbers. What an input makes of a process is worked out once, and looked up after
//! that; most states differ from others in one process alone.

use std::{
    collections::HashMap,
    fmt::Debug,
    hash::{DefaultHasher, Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use synod_paxos::{Envelope, Outbox};

use crate::{
    bounds::{Bounds, Input},
    essence,
    history::{History, Vote},
    process::{Event, Process},
};

/// The number of a process's state, of a message or of a vote.
pub(crate) type Id = u16;

/// A set of messages or votes, in ascending order.
#[derive(Clone, Default, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Set(Vec<Id>);

impl Set {
    /// False if it is there already.
    pub(crate) fn insert(&mut self, id: Id) -> bool {
        let place = self.0.binary_search(&id);
        if let Err(place) = place {
            self.0.insert(place, id);
        }
        place.is_err()
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(Id) -> bool) {
        self.0.retain(|id| keep(*id));
    }

    pub(crate) fn contains(&self, id: Id) -> bool {
        self.0.binary_search(&id).is_ok()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Id> {
        self.0.iter().copied()
    }
}

/// Values under numbers. Two are the same if the hashes of their texts are, as the checker has it
/// with whole states.
#[derive(Debug)]
pub(crate) struct Numbered<T> {
    values: Vec<T>,
    ids: HashMap<u64, u32>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { values: Vec::new(), ids: HashMap::new() }
    }
}

impl<T> Numbered<T> {
    fn number(&mut self, text: &str, value: T) -> u32 {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        *self.ids.entry(hasher.finish()).or_insert_with(|| {
            self.values.push(value);
            u32::try_from(self.values.len() - 1).expect("memory ends before that")
        })
    }

    pub(crate) fn get(&self, id: u32) -> &T {
        &self.values[id as usize]
    }
}

impl<T: Debug> Numbered<T> {
    /// The number of something that is all in its text.
    fn id(&mut self, value: T) -> Id {
        let text = format!("{value:?}");
        Id::try_from(self.number(&text, value)).expect("bounds this wide cannot be searched")
    }
}

/// One event of a step, with the number of its message or vote.
pub(crate) type Numbering = (Event, Option<Id>);

/// What an input makes of a process.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) process: u32,
    pub(crate) events: Vec<Numbering>,
}

#[derive(Default, Debug)]
pub(crate) struct Table {
    pub(crate) processes: Numbered<Process>,
    pub(crate) messages: Numbered<Envelope>,
    pub(crate) votes: Numbered<Vote>,
    steps: HashMap<(u32, Input, u64), Arc<Step>>,
    histories: HashMap<Set, Result<Arc<History>, &'static str>>,
}

impl Table {
    pub(crate) fn process(&mut self, process: Process) -> u32 {
        self.processes.number(&essence::of(&process), process)
    }

    pub(crate) fn message(&mut self, envelope: Envelope) -> Id {
        self.messages.id(envelope)
    }

    /// What `input`, at the time `now`, makes of a process.
    pub(crate) fn step(
        &mut self,
        bounds: &Bounds,
        process: u32,
        input: Input,
        now: u64,
    ) -> Arc<Step> {
        if let Some(step) = self.steps.get(&(process, input, now)) {
            return step.clone();
        }
        let mut next = self.processes.get(process).clone();
        let id = next.node.id();
        let stepped = catch_unwind(AssertUnwindSafe(|| {
            let (time, mut out) = (Duration::from_nanos(now), Outbox::new(id));
            self.hand_over(bounds, &mut next, input, time, &mut out);
            next.settle(bounds.owner, time, &mut out)
        }));
        // A role that stops its process has found something that must not be.
        let events = stepped.unwrap_or_else(|_| vec![Event::Broken("assertion")]);
        let number = |event: Event| {
            let id = match &event {
                Event::Accepted(pvalue) => {
                    Some(self.votes.id(Vote { acceptor: id, pvalue: pvalue.clone() }))
                }
                Event::Sent(envelope) => Some(self.messages.id(envelope.clone())),
                Event::Performed(..)
                | Event::Responds(..)
                | Event::ReadReady(..)
                | Event::Broken(_) => None,
            };
            (event, id)
        };
        let events = events.into_iter().map(number).collect();
        let step = Arc::new(Step { process: self.process(next), events });
        self.steps.insert((process, input, now), step.clone());
        step
    }

    fn hand_over(
        &self,
        bounds: &Bounds,
        process: &mut Process,
        input: Input,
        now: Duration,
        out: &mut Outbox,
    ) {
        match input {
            Input::Deliver(id) => {
                process.deliver(now, self.messages.get(id.into()).clone(), out);
            }
            Input::Campaign => process.campaign(out),
            Input::Request(number) => process.request(bounds.command(number), out),
            Input::Read(id, level) => process.read(now, id, level.into()),
            Input::Retry => process.retry(out),
            Input::Look => process.look(now, out),
            Input::Beat => process.tick(now, out),
            Input::Save => process.save(out),
            Input::Hang => process.hang(),
            Input::Crash => process.crash(bounds.owner, bounds.setup(process.node.id()), out),
        }
    }

    /// What these votes tell.
    pub(crate) fn history(
        &mut self,
        bounds: &Bounds,
        votes: &Set,
    ) -> Result<Arc<History>, &'static str> {
        if let Some(history) = self.histories.get(votes) {
            return history.clone();
        }
        let known = votes.iter().map(|id| self.votes.get(id.into()));
        let history = History::of(&bounds.members, bounds.window, known).map(Arc::new);
        self.histories.insert(votes.clone(), history.clone());
        history
    }
}
