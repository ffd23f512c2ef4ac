//! Everything that is decided before a run begins: the cluster, what it is asked for, and what goes
//! wrong when. A run is a function of its plan, and of the code.
//!
//! Plans are written as TOML. Times are in microseconds, rates in thousandths.

mod draw;
mod draws;
mod fault;

use serde::{Deserialize, Serialize};
use synod::engine::{BACKLOG, PART};
use synod_paxos::Limits;

pub use draws::{Draws, Told};
pub use fault::{Fault, Left, Planned};

/// How many ask for something besides the clients: they change the configuration, and look at each
/// replica in the end.
pub const OPERATORS: usize = 2;

/// A plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What the run draws as it goes: how long each message takes, which of a client's commands
    /// comes next. Each domain has a stream of its own.
    pub seed: u64,
    /// When the faults end and the healing begins.
    pub chaos: u64,
    /// How long the healing may take.
    pub healing: u64,
    /// The nodes.
    pub cluster: Cluster,
    /// What lies between them.
    pub network: Network,
    /// What is asked of them.
    pub workload: Load,
    /// What would be drawn from the seed, if the plan tells that instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draws: Option<Draws>,
    /// What goes wrong, and what operators do, in the order of time.
    #[serde(default)]
    pub faults: Vec<Planned>,
}

/// The nodes at the beginning, and how all nodes are set.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// How many nodes have all roles; their ids count from 1.
    pub full: u32,
    /// How many only vote.
    pub witnesses: u32,
    /// How many only keep the state.
    pub read_copies: u32,
    /// The quorum of phase 2; 0 for a majority.
    pub phase2: u32,
    /// The paper's WINDOW.
    pub window: u64,
    /// The most sessions.
    pub sessions: u64,
    /// The length of a segment of the log in bytes.
    pub segment_bytes: u64,
    /// Bytes of commands after which a snapshot is made.
    pub snapshot_every: u64,
    /// Between two heartbeats.
    pub heartbeat: u64,
    /// Between two rounds of asking again.
    pub resend: u64,
    /// The least and the longest silence after which a leader is replaced.
    pub patience: (u64, u64),
    /// The length of a lease; 0 for none.
    pub lease: u64,
    /// By how many millionths the rate of a clock may be off, as leases believe.
    pub drift_ppm: u32,
    /// By how many millionths it is off at most.
    pub true_drift_ppm: u32,
    /// How long a node takes for a turn; what arrives meanwhile goes with it.
    pub turn: u64,
    /// How long a sync takes: at least, and how much more at most.
    pub sync: (u64, u64),
    /// How long a piece of work on a snapshot takes at most.
    pub work: u64,
    /// Messages between nodes travel as bytes.
    pub wire: bool,
    /// Most commands in a batch, and so of whatever else nodes do several of at one time: requests
    /// and reads that wait, decrees in a message, slots that are asked for again. 0 for what is
    /// usual in production.
    #[serde(default)]
    pub batch: u32,
    /// Most bytes of commands in a batch or message; sixteen times as many of a snapshot are in
    /// one. 0 for what is usual in production.
    #[serde(default)]
    pub frame: u32,
    /// Most bytes of commands that wait for a disk before a node takes no more in; 0 for what is
    /// usual in production.
    #[serde(default)]
    pub backlog: u32,
    /// All nodes start at the same time, their clocks are right, and their time-outs are the same.
    #[serde(default)]
    pub in_phase: bool,
}

/// What lies between the nodes, all the time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// How long a message takes: at least, and how much more most of the time.
    pub latency: (u64, u64),
    /// How many messages take up to a hundred times as long.
    pub late: u32,
    /// Messages between two nodes arrive in the order in which they were sent.
    pub in_order: bool,
    /// How many are lost.
    pub lost: u32,
    /// How many arrive twice, the second time much later.
    pub doubled: u32,
}

