//! What a node replicates besides the user's state machine: where its peers are, and which lives
//! they have had.
//!
//! Both are commands in the log like any other, so that every node that has performed the same
//! slots knows the same.

use std::{collections::BTreeMap, io, sync::Arc};

use serde::{Deserialize, Serialize};
use synod_paxos::{NodeId, Payload, StateMachine};

use crate::machine::{Machine, Snapshot};

/// The first byte of an operation: whom it is for.
const MACHINE: u8 = 0;
const SYSTEM: u8 = 1;

/// Where nodes are and what is known of their disks. Nodes are never forgotten: an id is used
/// once.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct System {
    /// Addresses by node.
    pub(crate) book: BTreeMap<u32, String>,
    /// Which disk each node has, and how many lives it has had.
    pub(crate) lives: BTreeMap<u32, Life>,
}

/// One life of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Life {
    /// Drawn when the node's disk was formatted: another number is another disk.
    pub(crate) birth: u64,
    /// Counts starts from 1.
    pub(crate) incarnation: u32,
}

/// A command of Synod's own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum SystemCommand {
    /// These nodes are at these addresses. What is known of others stays.
    Book(Vec<(u32, String)>),
    /// A node has started, and is at this address.
    Arrived(u32, Life, String),
}

impl SystemCommand {
    /// The operation that asks for it.
    pub(crate) fn op(&self) -> Payload {
        let mut bytes = vec![SYSTEM];
        if postcard::to_io(self, &mut bytes).is_err() {
            bytes.truncate(1); // Cannot happen; and then it would do nothing.
        }
        Payload::from(bytes)
    }
}

/// The operation that asks the user's state machine for `command`.
pub fn machine_op<M: Machine>(command: &M::Command) -> Payload {
    let mut bytes = vec![MACHINE];
    M::encode_command(command, &mut bytes);
    Payload::from(bytes)
}

/// The node that has started, if an operation says that, and the number that its disk has drawn.
/// Nobody but a node may say it.
#[must_use]
pub fn arrival(op: &[u8]) -> Option<(NodeId, u64)> {
    let Some((&SYSTEM, command)) = op.split_first() else { return None };
    match postcard::from_bytes(command) {
        Ok(SystemCommand::Arrived(node, life, _)) => Some((NodeId(node), life.birth)),
        Ok(SystemCommand::Book(_)) | Err(_) => None,
    }
}

impl System {
    fn apply(&mut self, command: SystemCommand) {
        match command {
            SystemCommand::Book(book) => self.book.extend(book),
            SystemCommand::Arrived(node, life, address) => {
                let known = self.lives.entry(node).or_insert(life);
                if known.birth == life.birth {
                    known.incarnation = known.incarnation.max(life.incarnation);
                }
                self.book.entry(node).or_insert(address);
            }
        }
    }
}

/// The whole replicated state: the user's and Synod's own.
pub(crate) struct Replicated<M> {
    pub(crate) machine: M,
    pub(crate) system: Arc<System>,
    /// A digest of all operations and replies so far. Equal on all nodes at equal slots, or their
    /// state machines are not deterministic.
    pub(crate) digest: u64,
    reply: Vec<u8>,
}

impl<M: Machine> Replicated<M> {
    pub(crate) fn new(machine: M, preamble: Preamble) -> Self {
        let Preamble { system, digest } = preamble;
        Self { machine, system: Arc::new(system), digest, reply: Vec::new() }
    }

    /// What stands before the machine's state in a snapshot, but for the protocol's frame.
    pub(crate) fn preamble(&self) -> Preamble {
        Preamble { system: (*self.system).clone(), digest: self.digest }
    }
}

impl<M: Machine> StateMachine for Replicated<M> {
    #[inline]
    fn apply(&mut self, op: &[u8]) -> Payload {
        self.reply.clear();
        match op.split_first() {
            Some((&MACHINE, command)) => self.machine.apply(command, &mut self.reply),
            Some((&SYSTEM, command)) => {
                if let Ok(command) = postcard::from_bytes(command) {
                    Arc::make_mut(&mut self.system).apply(command);
                }
            }
            Some(_) | None => {}
        }
        self.digest = digest(self.digest, op, &self.reply);
        Payload::from(self.reply.as_slice())
    }
}

