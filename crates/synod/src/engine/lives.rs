//! Whether a node is who it says it is, with the disk that it had when it was seen last.
//!
//! A node whose disk was wiped, or replaced by an older copy, has forgotten promises and must not
//! vote (trap E14). It cannot know; the others can. Each remembers of every node which disk it
//! has, which life it is in, and how much of its log was on disk when it last said anything.

use std::collections::BTreeMap;

use synod_paxos::NodeId;

use crate::{
    machine::Machine,
    system::{Life, System, SystemCommand},
    transport::handshake::{Caller, Hello, Refusal},
};

use super::Engine;

/// A node that introduces itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stranger {
    /// Who it is.
    pub node: NodeId,
    /// Drawn when its disk was formatted.
    pub birth: u64,
    /// Which life it is in.
    pub incarnation: u32,
    /// Drawn when this life began: tells apart two that run from copies of one disk.
    pub process: u64,
    /// The number of the last record in its log when this life began.
    pub began: u64,
}

impl Stranger {
    fn life(&self) -> Life {
        Life { birth: self.birth, incarnation: self.incarnation }
    }
}

/// What was seen of a node.
struct Seen {
    who: Stranger,
    /// The number of the last record that was in its log when it last said anything.
    sequence: u64,
}

/// What was seen of the others. In order, so that the log says the same after the same inputs.
#[derive(Default)]
pub(super) struct Lives {
    seen: BTreeMap<NodeId, Seen>,
    /// Where they said that they are.
    addresses: BTreeMap<NodeId, String>,
}

impl Lives {
    fn vet(&mut self, system: &System, stranger: Stranger) -> Result<(), Refusal> {
        let Stranger { node, birth, incarnation, process, began } = stranger;
        let seen = self.seen.get(&node);
        let life = |seen: &Seen| seen.who.life();
        for known in system.lives.get(&node.0).copied().into_iter().chain(seen.map(life)) {
            if known.birth != birth {
                return Err(Refusal::Amnesia { node, known_birth: known.birth });
            }
            if known.incarnation > incarnation {
                return Err(Refusal::Duplicate { node, incarnation: known.incarnation });
            }
        }
        match seen {
            Some(seen) if seen.who == stranger => return Ok(()),
            Some(seen) if seen.who.incarnation == incarnation && seen.who.process != process => {
                return Err(Refusal::Duplicate { node, incarnation });
            }
            // What it began with, not what it has by now: an old copy grows again.
            Some(seen) if seen.sequence > began => {
                return Err(Refusal::Rollback { node, known: seen.sequence, claimed: began });
            }
            Some(_) | None => {}
        }
        self.seen.insert(node, Seen { who: stranger, sequence: began });
        Ok(())
    }

    /// How many records of a node are known to have been on its disk.
    pub(super) fn sequence_of(&self, node: NodeId) -> Option<u64> {
        self.seen.get(&node).map(|seen| seen.sequence)
    }

    /// This node itself.
    pub(super) fn met_self(&mut self, me: Stranger, address: String) {
        self.seen.insert(me.node, Seen { who: me, sequence: me.began });
        self.addresses.insert(me.node, address);
    }

    /// What was seen here and is not in the log: to be proposed by the node that leads.
    pub(super) fn news(
        &self,
        system: &System,
        is_known: impl Fn(NodeId) -> bool,
    ) -> Vec<SystemCommand> {
        let new = |stranger: &&Stranger| {
            let known = system.lives.get(&stranger.node.0);
            known.is_none_or(|known| {
                known.birth == stranger.birth && known.incarnation < stranger.incarnation
            })
        };
        let arrived = |stranger: &Stranger| {
            let node = stranger.node;
            let address = self.addresses.get(&node).cloned().unwrap_or_default();
            SystemCommand::Arrived(node.0, stranger.life(), address)
        };
        self.seen
            .values()
            .map(|seen| &seen.who)
            .filter(|stranger| is_known(stranger.node))
            .filter(new)
            .map(arrived)
            .collect()
    }
}

