//! Everything in flight: a bag from which any packet may come next, or never.

use std::collections::BTreeSet;

use synod_paxos::{Command, Message, NodeId, Response};

/// Something on its way.
#[derive(Clone, Debug)]
pub(crate) enum Packet {
    Message { from: NodeId, to: NodeId, message: Message },
    Request { to: NodeId, command: Command },
    Response { from: NodeId, response: Response },
}

impl Packet {
    /// The process that is to receive it; `None` for a client.
    pub(crate) fn to(&self) -> Option<NodeId> {
        match self {
            Self::Message { to, .. } | Self::Request { to, .. } => Some(*to),
            Self::Response { .. } => None,
        }
    }

    pub(crate) fn from(&self) -> Option<NodeId> {
        match self {
            Self::Message { from, .. } | Self::Response { from, .. } => Some(*from),
            Self::Request { .. } => None,
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Message { message, .. } => message.kind(),
            Self::Request { .. } => "request",
            Self::Response { .. } => "response",
        }
    }
}

/// Links that are cut, each in one direction.
#[derive(Default, Debug)]
pub(crate) struct Cuts {
    cut: BTreeSet<(NodeId, NodeId)>,
}

impl Cuts {
    pub(crate) fn cut(&mut self, from: NodeId, to: NodeId) {
        if from != to {
            self.cut.insert((from, to));
        }
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    pub(crate) fn passes(&self, packet: &Packet) -> bool {
        let link = packet.from().zip(packet.to());
        self.cut.is_empty() || link.is_none_or(|link| !self.cut.contains(&link))
    }
}

#[derive(Default, Debug)]
pub(crate) struct Network {
    /// In the order in which they were sent.
    flying: Vec<Packet>,
    /// Held back, to arrive long after everything else.
    held: Vec<Packet>,
    pub(crate) cuts: Cuts,
}

impl Network {
    pub(crate) fn send(&mut self, packet: Packet) {
        self.flying.push(packet);
    }

    pub(crate) fn hold(&mut self, packet: Packet) {
        self.held.push(packet);
    }

    pub(crate) fn flying(&self) -> usize {
        self.flying.len()
    }

    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn take(&mut self, place: usize) -> Packet {
        self.flying.remove(place)
    }

    pub(crate) fn take_all(&mut self) -> Vec<Packet> {
        std::mem::take(&mut self.flying)
    }

    /// Lets what was held back fly.
    pub(crate) fn release(&mut self, place: usize) {
        let packet = self.held.swap_remove(place);
        self.flying.push(packet);
    }

    pub(crate) fn release_all(&mut self) {
        self.flying.append(&mut self.held);
    }
}
