//! Colocation (section 4.4): the roles of one process, and the table that routes to them.
//!
//! A node may host a replica, a leader and an acceptor, or any of them alone: then it is one
//! process of the paper. Roles never call one another; each arm of the routing table is one arrow
//! of the paper's Fig. 8. A leader and an acceptor on one node keep separate ballots (E39).

use alloc::{boxed::Box, sync::Arc};

mod handover;
mod heartbeat;
mod leases;

use crate::{
    acceptor::Acceptor,
    effect::{Outbox, Record},
    leader::{Event, Leader},
    lease::{Grants, Held},
    liveness::{Liveness, Time, nanos},
    message::{Message, Progress},
    read::Level,
    reconfig::Schedule,
    replica::{Replica, StateMachine},
    setup::{ACCEPTOR, LEADER, REPLICA, Roles, Setup},
    types::{Ballot, Command, NodeId, PValue, Slot},
};

/// Slots after which the leader is told how far the replica on its node is.
const TELL_EVERY: u64 = 32;

/// One process: its roles, and its sense of time. A role that the node does not have is there,
/// but nothing is routed to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node<S> {
    id: NodeId,
    pub(crate) roles: Roles,
    /// The roles as bits: one test per message.
    mask: u8,
    pub(crate) incarnation: u32,
    pub(crate) replica: Replica<S>,
    pub(crate) leader: Leader,
    pub(crate) acceptor: Acceptor,
    liveness: Liveness,
    /// What the acceptor has granted.
    grants: Grants,
    /// What the leader holds.
    lease: Held,
    /// The slot_out at which the leader beside the replica is told again.
    tell_at: Slot,
    /// Counts pings, over all lives.
    pings: u64,
    /// Whether the leader led when that was looked at last.
    leads: bool,
}

impl<S: StateMachine> Node<S> {
    /// The first life of a node that has never run: to be called once in the life of a disk. As
    /// with [`Node::recover`], what `out` asks for must be on disk before the first input.
    #[must_use]
    pub fn format(setup: Setup, state: S, out: &mut Outbox) -> Self {
        Self::start(setup, 1, Ballot::BOTTOM, Acceptor::default(), state, out)
    }

    pub(crate) fn start(
        setup: Setup,
        incarnation: u32,
        used: Ballot,
        mut acceptor: Acceptor,
        state: S,
        out: &mut Outbox,
    ) -> Self {
        let Setup { id, roles, schedule, timing, seed, sessions, limits } = setup;
        out.persist(Record::Started(incarnation));
        let grants = Grants::new(timing.lease, incarnation == 1);
        let mut replica = Replica::new(id, incarnation, state, schedule.clone(), sessions);
        let mut leader = Leader::new(id, incarnation, used, schedule);
        (replica.limits, leader.limits, acceptor.limits) = (limits, limits, limits);
        Self {
            id,
            roles,
            mask: roles.mask(),
            incarnation,
            replica,
            leader,
            acceptor,
            liveness: Liveness::new(timing, seed ^ (u64::from(incarnation) << 32)),
            grants,
            lease: Held::new(timing.lease),
            tell_at: Slot::FIRST.plus(TELL_EVERY),
            pings: u64::from(incarnation) << 32,
            leads: false,
        }
    }

    /// A client's command. Proposed by the next [`Node::flush`].
    #[inline]
    pub fn request(&mut self, command: Command, out: &mut Outbox) {
        if self.roles.replica {
            self.replica.request(command, out);
        }
    }

    /// A read-only command with a number of the owner's. False if it cannot be served here. `now`
    /// must have been read from the clock after the read had arrived.
    pub fn read(&mut self, now: Time, id: u64, level: Level) -> bool {
        self.liveness.pass(now);
        let level = if self.lease.wanted() { level } else { Level::Linearizable };
        self.roles.replica && self.replica.read(id, level)
    }

    /// A snapshot of everything below `slot` is on disk. The others are told at once: what waits
    /// for that is garbage.
    pub fn saved(&mut self, slot: Slot, out: &mut Outbox) {
        self.replica.saved(slot, out);
        self.report(out);
        self.settle(out);
    }

