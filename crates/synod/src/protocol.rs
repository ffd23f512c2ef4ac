//! What clients and nodes say to each other, after the handshake: one frame, one of these.
//!
//! Commands and replies are laid out by hand, for there are many of them; the rest is postcard.

use serde::{Deserialize, Serialize};
use synod_paxos::{
    Command, NodeId,
    wire::{self, DecodeError},
};

use crate::{genesis::Genesis, status::Status};

/// How sure a read is of what it sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Level {
    /// Sees everything that was acknowledged before it began. Asks a quorum of acceptors, once
    /// for all reads that wait.
    #[default]
    Linearizable,
    /// The same, answered by the leader alone while it holds a lease; relies on clocks that run
    /// at about the same rate. As [`Level::Linearizable`] where leases are off.
    Lease,
    /// Sees the state of the node that answers, which may lag behind.
    Local,
}

/// Why a node does not do what it was asked for. It will not do it later either.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Refused {
    /// Too much is waiting.
    #[error("the node has too much to do: try again a little later")]
    Busy,
    /// The disk is full.
    #[error("the node's disk is full: make room, and it takes commands again by itself")]
    DiskFull,
    /// The node keeps no state.
    #[error("the node keeps no state: it is a witness, or no member; ask another node")]
    NoReplica,
    /// The command or query is too long.
    #[error("longer than {COMMAND_MAX} bytes: split it")]
    TooLong,
    /// The node shuts down.
    #[error("the node is shutting down: ask another node")]
    Stopping,
    /// Something that only a node may say.
    #[error("only a node may say that it has started")]
    NotANode,
    /// Something that only the leader can do.
    #[error("the node does not lead: ask the leader")]
    NotLeading,
}

/// The longest command or query, in bytes.
pub const COMMAND_MAX: usize = 8 << 20;

/// From a client.
#[derive(Debug)]
pub enum Ask<'a> {
    /// Perform this.
    Command(Command),
    /// Answer this.
    Read {
        /// Which read; the client's number.
        id: u64,
        /// How sure it has to be.
        level: Level,
        /// What is asked.
        query: &'a [u8],
    },
    /// Something else, answered with [`Tell::Report`].
    Manage {
        /// Which question; the client's number.
        id: u64,
        /// What is asked for.
        what: Manage,
    },
}

/// What an operator asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Manage {
    /// How are you?
    Status,
    /// Let this node lead, or the fittest one.
    HandOver(Option<u32>),
    /// Write a snapshot now.
    Snapshot,
    /// How did the cluster begin?
    Genesis,
}

/// To a client.
#[derive(Debug)]
pub enum Tell<'a> {
    /// The command was performed.
    Done {
        /// Which command.
        cid: u64,
        /// What it returned.
        reply: &'a [u8],
    },
    /// The command will not be performed by this node.
    Refused {
        /// Which command.
        cid: u64,
        /// Why.
        why: Refused,
    },
    /// The session is too old to tell what became of the command.
    Expired {
        /// Which command.
        cid: u64,
    },
    /// The answer to a read.
    Answer {
        /// Which read.
        id: u64,
        /// What it returned.
        answer: &'a [u8],
    },
    /// The read cannot be answered here.
    ReadRefused {
        /// Which read.
        id: u64,
        /// Why.
        why: Refused,
    },
    /// The answer to an operator.
    Report {
        /// Which question.
        id: u64,
        /// The answer.
        report: Report,
    },
    /// Who leads now.
    Leader {
        /// The leader, if one is known.
        node: Option<NodeId>,
    },
    /// Who serves clients now: those that a client knew may all be gone tomorrow.
    Members {
        /// Counts the configurations. What was said of an earlier one no longer counts.
        epoch: u64,
        /// The replicas of the newest configuration that is known here, and where they are.
        members: Vec<(u32, &'a str)>,
    },
}

/// What an operator is told.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Report {
    /// How the node is.
    Status(Box<Status>),
    /// It is being done; with a hand-over, by this node.
    Agreed(Option<u32>),
    /// It is not.
    Refused(Refused),
    /// How the cluster began: what a node that joins has to know.
    Genesis(Box<Genesis>),
}

impl Report {
    /// On [`Manage::HandOver`]: whom the node has asked to lead, if it leads.
    #[must_use]
    pub fn of_hand_over(heir: Option<NodeId>) -> Self {
        heir.map_or(Self::Refused(Refused::NotLeading), |heir| Self::Agreed(Some(heir.0)))
    }

    /// On [`Manage::Snapshot`]: whether the node keeps a state.
    #[must_use]
    pub fn of_snapshot(keeps_state: bool) -> Self {
        if keeps_state { Self::Agreed(None) } else { Self::Refused(Refused::NoReplica) }
    }
}

