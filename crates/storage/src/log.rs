//! The writer of the log: group commit.
//!
//! Records are encoded into one buffer, for the very place where they will be. A sync writes the
//! buffer with one write and makes it durable with one `fdatasync`; only where a batch goes on in
//! the next segment, there is one more of each. Then a barrier is written, unsynced, right behind:
//! it will be on the disk with the next sync, and after a crash of the process at any rate.

use std::collections::VecDeque;

use synod_paxos::{Record, Slot};

use crate::{
    disk::{Disk, File},
    error::{WriteError, is_full},
    identity::Identity,
    record::{self, ALIGN, HEADER, HEADER_LEN, Header, Salt},
    segment::{self, FIRST_RECORD, State, TITLES, Title},
    spares::Spares,
};

/// Writes are filled up to whole pages where they end: to overwrite a part of a page, the
/// operating system might have to read it first.
const PAGE: u64 = 4096;

/// The most memory that is kept for the next batch.
const BUFFER: usize = 64 << 20;

/// A segment that is in use.
pub(crate) struct Used {
    pub(crate) number: u64,
    pub(crate) len: u64,
    /// The highest slot for whose sake the segment is kept.
    pub(crate) keeps: Slot,
}

/// Where the next record goes.
pub(crate) struct Tip {
    pub(crate) number: u64,
    pub(crate) salt: Salt,
    pub(crate) len: u64,
    pub(crate) position: u64,
}

/// What waits to be written to one segment.
struct Part {
    /// Where in the file.
    position: u64,
    /// Where in the buffer.
    from: usize,
    /// The segment begins here, in a file of this length that is still a spare.
    begins: Option<u64>,
    /// Once this is durable, the segments below this number are not needed any more.
    oldest: u64,
}

/// The writer.
pub(crate) struct Log<D: Disk> {
    identity: Identity,
    segment_bytes: u64,
    spares: Spares<D>,
    /// In order; the last one is the tip.
    used: VecDeque<Used>,
    tip: Tip,
    /// The file that was written last. That of the tip, unless the tip has not begun yet.
    file: D::File,
    name: String,
    buffer: Vec<u8>,
    parts: VecDeque<Part>,
    /// The number of the last record, and of the last that is durable.
    sequence: u64,
    durable: u64,
    /// The checksum of the last header.
    chain: u32,
    state: State,
    dead: Option<WriteError>,
}

/// What recovery has found out.
pub(crate) struct Recovered<D: Disk> {
    pub(crate) spares: Spares<D>,
    pub(crate) used: VecDeque<Used>,
    pub(crate) tip: Tip,
    pub(crate) file: D::File,
    /// The number of the last record. It is durable.
    pub(crate) sequence: u64,
    pub(crate) chain: u32,
    pub(crate) state: State,
}

impl<D: Disk> Log<D> {
    pub(crate) fn new(identity: Identity, segment_bytes: u64, found: Recovered<D>) -> Self {
        let Recovered { spares, used, tip, file, sequence, chain, state } = found;
        let name = segment::name(tip.number);
        let (buffer, parts, dead) = (Vec::new(), VecDeque::new(), None);
        let durable = sequence;
        Self {
            identity,
            segment_bytes,
            spares,
            used,
            tip,
            file,
            name,
            buffer,
            parts,
            sequence,
            durable,
            chain,
            state,
            dead,
        }
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable
    }

    pub(crate) fn is_low(&self) -> bool {
        self.spares.is_low()
    }

    /// Puts a record into the batch.
    pub(crate) fn append(&mut self, record: &Record) {
        let from = self.buffer.len();
        self.buffer.resize(from + HEADER, 0);
        record::put_body(record, &mut self.buffer);
        let body = self.buffer.len() - from - HEADER;
        let Ok(len) = u32::try_from(body) else {
            self.buffer.truncate(from);
            let error = std::io::Error::other("a record is longer than 4 GiB");
            self.dead.get_or_insert_with(|| WriteError::io("write", &self.name)(error));
            return;
        };
        self.buffer.resize(from + HEADER + body.next_multiple_of(ALIGN) + HEADER, 0);
        let size = (self.buffer.len() - from) as u64;
        // A barrier has to fit behind it, and that of the end into the last page.
        let from = if self.tip.position + size + HEADER_LEN + PAGE > self.tip.len {
            self.begin_segment(from, size)
        } else {
            if self.parts.is_empty() {
                let (position, begins, oldest) = (self.tip.position, None, 0);
                self.parts.push_back(Part { position, from, begins, oldest });
            }
            from
        };
        let (kind, slot, ballot) = record::outline(record);
        let position = self.tip.position;
        let body_crc = self.tip.salt.body(position, &self.buffer[from + HEADER..][..body]);
        self.sequence += 1;
        let (sequence, synced, chain) = (self.sequence, self.durable, self.chain);
        let header = Header { kind, len, body_crc, sequence, synced, slot, ballot, chain };
        let (bytes, crc) = header.encode(self.tip.salt, position);
        self.buffer[from..from + HEADER].copy_from_slice(&bytes);
        let trailer = self.buffer.len() - HEADER;
        self.buffer[trailer..].copy_from_slice(&record::trailer(bytes));
        self.chain = crc;
        self.tip.position += size;
        self.state.add(record);
        if let (Some(slot), Some(used)) = (header.keeps(), self.used.back_mut()) {
            used.keeps = used.keeps.max(slot);
        }
    }

