//! How the node is, as its loop knows.

use synod_paxos::{NodeId, Slot};

use super::Runtime;
use crate::{
    machine::Machine,
    status::{MemberStatus, Status},
};

impl<M: Machine> Runtime<M> {
    pub(super) fn status(&self) -> Status {
        let (node, io) = (self.engine.node(), &self.io);
        let (replica, leader) = (node.replica(), node.leader());
        let ballot = leader.ballot_num();
        let schedule = self.engine.schedule();
        Status {
            cluster: self.identity.cluster,
            node: node.id().0,
            incarnation: node.incarnation(),
            leader: self.engine.leader().map(|leader| leader.0),
            why: self.why(),
            ballot: (ballot.round, ballot.leader.0, ballot.incarnation),
            slot_in: replica.slot_in().0,
            slot_out: replica.slot_out().0,
            durable: replica.progress().durable.0,
            digest: replica.state().digest,
            epoch: schedule.latest().epoch,
            effective: schedule.newest_from().0,
            window: schedule.window(),
            members: self.members(),
            fsync: io.metrics.fsync(),
            disk_full: self.engine.is_disk_full(),
            lost_slots: node.acceptor().lost().count() as u64,
            counters: io.metrics.counters(),
        }
    }

    fn why(&self) -> String {
        let node = self.engine.node();
        let (me, leader) = (node.id(), node.leader());
        match self.engine.leader() {
            Some(leads) if leads == me && leader.active() => {
                format!("a quorum adopted ballot {} of this node", leader.ballot_num())
            }
            Some(leads) if leads == me => {
                format!("this node campaigns with ballot {}", leader.ballot_num())
            }
            Some(leads) => format!("node {} was heard to lead, last of all", leads.0),
            None => "nobody has been heard to lead".to_owned(),
        }
    }

    fn members(&self) -> Vec<MemberStatus> {
        let node = self.engine.node();
        let schedule = self.engine.schedule();
        let members = &schedule.latest().members;
        // Also who is there and has no role: it may be about to get one.
        let there = self.io.peers.iter().filter(|peer| peer.out.is_some()).map(|peer| peer.node);
        let mut ids: Vec<NodeId> = schedule.nodes().chain(there).collect();
        ids.sort_unstable();
        ids.dedup();
        let own = node.replica().progress();
        let system = self.engine.system();
        let member = |id: NodeId| {
            let progress = if id == node.id() { Some(own) } else { node.progress_of(id) };
            let (slot_out, durable) = progress
                .map_or((Slot(0), Slot(0)), |progress| (progress.slot_out, progress.durable));
            let peer = self.io.peers.get(id);
            let address = peer.map(|peer| &peer.address).or_else(|| system.book.get(&id.0));
            let own_address = (id == node.id()).then_some(&self.identity.address);
            MemberStatus {
                node: id.0,
                address: address.or(own_address).cloned().unwrap_or_default(),
                replica: members.replicas.contains(&id),
                leader: members.leaders.contains(&id),
                acceptor: members.acceptors.contains(&id),
                incarnation: system.lives.get(&id.0).map_or(0, |life| life.incarnation),
                connected: id == node.id() || peer.is_some_and(|peer| peer.out.is_some()),
                slot_out: slot_out.0,
                lag: own.slot_out.0.saturating_sub(slot_out.0),
                durable: durable.0,
                problem: peer.and_then(|peer| peer.problem.clone()),
            }
        };
        ids.into_iter().map(member).collect()
    }
}
