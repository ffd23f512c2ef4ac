//! What can go wrong, and what to do about it.

use std::{io, sync::Arc};

use synod_paxos::{RecoverError, reconfig::InvalidMembers};
use synod_storage::{OpenError, WriteError};

use crate::{
    protocol::Refused,
    transport::{handshake::Refusal, tls::TlsError},
};

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The settings contradict each other.
    #[error("{0}")]
    Settings(String),
    /// The members make no configuration.
    #[error(transparent)]
    Members(#[from] InvalidMembers),
    /// An address that cannot be listened on.
    #[error("cannot listen on {address}: {source}; name another with listen()")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The data directory cannot be made or used.
    #[error("the directory {path} cannot be used: {source}")]
    Directory {
        /// Where.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// What is in the data directory does not let the node run.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The log cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A snapshot that cannot be read.
    #[error("{0}")]
    Snapshot(io::Error),
    /// What the node was before does not let it run.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// Certificates that cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No node of the cluster to join has answered.
    #[error("cannot join: {0}")]
    Join(ConnectError),
    /// The operating system refuses something.
    #[error("the operating system refuses: {0}")]
    System(#[from] io::Error),
}

/// Why a node has stopped. It does nothing any more, and does not start again by itself.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StopReason {
    /// It was asked to.
    #[error("the node was stopped")]
    Asked,
    /// The log could not be written. What was not confirmed may be on disk or not, so the node
    /// must not go on from memory: start it again, and it goes on from what is on disk.
    #[error("the disk failed: {0}; check it, then start the node again")]
    Disk(String),
    /// The disk is not the one that this node once had.
    #[error(
        "node {node} has lived before, on another disk: what it promised is lost, so it must not \
         vote again; replace it by a node with a new id, with ensure_members"
    )]
    Wiped {
        /// Which node.
        node: u32,
    },
    /// Another node refuses this one for good.
    #[error("{by} refuses this node: {why}")]
    Refused {
        /// Who.
        by: String,
        /// Why.
        why: Refusal,
    },
    /// A machine that is durable by itself could not commit.
    #[error("the state machine could not make its state durable: {0}; start the node again")]
    Machine(Arc<io::Error>),
    /// The state machine panicked, or Synod did. The state in memory cannot be trusted.
    #[error("panicked: {0}; a state machine must not panic, whatever the command")]
    Panicked(String),
    /// It cannot go on from what was on its disk.
    #[error(transparent)]
    Recover(#[from] RecoverError),
}

/// Why a client cannot connect.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// There is nothing to connect to.
    #[error("no address: name at least one node")]
    NoAddress,
    /// Nobody answers.
    #[error("no node answers at {addresses}: {last}; check the addresses, and that nodes run")]
    Unreachable {
        /// What was tried.
        addresses: String,
        /// The last error.
        last: String,
    },
    /// The operating system refuses something.
    #[error("the operating system refuses: {0}")]
    System(String),
    /// Whoever answers refuses.
    #[error("{address} refuses: {why}")]
    Refused {
        /// Where.
        address: String,
        /// Why.
        why: Refusal,
    },
}

/// What became of a command that was not answered with its reply.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotDone {
    /// The nodes refused it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// No node was reached before the time-out.
    #[error("no node was reached: check the network, and that a majority of the nodes run")]
    Unreachable,
    /// This client has too many commands in flight.
    #[error("too many commands in flight: wait for some answers first")]
    TooManyInFlight,
    /// The node or client has stopped.
    #[error("the node has stopped")]
    Stopped,
}

/// Why a read was not answered. Reading again does no harm.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The nodes refused it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Not answered in time: no majority of the nodes can be reached.
    #[error("no answer in time: check that a majority of the nodes run and reach each other")]
    TimedOut,
    /// The node or client has stopped.
    #[error("the node has stopped")]
    Stopped,
    /// The answer cannot be read.
    #[error("the answer cannot be read: this program and the nodes have different versions")]
    Undecodable,
}
