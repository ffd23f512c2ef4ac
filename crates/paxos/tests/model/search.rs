//! The cluster as a model for the checker: everything that can happen next, whatever the order.
//!
//! Messages are never taken out of the network: each may be late, or come again. That one is lost
//! needs no action: it is not delivered.

use std::sync::{Mutex, MutexGuard};

use stateright::{Model, Property};
use synod_paxos::{Envelope, Message, NodeId, Slot};

use crate::{
    bounds::{Bounds, Input},
    history::History,
    process::{Event, Process},
    properties::{self, Judged},
    table::{Id, Numbering, Set, Table},
};

/// Everything at one moment, as numbers in the [`Table`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct State {
    pub(crate) processes: Vec<u32>,
    /// All messages that ever left.
    pub(crate) sent: Set,
    /// Those of them that will not come again.
    pub(crate) gone: Set,
    /// All votes that ever were on a disk.
    pub(crate) votes: Set,
    /// How often each chore was done.
    pub(crate) done: Vec<u8>,
    pub(crate) now: u64,
    /// Everything below this slot has been seen by some client.
    pub(crate) seen: u64,
    /// What had been seen when each read began.
    pub(crate) begun: Vec<(u64, u64)>,
    /// The reads that were served.
    pub(crate) served: Vec<u64>,
    /// The rule that was broken.
    pub(crate) broken: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    Deliver(Id),
    Do(usize, NodeId),
    Clock,
}

/// Something that must have happened in some state.
pub(crate) type Sight = (&'static str, fn(&Cluster, &State) -> bool);

/// Which messages go on.
type Carries = fn(&Bounds, &Envelope) -> bool;

pub(crate) struct Cluster {
    pub(crate) bounds: Bounds,
    /// Those that have not been seen so far.
    unseen: Mutex<Vec<Sight>>,
    table: Mutex<Table>,
}

impl Cluster {
    pub(crate) fn new(bounds: Bounds, sights: Vec<Sight>) -> Self {
        Self { bounds, unseen: Mutex::new(sights), table: Mutex::default() }
    }

    /// What should have happened in some state, and did not.
    pub(crate) fn unseen(&self) -> Vec<&'static str> {
        let unseen = self.unseen.lock().expect("the search runs in one thread");
        unseen.iter().map(|(name, _)| *name).collect()
    }

    /// Looks for what has not been seen yet. The checker's own `sometimes` would go on looking.
    fn look(&self, state: &State) {
        let mut unseen = self.unseen.lock().expect("the search runs in one thread");
        unseen.retain(|(_, sight)| !sight(self, state));
    }

    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("the search runs in one thread")
    }

    /// Whether some process is like that.
    pub(crate) fn any(&self, state: &State, like: impl Fn(&Process) -> bool) -> bool {
        let table = self.table();
        state.processes.iter().any(|process| like(table.processes.get(*process)))
    }

    /// Whether the votes tell such a thing.
    pub(crate) fn tells(&self, state: &State, told: impl Fn(&History) -> bool) -> bool {
        self.table().history(&self.bounds, &state.votes).is_ok_and(|history| told(&history))
    }

    fn place(&self, id: NodeId) -> usize {
        let place = self.bounds.processes.iter().position(|(process, _)| *process == id);
        place.expect("only what can arrive is carried")
    }

    /// All clocks advance, and all processes look at them.
    fn pass_time(&self, state: &State) -> State {
        let later = State { now: state.now + 1, ..state.clone() };
        let look = |state: State, (id, _): &(NodeId, _)| {
            self.take(&state, *id, Input::Look, Bounds::carries)
        };
        self.bounds.processes.iter().fold(later, look)
    }

    /// Does what is done before the search begins, and lets every message arrive.
    fn begin(&self, mut state: State) -> State {
        for (now, id, input) in &self.bounds.before {
            state.now = *now;
            state = self.take(&state, *id, *input, Bounds::arrives);
            let mut arrived = Set::default();
            loop {
                let next = state.sent.iter().find(|id| !arrived.contains(*id));
                let Some(id) = next else { break };
                arrived.insert(id);
                let Envelope { from, to, .. } = *self.table().messages.get(id.into());
                if from != to {
                    state = self.take(&state, to, Input::Deliver(id), Bounds::arrives);
                }
            }
        }
        // What arrived late is the search's own affair.
        state.sent.retain(|id| self.bounds.carries(self.table().messages.get(id.into())));
        state
    }

    /// Lets a process take an input. Only messages that are carried go on.
    fn take(&self, state: &State, id: NodeId, input: Input, carries: Carries) -> State {
        let (mut table, mut next) = (self.table(), state.clone());
        let place = self.place(id);
        let step = table.step(&self.bounds, state.processes[place], input, state.now);
        next.processes[place] = step.process;
        if let Input::Read(read, _) = input {
            next.begun.push((read, state.seen));
        }
        for event in &step.events {
            if let Err(rule) = self.happen(&mut table, &mut next, event, carries) {
                next.broken = Some(rule);
                break;
            }
        }
        next
    }

    fn happen(
        &self,
        table: &mut Table,
        state: &mut State,
        (event, id): &Numbering,
        carries: Carries,
    ) -> Judged {
        match event {
            Event::Accepted(_) => drop(id.map(|id| state.votes.insert(id))),
            // What is lost at once is judged and forgotten.
            Event::Sent(envelope) if !carries(&self.bounds, envelope) => {}
            Event::Sent(_) => {
                if !id.is_some_and(|id| state.sent.insert(id)) {
                    return Ok(()); // Said again: it was judged before.
                }
            }
            Event::Performed(..) | Event::Broken(_) => {}
            Event::Responds(response, _) => {
                let history = table.history(&self.bounds, &state.votes)?;
                let command = (response.client, response.cid);
                let mut performed = history.performed.iter();
                let slot = performed.find(|(client, cid, _)| (*client, *cid) == command);
                state.seen = state.seen.max(slot.map_or(0, |(_, _, Slot(slot))| slot + 1));
            }
            Event::ReadReady(read, slot_out) => {
                let begun = state.begun.iter().find(|(id, _)| id == read);
                properties::sees(begun.map(|(_, seen)| Slot(*seen)), *slot_out)?;
                state.served.push(*read);
                state.seen = state.seen.max(slot_out.0);
            }
        }
        let history = table.history(&self.bounds, &state.votes)?;
        let sent: Vec<&Envelope> =
            state.sent.iter().map(|id| table.messages.get(id.into())).collect();
        properties::judge(event, &sent, &history)
    }
}

