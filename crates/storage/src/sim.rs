//! A disk in memory, on which everything that can happen to a disk happens on request.
//!
//! It keeps apart what a running process sees and what would be there after a power cut. Between
//! the two are the writes and the changes of names that nobody has synced. A power cut
//! ([`SimDisk::image`], [`SimDisk::power_cut`]) keeps of these what [`Unsynced`] says: nothing, a
//! prefix that may end within a write, or any subset of sectors and names. The end of a process
//! ([`SimDisk::fork`], [`SimDisk::kill`]) keeps them all, still unsynced.
//!
//! [`Fault`]s are planned for a call of the disk by its number, or for the nth of its kind. Bytes
//! rot ([`SimDisk::flip_bit`]), sectors go back to what they were before
//! ([`SimDisk::restore_sector`]), and space runs out ([`SimDisk::set_space`]).
//!
//! Nothing here is random: the same calls give the same disk, and a seed decides where there is a
//! choice. Nothing takes time, either. A simulator that has a clock asks for
//! [`SimDisk::sync_latency`] and [`SimDisk::is_hung`] before it lets a sync be done.
//!
//! ```
//! use synod_storage::{Disk as _, File as _, SimDisk, sim::Unsynced};
//!
//! let disk = SimDisk::new();
//! let file = disk.create("a")?;
//! disk.sync_dir()?;
//! file.write_at(b"old", 0)?;
//! file.sync()?;
//! file.write_at(b"new", 0)?;
//!
//! let torn = Unsynced::Prefix { whole: 0, bytes: 1 };
//! assert_eq!(disk.image(Unsynced::Lost).read("a").as_deref(), Some(&b"old"[..]));
//! assert_eq!(disk.image(torn).read("a").as_deref(), Some(&b"nld"[..]));
//! assert_eq!(disk.read("a").as_deref(), Some(&b"new"[..]));
//! # Ok::<(), std::io::Error>(())
//! ```

mod fault;
mod inspect;
mod state;

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub use self::fault::{Failure, Fault, Operation, Trigger, Unsynced};
use self::state::{State, stopped};
use crate::disk::{Disk, File};

/// The length of a sector in bytes: what a disk writes whole or not at all.
pub const SECTOR: usize = 512;

/// A simulated directory. A clone is another handle of the same one.
#[derive(Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// A file of a [`SimDisk`]. It stops working when the process that opened it ends.
#[derive(Clone)]
pub struct SimFile {
    disk: SimDisk,
    inode: u64,
    name: String,
    boot: u64,
}

/// The lock of a [`SimDisk`].
pub struct SimLock {
    disk: SimDisk,
    boot: u64,
}

impl SimDisk {
    /// An empty directory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A directory with these files, all durable.
    pub fn from_files(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let disk = Self::new();
        files.into_iter().for_each(|(name, bytes)| disk.write(&name, bytes));
        disk
    }

    /// Nothing in there can be half changed by a panic.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn copy(&self) -> Self {
        let mut state = self.state().clone();
        state.forget();
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// A copy of the disk as another process would find it if this one ended now: with all that
    /// was written, though it may not be durable. Faults, counters and the lock are not copied.
    #[must_use]
    pub fn fork(&self) -> Self {
        let copy = self.copy();
        copy.state().boot += 1;
        copy
    }

    /// A copy of the disk as it would be found after a power cut now. Faults, counters and the
    /// lock are not copied.
    #[must_use]
    pub fn image(&self, unsynced: Unsynced) -> Self {
        let copy = self.copy();
        copy.power_cut(unsynced);
        copy
    }

    /// Ends the process that uses the disk: its files and its lock are closed. Everything that
    /// was written stays, and what was not synced stays unsynced. A planned crash is over.
    pub fn kill(&self) {
        self.state().kill();
    }

    /// Cuts the power: as [`SimDisk::kill`], but of what was not synced, only this is left.
    pub fn power_cut(&self, unsynced: Unsynced) {
        self.state().power_cut(unsynced);
    }

    /// Plans a fault. Each happens once.
    pub fn plan(&self, fault: Fault) {
        self.state().plan(fault);
    }

    /// How many calls there have been.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// How many calls of this kind there have been.
    #[must_use]
    pub fn calls_of(&self, operation: Operation) -> u64 {
        self.state().counts.get(&operation).copied().unwrap_or(0)
    }

    /// The lengths in bytes of what is not synced, in order. A change of names has none.
    #[must_use]
    pub fn unsynced(&self) -> Vec<usize> {
        self.state().unsynced()
    }

