//! Reads the log back: every byte is verified, and what is not as it was written is named.
//!
//! Records are numbered without gaps, over all segments and lives. Where the next one is not
//! found intact, the question is whether it had been synced. It had been if anything intact that
//! was written later says so: a record, a barrier, or the title of a later segment. Then this is
//! damage, and never passed over in silence. Otherwise it is the torn end of a write that nobody
//! was told of, and it is dropped with all that follows.

use synod_paxos::{
    Ballot, Record, Slot,
    wire::{DecodeError, VERSION},
};

use crate::{
    disk::{File, read_fully},
    error::OpenError,
    identity::Identity,
    log::Used,
    record::{self, HEADER_LEN, Header, Kind, Salt},
    segment::{self, FIRST_RECORD, State},
    survey::{InUse, Survey},
    window::{Body, Seen, Window},
};

/// How much is written again at once.
const PIECE: usize = 1 << 20;

/// What was found when the log was read back.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Replayed {
    /// How many records were given out, without those that stand for segments that are gone.
    pub records: u64,
    /// Pvalues that the acceptor had accepted and the disk has lost, though nothing but their
    /// decrees. In its place in the log, each was given out as a [`Record::Lost`].
    pub lost: Vec<(Ballot, Slot)>,
    /// How many records that can be done without ([`Record::can_wait`]) the disk has lost. They
    /// were left out; the replica asks others for what they said.
    pub forgotten: u64,
    /// The end of the log that was never synced, and is gone.
    pub torn: Option<Torn>,
    /// How many records have one of the two copies of their header damaged. Nothing is lost, but
    /// the disk is getting old.
    pub mended: u64,
}

/// The end of the log that was never synced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Torn {
    /// The segment's file.
    pub file: String,
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// How many bytes there are.
    pub bytes: u64,
}

/// How the records of a segment end.
enum End {
    /// Behind the last one, there is nothing.
    Clean(u64),
    Torn(Torn),
}

/// Where the records are that may not be on the disk yet.
#[derive(Clone, Copy)]
struct Batch {
    /// What they say is synced.
    synced: u64,
    begins: u64,
}

/// Replay in progress.
pub(crate) struct Replay<'e> {
    identity: Identity,
    each: &'e mut dyn FnMut(Record),
    /// The number of the next record.
    expected: u64,
    /// The checksum of the last header.
    chain: u32,
    state: State,
    /// Everything up to this record is known to be synced.
    synced: u64,
    replayed: Replayed,
    used: Vec<Used>,
    batch: Option<Batch>,
    /// Records of the segment of whose header one copy is not what it should be.
    torn: Vec<Seen>,
}

/// What a replay leaves to the writer.
pub(crate) struct Outcome {
    pub(crate) replayed: Replayed,
    pub(crate) used: Vec<Used>,
    /// Where the next record goes in the last segment. `None`: there is something behind, so it
    /// has to go into another segment.
    pub(crate) position: Option<u64>,
    /// The number of the last record.
    pub(crate) sequence: u64,
    pub(crate) chain: u32,
    pub(crate) state: State,
    /// The file without a title that a torn write was meant for.
    pub(crate) torn_spare: Option<u64>,
}

/// Whether there has never been a record: the first one is not there, and never was.
pub(crate) fn is_untouched<F: File>(survey: &Survey<F>) -> Result<bool, OpenError> {
    let [InUse { title, len, file }] = survey.in_use.as_slice() else { return Ok(false) };
    let name = segment::name(title.number);
    let salt = Salt::new(title.identity, title.number);
    let mut window = Window::new(file, &name, salt, *len, Vec::new());
    if title.first != 1 {
        return Ok(false);
    }
    let Some(first) = window.search(FIRST_RECORD)? else { return Ok(true) };
    let there = first.begins == FIRST_RECORD && first.header.sequence == 1;
    if there && let Body::Intact(..) = window.body(&first)? {
        return Ok(false);
    }
    Ok(window.ahead(FIRST_RECORD)?.synced == 0)
}

/// Reads everything in order, and makes the end of it durable: it may be in memory alone.
pub(crate) fn replay<F: File>(
    survey: &Survey<F>,
    identity: Identity,
    each: &mut dyn FnMut(Record),
) -> Result<Outcome, OpenError> {
    let mut replay = Replay {
        identity,
        each,
        expected: 0,
        chain: 0,
        state: State::EMPTY,
        synced: 0,
        replayed: Replayed::default(),
        used: Vec::new(),
        batch: None,
        torn: Vec::new(),
    };
    let mut buffer = Vec::new();
    let mut end = End::Clean(FIRST_RECORD);
    for (place, segment) in survey.in_use.iter().enumerate() {
        if place == 0 {
            replay.begin(segment);
        }
        let next = survey.in_use.get(place + 1);
        end = replay.segment(segment, next, &mut buffer)?;
    }
    let last = survey.in_use.last().expect("a survey without segments is an error");
    let torn_spare = replay.first_spare(survey, last.title.number, &mut buffer)?;
    let position = match &end {
        End::Clean(position) => Some(*position),
        End::Torn(_) => None,
    };
    let reached = match end {
        End::Clean(position) => position,
        End::Torn(torn) => replay.replayed.torn.insert(torn).offset,
    };
    replay.secure(last, reached)?;
    let sequence = replay.expected.saturating_sub(1);
    let Replay { replayed, used, chain, state, .. } = replay;
    Ok(Outcome { replayed, used, position, sequence, chain, state, torn_spare })
}

