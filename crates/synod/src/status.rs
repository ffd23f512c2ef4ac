//! How a node is: who leads and why, how far it is, how its disk does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A node's view of itself and its cluster. Numbers are of the moment; counters count since the
/// node started.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Which cluster.
    pub cluster: u64,
    /// Which node.
    pub node: u32,
    /// Which life of the node, from 1.
    pub incarnation: u32,
    /// Who leads, as far as this node knows.
    pub leader: Option<u32>,
    /// Why this node believes so.
    pub why: String,
    /// The highest ballot known to this node's leader role: round, leader, incarnation.
    pub ballot: (u64, u32, u32),
    /// The next slot to propose for.
    pub slot_in: u64,
    /// The next slot to perform.
    pub slot_out: u64,
    /// Everything below this slot is in a snapshot on this node's disk.
    pub durable: u64,
    /// A digest of all operations and replies below `slot_out`: equal on all nodes at one slot.
    pub digest: u64,
    /// The configuration's epoch: counts reconfigurations.
    pub epoch: u64,
    /// The first slot that the newest configuration governs.
    pub effective: u64,
    /// WINDOW: how many slots may be in flight.
    pub window: u64,
    /// The members of the newest configuration, and what this node knows of them; and nodes without
    /// a role that there is a connection to.
    pub members: Vec<MemberStatus>,
    /// What an fsync of the log takes, in microseconds.
    pub fsync: Latency,
    /// The disk is full: commands are refused.
    pub disk_full: bool,
    /// Slots whose accepted pvalue the disk has lost; repaired from the peers before long.
    pub lost_slots: u64,
    /// Events since the start, by name. Messages are counted under their names in the paper.
    pub counters: BTreeMap<String, u64>,
}

/// A member of a configuration.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Which node.
    pub node: u32,
    /// Where it is.
    pub address: String,
    /// Whether it keeps the state.
    pub replica: bool,
    /// Whether it may lead.
    pub leader: bool,
    /// Whether it votes.
    pub acceptor: bool,
    /// Which life it is in, from 1, as the log says; 0 if the log does not say.
    pub incarnation: u32,
    /// Whether there is a connection to it.
    pub connected: bool,
    /// Its slot_out, as it said last.
    pub slot_out: u64,
    /// How many slots it is behind this node.
    pub lag: u64,
    /// Everything below this slot is in a snapshot on its disk, as it said last.
    pub durable: u64,
    /// Why there is no connection to it, if that is known.
    pub problem: Option<String>,
}

/// Percentiles of a time, in microseconds.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Latency {
    /// How often it was measured.
    pub count: u64,
    /// The median.
    pub p50_us: u64,
    /// The 99th percentile.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}
