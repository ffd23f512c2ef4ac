//! The plan of a seed.
//!
//! Not every fault in every run: if everything goes wrong all the time, too little gets done for
//! the rare mistakes to show. So each seed draws which kinds of faults it has, and how many; and
//! some runs are quiet.

use fastrand::Rng;

use super::{Cluster, Fault, Left, Load, Network, Plan, Planned};
use crate::streams;

const MS: u64 = 1000;

/// Kinds of messages of which some are held back or lost.
const KINDS: [&str; 14] = [
    "p1a",
    "p1b",
    "p1b",
    "p2a",
    "p2b",
    "p2b",
    "decision",
    "propose",
    "forward",
    "slot_out",
    "collect",
    "read_reply",
    "schedule",
    "granted",
];
/// Kinds of messages after which their sender crashes.
const LAST_WORDS: [&str; 8] =
    ["p1a", "p2a", "p2a", "decision", "propose", "collect", "p1b", "snapshot_chunk"];

fn one_in(rng: &mut Rng, n: u32) -> bool {
    rng.u32(0..n) == 0
}

/// A count from 1 up to `max`, small ones more often.
fn count(rng: &mut Rng, max: u32) -> u32 {
    let bound = rng.u32(1..=max);
    rng.u32(1..=bound)
}

/// A number from 1 up to `max`, small ones more often.
fn few(rng: &mut Rng, max: u64) -> u64 {
    let bound = rng.u64(1..=max);
    rng.u64(1..=bound)
}

pub(super) fn plan(seed: u64) -> Plan {
    let mut rng = streams::rng(seed, 0);
    let rng = &mut rng;
    let cluster = cluster(rng);
    let network = network(rng);
    let workload = workload(rng, &cluster);
    let chaos = (300 + few(rng, 2700)) * MS;
    let (healing, draws, faults) = (60_000 * MS, None, Vec::new());
    let mut plan = Plan { seed, chaos, healing, cluster, network, workload, draws, faults };
    if !one_in(rng, 10) {
        let (nodes, rng) = (nodes(&plan.cluster), rng.fork());
        let mut draw = Draw { nodes, from: 100 * MS, to: chaos, rng };
        plan.faults = draw.faults(&plan.cluster);
        draw.rng = streams::rng(seed, 8);
        draw.more(&mut plan.faults);
    } else {
        (plan.network.lost, plan.network.doubled) = (0, 0);
    }
    if plan.cluster.lease > 0 && rng.bool() {
        quicken(&mut plan, rng);
    }
    plan.workload.local = local(&mut streams::rng(seed, 6));
    limits(&mut plan.cluster, &mut streams::rng(seed, 7));
    plan.faults.sort_by_key(|planned| planned.at);
    plan
}

/// Messages and disks take little of a lease's time, leaders are often cut off when they hold one,
/// and acceptors restart: what one clock says must be right to a few milliseconds.
fn quicken(plan: &mut Plan, rng: &mut Rng) {
    let Plan { cluster, network, workload, faults, chaos, .. } = plan;
    (cluster.phase2, cluster.turn, cluster.sync) = (0, 0, (20, 200));
    cluster.heartbeat = 10 * MS;
    cluster.resend = cluster.heartbeat;
    (network.latency, network.late) = ((20, few(rng, 400)), 0);
    (network.lost, network.doubled) = (0, 0);
    (workload.clients, workload.think) = (4, few(rng, 8 * MS));
    workload.requests = 100 + count(rng, 300);
    (workload.reads, workload.leased, workload.retried) = (600, 900, 0);
    let (crashes, replaces) = (rng.bool(), one_in(rng, 3));
    faults.clear();
    let mut at = 100 * MS;
    while at < *chaos {
        let lasts = rng.u64(100..=400) * MS;
        if replaces {
            let (remove, add) = (rng.u32(1..=3), rng.u32(0..=3));
            let fault = Fault::Reconfigure { remove, add, twice: false };
            faults.push(Planned { at: at - rng.u64(1..=60) * MS, fault });
        }
        faults.push(Planned { at, fault: Fault::Isolate { lasts } });
        if crashes {
            let (node, down) = (rng.u32(1..=nodes(cluster)), few(rng, 20) * MS);
            let fault = Fault::Crash { node, left: Left::Nothing, down };
            faults.push(Planned { at: at - rng.u64(1..=20) * MS, fault });
        }
        at += lasts + rng.u64(50..=300) * MS;
    }
}

fn nodes(cluster: &Cluster) -> u32 {
    cluster.full + cluster.witnesses + cluster.read_copies
}