    /// Puts the titles of a new segment before the record of `size` bytes that begins at `from` in
    /// the buffer, and says where the record begins now.
    fn begin_segment(&mut self, from: usize, size: u64) -> usize {
        let end = self.buffer.len();
        self.buffer.resize(end + TITLES, 0);
        self.buffer.copy_within(from..end, from + TITLES);
        self.buffer[from..from + TITLES].fill(0);
        let claimed = self.parts.iter().filter(|part| part.begins.is_some()).count();
        let number = self.spares.number(claimed);
        let least = FIRST_RECORD + size + HEADER_LEN + PAGE;
        let len = self.segment_bytes.max(least.next_multiple_of(PAGE));
        // There is no slot below the first: a segment without pvalues is not needed at all.
        let floor = self.state.collected.max(Slot::FIRST);
        let needed = self.used.iter().find(|used| used.keeps >= floor);
        let oldest = needed.map_or(number, |used| used.number);
        let (identity, chain, state) = (self.identity, self.chain, self.state);
        let first = self.sequence + 1;
        let title = Title { identity, number, len, first, oldest, chain, state };
        title.encode(&mut self.buffer[from..from + TITLES]);
        let (position, begins) = (0, Some(len));
        self.parts.push_back(Part { position, from, begins, oldest });
        self.used.push_back(Used { number, len, keeps: Slot(0) });
        self.tip =
            Tip { number, salt: Salt::new(self.identity, number), len, position: FIRST_RECORD };
        from + TITLES
    }

    /// Makes everything that was appended durable, and says so before it writes the barrier.
    pub(crate) fn sync(&mut self, told: impl FnOnce()) -> Result<(), WriteError> {
        if let Some(dead) = &self.dead {
            return Err(dead.clone());
        }
        if self.parts.is_empty() {
            told();
            return Ok(());
        }
        let outcome = self.write_all().and_then(|()| {
            told();
            self.barrier()
        });
        self.remember(outcome)
    }

    /// A failure is for ever; a full disk is not.
    fn remember<T>(&mut self, outcome: Result<T, WriteError>) -> Result<T, WriteError> {
        if let Err(error @ WriteError::Failed { .. }) = &outcome {
            self.dead = Some(error.clone());
        }
        outcome
    }

    fn write_all(&mut self) -> Result<(), WriteError> {
        // Whatever needs space comes before the first byte is written.
        let begins = self.parts.iter().filter_map(|part| part.begins);
        for (before, len) in begins.enumerate() {
            self.spares.ensure(before, len)?;
        }
        while let Some(part) = self.parts.front_mut() {
            let (position, from, oldest) = (part.position, part.from, part.oldest);
            if part.begins.take().is_some() {
                let spare = self.spares.take().expect("as many as begin have been made");
                self.name = segment::name(spare.number);
                self.file = spare.file;
            }
            let to = self.parts.get(1).map_or(self.buffer.len(), |next| next.from);
            self.write(position, from, to)?;
            self.file.sync().map_err(WriteError::io("sync", &self.name))?;
            self.parts.pop_front();
            self.retire(oldest);
        }
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER);
        self.durable = self.sequence;
        Ok(())
    }

    /// Writes a part of the buffer, and zeros up to the end of the page.
    fn write(&mut self, position: u64, from: usize, to: usize) -> Result<(), WriteError> {
        let (mut end, all) = (to, self.buffer.len());
        if to == all {
            let after = position + (to - from) as u64;
            // A segment's length is a multiple of the page's.
            let fill = after.next_multiple_of(PAGE) - after;
            end += usize::try_from(fill).unwrap_or(0);
            self.buffer.resize(end, 0);
        }
        let written = self.file.write_at(&self.buffer[from..end], position);
        self.buffer.truncate(all);
        written.map_err(|error| self.write_error(error))
    }

    /// A disk may be full even where the file has been written before: some file systems never
    /// overwrite. Writing the same bytes again is harmless, for nothing has been synced.
    fn write_error(&mut self, error: std::io::Error) -> WriteError {
        if is_full(&error) {
            self.spares.set_low();
            return WriteError::Full;
        }
        WriteError::io("write", &self.name)(error)
    }

    /// Gives up the segments below `oldest`.
    fn retire(&mut self, oldest: u64) {
        while let Some(used) = self.used.pop_front_if(|used| used.number < oldest) {
            self.spares.retire(used.number, used.len);
        }
    }

    /// Writes, without a sync, that everything is synced.
    fn barrier(&mut self) -> Result<(), WriteError> {
        self.barrier_at(self.tip.position)
    }

    fn barrier_at(&mut self, position: u64) -> Result<(), WriteError> {
        if position + HEADER_LEN > self.tip.len {
            return Ok(());
        }
        let header = Header::barrier(self.sequence, self.chain);
        let (bytes, crc) = header.encode(self.tip.salt, position);
        match self.file.write_at(&bytes, position) {
            Ok(()) => {
                self.chain = crc;
                self.tip.position = position + HEADER_LEN;
                Ok(())
            }
            // It is not needed; only less is known without it.
            Err(error) if is_full(&error) => Ok(()),
            Err(error) => Err(WriteError::io("write", &self.name)(error)),
        }
    }

    /// Makes everything durable, and a barrier too. It is in a page of its own: whatever happens
    /// to one page, there is the other.
    pub(crate) fn close(&mut self) -> Result<(), WriteError> {
        self.sync(|| ())?;
        let closed = self
            .barrier_at(self.tip.position.next_multiple_of(PAGE))
            .and_then(|()| self.file.sync().map_err(WriteError::io("sync", &self.name)));
        self.remember(closed)
    }

    /// Does a bounded piece of work that would otherwise hold up a sync.
    pub(crate) fn prepare(&mut self) -> Result<bool, WriteError> {
        if let Some(dead) = &self.dead {
            return Err(dead.clone());
        }
        let claimed = self.parts.iter().filter(|part| part.begins.is_some()).count();
        let more = self.spares.step(claimed);
        self.remember(more)
    }
}
