//! What is in a directory: which files are segments in use, and which are spares.

use crate::{
    disk::{Disk, File, read_fully},
    error::OpenError,
    identity::Identity,
    layout::FORMAT,
    segment::{self, Found, TITLES, Title},
};

/// A segment in use.
pub(crate) struct InUse<F> {
    pub(crate) title: Title,
    /// The length of the file in bytes.
    pub(crate) len: u64,
    pub(crate) file: F,
}

/// A file of the log without a title of its own: a spare, unless its title is damaged.
pub(crate) struct Unused<F> {
    pub(crate) number: u64,
    pub(crate) len: u64,
    pub(crate) file: F,
}

/// The files of the log, both kinds by number.
pub(crate) struct Survey<F> {
    pub(crate) in_use: Vec<InUse<F>>,
    pub(crate) unused: Vec<Unused<F>>,
    /// Segments that are not needed any more, number and length.
    pub(crate) done: Vec<(u64, u64)>,
    /// A number higher than that of any file.
    pub(crate) next: u64,
}

impl<F: File> Survey<F> {
    /// Looks at the titles of all files of the log, of which there should be at least one.
    pub(crate) fn take<D: Disk<File = F>>(disk: &D, identity: Identity) -> Result<Self, OpenError> {
        let names = disk.list().map_err(OpenError::io("list", "the directory"))?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment::number(name)).collect();
        numbers.sort_unstable();
        let next = numbers.last().map_or(1, |last| last.saturating_add(1));
        let mut survey = Self { in_use: Vec::new(), unused: Vec::new(), done: Vec::new(), next };
        for number in numbers {
            survey.look(disk, identity, number)?;
        }
        survey.drop_old()?;
        Ok(survey)
    }

    fn look<D: Disk<File = F>>(
        &mut self,
        disk: &D,
        identity: Identity,
        number: u64,
    ) -> Result<(), OpenError> {
        let name = segment::name(number);
        let file = disk.open(&name).map_err(OpenError::io("open", &name))?;
        let len = file.len().map_err(OpenError::io("read", &name))?;
        match read_title(&file, &name)? {
            Found::Title(title) if title.identity != identity => {
                return Err(OpenError::Foreign { file: name, found: title.identity });
            }
            Found::Title(title) if title.number == number => {
                self.in_use.push(InUse { title, len, file });
            }
            // What is left of an earlier use.
            Found::Title(title) if title.number < number => {
                self.unused.push(Unused { number, len, file });
            }
            Found::Title(title) => {
                let what = format!("it is {} under another name", segment::name(title.number));
                return Err(OpenError::Damaged { file: name, offset: 0, what });
            }
            Found::Nothing => self.unused.push(Unused { number, len, file }),
            Found::Version(found) => {
                return Err(OpenError::Format { file: name, found, supported: FORMAT });
            }
        }
        Ok(())
    }

    /// Sorts out what the newest title says is not needed any more.
    fn drop_old(&mut self) -> Result<(), OpenError> {
        let Some(newest) = self.in_use.last() else {
            let missing = "the directory has an identity, but no log".to_owned();
            return Err(OpenError::Amnesia { missing });
        };
        let oldest = newest.title.oldest;
        self.done = self.in_use.iter().map(|used| (used.title.number, used.len)).collect();
        self.done.retain(|(number, _)| *number < oldest);
        self.in_use.drain(..self.done.len());
        // The newest one needs none that is newer than itself, so there is at least one left.
        let first = self.in_use.first().map_or(oldest, |used| used.title.number);
        if first != oldest {
            let what = "the file is missing".to_owned();
            return Err(OpenError::Damaged { file: segment::name(oldest), offset: 0, what });
        }
        for InUse { title, len, .. } in &self.in_use {
            if *len < title.len {
                let what = format!("the file has been cut off, it had {} bytes", title.len);
                let file = segment::name(title.number);
                return Err(OpenError::Damaged { file, offset: *len, what });
            }
        }
        Ok(())
    }
}

/// Reads a segment's title.
pub(crate) fn read_title(file: &impl File, name: &str) -> Result<Found, OpenError> {
    let mut titles = vec![0; TITLES];
    let read = read_fully(file, &mut titles, 0).map_err(OpenError::io("read", name))?;
    Ok(Title::decode(&titles[..read]))
}
