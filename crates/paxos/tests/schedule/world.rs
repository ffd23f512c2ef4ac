//! A cluster in one thread: processes with their disks, what is in flight between them, clients,
//! and virtual time. It carries out effects as an owner must, and shows everything to the
//! properties.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use synod_paxos::{
    Effect, Level, Message, Node, NodeId, Outbox, Outcome, PValue, Record, Response, Roles,
    Schedule, Setup, Slot,
    message::SnapshotChunk,
    shelf::{self, Shelf},
    wire,
};

use crate::{
    callers::Caller,
    disk::{Disk, Pending},
    event::{Event, Position, Violation},
    history::{History, Set, bit},
    machine::Machine,
    marks::Marks,
    network::{Network, Packet},
    options::Options,
    properties::{self, Property},
    trace::Trace,
};

pub(crate) type Judged = Result<(), Violation>;

pub(crate) struct Process {
    roles: Roles,
    /// `None` while it is down.
    pub(crate) node: Option<Node<Machine>>,
    disk: Disk,
    shelf: Shelf,
    /// Another's snapshot that is being restored.
    restoring: Option<(Vec<u8>, Vec<u8>)>,
    started: Duration,
    /// Until when it does nothing, without being down.
    pub(crate) paused: Duration,
    /// The rate of its clock, in millionths.
    rate: u32,
    /// The slot_out of the last snapshot that was taken.
    taken: Slot,
    /// No later configuration needs it.
    retired: bool,
    /// It will not come back.
    pub(crate) stopped: bool,
}

pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) rng: Rng,
    pub(crate) now: Duration,
    schedule: Schedule,
    pub(crate) processes: BTreeMap<NodeId, Process>,
    pub(crate) ids: Vec<NodeId>,
    pub(crate) network: Network,
    pub(crate) callers: Vec<Caller>,
    pub(crate) history: History,
    properties: Vec<Box<dyn Property>>,
    pub(crate) marks: Marks,
    trace: Trace,
    responded: BTreeSet<(synod_paxos::ClientId, u64)>,
    next_read: u64,
    pub(crate) next_client: u64,
    /// The acceptors whose disks have lost a pvalue.
    lossy: Set,
    /// No faults any more.
    pub(crate) calm: bool,
}

fn position(node: &Node<Machine>) -> Position {
    let state = node.replica().state();
    Position { slot_out: node.replica().slot_out(), applied: state.applied, hash: state.hash }
}

impl World {
    pub(crate) fn new(options: Options, rng: Rng, trace: Trace) -> Self {
        let (members, window) = (options.members.clone(), options.window);
        Self {
            schedule: Schedule::new(members.clone(), window),
            history: History::new(members, window, options.sessions),
            options,
            rng,
            now: Duration::ZERO,
            processes: BTreeMap::new(),
            ids: Vec::new(),
            network: Network::default(),
            callers: Vec::new(),
            properties: properties::all(),
            marks: Marks::default(),
            trace,
            responded: BTreeSet::new(),
            next_read: 0,
            next_client: 0,
            lossy: 0,
            calm: false,
        }
    }

    pub(crate) fn happen(&mut self, event: &Event<'_>) -> Judged {
        properties::judge(&mut self.properties, &mut self.history, event)
    }

    pub(crate) fn note(&self, line: impl FnOnce() -> String) {
        self.trace.note(line);
    }

    /// A process that has never run, on an empty disk.
    pub(crate) fn add(&mut self, id: NodeId, roles: Roles) -> Judged {
        self.note(|| format!("{id} is new"));
        let mut out = Outbox::new(id);
        let node =
            Node::format(self.setup(id, roles), Machine::new(self.options.ballast), &mut out);
        let process = Process {
            roles,
            node: Some(node),
            disk: Disk::default(),
            shelf: Shelf::default(),
            restoring: None,
            started: self.now,
            paused: Duration::ZERO,
            rate: self.a_rate(),
            taken: Slot::FIRST,
            retired: false,
            stopped: false,
        };
        self.processes.insert(id, process);
        self.ids.push(id);
        self.begin(id, Slot::FIRST, out)
    }

    /// The rate of a clock in millionths: often as wrong as it may be.
    fn a_rate(&mut self) -> u32 {
        const RIGHT: u32 = 1_000_000;
        let drift = self.options.drift_ppm;
        match self.rng.u32(0..3) {
            0 => RIGHT - drift,
            1 => RIGHT + drift,
            _ => self.rng.u32(RIGHT - drift..=RIGHT + drift),
        }
    }

