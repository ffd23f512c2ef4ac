//! Receives a snapshot from another node.

use std::io;

use super::{Opened, SYNC, SnapshotInfo, SnapshotReader, Snapshots};
use crate::disk::{Disk, File};

/// The file of another node's snapshot, as it arrives. It becomes a snapshot of this directory
/// once [`Incoming::finish`] has verified it. Dropped before, it leaves nothing.
pub struct Incoming<D: Disk> {
    snapshots: Snapshots<D>,
    aside: String,
    file: Option<D::File>,
    info: SnapshotInfo,
    received: u64,
    synced: u64,
}

impl<D: Disk> Incoming<D> {
    pub(super) fn new(snapshots: Snapshots<D>, info: SnapshotInfo) -> io::Result<Self> {
        let aside = snapshots.aside(info.slot);
        let file = Some(snapshots.disk.create(&aside)?);
        Ok(Self { snapshots, aside, file, info, received: 0, synced: 0 })
    }

    /// Which snapshot it is to be.
    #[must_use]
    pub fn info(&self) -> SnapshotInfo {
        self.info
    }

    /// How many bytes, from the first on, have arrived: where to go on.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Keeps the bytes that belong at `offset`, and says how many have arrived from the first on.
    /// What arrives again is ignored, and so is what does not follow.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for bytes beyond the end; whatever the disk says. After
    /// that, the same bytes may be tried again; after a sync that failed, in vain, as
    /// [`Incoming::finish`] will say.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<u64> {
        let end = offset.saturating_add(bytes.len() as u64);
        if end > self.info.len {
            let text = format!("a snapshot of {} bytes has no byte {end}", self.info.len);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if let (Some(file), Some(known)) = (&self.file, self.received.checked_sub(offset))
            && end > self.received
        {
            let known = usize::try_from(known).unwrap_or(bytes.len());
            let news = bytes.get(known..).unwrap_or_default();
            file.write_at(news, self.received)?;
            self.received = end;
            if end - self.synced >= SYNC {
                self.sync()?;
            }
        }
        Ok(self.received)
    }

    fn sync(&mut self) -> io::Result<()> {
        let synced = self.file.as_ref().map_or(Ok(()), File::sync);
        if synced.is_err() {
            self.abandon(); // What has been written is in doubt for ever.
        }
        self.synced = self.received;
        synced
    }

    /// Reads it, verifying, before it is a snapshot of this directory: whoever cannot use it should
    /// not give up the one that is here.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if it is not what it should be, as far as that shows at its
    /// beginning and its end; whatever else the disk says.
    pub fn reader(&self) -> io::Result<SnapshotReader<D::File>> {
        let reading = self.snapshots.reading();
        let file = self.snapshots.disk.open(&self.aside)?;
        let (cluster, slot) = (self.snapshots.cluster, self.info.slot);
        Opened::new(file, self.aside.clone(), cluster, slot)
            .map(|opened| SnapshotReader::new(opened, reading))
    }

    /// Verifies all of it, makes it durable, and removes the older ones.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if not all has arrived; [`io::ErrorKind::InvalidData`] if
    /// it is not what it should be; [`io::ErrorKind::AlreadyExists`] if there is a newer one by
    /// now; whatever else the disk says. What was received is gone then.
    pub fn finish(mut self) -> io::Result<SnapshotInfo> {
        let SnapshotInfo { slot, len, .. } = self.info;
        if self.received < len {
            let text = format!("{} of {len} bytes have arrived", self.received);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        let file = self.file.take().ok_or_else(|| io::Error::other("a sync of it has failed"))?;
        let outcome = self.check(file, slot);
        if outcome.is_err() {
            self.remove();
        }
        outcome
    }

    fn check(&self, file: D::File, slot: synod_paxos::Slot) -> io::Result<SnapshotInfo> {
        file.sync()?;
        let opened = Opened::new(file, self.aside.clone(), self.snapshots.cluster, slot)?;
        if opened.info() != self.info {
            let text = "the snapshot is not the one that was announced";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        SnapshotReader::new(opened, self.snapshots.reading()).verify()?;
        self.snapshots.publish(&self.aside, self.info)
    }
}

impl<D: Disk> Incoming<D> {
    fn abandon(&mut self) {
        if self.file.take().is_some() {
            self.remove();
        }
    }

    /// If it stays, it is removed when the directory is next opened.
    fn remove(&self) {
        self.snapshots.discard(&self.snapshots.shared(), &self.aside);
    }
}

impl<D: Disk> Drop for Incoming<D> {
    fn drop(&mut self) {
        self.abandon();
    }
}

impl<D: Disk> std::fmt::Debug for Incoming<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (info, received) = (self.info, self.received);
        let mut out = f.debug_struct("Incoming");
        out.field("info", &info).field("received", &received).finish_non_exhaustive()
    }
}
