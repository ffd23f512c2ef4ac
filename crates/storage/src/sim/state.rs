//! The simulated disk itself: files, names, and what of both is not synced.

use std::{collections::BTreeMap, io, time::Duration};

use super::{Failure, Fault, Operation, SECTOR, Trigger, Unsynced};

/// A file.
#[derive(Clone, Default)]
pub(super) struct Node {
    /// What is seen.
    pub(super) live: Vec<u8>,
    /// What is there after a power cut.
    pub(super) durable: Vec<u8>,
    /// Space set aside.
    pub(super) allocated: u64,
    /// What sectors were before, the latest last.
    pub(super) past: BTreeMap<u64, Vec<Vec<u8>>>,
}

impl Node {
    pub(super) fn used(&self) -> u64 {
        self.allocated.max(self.live.len() as u64)
    }

    fn settle(&mut self, offset: u64, bytes: &[u8], history: bool) {
        if history {
            let start = place(offset);
            for sector in start / SECTOR..=(start + bytes.len().max(1) - 1) / SECTOR {
                let from = (sector * SECTOR).min(self.durable.len());
                let to = (from + SECTOR).min(self.durable.len());
                let mut old = self.durable[from..to].to_vec();
                old.resize(SECTOR, 0);
                self.past.entry(sector as u64).or_default().push(old);
            }
        }
        put(&mut self.durable, offset, bytes);
    }
}

fn put(file: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let from = place(offset);
    if file.len() < from + bytes.len() {
        file.resize(from + bytes.len(), 0);
    }
    file[from..from + bytes.len()].copy_from_slice(bytes);
}

/// An offset in memory. What is in memory has one that fits.
pub(super) fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// Something that is not synced.
#[derive(Clone)]
pub(super) enum Pending {
    Write {
        inode: u64,
        offset: u64,
        bytes: Vec<u8>,
    },
    /// What these names stand for now. All or nothing.
    Names(Vec<(String, Option<u64>)>),
}

#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) nodes: BTreeMap<u64, Node>,
    pub(super) names: BTreeMap<String, u64>,
    pub(super) durable_names: BTreeMap<String, u64>,
    /// In the order in which it was done.
    pub(super) pending: Vec<Pending>,
    pub(super) next_inode: u64,
    /// How many processes have used the disk before this one.
    pub(super) boot: u64,
    pub(super) locked: bool,
    pub(super) crashed: bool,
    pub(super) calls: u64,
    pub(super) counts: BTreeMap<Operation, u64>,
    faults: Vec<Fault>,
    pub(super) space: Option<u64>,
    pub(super) latency: Duration,
    pub(super) hung: bool,
    pub(super) history: bool,
    /// Syncs succeed, and do nothing.
    pub(super) lying: bool,
}

/// What is left of a call once faults have had their say.
enum Call {
    Do,
    /// Do it, then the machine stops.
    Crash,
    Io(u64),
    Lie,
    Elsewhere(String, u64),
}

pub(super) fn stopped() -> io::Error {
    io::Error::other("the simulated machine has stopped")
}

fn device_failed() -> io::Error {
    io::Error::other("simulated input/output error")
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "the simulated disk is full")
}

fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no file {name}"))
}

impl State {
    /// A copy has its own faults and counters.
    pub(super) fn forget(&mut self) {
        (self.locked, self.crashed, self.calls) = (false, false, 0);
        self.lying = false;
        self.counts.clear();
        self.faults.clear();
    }

    pub(super) fn kill(&mut self) {
        self.boot += 1;
        (self.locked, self.crashed) = (false, false);
    }

    pub(super) fn power_cut(&mut self, unsynced: Unsynced) {
        self.kill();
        let pending = std::mem::take(&mut self.pending);
        match unsynced {
            Unsynced::Lost => {}
            Unsynced::Kept => pending.into_iter().for_each(|done| self.settle(done)),
            Unsynced::Prefix { whole, bytes: torn } => {
                for (number, mut done) in pending.into_iter().enumerate().take(whole + 1) {
                    if number == whole {
                        match &mut done {
                            Pending::Write { bytes, .. } => bytes.truncate(torn),
                            Pending::Names(_) => break,
                        }
                    }
                    self.settle(done);
                }
            }
            Unsynced::Sectors { seed } => {
                let mut rng = fastrand::Rng::with_seed(seed);
                pending.into_iter().for_each(|done| self.settle_some(done, &mut rng));
            }
        }
        self.names.clone_from(&self.durable_names);
        let linked: Vec<u64> = self.names.values().copied().collect();
        self.nodes.retain(|inode, _| linked.contains(inode));
        for node in self.nodes.values_mut() {
            node.live.clone_from(&node.durable);
        }
    }

