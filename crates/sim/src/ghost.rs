//! What an omniscient observer knows: which decrees were proposed and accepted durably, which are
//! chosen by that, and what the chosen ones make of the state. Nothing here looks into a node, and
//! sessions are written here once more: what nodes say is compared with it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use synod::{
    Machine,
    engine::{arrival, digest},
};
use synod_paxos::{
    Ballot, ClientId, Command, Config, Decree, Members, Message, NodeId, Op, Payload, Record, Slot,
    message::Vote, session::IN_FLIGHT_MAX,
};

use crate::{event::Event, queue::Time};

/// A set of nodes: their ids are below 64.
pub(crate) type Set = u64;

pub(crate) fn bit(node: NodeId) -> Set {
    1 << (node.0 & 63)
}

pub(crate) fn set(nodes: &[NodeId]) -> Set {
    nodes.iter().fold(0, |set, node| set | bit(*node))
}

/// What was proposed for a slot in one ballot, and by whom it is accepted on disk.
#[derive(Clone, Debug)]
pub(crate) struct Proposed {
    pub(crate) ballot: Ballot,
    pub(crate) decree: Decree,
    pub(crate) accepted: Set,
    pub(crate) chosen: bool,
    /// By whom its leader was told so.
    pub(crate) voted: Set,
    /// A quorum of reports has let its leader propose it.
    pub(crate) permitted: bool,
}

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
    /// Every command below has been answered: it is not performed any more.
    acked: u64,
    performed: BTreeSet<u64>,
}

/// Where a command was performed first, and its result.
#[derive(Clone, Debug)]
pub(crate) struct Performed {
    pub(crate) slot: Slot,
    pub(crate) reply: Payload,
}

/// The state before a slot is performed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Point {
    pub(crate) digest: u64,
    /// How many operations of the user's machine there were.
    pub(crate) applied: u64,
}

/// Everything but the machine, which has a type of its own.
pub(crate) struct Ghost {
    pub(crate) now: Time,
    pub(crate) window: u64,
    sessions_max: usize,
    slots: Vec<Vec<Proposed>>,
    pub(crate) reports: BTreeMap<Ballot, Vec<Report>>,
    /// Ballots that the acceptor beside their leader has adopted. What it reports to that leader
    /// does not leave the node.
    pub(crate) adopted_beside: BTreeSet<Ballot>,
    /// First slot and configuration, from the beginning.
    pub(crate) schedule: Vec<(Slot, Config)>,
    /// The state before each slot, up to the first that is not chosen.
    points: Vec<Point>,
    sessions: BTreeMap<ClientId, Session>,
    horizon: Slot,
    pub(crate) evictions: u64,
    pub(crate) performed: BTreeMap<(ClientId, u64), Performed>,
    /// The latest durable snapshot of each node.
    pub(crate) saved: BTreeMap<NodeId, Slot>,
    /// Which disk each node came with, and the slot that says so first.
    pub(crate) arrivals: BTreeMap<NodeId, (u64, Slot)>,
    pub(crate) noops: u64,
    /// Some replica has performed everything below.
    pub(crate) slot_out: Slot,
    /// The last ballot that each node has begun.
    begun: BTreeMap<NodeId, Ballot>,
    /// A command that was performed twice.
    pub(crate) twice: Option<(ClientId, u64)>,
    /// What was appended and is not on disk, by node.
    unsynced: BTreeMap<NodeId, VecDeque<Record>>,
    /// How many records each node has had on disk.
    pub(crate) durable: BTreeMap<NodeId, u64>,
    /// Nodes on disks that are not theirs. Nobody may let them in (M4), so their votes are none.
    pub(crate) strangers: Set,
}

impl Ghost {
    pub(crate) fn new(members: Members, window: u64, sessions_max: usize) -> Self {
        Self {
            now: 0,
            window,
            sessions_max,
            slots: Vec::new(),
            reports: BTreeMap::new(),
            adopted_beside: BTreeSet::new(),
            schedule: vec![(Slot::FIRST, Config { epoch: 0, members })],
            points: vec![Point { digest: 0, applied: 0 }],
            sessions: BTreeMap::new(),
            horizon: Slot(0),
            evictions: 0,
            performed: BTreeMap::new(),
            saved: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            noops: 0,
            slot_out: Slot::FIRST,
            begun: BTreeMap::new(),
            twice: None,
            unsynced: BTreeMap::new(),
            durable: BTreeMap::new(),
            strangers: 0,
        }
    }

    /// The first slot that is not chosen, or comes after one that is not.
    pub(crate) fn next(&self) -> Slot {
        Slot(self.points.len() as u64)
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
        self.ballots(slot).iter().rev().find(|proposed| proposed.ballot == ballot)
    }

