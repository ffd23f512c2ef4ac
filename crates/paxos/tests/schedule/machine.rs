//! The replicated state: how many operations were performed, and a hash over all of them and
//! their results. Two states are equal if and only if the same operations made them, in the same
//! order.

use synod_paxos::{Payload, StateMachine};

#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Machine {
    /// How many operations were performed.
    pub(crate) applied: u64,
    pub(crate) hash: u64,
    /// What a snapshot carries besides, so that some are longer than one part.
    ballast: usize,
}

impl Machine {
    /// The initial state, with snapshots longer by `ballast` bytes.
    pub(crate) fn new(ballast: usize) -> Self {
        Self { ballast, ..Self::default() }
    }

    fn stir(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.hash ^= self.hash >> 29;
    }
}

impl StateMachine for Machine {
    /// The result is the number of the operation, so that it tells where it was performed.
    fn apply(&mut self, op: &[u8]) -> Payload {
        self.applied += 1;
        let reply = self.applied.to_string();
        self.stir(op);
        self.stir(reply.as_bytes());
        Payload::from(reply.as_bytes())
    }
}

impl Machine {
    /// The state as bytes.
    pub(crate) fn snapshot(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16 + self.ballast);
        bytes.extend(self.applied.to_le_bytes());
        bytes.extend(self.hash.to_le_bytes());
        bytes.resize(16 + self.ballast, 7);
        bytes
    }

    /// The state of these bytes, if they are one with snapshots of this length.
    pub(crate) fn restore(ballast: usize, snapshot: &[u8]) -> Option<Self> {
        let (applied, rest) = snapshot.split_first_chunk()?;
        let (hash, rest) = rest.split_first_chunk()?;
        let whole = rest.len() == ballast && rest.iter().all(|byte| *byte == 7);
        let (applied, hash) = (u64::from_le_bytes(*applied), u64::from_le_bytes(*hash));
        whole.then_some(Self { applied, hash, ballast })
    }
}
