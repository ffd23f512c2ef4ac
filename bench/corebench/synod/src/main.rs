//! Synod's core: three colocated nodes, storage in memory.
//!
//! An acceptor keeps what it accepted, so a `Persist` has nothing left to do here, and what waits
//! for it leaves at once. A node's own vote comes back to it like anybody's.

use std::{cell::Cell, collections::VecDeque, rc::Rc, time::Duration};

use harness::{Args, Outbox, REPLICAS, Replica, TrimPolicy, read_id, run_sync};
use synod_paxos::{
    ClientId, Command, Effect, Members, Message, Node, NodeId, Op, Outcome, Payload, Schedule,
    Setup, Slot, StateMachine,
};

/// Checks that the proposals are applied as 0, 1, 2, …, and counts them.
struct Numbers(Rc<Cell<u64>>);

impl StateMachine for Numbers {
    fn apply(&mut self, op: &[u8]) -> Payload {
        assert_eq!(read_id(op), self.0.get(), "applied out of order");
        self.0.set(self.0.get() + 1);
        Payload::EMPTY
    }
}

struct Peer {
    id: NodeId,
    node: Node<Numbers>,
    out: synod_paxos::Outbox,
    applied: Rc<Cell<u64>>,
    total: u64,
    /// When to note the next start.
    mark: u64,
    now: Duration,
    cid: u64,
    acked: u64,
    /// Own votes on their way back.
    own: VecDeque<Message>,
    trim: TrimPolicy,
    /// Where a slot begins, in applied entries.
    starts: VecDeque<(Slot, u64)>,
}

const CLIENT: ClientId = ClientId { born: Slot::FIRST, number: 1 };

fn id(index: usize) -> NodeId {
    NodeId(index as u32 + 1)
}

impl Peer {
    fn new(index: usize, args: &Args) -> Self {
        let all: Vec<NodeId> = (0..REPLICAS).map(id).collect();
        let members = Members::new(all.clone(), all.clone(), all).expect("valid members");
        let window = args.get("slots").map_or(64, |slots| slots.parse().expect("a number"));
        let setup = Setup::new(id(index), Schedule::new(members, window));
        let applied = Rc::new(Cell::new(0));
        let mut out = synod_paxos::Outbox::new(id(index));
        let node = Node::format(setup, Numbers(applied.clone()), &mut out);
        out.drain().for_each(drop);
        Self {
            id: id(index),
            node,
            out,
            applied,
            total: 0,
            mark: 0,
            now: Duration::ZERO,
            cid: 0,
            acked: 1,
            own: VecDeque::new(),
            trim: TrimPolicy::new(args),
            starts: VecDeque::new(),
        }
    }

    fn carry_out(&mut self, out: &mut impl Outbox<(NodeId, Message)>) {
        loop {
            for effect in self.out.drain() {
                match effect {
                    Effect::Persist(_) => {}
                    Effect::SendWhenDurable(to, message) if to == self.id => {
                        self.own.push_back(message);
                    }
                    Effect::Send(to, message) | Effect::SendWhenDurable(to, message) => {
                        out.send(to.0 as usize - 1, (self.id, message));
                    }
                    Effect::Respond(response) => {
                        assert!(matches!(response.outcome, Outcome::Done(_)));
                        self.acked = self.acked.max(response.cid + 1);
                    }
                    Effect::ReadReady(_) | Effect::Retired(_) => {}
                    Effect::ServeSnapshot { .. } | Effect::KeepChunk { .. } => {
                        panic!("a replica is behind what was trimmed");
                    }
                }
            }
            let Some(message) = self.own.pop_front() else { return };
            self.node.step(self.now, self.id, message, &mut self.out);
        }
    }
}

impl Replica for Peer {
    type Payload = Vec<u8>;
    type Msg = (NodeId, Message);

    fn campaign(&mut self) {
        self.node.campaign(&mut self.out);
    }

    fn is_leader(&self) -> bool {
        self.node.leader().active()
    }

    fn tick(&mut self) {
        self.now += Duration::from_millis(10);
        self.node.tick(self.now, &mut self.out);
    }

    fn propose(&mut self, payload: Vec<u8>) {
        self.cid += 1;
        let op = Op::Apply(Payload::from(payload));
        let command = Command { client: CLIENT, cid: self.cid, acked: self.acked, op };
        self.node.request(command, &mut self.out);
    }

    fn step(&mut self, (from, message): Self::Msg) {
        self.node.step(self.now, from, message, &mut self.out);
    }

    fn flush(&mut self, out: &mut impl Outbox<Self::Msg>, mut applied: impl FnMut(u64)) {
        self.node.flush(&mut self.out);
        if !self.out.is_empty() {
            self.carry_out(out);
        }
        let end = self.applied.get();
        if end == self.total {
            return;
        }
        (self.total..end).for_each(&mut applied);
        self.total = end;
        if self.total >= self.mark {
            self.mark = self.total + 64;
            self.starts.push_back((self.node.replica().slot_out(), self.total));
        }
        if let Some(below) = self.trim.next(self.total) {
            let mut slot = Slot::FIRST;
            while let Some(&(next, start)) = self.starts.front() {
                if start > below {
                    break;
                }
                slot = next;
                self.starts.pop_front();
            }
            self.node.saved(slot, &mut self.out);
            self.carry_out(out);
        }
    }
}

fn main() {
    let args = Args::parse();
    run_sync("synod", &args, |index| Peer::new(index, &args));
}
