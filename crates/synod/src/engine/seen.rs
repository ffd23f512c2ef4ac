//! What an observer may want to see of a node: one that compares nodes with one another.

use std::time::Duration;

use synod_paxos::{NodeId, Variable, acceptor::Acceptor};

use super::{Engine, OWN, Port};
use crate::machine::Machine;

impl<M: Machine> Engine<M> {
    /// A [digest](super::digest) of all operations and replies so far.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.node.replica().state().digest
    }

    /// The user's state.
    #[must_use]
    pub fn machine(&self) -> &M {
        &self.node.replica().state().machine
    }

    /// The acceptor.
    #[must_use]
    pub fn acceptor(&self) -> &Acceptor {
        self.node.acceptor()
    }

    /// What is not done here, in words. There is nothing where nobody has asked for anything for a
    /// while. `open` says which ports lead to a client.
    #[must_use]
    pub fn unfinished(&self, open: impl Fn(Port) -> bool) -> Vec<&'static str> {
        let closed = |port: &Port| *port != OWN && !open(*port);
        let all = [
            ("reads that wait", self.reads.waiting.iter().any(Option::is_some)),
            ("messages that wait for the disk", !self.held.is_empty()),
            ("a snapshot that is being written", self.saving.is_busy()),
            ("clients that have left", self.ports.values().any(closed)),
            ("a full disk", self.disk_full),
        ];
        all.into_iter().filter_map(|(what, so)| so.then_some(what)).collect()
    }

    /// Shows each variable of each role, as it is now.
    pub fn variables(&self, show: &mut dyn FnMut(Variable<'_>)) {
        self.node.variables(show);
    }

    /// Whether the leader here is active.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.node.leader().leading()
    }

    /// How many records a node has had on its disk, as far as it has told this one.
    #[must_use]
    pub fn sequence_of(&self, node: NodeId) -> Option<u64> {
        self.lives.sequence_of(node)
    }

    /// The epoch of the configuration whose acceptors have granted the leader here a lease, if a
    /// read that came `now` would be served by it.
    #[must_use]
    pub fn lease(&self, now: Duration) -> Option<u64> {
        let held = self.node.holds_lease_at(now);
        held.then(|| self.node.leader().config().epoch)
    }
}
