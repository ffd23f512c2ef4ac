//! The replicated state: the operations that were performed, in order.

use synod_paxos::{Payload, StateMachine};

#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Machine {
    pub(crate) performed: Vec<u8>,
}

impl StateMachine for Machine {
    /// The result is the place of the operation, so that it tells where it was performed.
    fn apply(&mut self, op: &[u8]) -> Payload {
        self.performed.extend(op);
        Payload::from(self.performed.len().to_string().as_bytes())
    }
}
