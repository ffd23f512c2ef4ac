//! Who leads, who is there, and how far everybody is: what nodes tell one another all the time.

use alloc::{sync::Arc, vec::Vec};

use super::Node;
use crate::{
    effect::Outbox,
    message::Message,
    reconfig::Schedule,
    replica::StateMachine,
    types::{Ballot, NodeId},
};

impl<S: StateMachine> Node<S> {
    /// Asks the acceptors whether they are there, and says who leads.
    pub(super) fn heartbeat(&mut self, out: &mut Outbox) {
        if !self.roles.leader {
            return;
        }
        self.pings += 1;
        let config = self.leader.config().clone();
        for &acceptor in &config.members.acceptors {
            out.send(acceptor, Message::Ping { round: self.pings });
        }
        self.liveness.pings(&config, self.id);
        let leads = self.leader.active() && self.leader.may_lead();
        let hangs = leads && self.liveness.own_disk_hangs(&config, self.id);
        if hangs && self.yield_to_another(&config, out) {
            return; // Until the disk answers, it does not say that it leads.
        }
        if leads && self.liveness.connected(&config) {
            self.heard(self.leader.ballot_num(), true, out);
            self.announce(true, out);
            self.ask_for_lease(&config, out);
        } else if !self.leader.leading() && self.liveness.hears() {
            self.announce(false, out);
        }
        self.step_down(out);
    }

    /// Another leader says who leads, or whom it hears.
    #[cold]
    pub(super) fn heard_of(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        leading: bool,
        out: &mut Outbox,
    ) {
        if leading {
            self.relieve(from, out);
        } else {
            self.liveness.neighbour(from);
        }
        self.heard(ballot, leading, out);
    }

    /// Whoever leads, but in no configuration known here, may not know that its time is over.
    fn relieve(&self, leader: NodeId, out: &mut Outbox) {
        let schedule =
            if self.roles.replica { self.replica.schedule() } else { self.leader.schedule() };
        if !schedule.entries.iter().any(|(_, config)| config.leads(leader)) {
            out.send(leader, Message::Schedule(Arc::new(schedule.clone())));
        }
    }

    pub(super) fn announce(&self, leading: bool, out: &mut Outbox) {
        let ballot = self.liveness.followed();
        let heartbeat = Message::Heartbeat { ballot, leading };
        self.tell_all(self.leader.schedule(), &heartbeat, out);
    }

    /// Tells the other replicas, and the leaders, how far the replica is.
    pub(super) fn report(&self, out: &mut Outbox) {
        if self.roles.replica {
            let report = Message::SlotOut(self.replica.progress());
            self.tell_all(self.replica.schedule(), &report, out);
        }
    }

    /// Sends to all leaders and replicas but those on this node.
    fn tell_all(&self, schedule: &Schedule, message: &Message, out: &mut Outbox) {
        let configs = schedule.entries.iter().map(|(_, config)| &config.members);
        let mut all: Vec<NodeId> =
            configs.flat_map(|m| m.leaders.iter().chain(&m.replicas)).copied().collect();
        all.sort_unstable();
        all.dedup();
        for id in all.into_iter().filter(|id| *id != self.id) {
            out.send(id, message.clone());
        }
    }
}
