//! What a node is told when it starts, and why it may refuse to.

use crate::{
    liveness::Timing, reconfig::Schedule, replica::InvalidSnapshot, session::SESSIONS_MAX,
    types::NodeId,
};

pub(crate) const REPLICA: u8 = 1;
pub(crate) const LEADER: u8 = 2;
pub(crate) const ACCEPTOR: u8 = 4;

/// Which roles a node has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Roles {
    /// Keeps the state.
    pub replica: bool,
    /// May lead.
    pub leader: bool,
    /// Votes.
    pub acceptor: bool,
}

impl Roles {
    /// A full node.
    pub const ALL: Self = Self { replica: true, leader: true, acceptor: true };
    /// The paper's replica. Alone, it keeps the state and serves reads; like every replica it must
    /// be named in the configuration.
    pub const REPLICA: Self = Self { replica: true, leader: false, acceptor: false };
    /// The paper's leader.
    pub const LEADER: Self = Self { replica: false, leader: true, acceptor: false };
    /// The paper's acceptor: alone, a witness.
    pub const ACCEPTOR: Self = Self { replica: false, leader: false, acceptor: true };

    /// The roles as bits.
    pub(crate) fn mask(self) -> u8 {
        u8::from(self.replica) * REPLICA
            + u8::from(self.leader) * LEADER
            + u8::from(self.acceptor) * ACCEPTOR
    }
}

/// What a node is told when it starts.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Who it is. Never given to two processes, nor again after its disk is lost.
    pub id: NodeId,
    /// What it does.
    pub roles: Roles,
    /// The cluster's first configuration, and its WINDOW.
    pub schedule: Schedule,
    /// How long things may take.
    pub timing: Timing,
    /// For the jitter of time-outs; any number, different on each node.
    pub seed: u64,
    /// Most sessions; the same on all nodes of a cluster.
    pub sessions: usize,
    /// How much at one time.
    pub limits: Limits,
}

impl Setup {
    /// A full node with default limits.
    #[must_use]
    pub fn new(id: NodeId, schedule: Schedule) -> Self {
        let (timing, seed) = (Timing::default(), u64::from(id.0));
        let (sessions, limits) = (SESSIONS_MAX, Limits::default());
        Self { id, roles: Roles::ALL, schedule, timing, seed, sessions, limits }
    }
}

/// How much a node takes on at one time. The defaults are for production; a simulation makes them
/// small, so that what happens at a limit happens often. Nodes need not have the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Most commands in one batch.
    pub batch_commands: usize,
    /// Most bytes of operations in one batch, unless a single command has more.
    pub batch_bytes: usize,
    /// Most commands that wait to be proposed. More are refused as busy.
    pub requests: usize,
    /// Most batches of others that wait to be proposed. More are dropped; their senders retry.
    pub waiting: usize,
    /// Most reads that wait. More are refused.
    pub reads: usize,
    /// Most commanders that ask again at one time.
    pub resend: usize,
    /// Most pvalues in one p1b.
    pub pvalues: usize,
    /// Most decrees in one message of decisions.
    pub decrees: usize,
    /// Most bytes of operations in a p1b or a message of decisions, unless a single decree has
    /// more.
    pub message_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch_commands: 4096,
            batch_bytes: 1 << 20,
            requests: 1 << 16,
            waiting: 1 << 10,
            reads: 1 << 16,
            resend: 64,
            pvalues: 1024,
            decrees: 256,
            message_bytes: 1 << 20,
        }
    }
}

/// Why a node cannot go on from what is on its disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecoverError {
    /// There is no record of an earlier life, though there was one: the disk was lost. What this
    /// node promised is forgotten, so it must not vote again (E14).
    Amnesia,
    /// The frame of the snapshot cannot be read.
    Snapshot(InvalidSnapshot),
}

impl core::fmt::Display for RecoverError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Amnesia => f.write_str(
                "this node has lost its records and must not vote again: \
                 replace it by a node with a new id, by reconfiguration",
            ),
            Self::Snapshot(invalid) => invalid.fmt(f),
        }
    }
}

impl core::error::Error for RecoverError {}
