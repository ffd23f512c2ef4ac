//! Snapshots: the state up to some slot, in a file of its own.
//!
//! ```text
//! | header, 64 bytes | chunk: up to 256 KiB, checksum: 4 bytes | ... | end, 64 bytes |
//! ```
//!
//! A snapshot is written aside, synced, and renamed, so that under its name there is never half of
//! one. The bytes of the file are the same on every node that has it: nodes fetch them from each
//! other as they are.

mod incoming;
mod reader;
mod writer;

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use synod_paxos::Slot;

pub use self::{incoming::Incoming, reader::SnapshotReader, writer::SnapshotWriter};
use crate::{
    disk::{Disk, File, read_fully},
    error::DamagedSnapshot,
    layout::{self, FIELDS, FORMAT, put_u32, put_u64, u32_at, u64_at},
};

const HEADER_MAGIC: [u8; 8] = *b"SYNODSNP";
const END_MAGIC: [u8; 8] = *b"SYNODEND";
/// After so many bytes, a file is synced: a sync of the log should not have to wait for long.
const SYNC: u64 = 1 << 20;
/// The length of the header, and of the end.
const BLOCK: usize = 64;
const BLOCK_LEN: u64 = 64;
/// The length of a chunk without its checksum. Only the last one is shorter.
const CHUNK: usize = 256 << 10;
const CHUNK_LEN: u64 = 256 << 10;
const CRC: usize = 4;
const CRC_LEN: u64 = 4;

/// The name of the snapshot's file.
fn name(slot: Slot) -> String {
    format!("snapshot-{:012}.snap", slot.0)
}

/// The slot of the snapshot whose file has this name.
pub(crate) fn slot(file: &str) -> Option<Slot> {
    let number = file.strip_prefix("snapshot-")?.strip_suffix(".snap")?.parse().ok()?;
    (name(Slot(number)) == file).then_some(Slot(number))
}

/// A snapshot that is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotInfo {
    /// Every slot below has been performed in it.
    pub slot: Slot,
    /// The length of the file in bytes.
    pub len: u64,
    /// Tells the bytes of this file from those of any other.
    pub checksum: u64,
}

/// The header of a snapshot's file.
#[derive(Clone, Copy)]
struct Header {
    cluster: u64,
    slot: Slot,
}

impl Header {
    fn encode(self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        put_u64(&mut block, FIELDS, self.cluster);
        put_u64(&mut block, FIELDS + 8, self.slot.0);
        put_u32(&mut block, FIELDS + 16, layout::low(CHUNK_LEN));
        layout::seal(&mut block, HEADER_MAGIC);
        block
    }
}

/// What has been written or read so far: how much, and what checksum that comes to.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Sum {
    /// The length of the payload.
    payload: u64,
    chunks: u64,
    /// Of the payload as a whole, and of the chunks' checksums. Together, they name the file.
    whole: u32,
    crcs: u32,
}

impl Sum {
    /// The checksum of the next chunk. It depends on the place, so that no chunk is taken for
    /// another.
    fn crc(&self, header: Header, chunk: &[u8]) -> u32 {
        let mut place = [0; 24];
        put_u64(&mut place, 0, header.cluster);
        put_u64(&mut place, 8, header.slot.0);
        put_u64(&mut place, 16, self.chunks);
        crc32c::crc32c_append(crc32c::crc32c(&place), chunk)
    }

    fn add(&mut self, chunk: &[u8], crc: u32) {
        self.payload += chunk.len() as u64;
        self.chunks += 1;
        self.whole = crc32c::crc32c_append(self.whole, chunk);
        self.crcs = crc32c::crc32c_append(self.crcs, &crc.to_le_bytes());
    }

    fn checksum(&self) -> u64 {
        (u64::from(self.whole) << 32) | u64::from(self.crcs)
    }

