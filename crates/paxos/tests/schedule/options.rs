//! What a seed decides before anything happens: who there is, what goes wrong, and how often.
//!
//! Not every fault in every run: if everything goes wrong all the time, too little gets done for
//! the rare mistakes to show. So each seed draws which faults it has, and how many.

use std::time::Duration;

use fastrand::Rng;
use synod_paxos::{Lease, Members, NodeId, Quorums, Timing};

/// Kinds of messages of which some are held back, in runs that do so.
const HELD: [&str; 12] = [
    "p1a",
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
];
/// Kinds of messages after which the sender crashes, in runs that do so.
const LAST_WORDS: [&str; 8] =
    ["p1a", "p2a", "p2a", "decision", "propose", "collect", "read_query", "snapshot_chunk"];

/// How often each thing is done, relative to the others.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Weights {
    pub(crate) deliver: u32,
    pub(crate) tick: u32,
    pub(crate) flush: u32,
    pub(crate) sync: u32,
    pub(crate) request: u32,
    pub(crate) retry: u32,
    pub(crate) read: u32,
    pub(crate) reconfigure: u32,
    pub(crate) release: u32,
    pub(crate) restore: u32,
    pub(crate) compact: u32,
    pub(crate) stop: u32,
    pub(crate) campaign: u32,
    pub(crate) hand_over: u32,
    pub(crate) lost: u32,
    pub(crate) pause: u32,
    pub(crate) usurp: u32,
    pub(crate) crash: u32,
    pub(crate) recover: u32,
    pub(crate) cut: u32,
    pub(crate) heal: u32,
}

/// Everything that a seed decides before the run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) members: Members,
    /// Full nodes, or the paper's separate processes.
    pub(crate) colocated: bool,
    pub(crate) window: u64,
    pub(crate) sessions: usize,
    pub(crate) snapshot_every: u64,
    /// Bytes that make snapshots longer.
    pub(crate) ballast: usize,
    pub(crate) timing: Timing,
    /// By how many millionths the rate of a clock is off at most.
    pub(crate) drift_ppm: u32,
    pub(crate) steps: u32,
    pub(crate) callers: usize,
    pub(crate) in_flight: usize,
    /// Commands of each client.
    pub(crate) commands: u32,
    pub(crate) reconfigurations: u32,
    /// The longest time between two ticks.
    pub(crate) pace: Duration,
    /// Messages travel as bytes.
    pub(crate) wire: bool,
    pub(crate) flush_at_once: bool,
    pub(crate) sync_at_once: bool,
    pub(crate) weights: Weights,
    /// Of 1000 messages: how many arrive in the order in which they were sent.
    pub(crate) in_order: u32,
    /// Of 1000 messages: how many are lost, and how many arrive twice.
    pub(crate) lost: u32,
    pub(crate) doubled: u32,
    /// Of 1000 messages of this kind, from this process if one is named: how many are held back.
    pub(crate) held: Option<(&'static str, Option<NodeId>, u32)>,
    /// Of 1000 messages of this kind: how many are the last that their sender sends in its life.
    pub(crate) last_words: Option<(&'static str, u32)>,
    /// What a crash leaves of what was being written: some of it, or nothing.
    pub(crate) torn: bool,
    /// Of 1000 restarts: how many find that the disk has lost something.
    pub(crate) damaged: u32,
    /// Snapshots of others take a while to be restored.
    pub(crate) restores_slowly: bool,
}

fn one_in(rng: &mut Rng, n: u32) -> bool {
    rng.u32(0..n) == 0
}

/// A number up to `max`, small ones more often.
fn few(rng: &mut Rng, max: u32) -> u32 {
    let bound = rng.u32(1..=max);
    rng.u32(1..=bound)
}

fn ids(first: u32, count: u32) -> Vec<NodeId> {
    (first..first + count).map(NodeId).collect()
}

impl Options {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let colocated = rng.u32(0..3) > 0;
        let members = draw_members(rng, colocated);
        let mut options = Self {
            colocated,
            window: rng.u64(1..=4),
            sessions: if one_in(rng, 8) { rng.usize(2..=6) } else { 1000 },
            snapshot_every: if one_in(rng, 6) { 200 } else { u64::from(few(rng, 18)) + 2 },
            ballast: if one_in(rng, 15) { 600_000 } else { 0 },
            timing: Timing { patience_max: Duration::from_millis(800), ..Timing::default() },
            drift_ppm: 0,
            steps: rng.u32(500..=5000),
            callers: rng.usize(1..=4),
            in_flight: rng.usize(1..=4),
            commands: rng.u32(5..=80),
            reconfigurations: if one_in(rng, 2) { rng.u32(1..=3) } else { 0 },
            pace: Duration::from_millis(rng.u64(10..=100)),
            wire: one_in(rng, 8),
            flush_at_once: rng.bool(),
            sync_at_once: one_in(rng, 3),
            weights: draw_weights(rng),
            in_order: if one_in(rng, 3) { rng.u32(0..=1000) } else { 0 },
            lost: 0,
            doubled: 0,
            held: None,
            last_words: None,
            torn: rng.bool(),
            damaged: 0,
            restores_slowly: rng.bool(),
            members,
        };
        if !one_in(rng, 8) {
            options.draw_faults(rng);
        }
        if options.reconfigurations > 0 {
            options.weights.reconfigure = 3;
            options.weights.stop = few(rng, 4);
        }
        if rng.bool() {
            options.draw_leases(rng);
        }
        options
    }

    /// Leases, and clocks that are as wrong as leases allow for.
    fn draw_leases(&mut self, rng: &mut Rng) {
        let drift_ppm = if rng.bool() { 200_000 } else { 500 };
        let length = Duration::from_millis(rng.u64(50..=400));
        self.timing.lease = Some(Lease { length, drift_ppm });
        self.drift_ppm = drift_ppm / 10 * 9;
        // A leader has to stay for a while, or it holds no lease; and must be replaced.
        let w = &mut self.weights;
        (w.deliver, w.tick, w.read) = (rng.u32(300..=1000), rng.u32(5..=15), rng.u32(4..=20));
        (w.campaign, w.hand_over, w.pause) = (few(rng, 3), rng.u32(0..=2), rng.u32(0..=3));
        (w.usurp, w.heal) = (rng.u32(0..=3), 2);
        self.pace = Duration::from_millis(rng.u64(5..=60));
        self.timing.resend = Duration::from_millis(rng.u64(10..=50));
        self.steps += 2000;
        if rng.bool() {
            self.quicken(rng);
        }
    }

    /// Messages and disks take little of a lease's time, leaders are often cut off when they hold
    /// one, and acceptors restart: what one clock says must be right to a few milliseconds.
    fn quicken(&mut self, rng: &mut Rng) {
        (self.in_order, self.flush_at_once, self.sync_at_once) = (1000, true, true);
        (self.lost, self.doubled, self.held, self.last_words) = (0, 0, None, None);
        self.commands = 400;
        if let Some(lease) = &mut self.timing.lease {
            lease.length = Duration::from_millis(rng.u64(50..=150));
        }
        let w = &mut self.weights;
        (w.deliver, w.tick, w.request, w.read, w.retry) = (3000, 100, 100, 200, 60);
        (w.campaign, w.pause, w.cut, w.lost) = (0, 0, 0, 0);
        (w.usurp, w.heal, w.release) = (rng.u32(2..=8), rng.u32(1..=4), 100);
        (w.crash, w.recover) = if rng.bool() { (0, 1) } else { (rng.u32(2..=12), 400) };
        self.pace = Duration::from_millis(10);
        self.timing.resend = Duration::from_millis(10);
        self.timing.heartbeat = Duration::from_millis(10);
    }

    fn draw_faults(&mut self, rng: &mut Rng) {
        if rng.bool() {
            self.lost = few(rng, 200);
        }
        if rng.bool() {
            self.doubled = few(rng, 300);
        }
        if rng.bool() {
            let members = &self.members;
            let whose = match rng.u32(0..3) {
                0 => None,
                1 => rng.choice(members.acceptors.iter()).copied(),
                _ => rng.choice(members.leaders.iter()).copied(),
            };
            self.held = Some((HELD[rng.usize(0..HELD.len())], whose, rng.u32(100..=1000)));
        }
        if one_in(rng, 3) {
            let word = LAST_WORDS[rng.usize(0..LAST_WORDS.len())];
            self.last_words = Some((word, few(rng, 200)));
        }
        if rng.bool() {
            self.weights.crash = few(rng, 12);
        }
        if rng.bool() {
            self.weights.campaign = few(rng, 12);
        }
        if one_in(rng, 3) {
            self.damaged = rng.u32(100..=900);
            self.weights.crash = self.weights.crash.max(few(rng, 12));
        }
        if one_in(rng, 3) {
            (self.weights.cut, self.weights.heal) = (few(rng, 6), few(rng, 12));
        }
        if one_in(rng, 3) {
            (self.weights.lost, self.weights.hand_over) = (few(rng, 8), few(rng, 3));
        }
    }
}

