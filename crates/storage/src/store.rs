//! A node's directory: identity, log, snapshots.

use std::collections::VecDeque;

use synod_paxos::{NodeId, Record};

use crate::{
    disk::{Disk, File, read_fully},
    error::{OpenError, WriteError},
    identity::{self, Identity},
    layout::FORMAT,
    log::{Log, Recovered, Tip},
    record::Salt,
    recovery::{self, Outcome, Replayed},
    segment::{self, FIRST_RECORD, Found, State, TITLES, Title},
    snapshot::{self, Snapshots},
    spares::{self, Spare, Spares},
    survey::{Survey, read_title},
    window::Window,
};

/// Sizes of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// The length of a segment in bytes; at least 16 KiB, and a multiple of 4 KiB. What does not
    /// fit is made to. A record that is longer gets a segment of its own length.
    pub segment_bytes: u64,
    /// How many segments are kept ready. They are the reserve from which the log is written when
    /// the disk is full.
    pub spare_segments: usize,
    /// How many segments are kept ready at most: those that are not needed any more are used
    /// again, but not all for ever.
    pub spare_segments_max: usize,
}

impl Default for Options {
    /// Segments of 16 MiB, two to eight of them ready.
    fn default() -> Self {
        Self { segment_bytes: 16 << 20, spare_segments: 2, spare_segments_max: 8 }
    }
}

impl Options {
    fn segment_bytes(&self) -> u64 {
        self.segment_bytes.clamp(16 << 10, 1 << 40).next_multiple_of(4 << 10)
    }
}

/// Whose directory is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Want {
    /// The cluster.
    pub cluster: u64,
    /// The node.
    pub node: NodeId,
}

/// A node's directory.
///
/// Dropping a store leaves everything as after a crash of the process: nothing that was synced is
/// lost. See [`Store::close`] for what is better about closing it.
pub struct Store<D: Disk> {
    disk: D,
    identity: Identity,
    options: Options,
    is_new: bool,
    snapshots: Snapshots<D>,
    survey: Option<Survey<D::File>>,
    log: Option<Log<D>>,
    /// What was appended before the replay, which is a mistake.
    early: bool,
    _lock: D::Lock,
}

impl<D: Disk> Store<D> {
    /// Opens the directory of node `want`, and formats it first if there is nothing of this crate
    /// in it. `fresh_birth` is a random number; it becomes the identity's birth if the directory
    /// is formatted.
    ///
    /// # Errors
    /// See [`OpenError`]. Nothing is changed then, except that what was left half made is removed.
    pub fn open(
        disk: D,
        want: Want,
        fresh_birth: u64,
        options: Options,
    ) -> Result<Self, OpenError> {
        let lock = disk.lock().map_err(OpenError::io("lock", "LOCK"))?.ok_or(OpenError::Locked)?;
        let names = clean(&disk)?;
        let formatted = names.iter().any(|name| name == identity::FILE);
        let identity = if !formatted {
            may_format(&disk, &names)?;
            let identity = Identity { cluster: want.cluster, node: want.node, birth: fresh_birth };
            format(&disk, identity, options.segment_bytes())?;
            identity
        } else {
            read_identity(&disk)?
        };
        if identity.cluster != want.cluster || identity.node != want.node {
            let (wanted_node, wanted_cluster) = (want.node, want.cluster);
            return Err(OpenError::Identity { found: identity, wanted_node, wanted_cluster });
        }
        let survey = Survey::take(&disk, identity)?;
        let is_new = recovery::is_untouched(&survey)?;
        let survey = Some(survey);
        let snapshots = Snapshots::new(disk.clone(), identity.cluster);
        let (log, early) = (None, false);
        let _lock = lock;
        Ok(Self { disk, identity, options, is_new, snapshots, survey, log, early, _lock })
    }

    /// Whether no record was ever made durable here: the directory was formatted just now, or
    /// before a crash that came before anything else.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Whose directory it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The snapshots of this directory, for any thread.
    #[must_use]
    pub fn snapshots(&self) -> Snapshots<D> {
        self.snapshots.clone()
    }

    /// Reads the log back and gives every record to `each`, in order. What the records of
    /// segments that are gone came to comes first, as records. This has to be done once, before
    /// anything is appended, in a new directory too.
    ///
    /// What was given to `each` is durable only when this returns `Ok`.
    ///
    /// # Errors
    /// When the log is damaged beyond what [`Replayed`] can say, or the disk fails.
    pub fn replay(&mut self, each: &mut dyn FnMut(Record)) -> Result<Replayed, OpenError> {
        let Some(survey) = self.survey.take() else { return Ok(Replayed::default()) };
        let outcome = recovery::replay(&survey, self.identity, each)?;
        let replayed = outcome.replayed.clone();
        self.log = Some(self.writer(survey, outcome)?);
        Ok(replayed)
    }

