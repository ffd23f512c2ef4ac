//! Every arrow of the paper's Figs. 2 and 8, and what section 4 adds to them.

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use crate::{
    reconfig::Schedule,
    types::{Ballot, Decree, NodeId, PValue, Slot},
};

/// What one process tells another. [`Display`](core::fmt::Display) prints it in the paper's
/// notation, in one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// Replica to the replica beside the active leader: propose these, please.
    Forward(Decree),
    /// Replica to leader: I propose this decree for this slot.
    Propose(Propose),
    /// Scout to acceptor: start this ballot, and tell what you accepted from this slot on.
    P1a {
        /// The scout's ballot.
        ballot: Ballot,
        /// The first slot to report.
        first: Slot,
    },
    /// Acceptor to scout.
    P1b(Box<P1b>),
    /// Commander to acceptor: please accept.
    P2a(PValue),
    /// Acceptor to commander.
    P2b(P2b),
    /// Commander to replica: chosen.
    Decision {
        /// The slot that is decided.
        slot: Slot,
        /// The ballot in which the decree was chosen.
        ballot: Ballot,
        /// The decree. `None` for a node whose acceptor was asked to accept this very pvalue:
        /// it finds the decree there, or learns it from another replica.
        decree: Option<Decree>,
    },
    /// Replica to replicas and leaders: how far I am (section 4.2).
    SlotOut(Progress),
    /// Replica to acceptor: enough replicas hold every slot below this one durably; collect
    /// (section 4.2).
    Collect(Slot),
    /// Leader to replica: your configuration is newer than mine, send it.
    AskSchedule,
    /// Replica to leader: the configurations that I know.
    Schedule(Arc<Schedule>),
    /// Replica to replica: tell me the decisions from this slot on.
    Learn(Slot),
    /// Replica to replica: decisions of consecutive slots.
    Decisions {
        /// The slot of the first decree.
        first: Slot,
        /// The decrees of the slots from `first` on.
        decrees: Vec<Decree>,
    },
    /// Replica to replica: send me the snapshot that ends before this slot, from this byte on.
    FetchSnapshot {
        /// Which snapshot: its slot_out.
        slot: Slot,
        /// The first byte that is missing.
        offset: u64,
    },
    /// Replica to replica: a part of a snapshot.
    SnapshotChunk(Box<SnapshotChunk>),
    /// Replica to acceptor: which is the highest slot you accepted a pvalue for (section 4.5)?
    ReadQuery {
        /// Echoed in the answer.
        round: u64,
    },
    /// Acceptor to replica.
    ReadReply {
        /// Which query this answers.
        round: u64,
        /// No slot above this one has been accepted here (trap E42: nor collected).
        highest: Slot,
    },
    /// Leader to acceptor: are you there, and is your disk?
    Ping {
        /// Echoed in the answer.
        round: u64,
    },
    /// Acceptor to leader. Waits for the disk like a vote.
    Pong {
        /// Which ping this answers.
        round: u64,
        /// The ballot that the acceptor holds.
        held: Ballot,
    },
    /// Leader to leaders and replicas (section 3): who leads.
    Heartbeat {
        /// The ballot that the sender leads with, or hears directly.
        ballot: Ballot,
        /// Whether the sender is that leader, and can reach a quorum.
        leading: bool,
    },
    /// Leader to leader: I lead, and would rather that you did. Campaign now.
    TakeOver {
        /// The sender's ballot.
        ballot: Ballot,
        /// The sender has given up every lease that it asked for up to this round.
        round: u64,
    },
    /// About leases for reads.
    Lease(LeaseMessage),
}

