//! What an omniscient observer knows: which decrees were proposed and accepted durably, which are
//! chosen by that, and what the chosen ones make of the state. Nothing here looks into a role.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use synod_paxos::{
    Ballot, ClientId, Command, Config, Decree, Members, Message, NodeId, Op, Payload, Reconfigured,
    Record, Slot, StateMachine,
};

use crate::{event::Event, machine::Machine};

/// A set of processes.
pub(crate) type Set = u64;

pub(crate) fn bit(node: NodeId) -> Set {
    1 << node.0
}

/// What was proposed for a slot in one ballot, and by whom it is accepted on disk.
#[derive(Clone, Debug)]
pub(crate) struct Proposed {
    pub(crate) ballot: Ballot,
    pub(crate) decree: Decree,
    pub(crate) accepted: Set,
    pub(crate) chosen: bool,
}

/// A slot's ballots, in ascending order.
pub(crate) type Ballots = Vec<Proposed>;

/// An acceptor's report to a scout.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) from: NodeId,
    pub(crate) first: Slot,
    pub(crate) rest: Option<Slot>,
    pub(crate) gc_slot: Slot,
    pub(crate) accepted: Vec<(Slot, Ballot)>,
}

/// A client's session, as the decided prefix makes it.
#[derive(Clone, Debug)]
struct Session {
    used: Slot,
    performed: BTreeSet<u64>,
}

/// Where a command was performed first, and its result.
#[derive(Clone, Debug)]
pub(crate) struct Performed {
    pub(crate) slot: Slot,
    pub(crate) reply: Payload,
}

/// The state before a slot is performed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) applied: u64,
    pub(crate) hash: u64,
}

/// The omniscient observer.
#[derive(Debug)]
pub(crate) struct History {
    window: u64,
    sessions_max: usize,
    slots: Vec<Ballots>,
    pub(crate) reports: BTreeMap<Ballot, Vec<Report>>,
    /// First slot and configuration, from the beginning.
    pub(crate) schedule: Vec<(Slot, Config)>,
    /// The state before each slot, up to the first that is not chosen.
    points: Vec<Point>,
    machine: Machine,
    sessions: BTreeMap<ClientId, Session>,
    horizon: Slot,
    pub(crate) evictions: u32,
    pub(crate) performed: BTreeMap<(ClientId, u64), Performed>,
    /// The latest durable snapshot of each process.
    pub(crate) saved: BTreeMap<NodeId, Slot>,
    pub(crate) noops: u32,
    /// A command that was performed twice.
    pub(crate) twice: Option<(ClientId, u64)>,
}

impl History {
    pub(crate) fn new(members: Members, window: u64, sessions_max: usize) -> Self {
        Self {
            window,
            sessions_max,
            slots: Vec::new(),
            reports: BTreeMap::new(),
            schedule: vec![(Slot::FIRST, Config { epoch: 0, members })],
            points: vec![Point { applied: 0, hash: 0 }],
            machine: Machine::default(),
            sessions: BTreeMap::new(),
            horizon: Slot(0),
            evictions: 0,
            performed: BTreeMap::new(),
            saved: BTreeMap::new(),
            noops: 0,
            twice: None,
        }
    }

    /// The first slot that is not chosen, or comes after one that is not.
    pub(crate) fn next(&self) -> Slot {
        Slot(self.points.len() as u64)
    }

    pub(crate) fn window(&self) -> u64 {
        self.window
    }

    /// The state before `slot` is performed, if everything below it is chosen.
    pub(crate) fn point(&self, slot: Slot) -> Option<Point> {
        self.points.get(index(slot)?).copied()
    }

    /// The configuration of a slot; `None` as long as the decrees that determine it are open.
    pub(crate) fn config(&self, slot: Slot) -> Option<&Config> {
        let known = slot >= Slot::FIRST && slot < self.next().plus(self.window);
        let mut governing = self.schedule.iter().rev().filter(|(first, _)| *first <= slot);
        governing.next().filter(|_| known).map(|(_, config)| config)
    }

    pub(crate) fn latest(&self) -> &Config {
        &self.schedule[self.schedule.len() - 1].1
    }

