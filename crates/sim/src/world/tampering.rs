//! What somebody does to a disk while nobody looks, and whether others can tell.

use synod::Machine;
use synod_paxos::NodeId;
use synod_storage::SimDisk;

use super::{Happening, World, process::Process};
use crate::{
    event::{Event, Judged, hold},
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

    /// A bit flips.
    pub(super) fn rots(&mut self, place: usize, down: Time) -> Judged {
        self.crash(place, Left::All, down)?;
        self.tampers(place)?;
        let disk = self.processes[place].disk.clone();
        let files: Vec<(String, Vec<u8>)> = disk.files().into_iter().collect();
        let rng = &mut self.streams.disk;
        let Some((name, bytes)) = rng.choice(files.iter()) else { return Ok(()) };
        // Most of a segment is empty: bits that say something are the interesting ones.
        let said: Vec<usize> = (0..bytes.len()).filter(|place| bytes[*place] != 0).collect();
        if let Some(offset) = rng.choice(said.iter()) {
            disk.flip_bit(name, *offset as u64, rng.u32(0..8));
        }
        Ok(())
    }

    /// A sector is what it once was.
    pub(super) fn stales(&mut self, place: usize, down: Time) -> Judged {
        let disk = self.processes[place].disk.clone();
        disk.keep_history();
        self.crash(place, Left::All, down)?;
        self.tampers(place)?;
        let files: Vec<String> = disk.files().into_keys().collect();
        let rng = &mut self.streams.disk;
        let Some(name) = rng.choice(files.iter()) else { return Ok(()) };
        let sectors: Vec<u64> = (0..32).filter(|at| disk.versions(name, *at) > 0).collect();
        if let Some(sector) = rng.choice(sectors.iter()) {
            let back = rng.usize(1..=disk.versions(name, *sector));
            disk.restore_sector(name, *sector, back);
        }
        Ok(())
    }

    /// Whether all others are up, and know a node's disk: only then can they tell that it is
    /// another one now, whatever becomes of them.
    fn is_known_to_others(&self, place: usize) -> bool {
        let (node, alive) =
            (self.processes[place].id, |id: &NodeId| self.left_dead & bit(*id) == 0);
        let Some(up) = &self.processes[place].up else { return false };
        let birth = up.identity.birth;
        self.processes
            .iter()
            .filter(|other| other.id != node && alive(&other.id))
            .all(|other| other.up.as_ref().is_some_and(|up| up.engine.disk_of(node) == Some(birth)))
    }

    pub(super) fn wipes(&mut self, place: usize, down: Time) -> Judged {
        if self.processes[place].tampered || !self.is_known_to_others(place) {
            return Ok(());
        }
        self.crash(place, Left::Process, down)?;
        self.tampers(place)?;
        self.processes[place].disk = SimDisk::new();
        self.processes[place].outcast = Some(self.next_life);
        Ok(())
    }

    /// A copy is made, on which the node is started later.
    pub(super) fn copies(&mut self, place: usize, back: Time) {
        let process = &mut self.processes[place];
        if process.copy.is_none() && !process.tampered {
            process.copy = Some((process.disk.fork(), self.ghost.appended(process.id)));
            let (at, node) = (self.now + back, process.id);
            self.queue.push(at, Happening::PutBack { node });
        }
    }

    /// A node is started on the copy of its disk. All others have heard of a longer log, so it must
    /// be found out; whoever has not could be, with the node, a quorum that has forgotten something.
    pub(super) fn put_back(&mut self, node: NodeId) -> Judged {
        let place = node.0 as usize - 1;
        let Some((copy, length)) = self.processes[place].copy.take() else { return Ok(()) };
        let is_told = |process: &Process<M>| {
            let known = process.up.as_ref().and_then(|up| up.engine.log_of(node));
            process.id == node || known.is_some_and(|known| known > length)
        };
        let busy = |process: &Process<M>| {
            process.up.is_none() || process.paused > self.now || process.armed.is_some()
        };
        let quiet = !self.processes.iter().any(busy) && !self.calm;
        let quiet = quiet && self.processes.iter().all(is_told);
        if !quiet || self.processes[place].tampered || !self.is_known_to_others(place) {
            return Ok(());
        }
        self.crash(place, Left::Process, 1)?;
        self.tampers(place)?;
        self.processes[place].disk = copy;
        self.processes[place].outcast = Some(self.next_life);
        self.marks.add("old disk put back");
        self.returned = Some(place);
        self.processes.iter_mut().for_each(|process| process.last_words = None);
        Ok(())
    }

    /// M4: who has seen more of a node than its disk has now does not let it in.
    pub(super) fn lets_in(&self, place: usize, stranger: NodeId, life: u64) -> Judged {
        let (host, outcast) = (&self.processes[place], &self.processes[stranger.0 as usize - 1]);
        let must_know = |since: u64| host.life <= since && life > since;
        hold!(
            "M4",
            !outcast.outcast.is_some_and(must_know),
            "{} lets {stranger} in, which has lost its memory",
            host.id
        );
        Ok(())
    }

    /// Whether a node is back on an old disk and has not been found out.
    pub(super) fn is_undetected(&self) -> bool {
        self.returned.is_some_and(|place| self.processes[place].dead.is_none())
    }
}