    /// Makes something durable.
    fn settle(&mut self, done: Pending) {
        match done {
            Pending::Write { inode, offset, bytes } => {
                let history = self.history;
                if let Some(node) = self.nodes.get_mut(&inode)
                    && !bytes.is_empty()
                {
                    node.settle(offset, &bytes, history);
                }
            }
            Pending::Names(names) => {
                for (name, inode) in names {
                    match inode {
                        Some(inode) => self.durable_names.insert(name, inode),
                        None => self.durable_names.remove(&name),
                    };
                }
            }
        }
    }

    /// Makes a part of something durable: any of a write's sectors.
    fn settle_some(&mut self, done: Pending, rng: &mut fastrand::Rng) {
        match done {
            Pending::Write { inode, mut offset, bytes } => {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let room = SECTOR - place(offset) % SECTOR;
                    let (piece, more) = rest.split_at(room.min(rest.len()));
                    if rng.bool() {
                        self.settle(Pending::Write { inode, offset, bytes: piece.to_vec() });
                    }
                    offset += piece.len() as u64;
                    rest = more;
                }
            }
            Pending::Names(names) => {
                if rng.bool() {
                    self.settle(Pending::Names(names));
                }
            }
        }
    }

    pub(super) fn set_lying(&mut self, lying: bool) {
        self.lying = lying;
        if !lying {
            let pending = std::mem::take(&mut self.pending);
            pending.into_iter().for_each(|done| self.settle(done));
        }
    }

    pub(super) fn plan(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Counts a call and finds out what goes wrong with it.
    fn call(&mut self, operation: Operation, name: &str) -> io::Result<Call> {
        if self.crashed {
            return Err(stopped());
        }
        self.calls += 1;
        *self.counts.entry(operation).or_default() += 1;
        let now = self.calls;
        let due = |fault: &mut Fault| match &mut fault.when {
            Trigger::Call(call) => *call == now,
            Trigger::Nth { operation: which, prefix, n } => {
                if *which == operation && name.starts_with(prefix.as_str()) {
                    *n = n.saturating_sub(1);
                    return *n == 0;
                }
                false
            }
        };
        let due: Vec<Fault> = self.faults.extract_if(.., due).collect();
        let Some(fault) = due.into_iter().next() else { return Ok(Call::Do) };
        let alters = match operation {
            Operation::Create | Operation::Rename | Operation::Remove | Operation::Write => true,
            Operation::Open
            | Operation::List
            | Operation::SyncDir
            | Operation::Lock
            | Operation::Len
            | Operation::Read
            | Operation::Sync
            | Operation::Allocate => false,
        };
        match fault.what {
            Failure::Crash if alters => Ok(Call::Crash),
            Failure::Crash => {
                self.crashed = true;
                Err(stopped())
            }
            Failure::Io { seed } => Ok(Call::Io(seed)),
            Failure::Full => Err(full()),
            Failure::Lie => Ok(Call::Lie),
            Failure::Misdirect { file, offset } => Ok(Call::Elsewhere(file, offset)),
        }
    }

    /// A call that changes names, or nothing: `Ok(false)` if it only says that it does.
    fn simple_call(&mut self, operation: Operation, name: &str) -> io::Result<bool> {
        match self.call(operation, name)? {
            Call::Do | Call::Elsewhere(..) => Ok(true),
            Call::Crash => {
                self.crashed = true;
                Ok(true)
            }
            Call::Io(_) => Err(device_failed()),
            Call::Lie => Ok(false),
        }
    }

    /// What a call returns when the machine may have stopped in it.
    fn done<T>(&self, value: T) -> io::Result<T> {
        if self.crashed { Err(stopped()) } else { Ok(value) }
    }

    pub(super) fn create(&mut self, name: &str) -> io::Result<u64> {
        let really = self.simple_call(Operation::Create, name)?;
        self.next_inode += 1;
        let inode = self.next_inode;
        self.nodes.insert(inode, Node::default());
        if really {
            self.set_names(vec![(name.to_owned(), Some(inode))]);
        }
        self.done(inode)
    }

    fn set_names(&mut self, names: Vec<(String, Option<u64>)>) {
        for (name, inode) in &names {
            match inode {
                Some(inode) => self.names.insert(name.clone(), *inode),
                None => self.names.remove(name),
            };
        }
        self.pending.push(Pending::Names(names));
    }

    fn find(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| not_found(name))
    }

    pub(super) fn open(&mut self, name: &str) -> io::Result<u64> {
        self.simple_call(Operation::Open, name)?;
        self.find(name)
    }

    pub(super) fn list(&mut self) -> io::Result<Vec<String>> {
        self.simple_call(Operation::List, "")?;
        Ok(self.names.keys().cloned().collect())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        if self.simple_call(Operation::Rename, from)? {
            let inode = self.find(from)?;
            self.set_names(vec![(from.to_owned(), None), (to.to_owned(), Some(inode))]);
        }
        self.done(())
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        if self.simple_call(Operation::Remove, name)? {
            self.find(name)?;
            self.set_names(vec![(name.to_owned(), None)]);
        }
        self.done(())
    }

    /// To whoever should not have it open any more, half of it is missing at once.
    pub(super) fn discard(&mut self, name: &str) -> io::Result<()> {
        if self.simple_call(Operation::Remove, name)? {
            let inode = self.find(name)?;
            self.pending.retain(|done| match done {
                Pending::Write { inode: written, .. } => *written != inode,
                Pending::Names(_) => true,
            });
            let node = self.node(inode)?;
            node.live.truncate(node.live.len() / 2);
            node.durable.truncate(node.live.len());
            self.set_names(vec![(name.to_owned(), None)]);
        }
        self.done(())
    }

    pub(super) fn sync_dir(&mut self) -> io::Result<()> {
        if self.simple_call(Operation::SyncDir, "")? && !self.lying {
            let synced = |done: &mut Pending| matches!(done, Pending::Names(_));
            let done: Vec<Pending> = self.pending.extract_if(.., synced).collect();
            done.into_iter().for_each(|done| self.settle(done));
        }
        Ok(())
    }

    pub(super) fn lock(&mut self) -> io::Result<bool> {
        self.simple_call(Operation::Lock, "LOCK")?;
        Ok(!std::mem::replace(&mut self.locked, true))
    }

    fn node(&mut self, inode: u64) -> io::Result<&mut Node> {
        self.nodes.get_mut(&inode).ok_or_else(stopped)
    }

    pub(super) fn len(&mut self, inode: u64, name: &str) -> io::Result<u64> {
        self.simple_call(Operation::Len, name)?;
        Ok(self.node(inode)?.live.len() as u64)
    }

    pub(super) fn read_at(
        &mut self,
        inode: u64,
        name: &str,
        buffer: &mut [u8],
        offset: u64,
    ) -> io::Result<usize> {
        let (inode, offset) = match self.call(Operation::Read, name)? {
            Call::Do | Call::Crash | Call::Lie => (inode, offset),
            Call::Io(_) => return Err(device_failed()),
            Call::Elsewhere(file, offset) => (self.find(&file)?, offset),
        };
        let live = &self.node(inode)?.live;
        let from = place(offset).min(live.len());
        let n = buffer.len().min(live.len() - from);
        buffer[..n].copy_from_slice(&live[from..from + n]);
        Ok(n)
    }

    pub(super) fn write_at(
        &mut self,
        inode: u64,
        name: &str,
        bytes: &[u8],
        offset: u64,
    ) -> io::Result<()> {
        match self.call(Operation::Write, name)? {
            Call::Do => self.put(inode, bytes, offset),
            Call::Crash => {
                self.crashed = true;
                self.put(inode, bytes, offset)?;
                Err(stopped())
            }
            Call::Io(_) => {
                self.put(inode, &bytes[..bytes.len() / 2], offset)?;
                Err(device_failed())
            }
            Call::Lie => Ok(()),
            Call::Elsewhere(file, offset) => {
                let inode = self.find(&file)?;
                self.put(inode, bytes, offset)
            }
        }
    }

    fn put(&mut self, inode: u64, bytes: &[u8], offset: u64) -> io::Result<()> {
        let node = self.node(inode)?;
        let room = node.used();
        let end = offset + bytes.len() as u64;
        let grows = end.saturating_sub(room);
        let free = self.space.map_or(u64::MAX, |space| space.saturating_sub(self.used()));
        let missing = place(grows.saturating_sub(free)).min(bytes.len());
        let written = &bytes[..bytes.len() - missing];
        put(&mut self.node(inode)?.live, offset, written);
        self.pending.push(Pending::Write { inode, offset, bytes: written.to_vec() });
        if missing > 0 { Err(full()) } else { Ok(()) }
    }

    pub(super) fn sync(&mut self, inode: u64, name: &str) -> io::Result<()> {
        let call = self.call(Operation::Sync, name)?;
        if matches!(call, Call::Lie) || self.lying {
            return Ok(());
        }
        let of_file = |done: &mut Pending| match done {
            Pending::Write { inode: other, .. } => *other == inode,
            Pending::Names(_) => false,
        };
        let done: Vec<Pending> = self.pending.extract_if(.., of_file).collect();
        if let Call::Io(seed) = call {
            let mut rng = fastrand::Rng::with_seed(seed);
            done.into_iter().for_each(|done| self.settle_some(done, &mut rng));
            return Err(device_failed());
        }
        done.into_iter().for_each(|done| self.settle(done));
        Ok(())
    }

    pub(super) fn allocate(&mut self, inode: u64, name: &str, len: u64) -> io::Result<()> {
        if !self.simple_call(Operation::Allocate, name)? {
            return Ok(());
        }
        let grows = len.saturating_sub(self.node(inode)?.used());
        if self.space.is_some_and(|space| grows > space.saturating_sub(self.used())) {
            return Err(full());
        }
        let node = self.node(inode)?;
        node.allocated = node.allocated.max(len);
        Ok(())
    }
}