    pub(crate) fn is_paused(&self, id: NodeId) -> bool {
        !self.calm && self.processes.get(&id).is_some_and(|process| process.paused > self.now)
    }

    fn setup(&self, id: NodeId, roles: Roles) -> Setup {
        Setup {
            roles,
            timing: self.options.timing,
            sessions: self.options.sessions,
            ..Setup::new(id, self.schedule.clone())
        }
    }

    fn begin(&mut self, id: NodeId, saved: Slot, mut out: Outbox) -> Judged {
        let Some(node) = self.node(id) else { return Ok(()) };
        let at = position(node);
        self.happen(&Event::Started { node: id, saved, at })?;
        self.carry_out(id, at, out.drain().collect())?;
        self.sync(id)
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<&Node<Machine>> {
        self.processes.get(&id)?.node.as_ref()
    }

    fn disk(&mut self, id: NodeId) -> &mut Disk {
        &mut self.processes.get_mut(&id).expect("every process has a disk").disk
    }

    /// Hands one input to a process, if it is up, and carries out what it asks for.
    pub(crate) fn call(
        &mut self,
        id: NodeId,
        input: impl FnOnce(&mut Node<Machine>, Duration, &mut Outbox),
    ) -> Judged {
        let (now, flush) = (self.now, self.options.flush_at_once || self.calm);
        if self.is_paused(id) {
            return Ok(());
        }
        let Some(process) = self.processes.get_mut(&id) else { return Ok(()) };
        let Some(node) = process.node.as_mut() else { return Ok(()) };
        let (before, led) = (node.replica().slot_out(), node.leader().leading());
        let mut out = Outbox::new(id);
        let local = now.saturating_sub(process.started) * process.rate / 1_000_000;
        input(node, local, &mut out);
        if flush {
            node.flush(&mut out);
        }
        let at = position(node);
        self.marks.steps += 1;
        self.marks.preemptions += u64::from(led && !node.leader().leading());
        if at.slot_out != before {
            self.marks.slots_performed += at.slot_out.0 - before.0;
            self.note(|| format!("{id} slot_out={}", at.slot_out));
            self.happen(&Event::Performed { node: id, at })?;
        }
        self.carry_out(id, at, out.drain().collect())?;
        self.take_snapshot(id)?;
        if self.options.sync_at_once || self.calm { self.sync(id) } else { Ok(()) }
    }

    fn carry_out(&mut self, id: NodeId, at: Position, effects: Vec<Effect>) -> Judged {
        for effect in effects {
            self.note(|| format!("{id} {effect}"));
            match effect {
                Effect::Persist(record) => self.disk(id).write(Pending::Record(record)),
                Effect::Send(to, message) => {
                    self.send(id, at.slot_out, to, message)?;
                    if self.processes[&id].node.is_none() {
                        return Ok(()); // These were its last words.
                    }
                }
                Effect::SendWhenDurable(to, message) if self.disk(id).is_clean() => {
                    self.send(id, at.slot_out, to, message)?;
                    if self.processes[&id].node.is_none() {
                        return Ok(());
                    }
                }
                Effect::SendWhenDurable(to, message) => {
                    self.disk(id).write(Pending::Message(to, message));
                }
                Effect::Respond(response) => self.respond(id, at, response)?,
                Effect::ReadReady(read) => {
                    self.marks.reads += 1;
                    self.happen(&Event::ReadReady { node: id, id: read, at })?;
                }
                Effect::Retired(config) => {
                    self.happen(&Event::Retired { node: id, config: &config })?;
                    self.retire(config.epoch);
                }
                Effect::ServeSnapshot { to, slot, offset } => {
                    let process = self.processes.get_mut(&id).expect("it asks for something");
                    let Some(node) = &process.node else { return Ok(()) };
                    let (shelf, wanted) = (&mut process.shelf, (slot, offset));
                    let part = shelf.serve(node.replica(), wanted, Machine::snapshot);
                    self.send(id, at.slot_out, to, part)?;
                    if self.processes[&id].node.is_none() {
                        return Ok(());
                    }
                }
                Effect::KeepChunk { chunk, complete } => {
                    self.keep_chunk(id, &chunk, complete)?;
                    if self.processes[&id].node.is_none() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Keeps a part of another process's snapshot, and continues from it when it is whole.
    fn keep_chunk(&mut self, id: NodeId, chunk: &SnapshotChunk, complete: bool) -> Judged {
        let process = self.processes.get_mut(&id).expect("it asks for something");
        assert!(process.restoring.is_none(), "one snapshot at a time");
        process.restoring = process.shelf.keep(chunk, complete);
        assert_eq!(process.restoring.is_some(), complete, "no part gets damaged");
        if self.options.restores_slowly { Ok(()) } else { self.restored(id) }
    }

    /// A snapshot of another process has been restored, or turns out to be of no use.
    pub(crate) fn restored(&mut self, id: NodeId) -> Judged {
        if self.is_paused(id) {
            return Ok(());
        }
        let process = self.processes.get_mut(&id).expect("every process is known");
        let Some((frame, state)) = process.restoring.take() else { return Ok(()) };
        if !self.calm && self.rng.u32(0..8) == 0 {
            return self.call(id, |node, _, _| node.install_failed());
        }
        let state = Machine::restore(self.options.ballast, &state);
        let state = state.expect("it was a snapshot of this machine");
        let mut installed = None;
        self.call(id, |node, _, out| installed = Some(node.install(&frame, state, out)))?;
        let installed = installed.expect("a process that restores is up, and not paused");
        let installed = installed.expect("it was a frame");
        self.marks.snapshots_installed += u64::from(installed);
        self.marks.snapshots_late += u64::from(!installed);
        Ok(())
    }

    fn respond(&mut self, id: NodeId, at: Position, response: Response) -> Judged {
        self.happen(&Event::Responds { node: id, response: &response, at })?;
        if matches!(response.outcome, Outcome::Done(_)) {
            let first = self.responded.insert((response.client, response.cid));
            self.marks.answered_again += u64::from(!first);
        }
        self.network.send(Packet::Response { from: id, response });
        Ok(())
    }

    /// A message leaves a process; it may be the last one.
    fn send(&mut self, from: NodeId, slot_out: Slot, to: NodeId, message: Message) -> Judged {
        self.happen(&Event::Sent { from, message: &message, slot_out })?;
        match message.kind() {
            "lease_reply" if message.slot().is_some() => self.marks.leased += 1,
            "take_over" => self.marks.handed_over += 1,
            _ => {}
        }
        let message = if self.options.wire { self.through_bytes(message) } else { message };
        let kind = message.kind();
        let packet = Packet::Message { from, to, message };
        if self.calm {
            self.network.send(packet);
            return Ok(());
        }
        match self.options.held {
            Some((held, whose, share))
                if held == kind
                    && whose.is_none_or(|whose| whose == from)
                    && self.rng.u32(0..1000) < share =>
            {
                self.network.hold(packet);
            }
            Some(_) | None => self.network.send(packet),
        }
        match self.options.last_words {
            Some((last, share)) if last == kind && self.rng.u32(0..1000) < share => {
                self.crash(from)
            }
            Some(_) | None => Ok(()),
        }
    }

    fn through_bytes(&self, message: Message) -> Message {
        let mut bytes = Vec::new();
        wire::encode_message(&message, &mut bytes);
        let read = wire::decode_message(&bytes);
        assert_eq!(read.as_ref(), Ok(&message), "a message reads as it was written");
        read.unwrap_or(message)
    }

    /// Everything that was written is on disk now, and what waited for it leaves.
    pub(crate) fn sync(&mut self, id: NodeId) -> Judged {
        if self.disk(id).is_clean() || self.is_paused(id) {
            return Ok(());
        }
        let slot_out = self.node(id).map_or(Slot::FIRST, |node| node.replica().slot_out());
        let mut saved = None;
        let pending = self.disk(id).take();
        // A sync covers all records before the first message leaves.
        let (messages, written): (Vec<_>, Vec<_>) =
            pending.into_iter().partition(|p| matches!(p, Pending::Message(..)));
        for pending in written {
            saved = self.keep(id, pending)?.or(saved);
        }
        self.note(|| format!("{id} synced"));
        for pending in messages {
            if let Pending::Message(to, message) = pending {
                self.send(id, slot_out, to, message)?;
            }
            if self.processes[&id].node.is_none() {
                return Ok(());
            }
        }
        match saved {
            Some(slot) => self.call(id, |node, _, out| node.saved(slot, out)),
            None => Ok(()),
        }
    }

    /// Something has reached the disk. Returns the slot if it is the latest snapshot.
    fn keep(&mut self, id: NodeId, pending: Pending) -> Result<Option<Slot>, Violation> {
        match pending {
            Pending::Record(record) => {
                self.happen(&Event::Durable { node: id, record: &record })?;
                self.disk(id).keep(record);
            }
            Pending::Snapshot(slot, bytes) => {
                if self.disk(id).save(slot, bytes) {
                    self.happen(&Event::Saved { node: id, slot })?;
                    return Ok(Some(slot));
                }
            }
            Pending::Message(..) => {}
        }
        Ok(None)
    }

    fn take_snapshot(&mut self, id: NodeId) -> Judged {
        let every = self.options.snapshot_every;
        let Some(process) = self.processes.get_mut(&id) else { return Ok(()) };
        let Some(node) = process.node.as_ref().filter(|_| process.roles.replica) else {
            return Ok(());
        };
        let slot = node.replica().slot_out();
        if slot < process.taken.plus(every) {
            return Ok(());
        }
        process.taken = slot;
        let replica = node.replica();
        let bytes = shelf::join(&replica.frame(), &replica.state().snapshot());
        self.note(|| format!("{id} takes a snapshot below {slot}"));
        let snapshot = Pending::Snapshot(slot, bytes);
        if self.rng.bool() {
            self.disk(id).write(snapshot);
            return Ok(());
        }
        match self.keep(id, snapshot)? {
            Some(slot) => self.call(id, |node, _, out| node.saved(slot, out)),
            None => Ok(()),
        }
    }

    /// The log is rewritten to what is needed of it.
    pub(crate) fn compact(&mut self, id: NodeId) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        if let Some(node) = process.node.as_ref().filter(|_| process.disk.is_clean()) {
            process.disk.log = node.checkpoint().collect();
        }
    }

    /// The process loses what is not on disk.
    pub(crate) fn crash(&mut self, id: NodeId) -> Judged {
        let torn = self.options.torn;
        let Some(process) = self.processes.get_mut(&id) else { return Ok(()) };
        if process.node.take().is_none() {
            return Ok(());
        }
        (process.restoring, process.paused) = (None, Duration::ZERO);
        let survivors = if torn { self.rng.usize(0..=process.disk.unsynced()) } else { 0 };
        let left = process.disk.crash(survivors);
        self.note(|| format!("{id} crashes; {} of what was being written is on disk", left.len()));
        for pending in left {
            self.keep(id, pending)?;
        }
        Ok(())
    }

    pub(crate) fn recover(&mut self, id: NodeId) -> Judged {
        let process = &self.processes[&id];
        if process.node.is_some() || process.stopped {
            return Ok(());
        }
        while !self.calm && self.rng.u32(0..1000) < self.options.damaged {
            self.damage(id);
        }
        let process = &self.processes[&id];
        let mut out = Outbox::new(id);
        let (records, snapshot) = (process.disk.log.clone(), process.disk.snapshot.clone());
        let never_ran = records.is_empty();
        let (setup, ballast) = (self.setup(id, process.roles), self.options.ballast);
        let split = |bytes| shelf::split(bytes).expect("it was joined");
        let base = snapshot.as_ref().map(|(_, bytes)| split(bytes));
        let restore = |(_, state)| Machine::restore(ballast, state).expect("it was a snapshot");
        let state = base.map_or_else(|| Machine::new(ballast), restore);
        let node = if never_ran {
            Ok(Node::format(setup, state, &mut out))
        } else {
            Node::recover(setup, base.map(|(frame, _)| frame), state, records, &mut out)
        };
        let node = node.map_err(|error| Violation { property: "4.3", what: error.to_string() })?;
        let saved = snapshot.map_or(Slot::FIRST, |(slot, _)| slot);
        self.note(|| format!("{id} recovers; its life {}", node.incarnation()));
        self.marks.recoveries += 1;
        self.marks.performed_again += node.replica().slot_out().0 - saved.0;
        let process = self.processes.get_mut(&id).expect("it was there a moment ago");
        (process.node, process.started, process.taken) = (Some(node), self.now, saved);
        self.begin(id, saved, out)
    }

    /// The disk has lost one record of those that may get lost: a note, or an accepted pvalue. For
    /// there to be an end, a quorum of phase 1 has to be without such losses.
    fn damage(&mut self, id: NodeId) {
        let lossy = self.lossy | bit(id);
        let may_lose = self.history.schedule.iter().all(|(_, config)| {
            let acceptors = config.members.acceptors.iter().map(|id| bit(*id));
            let whole = acceptors.filter(|acceptor| lossy & acceptor == 0).count();
            whole >= config.members.quorums.phase1 as usize
        });
        let disk = &self.processes[&id].disk;
        let places = disk.places(|record| match record {
            Record::Accepted(_) => may_lose,
            Record::Learned { .. } | Record::Performed { .. } => true,
            Record::Started(_)
            | Record::Campaigned(_)
            | Record::Adopted(_)
            | Record::Collected(_)
            | Record::Lost { .. } => false,
        });
        let Some(&place) = self.rng.choice(&places) else { return };
        self.note(|| format!("{id}: its disk has lost: {}", self.processes[&id].disk.log[place]));
        let log = &mut self.disk(id).log;
        let Record::Accepted(PValue { ballot, slot, .. }) = log[place] else {
            drop(log.remove(place));
            return;
        };
        log[place] = Record::Lost { ballot, slot };
        self.marks.lost += 1;
        self.lossy = lossy;
    }

    /// The configuration of this epoch is done: its processes that no later one needs may stop.
    fn retire(&mut self, epoch: u64) {
        let needed = |id: NodeId| {
            let mut later = self.history.schedule.iter().filter(|(_, c)| c.epoch > epoch);
            later.any(|(_, config)| has(&config.members, id))
        };
        let old = self.history.schedule.iter().find(|(_, config)| config.epoch == epoch);
        let Some((_, old)) = old else { return };
        for (id, process) in &mut self.processes {
            process.retired |= has(&old.members, *id) && !needed(*id);
        }
    }

    /// A process stops for good, if it may.
    pub(crate) fn stop(&mut self, id: NodeId) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        if process.retired && !process.stopped {
            (process.node, process.restoring, process.stopped) = (None, None, true);
            self.marks.stopped += 1;
            self.note(|| format!("{id} stops for good"));
        }
    }

    pub(crate) fn deliver(&mut self, packet: Packet) -> Judged {
        match packet {
            Packet::Message { from, to, message } => {
                self.note(|| format!("{to} <- {from} {message}"));
                self.call(to, |node, now, out| node.step(now, from, message, out))
            }
            Packet::Request { to, command } => {
                self.note(|| format!("{to} <- request {command}"));
                self.call(to, |node, _, out| node.request(command, out))
            }
            Packet::Response { response, .. } => self.receive(response),
        }
    }

    /// A client begins a read at a replica.
    pub(crate) fn read(&mut self, id: NodeId) -> Judged {
        let Some(node) = self.node(id) else { return Ok(()) };
        if !self.processes[&id].roles.replica || self.is_paused(id) {
            return Ok(());
        }
        let leases = self.options.timing.lease.is_some();
        let holder = node.holds_lease();
        let level = if leases && self.rng.u32(0..4) > 0 { Level::Lease } else { Level::default() };
        self.marks.leased += u64::from(level == Level::Lease && holder);
        self.next_read += 1;
        let read = self.next_read;
        self.note(|| format!("{id} read {read} {level:?}"));
        self.happen(&Event::ReadBegins { id: read })?;
        self.call(id, |node, now, _| {
            assert!(node.read(now, read, level), "few reads wait");
        })
    }

    fn receive(&mut self, response: Response) -> Judged {
        let place = self.callers.iter().position(|c| c.client.id() == response.client);
        let Some(place) = place else { return Ok(()) };
        self.note(|| format!("client <- {response}"));
        match response.outcome {
            Outcome::Done(_) => {
                if self.callers[place].client.response(response.cid) {
                    self.marks.answered += 1;
                    let (client, cid) = (response.client, response.cid);
                    self.happen(&Event::Answered { client, cid })?;
                }
            }
            Outcome::Expired => {
                // Whether its open commands were performed it cannot know; it starts anew.
                self.marks.expired += 1;
                let born = self.a_slot_out();
                let Caller { at, left, .. } = self.callers[place];
                self.callers[place] = self.new_caller(born, at, left);
            }
            Outcome::Busy => {}
        }
        Ok(())
    }

    fn a_slot_out(&mut self) -> Slot {
        let id = self.ids[self.rng.usize(0..self.ids.len())];
        self.node(id).map_or(Slot::FIRST, |node| node.replica().slot_out())
    }

    pub(crate) fn new_caller(&mut self, born: Slot, at: NodeId, left: u32) -> Caller {
        self.next_client += 1;
        Caller::new(self.next_client, born, at, left)
    }
}

pub(crate) fn has(members: &synod_paxos::Members, id: NodeId) -> bool {
    let roles = [&members.replicas, &members.leaders, &members.acceptors];
    roles.iter().any(|role| role.contains(&id))
}
