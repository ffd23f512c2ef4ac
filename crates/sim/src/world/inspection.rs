//! Towards the end: each replica by itself has to answer, to write a snapshot, and to be known by
//! all others. Where a cluster does well as a whole, a node that has stopped doing so would not
//! show otherwise.

use synod::{Machine, engine::machine_op};
use synod_paxos::{NodeId, Op, Slot};

use super::{
    World,
    process::{Input, Up},
};
use crate::event::Violation;

/// How far it is.
pub(super) struct Inspection {
    /// Replicas that an operator has still to ask.
    left: Vec<NodeId>,
    /// What was decided before has to be in everybody's snapshot.
    decided: Slot,
}

impl Inspection {
    pub(super) fn new() -> Self {
        Self { left: Vec::new(), decided: Slot::FIRST }
    }
}

impl<M: Machine> World<'_, M> {
    /// An operator will go from one replica to the next.
    pub(super) fn begins_inspection(&mut self) {
        let left: Vec<NodeId> = self.replicas().map(|(node, _)| node).collect();
        self.marks.add_many("replica inspected", left.len() as u64);
        self.inspection = Inspection { left, decided: self.ghost.next() };
    }

    /// The operator is back from one replica, and goes to the next. When there is none left, it
    /// wants snapshots. True if there is nothing to complain of.
    pub(super) fn inspects(&mut self) -> Result<bool, Violation> {
        let operator = self.plan.workload.clients as usize;
        let Some(node) = self.inspection.left.pop() else {
            self.callers[operator].visits = None;
            for node in self.without_snapshot() {
                self.input(node.0 as usize - 1, Input::Save)?;
            }
            return Ok(self.complaints().is_empty());
        };
        let command = self.streams.client.lend(|rng| self.workload.command(rng));
        self.callers[operator].errand = Some(Op::Apply(machine_op::<M>(&command)));
        self.callers[operator].visits = Some(node);
        self.leave(operator);
        self.connect(operator);
        Ok(false)
    }

    /// Replicas that have something only in their logs that should be in their snapshots.
    fn without_snapshot(&self) -> Vec<NodeId> {
        let durable = |node: NodeId| Some(self.up(node)?.engine.durable());
        let behind = |node: &NodeId| durable(*node) < Some(self.inspection.decided);
        self.replicas().map(|(node, _)| node).filter(behind).collect()
    }

    fn up(&self, node: NodeId) -> Option<&Up<M>> {
        self.processes.get(node.0 as usize - 1)?.up.as_ref()
    }

    /// The replica that is being visited has refused.
    pub(super) fn is_turned_away(&mut self, number: usize) {
        self.inspection.left.extend(self.callers[number].visits);
    }

    /// What is not as it should be.
    pub(super) fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        let visited = self.callers.iter().filter(|caller| caller.waiting > 0);
        let silent = visited.filter_map(|caller| caller.visits);
        complaints.extend(
            silent
                .chain(self.inspection.left.iter().copied())
                .map(|node| format!("{node} does not answer")),
        );
        let decided = self.inspection.decided;
        complaints.extend(
            self.without_snapshot()
                .iter()
                .map(|node| format!("{node} has no snapshot of all below {decided}")),
        );
        let running = self.processes.iter().filter_map(|process| process.up.as_ref());
        for (node, _) in self.replicas() {
            let Some(replica) = self.up(node) else { continue };
            for up in running.clone() {
                let (member, life) = (up.engine.id(), (up.identity.birth, up.engine.incarnation()));
                let known = replica.engine.life_of(member);
                if self.is_member(member) && known != Some(life) {
                    complaints.push(format!("{node} does not know which life {member} is in"));
                }
            }
        }
        complaints
    }

    fn is_member(&self, node: NodeId) -> bool {
        let members = &self.ghost.latest().members;
        [&members.replicas, &members.leaders, &members.acceptors].iter().any(|r| r.contains(&node))
    }
}