    fn writer(&self, survey: Survey<D::File>, outcome: Outcome) -> Result<Log<D>, OpenError> {
        let Outcome { used, position, sequence, chain, state, torn_spare, .. } = outcome;
        let last = survey.in_use.into_iter().next_back().expect("a log has a last segment");
        let (number, len) = (last.title.number, last.len.min(last.title.len));
        let segment_bytes = self.options.segment_bytes();
        let mut next = survey.next;
        let (mut ready, mut done) = (VecDeque::new(), survey.done);
        for spare in survey.unused {
            if spare.number < number {
                done.push((spare.number, spare.len));
                continue;
            }
            if spare.len != segment_bytes {
                // Before anything is written: a torn write that was meant for it must not be taken
                // for one that was meant for another spare, later on.
                let name = segment::name(spare.number);
                let removed = self.disk.remove(&name).and_then(|()| self.disk.sync_dir());
                removed.map_err(OpenError::io("remove", &name))?;
                continue;
            }
            let mut spare = Spare { number: spare.number, len: spare.len, file: spare.file };
            if torn_spare == Some(spare.number) {
                // Under another number, what is in it means nothing.
                let (old, new) = (segment::name(spare.number), segment::name(next));
                let renamed = self.disk.rename(&old, &new).and_then(|()| self.disk.sync_dir());
                renamed.map_err(OpenError::io("rename", &old))?;
                spare.number = next;
                next += 1;
            }
            ready.push_back(spare);
        }
        ready.make_contiguous().sort_unstable_by_key(|spare| spare.number);
        let Options { spare_segments: wanted, spare_segments_max: most, .. } = self.options;
        let sizes = (segment_bytes, wanted, most.max(wanted));
        let mut spares = Spares::new(self.disk.clone(), sizes, ready, next);
        done.into_iter().for_each(|(number, len)| spares.retire(number, len));
        // Where there is something behind the end, nothing is written any more.
        let position = position.unwrap_or(len);
        let tip = Tip { number, salt: Salt::new(self.identity, number), len, position };
        let (used, file) = (used.into(), last.file);
        let found = Recovered { spares, used, tip, file, sequence, chain, state };
        Ok(Log::new(self.identity, segment_bytes, found))
    }

    /// Puts records into the batch that the next sync makes durable.
    pub fn append(&mut self, records: &[Record]) {
        match &mut self.log {
            Some(log) => records.iter().for_each(|record| log.append(record)),
            None => self.early = true,
        }
    }

    /// Makes everything that was appended durable: one write and one `fdatasync`.
    ///
    /// # Errors
    /// [`WriteError::Full`]: nothing of the batch counts as written; call again when there may be
    /// space. [`WriteError::Failed`]: the store is dead, and every later call says the same.
    pub fn sync(&mut self) -> Result<(), WriteError> {
        self.sync_and_tell(|| ())
    }

    /// As [`Store::sync`]; `told` is called as soon as everything is durable, before anything else
    /// is done: somebody waits for it.
    ///
    /// # Errors
    /// As [`Store::sync`]. Where `told` was called before, everything is durable all the same.
    pub fn sync_and_tell(&mut self, told: impl FnOnce()) -> Result<(), WriteError> {
        match &mut self.log {
            Some(log) if !self.early => log.sync(told),
            Some(_) => Err(too_early()),
            None if self.early => Err(too_early()),
            None => Ok(()),
        }
    }

    /// Does a bounded piece of the work that would hold up a sync if it were left to it: makes
    /// segments ready, uses old ones again. To be called when there is nothing else to do, until
    /// it returns `false`: then there is no more to be done now. While [`Store::is_low`], it
    /// is worth a call from time to time: it finds out whether there is space again.
    ///
    /// # Errors
    /// [`WriteError::Failed`]: the store is dead.
    pub fn prepare(&mut self) -> Result<bool, WriteError> {
        self.log.as_mut().map_or(Ok(false), Log::prepare)
    }

    /// The number of the last record that was appended; records are numbered from 1, over all
    /// lives. 0 before the replay.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.log.as_ref().map_or(0, Log::sequence)
    }

    /// The number of the last record that is durable.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.log.as_ref().map_or(0, Log::durable)
    }

    /// Whether the disk is full: a segment could not be made, and the log is written from the
    /// reserve. It ends by itself when there is space again.
    #[must_use]
    pub fn is_low(&self) -> bool {
        self.log.as_ref().is_some_and(Log::is_low)
    }

    /// Makes everything durable and writes on the disk that it is. After a crash, damage to the
    /// very last write could be taken for a write that was never finished; after this, it cannot.
    ///
    /// # Errors
    /// As [`Store::sync`].
    pub fn close(mut self) -> Result<(), WriteError> {
        self.log.as_mut().map_or(Ok(()), Log::close)
    }
}

