//! Snapshots in memory: for owners that write none to a disk, and for tests.
//!
//! A snapshot is one string of bytes here: the length of the frame, the frame, and the state.

use alloc::{boxed::Box, vec::Vec};

use crate::{
    message::{Message, SnapshotChunk},
    replica::{Replica, StateMachine},
    types::Slot,
};

/// Bytes in one part of a snapshot.
const CHUNK: usize = 1 << 18;

/// The newest snapshot of one node, and another node's that is on its way here.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Shelf {
    newest: Option<Snapshot>,
    incoming: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Snapshot {
    slot: Slot,
    checksum: u64,
    bytes: Vec<u8>,
}

/// A frame and a state as the bytes of one snapshot.
#[must_use]
pub fn join(frame: &[u8], state: &[u8]) -> Vec<u8> {
    let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    [&len.to_le_bytes(), frame, state].concat()
}

/// The frame and the state that were [joined](join). `None` if these are no such bytes.
#[must_use]
pub fn split(snapshot: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = snapshot.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)
}

impl Shelf {
    /// The answer to [`Effect::ServeSnapshot`](crate::Effect::ServeSnapshot). If the snapshot that
    /// is here is of no use any more, a new one is made, with the bytes that `state` gives.
    pub fn serve<S: StateMachine>(
        &mut self,
        replica: &Replica<S>,
        (slot, offset): (Slot, u64),
        state: impl FnOnce(&S) -> Vec<u8>,
    ) -> Message {
        let useful = |s: &Snapshot| s.slot == slot || s.slot >= replica.collected();
        let newest = self.newest.take().filter(useful).unwrap_or_else(|| {
            let bytes = join(&replica.frame(), &state(replica.state()));
            Snapshot { slot: replica.slot_out(), checksum: checksum(&bytes), bytes }
        });
        let wanted = usize::try_from(offset).ok().filter(|_| newest.slot == slot);
        let start = wanted.filter(|start| *start <= newest.bytes.len()).unwrap_or(0);
        let rest = &newest.bytes[start..];
        let chunk = SnapshotChunk {
            slot: newest.slot,
            checksum: newest.checksum,
            total: newest.bytes.len() as u64,
            offset: start as u64,
            bytes: rest[..rest.len().min(CHUNK)].into(),
        };
        self.newest = Some(newest);
        Message::SnapshotChunk(Box::new(chunk))
    }

    /// Carries out [`Effect::KeepChunk`](crate::Effect::KeepChunk). Returns the frame and the bytes
    /// of the state once all has come; if all has come and there is nothing to return, the
    /// snapshot is damaged.
    pub fn keep(&mut self, chunk: &SnapshotChunk, complete: bool) -> Option<(Vec<u8>, Vec<u8>)> {
        if chunk.offset == 0 {
            self.incoming.clear();
        }
        if self.incoming.len() as u64 == chunk.offset {
            self.incoming.extend_from_slice(&chunk.bytes);
        }
        if !complete {
            return None;
        }
        let bytes = core::mem::take(&mut self.incoming);
        let whole = bytes.len() as u64 == chunk.total && checksum(&bytes) == chunk.checksum;
        let (frame, state) = split(&bytes).filter(|_| whole)?;
        Some((frame.into(), state.into()))
    }
}

/// Tells apart two snapshots, and a whole one from a damaged one: a multiply-and-rotate hash of
/// eight bytes at a time. Against malice there is TLS.
fn checksum(bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let mix = |sum: u64, word: [u8; 8]| {
        (sum.rotate_left(23) ^ u64::from_le_bytes(word)).wrapping_mul(PRIME)
    };
    let sum = words.iter().copied().chain([last]).fold(bytes.len() as u64, mix);
    sum ^ (sum >> 29)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::{
        reconfig::{Members, Schedule},
        types::{NodeId, Payload},
    };

    struct Bytes(usize);

    impl StateMachine for Bytes {
        fn apply(&mut self, _: &[u8]) -> Payload {
            Payload::EMPTY
        }
    }

    fn replica() -> Replica<Bytes> {
        let one = [NodeId(1)];
        let schedule = Schedule::new(Members::new(one, one, one).unwrap(), 1);
        Replica::new(NodeId(1), 1, Bytes(CHUNK + 9), schedule, 8)
    }

    fn fetch(shelf: &mut Shelf, offset: u64) -> SnapshotChunk {
        let part = shelf.serve(&replica(), (Slot(1), offset), |state| vec![7; state.0]);
        let Message::SnapshotChunk(chunk) = part else { panic!("{part}") };
        *chunk
    }

    #[test]
    fn a_snapshot_that_is_served_in_parts_is_kept_whole() {
        let (mut from, mut to) = (Shelf::default(), Shelf::default());
        let first = fetch(&mut from, 0);
        assert_eq!(to.keep(&first, false), None);
        let rest = fetch(&mut from, first.bytes.len() as u64);
        let (frame, state) = to.keep(&rest, true).unwrap();
        assert_eq!((frame, state), (replica().frame(), vec![7; CHUNK + 9]));
    }

    #[test]
    fn a_damaged_snapshot_is_not_returned() {
        let (mut from, mut to) = (Shelf::default(), Shelf::default());
        let mut first = fetch(&mut from, 0);
        let rest = fetch(&mut from, first.bytes.len() as u64);
        first.bytes[100] ^= 1;
        to.keep(&first, false);
        assert_eq!(to.keep(&rest, true), None);
        assert_eq!(to.keep(&rest, true), None, "nor one whose beginning never came");
    }

    #[test]
    fn bytes_that_were_not_joined_are_not_split() {
        assert_eq!(split(&join(b"frame", b"state")), Some((&b"frame"[..], &b"state"[..])));
        assert_eq!(split(&join(b"frame", b"")[..8]), None);
        assert_eq!(split(b"abc"), None);
    }
}
