//! Snapshots, to and from the disk: what a [`Job`](super::Job) asks for, on whichever thread.

use std::{
    io::{self, Read, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use synod_paxos::{Message, NodeId, Slot, message::SnapshotChunk};
use synod_storage::{Disk, Incoming, Snapshots};

use super::{Finished, Head};
use crate::machine::{Machine, Restore, Snapshot};

/// Bytes of a snapshot in one message.
pub const PART: usize = 1 << 18;

/// The snapshots of a node, and what has come of a peer's.
pub struct Archive<D: Disk> {
    snapshots: Snapshots<D>,
    /// A peer's snapshot, as far as it has come.
    incoming: Option<(Slot, u64, Incoming<D>)>,
    /// Bytes of a snapshot in one message.
    part: usize,
    given_up: Arc<AtomicBool>,
}

impl<D: Disk> Archive<D> {
    /// Once `given_up`, whatever reads or writes ends with an error.
    #[must_use]
    pub fn new(snapshots: Snapshots<D>, given_up: Arc<AtomicBool>) -> Self {
        Self { snapshots, incoming: None, part: PART, given_up }
    }

    /// The same, with so many bytes of a snapshot in one message; for simulations.
    #[must_use]
    pub fn in_parts_of(self, bytes: usize) -> Self {
        Self { part: bytes.max(1), ..self }
    }

    /// [`Job::Serve`](super::Job::Serve): the part, and what to tell the engine.
    pub fn serve<M>(
        &self,
        to: NodeId,
        slot: Slot,
        offset: u64,
        at_least: Slot,
    ) -> (Option<Message>, Finished<M>) {
        match self.chunk(slot, offset, at_least) {
            Ok(Some(chunk)) => {
                (Some(Message::SnapshotChunk(Box::new(chunk))), Finished::Served { to, sent: true })
            }
            Ok(None) => (None, Finished::Served { to, sent: false }),
            Err(error) => {
                tracing::warn!(%error, "a snapshot could not be read for a peer");
                (None, Finished::Served { to, sent: false })
            }
        }
    }

    fn chunk(&self, slot: Slot, offset: u64, at_least: Slot) -> io::Result<Option<SnapshotChunk>> {
        let newest = self.snapshots.newest()?.filter(|info| info.slot >= at_least);
        let Some(newest) = newest else {
            return Ok(None);
        };
        let offset = if newest.slot == slot && offset <= newest.len { offset } else { 0 };
        let bytes = self.snapshots.read_at(newest.slot, offset, self.part)?.into();
        let (slot, checksum, total) = (newest.slot, newest.checksum, newest.len);
        Ok(Some(SnapshotChunk { slot, checksum, total, offset, bytes }))
    }

    /// [`Job::Keep`](super::Job::Keep).
    pub fn keep<M: Machine>(
        &mut self,
        chunk: &SnapshotChunk,
        restore: Option<Restore<M>>,
    ) -> Finished<M> {
        let last = restore.is_some();
        match self.keep_part(chunk).and_then(|()| self.whole(restore)) {
            Ok(Some(restored)) => Finished::Restored(Box::new(restored)),
            Ok(None) => Finished::Kept,
            Err(error) if last => Finished::NotRestored(error),
            Err(error) => {
                tracing::warn!(%error, "a part of a peer's snapshot could not be kept");
                self.incoming = None;
                Finished::Kept
            }
        }
    }

    fn keep_part(&mut self, chunk: &SnapshotChunk) -> io::Result<()> {
        let same = |(slot, checksum, _): &(Slot, u64, Incoming<D>)| {
            (*slot, *checksum) == (chunk.slot, chunk.checksum)
        };
        if chunk.offset == 0 || !self.incoming.as_ref().is_some_and(same) {
            let incoming = self.snapshots.receive(chunk.slot, chunk.checksum, chunk.total)?;
            self.incoming = Some((chunk.slot, chunk.checksum, incoming));
        }
        match &mut self.incoming {
            Some((.., incoming)) => incoming.write(chunk.offset, &chunk.bytes).map(drop),
            None => Ok(()),
        }
    }

    /// With the last part: reads the snapshot, and makes it this node's own if it can be read.
    fn whole<M: Machine>(&mut self, restore: Option<Restore<M>>) -> io::Result<Option<(Head, M)>> {
        let Some(restore) = restore else { return Ok(None) };
        let nothing = || io::Error::new(io::ErrorKind::NotFound, "no part has been kept");
        let (.., incoming) = self.incoming.take().ok_or_else(nothing)?;
        let reader = UnlessGivenUp { inner: incoming.reader()?, given_up: &self.given_up };
        let restored = load(reader, restore)?;
        incoming.finish()?;
        Ok(Some(restored))
    }
}

/// [`Job::Save`](super::Job::Save): writes a snapshot. Once `given_up`, it ends with an error.
pub fn save<M, D: Disk>(
    snapshots: &Snapshots<D>,
    slot: Slot,
    picture: Snapshot,
    given_up: &AtomicBool,
) -> Finished<M> {
    match write(snapshots, slot, picture, given_up) {
        Ok(bytes) => Finished::Saved { slot: Ok(slot), bytes },
        Err(error) => Finished::Saved { slot: Err(error), bytes: 0 },
    }
}

fn write<D: Disk>(
    snapshots: &Snapshots<D>,
    slot: Slot,
    picture: Snapshot,
    given_up: &AtomicBool,
) -> io::Result<u64> {
    let mut writer = UnlessGivenUp { inner: snapshots.create(slot)?, given_up };
    guarded(|| picture(&mut writer))?;
    writer.flush()?;
    writer.inner.finish().map(|info| info.len)
}

/// Reads a snapshot.
pub(super) fn load<M: Machine>(mut from: impl Read, restore: Restore<M>) -> io::Result<(Head, M)> {
    let head = Head::read(&mut from)?;
    Ok((head, guarded(|| restore(&mut from))?))
}

/// A state machine that panics here must not take the thread with it.
fn guarded<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let panicked = |_| Err(io::Error::other("the state machine panicked"));
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(panicked)
}

/// Reads or writes until the worker is given up.
struct UnlessGivenUp<'a, T> {
    inner: T,
    given_up: &'a AtomicBool,
}

impl<T> UnlessGivenUp<'_, T> {
    fn check(&self) -> io::Result<()> {
        match self.given_up.load(Ordering::Relaxed) {
            true => Err(io::Error::other("the node stops")),
            false => Ok(()),
        }
    }
}

impl<T: Read> Read for UnlessGivenUp<'_, T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.inner.read(bytes)
    }
}

impl<T: Write> Write for UnlessGivenUp<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check()?;
        self.inner.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.check()?;
        self.inner.flush()
    }
}
