//! The other nodes: where they are, and the connections to them.
//!
//! A node sends over the connection that it has made itself, and receives over those that the
//! others have made: each direction stands for itself.

use std::{net::SocketAddr, time::Duration};

use synod_paxos::NodeId;

use crate::transport::backoff::Backoff;

/// Another node.
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) address: String,
    /// The connection that we send over.
    pub(super) out: Option<usize>,
    /// The connection that is being made.
    dialing: bool,
    /// The connection that we receive over.
    pub(super) incoming: Option<usize>,
    backoff: Backoff,
    next: Duration,
    /// Dials that have come to nothing.
    failures: usize,
    /// The last thing that went wrong.
    pub(super) problem: Option<String>,
}

/// All other nodes that this one knows.
pub(super) struct Peers {
    list: Vec<Peer>,
    seed: u64,
}

/// What to do to reach a peer.
pub(super) enum Reach {
    Dial(NodeId, SocketAddr),
    /// With the number of dials that have come to nothing: the name may have another address.
    Resolve(NodeId, String, usize),
}

impl Peers {
    pub(super) fn new(seed: u64) -> Self {
        Self { list: Vec::new(), seed }
    }

    #[inline]
    pub(super) fn get(&self, node: NodeId) -> Option<&Peer> {
        self.list.iter().find(|peer| peer.node == node)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.list.iter()
    }

    fn get_mut(&mut self, node: NodeId) -> Option<&mut Peer> {
        self.list.iter_mut().find(|peer| peer.node == node)
    }

    /// A node is at this address. A connection that works is kept.
    pub(super) fn know(&mut self, node: NodeId, address: &str) {
        if let Some(peer) = self.get_mut(node) {
            if peer.address != address {
                address.clone_into(&mut peer.address);
                peer.next = Duration::ZERO;
            }
            return;
        }
        self.list.push(Peer {
            node,
            address: address.to_owned(),
            out: None,
            dialing: false,
            incoming: None,
            backoff: Backoff::new(self.seed ^ u64::from(node.0) << 32),
            next: Duration::ZERO,
            failures: 0,
            problem: None,
        });
    }

    /// Nodes that are of no use any more, and have no connection.
    pub(super) fn forget_unless(&mut self, wanted: impl Fn(NodeId) -> bool) -> Vec<usize> {
        let gone = |peer: &Peer| peer.incoming.is_none() && !wanted(peer.node);
        self.list.extract_if(.., |peer| gone(peer)).filter_map(|peer| peer.out).collect()
    }

    /// Whom to connect to now.
    pub(super) fn due(&mut self, now: Duration) -> Vec<Reach> {
        let due = |peer: &&mut Peer| peer.out.is_none() && !peer.dialing && now >= peer.next;
        let reach = |peer: &mut Peer| {
            peer.dialing = true;
            match peer.address.parse() {
                Ok(address) => Reach::Dial(peer.node, address),
                Err(_) => Reach::Resolve(peer.node, peer.address.clone(), peer.failures),
            }
        };
        self.list.iter_mut().filter(due).map(reach).collect()
    }

    /// A connection to `node` is being made at `place`; or cannot be.
    pub(super) fn dialing(&mut self, node: NodeId, place: Option<usize>) {
        if let Some(peer) = self.get_mut(node) {
            peer.dialing = place.is_some();
        }
    }

    /// A connection to `node` is ready to be sent over.
    pub(super) fn connected(&mut self, node: NodeId, place: usize) {
        if let Some(peer) = self.get_mut(node) {
            (peer.out, peer.dialing, peer.problem) = (Some(place), false, None);
            peer.backoff.reset();
        }
    }

    /// The connection to `node` is over, or could not be made.
    pub(super) fn failed(&mut self, now: Duration, node: NodeId, problem: Option<String>) {
        let Some(peer) = self.get_mut(node) else { return };
        let connected = peer.out.take().is_some();
        peer.failures = peer.failures.wrapping_add(usize::from(!connected));
        peer.dialing = false;
        peer.next = now + peer.backoff.delay();
        if problem.is_some() && peer.problem != problem {
            if let Some(problem) = &problem {
                tracing::warn!(peer = node.0, address = peer.address, "not connected: {problem}");
            }
            peer.problem = problem;
        }
    }

    /// `node` has made a connection at `place`. Returns the one that it replaces.
    pub(super) fn arrived(&mut self, node: NodeId, place: usize) -> Option<usize> {
        self.get_mut(node).and_then(|peer| {
            peer.next = Duration::ZERO; // It is there: no need to wait.
            peer.incoming.replace(place)
        })
    }

    /// The connection at `place` that `node` had made is over. True if it was its last word.
    pub(super) fn left(&mut self, node: NodeId, place: usize) -> bool {
        self.get_mut(node).is_some_and(|peer| peer.incoming.take_if(|at| *at == place).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_address_of_a_name_is_tried_only_when_one_was_in_vain() {
        const LATER: Duration = Duration::from_secs(60);
        let (node, mut now) = (NodeId(2), Duration::ZERO);
        let mut peers = Peers::new(1);
        peers.know(node, "localhost:7002");
        let mut next = |peers: &mut Peers| {
            now += LATER;
            match peers.due(now).pop() {
                Some(Reach::Resolve(_, name, failures)) => (now, name, failures),
                Some(Reach::Dial(..)) | None => panic!("it is a name, and it is due"),
            }
        };
        let (now, name, failures) = next(&mut peers);
        assert_eq!((name.as_str(), failures), ("localhost:7002", 0));
        peers.failed(now, node, None);
        let (now, _, failures) = next(&mut peers);
        assert_eq!(failures, 1);
        peers.connected(node, 7);
        peers.failed(now, node, None);
        assert_eq!(next(&mut peers).2, 1, "this one was the right one");
    }
}