    /// What was proposed for a slot, in ascending order of ballots.
    pub(crate) fn ballots(&self, slot: Slot) -> &[Proposed] {
        index(slot).and_then(|i| self.slots.get(i)).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn proposed(&self, slot: Slot, ballot: Ballot) -> Option<&Proposed> {
        self.ballots(slot).iter().find(|proposed| proposed.ballot == ballot)
    }

    pub(crate) fn chosen(&self, slot: Slot) -> Option<&Proposed> {
        self.ballots(slot).iter().find(|proposed| proposed.chosen)
    }

    /// The slot after the last one that anything was proposed for.
    pub(crate) fn end(&self) -> Slot {
        Slot::FIRST.plus(self.slots.len() as u64)
    }

    /// How many processes of `members` have everything below `slot` in a snapshot on disk.
    pub(crate) fn holders(&self, members: &[NodeId], slot: Slot) -> usize {
        let holds = |id: &&NodeId| self.saved.get(id).is_some_and(|saved| *saved >= slot);
        members.iter().filter(holds).count()
    }

    /// Whether a session was born too late, or its client or a later one was evicted.
    pub(crate) fn may_expire(&self, client: ClientId) -> bool {
        self.evictions > 0 && client.born <= self.horizon
    }

    /// Takes notice of an event. The first decree of a ballot and slot is kept: whether another
    /// one comes is for the properties to see.
    pub(crate) fn notice(&mut self, event: &Event<'_>) {
        match event {
            Event::Sent { message: Message::P2a(pvalue), .. } => {
                self.propose(pvalue.slot, pvalue.ballot, &pvalue.decree);
            }
            Event::Sent { from, message: Message::P1b(p1b), .. } if p1b.held == p1b.asked => {
                let accepted = p1b.accepted.iter().map(|p| (p.slot, p.ballot)).collect();
                let report = Report {
                    from: *from,
                    first: p1b.first,
                    rest: p1b.rest,
                    gc_slot: p1b.gc_slot,
                    accepted,
                };
                self.reports.entry(p1b.asked).or_default().push(report);
            }
            Event::Durable { node, record: Record::Accepted(pvalue) } => {
                let (slot, ballot) = (pvalue.slot, pvalue.ballot);
                self.propose(slot, ballot, &pvalue.decree);
                if let Some(proposed) = self.slot(slot).iter_mut().find(|p| p.ballot == ballot) {
                    proposed.accepted |= bit(*node);
                }
                self.choose(slot);
            }
            Event::Saved { node, slot } => drop(self.saved.insert(*node, *slot)),
            Event::Started { .. }
            | Event::Sent { .. }
            | Event::Durable { .. }
            | Event::Performed { .. }
            | Event::Responds { .. }
            | Event::Requested { .. }
            | Event::Answered { .. }
            | Event::ReadBegins { .. }
            | Event::ReadReady { .. }
            | Event::Retired { .. } => {}
        }
    }

    fn slot(&mut self, slot: Slot) -> &mut Ballots {
        let i = index(slot).expect("slots count from 1");
        assert!(i < 1 << 16, "slot {slot} is far beyond what a run can reach");
        if self.slots.len() <= i {
            self.slots.resize_with(i + 1, Vec::new);
        }
        &mut self.slots[i]
    }

    fn propose(&mut self, slot: Slot, ballot: Ballot, decree: &Decree) {
        let ballots = self.slot(slot);
        if let Err(place) = ballots.binary_search_by(|proposed| proposed.ballot.cmp(&ballot)) {
            let decree = decree.clone();
            ballots.insert(place, Proposed { ballot, decree, accepted: 0, chosen: false });
        }
    }

    fn choose(&mut self, slot: Slot) {
        let Some(config) = self.config(slot) else { return };
        let acceptors = config.members.acceptors.iter().fold(0, |set, id| set | bit(*id));
        let quorum = config.members.quorums.phase2;
        for proposed in self.slot(slot) {
            proposed.chosen |= (proposed.accepted & acceptors).count_ones() >= quorum;
        }
        while let Some(chosen) = self.chosen(self.next()) {
            let decree = chosen.decree.clone();
            self.perform(&decree);
        }
    }

    fn perform(&mut self, decree: &Decree) {
        let slot = self.next();
        self.noops += u32::from(decree.is_noop());
        for command in decree.commands() {
            self.perform_command(slot, command);
        }
        self.points.push(Point { applied: self.machine.applied, hash: self.machine.hash });
    }

    fn perform_command(&mut self, slot: Slot, command: &Command) {
        let (client, cid) = (command.client, command.cid);
        if !self.sessions.contains_key(&client) {
            if client.born <= self.horizon || client.born > slot {
                return;
            }
            if self.sessions.len() >= self.sessions_max {
                self.evict();
            }
            self.sessions.insert(client, Session { used: slot, performed: BTreeSet::new() });
        }
        let session = self.sessions.get_mut(&client).expect("it was just opened");
        session.used = slot;
        if session.performed.insert(cid) {
            let reply = match &command.op {
                Op::Apply(op) => self.machine.apply(op.as_slice()),
                Op::Reconfigure(to) => {
                    let from = self.reconfigure(slot, to.replaces, &to.members);
                    reconfigured(self.latest().epoch, from)
                }
            };
            let first = Performed { slot, reply };
            match self.performed.entry((client, cid)) {
                Entry::Vacant(entry) => drop(entry.insert(first)),
                Entry::Occupied(_) => self.twice = Some((client, cid)),
            }
        }
    }

    fn reconfigure(&mut self, slot: Slot, replaces: u64, members: &Members) -> Option<Slot> {
        let epoch = self.latest().epoch;
        if replaces != epoch || members.clone().checked().is_err() {
            return None;
        }
        let from = slot.plus(self.window);
        let config = Config { epoch: epoch + 1, members: members.clone() };
        match self.schedule.last_mut() {
            Some(last) if last.0 == from => last.1 = config,
            Some(_) | None => self.schedule.push((from, config)),
        }
        Some(from)
    }

    fn evict(&mut self) {
        let mut oldest: Vec<_> = self.sessions.iter().map(|(id, s)| (s.used, *id)).collect();
        oldest.sort_unstable();
        for (used, client) in oldest.into_iter().take(self.sessions_max / 8 + 1) {
            self.sessions.remove(&client);
            self.horizon = self.horizon.max(used);
            self.evictions += 1;
        }
    }
}

fn index(slot: Slot) -> Option<usize> {
    usize::try_from(slot.0.checked_sub(1)?).ok()
}

/// The reply to a reconfiguration command.
fn reconfigured(epoch: u64, from: Option<Slot>) -> Payload {
    let mut bytes = epoch.to_le_bytes().to_vec();
    bytes.extend(from.map_or(0, |from| from.0).to_le_bytes());
    let reply = Payload::from(bytes);
    let expected = match from {
        Some(from) => Reconfigured::Effective { epoch, from },
        None => Reconfigured::Refused { epoch },
    };
    assert_eq!(Reconfigured::from_reply(&reply), Some(expected), "the form of the reply");
    reply
}
