//! A session that its owner drives: for programs with a loop of their own.
//!
//! No thread, no future, no waking: what is asked leaves with the next [`Pipeline::poll`], and what
//! came back is handed over by it. A load generator keeps thousands of commands in flight this way
//! on one thread.

use std::{marker::PhantomData, time::Duration};

use mio::Poll;
use synod_paxos::Op;

use super::{
    Connect,
    calls::{Outcome, Request},
    remote::Remote,
};
use crate::{
    error::{ConnectError, NotDone, ReadError},
    machine::Machine,
    protocol::{Level, Manage, Report},
    status::Status,
    system::machine_op,
};

/// A session with a cluster, driven by its owner. Each request has a tag, which comes back with
/// its completion.
pub struct Pipeline<M> {
    remote: Remote<u64>,
    timeout: Duration,
    machine: PhantomData<fn() -> M>,
}

/// What became of a request.
#[derive(Debug)]
pub enum Completion {
    /// The command was performed, with this reply, as bytes.
    Done(Vec<u8>),
    /// The command was not performed, and never will be.
    NotDone(NotDone),
    /// The command may have been performed, or may be later. Whoever must know uses a
    /// [`Client`](super::Client), whose tickets tell.
    Unknown,
    /// The answer to a query, as bytes.
    Answer(Vec<u8>),
    /// The answer to [`Pipeline::status`].
    Status(Box<Status>),
    /// There is no answer.
    Failed(ReadError),
}

impl<M: Machine> Pipeline<M> {
    /// Connects.
    ///
    /// # Errors
    /// When no node lets us in within 5 s.
    pub fn connect(connect: Connect) -> Result<Self, ConnectError> {
        let poll = Poll::new().map_err(|error| ConnectError::System(error.to_string()))?;
        let mut remote = Remote::new(poll, connect.route);
        remote.connect(super::CONNECT)?;
        Ok(Self { remote, timeout: connect.timeout, machine: PhantomData })
    }

    /// Has a command performed, once.
    pub fn call(&mut self, command: &M::Command, tag: u64) {
        let op = Op::Apply(machine_op::<M>(command));
        self.remote.request(Request::Call(op), self.timeout, tag);
    }

    /// Answers a query.
    pub fn read(&mut self, level: Level, query: &M::Query, tag: u64) {
        let mut bytes = Vec::new();
        M::encode_query(query, &mut bytes);
        self.remote.request(Request::Read(level, bytes), self.timeout, tag);
    }

    /// How the node is that this session talks to.
    pub fn status(&mut self, tag: u64) {
        self.remote.request(Request::Manage(Manage::Status), self.timeout, tag);
    }

    /// Sends what was asked, waits for something to come back, at most as long as `timeout` says,
    /// and appends what has.
    pub fn poll(&mut self, timeout: Duration, completions: &mut Vec<(u64, Completion)>) {
        self.remote.turn(timeout, || true);
        completions.extend(self.remote.settled().map(|(tag, outcome)| (tag, outcome.into())));
    }
}

impl From<Outcome> for Completion {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done(reply) => Self::Done(reply),
            Outcome::NotDone(why) => Self::NotDone(why),
            Outcome::Unknown(_) | Outcome::Expired => Self::Unknown,
            Outcome::Answer(answer) => Self::Answer(answer),
            Outcome::Report(Report::Status(status)) => Self::Status(status),
            Outcome::Report(Report::Refused(why)) => Self::Failed(why.into()),
            Outcome::Report(Report::Agreed(_) | Report::Genesis(_)) => {
                Self::Failed(ReadError::Undecodable)
            }
            Outcome::Failed(error) => Self::Failed(error),
        }
    }
}