/// What clients do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// How many clients there are.
    pub clients: u32,
    /// How many requests each makes.
    pub requests: u32,
    /// How many of its requests may be on their way.
    pub in_flight: u32,
    /// How long a client thinks between two of them, at most.
    pub think: u64,
    /// How many requests are reads.
    pub reads: u32,
    /// How many reads may be answered by the holder of a lease.
    pub leased: u32,
    /// How many reads may be answered by any node as it is.
    #[serde(default)]
    pub local: u32,
    /// How many commands are sent to a second node at once.
    pub retried: u32,
    /// How long a client waits for an answer before it asks again.
    pub patience: u64,
    /// How long a client waits for what becomes of a command before it gives up, and asks later.
    #[serde(default = "Load::within")]
    pub within: u64,
    /// How many clients come back with a new session now and then: the old one is left behind.
    pub restarts: u32,
}

impl Load {
    /// Where a plan does not say.
    fn within() -> u64 {
        4_000_000
    }
}

impl Cluster {
    /// How much a node takes on at one time.
    pub(crate) fn limits(&self) -> Limits {
        let usual = Limits::default();
        let many = |times: usize, usual| match self.batch as usize {
            0 => usual,
            batch => batch.saturating_mul(times),
        };
        let bytes = |usual| if self.frame == 0 { usual } else { self.frame as usize };
        Limits {
            batch_commands: many(1, usual.batch_commands),
            batch_bytes: bytes(usual.batch_bytes),
            requests: many(4, usual.requests),
            waiting: many(2, usual.waiting),
            reads: many(2, usual.reads),
            resend: many(1, usual.resend),
            pvalues: many(1, usual.pvalues),
            decrees: many(1, usual.decrees),
            message_bytes: bytes(usual.message_bytes),
        }
    }

    /// Most bytes of commands that wait for a disk.
    pub(crate) fn backlog(&self) -> u64 {
        if self.backlog == 0 { BACKLOG } else { u64::from(self.backlog) }
    }

    /// Bytes of a snapshot in one message.
    pub(crate) fn part(&self) -> usize {
        if self.frame == 0 { PART } else { self.frame as usize * 16 }
    }
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        draw::plan(seed)
    }

    /// The same, with all nodes upgraded to the next version of the state machine, one after the
    /// other; unless they are already.
    #[must_use]
    pub fn with_upgrade(mut self) -> Self {
        let Cluster { full, witnesses, read_copies, .. } = self.cluster;
        let nodes = full.saturating_add(witnesses).saturating_add(read_copies);
        if !self.faults.iter().any(|planned| matches!(planned.fault, Fault::Upgrade { .. })) {
            let faults = (1..=nodes).map(|node| Planned {
                at: self.chaos / (2 * u64::from(nodes)) * u64::from(node),
                fault: Fault::Upgrade { node, down: 10_000 },
            });
            self.faults.extend(faults);
            self.faults.sort_by_key(|planned| planned.at);
        }
        self
    }

    /// As text, to be kept, changed, and read back.
    #[must_use]
    pub fn to_text(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| format!("# cannot be written: {error}"))
    }

    /// What [`Plan::to_text`] has written.
    ///
    /// # Errors
    /// When it is nothing of the kind; the text says where.
    pub fn from_text(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_the_same_after_it_was_text() {
        for seed in 0..200 {
            let plan = Plan::of_seed(seed);
            assert_eq!(Plan::from_text(&plan.to_text()), Ok(plan), "seed {seed}");
        }
    }

    #[test]
    fn what_a_plan_tells_is_the_same_after_it_was_text() {
        let told = |pairs: &[(u64, u64)]| Told(pairs.to_vec());
        let draws = Draws {
            network: told(&[(0, 7), (3, u64::MAX)]),
            client: told(&[(17, 1)]),
            ..Draws::default()
        };
        let plan = Plan { draws: Some(draws), ..Plan::of_seed(1) };
        assert_eq!(Plan::from_text(&plan.to_text()), Ok(plan.clone()));
        let spoiled = plan.to_text().replace("17=1", "17:1");
        let refused = Plan::from_text(&spoiled).expect_err("it is no pair");
        assert!(refused.contains("`17:1` is not like `3=250`"), "{refused}");
    }

    #[test]
    fn a_plan_with_a_word_too_many_is_refused() {
        let text = Plan::of_seed(1).to_text().replace("seed =", "sede = 1\nseed =");
        assert!(Plan::from_text(&text).is_err());
    }
}