impl Ask<'_> {
    /// Appends it, as it goes over the network, to `out`.
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Command(command) => put_command(command, out),
            Self::Read { id, level, query } => {
                let level = match level {
                    Level::Linearizable => 0,
                    Level::Lease => 1,
                    Level::Local => 2,
                };
                out.push(1);
                out.extend_from_slice(&id.to_le_bytes());
                out.push(level);
                out.extend_from_slice(query);
            }
            Self::Manage { id, what } => {
                out.push(2);
                out.extend_from_slice(&id.to_le_bytes());
                put_serde(what, out);
            }
        }
    }
}

/// [`Ask::Command`], without a copy of the command.
pub(crate) fn put_command(command: &Command, out: &mut Vec<u8>) {
    out.push(0);
    wire::encode_command(command, out);
}

impl<'a> Ask<'a> {
    /// What [`Ask::put`] has appended.
    ///
    /// # Errors
    /// When the bytes are nothing of the kind.
    pub fn take(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let (kind, rest) = bytes.split_first().ok_or(DecodeError::Short)?;
        match kind {
            0 => wire::decode_command(rest).map(Self::Command),
            1 => {
                let (id, rest) = take_u64(rest)?;
                let (level, query) = rest.split_first().ok_or(DecodeError::Short)?;
                let level = match level {
                    0 => Level::Linearizable,
                    1 => Level::Lease,
                    2 => Level::Local,
                    other => return Err(DecodeError::Kind(*other)),
                };
                Ok(Self::Read { id, level, query })
            }
            2 => {
                let (id, rest) = take_u64(rest)?;
                Ok(Self::Manage { id, what: take_serde(rest)? })
            }
            other => Err(DecodeError::Kind(*other)),
        }
    }
}

impl Tell<'_> {
    /// Appends it, as it goes over the network, to `out`.
    #[inline]
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Done { cid, reply } => put_bytes(0, *cid, reply, out),
            Self::Refused { cid, why } => {
                put_bytes(1, *cid, &[], out);
                put_serde(why, out);
            }
            Self::Expired { cid } => put_bytes(2, *cid, &[], out),
            Self::Answer { id, answer } => put_bytes(3, *id, answer, out),
            Self::ReadRefused { id, why } => {
                put_bytes(4, *id, &[], out);
                put_serde(why, out);
            }
            Self::Report { id, report } => {
                put_bytes(5, *id, &[], out);
                put_serde(report, out);
            }
            Self::Leader { node } => {
                put_bytes(6, u64::from(node.is_some()), &[], out);
                put_serde(&node.map_or(0, |node| node.0), out);
            }
            Self::Members { epoch, members } => {
                put_bytes(7, *epoch, &[], out);
                put_serde(members, out);
            }
        }
    }
}

impl<'a> Tell<'a> {
    /// What [`Tell::put`] has appended.
    ///
    /// # Errors
    /// When the bytes are nothing of the kind.
    pub fn take(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let (kind, rest) = bytes.split_first().ok_or(DecodeError::Short)?;
        let (id, rest) = take_u64(rest)?;
        match kind {
            0 => Ok(Self::Done { cid: id, reply: rest }),
            1 => Ok(Self::Refused { cid: id, why: take_serde(rest)? }),
            2 => Ok(Self::Expired { cid: id }),
            3 => Ok(Self::Answer { id, answer: rest }),
            4 => Ok(Self::ReadRefused { id, why: take_serde(rest)? }),
            5 => Ok(Self::Report { id, report: take_serde(rest)? }),
            6 => {
                let node = take_serde(rest)?;
                Ok(Self::Leader { node: (id > 0).then_some(NodeId(node)) })
            }
            7 => Ok(Self::Members { epoch: id, members: take_serde(rest)? }),
            other => Err(DecodeError::Kind(*other)),
        }
    }
}

#[inline]
fn put_bytes(kind: u8, id: u64, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(bytes);
}

fn take_u64(bytes: &[u8]) -> Result<(u64, &[u8]), DecodeError> {
    let (number, rest) = bytes.split_first_chunk::<8>().ok_or(DecodeError::Short)?;
    Ok((u64::from_le_bytes(*number), rest))
}

fn put_serde<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    let len = out.len();
    if postcard::to_io(value, &mut *out).is_err() {
        out.truncate(len); // Into memory, it cannot fail; the other side would refuse the frame.
    }
}

fn take_serde<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(DecodeError::Long),
        Err(_) => Err(DecodeError::Value),
    }
}
