//! No more faults: a core of the nodes is healed, and everything must come to a good end.

use synod::Machine;
use synod_paxos::{NodeId, Slot};

use super::{Happening, World, micros};
use crate::{
    event::{Event, Judged, Violation},
    ghost::bit,
    plan::Cluster,
    properties::bounds::{SPELL, UNREST_IN_PARTS_MAX, UNREST_MAX},
    queue::Time,
    recorder::Seen,
};

/// How often it is looked whether all is well.
const LOOK: Time = 50_000_000;
/// The same, while an operator goes from one replica to the next.
const GLANCE: Time = 5_000_000;

/// How far a run has come to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// What was asked for is to be answered.
    Answers,
    /// One more command is.
    LastCommand,
    /// Each replica by itself is looked at.
    Inspection,
    /// Nothing more is asked for.
    Rest,
    Over,
}

impl<M: Machine> World<'_, M> {
    /// The faults end. Some nodes may stay dead, as many as the cluster can do without.
    pub(super) fn heal(&mut self) -> Judged {
        self.note(|| "no more faults".into());
        self.trace.see(self.now, Seen::Heals);
        self.calm = true;
        self.wires.calm = true;
        self.wires.rules.clear();
        self.leave_some_dead();
        for place in 0..self.processes.len() {
            let (now, life) = (self.now, self.processes[place].life);
            let process = &mut self.processes[place];
            let node = process.id;
            process.disk.set_space(None);
            process.disk.set_hung(false);
            (process.paused, process.last_words) = (now, None);
            process.clock_goes_on(now);
            self.honest(place);
            let process = &mut self.processes[place];
            if process.dead.is_some() {
                continue;
            }
            if let Some(up) = &mut process.up
                && std::mem::take(&mut up.log.stuck)
            {
                self.queue.push(now, Happening::SyncEnds { node, life });
            }
            self.queue.push(now, Happening::Start { node });
            self.queue.push(now, Happening::Resumes { node });
        }
        self.queue.push(self.now + LOOK, Happening::Look);
        self.judge(&Event::Healed)
    }

    /// Sometimes a node that all others can do without is never healed.
    fn leave_some_dead(&mut self) {
        let members = self.ghost.latest().members.clone();
        let lost = |id: &&NodeId| {
            let process = self.processes.get(id.0 as usize - 1);
            process.is_some_and(|process| process.tampered || process.dead.is_some())
        };
        let spare = members.tolerates();
        let missing = members.acceptors.iter().filter(lost).count();
        let settled = self.ghost.schedule.len() == 1
            && !self.callers.iter().any(|caller| caller.errand.is_some())
            && !self.faults.contains_key("reconfigure");
        let (rng, places) = (&mut self.streams.process, self.processes.len());
        if !settled || spare <= missing || members.leaders.len() < 2 || rng.u32(0..3) > 0 {
            return;
        }
        let place = rng.usize(0..places);
        if self.processes[place].dead.is_none() && !self.is_doubled() {
            self.dies(place, "left dead".into());
        }
    }

    /// It is looked whether everything has come to a good end.
    pub(super) fn look(&mut self) -> Judged {
        self.spares_removed();
        let well = self.all_answered() && (self.ending == Ending::Answers || self.is_well());
        if well {
            self.comes_nearer()?;
        }
        let rests = well && matches!(self.ending, Ending::Rest | Ending::Over);
        if !rests && self.now > micros(self.plan.chaos + self.plan.healing) {
            return Err(Violation::new("V1", self.unfinished()));
        }
        let pause = if self.ending == Ending::Inspection { GLANCE } else { LOOK };
        self.queue.push(self.now + pause, Happening::Look);
        Ok(())
    }

    /// One step nearer to the end.
    fn comes_nearer(&mut self) -> Judged {
        match self.ending {
            Ending::Answers => {
                self.ending = Ending::LastCommand;
                self.ask_last();
                Ok(())
            }
            Ending::LastCommand => {
                self.ending = Ending::Inspection;
                self.begins_inspection();
                Ok(())
            }
            Ending::Inspection => {
                if !self.inspects()? {
                    return Ok(());
                }
                self.ending = Ending::Rest;
                self.begins_rest()
            }
            Ending::Rest if self.now - self.busy > SPELL => {
                self.ending = Ending::Over;
                self.same_snapshots()
            }
            Ending::Rest | Ending::Over => Ok(()),
        }
    }

    /// It is over when nodes have nothing more to tell one another, but for what they say all the
    /// time.
    fn begins_rest(&mut self) -> Judged {
        let nodes = self.processes.len() as u64;
        let beats = SPELL / micros(self.plan.cluster.heartbeat) * 2 + 4; // Clocks run fast.
        // A leader that begins anew asks all for what they have, and may do so slot by slot.
        let Cluster { batch, frame, .. } = self.plan.cluster;
        let (parts, within) = match batch > 0 || frame > 0 {
            true => (nodes * self.ghost.end().0, UNREST_IN_PARTS_MAX),
            false => (0, UNREST_MAX),
        };
        self.busy = self.now;
        self.judge(&Event::Idle { most: nodes * beats + parts, within })
    }

    /// The replicas that should be there, and where they are.
    pub(super) fn replicas(&self) -> impl Iterator<Item = (NodeId, Option<Slot>)> {
        let alive = |id: &&NodeId| self.left_dead & bit(**id) == 0;
        let replicas = self.ghost.latest().members.replicas.iter().filter(alive);
        replicas.map(|id| {
            let up = self.processes.get(id.0 as usize - 1).and_then(|p| p.up.as_ref());
            (*id, up.map(|up| up.engine.slot_out()))
        })
    }

    /// Whether a second process of a node still runs.
    fn is_doubled(&self) -> bool {
        self.twin.is_some_and(|place| self.processes[place].dead.is_none())
    }

    /// All replicas agree, and nobody runs twice.
    fn is_well(&self) -> bool {
        let next = self.ghost.next();
        self.replicas().all(|(_, slot_out)| slot_out == Some(next)) && !self.is_doubled()
    }

    fn unfinished(&self) -> String {
        let waiting = self.callers.iter().map(|caller| caller.left + caller.waiting);
        let replicas: Vec<String> = self
            .replicas()
            .map(|(id, slot_out)| match slot_out {
                Some(slot_out) => format!("{id} at {slot_out}"),
                None => format!("{id} down"),
            })
            .collect();
        let dead: Vec<String> = self
            .processes
            .iter()
            .filter_map(|process| Some(format!("{}: {}", process.id, process.dead.as_ref()?)))
            .collect();
        let complaints = match self.ending {
            Ending::Inspection => self.complaints(),
            Ending::Answers | Ending::LastCommand | Ending::Rest | Ending::Over => Vec::new(),
        };
        format!(
            "{} requests are not answered; {}chosen is up to {}; replicas {}; dead [{}]; {}",
            waiting.sum::<u32>(),
            complaints.iter().map(|complaint| format!("{complaint}; ")).collect::<String>(),
            self.ghost.next(),
            replicas.join(", "),
            dead.join("; "),
            self.ghost.latest(),
        )
    }

    /// G9: snapshots of one slot are the same on all nodes.
    fn same_snapshots(&mut self) -> Judged {
        if !self.workload.snapshots_alike() {
            return Ok(());
        }
        let replicas: Vec<NodeId> = self.replicas().map(|(id, _)| id).collect();
        for node in replicas {
            let Some(up) = &self.processes[node.0 as usize - 1].up else { continue };
            let mut bytes = Vec::new();
            let written = up.engine.machine().snapshot()(&mut bytes);
            if let Err(error) = written {
                return Err(Violation::new(
                    "G9",
                    format!("{node} cannot write its state: {error}"),
                ));
            }
            self.judge(&Event::State { node, bytes: &bytes })?;
        }
        Ok(())
    }

    /// Counts slots in which several ballots met.
    pub(super) fn count_ballots(&mut self) {
        for slot in (1..self.ghost.end().0).map(Slot) {
            let ballots = self.ghost.ballots(slot);
            if ballots.len() > 1 {
                self.marks.add("slot with several ballots");
                if ballots.iter().any(|other| other.decree != ballots[0].decree) {
                    self.marks.add("slot with several decrees");
                }
            }
        }
    }
}
