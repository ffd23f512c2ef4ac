//! What happens in a run, as the properties see it.

use std::fmt;

use synod::Level;
use synod_paxos::{Ballot, ClientId, Command, Config, Message, NodeId, Record, Slot};

use crate::queue::Time;

/// Where a replica is: all that can be compared of its state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Position {
    pub(crate) slot_out: Slot,
    pub(crate) digest: u64,
}

/// What became of a command, as a node says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome<'a> {
    Done(&'a [u8]),
    Expired,
}

/// Who is in a configuration, as a node knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    pub(crate) first: Slot,
    pub(crate) config: &'a Config,
}

/// A client's connection. They count from 1; 0 if it is not known over which one something came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Line {
    pub(crate) client: u64,
    pub(crate) conn: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Event<'a> {
    /// A process begins a life with this number, with what a snapshot and a log gave it.
    Started { node: NodeId, incarnation: u32, saved: Slot, at: Position, latest: Known<'a> },
    /// What a node remembers cannot be relied upon any more: its disk was tampered with.
    Forgot { node: NodeId },
    /// A message leaves a process, as so many bytes; 0 if it is not written as bytes.
    Sent { from: NodeId, incarnation: u32, message: &'a Message, slot_out: Slot, bytes: usize },
    /// A record is on disk: it will be there after a crash.
    Durable { node: NodeId, record: &'a Record },
    /// A snapshot is on disk.
    Saved { node: NodeId, slot: Slot },
    /// A replica has performed slots, or has taken them over in a snapshot.
    Performed { node: NodeId, at: Position, latest: Known<'a> },
    /// A client makes a new request.
    Requested { command: &'a Command },
    /// A replica answers a client.
    Answers { node: NodeId, client: ClientId, cid: u64, outcome: Outcome<'a>, slot_out: Slot },
    /// A client has its first answer to a command, which may hand out a fencing token.
    Answered { client: ClientId, cid: u64, over: Line, token: Option<u64> },
    /// A client is told that a command will never be performed.
    NotDone { client: ClientId, cid: u64 },
    /// A client asks for a read.
    ReadBegins { over: Line, id: u64, level: Level },
    /// A read is evaluated on a state with so many operations, or at this slot.
    ReadAnswered { node: NodeId, over: Line, id: u64, applied: Option<u64>, slot_out: Slot },
    /// A client has the answer to a read of a state with so many operations.
    ReadSeen { over: Line, applied: u64 },
    /// A leader would let a read be served now, by the lease that these acceptors have granted it.
    WouldServe { node: NodeId, epoch: u64 },
    /// An acceptor's ballot in memory.
    Holds { node: NodeId, ballot: Ballot },
    /// The faults are over.
    Healed,
    /// Everything that was asked for is answered, and nothing is asked for any more. For what goes
    /// on all the time, no node needs more messages of one kind than so many in a spell; after so
    /// long, there is nothing else to say.
    Idle { most: u64, within: Time },
    /// The state of a replica at the end, as its snapshot has it.
    State { node: NodeId, bytes: &'a [u8] },
}

/// Something that must not happen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The property, by its name in the documentation of [`properties`](crate::PROPERTIES).
    pub property: &'static str,
    /// What was seen.
    pub what: String,
}

impl Violation {
    pub(crate) fn new(property: &'static str, what: impl Into<String>) -> Self {
        Self { property, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.what)
    }
}

impl std::error::Error for Violation {}

/// What a check says.
pub(crate) type Judged = Result<(), Violation>;

/// `Err` with the property's name and what is written, unless the condition holds.
macro_rules! hold {
    ($property:literal, $condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err($crate::event::Violation::new($property, format!($($what)+)));
        }
    };
}
pub(crate) use hold;
