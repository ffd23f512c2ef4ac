//! When a leader would rather that another one led: by order, since its own disk hangs, or because
//! its configuration is over. And what a node does when it is asked to lead, or told that the
//! leader is gone.

use core::cmp::Reverse;

use super::Node;
use crate::{
    effect::Outbox,
    message::{LeaseMessage, Message},
    reconfig::Config,
    replica::StateMachine,
    types::{Ballot, NodeId},
};

impl<S: StateMachine> Node<S> {
    /// Asks `to`, or else the fittest of the other leaders, to take over at once; says who it is.
    /// `None` if this node does not lead, or there is nobody to ask.
    ///
    /// This leader goes on commanding until it is preempted, so nothing waits for longer than
    /// phase 1 takes. If the other one cannot or will not, this one goes on leading. Its leases it
    /// gives up at once, and asks for none while the other may be about to take over.
    pub fn hand_over(&mut self, to: Option<NodeId>, out: &mut Outbox) -> Option<NodeId> {
        if !self.roles.leader || !self.leader.active() || !self.leader.may_lead() {
            return None;
        }
        let config = self.leader.config();
        let heir = match to {
            Some(to) => Some(to).filter(|to| *to != self.id && config.leads(*to)),
            None => self.fittest(config).filter(|heir| self.liveness.is_there(*heir, config)),
        }?;
        self.summon(heir, out);
        Some(heir)
    }

    /// The connection to `peer` broke: its process has died, or the network is in trouble. If it is
    /// the leader that is followed, another takes over in tens of milliseconds, unless it is heard
    /// again before, or others still hear it.
    pub fn lost(&mut self, peer: NodeId) {
        if self.roles.leader && peer != self.id {
            self.liveness.lost(peer);
        }
    }

    /// The leader of `ballot` asks this one to take over. A late copy of such a message names a
    /// ballot that has been succeeded, and does nothing.
    #[cold]
    pub(super) fn take_over(&mut self, from: NodeId, ballot: Ballot, round: u64, out: &mut Outbox) {
        if from != ballot.leader || from == self.id || ballot < self.liveness.followed() {
            return;
        }
        if round > 0 {
            // It is said here, and not by the leader itself, for then it comes before the p1a.
            let release = Message::Lease(LeaseMessage::Release { ballot, round });
            let acceptors = &self.leader.config().members.acceptors;
            acceptors.iter().for_each(|&acceptor| out.send(acceptor, release.clone()));
        }
        self.tell_leader(out);
        let window = self.leader.schedule().window();
        let replica = &self.replica;
        if self.roles.replica && replica.catchup.heard_of() > replica.slot_out().plus(window) {
            return; // Clients would wait for it to catch up.
        }
        self.liveness.summoned(ballot);
        if self.may_campaign() && self.liveness.campaigns(self.leader.config(), self.id) {
            self.leader.campaign(out);
        }
    }

    /// What an active leader does at each heartbeat while the acceptor on its own node, or the disk
    /// of that, does not answer, though others do. False if nobody can lead in its place.
    pub(super) fn yield_to_another(&mut self, config: &Config, out: &mut Outbox) -> bool {
        let heir = self.fittest(config).filter(|heir| self.liveness.is_there(*heir, config));
        let Some(heir) = heir else { return false };
        if self.liveness.may_hand_over() {
            self.summon(heir, out);
        }
        true
    }

    /// The configuration that governs from here on may not want this leader any more. Then one of
    /// its own leaders is to take over, rather than wait until this one has been silent for long.
    pub(super) fn step_down(&mut self, out: &mut Outbox) {
        let wanted = self.leader.may_lead();
        let led = core::mem::replace(&mut self.leads, wanted && self.leader.active());
        if led
            && !wanted
            && let Some(heir) = self.fittest(self.leader.config())
        {
            self.summon(heir, out);
        }
    }

    fn summon(&mut self, heir: NodeId, out: &mut Outbox) {
        let (ballot, now) = (self.leader.ballot_num(), self.liveness.now());
        self.lease.give_up(now.saturating_add(self.liveness.patience_min()));
        let round = if self.lease.wanted() { self.pings } else { 0 };
        out.send(heir, Message::TakeOver { ballot, round });
    }

    /// Of the other leaders, one that is there, and beside whom the replica has got furthest.
    fn fittest(&self, config: &Config) -> Option<NodeId> {
        let others = config.members.leaders.iter().copied().filter(|id| *id != self.id);
        others.max_by_key(|id| {
            let slot_out = self.leader.reports.slot_out(config.beside(*id));
            (self.liveness.is_there(*id, config), slot_out, Reverse(*id))
        })
    }
}