    pub(crate) fn proposed_mut(&mut self, slot: Slot, ballot: Ballot) -> Option<&mut Proposed> {
        let ballots = self.slots.get_mut(index(slot)?)?;
        ballots.iter_mut().rev().find(|proposed| proposed.ballot == ballot)
    }

    pub(crate) fn chosen(&self, slot: Slot) -> Option<&Proposed> {
        self.ballots(slot).iter().find(|proposed| proposed.chosen)
    }

    /// The slot after the last one that anything was proposed for.
    pub(crate) fn end(&self) -> Slot {
        Slot::FIRST.plus(self.slots.len() as u64)
    }

    /// How many of `nodes` have everything below `slot` in a snapshot on disk.
    pub(crate) fn holders(&self, nodes: &[NodeId], slot: Slot) -> usize {
        let holds = |id: &&NodeId| self.saved.get(id).is_some_and(|saved| *saved >= slot);
        nodes.iter().filter(holds).count()
    }

    /// Whether a session was born too late, or its client or a later one was evicted.
    pub(crate) fn may_expire(&self, client: ClientId) -> bool {
        self.evictions > 0 && client.born <= self.horizon
    }

    /// A record was appended to a node's log.
    pub(crate) fn append(&mut self, node: NodeId, record: Record) {
        if let Record::Campaigned(ballot) = record {
            self.begun.insert(node, ballot);
        }
        self.unsynced.entry(node).or_default().push_back(record);
    }

    /// The last ballot that a node has begun.
    pub(crate) fn begun(&self, node: NodeId) -> Ballot {
        self.begun.get(&node).copied().unwrap_or(Ballot::BOTTOM)
    }

    /// The next record of a node that gets durable.
    pub(crate) fn sync_one(&mut self, node: NodeId) -> Option<Record> {
        let record = self.unsynced.get_mut(&node)?.pop_front()?;
        *self.durable.entry(node).or_default() += 1;
        Some(record)
    }

    /// A record that was being written is on a node's disk after all. Returns it, behind those that
    /// were written before it; nothing if it is another one, of a life that ended while it began.
    pub(crate) fn survives(&mut self, node: NodeId, record: &Record) -> Option<Vec<Record>> {
        let unsynced = self.unsynced.get_mut(&node)?;
        let place = unsynced.iter().position(|written| written == record)?;
        Some(unsynced.drain(..=place).collect())
    }

    /// What is not on a node's disk will never be. Whether there is any.
    pub(crate) fn forget_unsynced(&mut self, node: NodeId) -> bool {
        self.unsynced.remove(&node).is_some_and(|lost| !lost.is_empty())
    }

    /// Takes notice of an event. The first decree of a ballot and slot is kept: whether another
    /// one comes is for the properties to see.
    pub(crate) fn notice<M: Machine>(&mut self, event: &Event<'_>, machine: &mut M) {
        match event {
            Event::Sent { message: Message::P2a(pvalue), .. } => {
                self.propose(pvalue.slot, pvalue.ballot, &pvalue.decree);
            }
            Event::Sent { from, message: Message::P1b(p1b), .. } if p1b.held == p1b.asked => {
                let accepted = p1b.accepted.iter().map(|p| (p.slot, p.ballot)).collect();
                let (first, rest, gc_slot) = (p1b.first, p1b.rest, p1b.gc_slot);
                let report = Report { from: *from, first, rest, gc_slot, accepted };
                self.reports.entry(p1b.asked).or_default().push(report);
            }
            Event::Durable { node, record: Record::Accepted(pvalue) } => {
                self.propose(pvalue.slot, pvalue.ballot, &pvalue.decree);
                let vote = bit(*node) & !self.strangers;
                if let Some(proposed) = self.proposed_mut(pvalue.slot, pvalue.ballot) {
                    proposed.accepted |= vote;
                }
                if pvalue.ballot.leader == *node {
                    self.adopted_beside.insert(pvalue.ballot); // Accepting means adopting (E5).
                }
                self.choose(pvalue.slot, machine);
            }
            Event::Durable { node, record: Record::Adopted(ballot) } if ballot.leader == *node => {
                self.adopted_beside.insert(*ballot);
            }
            Event::Sent { from, message: Message::P2b(p2b), .. } if p2b.vote == Vote::Accepted => {
                if let Some(proposed) = self.proposed_mut(p2b.slot, p2b.asked) {
                    proposed.voted |= bit(*from);
                }
            }
            Event::Started { at, .. } | Event::Performed { at, .. } => {
                self.slot_out = self.slot_out.max(at.slot_out);
            }
            Event::Saved { node, slot } => {
                let saved = self.saved.entry(*node).or_insert(*slot);
                *saved = (*saved).max(*slot);
            }
            Event::Forgot { .. }
            | Event::Sent { .. }
            | Event::Durable { .. }
            | Event::Requested { .. }
            | Event::Answers { .. }
            | Event::Answered { .. }
            | Event::NotDone { .. }
            | Event::ReadBegins { .. }
            | Event::ReadAnswered { .. }
            | Event::ReadSeen { .. }
            | Event::WouldServe { .. }
            | Event::Holds { .. }
            | Event::Healed
            | Event::Idle { .. }
            | Event::State { .. } => {}
        }
    }

