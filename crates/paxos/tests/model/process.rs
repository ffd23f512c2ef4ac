//! One process with its disk, as a value; and what one input makes of it.
//!
//! The owner here is as quick as one can be: a record is on disk at once, and what waited for it
//! leaves at once. Where a real disk is slower, its messages are late, as any message may be. Only
//! a crash can tell a slow disk from a slow network: it loses what was not yet written. So before
//! a process crashes its disk *hangs*: from then on nothing reaches it, and nothing that waits for
//! it leaves.

use std::time::Duration;

use synod_paxos::{
    Command, Effect, Envelope, Level, Message, Node, NodeId, Outbox, PValue, Record, Response,
    Setup, Slot, shelf::Shelf,
};

use crate::{disk::Disk, machine::Machine, properties};

/// What can be seen of a step from outside, in order.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A pvalue is accepted, and on disk.
    Accepted(PValue),
    /// A message leaves.
    Sent(Envelope),
    /// The replica has performed everything below this slot, and this is its state.
    Performed(Slot, Vec<u8>),
    /// A client is answered.
    Responds(Response, Slot),
    /// A read may be evaluated, everything below this slot being performed.
    ReadReady(u64, Slot),
    /// A process has broken a rule that concerns nobody else.
    Broken(&'static str),
}

/// How a process goes about its disk. All but the first are mistakes that must be found, by what
/// comes of them: only the first is judged by what it does itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    Careful,
    /// Sends what should wait for the disk.
    Eager,
    /// Loses promises in a crash.
    ForgetsPromises,
    /// Loses votes in a crash.
    ForgetsVotes,
    /// Starts its life anew after a crash, as if it had never run.
    ForgetsEverything,
}

#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) node: Node<Machine>,
    pub(crate) disk: Disk,
    shelf: Shelf,
    /// Nothing reaches the disk any more.
    hangs: bool,
    /// A crash has lost something.
    pub(crate) lost: bool,
    /// It took over a snapshot from another.
    pub(crate) installed: bool,
}

impl Process {
    pub(crate) fn new(setup: Setup) -> Self {
        let mut out = Outbox::new(setup.id);
        let node = Node::format(setup, Machine::default(), &mut out);
        let (disk, shelf) = (Disk::default(), Shelf::default());
        let (hangs, lost, installed) = (false, false, false);
        let mut process = Self { node, disk, shelf, hangs, lost, installed };
        process.settle(Owner::Careful, Duration::ZERO, &mut out);
        process
    }

    pub(crate) fn deliver(&mut self, now: Duration, envelope: Envelope, out: &mut Outbox) {
        self.node.step(now, envelope.from, envelope.message, out);
    }

    pub(crate) fn request(&mut self, command: Command, out: &mut Outbox) {
        self.node.request(command, out);
    }

    pub(crate) fn campaign(&mut self, out: &mut Outbox) {
        self.node.campaign(out);
    }

    pub(crate) fn read(&mut self, now: Duration, id: u64, level: Level) {
        self.node.read(now, id, level);
    }

    /// Whatever it is time for after a long while.
    pub(crate) fn retry(&mut self, out: &mut Outbox) {
        let later = self.node.deadline() + Duration::from_secs(1);
        self.node.tick(later, out);
    }

    pub(crate) fn tick(&mut self, now: Duration, out: &mut Outbox) {
        self.node.tick(now, out);
    }

    /// Learns what time it is, by an answer to nothing that was asked.
    pub(crate) fn look(&mut self, now: Duration, out: &mut Outbox) {
        let nothing = Message::ReadReply { round: 0, highest: Slot(0) };
        self.node.step(now, self.node.id(), nothing, out);
    }

    /// Writes a snapshot.
    pub(crate) fn save(&mut self, out: &mut Outbox) {
        let slot = self.node.replica().slot_out();
        if self.hangs || self.disk.snapshot.as_ref().is_some_and(|saved| saved.slot >= slot) {
            return;
        }
        self.disk.save(slot, self.node.replica().frame(), self.node.replica().state().clone());
        self.node.saved(slot, out);
    }

    pub(crate) fn hang(&mut self) {
        self.hangs = true;
    }

