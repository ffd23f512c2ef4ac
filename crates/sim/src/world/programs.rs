//! Programs that panic, and programs of the next version.

use std::{any::Any, panic::resume_unwind};

use synod::{Machine, engine::machine_op};
use synod_paxos::{NodeId, Op};

use super::{
    Happening, World,
    guest::{SWITCH, is_planned},
};
use crate::{event::Judged, plan::Left, queue::Time};

impl<M: Machine> World<'_, M> {
    /// The state machine of a node panics for a while, each time it comes to the nth command.
    pub(super) fn may_panic(&mut self, place: usize, nth: u64, lasts: Time, down: Time) {
        let process = &mut self.processes[place];
        process.program.panics_from(nth);
        process.panics = (self.now + lasts, down);
    }

    /// Those of all nodes do, at the same commands.
    pub(super) fn poison(&mut self, lasts: Time, down: Time) {
        for process in &mut self.processes {
            process.program.is_poisoned();
            process.panics = (self.now + lasts, down);
        }
    }

    /// A program that panics is mended in the end.
    pub(super) fn mend(&mut self, place: usize) {
        let process = &self.processes[place];
        if process.program.may_panic() && (process.panics.0 <= self.now || self.calm) {
            process.program.is_mended();
        }
    }

    /// A state machine has panicked. What its process was about to write or to send is gone, as in
    /// production, where the state in memory is trusted no more.
    pub(super) fn panicked(&mut self, place: usize, panic: Box<dyn Any + Send>) -> Judged {
        if !is_planned(&*panic) {
            resume_unwind(panic);
        }
        self.marks.add("machine panicked");
        let down = self.processes[place].panics.1;
        self.crash(place, Left::Process, down)
    }

    /// It has while its node started.
    pub(super) fn panicked_in_recovery(
        &mut self,
        place: usize,
        panic: Box<dyn Any + Send>,
    ) -> Judged {
        if !is_planned(&*panic) {
            resume_unwind(panic);
        }
        self.marks.add("machine panicked in recovery");
        let (node, down) = (self.processes[place].id, self.processes[place].panics.1);
        self.remark(node, || "panics while it starts".into());
        self.after_crash(place, Left::Process);
        self.queue.push(self.now + down.max(1), Happening::Start { node });
        Ok(())
    }

    /// A node goes on with the next version. When all do, that is turned on.
    pub(super) fn upgrades(&mut self, place: usize, down: Time) -> Judged {
        self.processes[place].next_version = true;
        self.crash(place, Left::Process, down)?;
        let all = self.processes.iter().all(|it| it.next_version || it.is_second());
        if all && !self.turned_on && self.callers[0].errand.is_none() {
            self.turned_on = true;
            let command = self.streams.operator.lend(|rng| self.workload.switch(rng));
            let mut op = machine_op::<M>(&command).as_slice().to_vec();
            op.extend(SWITCH);
            self.callers[0].errand = Some(Op::Apply(op.as_slice().into()));
        }
        Ok(())
    }

    /// Whether a node runs the next version, and that was turned on.
    pub(super) fn count_switched(&mut self) {
        let switched = |node: &NodeId| {
            let process = &self.processes[node.0 as usize - 1];
            process.up.as_ref().is_some_and(|up| up.engine.machine().has_switched())
        };
        let replicas = &self.ghost.latest().members.replicas;
        if replicas.iter().any(switched) {
            self.marks.add("next version");
        }
    }
}