    /// The end of a file.
    fn encode(&self, header: Header) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        put_u64(&mut block, FIELDS, header.cluster);
        put_u64(&mut block, FIELDS + 8, header.slot.0);
        put_u64(&mut block, FIELDS + 16, self.payload);
        put_u32(&mut block, FIELDS + 24, self.whole);
        put_u32(&mut block, FIELDS + 28, self.crcs);
        layout::seal(&mut block, END_MAGIC);
        block
    }

    /// The length of the whole file.
    fn file_len(&self) -> u64 {
        let chunks = self.payload.div_ceil(CHUNK_LEN).saturating_mul(CRC_LEN);
        self.payload.saturating_add(chunks).saturating_add(2 * BLOCK_LEN)
    }
}

/// A snapshot's file with its header and its end verified.
struct Opened<F> {
    file: F,
    name: String,
    header: Header,
    end: Sum,
}

impl<F: File> Opened<F> {
    fn new(file: F, name: String, cluster: u64, slot: Slot) -> io::Result<Self> {
        let damaged = |offset: u64, what: &str| {
            io::Error::from(DamagedSnapshot { file: name.clone(), offset, what: what.to_owned() })
        };
        let len = file.len()?;
        let end_at = len.saturating_sub(BLOCK_LEN);
        let (mut header, mut end) = ([0; BLOCK], [0; BLOCK]);
        let read = read_fully(&file, &mut header, 0)? + read_fully(&file, &mut end, end_at)?;
        if read < 2 * BLOCK || len < 2 * BLOCK_LEN {
            return Err(damaged(len, "the file has been cut off"));
        }
        for (block, magic, at) in [(&header, HEADER_MAGIC, 0), (&end, END_MAGIC, end_at)] {
            let version = layout::version(block, magic);
            let what = if at == 0 { "its header is not what it was" } else { "its end is missing" };
            let version = version.ok_or_else(|| damaged(at, what))?;
            if version != FORMAT {
                return Err(newer(&name, version));
            }
            let found = u64_at(block, FIELDS);
            if found != cluster {
                let what = format!("it is of another cluster, {found:016x}");
                return Err(damaged(at, &what));
            }
            if u64_at(block, FIELDS + 8) != slot.0 {
                return Err(damaged(at, "it is the snapshot of another slot"));
            }
        }
        if u32_at(&header, FIELDS + 16) != layout::low(CHUNK_LEN) {
            return Err(damaged(0, "its chunks are of an unknown length"));
        }
        let payload = u64_at(&end, FIELDS + 16);
        let (whole, crcs) = (u32_at(&end, FIELDS + 24), u32_at(&end, FIELDS + 28));
        let end = Sum { payload, chunks: payload.div_ceil(CHUNK_LEN), whole, crcs };
        if end.file_len() != len {
            return Err(damaged(len, "the file does not have the length that it had"));
        }
        Ok(Self { file, name, header: Header { cluster, slot }, end })
    }

    fn info(&self) -> SnapshotInfo {
        let (slot, len) = (self.header.slot, self.end.file_len());
        SnapshotInfo { slot, len, checksum: self.end.checksum() }
    }
}

fn newer(name: &str, version: u32) -> io::Error {
    let text = format!(
        "{name} has format version {version}, but this program reads versions 1 to {FORMAT}: use \
         the version of the program that wrote it, or a newer one"
    );
    io::Error::new(io::ErrorKind::Unsupported, text)
}

/// What the handles of one directory share.
#[derive(Default)]
struct Shared {
    /// The newest snapshot, once it is known.
    newest: Option<SnapshotInfo>,
    /// Makes the names of unfinished files different.
    made: u64,
    /// Whoever reads a snapshot has a clone.
    reading: Reading,
}

/// Keeps files whole that are open.
type Reading = Arc<()>;

/// The snapshots of a directory. A clone is another handle of the same; they may be used by
/// different threads.
#[derive(Clone)]
pub struct Snapshots<D> {
    disk: D,
    cluster: u64,
    shared: Arc<Mutex<Shared>>,
}

impl<D: Disk> Snapshots<D> {
    pub(crate) fn new(disk: D, cluster: u64) -> Self {
        Self { disk, cluster, shared: Arc::default() }
    }

