//! Which plans can be run: one that a person has written may make no sense.

use std::collections::BTreeSet;

use crate::plan::{Cluster, Fault, Load, Network, Plan};

/// No time in a plan is longer, in microseconds: an hour. Longer ones are mistaken units.
const LONGEST: u64 = 3_600_000_000;
/// Sets of nodes have so many places. Reconfigurations need some of them.
const NODES_MAX: u32 = 16;
/// All requests together.
const REQUESTS_MAX: u64 = 1_000_000;

/// Kinds of messages: greetings, and what the protocol says.
const KINDS: [&str; 28] = [
    "hello",
    "answer",
    "forward",
    "propose",
    "p1a",
    "p1b",
    "p2a",
    "p2b",
    "decision",
    "slot_out",
    "collect",
    "ask_schedule",
    "schedule",
    "learn",
    "decisions",
    "fetch_snapshot",
    "snapshot_chunk",
    "read_query",
    "read_reply",
    "ping",
    "pong",
    "heartbeat",
    "take_over",
    "lease",
    "granted",
    "release",
    "lease_query",
    "lease_reply",
];

/// What does not hold, unless the condition does.
fn demand(condition: bool, what: &str) -> Result<(), String> {
    if condition { Ok(()) } else { Err(what.to_owned()) }
}

fn rates<const N: usize>(rates: [(&str, u32); N]) -> Result<(), String> {
    match rates.into_iter().find(|(_, rate)| *rate > 1000) {
        Some((name, rate)) => Err(format!("{name}: {rate} of a thousand are too many")),
        None => Ok(()),
    }
}

fn times<const N: usize>(times: [(&str, u64); N]) -> Result<(), String> {
    match times.into_iter().find(|(_, time)| *time > LONGEST) {
        Some((name, time)) => {
            Err(format!("{name}: {time} µs are longer than an hour; times are in microseconds"))
        }
        None => Ok(()),
    }
}

fn kind(kind: &str) -> Result<(), String> {
    let unknown = || format!("kind: there is no {kind:?}, but there are {}", KINDS.join(", "));
    if KINDS.contains(&kind) { Ok(()) } else { Err(unknown()) }
}

impl Plan {
    /// Whether the plan can be run.
    ///
    /// # Errors
    /// The first thing in it that makes no sense, with its place.
    pub fn validate(&self) -> Result<(), String> {
        let within = |place: &'static str| move |what: String| format!("{place}: {what}");
        times([("chaos", self.chaos), ("healing", self.healing)])?;
        self.cluster.validate().map_err(within("cluster"))?;
        self.network.validate().map_err(within("network"))?;
        self.workload.validate().map_err(within("workload"))?;
        for (place, planned) in self.faults.iter().enumerate() {
            let name = planned.fault.name();
            let within = |what| format!("fault {} ({name}): {what}", place + 1);
            demand(planned.at <= self.chaos, "at: is after the faults have ended (see chaos)")
                .and_then(|()| planned.fault.validate())
                .map_err(within)?;
        }
        Ok(())
    }

    /// Whether no more nodes lose what is on their disks than the cluster can do without. If more
    /// do, it is right that nothing goes on.
    pub(crate) fn is_survivable(&self) -> bool {
        let lost: BTreeSet<u32> = self.faults.iter().filter_map(|it| it.fault.destroys()).collect();
        let Cluster { full, witnesses, phase2, .. } = self.cluster;
        let voters = full + witnesses;
        let quorum = match phase2 {
            0 => voters / 2 + 1,
            phase2 => phase2.max(voters + 1 - phase2),
        };
        lost.len() <= (voters - quorum).min(full.saturating_sub(1)) as usize
    }
}

