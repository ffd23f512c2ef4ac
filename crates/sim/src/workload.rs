//! What is asked of a cluster, and of which state machine.

use fastrand::Rng;
use serde::{Deserialize, Serialize};
use synod::{Machine, StateMachine};

/// A state machine, and what clients ask of it. Commands and queries are drawn from the stream that
/// is given, and from nothing else.
pub trait Workload<M: Machine>: Sync {
    /// A machine in its first state.
    fn machine(&self) -> M;

    /// A machine in its first state, of the next version of its program. Nodes are upgraded one
    /// after the other; until the [switch](Workload::switch), both must do the same.
    fn upgraded(&self) -> M {
        self.machine()
    }

    /// The next command of some client.
    fn command(&self, rng: &mut Rng) -> M::Command;

    /// The command that an operator sends when all nodes run the next version. Eight bytes follow
    /// it, which a machine must not mind.
    fn switch(&self, rng: &mut Rng) -> M::Command {
        self.command(rng)
    }

    /// The next query of some client.
    fn query(&self, rng: &mut Rng) -> M::Query;

    /// How many commands had been performed in the state of this answer, if it says so. Then it is
    /// known how old the state was that was read.
    fn applied(&self, answer: &[u8]) -> Option<u64> {
        let _ = answer;
        None
    }

    /// The fencing token that a reply hands out, if it does: whoever has a higher one has asked
    /// later.
    fn token(&self, reply: &[u8]) -> Option<u64> {
        let _ = reply;
        None
    }

    /// Whether equal states have equal snapshots, byte for byte.
    fn snapshots_alike(&self) -> bool {
        true
    }
}

/// The state machine of runs that are about Synod and nothing else: it remembers everything, as one
/// number, so that two states are equal only if the same commands made them in the same order.
#[derive(Clone, Default, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Tally {
    applied: u64,
    sum: u64,
    /// Makes snapshots longer.
    #[serde(with = "ballast")]
    ballast: u64,
}

/// So many bytes that say nothing.
mod ballast {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(len: &u64, out: S) -> Result<S::Ok, S::Error> {
        let bytes = vec![7; usize::try_from(*len).unwrap_or(0)];
        serde_bytes::Bytes::new(&bytes).serialize(out)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<u64, D::Error> {
        serde_bytes::ByteBuf::deserialize(from).map(|bytes| bytes.len() as u64)
    }
}

impl StateMachine for Tally {
    type Command = (u64, Vec<u8>);
    type Reply = (u64, u64);
    type Query = ();
    type Answer = (u64, u64);

    fn apply(&mut self, (number, padding): (u64, Vec<u8>)) -> (u64, u64) {
        self.applied += 1;
        let mixed = (self.sum ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
        self.sum = mixed ^ padding.len() as u64;
        (self.applied, self.sum)
    }

    fn query(&self, (): ()) -> (u64, u64) {
        (self.applied, self.sum)
    }
}

/// What is asked of a [`Tally`].
#[derive(Clone, Copy, Default, Debug)]
pub struct Tallies {
    /// So many bytes make its snapshots longer.
    pub ballast: u64,
}

impl Workload<Tally> for Tallies {
    fn machine(&self) -> Tally {
        Tally { ballast: self.ballast, ..Tally::default() }
    }

    fn command(&self, rng: &mut Rng) -> (u64, Vec<u8>) {
        let padding = if rng.u32(0..50) == 0 { rng.usize(0..3000) } else { rng.usize(0..40) };
        (rng.u64(..), vec![1; padding])
    }

    fn query(&self, _: &mut Rng) {}

    fn token(&self, reply: &[u8]) -> Option<u64> {
        <Tally as Machine>::decode_reply(reply).map(|(applied, _)| applied)
    }

    fn applied(&self, answer: &[u8]) -> Option<u64> {
        <Tally as Machine>::decode_answer(answer).map(|(applied, _)| applied)
    }
}
