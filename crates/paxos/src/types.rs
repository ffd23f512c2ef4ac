//! The paper's nouns (sections 2.1 and 2.2): slots, ballots, commands, decrees, pvalues.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
};

use crate::reconfig::Reconfiguration;

/// A process: a replica, a leader, an acceptor, a client, or a node that hosts several roles.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u32);

/// A position in the sequence of decrees. The first slot is 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(pub u64);

impl Slot {
    /// The first slot of every history.
    pub const FIRST: Self = Self(1);

    /// The slot after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The slot `n` places after this one.
    #[must_use]
    pub const fn plus(self, n: u64) -> Self {
        Self(self.0.saturating_add(n))
    }
}

/// A ballot number ⟨round, leader⟩, totally ordered lexicographically (section 2.2).
///
/// The paper assumes that a leader never uses a ballot twice. A leader that restarts must keep
/// to that, so a ballot also names the leader's incarnation, and is durable before its p1a
/// leaves (trap E13).
#[derive(Clone, Copy, Debug)]
#[repr(C)] // In this order, the last two can be compared as one number.
pub struct Ballot {
    /// Grows whenever a leader tries to take over.
    pub round: u64,
    /// Which life of that leader.
    pub incarnation: u32,
    /// The one leader that may use this ballot.
    pub leader: NodeId,
}

impl Ballot {
    /// The paper's ⊥: below every ballot, and nobody's.
    pub const BOTTOM: Self = Self { round: 0, leader: NodeId(0), incarnation: 0 };

    /// The highest round that is accepted from the network, so that counting on cannot overflow.
    /// No honest process gets there.
    pub const ROUND_MAX: u64 = 1 << 48;

    /// Round, leader and incarnation as one number of the same order: ballots are compared for
    /// every message, and one comparison is faster than three.
    #[inline]
    fn key(self) -> u128 {
        let holder = (u64::from(self.leader.0) << 32) | u64::from(self.incarnation);
        (u128::from(self.round) << 64) | u128::from(holder)
    }
}

impl PartialEq for Ballot {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Ballot {}

impl PartialOrd for Ballot {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
    #[inline]
    fn lt(&self, other: &Self) -> bool {
        self.key() < other.key()
    }
    #[inline]
    fn le(&self, other: &Self) -> bool {
        self.key() <= other.key()
    }
    #[inline]
    fn gt(&self, other: &Self) -> bool {
        self.key() > other.key()
    }
    #[inline]
    fn ge(&self, other: &Self) -> bool {
        self.key() >= other.key()
    }
}

impl Ord for Ballot {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl Hash for Ballot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// A client's session: the paper's κ.
///
/// A session is born at a slot that had not been decided when its client started. A session
/// that is not in the table is new if it was born after the last eviction, and has expired
/// otherwise; so no command is executed twice, however old its copy (trap E20).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientId {
    /// A slot_out that some replica reported when the client started.
    pub born: Slot,
    /// A random number, so that it is never used twice (trap E17).
    pub number: u64,
}

/// The length of [`Payload`]'s short form.
const SHORT: usize = 22;

/// Opaque bytes: an operation of the state machine, or its result.
///
/// Short payloads live in the value itself. Long ones are on the heap, and are shared with the
/// decree that carries them: the protocol never copies them.
#[derive(Clone)]
pub struct Payload(Bytes);

#[derive(Clone)]
enum Bytes {
    Short(u8, [u8; SHORT]),
    Long(Box<[u8]>),
}

impl Payload {
    /// No bytes at all.
    pub const EMPTY: Self = Self(Bytes::Short(0, [0; SHORT]));

    /// The bytes.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Bytes::Short(len, bytes) => &bytes[..usize::from(*len)],
            Bytes::Long(bytes) => bytes,
        }
    }

    #[inline]
    fn short(bytes: &[u8]) -> Option<Self> {
        let len = u8::try_from(bytes.len()).ok().filter(|&len| usize::from(len) <= SHORT)?;
        let mut short = [0; SHORT];
        short[..bytes.len()].copy_from_slice(bytes);
        Some(Self(Bytes::Short(len, short)))
    }
}

impl From<&[u8]> for Payload {
    fn from(bytes: &[u8]) -> Self {
        Self::short(bytes).unwrap_or_else(|| Self(Bytes::Long(bytes.into())))
    }
}

impl From<Vec<u8>> for Payload {
    #[inline]
    fn from(bytes: Vec<u8>) -> Self {
        match Self::short(&bytes) {
            Some(short) => short,
            None => Self(Bytes::Long(bytes.into_boxed_slice())),
        }
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What a command asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// An operation of the state machine.
    Apply(Payload),
    /// A new configuration (section 2.1).
    Reconfigure(Box<Reconfiguration>),
}

/// The paper's command ⟨κ, cid, op⟩.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// Who asks.
    pub client: ClientId,
    /// The client's number for this command, from 1 without gaps.
    pub cid: u64,
    /// Every command of this client below this number has been answered, and its reply may be
    /// forgotten.
    pub acked: u64,
    /// What is asked.
    pub op: Op,
}