impl<M: Machine> Engine<M> {
    /// Somebody introduces itself to this node of `cluster`. `proves` says whether the caller has
    /// proved to be a node. Returns which node is let in, and its life; `None` for a client.
    ///
    /// # Errors
    /// When it is not let in.
    pub fn admit(
        &mut self,
        cluster: u64,
        hello: &Hello,
        proves: impl FnOnce(NodeId) -> bool,
    ) -> Result<Option<(NodeId, u32)>, Refusal> {
        let me = self.node.id();
        let foreign = hello.cluster != cluster;
        if foreign && (hello.cluster != 0 || matches!(hello.caller, Caller::Peer { .. })) {
            return Err(Refusal::Cluster { theirs: cluster });
        }
        if hello.to.is_some_and(|to| to != me) {
            return Err(Refusal::WrongNode { is: me });
        }
        let Caller::Peer { node, birth, incarnation, process, began, ref address } = hello.caller
        else {
            return Ok(None);
        };
        if !proves(node) {
            let why = format!("the certificate is not for node-{}.synod", node.0);
            return Err(Refusal::Unauthenticated(why));
        }
        if node == me {
            return Err(Refusal::Duplicate { node, incarnation: self.node.incarnation() });
        }
        self.vet(Stranger { node, birth, incarnation, process, began }, address)?;
        Ok(Some((node, incarnation)))
    }

    /// How this node introduces itself to others.
    #[must_use]
    pub fn introduce(&self) -> Caller {
        let node = self.node.id();
        Caller::Peer {
            node,
            birth: self.birth,
            incarnation: self.node.incarnation(),
            process: self.lives.seen.get(&node).map_or(0, |me| me.who.process),
            began: self.before,
            address: self.lives.addresses.get(&node).cloned().unwrap_or_default(),
        }
    }

    /// A node introduces itself. To be called before any message of it is handed over.
    ///
    /// # Errors
    /// When it must not take part.
    pub fn vet(&mut self, stranger: Stranger, address: &str) -> Result<(), Refusal> {
        self.lives.vet(&self.node.replica().state().system, stranger)?;
        self.lives.addresses.insert(stranger.node, address.to_owned());
        Ok(())
    }

    /// What the log says of a node: when its disk was formatted, and the life that it is in.
    #[must_use]
    pub fn life_of(&self, node: NodeId) -> Option<(u64, u32)> {
        let life = self.node.replica().state().system.lives.get(&node.0)?;
        Some((life.birth, life.incarnation))
    }

    /// A node that was let in says how much of its log is on disk. False if another life of it
    /// has been let in since: then it must not be listened to.
    #[inline]
    pub fn still(&mut self, node: NodeId, incarnation: u32, sequence: u64) -> bool {
        match self.lives.seen.get_mut(&node) {
            Some(seen) if seen.who.incarnation == incarnation => {
                seen.sequence = seen.sequence.max(sequence);
                true
            }
            Some(_) | None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger(birth: u64, incarnation: u32, began: u64) -> Stranger {
        Stranger { node: NodeId(1), birth, incarnation, process: 77, began }
    }

    #[test]
    fn whoever_has_lost_something_is_not_let_in() {
        let (mut lives, system) = (Lives::default(), System::default());
        assert_eq!(lives.vet(&system, stranger(7, 2, 100)), Ok(()));
        assert_eq!(lives.vet(&system, stranger(7, 2, 100)), Ok(()));
        lives.seen.get_mut(&NodeId(1)).expect("it was let in").sequence = 150;
        let reconnects = lives.vet(&system, stranger(7, 2, 100));
        assert_eq!(reconnects, Ok(()), "its log has grown since it began");
        let older = lives.vet(&system, stranger(7, 3, 149));
        assert!(matches!(older, Err(Refusal::Rollback { known: 150, claimed: 149, .. })));
        assert_eq!(lives.vet(&system, stranger(7, 3, 150)), Ok(()));
        let before = lives.vet(&system, stranger(7, 2, 200));
        assert!(matches!(before, Err(Refusal::Duplicate { incarnation: 3, .. })));
        let copied = lives.vet(&system, Stranger { process: 78, ..stranger(7, 3, 150) });
        assert!(matches!(copied, Err(Refusal::Duplicate { incarnation: 3, .. })));
        let wiped = lives.vet(&system, stranger(8, 9, 900));
        assert!(matches!(wiped, Err(Refusal::Amnesia { known_birth: 7, .. })));
    }

    #[test]
    fn what_the_log_says_of_a_node_counts_after_a_restart_of_the_others() {
        let mut system = System::default();
        system.lives.insert(1, Life { birth: 7, incarnation: 4 });
        let mut lives = Lives::default();
        assert!(lives.vet(&system, stranger(8, 1, 5)).is_err());
        assert!(lives.vet(&system, stranger(7, 3, 5)).is_err());
        assert_eq!(lives.vet(&system, stranger(7, 4, 5)), Ok(()));
    }
}
