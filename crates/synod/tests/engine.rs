//! An engine with a host that does nothing: what it asks for, and when it asks for no more.

use std::time::Duration;

use synod::{
    StateMachine, StopReason,
    engine::{BACKLOG, Boot, Engine, Finished, Host, Job, Metrics, Port, machine_op},
    protocol::{Refused, Tell},
};
use synod_paxos::{
    Ballot, ClientId, Command, Decree, Members, Message, NodeId, Op, PValue, Record, Schedule,
    Setup, Slot,
};

#[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
struct Bytes(usize);

impl StateMachine for Bytes {
    type Command = Vec<u8>;
    type Reply = usize;
    type Query = ();
    type Answer = usize;

    fn apply(&mut self, command: Vec<u8>) -> usize {
        self.0 += command.len();
        self.0
    }

    fn query(&self, (): ()) -> usize {
        self.0
    }
}

/// Remembers what it is asked, and does nothing.
#[derive(Default)]
struct Hung {
    records: u64,
    sent: Vec<(NodeId, &'static str)>,
    told: Vec<String>,
    served: Vec<(NodeId, u64)>,
    metrics: Metrics,
}

impl Host<Bytes> for Hung {
    fn send(&mut self, to: NodeId, message: &Message) {
        self.sent.push((to, message.kind()));
    }
    fn append(&mut self, _: Record) {
        self.records += 1;
    }
    fn tell(&mut self, _: Port, tell: &Tell<'_>) {
        self.told.push(format!("{tell:?}"));
    }
    fn start(&mut self, job: Job<Bytes>) {
        if let Job::Serve { to, offset, .. } = job {
            self.served.push((to, offset));
        }
    }
    fn stop(&mut self, reason: StopReason) {
        self.told.push(reason.to_string());
    }
    fn metrics(&mut self) -> &mut Metrics {
        &mut self.metrics
    }
}

const MIB: usize = 1 << 20;

fn engine(host: &mut Hung) -> Engine<Bytes> {
    let all: Vec<_> = (1..=3).map(NodeId).collect();
    let members = Members::new(all.clone(), all.clone(), all).expect("all do everything");
    let setup = Setup::new(NodeId(1), Schedule::new(members, 1 << 20));
    let boot = Boot {
        setup,
        process: 1,
        birth: 1,
        address: "here".into(),
        sequence: 0,
        machine: Bytes::default(),
        head: None,
        records: None,
        snapshot_bytes: 0,
        snapshot_every: u64::MAX,
        backlog: BACKLOG,
    };
    let mut engine = Engine::start(boot, host).expect("a new node");
    engine.synced(Duration::ZERO, host.records);
    engine
}

fn command(cid: u64, bytes: usize) -> Command {
    let op = Op::Apply(machine_op::<Bytes>(&vec![0; bytes]));
    Command { client: ClientId { born: Slot::FIRST, number: 9 }, cid, acked: 1, op }
}

#[test]
fn a_node_whose_disk_hangs_takes_in_so_much_and_no_more() {
    let (mut host, now) = (Hung::default(), Duration::from_millis(1));
    let mut engine = engine(&mut host);
    let leader = NodeId(2);
    let ballot = Ballot { round: 1, incarnation: 1, leader };
    // All slots share the bytes of one decree: only what they count for matters.
    let decree = Decree::from(vec![command(1, MIB)]);
    let mut next = Slot::FIRST;
    let mut ask = |engine: &mut Engine<Bytes>, host: &mut Hung| {
        let pvalue = PValue { ballot, slot: next, decree: decree.clone() };
        next = next.plus(1);
        engine.message(now, leader, Message::P2a(pvalue));
        engine.message(now, leader, Message::Ping { round: next.0 });
        engine.flush(now, host);
    };
    (0..400).for_each(|_| ask(&mut engine, &mut host));
    let taken = host.records;
    assert!((250..=260).contains(&taken), "{taken} records of 1 MiB");
    assert!(host.sent.iter().all(|(_, kind)| !["p2b", "pong"].contains(kind)), "{:?}", host.sent);

    engine.command(Port(7), command(2, 1), &mut host);
    assert!(host.told.iter().any(|told| told.contains(&format!("{:?}", Refused::Busy))));
    engine.message(now, leader, Message::Heartbeat { ballot, leading: true });
    engine.flush(now, &mut host);
    assert_eq!(host.records, taken, "who leads is heard, and not written");
    assert_eq!(engine.leader(), Some(leader));

    engine.synced(now, taken);
    engine.flush(now, &mut host);
    let votes = host.sent.iter().filter(|(_, kind)| *kind == "p2b").count() as u64;
    assert!((250..=taken).contains(&votes), "{votes} votes");
    ask(&mut engine, &mut host);
    assert!(host.records > taken, "the disk goes on, and so does the node");
}

#[test]
fn a_part_of_a_snapshot_is_read_once_however_often_it_is_asked_for() {
    let (mut host, now) = (Hung::default(), Duration::from_millis(1));
    let mut engine = engine(&mut host);
    let (one, other) = (NodeId(2), NodeId(3));
    let ask = |engine: &mut Engine<Bytes>, host: &mut Hung, peer, offset| {
        engine.message(now, peer, Message::FetchSnapshot { slot: Slot(5), offset });
        engine.flush(now, host);
    };
    ask(&mut engine, &mut host, one, 0);
    ask(&mut engine, &mut host, one, 0);
    ask(&mut engine, &mut host, other, 0);
    assert_eq!(host.served, [(one, 0), (other, 0)]);
    engine.finished(now, Finished::Served { to: one, sent: true }, &mut host);
    ask(&mut engine, &mut host, other, 0);
    ask(&mut engine, &mut host, one, 7);
    assert_eq!(host.served, [(one, 0), (other, 0), (one, 7)]);
}
