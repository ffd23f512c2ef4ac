//! What happens in a run, as the properties see it.

use std::fmt;

use synod_paxos::{ClientId, Command, Config, Message, NodeId, Record, Response, Slot};

/// Where a replica is: all that can be seen of its state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Position {
    pub(crate) slot_out: Slot,
    pub(crate) applied: u64,
    pub(crate) hash: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Event<'a> {
    /// A process begins a life, after its last snapshot.
    Started { node: NodeId, saved: Slot, at: Position },
    /// A message leaves a process, after the disk if it had to wait. `slot_out` is the sender's.
    Sent { from: NodeId, message: &'a Message, slot_out: Slot },
    /// A record is on disk: it will be there after a crash.
    Durable { node: NodeId, record: &'a Record },
    /// A snapshot is on disk.
    Saved { node: NodeId, slot: Slot },
    /// A replica has performed slots, or has taken them over in a snapshot.
    Performed { node: NodeId, at: Position },
    /// A replica answers a client.
    Responds { node: NodeId, response: &'a Response, at: Position },
    /// A client makes a new request.
    Requested { command: &'a Command },
    /// A client has received its first answer to a command.
    Answered { client: ClientId, cid: u64 },
    /// A client asks for a read.
    ReadBegins { id: u64 },
    /// The read may be evaluated on this state.
    ReadReady { node: NodeId, id: u64, at: Position },
    /// A configuration's processes may stop.
    Retired { node: NodeId, config: &'a Config },
}

/// Something that must not happen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Violation {
    pub(crate) property: &'static str,
    pub(crate) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.what)
    }
}

/// `Err` with what is written, unless the condition holds.
macro_rules! hold {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err(format!($($what)+));
        }
    };
}
pub(crate) use hold;
