//! What an observer may want to see of a node: one that compares nodes with one another.

use std::time::Duration;

use synod_paxos::{NodeId, Variable, acceptor::Acceptor};

use super::Engine;
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