fn cluster(rng: &mut Rng) -> Cluster {
    let (full, witnesses) = match rng.u32(0..8) {
        0 => (2, 1),
        1 => (3, 2),
        2 | 3 => (5, 0),
        4 => (4, 0),
        _ => (3, 0),
    };
    let leases = one_in(rng, 3);
    let drift_ppm = if rng.bool() { 200_000 } else { 500 };
    let voters = full + witnesses;
    let heartbeat = rng.u64(10..=25) * MS;
    Cluster {
        full,
        witnesses,
        read_copies: u32::from(one_in(rng, 6)),
        phase2: if one_in(rng, 8) { rng.u32(1..=voters) } else { 0 },
        window: if one_in(rng, 3) { 16 } else { rng.u64(1..=3) },
        sessions: if one_in(rng, 8) { rng.u64(3..=6) } else { 1000 },
        segment_bytes: 16 << 10,
        snapshot_every: if one_in(rng, 5) { 1 << 20 } else { few(rng, 4000) + 100 },
        heartbeat,
        resend: heartbeat * rng.u64(1..=3),
        patience: (rng.u64(60..=200) * MS, 800 * MS),
        lease: if leases { rng.u64(50..=200) * MS } else { 0 },
        drift_ppm,
        true_drift_ppm: if leases { drift_ppm / 10 * 9 } else { rng.u32(0..=100_000) },
        turn: if rng.bool() { 0 } else { few(rng, 300) },
        sync: (rng.u64(20..=2000), few(rng, 5000)),
        work: few(rng, 20 * MS),
        wire: one_in(rng, 4),
        in_phase: one_in(rng, 12),
        batch: 0,
        frame: 0,
        backlog: 0,
    }
}

/// Where nothing is ever too much, what happens at limits never happens.
fn limits(cluster: &mut Cluster, rng: &mut Rng) {
    cluster.batch = if one_in(rng, 3) { count(rng, 4) } else { 0 };
    cluster.frame = if one_in(rng, 3) { 40 + count(rng, 1000) } else { 0 };
    cluster.backlog = if one_in(rng, 4) { 500 + count(rng, 10_000) } else { 0 };
}

fn network(rng: &mut Rng) -> Network {
    let in_order = one_in(rng, 3);
    Network {
        latency: (rng.u64(20..=1000), few(rng, 10 * MS)),
        late: if one_in(rng, 3) { rng.u32(1..=40) } else { 0 },
        in_order,
        lost: if one_in(rng, 3) { rng.u32(1..=150) } else { 0 },
        doubled: if one_in(rng, 3) { rng.u32(1..=200) } else { 0 },
    }
}

fn workload(rng: &mut Rng, cluster: &Cluster) -> Load {
    Load {
        clients: rng.u32(1..=4),
        requests: 5 + count(rng, 200),
        in_flight: rng.u32(1..=6),
        think: few(rng, 30 * MS),
        reads: if one_in(rng, 4) { 0 } else { rng.u32(50..=500) },
        leased: if cluster.lease > 0 { rng.u32(0..=1000) } else { 0 },
        local: 0,
        retried: if rng.bool() { rng.u32(1..=300) } else { 0 },
        patience: rng.u64(80..=500) * MS,
        within: if one_in(rng, 3) { rng.u64(50..=500) * MS } else { 4000 * MS },
        restarts: if one_in(rng, 3) { rng.u32(1..=30) } else { 0 },
    }
}

/// Drawn apart, so that it changes nothing else.
fn local(rng: &mut Rng) -> u32 {
    if one_in(rng, 4) { rng.u32(50..=500) } else { 0 }
}

type Kind = fn(&mut Draw) -> Fault;

struct Draw {
    nodes: u32,
    from: u64,
    to: u64,
    rng: Rng,
}

impl Draw {
    fn faults(&mut self, cluster: &Cluster) -> Vec<Planned> {
        let mut all = Vec::new();
        let kinds: [(u32, u64, Kind); 22] = [
            (3, 8, |draw| Fault::Isolate { lasts: draw.lasts() }),
            (3, 5, Self::part),
            (3, 6, Self::cut),
            (5, 3, Self::lose),
            (3, 4, Self::hold),
            (5, 4, Self::slow),
            (12, 2, Self::misdirect),
            (2, 8, Self::crash),
            (6, 3, Self::power_cut),
            (3, 6, Self::last_words),
            (4, 6, Self::crash_in_disk),
            (3, 5, Self::pause),
            (5, 3, Self::sluggish),
            (5, 3, Self::slow_disk),
            (6, 2, Self::hung_disk),
            (7, 2, Self::full_disk),
            (5, 3, Self::failing_disk),
            (4, 6, Self::reset),
            (7, 3, Self::cloned),
            (7, 3, Self::panic),
            (20, 1, Self::poison),
            (5, 8, Self::former_session),
        ];
        let operators: [(u32, u64, Kind); 2] =
            [(3, 3, Self::reconfigure), (4, 4, |_| Fault::HandOver { to: None })];
        for (rarity, most, kind) in kinds.into_iter().chain(operators) {
            self.perhaps(rarity, most, kind, &mut all);
        }
        // Leases rely on clocks that neither leap nor stop.
        for kind in [Self::leap, Self::stopped_clock] {
            if cluster.lease == 0 {
                self.perhaps(6, 4, kind, &mut all);
            }
        }
        if one_in(&mut self.rng, 8) {
            self.upgrades(&mut all);
        }
        if one_in(&mut self.rng, 3) {
            self.destruction(cluster, &mut all);
        }
        all
    }