    /// A message from `from`, as the transport has verified; from this node itself, if it was
    /// held back for the disk. `now` must have been read from the clock after it had arrived.
    #[inline]
    pub fn step(&mut self, now: Time, from: NodeId, message: Message, out: &mut Outbox) {
        self.liveness.pass(now);
        self.route(from, message, out);
        self.settle(out);
    }

    /// Proposes what has piled up. To be called when everything that has arrived was handed over,
    /// so that it becomes one batch.
    #[inline]
    pub fn flush(&mut self, out: &mut Outbox) {
        if !self.roles.replica {
            return;
        }
        if self.replica.slot_out() >= self.tell_at {
            self.tell_leader(out);
        }
        if self.replica.idle() {
            return;
        }
        let newest = |schedule: &Schedule| schedule.latest().epoch;
        if newest(self.replica.schedule()) > newest(self.leader.schedule()) {
            self.tell_leader(out); // Or it would not know whom to ask for the slots proposed now.
        }
        self.replica.propose(out);
        self.settle(out);
    }

    /// Does what it is time for. To be called when [`Node::deadline`] is reached; more often does
    /// no harm.
    pub fn tick(&mut self, now: Time, out: &mut Outbox) {
        self.liveness.pass(now);
        self.grants.begin(self.liveness.now());
        let urges = self.liveness.urges(self.may_campaign(), self.leader.config(), self.id);
        self.tell_leader(out);
        self.note_performed(urges.heartbeat, out);
        if urges.campaign {
            self.leader.campaign(out);
        }
        if urges.heartbeat {
            self.heartbeat(out);
            self.report(out);
        }
        if urges.resend && self.roles.leader {
            self.leader.resend(out);
        }
        if urges.resend && self.roles.replica {
            self.replica.retry(out);
        }
        self.settle(out);
    }

