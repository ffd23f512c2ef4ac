//! What the scenarios ask of the system under test: a small key-value store, and how its nodes are.

use std::net::SocketAddr;

/// What became of an operation, as far as its client can know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome<T> {
    /// It took effect exactly once, between its call and its return.
    Done(T),
    /// It has no effect and never will have; the reason, for people.
    NotDone(String),
    /// It took effect, or will, or never will.
    Unknown,
}

impl<T> Outcome<T> {
    /// Changes the result, if there is one.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Self::Done(result) => Outcome::Done(change(result)),
            Self::NotDone(why) => Outcome::NotDone(why),
            Self::Unknown => Outcome::Unknown,
        }
    }
}

/// A client's session with the store. Every operation returns within some seconds, whatever
/// happens to the nodes.
pub(crate) trait Store: Send {
    /// Writes a key.
    fn put(&mut self, key: &str, value: &str) -> Outcome<()>;
    /// Writes a key if it holds `expect` (`None`: if there is no such key), and says if it did.
    fn swap(&mut self, key: &str, expect: Option<&str>, value: &str) -> Outcome<bool>;
    /// Adds to the end of what a key holds; a key that does not exist holds nothing.
    fn append(&mut self, key: &str, text: &str) -> Outcome<()>;
    /// Reads a key, linearizably.
    fn get(&mut self, key: &str) -> Outcome<Option<String>>;
}

/// How a node is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Status {
    /// Every slot below this one has been performed.
    pub(crate) slot: u64,
    /// Hash of the state as of that slot.
    pub(crate) hash: u64,
    /// The leader that the node follows or is, if it knows one.
    pub(crate) leader: Option<u64>,
    /// Whether it says that its disk is full.
    pub(crate) disk_full: bool,
}

/// The operator's view of the system.
pub(crate) trait Operator {
    /// How the node at this address is; `None` if it does not say so within a second or two.
    fn status(&self, node: SocketAddr) -> Option<Status>;
    /// Asks, through any of `through`, that exactly these nodes are the members.
    ///
    /// # Errors
    /// What the system says against it.
    fn ensure_members(
        &self,
        through: &[SocketAddr],
        members: &[(u64, SocketAddr)],
    ) -> Result<(), String>;
}
