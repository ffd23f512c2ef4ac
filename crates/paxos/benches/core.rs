//! The core alone: three nodes on one thread, in memory, one client with a window of commands.
//!
//! `cargo bench -p synod-paxos` prints decided entries per second, and instructions per entry for
//! all three nodes and the client together, if valgrind is installed.
//!
//! A round hands the client's commands to the leader, and then each node in turn all messages
//! that it got in the round before. Persisting costs nothing here: acceptors keep what they
//! accepted, as libraries with a storage in memory do. Every 8,192 entries, each node reports a
//! snapshot of the older ones, so garbage is collected.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::{
    cell::Cell,
    env,
    hint::black_box,
    process::Command as Process,
    rc::Rc,
    time::{Duration, Instant},
};

use synod_paxos::{
    ClientId, Command, Effect, Members, Message, Node, NodeId, Op, Outbox, Payload, Schedule,
    Setup, Slot, StateMachine,
};

const WINDOWS: [u64; 4] = [1, 16, 256, 4096];
const PAYLOADS: [usize; 3] = [16, 256, 4096];
const NODES: usize = 3;
/// The protocol's WINDOW: slots in flight.
const SLOTS: u64 = 64;
/// Entries between two snapshots.
const KEPT: u64 = 8192;
/// Runs of each cell, of which the median is printed.
const RUNS: usize = 3;
const RUN: Duration = Duration::from_millis(300);
/// Rounds between two ticks.
const ROUNDS_PER_TICK: u64 = 1024;

/// Counts what is performed.
struct Counter(Rc<Cell<u64>>);

impl StateMachine for Counter {
    fn apply(&mut self, op: &[u8]) -> Payload {
        black_box(op);
        self.0.set(self.0.get() + 1);
        Payload::EMPTY
    }
}

struct Host {
    node: Node<Counter>,
    out: Outbox,
    performed: Rc<Cell<u64>>,
    /// The slot to save next, and how many entries have to be performed first.
    save: (Slot, u64),
}

struct Cluster {
    hosts: Vec<Host>,
    inboxes: Vec<Vec<(NodeId, Message)>>,
    /// An empty inbox, its memory kept.
    spare: Vec<(NodeId, Message)>,
    now: Duration,
    rounds: u64,
    sent: u64,
    acked: u64,
}

impl Cluster {
    fn new() -> Self {
        let ids: Vec<NodeId> = (1..).map(NodeId).take(NODES).collect();
        let members = Members::new(ids.clone(), ids.clone(), ids.clone()).expect("valid");
        let host = |id: NodeId| {
            let performed = Rc::new(Cell::new(0));
            let mut out = Outbox::new(id);
            let setup = Setup::new(id, Schedule::new(members.clone(), SLOTS));
            let node = Node::format(setup, Counter(performed.clone()), &mut out);
            Host { node, out, performed, save: (Slot::FIRST, KEPT) }
        };
        let hosts = ids.iter().map(|id| host(*id)).collect();
        let inboxes = vec![Vec::new(); NODES];
        let (now, spare) = (Duration::ZERO, Vec::new());
        let mut this = Self { hosts, inboxes, spare, now, rounds: 0, sent: 0, acked: 0 };
        let leader = &mut this.hosts[0];
        leader.node.campaign(&mut leader.out);
        while !this.hosts[0].node.leader().active() {
            this.round(0, 0);
        }
        this
    }

    /// Fills the window, and lets every node handle what it has got.
    fn round(&mut self, window: u64, payload: usize) {
        self.rounds += 1;
        while self.sent < self.acked + window {
            self.sent += 1;
            let op = Op::Apply(Payload::from(vec![0; payload]));
            let client = ClientId { born: Slot::FIRST, number: 1 };
            let command = Command { client, cid: self.sent, acked: self.acked + 1, op };
            let leader = &mut self.hosts[0];
            leader.node.request(command, &mut leader.out);
        }
        if self.rounds.is_multiple_of(ROUNDS_PER_TICK) {
            self.now += Duration::from_millis(10);
        }
        for i in 0..NODES {
            self.turn(i);
        }
    }