/// What is said about leases (section 4.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeaseMessage {
    /// Leader to acceptor: for so long, please adopt no other leader's ballot.
    Ask {
        /// Echoed in the answer. It rises with every question of a leader.
        round: u64,
        /// The ballot that the sender leads with.
        ballot: Ballot,
        /// For how long, in nanoseconds.
        length: u64,
    },
    /// Acceptor to leader: so be it. Waits for the disk like a vote.
    Granted {
        /// Which question this answers.
        round: u64,
        /// The ballot of the question, which the acceptor holds.
        ballot: Ballot,
        /// For how long, in nanoseconds; not longer than was asked for.
        length: u64,
    },
    /// Leader to acceptor: the leader of this ballot has given up every lease that it asked for
    /// up to this round.
    Release {
        /// The ballot that held the lease.
        ballot: Ballot,
        /// The last round that is given up.
        round: u64,
    },
    /// Replica to leader: if you hold a lease, what must a read not miss?
    Query {
        /// Echoed in the answer.
        round: u64,
    },
    /// Leader to replica.
    Reply {
        /// Which query this answers.
        round: u64,
        /// `None` if it holds no lease: ask a quorum.
        point: Option<ReadPoint>,
    },
}

/// What a read must not miss, as the holder of a lease knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadPoint {
    /// No slot above this one has been decided, as far as anybody can know.
    pub highest: Slot,
    /// The epoch of the configuration whose acceptors granted the lease.
    pub epoch: u64,
}

/// The paper's propose(s, c).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Propose {
    /// The proposed slot.
    pub slot: Slot,
    /// What is proposed for it.
    pub decree: Decree,
    /// The epoch of the configuration that governs the slot; the replica knows (R5).
    pub epoch: u64,
    /// The replica, if a passive leader forwards its proposal. It is not forwarded again (E38).
    pub replica: Option<NodeId>,
}

/// The paper's p1b, complete up to a slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct P1b {
    /// The ballot of the p1a.
    pub asked: Ballot,
    /// The acceptor's ballot after handling it; equal to `asked` if it is adopted.
    pub held: Ballot,
    /// The first slot that the p1a asked for.
    pub first: Slot,
    /// The slot from which the scout has to ask again; `None` if the report is complete.
    pub rest: Option<Slot>,
    /// Everything below this slot has been collected (section 4.2).
    pub gc_slot: Slot,
    /// The latest pvalue of each slot from `first` on (section 4.1), below `rest`.
    pub accepted: Vec<PValue>,
}

/// The paper's p2b. In the paper it goes to the process that asked; here commanders are values,
/// so it names what it answers: otherwise the answer to an old commander of the same leader and
/// slot would count as a vote for the new one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct P2b {
    /// The slot of the p2a.
    pub slot: Slot,
    /// The ballot of the p2a.
    pub asked: Ballot,
    /// What became of it.
    pub vote: Vote,
}

/// An acceptor's answer to a commander.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vote {
    /// Accepted.
    Accepted,
    /// Refused: the acceptor holds this higher ballot.
    Preempted(Ballot),
    /// Refused: everything below this slot has been collected (trap E40), and the slot asked for
    /// is below it, or further ahead of it than an acceptor can hold.
    Collected(Slot),
}

/// How far a replica is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// All slots below this one have been performed.
    pub slot_out: Slot,
    /// All slots below this one are in a snapshot on disk.
    pub durable: Slot,
    /// The newest configuration that the replica knows.
    pub epoch: u64,
}

/// Part of a snapshot's bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotChunk {
    /// Which snapshot: its slot_out.
    pub slot: Slot,
    /// The checksum of the whole snapshot: bytes of two snapshots are never mixed.
    pub checksum: u64,
    /// The length of the whole snapshot.
    pub total: u64,
    /// Where these bytes belong.
    pub offset: u64,
    /// The bytes.
    pub bytes: Box<[u8]>,
}

