//! Segments that are ready before they are needed.
//!
//! A segment that was written before, if only with zeros, takes a sync as one flush of data; a
//! file that grows also changes the file system's own books with every sync. So files are made
//! in advance, away from the path of a record to the disk, and used again when they are done with.
//!
//! A spare has the number that it will have as a segment. A file that is used again gets a new,
//! higher number: what is still in it cannot be taken for anything of its new life.

use std::{collections::VecDeque, io};

use crate::{
    disk::{Disk, File},
    error::{WriteError, is_full},
    segment,
};

/// How much is written at once while a spare is made.
const STEP: usize = 1 << 20;
/// A spare's name while it is made in the background.
const ASIDE: &str = "spare.tmp";

static ZEROS: [u8; STEP] = [0; STEP];

/// A file that can become a segment.
pub(crate) struct Spare<F> {
    pub(crate) number: u64,
    pub(crate) len: u64,
    pub(crate) file: F,
}

/// A spare that is being made.
struct Making<F> {
    file: F,
    written: u64,
}

/// The spares, and the segments that can become some.
pub(crate) struct Spares<D: Disk> {
    disk: D,
    /// The length of an ordinary segment.
    len: u64,
    /// How many are to be ready, and how many may be.
    wanted: usize,
    most: usize,
    /// By number.
    ready: VecDeque<Spare<D::File>>,
    /// The number of the next file.
    next: u64,
    /// Segments that are not needed any more: number and length.
    done: VecDeque<(u64, u64)>,
    making: Option<Making<D::File>>,
    low: bool,
}

impl<D: Disk> Spares<D> {
    /// `ready` is sorted by number, and `next` is higher than the number of any file.
    pub(crate) fn new(
        disk: D,
        (len, wanted, most): (u64, usize, usize),
        ready: VecDeque<Spare<D::File>>,
        next: u64,
    ) -> Self {
        let done = VecDeque::new();
        Self { disk, len, wanted, most, ready, next, done, making: None, low: false }
    }

    /// The number of the spare that will be used after `before` others.
    pub(crate) fn number(&self, before: usize) -> u64 {
        match self.ready.get(before) {
            Some(spare) => spare.number,
            None => self.next + (before - self.ready.len()) as u64,
        }
    }

    /// Whether the disk was full when a spare was made, and the reserve is not whole again.
    pub(crate) fn is_low(&self) -> bool {
        self.low
    }

    /// The disk is full, as a write says that should not have needed space.
    pub(crate) fn set_low(&mut self) {
        self.low = true;
    }

    /// Takes over a segment that is not needed any more.
    pub(crate) fn retire(&mut self, number: u64, len: u64) {
        self.done.push_back((number, len));
    }

    /// Sees to it that there are more than `before` spares, and that the one after those has
    /// `len` bytes.
    pub(crate) fn ensure(&mut self, before: usize, len: u64) -> Result<(), WriteError> {
        let number = self.number(before);
        if len != self.len {
            if self.ready.get(before).is_none_or(|spare| spare.len != len) {
                self.make_special(before, number, len)?;
            }
            return Ok(());
        }
        while self.ready.len() <= before {
            if !self.recycle()? {
                self.make_some(self.len)?;
            }
        }
        Ok(())
    }

    /// The next spare.
    pub(crate) fn take(&mut self) -> Option<Spare<D::File>> {
        self.ready.pop_front()
    }

    /// Does a bounded piece of what there is to do, and says whether there is more.
    /// `claimed` spares are as good as used.
    pub(crate) fn step(&mut self, claimed: usize) -> Result<bool, WriteError> {
        if self.recycle()? {
            return Ok(true);
        }
        if self.ready.len().saturating_sub(claimed) >= self.wanted {
            self.low = false;
            return Ok(false);
        }
        match self.make_some(STEP as u64) {
            Ok(()) => Ok(true),
            Err(WriteError::Full) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes a spare of a segment that is done with, or removes it if there are plenty.
    fn recycle(&mut self) -> Result<bool, WriteError> {
        let Some((number, len)) = self.done.pop_front() else { return Ok(false) };
        let old = segment::name(number);
        if len != self.len || self.ready.len() >= self.most {
            self.disk.discard(&old).map_err(WriteError::io("remove", &old))?;
            return Ok(true);
        }
        let new = segment::name(self.next);
        self.disk.rename(&old, &new).map_err(WriteError::io("rename", &old))?;
        self.disk.sync_dir().map_err(WriteError::io("sync the directory of", &new))?;
        let file = self.disk.open(&new).map_err(WriteError::io("open", &new))?;
        self.push(len, file);
        Ok(true)
    }

    fn push(&mut self, len: u64, file: D::File) {
        self.ready.push_back(Spare { number: self.next, len, file });
        self.next += 1;
    }

    /// Makes a piece of a spare, of at least so many bytes.
    fn make_some(&mut self, bytes: u64) -> Result<(), WriteError> {
        let making = match self.making.take() {
            Some(making) => making,
            None => Making { file: self.begin(ASIDE, self.len)?, written: 0 },
        };
        let Making { file, written } = making;
        let end = written.saturating_add(bytes).min(self.len);
        let piece = fill(&file, written, end).and_then(|()| file.sync());
        self.outcome(ASIDE, piece)?;
        let written = end;
        if written < self.len {
            self.making = Some(Making { file, written });
            return Ok(());
        }
        let name = segment::name(self.next);
        self.name(ASIDE, &name)?;
        self.push(self.len, file);
        Ok(())
    }

    /// Makes a segment for a record that does not fit into an ordinary one. It takes the place of
    /// the spare of its number.
    fn make_special(&mut self, before: usize, number: u64, len: u64) -> Result<(), WriteError> {
        let aside = segment::name_aside(number);
        let file = self.begin(&aside, len)?;
        let filled = fill(&file, 0, len).and_then(|()| file.sync());
        self.outcome(&aside, filled)?;
        self.name(&aside, &segment::name(number))?;
        match self.ready.get_mut(before) {
            Some(spare) => *spare = Spare { number, len, file },
            None => self.push(len, file),
        }
        Ok(())
    }

    fn begin(&mut self, aside: &str, len: u64) -> Result<D::File, WriteError> {
        let file = self.disk.create(aside);
        let file = self.outcome(aside, file)?;
        let allocated = file.allocate(len);
        self.outcome(aside, allocated)?;
        Ok(file)
    }

    fn name(&mut self, aside: &str, name: &str) -> Result<(), WriteError> {
        let named = self.disk.rename(aside, name).and_then(|()| self.disk.sync_dir());
        named.map_err(WriteError::io("rename", aside))
    }

    /// A file that is being made holds nothing yet, so it can go if there is no space for it.
    fn outcome<T>(&mut self, aside: &str, done: io::Result<T>) -> Result<T, WriteError> {
        done.map_err(|error| {
            if !is_full(&error) {
                return WriteError::io("make", aside)(error);
            }
            self.low = true;
            // If it stays, it is removed when the directory is next opened.
            drop(self.disk.remove(aside));
            WriteError::Full
        })
    }
}

/// Writes zeros from `from` up to `end`.
pub(crate) fn fill(file: &impl File, mut from: u64, end: u64) -> io::Result<()> {
    while from < end {
        let piece = usize::try_from(end - from).unwrap_or(STEP).min(STEP);
        file.write_at(&ZEROS[..piece], from)?;
        from += piece as u64;
    }
    Ok(())
}
