//! Towards the end: each replica by itself has to answer, to write a snapshot, and to be known by
//! all others. Where a cluster does well as a whole, a node that has stopped doing so would not
//! show otherwise.

use synod::{Machine, engine::machine_op};
use synod_paxos::{Members, NodeId, Op, Slot};

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

    /// Whoever was removed meanwhile need not be visited.
    pub(super) fn spares_removed(&mut self) {
        let operator = self.plan.workload.clients as usize;
        let stays = |node: NodeId| self.replicas().any(|(replica, _)| replica == node);
        if self.callers[operator].visits.is_some_and(|node| !stays(node)) {
            self.callers[operator].visits = None;
            self.leave(operator);
        }
        let replicas: Vec<_> = self.replicas().map(|(node, _)| node).collect();
        self.inspection.left.retain(|node| replicas.contains(node));
    }

    /// The operator is back from one replica, and goes to the next. When there is none left, it
    /// wants snapshots. True if there is nothing to complain of.
    pub(super) fn inspects(&mut self) -> Result<bool, Violation> {
        let operator = self.plan.workload.clients as usize;
        let Some(node) = self.inspection.left.pop() else {
            self.callers[operator].visits = None;
            if !self.losses().is_empty() {
                return Ok(false); // The operator must not do what nodes have to do by themselves.
            }
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

    /// Replicas that have performed what their disks have lost of their votes, and have no snapshot
    /// of that.
    fn losses(&self) -> Vec<NodeId> {
        let loses = |node: &NodeId| {
            let engine = self.up(*node).map(|up| &up.engine);
            engine.is_some_and(|engine| {
                let unsaved = engine.durable()..engine.slot_out();
                engine.acceptor().lost().any(|slot| unsaved.contains(&slot))
            })
        };
        self.replicas().map(|(node, _)| node).filter(loses).collect()
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
        let visited = self.callers.iter().filter_map(|caller| caller.visits);
        let mut all: Vec<_> = visited.map(|node| format!("{node} does not answer")).collect();
        let decided = self.inspection.decided;
        for node in self.losses() {
            all.push(format!("{node} has no snapshot of what its disk has lost"));
        }
        for node in self.without_snapshot() {
            all.push(format!("{node} has no snapshot of all below {decided}"));
        }
        for replica in self.replicas().filter_map(|(node, _)| self.up(node)) {
            let node = replica.engine.id();
            let lost = |slot| slot < decided;
            if self.nobody_is_missing() && replica.engine.acceptor().lost().any(lost) {
                all.push(format!("{node} still misses slots that it has lost"));
            }
            let left = replica.engine.unfinished(|port| replica.sessions.contains_key(&port.0));
            all.extend(left.iter().map(|what| format!("{node} still has {what}")));
            let strangers = self.members().filter(|up| !knows(replica, up));
            let stranger =
                |up: &Up<M>| format!("{node} does not know of {}'s life", up.engine.id());
            all.extend(strangers.map(stranger));
        }
        all
    }

    /// Whether all replicas run, also those that others can do without: else nothing is collected.
    fn nobody_is_missing(&self) -> bool {
        self.ghost.latest().members.replicas.iter().all(|node| self.up(*node).is_some())
    }

    /// Members that run.
    fn members(&self) -> impl Iterator<Item = &Up<M>> {
        let Members { replicas, leaders, acceptors, .. } = &self.ghost.latest().members;
        let all = [replicas, leaders, acceptors];
        let running = self.processes.iter().filter_map(|process| process.up.as_ref());
        running.filter(move |up| all.iter().any(|role| role.contains(&up.engine.id())))
    }
}

/// Whether the log of a replica says of a node which disk it has, and which life it is in.
fn knows<M: Machine>(replica: &Up<M>, up: &Up<M>) -> bool {
    let life = (up.identity.birth, up.engine.incarnation());
    replica.engine.life_of(up.engine.id()) == Some(life)
}
