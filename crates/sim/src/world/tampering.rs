//! What somebody does to a disk while nobody looks, and whether others can tell.

use synod::Machine;
use synod_paxos::{NodeId, PValue, Record, Slot, wire};
use synod_storage::{
    OpenError, Options, SimDisk, Store, Want,
    sim::{SECTOR, Unsynced},
};

use super::{
    CLUSTER, Happening, World,
    process::{Lie, Process},
};
use crate::{
    event::{Event, Judged},
    ghost::bit,
    plan::Left,
    queue::Time,
};

impl<M: Machine> World<'_, M> {
    /// Somebody tampers with what a node has on its disk.
    fn tampers(&mut self, place: usize) -> Judged {
        self.processes[place].tampered = true;
        let node = self.processes[place].id;
        self.judge(&Event::Forgot { node })
    }

    /// Something happens to what is on the disk of a node that is down; `how` says whether.
    fn damages(
        &mut self,
        place: usize,
        down: Time,
        how: impl FnOnce(&mut Self, &SimDisk) -> bool,
    ) -> Judged {
        self.crash(place, Left::All, down)?;
        if self.processes[place].up.is_some() || self.processes[place].dead.is_some() {
            return Ok(());
        }
        let damaged = self.processes[place].disk.fork();
        if !how(self, &damaged) {
            return Ok(());
        }
        self.replaces(place, damaged)
    }

    /// A bit flips, anywhere or in a vote.
    pub(super) fn rots(&mut self, place: usize, vote: bool, down: Time) -> Judged {
        self.damages(place, down, |world, disk| {
            if vote {
                return world.vote_rots(place, disk);
            }
            let files: Vec<(String, Vec<u8>)> = disk.files().into_iter().collect();
            let rng = &mut world.streams.disk;
            let Some((name, bytes)) = rng.choice(&files) else { return false };
            // Most of a segment is empty: bits that say something are the interesting ones.
            let said: Vec<usize> = (0..bytes.len()).filter(|place| bytes[*place] != 0).collect();
            let Some(offset) = rng.choice(&said) else { return false };
            disk.flip_bit(name, *offset as u64, rng.u32(0..8))
        })
    }

    /// A bit flips of the first vote in the log that is not in a snapshot.
    fn vote_rots(&mut self, place: usize, disk: &SimDisk) -> bool {
        let Some(vote) = self.first_vote(place, disk) else { return false };
        let mut bytes = Vec::new();
        wire::encode_record(&Record::Accepted(vote), &mut bytes);
        let at = |text: &[u8]| text.windows(bytes.len()).position(|window| window == bytes);
        let mut files = disk.files().into_iter().filter(|(name, _)| name.starts_with("log-"));
        let Some((name, at)) = files.find_map(|(name, text)| Some((name, at(&text)?))) else {
            return false;
        };
        let rng = &mut self.streams.disk;
        let offset = at + rng.usize(0..bytes.len());
        disk.flip_bit(&name, offset as u64, rng.u32(0..8))
    }

    fn first_vote(&self, place: usize, disk: &SimDisk) -> Option<PValue> {
        let mut store = self.open(place, disk).ok()?;
        let saved = store.snapshots().newest().ok()?.map_or(Slot::FIRST, |info| info.slot);
        let mut votes = Vec::new();
        let mut each = |record| {
            if let Record::Accepted(pvalue) = record {
                votes.push(pvalue);
            }
        };
        store.replay(&mut each).ok()?;
        votes.retain(|vote| vote.slot >= saved);
        votes.into_iter().min_by_key(|pvalue| pvalue.slot)
    }

    /// What a node would find on this disk.
    fn open(&self, place: usize, disk: &SimDisk) -> Result<Store<SimDisk>, OpenError> {
        let want = Want { cluster: CLUSTER, node: self.processes[place].id };
        let segment_bytes = self.plan.cluster.segment_bytes;
        Store::open(disk.fork(), want, 1, Options { segment_bytes, ..Options::default() })
    }

    /// A sector is what it once was.
    pub(super) fn stales(&mut self, place: usize, down: Time) -> Judged {
        self.damages(place, down, |world, disk| {
            let files: Vec<String> = disk.files().into_keys().collect();
            let rng = &mut world.streams.disk;
            let Some(name) = rng.choice(&files) else { return false };
            let sectors: Vec<u64> = (0..32).filter(|at| disk.versions(name, *at) > 0).collect();
            let Some(sector) = rng.choice(&sectors) else { return false };
            let back = rng.usize(1..disk.versions(name, *sector) + 1);
            let restored = disk.restore_sector(name, *sector, back);
            world.marks.add_many("stale sector", u64::from(restored));
            restored
        })
    }

    /// A sector is written where another one belongs; and that one perhaps where this one does.
    pub(super) fn misplaces(&mut self, place: usize, swap: bool, down: Time) -> Judged {
        let how = if swap {
            |world: &mut Self, disk: &SimDisk| world.misplace(disk, true)
        } else {
            |world: &mut Self, disk: &SimDisk| world.misplace(disk, false)
        };
        self.damages(place, down, how)
    }

    fn misplace(&mut self, disk: &SimDisk, swap: bool) -> bool {
        let files: Vec<(String, Vec<u8>)> = disk.files().into_iter().collect();
        let says = |bytes: &[u8]| bytes.iter().any(|byte| *byte != 0);
        let sectors: Vec<(usize, usize)> = files
            .iter()
            .enumerate()
            .flat_map(|(file, (_, bytes))| {
                let whole = bytes.chunks_exact(SECTOR).enumerate();
                whole.filter(|(_, bytes)| says(bytes)).map(move |(at, _)| (file, at))
            })
            .collect();
        let rng = &mut self.streams.disk;
        let (Some(&from), Some(&to)) = (rng.choice(&sectors), rng.choice(&sectors)) else {
            return false;
        };
        let bytes = |(file, at): (usize, usize)| &files[file].1[at * SECTOR..(at + 1) * SECTOR];
        if bytes(from) == bytes(to) {
            return false;
        }
        self.marks.add("sector in a wrong place");
        let put = |(file, at): (usize, usize), sector: &[u8]| {
            let mut bytes = disk.read(&files[file].0).unwrap_or_default();
            bytes[at * SECTOR..(at + 1) * SECTOR].copy_from_slice(sector);
            disk.write(&files[file].0, bytes);
        };
        put(to, bytes(from));
        if swap {
            put(from, bytes(to));
        }
        true
    }

    /// A disk says from now on that it syncs, and does not.
    pub(super) fn lies(&mut self, place: usize, lasts: Time, left: Left, down: Time) {
        let process = &mut self.processes[place];
        if process.up.is_none() || process.tampered || process.lied.is_some() {
            return;
        }
        process.disk.set_lying(true);
        process.lied = Some(Lie { left, down });
        let node = process.id;
        self.queue.push(self.now + lasts, Happening::FoundOut { node });
    }

    /// A disk does what it has said that it had done.
    pub(super) fn honest(&mut self, place: usize) {
        let process = &mut self.processes[place];
        if process.lied.take().is_some() {
            process.disk.set_lying(false);
        }
    }

    /// The power of a node fails, whose disk has lied.
    pub(super) fn lie_ends(&mut self, node: NodeId) -> Judged {
        let place = node.0 as usize - 1;
        let process = &self.processes[place];
        let Some(Lie { left, down }) = process.lied.filter(|_| process.up.is_some()) else {
            return Ok(());
        };
        let unsynced = self.unsynced(place, left).unwrap_or(Unsynced::Lost);
        let found = self.processes[place].disk.image(unsynced);
        self.honest(place);
        if !self.may_find(place, &found) {
            return Ok(());
        }
        self.marks.add("disk lied");
        self.crash(place, Left::Process, down)?;
        self.replaces(place, found)
    }

    /// A node that is down finds another disk, unless it would lack something and others could not
    /// tell.
    fn replaces(&mut self, place: usize, disk: SimDisk) -> Judged {
        if !self.may_find(place, &disk) {
            return Ok(());
        }
        let lacks = self.lacks(place, &disk).is_some();
        self.tampers(place)?;
        self.processes[place].disk = disk;
        if lacks {
            self.must_be_found_out(place);
        }
        Ok(())
    }

    /// From now on a node must not be let in by any other, and nobody else is to crash.
    pub(super) fn must_be_found_out(&mut self, place: usize) {
        self.returned = Some(place);
        let process = &self.processes[place];
        if !process.is_second() {
            self.ghost.strangers |= bit(process.id);
        }
        self.processes.iter_mut().for_each(|process| process.last_words = None);
    }

    /// How many records a node would find on this disk, if that is fewer than there were; and it
    /// would start at all.
    fn lacks(&self, place: usize, disk: &SimDisk) -> Option<u64> {
        let mut store = self.open(place, disk).ok()?;
        store.replay(&mut |_| ()).ok()?;
        let synced = self.ghost.durable.get(&self.processes[place].id).copied();
        let found = store.sequence();
        (found < synced.unwrap_or(0)).then_some(found)
    }

    /// What a node lacks, the others must have heard of: they can tell as long as they live. That
    /// is all that is promised of a disk that is not what it was and looks as if it were.
    fn may_find(&self, place: usize, disk: &SimDisk) -> bool {
        let Some(found) = self.lacks(place, disk) else { return true };
        let node = self.processes[place].id;
        let knows = |other: &Process<M>| {
            let up = other.up.as_ref();
            up.and_then(|up| up.engine.sequence_of(node)).is_some_and(|known| known > found)
        };
        self.are_steady(node) && self.others(node).all(knows)
    }

    /// Whether nothing is about to end any other node, and nobody has to be found out.
    pub(super) fn are_steady(&self, node: NodeId) -> bool {
        let steady = self.others(node).all(|process| process.is_steady(self.now));
        steady && !self.calm && !self.is_undetected()
    }

    /// Whether all others are up, and have performed the command that says which disk a node has:
    /// only then must they tell that it is another one now, whatever becomes of them.
    fn is_known_to_others(&self, place: usize) -> bool {
        let Process { id: node, up: Some(up), .. } = &self.processes[place] else { return false };
        let Some((birth, slot)) = self.ghost.arrivals.get(node) else { return false };
        let knows =
            |other: &Process<M>| other.up.as_ref().is_some_and(|up| up.engine.slot_out() > *slot);
        up.identity.birth == *birth && self.others(*node).all(knows)
    }

    pub(super) fn wipes(&mut self, place: usize, down: Time) -> Judged {
        let tampered = self.processes[place].tampered || self.is_undetected();
        if tampered || !self.is_known_to_others(place) {
            return Ok(());
        }
        self.crash(place, Left::Process, down)?;
        self.tampers(place)?;
        self.processes[place].disk = SimDisk::new();
        self.must_be_found_out(place);
        Ok(())
    }

    /// A copy is made, on which the node is started later.
    pub(super) fn copies(&mut self, place: usize, back: Time) {
        let process = &mut self.processes[place];
        if process.copy.is_none() && !process.tampered {
            process.copy = Some(process.disk.fork());
            let (at, node) = (self.now + back, process.id);
            self.queue.push(at, Happening::PutBack { node });
        }
    }

    /// A node is started on the copy of its disk, if its peers know that its log was longer.
    pub(super) fn put_back(&mut self, node: NodeId) -> Judged {
        let place = node.0 as usize - 1;
        let Some(copy) = self.processes[place].copy.take() else { return Ok(()) };
        let process = &self.processes[place];
        let possible = process.up.is_some() && !process.tampered && self.is_known_to_others(place);
        if !possible || !self.are_steady(node) || !self.may_find(place, &copy) {
            return Ok(());
        }
        self.marks.add("old disk put back");
        self.crash(place, Left::Process, 1)?;
        self.replaces(place, copy)
    }

    /// Whether a node that must be found out has not been.
    pub(super) fn is_undetected(&self) -> bool {
        self.returned.is_some_and(|place| self.processes[place].dead.is_none())
    }
}