    /// Drawn apart, so that it changes nothing else.
    fn more(&mut self, all: &mut Vec<Planned>) {
        self.perhaps(5, 3, Self::garble, all);
        self.perhaps(5, 3, Self::hand_over, all);
        self.perhaps(5, 3, Self::save, all);
        for planned in all {
            if let Fault::Rot { vote, .. } = &mut planned.fault {
                *vote = self.rng.bool();
            }
        }
    }

    /// In one of so many plans, some faults of a kind.
    fn perhaps(&mut self, rarity: u32, most: u64, kind: Kind, all: &mut Vec<Planned>) {
        if !one_in(&mut self.rng, rarity) {
            return;
        }
        for _ in 0..few(&mut self.rng, most) {
            let at = self.rng.u64(self.from..self.to);
            all.push(Planned { at, fault: kind(self) });
        }
    }

    /// What one disk loses is lost for good. So that the cluster can do without, only as many
    /// disks as may be lost are touched at all.
    fn destruction(&mut self, cluster: &Cluster, all: &mut Vec<Planned>) {
        let voters = cluster.full + cluster.witnesses;
        let majority = voters / 2 + 1;
        let phase2 = if cluster.phase2 == 0 { majority } else { cluster.phase2 };
        let phase1 = if cluster.phase2 == 0 { majority } else { voters + 1 - phase2 };
        let spare = (voters - phase1.max(phase2)).min(cluster.full.saturating_sub(1));
        for node in 1..=self.rng.u32(0..=spare) {
            for _ in 0..few(&mut self.rng, 3) {
                let down = self.down();
                let fault = match self.rng.u32(0..6) {
                    0 if cluster.witnesses == 0 => Fault::Wipe { node, down },
                    1 if cluster.witnesses == 0 => {
                        Fault::Restore { node, back: self.rng.u64(20..=500) * MS }
                    }
                    2 => Fault::Stale { node, down },
                    3 => Fault::WrongPlace { node, swap: self.rng.bool(), down },
                    4 => self.lying_disk(node),
                    _ => Fault::Rot { node, down, vote: false },
                };
                all.push(Planned { at: self.rng.u64(self.from..self.to), fault });
            }
        }
    }

    fn node(&mut self) -> u32 {
        self.rng.u32(1..=self.nodes)
    }

    /// Some node, or the leader.
    fn node_or_leader(&mut self) -> u32 {
        if self.rng.bool() { 0 } else { self.node() }
    }

    fn lasts(&mut self) -> u64 {
        few(&mut self.rng, 900) * MS
    }

    fn down(&mut self) -> u64 {
        few(&mut self.rng, 500) * MS
    }

    fn left(&mut self) -> Left {
        match self.rng.u32(0..6) {
            0 => Left::Process,
            1 => Left::Nothing,
            2 => Left::All,
            3 => Left::Prefix,
            _ => Left::Sectors,
        }
    }

    fn kind(&mut self, kinds: &[&str]) -> String {
        kinds[self.rng.usize(0..kinds.len())].to_owned()
    }

    fn part(&mut self) -> Fault {
        let side: Vec<u32> = (1..=self.nodes).filter(|_| self.rng.bool()).collect();
        let (mute, deaf) = match self.rng.u32(0..4) {
            0 => (true, false),
            1 => (false, true),
            _ => (true, true),
        };
        Fault::Part { side, mute, deaf, lasts: self.lasts() }
    }

    fn cut(&mut self) -> Fault {
        Fault::Cut { from: self.node(), to: self.node(), lasts: self.lasts() }
    }

    fn lose(&mut self) -> Fault {
        let kind = self.kind(&KINDS);
        Fault::Lose { kind, rate: self.rng.u32(100..=1000), lasts: self.lasts() }
    }

    fn hold(&mut self) -> Fault {
        let kind = self.kind(&KINDS);
        let from = if self.rng.bool() { 0 } else { self.node() };
        Fault::Hold { kind, from, lasts: self.lasts() }
    }

    fn slow(&mut self) -> Fault {
        let to = if self.rng.bool() { 0 } else { self.node() };
        Fault::Slow { from: self.node(), to, by: few(&mut self.rng, 200) * MS, lasts: self.lasts() }
    }

