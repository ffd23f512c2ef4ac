//! Reads a segment, in big blocks, and finds what is intact in it.

use crate::{
    disk::{File, read_fully},
    error::OpenError,
    record::{self, ALIGN, HEADER, HEADER_LEN, Header, Kind, Salt},
};

/// How much is read at once.
const BLOCK: usize = 1 << 20;

/// A record or barrier that was found, whatever its body is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Where it begins.
    pub(crate) begins: u64,
    pub(crate) header: Header,
    pub(crate) crc: u32,
}

impl Seen {
    /// Where it ends.
    pub(crate) fn ends(&self) -> u64 {
        self.begins.saturating_add(self.header.size())
    }
}

/// What a body is like.
pub(crate) enum Body<'w> {
    /// As it was written. Whether both copies of the header are, too.
    Intact(&'w [u8], bool),
    Damaged,
}

/// What can be said of everything from some place on.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Ahead {
    /// The last record that is known to be synced.
    pub(crate) synced: u64,
    /// Where the last thing that was found ends; 0 if there is nothing.
    pub(crate) end: u64,
}

/// A view of a segment's file.
pub(crate) struct Window<'f, F> {
    file: &'f F,
    name: &'f str,
    salt: Salt,
    /// The length of the file.
    len: u64,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins, and how many of its bytes are the file's.
    start: u64,
    filled: usize,
}

impl<'f, F: File> Window<'f, F> {
    /// `buffer` is memory to be used; its contents do not matter.
    pub(crate) fn new(file: &'f F, name: &'f str, salt: Salt, len: u64, buffer: Vec<u8>) -> Self {
        Self { file, name, salt, len, buffer, start: 0, filled: 0 }
    }

    pub(crate) fn salt(&self) -> Salt {
        self.salt
    }

    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// The record or barrier that begins at `place`, if its header is intact there.
    pub(crate) fn head(&mut self, place: u64) -> Result<Option<Seen>, OpenError> {
        let salt = self.salt;
        let bytes = self.bytes(place, HEADER_LEN)?;
        if bytes.len() < HEADER {
            return Ok(None);
        }
        let head = Header::head(bytes, salt, place);
        Ok(head.map(|(header, crc)| Seen { begins: place, header, crc }))
    }

    /// The body of a record.
    pub(crate) fn body(&mut self, seen: &Seen) -> Result<Body<'_>, OpenError> {
        let salt = self.salt;
        let Seen { begins, header, .. } = seen;
        if header.kind == Kind::Barrier {
            return Ok(Body::Intact(&[], true));
        }
        let bytes = self.bytes(*begins, header.size())?;
        let len = usize::try_from(header.len).unwrap_or(usize::MAX);
        // The file may have been cut off.
        let Some(body) = bytes.get(HEADER..).and_then(|rest| rest.get(..len)) else {
            return Ok(Body::Damaged);
        };
        if salt.body(*begins, body) != header.body_crc {
            return Ok(Body::Damaged);
        }
        // One of the two is intact, or this record would not have been seen.
        let both =
            bytes.last_chunk() == bytes.first_chunk().map(|head| record::trailer(*head)).as_ref();
        Ok(Body::Intact(body, both))
    }

    /// The first header, of either copy, that is intact at `place` or behind it.
    pub(crate) fn search(&mut self, mut place: u64) -> Result<Option<Seen>, OpenError> {
        let salt = self.salt;
        loop {
            let bytes = self.bytes(place, BLOCK as u64)?;
            if bytes.len() < HEADER {
                return Ok(None);
            }
            let last = bytes.len() - HEADER;
            for at in (0..=last).step_by(ALIGN) {
                if !salt.marks(&bytes[at..]) {
                    continue;
                }
                let (bytes, place) = (&bytes[at..at + HEADER], place + at as u64);
                if let Some((header, crc)) = Header::head(bytes, salt, place) {
                    return Ok(Some(Seen { begins: place, header, crc }));
                }
                if let Some((header, crc, begins)) = Header::trailer(bytes, salt, place) {
                    return Ok(Some(Seen { begins, header, crc }));
                }
            }
            place += (last - last % ALIGN + ALIGN) as u64;
        }
    }

    /// What can be said of everything from `place` on.
    pub(crate) fn ahead(&mut self, mut place: u64) -> Result<Ahead, OpenError> {
        let mut ahead = Ahead::default();
        while let Some(seen) = self.search(place)? {
            ahead.synced = ahead.synced.max(seen.header.synced);
            ahead.end = ahead.end.max(seen.ends());
            place = seen.begins.max(place) + ALIGN as u64;
        }
        Ok(ahead)
    }

    /// `len` bytes from `place` on, or as many as there are.
    fn bytes(&mut self, place: u64, len: u64) -> Result<&[u8], OpenError> {
        let len = len.min(self.len.saturating_sub(place));
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let from = place.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        if let Some(from) = from.filter(|from| from + len <= self.filled) {
            return Ok(&self.buffer[from..from + len]);
        }
        let kept = match from {
            Some(from) if from < self.filled => {
                self.buffer.copy_within(from..self.filled, 0);
                self.filled - from
            }
            Some(_) | None => 0,
        };
        (self.start, self.filled) = (place, kept);
        let rest = self.len.saturating_sub(place);
        let wanted = len.max(usize::try_from(rest).unwrap_or(BLOCK).min(BLOCK));
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        let rest = &mut self.buffer[kept..wanted];
        let read = read_fully(self.file, rest, place + kept as u64)
            .map_err(OpenError::io("read", self.name))?;
        self.filled = kept + read;
        Ok(&self.buffer[..len.min(self.filled)])
    }
}
