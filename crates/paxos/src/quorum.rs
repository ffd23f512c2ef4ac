//! The paper's `waitfor`: which acceptors have answered.

use crate::{
    reconfig::Config,
    types::{Ballot, NodeId},
};

/// Counts each acceptor of a configuration once, however often it answers (trap E7), and nobody
/// else. The paper removes from a set those who answered; this is the complement of that set.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct WaitFor {
    answered: u64,
}

impl WaitFor {
    /// Notes an answer, and returns how many have answered. `None` if `from` is no acceptor here.
    #[inline]
    pub(crate) fn answer(&mut self, config: &Config, from: NodeId) -> Option<u32> {
        self.answered |= 1 << config.acceptor(from)?;
        Some(self.answered.count_ones())
    }

    /// The acceptors that have not answered.
    pub(crate) fn missing(self, config: &Config) -> impl Iterator<Item = NodeId> {
        let acceptors = config.members.acceptors.iter().enumerate();
        acceptors.filter(move |(i, _)| self.answered & (1 << i) == 0).map(|(_, &id)| id)
    }

    /// Whether `from` has answered.
    pub(crate) fn has(self, config: &Config, from: NodeId) -> bool {
        config.acceptor(from).is_some_and(|place| self.answered & (1 << place) != 0)
    }
}

/// What an answer settled, for a scout, a commander or a read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Verdict<T> {
    /// Nothing yet.
    Waiting,
    /// A quorum has answered: the paper's *adopted* of a scout, *chosen* of a commander.
    Won(T),
    /// An acceptor holds a higher ballot.
    Preempted(Ballot),
}
