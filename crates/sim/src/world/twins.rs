//! A node that runs twice, on two exact copies of one disk.
//!
//! What Synod promises there is narrow: whoever is connected to one of the two refuses the other.
//! If some know the one and some the other, no quorum may be trusted that has nobody but them in
//! common with another. So the second one is started when all others have let in the first, and
//! until it is found out none of them is restarted or replaced.

use synod::Machine;
use synod_paxos::NodeId;

use super::{
    Happening, World,
    process::{Line, Process, Twin},
};
use crate::{event::Judged, ghost::bit, plan::Left, queue::Time};

impl<M: Machine> World<'_, M> {
    /// A node is restarted; what it finds on its disk is copied.
    pub(super) fn clones(&mut self, place: usize, after: Time) -> Judged {
        let process = &self.processes[place];
        let Some(up) = &process.up else { return Ok(()) };
        if process.tampered || process.twin.is_some() {
            return Ok(());
        }
        let (node, life) = (process.id, up.engine.incarnation() + 1);
        self.crash(place, Left::Process, 1)?;
        let process = &mut self.processes[place];
        process.twin = Some(Twin::Copied { disk: process.disk.fork(), incarnation: life });
        self.queue.push(self.now + after, Happening::Doubles { node });
        Ok(())
    }

    /// The copy is started, if all others have let in the life that began on the same disk.
    pub(super) fn doubles(&mut self, node: NodeId) -> Judged {
        let place = node.0 as usize - 1;
        let first = &mut self.processes[place];
        let Some(Twin::Copied { disk, incarnation }) = first.twin.take() else { return Ok(()) };
        let lives = first.up.as_ref().is_some_and(|up| up.engine.incarnation() == incarnation);
        let possible = lives && !first.tampered && first.is_steady(self.now);
        if !possible || !self.are_steady(node) || !self.is_let_in_by_all(place) {
            return Ok(());
        }
        let first = &self.processes[place];
        disk.set_space(None); // That one is not full.
        let mut twin = Process::new(node, first.rate);
        (twin.disk, twin.tampered, twin.twin) = (disk, true, Some(Twin::Second));
        twin.next_version = first.next_version;
        self.processes.push(twin);
        let place = self.processes.len() - 1;
        self.twin = Some(place);
        self.must_be_found_out(place);
        self.start_at(place)
    }

    /// Whether a node is connected to all others, so that they know its life.
    fn is_let_in_by_all(&self, place: usize) -> bool {
        let node = self.processes[place].id;
        let Some(up) = &self.processes[place].up else { return false };
        let lets_in = |other: &Process<M>| {
            up.lines.get(&other.id) == Some(&Line::Connected { life: other.life })
        };
        self.others(node).all(lets_in)
    }

    /// All other nodes but those that are left dead.
    pub(super) fn others(&self, node: NodeId) -> impl Iterator<Item = &Process<M>> {
        let dead = self.left_dead;
        self.processes.iter().filter(move |other| {
            other.id != node && dead & bit(other.id) == 0 && !other.is_second()
        })
    }
}