fn draw_members(rng: &mut Rng, colocated: bool) -> Members {
    let members = if colocated {
        let all = ids(1, if one_in(rng, 3) { 5 } else { 3 });
        Members::new(all.clone(), all.clone(), all)
    } else {
        let (replicas, leaders) = (ids(1, rng.u32(2..=3)), ids(11, rng.u32(2..=3)));
        Members::new(replicas, leaders, ids(21, rng.u32(3..=5)))
    };
    flexible(rng, members.expect("every role has members, each once"))
}

/// Sometimes, other quorums than majorities.
pub(crate) fn flexible(rng: &mut Rng, members: Members) -> Members {
    if rng.u32(0..6) > 0 {
        return members;
    }
    let n = u32::try_from(members.acceptors.len()).expect("there are few");
    let phase2 = rng.u32(1..=n);
    members.with_quorums(Quorums { phase1: n + 1 - phase2, phase2 }).expect("they intersect")
}

fn draw_weights(rng: &mut Rng) -> Weights {
    Weights {
        deliver: rng.u32(100..=400),
        tick: rng.u32(1..=8),
        flush: rng.u32(10..=60),
        sync: rng.u32(5..=80),
        request: rng.u32(4..=20),
        retry: few(rng, 8),
        read: if rng.bool() { few(rng, 20) } else { 0 },
        reconfigure: 0,
        release: few(rng, 10),
        restore: few(rng, 10),
        compact: few(rng, 8),
        stop: 0,
        campaign: 0,
        hand_over: 0,
        lost: 0,
        pause: 0,
        usurp: 0,
        crash: 0,
        recover: rng.u32(2..=20),
        cut: 0,
        heal: 0,
    }
}