    /// Whether the machine has stopped in a call ([`Failure::Crash`]): every later one fails.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.state().crashed
    }

    /// Limits the length of all files together to `bytes`. `None`: without limit.
    pub fn set_space(&self, bytes: Option<u64>) {
        self.state().space = bytes;
    }

    /// The length of all files together in bytes.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// How long a sync shall take. The disk itself takes no time; whoever has a clock asks.
    #[must_use]
    pub fn sync_latency(&self) -> Duration {
        self.state().latency
    }

    /// Sets what [`SimDisk::sync_latency`] says.
    pub fn set_sync_latency(&self, latency: Duration) {
        self.state().latency = latency;
    }

    /// Whether syncs shall not end for now. Whoever lets them be done asks.
    #[must_use]
    pub fn is_hung(&self) -> bool {
        self.state().hung
    }

    /// Sets what [`SimDisk::is_hung`] says.
    pub fn set_hung(&self, hung: bool) {
        self.state().hung = hung;
    }

    /// Whether the disk says that it syncs, and does not.
    #[must_use]
    pub fn is_lying(&self) -> bool {
        self.state().lying
    }

    /// Sets what [`SimDisk::is_lying`] says. When it is honest again, it does all that it has put
    /// off.
    pub fn set_lying(&self, lying: bool) {
        self.state().set_lying(lying);
    }

    /// Changes one bit, 0 to 7, of what is seen and of what is durable. `false` if there is no
    /// such file or byte.
    pub fn flip_bit(&self, name: &str, offset: u64, bit: u32) -> bool {
        self.state().flip_bit(name, offset, bit)
    }

    /// Keeps what sectors were before, from now on, for [`SimDisk::restore_sector`].
    pub fn keep_history(&self) {
        self.state().history = true;
    }

    /// How many earlier versions of a sector are known.
    #[must_use]
    pub fn versions(&self, name: &str, sector: u64) -> usize {
        self.state().versions(name, sector)
    }

    /// Makes a sector what it was `back` versions ago: a write that never reached the disk.
    /// `false` if that is not known.
    pub fn restore_sector(&self, name: &str, sector: u64, back: usize) -> bool {
        self.state().restore_sector(name, sector, back)
    }

    /// The bytes of a file, as they are seen.
    #[must_use]
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        self.state().read(name)
    }

    /// Replaces a file, durably. This is not a call of the disk.
    pub fn write(&self, name: &str, bytes: Vec<u8>) {
        self.state().write_durably(name, bytes);
    }

    /// Removes a file, durably. This is not a call of the disk. `false` if there is none.
    pub fn lose(&self, name: &str) -> bool {
        self.state().lose(name)
    }

    /// All files, as they are seen.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.state().files()
    }

    fn handle(&self, name: &str, inode: u64, boot: u64) -> SimFile {
        SimFile { disk: self.clone(), inode, name: name.to_owned(), boot }
    }
}

impl Disk for SimDisk {
    type File = SimFile;
    type Lock = SimLock;

    fn create(&self, name: &str) -> io::Result<SimFile> {
        let mut state = self.state();
        let inode = state.create(name)?;
        Ok(self.handle(name, inode, state.boot))
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        let mut state = self.state();
        let inode = state.open(name)?;
        Ok(self.handle(name, inode, state.boot))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.state().list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.state().rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.state().remove(name)
    }

    fn discard(&self, name: &str) -> io::Result<()> {
        self.state().discard(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.state().sync_dir()
    }

    fn lock(&self) -> io::Result<Option<SimLock>> {
        let mut state = self.state();
        let boot = state.boot;
        Ok(state.lock()?.then(|| SimLock { disk: self.clone(), boot }))
    }
}

impl SimFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.boot == self.boot { Ok(state) } else { Err(stopped()) }
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.state()?.len(self.inode, &self.name)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.state()?.read_at(self.inode, &self.name, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.state()?.write_at(self.inode, &self.name, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.state()?.sync(self.inode, &self.name)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.state()?.allocate(self.inode, &self.name, len)
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.boot == self.boot {
            state.locked = false;
        }
    }
}

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (calls, used) = (self.calls(), self.used());
        f.debug_struct("SimDisk")
            .field("calls", &calls)
            .field("used", &used)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for SimFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimFile").field("name", &self.name).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for SimLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimLock").finish_non_exhaustive()
    }
}
