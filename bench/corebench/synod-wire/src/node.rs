//! One node, as the harness's event loop owns it.

use std::{
    cell::RefCell,
    collections::VecDeque,
    mem,
    rc::Rc,
    time::{Duration, Instant},
};

use harness::{
    Args, REPLICAS, TrimPolicy, read_id,
    wire::{Io, WireReplica},
};
use synod_paxos::{
    ClientId, Command, Effect, Members, Message, Node, NodeId, Op, Outbox, Outcome, Payload,
    Record, Schedule, Setup, Slot, StateMachine, Timing, wire,
};

use crate::mail::{self, Mail};

/// The numbers of the proposals that were performed and are not reported yet.
type Performed = Rc<RefCell<Vec<u64>>>;

/// Notes the proposals' numbers; the harness checks that they are 0, 1, 2, …
struct Numbers(Performed);

impl StateMachine for Numbers {
    fn apply(&mut self, op: &[u8]) -> Payload {
        self.0.borrow_mut().push(read_id(op));
        Payload::EMPTY
    }
}

pub(crate) struct Peer {
    id: NodeId,
    node: Node<Numbers>,
    out: Outbox,
    started: Instant,
    /// Whether to campaign as soon as the first record is on disk.
    campaigns: bool,
    /// The effects at hand; empty between calls, its memory kept.
    effects: Vec<Effect>,
    /// Records that nothing waits for so far, in their order.
    pending: Vec<Record>,
    /// Whether records were appended since the last sync.
    unsynced: bool,
    /// Messages that wait for the next sync, own votes among them.
    held: VecDeque<(NodeId, Message)>,
    mail: Mail,
    performed: Performed,
    total: u64,
    cid: u64,
    acked: u64,
    trim: TrimPolicy,
    /// Where a slot begins, in applied entries.
    starts: VecDeque<(Slot, u64)>,
    /// How many applied entries it takes until the next start is noted.
    mark: u64,
    /// The harness's policy keeps nothing below this slot.
    older: Slot,
}

/// Applied entries between two starts that are noted.
const MARKS: u64 = 64;

const CLIENT: ClientId = ClientId { born: Slot::FIRST, number: 1 };

/// Those of the peers, as far as they have the same: a sync may take a tenth of a second.
const TIMING: Timing = Timing {
    heartbeat: Duration::from_millis(100),
    resend: Duration::from_millis(1000),
    patience_min: Duration::from_millis(1000),
    patience_max: Duration::from_secs(10),
    lease: None,
};

/// Node ids are small and start at 1; the harness's indices start at 0.
fn id(index: usize) -> NodeId {
    NodeId(u32::try_from(index + 1).expect("few replicas"))
}

fn index(id: NodeId) -> usize {
    usize::try_from(id.0).expect("few replicas") - 1
}

impl Peer {
    pub(crate) fn new(index: usize, args: &Args) -> Self {
        let all: Vec<NodeId> = (0..REPLICAS).map(id).collect();
        let members = Members::new(all.clone(), all.clone(), all).expect("valid members");
        let window = args.get("slots").map_or(64, |slots| slots.parse().expect("a number"));
        let setup =
            Setup { timing: TIMING, ..Setup::new(id(index), Schedule::new(members, window)) };
        let performed = Performed::default();
        let mut out = Outbox::new(id(index));
        let node = Node::format(setup, Numbers(performed.clone()), &mut out);
        Self {
            id: id(index),
            node,
            out,
            started: Instant::now(),
            campaigns: false,
            effects: Vec::new(),
            pending: Vec::new(),
            unsynced: false,
            held: VecDeque::new(),
            mail: Mail::new(id(index)),
            performed,
            total: 0,
            cid: 0,
            acked: 1,
            trim: TrimPolicy::new(args),
            starts: VecDeque::new(),
            mark: 0,
            older: Slot::FIRST,
        }
    }

    /// Carries out what the core asks for, but for what waits for the disk.
    fn carry_out(&mut self, io: &mut Io) {
        let mut effects = mem::take(&mut self.effects);
        self.out.swap(&mut effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Persist(record) => self.pending.push(record),
                Effect::Send(to, message) => self.mail.put(index(to), message),
                Effect::SendWhenDurable(to, message) => {
                    if self.pending.iter().any(|record| !record.can_wait()) {
                        self.append(io);
                    }
                    self.held.push_back((to, message));
                }
                Effect::Respond(response) => {
                    assert!(matches!(response.outcome, Outcome::Done(_)), "not performed");
                    self.acked = self.acked.max(response.cid + 1);
                }
                Effect::ReadReady(_) | Effect::Retired(_) => {}
                Effect::ServeSnapshot { .. } | Effect::KeepChunk { .. } => {
                    panic!("a replica is behind what was trimmed");
                }
            }
        }
        self.effects = effects;
    }

    /// Appends the records that are pending.
    fn append(&mut self, io: &mut Io) {
        for record in self.pending.drain(..) {
            io.record(|buf| wire::encode_record(&record, buf));
        }
        self.unsynced = true;
    }

    /// Sends what waited for the disk, and what comes of the own votes, until something waits for
    /// the next sync.
    fn release(&mut self, io: &mut Io) {
        self.unsynced = false;
        while !self.unsynced {
            let Some((to, message)) = self.held.pop_front() else { return };
            if to == self.id {
                self.node.step(self.started.elapsed(), self.id, message, &mut self.out);
                self.carry_out(io);
            } else {
                self.mail.put(index(to), message);
            }
        }
    }

    /// Says now and then that everything older is in a snapshot on disk, so that slots are
    /// collected: the harness's policy, but never what another replica has yet to perform, as far
    /// as is known here, for there are no snapshots that it could fetch.
    fn trim(&mut self, io: &mut Io) {
        if self.total >= self.mark {
            self.mark = self.total + MARKS;
            self.starts.push_back((self.node.replica().slot_out(), self.total));
        }
        let Some(below) = self.trim.next(self.total) else { return };
        while self.starts.front().is_some_and(|(_, start)| *start <= below) {
            let Some((slot, _)) = self.starts.pop_front() else { break };
            self.older = slot;
        }
        let progress = |id| self.node.progress_of(id).map_or(Slot::FIRST, |p| p.slot_out);
        let others = (0..REPLICAS).map(id).filter(|id| *id != self.id);
        let saved = others.map(progress).fold(self.older, Slot::min);
        self.node.saved(saved, &mut self.out);
        self.carry_out(io);
    }
}

