//! The clients: some send commands to whichever replica they like, some are operators who replace
//! processes by others.

use synod_paxos::{Client, ClientId, NodeId, Op, Payload, Slot};

#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) client: Client,
    /// The replica that it talks to.
    pub(crate) at: NodeId,
    /// Commands that it has not sent.
    pub(crate) left: u32,
    sent: u64,
}

impl Caller {
    pub(crate) fn new(number: u64, born: Slot, at: NodeId, left: u32) -> Self {
        let client = Client::new(ClientId { born, number });
        Self { client, at, left, sent: 0 }
    }

    /// The next operation: no two are the same.
    pub(crate) fn next_op(&mut self) -> Op {
        self.sent += 1;
        let name = format!("{}.{}", self.client.id().number, self.sent);
        Op::Apply(Payload::from(name.as_bytes()))
    }
}