/// Whoever is sent the same batch again proposes it again, in another slot, and so on for ever.
fn comes_once(message: &Message) -> bool {
    matches!(message, Message::Forward(_))
}

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut table = self.table();
        let ids = self.bounds.processes.iter().map(|(id, _)| *id);
        let processes = ids.map(|id| table.process(Process::new(self.bounds.setup(id)))).collect();
        let mut sent = Set::default();
        for envelope in &self.bounds.sent {
            sent.insert(table.message(envelope.clone()));
        }
        drop(table);
        vec![self.begin(State {
            processes,
            sent,
            gone: Set::default(),
            votes: Set::default(),
            done: vec![0; self.bounds.chores.len()],
            now: 0,
            seen: 0,
            begun: Vec::new(),
            served: Vec::new(),
            broken: None,
        })]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.is_some() {
            return;
        }
        let table = self.table();
        // What a process has told itself has arrived.
        let travels = |id: &Id| {
            let Envelope { from, to, .. } = table.messages.get((*id).into());
            from != to && !state.gone.contains(*id)
        };
        actions.extend(state.sent.iter().filter(travels).map(Action::Deliver));
        for (i, chore) in self.bounds.chores.iter().enumerate() {
            if state.done[i] < chore.times {
                actions.extend(chore.to.iter().map(|id| Action::Do(i, *id)));
            }
        }
        if state.now < self.bounds.clock {
            actions.push(Action::Clock);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = match action {
            Action::Deliver(id) => {
                let to = self.table().messages.get(id.into()).to;
                self.take(state, to, Input::Deliver(id), Bounds::carries)
            }
            Action::Do(chore, id) => {
                self.take(state, id, self.bounds.chores[chore].input, Bounds::carries)
            }
            Action::Clock => self.pass_time(state),
        };
        if next == *state {
            return None;
        }
        match action {
            Action::Do(chore, _) => next.done[chore] += 1,
            Action::Deliver(id) if comes_once(&self.table().messages.get(id.into()).message) => {
                next.gone.insert(id);
            }
            Action::Deliver(_) | Action::Clock => {}
        }
        self.look(&next);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("safe", |_, state: &State| state.broken.is_none())]
    }

    fn format_action(&self, action: &Action) -> String {
        match action {
            Action::Deliver(id) => {
                let table = self.table();
                let Envelope { from, to, message } = table.messages.get((*id).into());
                format!("{from} → {to}: {message}")
            }
            Action::Do(chore, id) => format!("{id}: {:?}", self.bounds.chores[*chore].input),
            Action::Clock => "time passes".into(),
        }
    }
}