    /// Dies, if its disk hangs, and starts again.
    pub(crate) fn crash(&mut self, owner: Owner, setup: Setup, out: &mut Outbox) {
        if !std::mem::take(&mut self.hangs) {
            return;
        }
        self.shelf = Shelf::default();
        self.lost |= std::mem::take(&mut self.disk.missed);
        if owner == Owner::ForgetsEverything {
            self.node = Node::format(setup, Machine::default(), out);
            return;
        }
        let kept = |record: &&Record| match owner {
            Owner::ForgetsPromises => !matches!(record, Record::Adopted(_)),
            Owner::ForgetsVotes => !matches!(record, Record::Accepted(_)),
            Owner::Careful | Owner::Eager | Owner::ForgetsEverything => true,
        };
        let records = self.disk.log.iter().filter(kept).cloned();
        let saved = self.disk.snapshot.as_ref();
        let (base, state) = match saved {
            Some(saved) => (Some(saved.frame.as_slice()), saved.state.clone()),
            None => (None, Machine::default()),
        };
        let node = Node::recover(setup, base, state, records, out);
        self.node = node.expect("its first life is on its disk");
    }

    /// Carries out what the node asks for, and what follows from that, until it has no more to do.
    pub(crate) fn settle(&mut self, owner: Owner, now: Duration, out: &mut Outbox) -> Vec<Event> {
        let mut events = Vec::new();
        let before = self.node.replica().slot_out();
        loop {
            let own = self.carry_out(owner, out, &mut events);
            for message in own {
                self.node.step(now, self.node.id(), message, out);
            }
            self.node.flush(out);
            if out.is_empty() {
                break;
            }
        }
        let at = self.node.replica().slot_out();
        if at != before {
            events.push(Event::Performed(at, self.node.replica().state().performed.clone()));
        }
        events
    }

    /// Returns what the process has to say to itself.
    fn carry_out(
        &mut self,
        owner: Owner,
        out: &mut Outbox,
        events: &mut Vec<Event>,
    ) -> Vec<Message> {
        let mut own = Vec::new();
        let effects: Vec<Effect> = out.drain().collect();
        for effect in effects {
            let at = self.node.replica().slot_out();
            match effect {
                Effect::Persist(record) => self.persist(owner, record, events),
                Effect::SendWhenDurable(..) if self.hangs && owner != Owner::Eager => {}
                Effect::Send(to, message) | Effect::SendWhenDurable(to, message) => {
                    if to == self.node.id() {
                        own.push(message.clone());
                    }
                    self.send(owner, to, message, events);
                }
                Effect::Respond(response) => events.push(Event::Responds(response, at)),
                Effect::ReadReady(id) => events.push(Event::ReadReady(id, at)),
                Effect::Retired(_) => {}
                Effect::ServeSnapshot { to, slot, offset } => {
                    let state = |machine: &Machine| machine.performed.clone();
                    let part = self.shelf.serve(self.node.replica(), (slot, offset), state);
                    self.send(owner, to, part, events);
                }
                Effect::KeepChunk { chunk, complete } => {
                    if let Some((frame, performed)) = self.shelf.keep(&chunk, complete) {
                        let state = Machine { performed };
                        let installed = self.node.install(&frame, state, out);
                        self.installed |= installed.expect("it was made by a process like this");
                    }
                }
            }
        }
        own
    }

    fn persist(&mut self, owner: Owner, record: Record, events: &mut Vec<Event>) {
        if self.hangs {
            self.disk.missed |= !record.can_wait();
            return;
        }
        if owner == Owner::Careful
            && let Err(rule) = properties::may_write(&self.disk, self.node.id(), &record)
        {
            events.push(Event::Broken(rule));
        }
        if let Record::Accepted(pvalue) = &record {
            events.push(Event::Accepted(pvalue.clone()));
        }
        self.disk.append(record);
    }

    fn send(&mut self, owner: Owner, to: NodeId, message: Message, events: &mut Vec<Event>) {
        let from = self.node.id();
        if owner == Owner::Careful
            && let Err(rule) = properties::may_send(self, &message)
        {
            events.push(Event::Broken(rule));
        }
        events.push(Event::Sent(Envelope { from, to, message }));
    }
}