impl Cluster {
    fn validate(&self) -> Result<(), String> {
        let voters = u64::from(self.full) + u64::from(self.witnesses);
        demand(self.full > 0, "full: somebody has to have all roles")?;
        let small = voters + u64::from(self.read_copies) <= u64::from(NODES_MAX);
        demand(small, "full, witnesses and read_copies: at most 16 nodes together")?;
        demand(u64::from(self.phase2) <= voters, "phase2: more than full and witnesses")?;
        demand((1..=1 << 16).contains(&self.window), "window: 1 to 65536")?;
        demand(self.sessions > 0, "sessions: nobody could ask for anything")?;
        demand(self.segment_bytes <= 1 << 26, "segment_bytes: at most 64 MiB")?;
        demand(self.snapshot_every > 0, "snapshot_every: at least one byte")?;
        demand(self.heartbeat > 0 && self.resend > 0, "heartbeat and resend: not 0")?;
        let (least, most) = self.patience;
        demand(0 < least && least <= most, "patience: the least, then the longest; not 0")?;
        demand(self.true_drift_ppm <= 900_000, "true_drift_ppm: at most 900000")?;
        demand(self.drift_ppm <= 900_000, "drift_ppm: at most 900000")?;
        times([
            ("heartbeat", self.heartbeat),
            ("resend", self.resend),
            ("patience", most),
            ("lease", self.lease),
            ("turn", self.turn),
            ("sync", self.sync.0.max(self.sync.1)),
            ("work", self.work),
        ])
    }
}

impl Network {
    fn validate(&self) -> Result<(), String> {
        times([("latency", self.latency.0.max(self.latency.1))])?;
        rates([("late", self.late), ("lost", self.lost), ("doubled", self.doubled)])
    }
}

impl Load {
    fn validate(&self) -> Result<(), String> {
        let requests = u64::from(self.clients) * u64::from(self.requests);
        demand(self.clients <= 1000, "clients: at most 1000")?;
        demand(requests <= REQUESTS_MAX, "clients times requests: at most a million")?;
        demand(self.in_flight > 0, "in_flight: not 0")?;
        demand(self.patience > 0 && self.within > 0, "patience and within: not 0")?;
        times([("think", self.think), ("patience", self.patience), ("within", self.within)])?;
        rates([
            ("reads", self.reads),
            ("leased", self.leased),
            ("local", self.local),
            ("retried", self.retried),
            ("restarts", self.restarts),
        ])
    }
}

impl Fault {
    fn validate(&self) -> Result<(), String> {
        match self {
            Self::Part { lasts, .. }
            | Self::Isolate { lasts }
            | Self::Cut { lasts, .. }
            | Self::Pause { lasts, .. }
            | Self::HungDisk { lasts, .. }
            | Self::StoppedClock { lasts, .. }
            | Self::FullDisk { lasts, .. } => times([("lasts", *lasts)]),
            Self::Garble { rate, lasts, .. } => {
                rates([("rate", *rate)])?;
                times([("lasts", *lasts)])
            }
            Self::Lose { kind: of, rate, lasts } => {
                kind(of)?;
                rates([("rate", *rate)])?;
                times([("lasts", *lasts)])
            }
            Self::Hold { kind: of, lasts, .. } => {
                kind(of)?;
                times([("lasts", *lasts)])
            }
            Self::LastWords { kind: of, down, .. } => {
                kind(of)?;
                times([("down", *down)])
            }
            Self::Slow { by, lasts, .. } | Self::SlowDisk { by, lasts, .. } => {
                times([("by", *by), ("lasts", *lasts)])
            }
            Self::Sluggish { turn, lasts, .. } => times([("turn", *turn), ("lasts", *lasts)]),
            Self::FailingDisk { call, down, .. } => {
                let known = ["write", "sync", "read"].contains(&call.as_str());
                demand(known, "call: write, sync or read")?;
                times([("down", *down)])
            }
            Self::Crash { down, .. }
            | Self::PowerCut { down, .. }
            | Self::CrashInDisk { down, .. }
            | Self::Rot { down, .. }
            | Self::Stale { down, .. }
            | Self::Wipe { down, .. }
            | Self::WrongPlace { down, .. }
            | Self::Upgrade { down, .. } => times([("down", *down)]),
            Self::LyingDisk { lasts, down, .. }
            | Self::Panic { lasts, down, .. }
            | Self::Poison { lasts, down } => times([("lasts", *lasts), ("down", *down)]),
            Self::Cloned { after, .. } => times([("after", *after)]),
            Self::Restore { back, .. } => times([("back", *back)]),
            Self::Leap { by, .. } => times([("by", *by)]),
            Self::Misdirect { .. }
            | Self::Foreign { .. }
            | Self::Reset { .. }
            | Self::FormerSession { .. }
            | Self::Reconfigure { .. }
            | Self::HandOver { .. }
            | Self::Save { .. } => Ok(()),
        }
    }