    /// When [`Node::tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> Time {
        self.liveness.deadline()
    }

    /// Takes over at once, whoever leads: for the first leader of a cluster, and for tests. Where
    /// acceptors have granted another leader a lease, they answer when that is over; to replace a
    /// leader that works, ask it to [`Node::hand_over`].
    pub fn campaign(&mut self, out: &mut Outbox) {
        self.tell_leader(out);
        if self.roles.leader {
            self.leader.campaign(out);
            self.settle(out);
        }
    }

    /// Who this is.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Which life of the node this is, from 1.
    #[must_use]
    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// What it does.
    #[must_use]
    pub fn roles(&self) -> Roles {
        self.roles
    }

    /// The replicated state, for what does not change it: an owner that makes it durable.
    pub fn state_mut(&mut self) -> &mut S {
        &mut self.replica.state
    }

    /// How far another replica is, as it said last to this one.
    #[must_use]
    pub fn progress_of(&self, replica: NodeId) -> Option<Progress> {
        self.replica.catchup.reports().of(replica)
    }

    /// Whether the leader on this node held a lease at the time of the last input: whether reads
    /// at [`Level::Lease`] need no quorum.
    #[must_use]
    pub fn holds_lease(&self) -> bool {
        self.holds_lease_at(Time::ZERO)
    }

    /// Whether it would hold one if the next input came `now`; at the time of the last one, if that
    /// is later.
    #[must_use]
    pub fn holds_lease_at(&self, now: Time) -> bool {
        let (now, leader) = (self.liveness.now().max(nanos(now)), &self.leader);
        leader.read_point().is_some() && self.lease.holds(now, leader.ballot_num(), leader.config())
    }

    /// The replica.
    #[must_use]
    pub fn replica(&self) -> &Replica<S> {
        &self.replica
    }

    /// The leader.
    #[must_use]
    pub fn leader(&self) -> &Leader {
        &self.leader
    }

    /// The acceptor.
    #[must_use]
    pub fn acceptor(&self) -> &Acceptor {
        &self.acceptor
    }

    /// The paper's Figs. 2 and 8: which message concerns which role.
    fn route(&mut self, from: NodeId, message: Message, out: &mut Outbox) {
        if self.mask & concerns(&message) == 0 {
            return;
        }
        let Self { replica, leader, acceptor, liveness, grants, .. } = self;
        match message {
            Message::P1a { ballot, .. } if grants.bar(liveness.now(), ballot, acceptor) => {}
            Message::P2a(PValue { ballot, .. }) if grants.bar(liveness.now(), ballot, acceptor) => {
            }
            Message::P1a { ballot, first } => {
                if let Some(p1b) = acceptor.p1a(ballot, first) {
                    p1b.cast(from, |p1b| Message::P1b(Box::new(p1b)), out);
                }
            }
            Message::P2a(pvalue) => acceptor.p2a(pvalue).cast(from, Message::P2b, out),
            Message::Ping { round } => {
                let held = acceptor.ballot_num();
                out.send_when_durable(from, Message::Pong { round, held });
            }
            Message::ReadQuery { round } => {
                out.send(from, Message::ReadReply { round, highest: acceptor.highest() });
            }
            Message::Collect(slot) => {
                acceptor.collect(slot).into_iter().for_each(|r| out.persist(r));
            }

            Message::Propose(propose) => {
                let followed = liveness.followed();
                let followed = (followed > Ballot::BOTTOM).then_some(followed.leader);
                leader.propose(from, propose, followed, out);
            }
            Message::P1b(p1b) => {
                let event = leader.p1b(from, *p1b, out);
                self.note(event, out);
            }
            Message::P2b(p2b) => {
                let event = leader.p2b(from, p2b, out);
                self.note(event, out);
            }
            Message::Pong { held, .. } => {
                liveness.pong(from, from == self.id);
                let event = leader.preempted(held);
                self.note(event, out);
            }
            Message::Schedule(schedule) => leader.learn_schedule(&schedule, out),

            Message::Forward(decree) => replica.forwarded(decree),
            Message::Decision { slot, ballot, decree } => {
                let accepted = || acceptor.accepted(slot, ballot).cloned();
                replica.decision(slot, decree.or_else(accepted), out);
                if !liveness.hears_on(ballot) {
                    self.heard(ballot, true, out);
                }
            }
            Message::AskSchedule => {
                out.send(from, Message::Schedule(Arc::new(replica.schedule().clone())));
            }
            Message::Learn(slot) => replica.teach(from, slot, out),
            Message::Decisions { first, decrees } => replica.taught(from, first, decrees, out),
            Message::FetchSnapshot { slot, offset } => out.serve_snapshot(from, slot, offset),
            Message::SnapshotChunk(chunk) => replica.chunk(from, chunk, out),
            Message::ReadReply { round, highest } => replica.read_reply(from, round, highest, out),

            Message::SlotOut(progress) => self.slot_out(from, progress, out),
            Message::Heartbeat { ballot, leading } => self.heard_of(from, ballot, leading, out),
            Message::TakeOver { ballot, round } => self.take_over(from, ballot, round, out),
            Message::Lease(message) => self.about_lease(from, message, out),
        }
    }

    /// Carries messages from role to role until there are none.
    #[inline]
    pub(crate) fn settle(&mut self, out: &mut Outbox) {
        while let Some(message) = out.next_local() {
            self.route(self.id, message, out);
        }
    }

    /// Lets the sense of time know what happened to the leader.
    #[inline]
    fn note(&mut self, event: Option<Event>, out: &mut Outbox) {
        match event {
            None => {}
            Some(Event::Chosen) => self.liveness.chosen(),
            Some(Event::Preempted(by)) => {
                self.liveness.preempted(by);
                self.replica.follow(self.liveness.followed().leader);
            }
            // Who leads only later slots is silent until they are next.
            Some(Event::Adopted) if !self.leader.may_lead() => {}
            Some(Event::Adopted) => {
                self.heard(self.leader.ballot_num(), true, out);
                self.announce(true, out);
            }
        }
    }

    /// The leader of this ballot leads, as it says itself, or as another says who hears it.
    #[inline]
    fn heard(&mut self, ballot: Ballot, directly: bool, out: &mut Outbox) {
        self.liveness.heard(ballot, directly);
        self.replica.follow(self.liveness.followed().leader);
        let event = self.leader.preempted(ballot);
        self.note(event, out);
    }

    /// Whether this is a leader, and passive, and slots that may be open are its to command.
    fn may_campaign(&self) -> bool {
        self.roles.leader && !self.leader.leading() && self.leader.may_lead()
    }

    /// Tells the leader on this node how far the replica is. Late news cost it memory, and a
    /// shorter phase 1, so it is told now and then, before it campaigns, and when another
    /// configuration begins.
    fn tell_leader(&mut self, out: &mut Outbox) {
        if self.roles.replica && self.roles.leader {
            let (slot_out, boundary) = (self.replica.slot_out(), self.replica.schedule.boundary());
            let ahead = Some(boundary).filter(|boundary| *boundary > slot_out);
            self.tell_at = ahead.into_iter().fold(slot_out.plus(TELL_EVERY), Slot::min);
            out.send(self.id, Message::SlotOut(self.replica.progress()));
            self.settle(out);
            self.step_down(out);
        }
    }

    fn slot_out(&mut self, from: NodeId, progress: Progress, out: &mut Outbox) {
        if self.roles.replica && from != self.id {
            self.replica.peer_progress(from, progress, out);
            let schedule = self.replica.schedule();
            if progress.epoch < schedule.latest().epoch && !schedule.replicates(from) {
                // It is replaced, and nobody else will tell it: it has to learn that from us.
                out.send(from, Message::SlotOut(self.replica.progress()));
            }
        }
        if self.roles.leader {
            self.leader.slot_out(from, progress, out);
        }
    }
}