/// The digest of all operations and replies up to `op`, from that of those before. Two checksums
/// of 32 bits, mixed into one number.
#[inline]
#[must_use]
pub fn digest(before: u64, op: &[u8], reply: &[u8]) -> u64 {
    const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
    let (op, reply) = (u64::from(crc32c::crc32c(op)), u64::from(crc32c::crc32c(reply)));
    (before.rotate_left(23) ^ (op << 32) ^ reply).wrapping_mul(PRIME)
}

/// The part of a snapshot that is Synod's own.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Preamble {
    pub(crate) system: System,
    pub(crate) digest: u64,
}

/// The longest frame or preamble that is believed.
const HEAD_MAX: u32 = 1 << 30;

/// What a snapshot holds before the machine's state: what belongs to the protocol, where the nodes
/// are, and which lives they have had.
pub struct Head {
    pub(crate) frame: Vec<u8>,
    pub(crate) preamble: Preamble,
}

impl Head {
    /// Writes it.
    ///
    /// # Errors
    /// As `out`.
    pub fn write(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let preamble = postcard::to_stdvec(&self.preamble).map_err(io::Error::other)?;
        for part in [&self.frame, &preamble] {
            let len = u32::try_from(part.len()).map_err(io::Error::other)?;
            out.write_all(&len.to_le_bytes())?;
            out.write_all(part)?;
        }
        Ok(())
    }

    /// Reads what [`Head::write`] has written; the machine's state comes next.
    ///
    /// # Errors
    /// As `from`, or when it is nothing of the kind.
    pub fn read(from: &mut dyn io::Read) -> io::Result<Self> {
        let frame = read_part(from)?;
        let preamble = postcard::from_bytes(&read_part(from)?).map_err(io::Error::other)?;
        Ok(Self { frame, preamble })
    }

    /// As one string of bytes, for a machine that keeps it with its state.
    pub(crate) fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.write(&mut bytes).map(|()| bytes)
    }
}

fn read_part(from: &mut dyn io::Read) -> io::Result<Vec<u8>> {
    let mut len = [0; 4];
    from.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len);
    if len > HEAD_MAX {
        return Err(io::Error::other("the head of the snapshot is longer than any can be"));
    }
    let mut part = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(from, u64::from(len)), &mut part)?;
    if part.len() as u64 != u64::from(len) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(part)
}

/// A whole snapshot, written by whichever thread calls what this returns.
pub(crate) fn picture<M: Machine>(head: Head, machine: &M) -> Snapshot {
    let state = machine.snapshot();
    Box::new(move |out| {
        head.write(out)?;
        state(out)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_survives_and_a_damaged_one_is_an_error() {
        let mut preamble = Preamble { digest: 7, ..Preamble::default() };
        preamble.system.apply(SystemCommand::Book(vec![(1, "a:1".into())]));
        let head = Head { frame: vec![1, 2, 3], preamble };
        let bytes = head.to_bytes().unwrap();
        let read = Head::read(&mut bytes.as_slice()).unwrap();
        assert_eq!((read.frame, read.preamble), (head.frame, head.preamble));
        for len in 0..bytes.len() {
            assert!(Head::read(&mut &bytes[..len]).is_err());
        }
        assert!(Head::read(&mut [255; 64].as_slice()).is_err());
    }

    #[test]
    fn a_life_on_another_disk_does_not_replace_the_one_that_is_known() {
        let mut system = System::default();
        let life = |birth, incarnation| Life { birth, incarnation };
        system.apply(SystemCommand::Arrived(1, life(5, 1), "a".into()));
        system.apply(SystemCommand::Arrived(1, life(5, 3), "a".into()));
        system.apply(SystemCommand::Arrived(1, life(6, 9), "b".into()));
        assert_eq!(system.lives[&1], life(5, 3));
        assert_eq!(system.book[&1], "a");
    }

    #[test]
    fn a_snapshot_knows_whose_disk_is_whose() {
        #[derive(Clone, Default, Serialize, Deserialize)]
        struct Nothing;
        impl crate::StateMachine for Nothing {
            type Command = ();
            type Reply = ();
            type Query = ();
            type Answer = ();
            fn apply(&mut self, (): ()) {}
            fn query(&self, (): ()) {}
        }
        let mut state = Replicated::new(Nothing, Preamble::default());
        let life = Life { birth: 5, incarnation: 1 };
        state.apply(SystemCommand::Arrived(1, life, "a".into()).op().as_slice());
        let restored = Replicated::new(Nothing, state.preamble());
        assert_eq!(restored.system.lives[&1], life);
        assert_eq!(restored.digest, state.digest);
    }
}
