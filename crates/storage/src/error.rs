//! What can go wrong, and what to do about it.

use std::{io, sync::Arc};

use synod_paxos::NodeId;

use crate::identity::Identity;

/// Why a directory cannot be used. Every text names the cure. Files are named without the
/// directory's own path.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "the directory is in use by another process: stop that process, or give each node a \
         directory of its own"
    )]
    Locked,
    /// It belongs to another node or another cluster.
    #[error(
        "the directory belongs to node {} of cluster {:016x}, but node {} of cluster \
         {wanted_cluster:016x} was to be opened: give each node its own directory, or start the \
         node under the id and in the cluster that the directory was made for",
        .found.node.0, .found.cluster, .wanted_node.0
    )]
    Identity {
        /// Whose it is.
        found: Identity,
        /// The node that was to be opened.
        wanted_node: NodeId,
        /// The cluster of that node.
        wanted_cluster: u64,
    },
    /// It was written in a format that this program does not know.
    #[error(
        "{file} has format version {found}, but this program reads versions 1 to {supported}: \
         use the version of the program that wrote it, or a newer one"
    )]
    Format {
        /// The file that says so.
        file: String,
        /// Its version.
        found: u32,
        /// The newest version that this program knows.
        supported: u32,
    },
    /// A file was copied here from another directory.
    #[error(
        "{file} belongs to another directory ({found}): move it back to where it came from; a log \
         cannot be put together from several"
    )]
    Foreign {
        /// The file.
        file: String,
        /// Whose it is.
        found: Identity,
    },
    /// The node's memory is gone, or the part that says whose memory it is.
    #[error(
        "{missing}, so what this node has promised is not known, and it must not vote: restore \
         the whole directory as it was when the node last ran, or replace the node by a new one \
         with a new id and an empty directory (ensure_members)"
    )]
    Amnesia {
        /// What is not there.
        missing: String,
    },
    /// Bytes that had been synced have changed, and what they said cannot be done without.
    #[error(
        "{file} is damaged at byte {offset}: {what}. This node must not vote with what is left: \
         restore this file, as it was when the node last ran, from the disk's own redundancy if \
         there is any; otherwise replace the node by a new one with a new id and an empty \
         directory (ensure_members)"
    )]
    Damaged {
        /// The file.
        file: String,
        /// Where in the file, in bytes.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// The disk does not do what it is asked.
    #[error(
        "cannot {doing} {file}: {source}. If the disk is failing, replace the node by a new one \
         with a new id on another disk (ensure_members)"
    )]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        file: String,
        /// What the operating system says.
        source: io::Error,
    },
}

impl OpenError {
    /// For `map_err`: a failed call of the disk.
    pub(crate) fn io(doing: &'static str, file: &str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, file: file.to_owned(), source }
    }
}

/// Why something is not durable.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// The disk is full and the reserve is used up. Nothing is lost: what was appended waits in
    /// memory, and a later sync writes it when there is space.
    #[error(
        "the disk is full, and so is the reserve of the log: free some space; the node goes on by \
         itself then"
    )]
    Full,
    /// The disk has failed. What was appended last is in doubt for ever, so nothing more is
    /// written; the process has to end and be started anew, and finds out what is there.
    #[error(
        "cannot {doing} {file}: {source}. What is on the disk is in doubt now, so this node \
         stops: start it again; if this comes back, replace it by a new one with a new id on \
         another disk (ensure_members)"
    )]
    Failed {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        file: String,
        /// What the operating system says.
        source: Arc<io::Error>,
    },
}

impl WriteError {
    /// For `map_err`: a failed call of the disk.
    pub(crate) fn io(doing: &'static str, file: &str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Failed { doing, file: file.to_owned(), source: Arc::new(source) }
    }
}

/// Whether an error says that there is no space.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A snapshot whose bytes are not what was written. It is the inner error of an [`io::Error`] of
/// kind [`io::ErrorKind::InvalidData`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{file} is damaged at byte {offset}: {what}. Restore this file, or remove it: then the node \
     fetches a snapshot from the others"
)]
pub struct DamagedSnapshot {
    /// The file.
    pub file: String,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
}

impl From<DamagedSnapshot> for io::Error {
    fn from(damage: DamagedSnapshot) -> Self {
        Self::new(io::ErrorKind::InvalidData, damage)
    }
}