/// The roles that a message concerns.
#[inline]
fn concerns(message: &Message) -> u8 {
    match message {
        Message::P1a { .. }
        | Message::P2a(_)
        | Message::Ping { .. }
        | Message::ReadQuery { .. }
        | Message::Collect(_) => ACCEPTOR,
        Message::Propose(_)
        | Message::P1b(_)
        | Message::P2b(_)
        | Message::Pong { .. }
        | Message::Schedule(_)
        | Message::TakeOver { .. } => LEADER,
        Message::Forward(_)
        | Message::Decision { .. }
        | Message::AskSchedule
        | Message::Learn(_)
        | Message::Decisions { .. }
        | Message::FetchSnapshot { .. }
        | Message::SnapshotChunk(_)
        | Message::ReadReply { .. } => REPLICA,
        Message::SlotOut(_) | Message::Heartbeat { .. } => REPLICA | LEADER,
        Message::Lease(_) => REPLICA | LEADER | ACCEPTOR, // Looked at once more there.
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::{
        effect::Effect,
        reconfig::{Members, Reconfiguration},
        types::Payload,
    };

    struct Nothing;

    impl StateMachine for Nothing {
        fn apply(&mut self, _: &[u8]) -> Payload {
            Payload::EMPTY
        }
    }

    #[test]
    fn a_node_knows_its_life_and_an_owner_whether_there_is_anything_to_do() {
        let (one, mut out) = ([NodeId(1)], Outbox::new(NodeId(1)));
        let schedule = Schedule::new(Members::new(one, one, one).unwrap(), 1);
        assert!(out.is_empty());
        let node = Node::format(Setup::new(NodeId(1), schedule), Nothing, &mut out);
        assert_eq!(node.incarnation(), 1);
        assert!(!out.is_empty(), "that it has started is to be written down");
    }

    #[test]
    fn who_is_replaced_and_does_not_know_is_told() {
        let members = |ids: &[u32]| {
            let ids: Vec<NodeId> = ids.iter().map(|&id| NodeId(id)).collect();
            Members::new(ids.clone(), ids.clone(), ids).unwrap()
        };
        let mut schedule = Schedule::new(members(&[1, 2, 3]), 1);
        let to = Reconfiguration { replaces: 0, members: members(&[1, 2, 4]) };
        assert_eq!(schedule.reconfigure(Slot(1), &to), Some(Slot(2)));
        assert_eq!(schedule.forget(Slot(2)).count(), 1);
        let mut out = Outbox::new(NodeId(1));
        let setup = Setup::new(NodeId(1), schedule);
        let mut node = Node::format(setup, Nothing, &mut out);
        let mut answered = |from: u32, epoch: u64| {
            out.drain().for_each(drop);
            let progress = Progress { slot_out: Slot(1), durable: Slot(1), epoch };
            node.step(Time::ZERO, NodeId(from), Message::SlotOut(progress), &mut out);
            out.drain().any(|effect| {
                let Effect::Send(to, Message::SlotOut(progress)) = effect else { return false };
                (to, progress.epoch) == (NodeId(from), 1)
            })
        };
        assert!(answered(3, 0));
        assert!(!answered(3, 1), "it knows");
        assert!(!answered(2, 0), "it will find out by performing");
    }
}
