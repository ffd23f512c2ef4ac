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
    Resolve(NodeId, String),
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
                Err(_) => Reach::Resolve(peer.node, peer.address.clone()),
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
        (peer.out, peer.dialing) = (None, false);
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