    fn turn(&mut self, i: usize) {
        let Self { hosts, inboxes, spare, .. } = self;
        let host = &mut hosts[i];
        std::mem::swap(spare, &mut inboxes[i]);
        for (from, message) in spare.drain(..) {
            host.node.step(self.now, from, message, &mut host.out);
        }
        if self.rounds.is_multiple_of(ROUNDS_PER_TICK) {
            host.node.tick(self.now, &mut host.out);
        }
        host.node.flush(&mut host.out);
        if host.performed.get() >= host.save.1 {
            host.node.saved(host.save.0, &mut host.out);
            host.save = (host.node.replica().slot_out(), host.performed.get() + KEPT);
        }
        let id = host.node.id();
        while !host.out.is_empty() {
            for effect in host.out.drain() {
                match effect {
                    Effect::SendWhenDurable(to, message) if to == id => spare.push((id, message)),
                    Effect::Send(to, message) | Effect::SendWhenDurable(to, message) => {
                        inboxes[to.0 as usize - 1].push((id, message));
                    }
                    Effect::Respond(response) => self.acked = response.cid,
                    Effect::Persist(_)
                    | Effect::ReadReady(_)
                    | Effect::Retired(_)
                    | Effect::ServeSnapshot { .. }
                    | Effect::KeepChunk { .. } => {}
                }
            }
            for (from, message) in spare.drain(..) {
                host.node.step(self.now, from, message, &mut host.out);
            }
        }
    }

    /// What the instructions are counted of; its name is given to callgrind.
    #[inline(never)]
    fn steady(&mut self, window: u64, payload: usize, entries: u64) {
        let end = self.acked + entries;
        while self.acked < end {
            self.round(window, payload);
        }
    }

    /// Entries that the replica that is furthest behind has performed.
    fn performed(&self) -> u64 {
        self.hosts.iter().map(|host| host.performed.get()).min().unwrap_or(0)
    }
}

/// Decided entries per second, of one run.
fn rate(window: u64, payload: usize) -> f64 {
    let mut cluster = Cluster::new();
    cluster.steady(window, payload, 4 * KEPT);
    let (start, before) = (Instant::now(), cluster.performed());
    while start.elapsed() < RUN {
        cluster.steady(window, payload, 1024);
    }
    (cluster.performed() - before) as f64 / start.elapsed().as_secs_f64()
}

/// Instructions per entry, counted by callgrind, or `None` without it.
fn instructions(window: u64, payload: usize) -> Option<f64> {
    const ENTRIES: u64 = 16384;
    let output = Process::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg("--toggle-collect=*Cluster*steady*")
        .arg(env::current_exe().ok()?)
        .args(["--count".into(), window.to_string(), payload.to_string(), ENTRIES.to_string()])
        .output()
        .ok()?;
    let report = String::from_utf8_lossy(&output.stderr);
    let collected = report.lines().find_map(|line| line.split_once("Collected : "))?.1;
    Some(collected.trim().parse::<f64>().ok()? / ENTRIES as f64)
}

fn main() {
    let args: Vec<String> = env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--count") {
        let number = |i: usize| args[at + i].parse::<u64>().expect("a number");
        let payload = number(2).try_into().expect("a length");
        return Cluster::new().steady(number(1), payload, number(3));
    }
    println!("payload  window  entries/s (median of {RUNS}, spread)  instructions/entry");
    for payload in PAYLOADS {
        for window in WINDOWS {
            let mut rates: Vec<f64> = (0..RUNS).map(|_| rate(window, payload)).collect();
            rates.sort_by(f64::total_cmp);
            let (median, width) = (rates[RUNS / 2], rates[RUNS - 1] - rates[0]);
            let spread = 50.0 * width / median;
            let count = instructions(window, payload);
            let count =
                count.map_or_else(|| "needs valgrind".into(), |count| format!("{count:.0}"));
            println!("{payload:>5} B  {window:>6}  {median:>12.0} ±{spread:>3.0} %  {count:>20}");
        }
    }
}