/// What is decided in a slot: a batch of commands, performed in order. Empty, it is a no-op.
///
/// The paper decides one command a slot. A batch costs as many messages as one command, and all
/// that wait on the same decision share it. It is shared by reference: whoever holds a decree
/// holds the same bytes.
#[derive(Clone, Debug)]
pub struct Decree(Arc<[Command]>);

impl Decree {
    /// The decree that changes nothing.
    #[must_use]
    pub fn noop() -> Self {
        Self(Arc::default())
    }

    /// A decree of all that has piled up, in order. Leaves `commands` empty, its memory kept.
    #[inline]
    #[must_use]
    pub fn batch(commands: &mut Vec<Command>) -> Self {
        Self(commands.drain(..).collect())
    }

    /// The commands, in the order in which they are performed.
    #[inline]
    #[must_use]
    pub fn commands(&self) -> &[Command] {
        &self.0
    }

    /// Whether these are the same bytes in memory; then comparing them costs nothing.
    #[inline]
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether this decree changes nothing.
    #[must_use]
    pub fn is_noop(&self) -> bool {
        self.0.is_empty()
    }

    /// The length of the decree's operations in bytes, roughly; for limits on messages.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.0.iter().map(Command::weight).sum()
    }
}

impl Command {
    /// The length of the command in bytes, roughly; for limits on messages.
    #[inline]
    #[must_use]
    pub fn weight(&self) -> usize {
        const HEADER: usize = 48;
        match &self.op {
            Op::Apply(payload) => HEADER + payload.as_slice().len(),
            Op::Reconfigure(to) => HEADER + to.members.weight(),
        }
    }
}

impl From<Vec<Command>> for Decree {
    fn from(commands: Vec<Command>) -> Self {
        Self(commands.into())
    }
}

impl PartialEq for Decree {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for Decree {}

/// The paper's pvalue ⟨b, s, c⟩.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PValue {
    /// The ballot in which it is proposed.
    pub ballot: Ballot,
    /// The slot for which it is proposed.
    pub slot: Slot,
    /// What is proposed.
    pub decree: Decree,
}

#[cfg(test)]
mod tests {
    use alloc::{collections::BTreeSet, vec};
    use std::hash::DefaultHasher;

    use super::*;
    use crate::{reconfig::Members, wire};

    #[test]
    fn ballots_are_ordered_by_round_then_leader_then_incarnation() {
        let ballot =
            |round, leader, incarnation| Ballot { round, leader: NodeId(leader), incarnation };
        assert!(Ballot::BOTTOM < ballot(1, 1, 1));
        assert!(ballot(1, 9, 9) < ballot(2, 1, 1));
        assert!(ballot(1, 1, 9) < ballot(1, 2, 1));
        assert!(ballot(1, 1, 1) < ballot(1, 1, 2));
    }

    /// The model checker takes states for the same by their hash.
    #[test]
    fn ballots_that_differ_have_other_hashes() {
        let mut hashes = BTreeSet::new();
        for round in [1, 2] {
            for (leader, incarnation) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
                let mut hasher = DefaultHasher::new();
                Ballot { round, leader: NodeId(leader), incarnation }.hash(&mut hasher);
                hashes.insert(hasher.finish());
            }
        }
        assert_eq!(hashes.len(), 8);
    }

    #[test]
    fn only_a_decree_without_commands_is_a_no_op() {
        let (client, op) = (ClientId { born: Slot(1), number: 1 }, Op::Apply(Payload::EMPTY));
        let command = Command { client, cid: 1, acked: 1, op };
        assert!(Decree::noop().is_noop() && !Decree::from(vec![command]).is_noop());
    }

    #[test]
    fn a_payload_is_the_same_short_or_long() {
        for len in [0, 1, SHORT, SHORT + 1, 300] {
            let bytes = vec![7; len];
            assert_eq!(Payload::from(bytes.as_slice()).as_slice(), bytes);
            assert_eq!(Payload::from(bytes.clone()), Payload::from(bytes.as_slice()));
        }
    }

    #[test]
    fn the_types_on_the_hot_path_stay_small() {
        assert_eq!(size_of::<Payload>(), 24);
        assert_eq!(size_of::<Op>(), 24);
        assert!(size_of::<Command>() <= 56);
        assert_eq!(size_of::<PValue>(), 40);
    }

    #[test]
    fn a_command_weighs_what_it_takes_on_the_wire() {
        let weighs = |op: Op| {
            let client = ClientId { born: Slot(1), number: 1 };
            let command = Command { client, cid: 1, acked: 1, op };
            let mut bytes = Vec::new();
            wire::encode_command(&command, &mut bytes);
            let (weight, len) = (command.weight(), bytes.len());
            assert!((len..len + 32).contains(&weight), "{weight}, and {len} bytes");
        };
        for len in [0, 100] {
            weighs(Op::Apply(Payload::from(vec![7; len])));
        }
        for nodes in [3, 60] {
            let ids = |from| (from..from + nodes).map(NodeId).collect::<Vec<_>>();
            let members = Members::new(ids(1), ids(2), ids(3)).expect("three roles");
            weighs(Op::Reconfigure(Box::new(Reconfiguration { replaces: 0, members })));
        }
    }
}
