//! Writes a snapshot.

use std::io;

use synod_paxos::Slot;

use super::{BLOCK, BLOCK_LEN, CHUNK, CRC, Header, SYNC, SnapshotInfo, Snapshots, Sum};
use crate::disk::{Disk, File};

/// A snapshot that is being written. It takes the bytes of the state and exists once
/// [`SnapshotWriter::finish`] has returned. Dropped before, it leaves nothing.
pub struct SnapshotWriter<D: Disk> {
    snapshots: Snapshots<D>,
    aside: String,
    /// None once it has its name.
    file: Option<D::File>,
    header: Header,
    sum: Sum,
    /// The next chunk, and behind it, its checksum.
    chunk: Vec<u8>,
    position: u64,
    synced: u64,
}

impl<D: Disk> SnapshotWriter<D> {
    pub(super) fn new(snapshots: Snapshots<D>, slot: Slot) -> io::Result<Self> {
        let aside = snapshots.aside(slot);
        let header = Header { cluster: snapshots.cluster, slot };
        let file = snapshots.disk.create(&aside)?;
        let writer = Self {
            snapshots,
            aside,
            file: Some(file),
            header,
            sum: Sum::default(),
            chunk: Vec::with_capacity(CHUNK + CRC),
            position: BLOCK_LEN,
            synced: 0,
        };
        writer.file()?.write_at(&header.encode(), 0)?;
        Ok(writer)
    }

    fn file(&self) -> io::Result<&D::File> {
        self.file.as_ref().ok_or_else(|| io::Error::other("the snapshot has failed before"))
    }

    fn put_chunk(&mut self) -> io::Result<()> {
        let crc = self.sum.crc(self.header, &self.chunk);
        self.sum.add(&self.chunk, crc);
        self.chunk.extend_from_slice(&crc.to_le_bytes());
        self.file()?.write_at(&self.chunk, self.position)?;
        self.position += self.chunk.len() as u64;
        self.chunk.clear();
        if self.position - self.synced >= SYNC {
            self.file()?.sync()?;
            self.synced = self.position;
        }
        Ok(())
    }

    /// Makes the snapshot durable and removes the older ones.
    ///
    /// # Errors
    /// Whatever the disk says; [`io::ErrorKind::AlreadyExists`] if there is a newer one by now.
    /// The snapshot is gone then.
    pub fn finish(mut self) -> io::Result<SnapshotInfo> {
        if !self.chunk.is_empty() {
            self.put_chunk()?;
        }
        let end: [u8; BLOCK] = self.sum.encode(self.header);
        let file = self.file()?;
        file.write_at(&end, self.position)?;
        file.sync()?;
        let (slot, len) = (self.header.slot, self.position + BLOCK_LEN);
        let info = SnapshotInfo { slot, len, checksum: self.sum.checksum() };
        let info = self.snapshots.publish(&self.aside, info)?;
        self.file = None;
        Ok(info)
    }
}

impl<D: Disk> io::Write for SnapshotWriter<D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file()?;
        let room = CHUNK - self.chunk.len();
        let taken = &bytes[..room.min(bytes.len())];
        self.chunk.extend_from_slice(taken);
        if self.chunk.len() == CHUNK
            && let Err(error) = self.put_chunk()
        {
            // What is in the file now does not fit what comes next.
            self.abandon();
            return Err(error);
        }
        Ok(taken.len())
    }

    /// Does nothing: a chunk is written when it is full, and everything by
    /// [`SnapshotWriter::finish`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<D: Disk> SnapshotWriter<D> {
    fn abandon(&mut self) {
        if self.file.take().is_some() {
            // If it stays, it is removed when the directory is next opened.
            self.snapshots.discard(&self.snapshots.shared(), &self.aside);
        }
    }
}

impl<D: Disk> Drop for SnapshotWriter<D> {
    fn drop(&mut self) {
        self.abandon();
    }
}

impl<D: Disk> std::fmt::Debug for SnapshotWriter<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (slot, position) = (self.header.slot, self.position);
        let mut out = f.debug_struct("SnapshotWriter");
        out.field("slot", &slot).field("position", &position).finish_non_exhaustive()
    }
}