impl<D: Disk> std::fmt::Debug for Store<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (identity, sequence) = (self.identity, self.sequence());
        let mut out = f.debug_struct("Store");
        out.field("identity", &identity).field("sequence", &sequence).finish_non_exhaustive()
    }
}

fn too_early() -> WriteError {
    let error = std::io::Error::other("the log has to be replayed first");
    WriteError::io("append to", "the log")(error)
}

/// Removes what was left half made, and says what else there is.
fn clean(disk: &impl Disk) -> Result<Vec<String>, OpenError> {
    let mut names = disk.list().map_err(OpenError::io("list", "the directory"))?;
    for name in names.extract_if(.., |name| is_half_made(name)) {
        disk.remove(&name).map_err(OpenError::io("remove", &name))?;
    }
    // What was named or renamed just before a crash may be so in memory alone.
    disk.sync_dir().map_err(OpenError::io("sync", "the directory"))?;
    Ok(names)
}

fn is_half_made(name: &str) -> bool {
    let ours = ["log-", "spare", "snapshot-", "IDENTITY"];
    name.ends_with(".tmp") && ours.iter().any(|prefix| name.starts_with(prefix))
}

/// Sees to it that a directory without an identity is not one that has lost it.
fn may_format(disk: &impl Disk, names: &[String]) -> Result<(), OpenError> {
    let lost = |what: &str| {
        let missing = format!("there is {what}, but no {}", identity::FILE);
        Err(OpenError::Amnesia { missing })
    };
    for name in names {
        if snapshot::slot(name).is_some() {
            return lost(name);
        }
        let Some(number) = segment::number(name) else { continue };
        // A crash while formatting leaves one segment, in which nothing was ever written.
        let file = disk.open(name).map_err(OpenError::io("open", name))?;
        let len = file.len().map_err(OpenError::io("read", name))?;
        let Found::Title(title) = read_title(&file, name)? else { return lost(name) };
        let salt = Salt::new(title.identity, title.number);
        let mut window = Window::new(&file, name, salt, len, Vec::new());
        let untouched = title.number == 1 && number == 1 && title.first == 1;
        if !untouched || window.search(FIRST_RECORD)?.is_some() {
            return lost(name);
        }
    }
    Ok(())
}

/// The identity comes last: where it is, the log is.
fn format<D: Disk>(disk: &D, identity: Identity, segment_bytes: u64) -> Result<(), OpenError> {
    let (name, aside) = (segment::name(1), segment::name_aside(1));
    let log = write_first_segment(disk, identity, segment_bytes, &aside);
    log.map_err(OpenError::io("write", &aside))?;
    let renamed = disk.rename(&aside, &name).and_then(|()| disk.sync_dir());
    renamed.map_err(OpenError::io("rename", &aside))?;
    let (name, aside) = (identity::FILE, identity::FILE_ASIDE);
    let written = disk.create(aside).and_then(|file| {
        file.write_at(&identity.encode(), 0)?;
        file.sync()
    });
    written.map_err(OpenError::io("write", aside))?;
    let renamed = disk.rename(aside, name).and_then(|()| disk.sync_dir());
    renamed.map_err(OpenError::io("rename", aside))
}

fn write_first_segment<D: Disk>(
    disk: &D,
    identity: Identity,
    len: u64,
    aside: &str,
) -> std::io::Result<()> {
    let file = disk.create(aside)?;
    file.allocate(len)?;
    spares::fill(&file, 0, len)?;
    let mut titles = vec![0; TITLES];
    let (number, first, oldest, chain, state) = (1, 1, 1, 0, State::EMPTY);
    Title { identity, number, len, first, oldest, chain, state }.encode(&mut titles);
    file.write_at(&titles, 0)?;
    file.sync()
}

fn read_identity(disk: &impl Disk) -> Result<Identity, OpenError> {
    let name = identity::FILE;
    let file = disk.open(name).map_err(OpenError::io("open", name))?;
    let mut bytes = vec![0; 4096];
    let read = read_fully(&file, &mut bytes, 0).map_err(OpenError::io("read", name))?;
    match Identity::decode(&bytes[..read]) {
        identity::Found::Identity(identity) => Ok(identity),
        identity::Found::Version(found) => {
            Err(OpenError::Format { file: name.into(), found, supported: FORMAT })
        }
        identity::Found::Damaged => {
            let what = "neither copy of the identity is what it was".to_owned();
            Err(OpenError::Damaged { file: name.into(), offset: 0, what })
        }
    }
}
