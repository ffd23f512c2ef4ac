//! What a load generator needs to know of a cluster, whichever protocol it speaks.

use std::{borrow::Cow, ops::Range, time::Duration};

use clap::ValueEnum;
use serde::Serialize;

use super::Error;

/// A cluster under load.
pub(crate) trait Target: Sync {
    /// Opens the sessions of these clients. The thread that calls it is the one that drives them,
    /// so what it returns need not be `Send`.
    ///
    /// # Errors
    ///
    /// If the cluster cannot be reached within a few seconds.
    fn connect(&self, clients: Range<usize>) -> Result<Box<dyn Sessions>, Error>;

    /// The number of the node that leads, counted from 1 in the order of the addresses, if one
    /// does and the protocol tells.
    fn leader(&self) -> Option<usize>;
}

/// The sessions of one generator thread. They stand together behind one `poll`, because a thread
/// can wait in one place only.
pub(crate) trait Sessions {
    /// Takes a command of `client`, which is one of those that were connected. It may leave only
    /// with the next `poll`, so that many leave together. Nothing blocks: what cannot be taken
    /// is answered `Busy` or `Failed` by the next `poll`.
    fn submit(&mut self, client: usize, operation: Operation<'_>, ticket: u64);

    /// Sends what waits to be sent, and adds what has been answered to `completions`: each ticket
    /// exactly once. Returns as soon as there is anything to add, at the latest after `timeout`,
    /// which is often less than a millisecond and to be kept as exactly as the system allows.
    fn poll(&mut self, timeout: Duration, completions: &mut Vec<Completion>);
}

/// One command. The bytes are those of the caller, to be copied or sent at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation<'a> {
    Write { key: u64, value: &'a [u8] },
    Read { key: u64, level: Level },
}

/// What a read may return.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// The newest state, confirmed by a quorum
    Linearizable,
    /// The newest state, under a lease of the leader
    Lease,
    /// The state of the node that is asked, which may be old
    Local,
}

/// The command with this ticket has come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Completion {
    pub(crate) ticket: u64,
    pub(crate) outcome: Outcome,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Performed, and answered.
    Done,
    /// Refused for now: the cluster has too much to do.
    Busy,
    /// Perhaps performed, for this reason.
    Unknown(Cow<'static, str>),
    /// Not performed, for this reason.
    Failed(Cow<'static, str>),
}