    fn propose(&mut self, slot: Slot, ballot: Ballot, decree: &Decree) {
        let i = index(slot).expect("slots count from 1");
        assert!(i < 1 << 20, "slot {slot} is far beyond what a run can reach");
        if self.slots.len() <= i {
            self.slots.resize_with(i + 1, Vec::new);
        }
        let ballots = &mut self.slots[i];
        if let Err(place) = ballots.binary_search_by(|proposed| proposed.ballot.cmp(&ballot)) {
            let (decree, chosen, permitted) = (decree.clone(), false, false);
            let new = Proposed { ballot, decree, accepted: 0, chosen, voted: 0, permitted };
            ballots.insert(place, new);
        }
    }

    fn choose<M: Machine>(&mut self, slot: Slot, machine: &mut M) {
        let Some(config) = self.config(slot) else { return };
        let acceptors = set(&config.members.acceptors);
        let quorum = config.members.quorums.phase2;
        if let Some(ballots) = index(slot).and_then(|i| self.slots.get_mut(i)) {
            for proposed in ballots {
                proposed.chosen |= (proposed.accepted & acceptors).count_ones() >= quorum;
            }
        }
        while let Some(chosen) = self.chosen(self.next()) {
            let decree = chosen.decree.clone();
            self.perform(&decree, machine);
        }
    }

    fn perform<M: Machine>(&mut self, decree: &Decree, machine: &mut M) {
        let slot = self.next();
        self.noops += u64::from(decree.is_noop());
        let mut point = self.points[self.points.len() - 1];
        for command in decree.commands() {
            self.perform_command(slot, command, &mut point, machine);
        }
        self.points.push(point);
    }

    fn perform_command<M: Machine>(
        &mut self,
        slot: Slot,
        command: &Command,
        point: &mut Point,
        machine: &mut M,
    ) {
        let (client, cid) = (command.client, command.cid);
        if !self.sessions.contains_key(&client) {
            if client.born <= self.horizon || client.born > slot {
                return;
            }
            if self.sessions.len() >= self.sessions_max {
                self.evict();
            }
            let new = Session { used: slot, acked: 1, performed: BTreeSet::new() };
            self.sessions.insert(client, new);
        }
        let Some(session) = self.sessions.get_mut(&client) else { return };
        session.used = slot;
        session.acked = session.acked.max(command.acked);
        let in_reach = (session.acked..session.acked + IN_FLIGHT_MAX).contains(&cid);
        if !in_reach || !session.performed.insert(cid) {
            return;
        }
        let reply = match &command.op {
            Op::Apply(op) => {
                if let Some((node, birth)) = arrival(op.as_slice()) {
                    self.arrivals.entry(node).or_insert((birth, slot));
                }
                apply(op.as_slice(), point, machine)
            }
            Op::Reconfigure(to) => self.reconfigure(slot, to.replaces, &to.members),
        };
        let first = Performed { slot, reply };
        if self.performed.insert((client, cid), first).is_some() {
            self.twice = Some((client, cid));
        }
    }

    fn reconfigure(&mut self, slot: Slot, replaces: u64, members: &Members) -> Payload {
        let mut epoch = self.latest().epoch;
        let mut from = Slot(0);
        if replaces == epoch && members.clone().checked().is_ok() {
            epoch += 1;
            from = slot.plus(self.window);
            let config = Config { epoch, members: members.clone() };
            match self.schedule.last_mut() {
                Some(last) if last.0 == from => last.1 = config,
                Some(_) | None => self.schedule.push((from, config)),
            }
        }
        let mut bytes = epoch.to_le_bytes().to_vec();
        bytes.extend(from.0.to_le_bytes());
        Payload::from(bytes)
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

/// Whom an operation is for stands in its first byte: 0 is the user's machine.
fn apply<M: Machine>(op: &[u8], point: &mut Point, machine: &mut M) -> Payload {
    let mut reply = Vec::new();
    if let Some((&0, command)) = op.split_first() {
        machine.apply(command, &mut reply);
        point.applied += 1;
    }
    point.digest = digest(point.digest, op, &reply);
    Payload::from(reply)
}

fn index(slot: Slot) -> Option<usize> {
    usize::try_from(slot.0.checked_sub(1)?).ok()
}
