//! A node's log and who writes it: what has piled up goes out in one write and one sync, which
//! takes its time. The rules are those of the thread that writes the log in production.

use synod_paxos::Record;
use synod_storage::{SimDisk, Store, WriteError};

/// Writes what it is given.
pub(crate) struct Log {
    store: Store<SimDisk>,
    /// What came while something else was being written.
    pile: Vec<Record>,
    /// What is being written.
    writing: Vec<Record>,
    /// `writing` has been handed to the store, and waits for room.
    handed_over: bool,
    /// A sync is under way.
    pub(crate) busy: bool,
    /// A sync should have ended, and hangs.
    pub(crate) stuck: bool,
    /// Records of this life that are on disk.
    count: u64,
    full: bool,
}

/// What became of a sync.
pub(crate) enum Written {
    /// So many records are on disk, of this life; so many more than before.
    Synced { count: u64, more: usize },
    /// There is no room: try again later.
    NoRoom,
    /// The node must stop.
    Failed(String),
}

impl Log {
    /// `before` records of this life are on disk already.
    pub(crate) fn new(store: Store<SimDisk>, before: u64) -> Self {
        Self {
            store,
            pile: Vec::new(),
            writing: Vec::new(),
            handed_over: false,
            busy: false,
            stuck: false,
            count: before,
            full: false,
        }
    }

    /// Takes records over. True if a sync has to be begun.
    pub(crate) fn append(&mut self, batch: &mut Vec<Record>) -> bool {
        self.pile.append(batch);
        self.begin()
    }

    /// True if a sync has begun.
    fn begin(&mut self) -> bool {
        if self.busy || self.pile.is_empty() {
            return false;
        }
        std::mem::swap(&mut self.pile, &mut self.writing);
        self.busy = true;
        true
    }

    /// The time of a sync is over.
    pub(crate) fn end(&mut self) -> Written {
        self.hand_over();
        match self.store.sync() {
            Ok(()) => {
                let more = self.writing.len();
                self.count += more as u64;
                self.writing.clear();
                (self.busy, self.handed_over) = (false, false);
                Written::Synced { count: self.count, more }
            }
            Err(WriteError::Full) => Written::NoRoom,
            Err(error @ WriteError::Failed { .. }) => Written::Failed(error.to_string()),
        }
    }

    /// After a sync, or when nothing was written for a while. Whether a sync has begun.
    pub(crate) fn go_on(&mut self) -> Result<bool, String> {
        self.store.prepare().map_err(|error| error.to_string())?;
        Ok(self.begin())
    }

    /// Whether the disk has become full, or has room again; if that is news.
    pub(crate) fn room(&mut self, full: Option<bool>) -> Option<bool> {
        let full = full.unwrap_or_else(|| self.store.is_low());
        (std::mem::replace(&mut self.full, full) != full).then_some(full)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    fn hand_over(&mut self) {
        if !std::mem::replace(&mut self.handed_over, true) {
            self.store.append(&self.writing);
        }
    }

    /// The process ends while a sync is under way: what it was to sync has been written.
    pub(crate) fn write_only(mut self, disk: &SimDisk) {
        use synod_storage::sim::{Failure, Fault, Operation, Trigger};
        if self.busy {
            disk.plan(Fault::new(Trigger::nth(Operation::Sync, 1), Failure::Crash));
            self.hand_over();
            drop(self.store.sync()); // It fails, as the machine has stopped.
        }
    }
}
