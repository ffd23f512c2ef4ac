//! The client: numbers its commands, retries, and takes the first response (sections 2.1 and 3).
//!
//! What differs from the paper: a client may have several commands in flight, and tells with each
//! below which number it has all responses.

use alloc::collections::VecDeque;

use crate::types::{ClientId, Command, Op};

/// The paper's client κ.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Client {
    id: ClientId,
    /// Every command below has been answered.
    acked: u64,
    /// The commands from `acked` on; `None` once answered.
    pending: VecDeque<Option<Op>>,
}

impl Client {
    /// A new client. `id` must never have been used before, nor the client be kept across a
    /// restart of its process (trap E17).
    #[must_use]
    pub fn new(id: ClientId) -> Self {
        Self { id, acked: 1, pending: VecDeque::new() }
    }

    /// Gives the client another name, before any of its commands has left.
    pub fn rename(&mut self, id: ClientId) {
        self.id = id;
    }

    /// A new request: the command to send to a replica.
    pub fn request(&mut self, op: Op) -> Command {
        let cid = self.acked + self.pending.len() as u64;
        self.pending.push_back(Some(op.clone()));
        Command { client: self.id, cid, acked: self.acked, op }
    }

    /// Case response. True for the first response to a command, and only for that one.
    pub fn response(&mut self, cid: u64) -> bool {
        let place = cid.checked_sub(self.acked).and_then(|place| usize::try_from(place).ok());
        let Some(pending) = place.and_then(|place| self.pending.get_mut(place)) else {
            return false;
        };
        let first = pending.take().is_some();
        while let Some(None) = self.pending.front() {
            self.pending.pop_front();
            self.acked += 1;
        }
        first
    }

    /// What to send again, to other replicas, when responses are late.
    pub fn retry(&self) -> impl Iterator<Item = Command> {
        let cids = self.acked..;
        cids.zip(&self.pending).filter_map(|(cid, op)| {
            let op = op.clone()?;
            Some(Command { client: self.id, cid, acked: self.acked, op })
        })
    }

    /// How many commands have not been answered.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.pending.iter().flatten().count()
    }

    /// The length of the window of commands that a session has to keep in mind: from the first
    /// unanswered one on. To be kept below [`IN_FLIGHT_MAX`](crate::session::IN_FLIGHT_MAX).
    #[must_use]
    pub fn window(&self) -> usize {
        self.pending.len()
    }

    /// The client's session.
    #[must_use]
    pub fn id(&self) -> ClientId {
        self.id
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::types::{Payload, Slot};

    fn client() -> Client {
        Client::new(ClientId { born: Slot(1), number: 1 })
    }

    #[test]
    fn the_first_response_counts_and_no_other() {
        let mut client = client();
        let op = Op::Apply(Payload::EMPTY);
        let (a, b) = (client.request(op.clone()), client.request(op));
        assert_eq!((a.cid, b.cid), (1, 2));
        assert!(client.response(2));
        assert!(!client.response(2));
        assert!(!client.response(3));
        assert_eq!((client.in_flight(), client.window()), (1, 2), "the first holds the window up");
        assert_eq!(client.retry().map(|c| c.cid).collect::<Vec<_>>(), [1]);
        assert!(client.response(1));
        assert!(!client.response(1));
        assert_eq!(client.in_flight(), 0);
        assert_eq!(client.request(Op::Apply(Payload::EMPTY)).acked, 3);
    }
}