    /// Nothing in there can be half changed by a panic.
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a snapshot in which every slot below `slot` has been performed.
    ///
    /// # Errors
    /// Whatever the disk says; [`io::ErrorKind::StorageFull`] harms nothing but this snapshot.
    pub fn create(&self, slot: Slot) -> io::Result<SnapshotWriter<D>> {
        SnapshotWriter::new(self.clone(), slot)
    }

    /// The newest snapshot; its header and its end are verified. The disk is asked once only.
    ///
    /// # Errors
    /// When the newest one is damaged there ([`DamagedSnapshot`]), or the disk fails. An older
    /// one, if there is any, is never taken in its place.
    pub fn newest(&self) -> io::Result<Option<SnapshotInfo>> {
        if let Some(known) = self.shared().newest {
            return Ok(Some(known));
        }
        let Some(slot) = self.slots()?.into_iter().max() else { return Ok(None) };
        let info = self.look(slot)?.info();
        self.shared().newest = Some(info);
        Ok(Some(info))
    }

    fn slots(&self) -> io::Result<Vec<Slot>> {
        Ok(self.disk.list()?.iter().filter_map(|name| slot(name)).collect())
    }

    fn look(&self, slot: Slot) -> io::Result<Opened<D::File>> {
        let name = name(slot);
        Opened::new(self.disk.open(&name)?, name, self.cluster, slot)
    }

    /// Reads the snapshot of `slot` back. Every byte is verified before it is given out.
    ///
    /// # Errors
    /// [`DamagedSnapshot`] inside of an [`io::Error`]; [`io::ErrorKind::NotFound`] if there is
    /// none; whatever else the disk says.
    pub fn open(&self, slot: Slot) -> io::Result<SnapshotReader<D::File>> {
        let reading = self.reading();
        Ok(SnapshotReader::new(self.look(slot)?, reading))
    }

    /// Up to `len` bytes of the file of the snapshot of `slot`, from `offset` on, for another
    /// node; fewer at the end of the file. They are not verified here: who receives them does.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is none, perhaps because there is a newer one now;
    /// whatever else the disk says.
    pub fn read_at(&self, slot: Slot, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let _reading = self.reading();
        let file = self.disk.open(&name(slot))?;
        let rest = file.len()?.saturating_sub(offset);
        let mut bytes = vec![0; usize::try_from(rest).unwrap_or(usize::MAX).min(len)];
        let read = read_fully(&file, &mut bytes, offset)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Begins to receive the file of another node's snapshot of `slot`, of `total` bytes.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn receive(&self, slot: Slot, checksum: u64, total: u64) -> io::Result<Incoming<D>> {
        Incoming::new(self.clone(), SnapshotInfo { slot, len: total, checksum })
    }

    /// A name for an unfinished file.
    fn aside(&self, slot: Slot) -> String {
        let mut shared = self.shared();
        shared.made += 1;
        format!("snapshot-{:012}-{}.tmp", slot.0, shared.made)
    }

    /// Gives a finished file its name, and removes the older ones.
    fn publish(&self, aside: &str, info: SnapshotInfo) -> io::Result<SnapshotInfo> {
        // One at a time, so that no older one is published over a newer one.
        let mut shared = self.shared();
        let slots = self.slots()?;
        if slots.iter().any(|other| *other > info.slot) {
            let text = format!("there is a newer snapshot than that of slot {}", info.slot.0);
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        self.disk.rename(aside, &name(info.slot))?;
        self.disk.sync_dir()?;
        shared.newest = Some(info);
        for old in slots.into_iter().filter(|old| *old < info.slot) {
            // If it stays, the next one tries again.
            self.discard(&shared, &name(old));
        }
        Ok(info)
    }

    /// Before a file is opened.
    fn reading(&self) -> Reading {
        self.shared().reading.clone()
    }

    /// Removes a file, if it can be done. Whoever reads it reads all of it.
    fn discard(&self, shared: &Shared, name: &str) {
        match Arc::strong_count(&shared.reading) {
            1 => drop(self.disk.discard(name)),
            _ => drop(self.disk.remove(name)),
        }
    }
}

impl<D> std::fmt::Debug for Snapshots<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshots").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}