impl Replay<'_> {
    /// Begins with what is known of everything before the first segment.
    fn begin<F>(&mut self, segment: &InUse<F>) {
        self.expected = segment.title.first;
        self.state = segment.title.state;
        self.state.records().for_each(&mut *self.each);
    }

    fn segment<F: File>(
        &mut self,
        segment: &InUse<F>,
        next: Option<&InUse<F>>,
        buffer: &mut Vec<u8>,
    ) -> Result<End, OpenError> {
        let InUse { title, len, file } = segment;
        let name = segment::name(title.number);
        self.used.push(Used { number: title.number, len: *len, keeps: Slot(0) });
        (self.batch, self.chain) = (None, title.chain);
        self.torn.clear();
        let salt = Salt::new(self.identity, title.number);
        let mut window = Window::new(file, &name, salt, *len, std::mem::take(buffer));
        let end = self.records(&mut window, &name, next.map(|next| next.title.first))?;
        *buffer = window.into_buffer();
        Ok(end)
    }

    /// Reads the records of a segment. `next`: where the next segment begins.
    fn records<F: File>(
        &mut self,
        window: &mut Window<'_, F>,
        name: &str,
        next: Option<u64>,
    ) -> Result<End, OpenError> {
        // A later segment was begun when all before it was synced.
        self.synced = self.synced.max(next.map_or(0, |next| next.saturating_sub(1)));
        let mut position = FIRST_RECORD;
        while Some(self.expected) != next {
            let seen = match window.head(position)? {
                Some(seen) => Some(seen),
                None => window.search(position)?,
            };
            let Some(seen) = seen else {
                return match next {
                    Some(next) => Err(self.missing(name.to_owned(), position, next)),
                    None => Ok(End::Clean(position)),
                };
            };
            if self.follows_barrier(window.salt(), position, &seen) {
                (position, self.chain) = (seen.begins, seen.header.chain);
                continue;
            }
            let follows = seen.begins == position
                && seen.header.follows() == self.expected
                && self.chain == seen.header.chain;
            if follows && self.take(window, name, &seen)? {
                position = seen.ends();
                continue;
            }
            if self.was_synced(window, position)? {
                return Err(self.missing(name.to_owned(), position, seen.header.follows()));
            }
            let end = window.ahead(position)?.end.max(seen.ends());
            let bytes = end.saturating_sub(position);
            return Ok(End::Torn(Torn { file: name.to_owned(), offset: position, bytes }));
        }
        Ok(End::Clean(position))
    }

    /// Whether nothing but barriers is missing between `position` and what was seen behind it: that
    /// of a sync, or that of the end of a life, or both, or none, for the latter stands apart.
    /// What they were is known.
    fn follows_barrier(&self, salt: Salt, position: u64, seen: &Seen) -> bool {
        let barrier = |place, chain| {
            Header::barrier(self.expected.saturating_sub(1), chain).encode(salt, place).1
        };
        let before = seen.begins.saturating_sub(HEADER_LEN);
        let here = barrier(position, self.chain);
        let possible = [self.chain, here, barrier(before, self.chain), barrier(before, here)];
        seen.begins > position
            && seen.header.follows() == self.expected
            && possible.contains(&seen.header.chain)
    }

    /// Takes the next record or barrier. `false` if its body is damaged and it was never synced.
    fn take<F: File>(
        &mut self,
        window: &mut Window<'_, F>,
        name: &str,
        seen: &Seen,
    ) -> Result<bool, OpenError> {
        let header = &seen.header;
        let mut torn = false;
        let record = match window.body(seen)? {
            Body::Intact(body, both) => {
                torn = !both;
                header.record(body).map_err(|error| unreadable(name, seen, error))?
            }
            Body::Damaged => {
                if !self.was_synced(window, seen.begins)? {
                    return Ok(false);
                }
                self.lose(name, seen)?
            }
        };
        if torn {
            // Whether it was torn or damaged, nothing is missing.
            let mended = self.was_synced(window, seen.begins)?;
            self.replayed.mended += u64::from(mended);
            self.torn.push(*seen);
        }
        if self.batch.is_none_or(|batch| batch.synced < header.synced) {
            self.batch = Some(Batch { synced: header.synced, begins: seen.begins });
        }
        self.synced = self.synced.max(header.synced);
        self.chain = seen.crc;
        self.expected = header.sequence.saturating_add(1);
        if let (Some(slot), Some(used)) = (header.keeps(), self.used.last_mut()) {
            used.keeps = used.keeps.max(slot);
        }
        if let Some(record) = record {
            self.replayed.records += 1;
            self.state.add(&record);
            (self.each)(record);
        }
        Ok(true)
    }

    /// A record's body is damaged, but its header says what it was. What takes its place?
    fn lose(&mut self, name: &str, seen: &Seen) -> Result<Option<Record>, OpenError> {
        match seen.header.kind {
            Kind::Accepted => {
                let (ballot, slot) = (seen.header.ballot, seen.header.slot);
                self.replayed.lost.push((ballot, slot));
                Ok(Some(Record::Lost { ballot, slot }))
            }
            // The acceptor does not depend on it, and the replica asks the others.
            Kind::Learned | Kind::Performed => {
                self.replayed.forgotten += 1;
                Ok(None)
            }
            // They have no body. So this is not what it was when it was written.
            Kind::Barrier
            | Kind::Started
            | Kind::Campaigned
            | Kind::Adopted
            | Kind::Collected
            | Kind::Lost => {
                Err(self.missing(name.to_owned(), seen.begins, seen.header.sequence + 1))
            }
        }
    }

    /// Whether the next record was synced.
    fn was_synced<F: File>(
        &mut self,
        window: &mut Window<'_, F>,
        position: u64,
    ) -> Result<bool, OpenError> {
        if self.synced < self.expected {
            self.synced = self.synced.max(window.ahead(position)?.synced);
        }
        Ok(self.synced >= self.expected)
    }

    /// The error that says that synced records are not there. `next` is the first that is.
    fn missing(&self, file: String, offset: u64, next: u64) -> OpenError {
        let first = self.expected;
        let last = next.saturating_sub(1).max(first);
        let what = if first == last {
            format!("record {first} was written here, and is not what it was")
        } else {
            format!("records {first} to {last} were written here, and are not what they were")
        };
        OpenError::Damaged { file, offset, what }
    }

    /// The first spare would have been the next segment. If there is something in it that belongs
    /// there, its title was torn, or has been damaged.
    fn first_spare<F: File>(
        &mut self,
        survey: &Survey<F>,
        last: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<u64>, OpenError> {
        let Some(spare) = survey.unused.iter().find(|spare| spare.number > last) else {
            return Ok(None);
        };
        let name = segment::name(spare.number);
        let salt = Salt::new(self.identity, spare.number);
        let memory = std::mem::take(buffer);
        let mut window = Window::new(&spare.file, &name, salt, spare.len, memory);
        let ahead = window.ahead(FIRST_RECORD)?;
        *buffer = window.into_buffer();
        if ahead.end == 0 {
            return Ok(None);
        }
        if ahead.synced >= self.expected {
            let what = "the title of this segment is not what it was".to_owned();
            return Err(OpenError::Damaged { file: name, offset: 0, what });
        }
        let bytes = ahead.end;
        self.replayed.torn = Some(Torn { file: name, offset: 0, bytes });
        Ok(Some(spare.number))
    }

    /// What was read may be in the operating system's memory alone, and may have been forgotten
    /// there that it still has to be written. So it is written once more, as it is.
    fn secure<F: File>(&mut self, last: &InUse<F>, end: u64) -> Result<(), OpenError> {
        let name = segment::name(last.title.number);
        let mut from = match self.batch {
            Some(batch) if batch.synced >= self.expected.saturating_sub(1) => end,
            Some(batch) if batch.begins > FIRST_RECORD => batch.begins,
            // The title is of the same write.
            Some(_) | None => 0,
        };
        let mut bytes = Vec::new();
        while from < end {
            bytes.resize(usize::try_from(end - from).unwrap_or(PIECE).min(PIECE), 0);
            let read =
                read_fully(&last.file, &mut bytes, from).map_err(OpenError::io("read", &name))?;
            if read == 0 {
                break;
            }
            let written = last.file.write_at(&bytes[..read], from);
            written.map_err(OpenError::io("write", &name))?;
            from += read as u64;
        }
        // A torn write may have left a record whole and one copy of its header not.
        let salt = Salt::new(self.identity, last.title.number);
        for seen in &self.torn {
            let (header, _) = seen.header.encode(salt, seen.begins);
            let second = seen.ends() - HEADER_LEN;
            let written = last
                .file
                .write_at(&header, seen.begins)
                .and_then(|()| last.file.write_at(&record::trailer(header), second));
            written.map_err(OpenError::io("write", &name))?;
        }
        last.file.sync().map_err(OpenError::io("sync", &name))
    }
}

/// The error for a body that is as it was written, and means nothing to this program.
fn unreadable(name: &str, seen: &Seen, error: DecodeError) -> OpenError {
    let file = name.to_owned();
    match error {
        DecodeError::Version(found) => {
            let (found, supported) = (u32::from(found), u32::from(VERSION));
            OpenError::Format { file, found, supported }
        }
        DecodeError::Short | DecodeError::Long | DecodeError::Kind(_) | DecodeError::Value => {
            let what = format!("record {} cannot be read: {error}", seen.header.sequence);
            OpenError::Damaged { file, offset: seen.begins, what }
        }
    }
}