    fn garble(&mut self) -> Fault {
        let from = if self.rng.bool() { 0 } else { self.node() };
        Fault::Garble { from, rate: self.rng.u32(1..=300), lasts: self.lasts() }
    }

    fn misdirect(&mut self) -> Fault {
        if self.rng.bool() {
            return Fault::Foreign { to: self.node() };
        }
        Fault::Misdirect { from: self.node(), to: self.node() }
    }

    fn crash(&mut self) -> Fault {
        Fault::Crash { node: self.node(), left: self.left(), down: self.down() }
    }

    fn power_cut(&mut self) -> Fault {
        Fault::PowerCut { left: self.left(), down: self.down() }
    }

    fn last_words(&mut self) -> Fault {
        let kind = self.kind(&LAST_WORDS);
        Fault::LastWords { node: self.node_or_leader(), kind, down: self.down() }
    }

    fn crash_in_disk(&mut self) -> Fault {
        Fault::CrashInDisk {
            node: self.node(),
            call: few(&mut self.rng, 60),
            recovery: self.rng.bool(),
            left: self.left(),
            down: self.down(),
        }
    }

    fn pause(&mut self) -> Fault {
        Fault::Pause { node: self.node_or_leader(), lasts: self.lasts() }
    }

    fn sluggish(&mut self) -> Fault {
        Fault::Sluggish {
            node: self.node(),
            turn: few(&mut self.rng, 20) * MS,
            lasts: self.lasts(),
        }
    }

    fn slow_disk(&mut self) -> Fault {
        Fault::SlowDisk { node: self.node(), by: few(&mut self.rng, 100) * MS, lasts: self.lasts() }
    }

    fn hung_disk(&mut self) -> Fault {
        Fault::HungDisk { node: self.node_or_leader(), lasts: self.lasts() }
    }

    fn full_disk(&mut self) -> Fault {
        Fault::FullDisk { node: self.node(), room: few(&mut self.rng, 60_000), lasts: self.lasts() }
    }

    fn failing_disk(&mut self) -> Fault {
        let (node, call) = (self.node(), self.kind(&["write", "sync", "sync", "read"]));
        let (of, most) = match self.rng.u32(0..3) {
            0 => ("snapshot-", 6),
            _ => ("log-", 40),
        };
        let (of, nth, down) = (of.to_owned(), few(&mut self.rng, most), self.down());
        Fault::FailingDisk { node, call, of, nth, down }
    }

    fn reset(&mut self) -> Fault {
        Fault::Reset { one: self.node(), other: self.node() }
    }

    fn lying_disk(&mut self, node: u32) -> Fault {
        let left = match self.rng.u32(0..4) {
            0 => Left::Nothing,
            1 => Left::Prefix,
            _ => Left::Sectors,
        };
        Fault::LyingDisk { node, lasts: few(&mut self.rng, 300) * MS, left, down: self.down() }
    }

    fn cloned(&mut self) -> Fault {
        Fault::Cloned { node: self.node(), after: self.rng.u64(50..=500) * MS }
    }

    fn panic(&mut self) -> Fault {
        let (node, nth) = (self.node(), few(&mut self.rng, 50));
        Fault::Panic { node, nth, lasts: self.lasts(), down: few(&mut self.rng, 200) * MS }
    }

    fn poison(&mut self) -> Fault {
        Fault::Poison { lasts: self.lasts(), down: few(&mut self.rng, 200) * MS }
    }

    /// All nodes, one after the other.
    fn upgrades(&mut self, all: &mut Vec<Planned>) {
        let mut at = self.rng.u64(self.from..self.to);
        for node in 1..=self.nodes {
            let down = self.down();
            all.push(Planned { at: at.min(self.to), fault: Fault::Upgrade { node, down } });
            at += self.rng.u64(0..=200) * MS;
        }
    }

    fn former_session(&mut self) -> Fault {
        Fault::FormerSession { client: self.rng.u32(0..4), node: self.node() }
    }

    fn stopped_clock(&mut self) -> Fault {
        let (node, lasts) = (self.node(), self.lasts());
        Fault::StoppedClock { node, lasts, asleep: self.rng.bool() }
    }

    fn leap(&mut self) -> Fault {
        Fault::Leap { node: self.node(), by: few(&mut self.rng, 2000) * MS }
    }

    fn hand_over(&mut self) -> Fault {
        Fault::HandOver { to: Some(self.node()) }
    }

    fn save(&mut self) -> Fault {
        Fault::Save { node: self.node() }
    }

    fn reconfigure(&mut self) -> Fault {
        Fault::Reconfigure {
            remove: self.rng.u32(0..=2),
            add: self.rng.u32(0..=2),
            twice: one_in(&mut self.rng, 4),
        }
    }
}
