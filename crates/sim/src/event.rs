//! What happens in a run, as the properties see it.

use std::fmt;

use synod_paxos::{Ballot, ClientId, Command, Config, Message, NodeId, Record, Slot};

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

#[derive(Clone, Copy, Debug)]
pub(crate) enum Event<'a> {
    /// A process begins a life with this number, with what a snapshot and a log gave it.
    Started { node: NodeId, incarnation: u32, saved: Slot, at: Position },
    /// What a node remembers cannot be relied upon any more: its disk was tampered with.
    Forgot { node: NodeId },
    /// A message leaves a process.
    Sent { from: NodeId, incarnation: u32, message: &'a Message, slot_out: Slot },
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
    /// A client has its first answer to a command.
    Answered { client: ClientId, cid: u64 },
    /// A client is told that a command will never be performed.
    NotDone { client: ClientId, cid: u64 },
    /// A client asks for a linearizable read.
    ReadBegins { port: u64, id: u64 },
    /// A read is evaluated on a state with so many operations, or at this slot.
    ReadAnswered { node: NodeId, port: u64, id: u64, applied: Option<u64>, slot_out: Slot },
    /// A client has the answer to a read of a state with so many operations.
    ReadSeen { applied: u64 },
    /// An acceptor's ballot in memory.
    Holds { node: NodeId, ballot: Ballot },
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
