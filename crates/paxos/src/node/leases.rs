//! Leases (section 4.5), between the roles that they concern.

use super::Node;
use crate::{
    effect::Outbox,
    message::{LeaseMessage, Message},
    reconfig::Config,
    replica::StateMachine,
    setup::{ACCEPTOR, LEADER, REPLICA},
    types::NodeId,
};

impl<S: StateMachine> Node<S> {
    /// Section 4.5: leases.
    #[cold]
    pub(super) fn about_lease(&mut self, from: NodeId, message: LeaseMessage, out: &mut Outbox) {
        let role = match message {
            LeaseMessage::Ask { .. } | LeaseMessage::Release { .. } => ACCEPTOR,
            LeaseMessage::Granted { .. } | LeaseMessage::Query { .. } => LEADER,
            LeaseMessage::Reply { .. } => REPLICA,
        };
        if self.mask & role == 0 {
            return;
        }
        let Self { replica, leader, grants, lease, .. } = self;
        let (now, held) = (self.liveness.now(), self.acceptor.ballot_num());
        match message {
            LeaseMessage::Ask { round, ballot, length } => {
                if let Some(length) = grants.grant(now, (ballot, round), length, held) {
                    let granted = LeaseMessage::Granted { round, ballot, length };
                    out.send_when_durable(from, Message::Lease(granted));
                }
            }
            LeaseMessage::Release { ballot, round } => grants.release(ballot, round, held),
            LeaseMessage::Granted { round, ballot, length } => {
                lease.grant(from, (ballot, round), length, leader.config());
            }
            LeaseMessage::Query { round } => {
                let point = if self.holds_lease() { self.leader.read_point() } else { None };
                out.send(from, Message::Lease(LeaseMessage::Reply { round, point }));
            }
            LeaseMessage::Reply { round, point } => replica.lease_reply(from, round, point, out),
        }
    }

    /// Asks the acceptors for a lease. The time of this input is before any of them is asked.
    pub(super) fn ask_for_lease(&mut self, config: &Config, out: &mut Outbox) {
        let (ballot, round) = (self.leader.ballot_num(), self.pings);
        let length = self.lease.ask(self.liveness.now(), (ballot, round), config);
        let Some(length) = length else { return };
        let ask = Message::Lease(LeaseMessage::Ask { round, ballot, length });
        config.members.acceptors.iter().for_each(|&acceptor| out.send(acceptor, ask.clone()));
    }
}