    /// The node whose disk is not what it was.
    pub(crate) fn destroys(&self) -> Option<u32> {
        match self {
            Self::Rot { node, .. }
            | Self::Stale { node, .. }
            | Self::Wipe { node, .. }
            | Self::LyingDisk { node, .. }
            | Self::WrongPlace { node, .. }
            | Self::Restore { node, .. } => Some(*node),
            Self::Part { .. }
            | Self::Isolate { .. }
            | Self::Cut { .. }
            | Self::Lose { .. }
            | Self::Hold { .. }
            | Self::Slow { .. }
            | Self::Garble { .. }
            | Self::Misdirect { .. }
            | Self::Foreign { .. }
            | Self::Crash { .. }
            | Self::PowerCut { .. }
            | Self::LastWords { .. }
            | Self::CrashInDisk { .. }
            | Self::Pause { .. }
            | Self::Sluggish { .. }
            | Self::SlowDisk { .. }
            | Self::HungDisk { .. }
            | Self::FullDisk { .. }
            | Self::FailingDisk { .. }
            | Self::Cloned { .. }
            | Self::Panic { .. }
            | Self::Poison { .. }
            | Self::Upgrade { .. }
            | Self::FormerSession { .. }
            | Self::StoppedClock { .. }
            | Self::Leap { .. }
            | Self::Reset { .. }
            | Self::Reconfigure { .. }
            | Self::HandOver { .. }
            | Self::Save { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Planned;

    #[test]
    fn what_seeds_draw_can_be_run() {
        for seed in 0..5000 {
            let plan = Plan::of_seed(seed);
            assert_eq!(plan.validate(), Ok(()), "seed {seed}");
            assert!(plan.is_survivable(), "seed {seed}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_place() {
        type Change = fn(&mut Plan);
        let changes: [(Change, &str); 14] = [
            (|plan| plan.cluster.full = 0, "cluster: full"),
            (|plan| plan.cluster.full = u32::MAX, "cluster: full, witnesses"),
            (|plan| plan.cluster.phase2 = 9, "cluster: phase2"),
            (|plan| plan.cluster.window = 0, "cluster: window"),
            (|plan| plan.cluster.patience = (2, 1), "cluster: patience"),
            (|plan| plan.cluster.true_drift_ppm = 1_000_001, "cluster: true_drift_ppm"),
            (|plan| plan.network.latency.1 = u64::MAX, "network: latency"),
            (|plan| plan.network.lost = 1001, "network: lost"),
            (|plan| plan.workload.in_flight = 0, "workload: in_flight"),
            (|plan| plan.workload.requests = u32::MAX, "workload: clients times requests"),
            (|plan| plan.chaos = u64::MAX, "chaos"),
            (|plan| push(plan, 1, Fault::Pause { node: 1, lasts: u64::MAX }), "fault 1 (pause)"),
            (
                |plan| push(plan, plan.chaos + 1, Fault::HandOver { to: None }),
                "fault 1 (hand_over): at",
            ),
            (
                |plan| push(plan, 1, Fault::Lose { kind: "p3a".into(), rate: 1, lasts: 1 }),
                "fault 1 (lose): kind: there is no \"p3a\"",
            ),
        ];
        for (change, place) in changes {
            let mut plan = Plan::of_seed(0);
            plan.faults.clear();
            change(&mut plan);
            let refused = plan.validate().expect_err(place);
            assert!(refused.starts_with(place), "{place}: {refused}");
        }
    }

    fn push(plan: &mut Plan, at: u64, fault: Fault) {
        plan.faults.push(Planned { at, fault });
    }

    #[test]
    fn a_cluster_survives_the_loss_of_as_many_disks_as_make_no_quorum() {
        let mut plan = Plan::of_seed(0);
        plan.faults.clear();
        plan.cluster = Cluster { full: 3, witnesses: 2, phase2: 0, ..plan.cluster };
        for (node, survives) in [(1, true), (1, true), (2, true), (3, false)] {
            push(&mut plan, 1, Fault::Rot { node, down: 1, vote: false });
            assert_eq!(plan.is_survivable(), survives, "{node}");
        }
        plan.faults.truncate(1);
        plan.cluster.phase2 = 5;
        assert!(!plan.is_survivable());
    }
}
