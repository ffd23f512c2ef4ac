//! Reads a snapshot.

use std::io;

use super::{BLOCK_LEN, CHUNK, CHUNK_LEN, CRC, CRC_LEN, Opened, Reading, SnapshotInfo, Sum};
use crate::{
    disk::{File, read_fully},
    error::DamagedSnapshot,
    layout::u32_at,
};

/// Reads the state from a snapshot; every chunk is verified before a byte of it is given out.
/// The end of the state is the end of the reader.
pub struct SnapshotReader<F> {
    opened: Opened<F>,
    _reading: Reading,
    sum: Sum,
    /// The current chunk with its checksum.
    chunk: Vec<u8>,
    /// What of it has not been given out.
    left: usize,
}

impl<F: File> SnapshotReader<F> {
    pub(super) fn new(opened: Opened<F>, reading: Reading) -> Self {
        Self { opened, _reading: reading, sum: Sum::default(), chunk: Vec::new(), left: 0 }
    }

    /// Which snapshot it is.
    #[must_use]
    pub fn info(&self) -> SnapshotInfo {
        self.opened.info()
    }

    /// The length of the state in bytes.
    #[must_use]
    pub fn payload(&self) -> u64 {
        self.opened.end.payload
    }

    /// Reads the next chunk. `false` at the end.
    fn next(&mut self) -> io::Result<bool> {
        let Opened { file, name, header, end } = &self.opened;
        let offset = BLOCK_LEN + self.sum.chunks * (CHUNK_LEN + CRC_LEN);
        let damaged =
            |what: String| io::Error::from(DamagedSnapshot { file: name.clone(), offset, what });
        let rest = end.payload.saturating_sub(self.sum.payload);
        if rest == 0 {
            if self.sum != *end {
                return Err(damaged("its chunks are not those that it had".to_owned()));
            }
            return Ok(false);
        }
        let payload = usize::try_from(rest).unwrap_or(CHUNK).min(CHUNK);
        self.chunk.resize(payload + CRC, 0);
        let read = read_fully(file, &mut self.chunk, offset)?;
        let (chunk, crc) = self.chunk.split_at(payload);
        let crc = u32_at(crc, 0);
        if read < self.chunk.len() || self.sum.crc(*header, chunk) != crc {
            return Err(damaged(format!("chunk {} is not what it was", self.sum.chunks)));
        }
        self.sum.add(chunk, crc);
        self.left = payload;
        Ok(true)
    }

    /// Reads everything and gives it to nobody.
    pub(super) fn verify(&mut self) -> io::Result<()> {
        while self.next()? {}
        Ok(())
    }
}

impl<F: File> io::Read for SnapshotReader<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || (self.left == 0 && !self.next()?) {
            return Ok(0);
        }
        let payload = self.chunk.len() - CRC;
        let from = payload - self.left;
        let n = self.left.min(buffer.len());
        buffer[..n].copy_from_slice(&self.chunk[from..from + n]);
        self.left -= n;
        Ok(n)
    }
}

impl<F> std::fmt::Debug for SnapshotReader<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (file, read) = (&self.opened.name, self.sum.payload);
        let mut out = f.debug_struct("SnapshotReader");
        out.field("file", file).field("read", &read).finish_non_exhaustive()
    }
}
