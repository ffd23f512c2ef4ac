//! What is replicated: a state machine, typed or over bytes.

use std::io::{self, Read, Write};

use serde::{Serialize, de::DeserializeOwned};

/// A state machine that fits into memory: the one trait that most users implement.
///
/// It must be deterministic: equal commands in equal order give equal states and replies on all
/// nodes. No clock, no randomness, no iteration over a `HashMap`: what a command needs of those,
/// its sender puts into it.
///
/// Commands, replies, queries, answers and the state travel and are stored in the format of
/// [postcard](https://docs.rs/postcard), which has no field names: new variants go behind the old
/// ones, and fields are never reordered.
///
/// A snapshot is a clone, written to disk while the original goes on. A large state is cheap to
/// clone if it shares structure: keep it in an `Arc`, or in persistent maps such as `imbl`'s. A
/// state that does not fit into memory implements [`Machine`] instead.
pub trait StateMachine: Default + Clone + Serialize + DeserializeOwned + Send + 'static {
    /// Changes the state. Performed once, on every node, in the same order.
    type Command: Serialize + DeserializeOwned;
    /// What a command returns.
    type Reply: Serialize + DeserializeOwned;
    /// Looks at the state.
    type Query: Serialize + DeserializeOwned;
    /// What a query returns.
    type Answer: Serialize + DeserializeOwned;

    /// Performs a command.
    fn apply(&mut self, command: Self::Command) -> Self::Reply;

    /// Answers a query, on one node.
    fn query(&self, query: Self::Query) -> Self::Answer;
}

/// Writes a state, on another thread.
pub type Snapshot = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send>;

/// Reads a state that a [`Snapshot`] wrote, on another thread.
pub type Restore<M> = Box<dyn FnOnce(&mut dyn Read) -> io::Result<M> + Send>;

/// A state machine as a node sees it: bytes in, bytes out. Every [`StateMachine`] is one.
///
/// To be implemented where postcard or a state in memory will not do.
pub trait Machine: Sized + Send + 'static {
    /// See [`StateMachine::Command`].
    type Command;
    /// See [`StateMachine::Reply`].
    type Reply;
    /// See [`StateMachine::Query`].
    type Query;
    /// See [`StateMachine::Answer`].
    type Answer;

    /// Performs a command and appends its reply to `reply`. A command that cannot be understood
    /// must change nothing, and get the same reply on every node. A machine that cannot go on, its
    /// own disk having failed, panics: that stops this node, and no other.
    fn apply(&mut self, command: &[u8], reply: &mut Vec<u8>);

    /// Answers a query: appends the answer to `answer`.
    fn query(&self, query: &[u8], answer: &mut Vec<u8>);

    /// The state as it is now, to be written by another thread while this machine goes on. Must
    /// return at once.
    fn snapshot(&self) -> Snapshot;

    /// How to make a machine from a snapshot. Must return at once; what it returns is called on
    /// another thread, while this machine goes on. An error leaves this machine in use; so may the
    /// node, if it has come further meanwhile. So what is in use is not to be replaced before the
    /// new machine's first [commit](Machine::commit).
    fn restore(&self) -> Restore<Self>;

    /// For a machine that keeps its state durably itself: makes durable, in one step, everything
    /// that it has applied and `frame`, which says up to where that is. After a crash, its state
    /// must be that of the last commit. `None`, the default, leaves durability to the node, which
    /// writes [snapshots](Machine::snapshot) to files.
    ///
    /// Called on the node's event loop, so it should write little at a time.
    fn commit(&mut self, frame: &[u8]) -> Option<io::Result<()>> {
        let _ = frame;
        None
    }

    /// The frame of the last [commit](Machine::commit), for a machine that has been opened again.
    fn committed(&self) -> Option<Vec<u8>> {
        None
    }

    /// Appends a command, as bytes, to `out`.
    fn encode_command(command: &Self::Command, out: &mut Vec<u8>);
    /// A reply from bytes. `None` if they are no reply: made by another version.
    fn decode_reply(reply: &[u8]) -> Option<Self::Reply>;
    /// Appends a query, as bytes, to `out`.
    fn encode_query(query: &Self::Query, out: &mut Vec<u8>);
    /// An answer from bytes. `None` if they are no answer: made by another version.
    fn decode_answer(answer: &[u8]) -> Option<Self::Answer>;
}

impl<S: StateMachine> Machine for S {
    type Command = S::Command;
    type Reply = S::Reply;
    type Query = S::Query;
    type Answer = S::Answer;

    fn apply(&mut self, command: &[u8], reply: &mut Vec<u8>) {
        if let Ok(command) = postcard::from_bytes(command) {
            put(&StateMachine::apply(self, command), reply);
        }
    }

    fn query(&self, query: &[u8], answer: &mut Vec<u8>) {
        if let Ok(query) = postcard::from_bytes(query) {
            put(&StateMachine::query(self, query), answer);
        }
    }

    fn snapshot(&self) -> Snapshot {
        let state = self.clone();
        Box::new(move |out| postcard::to_io(&state, out).map(drop).map_err(io::Error::other))
    }

    fn restore(&self) -> Restore<Self> {
        Box::new(|from| {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes)?;
            match postcard::take_from_bytes(&bytes) {
                Ok((state, [])) => Ok(state),
                Ok(_) => Err(io::Error::other("there are bytes behind the state")),
                Err(error) => Err(io::Error::other(error)),
            }
        })
    }

    fn encode_command(command: &S::Command, out: &mut Vec<u8>) {
        put(command, out);
    }
    fn decode_reply(reply: &[u8]) -> Option<S::Reply> {
        postcard::from_bytes(reply).ok()
    }
    fn encode_query(query: &S::Query, out: &mut Vec<u8>) {
        put(query, out);
    }
    fn decode_answer(answer: &[u8]) -> Option<S::Answer> {
        postcard::from_bytes(answer).ok()
    }
}

/// What is made of memory alone always has a form in bytes.
fn put<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    if postcard::to_io(value, &mut *out).is_err() {
        tracing::error!("a reply or an answer cannot be serialised: it is left empty");
    }
}
