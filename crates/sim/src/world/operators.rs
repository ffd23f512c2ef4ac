//! Operators, who replace nodes, and tell them what to do.

use synod::{
    Machine,
    protocol::{Ask, Manage},
};
use synod_paxos::{Members, NodeId, Op, Reconfiguration};

use super::{Happening, World, process::Parcel};
use crate::{event::Judged, ghost::bit};

impl<M: Machine> World<'_, M> {
    pub(super) fn reconfigures(&mut self, remove: u32, add: u32, twice: bool) -> Judged {
        let operators = if twice { 2 } else { 1 };
        for operator in 0..operators {
            let asked = self.some_node();
            let Some(place) = self.running(asked, 0) else { return Ok(()) };
            let Some(up) = &self.processes[place].up else { return Ok(()) };
            let latest = up.engine.schedule().latest().clone();
            let number = self.callers.len() - 1 - operator;
            if self.callers[number].errand.is_some() || self.processes.len() > 50 {
                continue;
            }
            let Some(members) = self.other_members(&latest.members, remove, add) else { continue };
            let to = Reconfiguration { replaces: latest.epoch, members };
            self.callers[number].errand = Some(Op::Reconfigure(Box::new(to)));
        }
        Ok(())
    }

    /// An operator connects to a node and tells it what to do. Who is not answered need not mind:
    /// everything goes on as it is.
    pub(super) fn orders(&mut self, to: NodeId, what: Manage) {
        let number = self.callers.len() - 1;
        let (port, id) = self.callers[number].another_port();
        let mut bytes = Vec::new();
        Ask::Manage { id, what }.put(&mut bytes);
        let at = self.now + self.wires.latency(&mut self.streams);
        let parcel = Parcel::Ask { port, number: self.asks(number, to, &bytes), bytes };
        self.queue.push(at, Happening::Arrives { to, life: 0, parcel });
    }

    /// Nodes that are lost go first; as many come as keep the size.
    fn other_members(&mut self, old: &Members, remove: u32, add: u32) -> Option<Members> {
        let lost = |id: &NodeId| self.left_dead & bit(*id) != 0;
        let mut gone: Vec<NodeId> = old.acceptors.iter().copied().filter(lost).collect();
        let mut others: Vec<NodeId> =
            old.acceptors.iter().copied().filter(|id| !gone.contains(id)).collect();
        self.streams.operator.shuffle(&mut others);
        gone.extend(others.into_iter().take(remove as usize));
        let come = u32::try_from(gone.len()).unwrap_or(u32::MAX).max(add);
        let new: Vec<NodeId> = (0..come.min(4)).map(|_| self.add()).collect();
        if new.len() < gone.len() {
            gone.truncate(new.len());
        }
        self.marks.add_many("node replaced", gone.len() as u64);
        let change = |role: &[NodeId]| -> Vec<NodeId> {
            let stay = role.iter().copied().filter(|id| !gone.contains(id));
            stay.chain(new.iter().copied()).collect()
        };
        let members =
            Members::new(change(&old.replicas), change(&old.leaders), change(&old.acceptors));
        members.ok()
    }
}
