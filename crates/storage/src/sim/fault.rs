//! What can go wrong on a simulated disk, and when.

/// A kind of call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Operation {
    /// [`Disk::create`](crate::Disk::create).
    Create,
    /// [`Disk::open`](crate::Disk::open).
    Open,
    /// [`Disk::list`](crate::Disk::list).
    List,
    /// [`Disk::rename`](crate::Disk::rename), under the old name.
    Rename,
    /// [`Disk::remove`](crate::Disk::remove) and [`Disk::discard`](crate::Disk::discard).
    Remove,
    /// [`Disk::sync_dir`](crate::Disk::sync_dir).
    SyncDir,
    /// [`Disk::lock`](crate::Disk::lock).
    Lock,
    /// [`File::len`](crate::File::len).
    Len,
    /// [`File::read_at`](crate::File::read_at).
    Read,
    /// [`File::write_at`](crate::File::write_at).
    Write,
    /// [`File::sync`](crate::File::sync).
    Sync,
    /// [`File::allocate`](crate::File::allocate).
    Allocate,
}

/// When a fault happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trigger {
    /// At the call of this number; the first call that a disk ever gets is 1.
    Call(u64),
    /// At the nth call of a kind from now on; the next one is the first.
    Nth {
        /// Which kind.
        operation: Operation,
        /// Only calls of files whose names begin so. A handle goes by the name under which it was
        /// opened.
        prefix: String,
        /// Which of them, from 1.
        n: u64,
    },
}

impl Trigger {
    /// The nth call of a kind from now on, of whatever file.
    #[must_use]
    pub fn nth(operation: Operation, n: u64) -> Self {
        Self::Nth { operation, prefix: String::new(), n }
    }
}

/// What happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The machine stops in this call. A write or a change of names is on its way to the disk, and
    /// not synced; a sync has not begun. Every later call fails until [`SimDisk::kill`] or
    /// [`SimDisk::power_cut`].
    ///
    /// [`SimDisk::kill`]: crate::SimDisk::kill
    /// [`SimDisk::power_cut`]: crate::SimDisk::power_cut
    Crash,
    /// The device fails. Half of a write is written. A sync that fails makes a part of the sectors
    /// durable, which ones is decided by the seed, and forgets that the others are not: later
    /// syncs succeed and do nothing about them, as with Linux's page cache.
    Io {
        /// Decides what is durable.
        seed: u64,
    },
    /// There is no space.
    Full,
    /// The call says that it has done it, and has not. A sync or a change of names or bytes that
    /// is lost so is what a disk that lies does.
    Lie,
    /// A write or read gets to another place.
    Misdirect {
        /// In this file.
        file: String,
        /// At this byte.
        offset: u64,
    },
}

/// Something that shall go wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// When.
    pub when: Trigger,
    /// What.
    pub what: Failure,
}

impl Fault {
    /// A fault.
    #[must_use]
    pub fn new(when: Trigger, what: Failure) -> Self {
        Self { when, what }
    }
}

/// What is left after a power cut of that which was not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unsynced {
    /// Nothing.
    Lost,
    /// Everything.
    Kept,
    /// The first of it, in the order in which it was done.
    Prefix {
        /// How many writes and changes of names are there as a whole.
        whole: usize,
        /// How many bytes there are of the write after them.
        bytes: usize,
    },
    /// Any subset of the sectors of each write, and of the changes of names.
    Sectors {
        /// Decides which.
        seed: u64,
    },
}