impl Message {
    /// The name of the message in the paper, for counting.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Forward(_) => "forward",
            Self::Propose(_) => "propose",
            Self::P1a { .. } => "p1a",
            Self::P1b(_) => "p1b",
            Self::P2a(_) => "p2a",
            Self::P2b(_) => "p2b",
            Self::Decision { .. } => "decision",
            Self::SlotOut(_) => "slot_out",
            Self::Collect(_) => "collect",
            Self::AskSchedule => "ask_schedule",
            Self::Schedule(_) => "schedule",
            Self::Learn(_) => "learn",
            Self::Decisions { .. } => "decisions",
            Self::FetchSnapshot { .. } => "fetch_snapshot",
            Self::SnapshotChunk(_) => "snapshot_chunk",
            Self::ReadQuery { .. } => "read_query",
            Self::ReadReply { .. } => "read_reply",
            Self::Ping { .. } => "ping",
            Self::Pong { .. } => "pong",
            Self::Heartbeat { .. } => "heartbeat",
            Self::TakeOver { .. } => "take_over",
            Self::Lease(LeaseMessage::Ask { .. }) => "lease",
            Self::Lease(LeaseMessage::Granted { .. }) => "granted",
            Self::Lease(LeaseMessage::Release { .. }) => "release",
            Self::Lease(LeaseMessage::Query { .. }) => "lease_query",
            Self::Lease(LeaseMessage::Reply { .. }) => "lease_reply",
        }
    }

    /// The ballot that the message is about, for tracing.
    #[must_use]
    pub fn ballot(&self) -> Option<Ballot> {
        match self {
            Self::P1a { ballot, .. }
            | Self::Decision { ballot, .. }
            | Self::Heartbeat { ballot, .. }
            | Self::TakeOver { ballot, .. }
            | Self::Lease(
                LeaseMessage::Ask { ballot, .. }
                | LeaseMessage::Granted { ballot, .. }
                | LeaseMessage::Release { ballot, .. },
            ) => Some(*ballot),
            Self::P1b(p1b) => Some(p1b.asked),
            Self::P2a(pvalue) => Some(pvalue.ballot),
            Self::P2b(p2b) => Some(p2b.asked),
            Self::Pong { held, .. } => Some(*held),
            Self::Forward(_)
            | Self::Propose(_)
            | Self::SlotOut(_)
            | Self::Collect(_)
            | Self::AskSchedule
            | Self::Schedule(_)
            | Self::Learn(_)
            | Self::Decisions { .. }
            | Self::FetchSnapshot { .. }
            | Self::SnapshotChunk(_)
            | Self::ReadQuery { .. }
            | Self::ReadReply { .. }
            | Self::Ping { .. }
            | Self::Lease(LeaseMessage::Query { .. } | LeaseMessage::Reply { .. }) => None,
        }
    }

    /// The slot that the message is about, for tracing.
    #[must_use]
    pub fn slot(&self) -> Option<Slot> {
        match self {
            Self::Propose(Propose { slot, .. })
            | Self::P2a(PValue { slot, .. })
            | Self::P2b(P2b { slot, .. })
            | Self::Decision { slot, .. }
            | Self::Collect(slot)
            | Self::Learn(slot)
            | Self::P1a { first: slot, .. }
            | Self::Decisions { first: slot, .. }
            | Self::FetchSnapshot { slot, .. } => Some(*slot),
            Self::SlotOut(progress) => Some(progress.slot_out),
            Self::P1b(p1b) => Some(p1b.first),
            Self::SnapshotChunk(chunk) => Some(chunk.slot),
            Self::ReadReply { highest, .. } => Some(*highest),
            Self::Lease(LeaseMessage::Reply { point, .. }) => point.map(|point| point.highest),
            Self::Forward(_)
            | Self::AskSchedule
            | Self::Schedule(_)
            | Self::ReadQuery { .. }
            | Self::Ping { .. }
            | Self::Pong { .. }
            | Self::Heartbeat { .. }
            | Self::TakeOver { .. }
            | Self::Lease(
                LeaseMessage::Ask { .. }
                | LeaseMessage::Granted { .. }
                | LeaseMessage::Release { .. }
                | LeaseMessage::Query { .. },
            ) => None,
        }
    }
}

/// A message on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// Who sends it, as the transport has verified.
    pub from: NodeId,
    /// Who is to receive it.
    pub to: NodeId,
    /// What is said.
    pub message: Message,
}