impl WireReplica for Peer {
    fn campaign(&mut self) {
        self.campaigns = true;
    }

    fn is_leader(&self) -> bool {
        self.node.leader().active()
    }

    fn tick(&mut self) {
        self.node.tick(self.started.elapsed(), &mut self.out);
    }

    fn propose(&mut self, payload: Vec<u8>) {
        self.cid += 1;
        let op = Op::Apply(Payload::from(payload));
        let command = Command { client: CLIENT, cid: self.cid, acked: self.acked, op };
        self.node.request(command, &mut self.out);
    }

    fn receive(&mut self, frame: &[u8]) {
        let (from, messages) = mail::open(frame);
        let now = self.started.elapsed();
        for message in messages {
            self.node.step(now, from, message, &mut self.out);
        }
    }

    fn prepare(&mut self, io: &mut Io) {
        self.mail.turn();
        self.node.flush(&mut self.out);
        self.carry_out(io);
        if matches!(self.pending.first(), Some(Record::Started(_))) {
            self.append(io); // On disk before the campaign.
        }
        self.mail.ship(io);
    }

    fn complete(&mut self, io: &mut Io, mut applied: impl FnMut(u64)) {
        self.release(io);
        if mem::take(&mut self.campaigns) {
            self.node.campaign(&mut self.out);
            self.carry_out(io);
        }
        let performed = mem::take(&mut *self.performed.borrow_mut());
        if !performed.is_empty() {
            self.total += performed.len() as u64;
            performed.into_iter().for_each(&mut applied);
            self.trim(io);
        }
        self.mail.ship(io);
    }
}

#[cfg(test)]
mod tests {
    use harness::{Schedule as Order, wire::run_wire};
    use synod_paxos::{Ballot, Decree, PValue, message::Progress};

    use super::*;

    fn args() -> Args {
        let dir = std::env::temp_dir().join(format!("wire-synod-{}", std::process::id()));
        Args {
            payload: 4096,
            window: 100,
            warmup: Duration::ZERO,
            seconds: Duration::ZERO,
            entries: Some(3000),
            runs: 1,
            repr: "vec".into(),
            schedule: Order::Runtime,
            variant: "default".into(),
            rest: vec![("dir".into(), dir.to_str().expect("UTF-8").into())],
        }
    }

    /// The harness checks that all replicas apply all proposals in order; so many of them that
    /// slots are collected many times.
    #[test]
    fn all_nodes_perform_everything_in_order() {
        run_wire("synod", &args(), |index| Peer::new(index, &args()));
    }

    #[test]
    fn a_vote_waits_for_its_record_and_a_record_for_a_vote() {
        let (mut peer, mut io) = (Peer::new(1, &args()), Io::default());
        peer.prepare(&mut io);
        assert!(peer.unsynced && peer.pending.is_empty(), "the first record waits for nobody");
        peer.complete(&mut io, |_| {});
        peer.pending.push(Record::Collected(Slot::FIRST));
        peer.prepare(&mut io);
        assert!(!peer.unsynced && peer.pending.len() == 1, "nobody waits for it");
        let ballot = Ballot { round: 1, leader: id(0), incarnation: 1 };
        let pvalue = PValue { ballot, slot: Slot::FIRST, decree: Decree::noop() };
        peer.node.step(Duration::ZERO, id(0), Message::P2a(pvalue), &mut peer.out);
        peer.prepare(&mut io);
        assert!(peer.unsynced && peer.pending.is_empty());
        assert_eq!(peer.held.len(), 1);
        peer.complete(&mut io, |_| {});
        assert!(!peer.unsynced && peer.held.is_empty());
    }
    #[test]
    fn nothing_is_collected_that_another_replica_has_yet_to_perform() {
        let (mut peer, mut io) = (Peer::new(1, &args()), Io::default());
        let hear = |peer: &mut Peer, from, message| {
            peer.node.step(Duration::ZERO, id(from), message, &mut peer.out);
        };
        for slot in 1..10 {
            let (slot, ballot) = (Slot(slot), Ballot::BOTTOM);
            hear(&mut peer, 0, Message::Decision { slot, ballot, decree: Some(Decree::noop()) });
        }
        peer.starts.push_back((Slot(9), 0));
        peer.total = 1 << 20;
        peer.trim(&mut io);
        assert_eq!(peer.node.replica().progress().durable, Slot::FIRST);
        for (from, slot) in [(0, 8), (2, 7)] {
            let report = Progress { slot_out: Slot(slot), durable: Slot::FIRST, epoch: 0 };
            hear(&mut peer, from, Message::SlotOut(report));
        }
        peer.total = 1 << 21;
        peer.trim(&mut io);
        assert_eq!(peer.node.replica().progress().durable, Slot(7));
    }
}
