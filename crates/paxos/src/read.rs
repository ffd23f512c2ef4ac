//! Read-only commands without a slot (section 4.5): linearizable, from any replica.
//!
//! A replica asks the acceptors for the highest slot that each has accepted a pvalue for, takes
//! the maximum over a quorum, performs everything up to there, and may then read. Whatever was
//! answered to a client before the read began had been chosen, so some acceptor of any quorum
//! knows its slot. One round of questions serves all reads that wait when it starts.
//!
//! What differs from the paper: an acceptor counts collected slots as accepted (E42); and if
//! another configuration governs slot_out by the time that everything is performed, its acceptors
//! have to be asked as well (E47).
//!
//! Where leases are on, the leader may know as much as a quorum does ([`lease`](crate::lease)).
//! Then a replica asks it first, and a quorum if it does not answer.

use alloc::{sync::Arc, vec::Vec};

use crate::{
    effect::{Effect, Outbox},
    message::{LeaseMessage, Message, ReadPoint},
    quorum::WaitFor,
    reconfig::{Config, Schedule},
    replica::{Replica, StateMachine},
    types::{NodeId, Slot},
};

/// What a read relies on. It sees every update that was answered before, either way.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Level {
    /// A quorum of acceptors.
    #[default]
    Linearizable,
    /// A leader's lease, and so the clocks, as [`Lease`](crate::Lease) says; a quorum if leases
    /// are off here, or no leader has one.
    Lease,
}

/// The reads of one replica.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Reads {
    /// Reads that no round covers.
    queued: Vec<u64>,
    /// Reads about which the leader is to be asked.
    leased: Vec<u64>,
    round: Option<Round>,
    question: Option<Question>,
    /// The number of the last round; never used twice, whatever the life of this process.
    number: u64,
    /// The number of the last question to a leader; likewise.
    questions: u64,
    /// Reads that wait for slots to be performed.
    waiting: Vec<Confirmed>,
}

/// One round of questions.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Round {
    config: Arc<Config>,
    waitfor: WaitFor,
    highest: Slot,
    reads: Vec<u64>,
    /// Whether it has been asked again.
    late: bool,
}

/// A question to the leader.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Question {
    leader: NodeId,
    reads: Vec<u64>,
    /// Whether a round of trying again has begun since.
    late: bool,
}

/// Reads that may be served once everything up to `highest` has been performed.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Confirmed {
    highest: Slot,
    epoch: u64,
    reads: Vec<u64>,
}

impl Reads {
    /// For the replica's `incarnation`-th life: answers to questions of earlier lives are stale.
    pub(crate) fn new(incarnation: u32) -> Self {
        let questions = u64::from(incarnation) << 32;
        Self { number: u64::from(incarnation) << 32, questions, ..Self::default() }
    }

    /// A read that comes after everything that was answered so far. False if `most` wait already.
    fn queue(&mut self, id: u64, level: Level, most: usize) -> bool {
        let asking = self.round.as_ref().map_or(0, |round| round.reads.len())
            + self.question.as_ref().map_or(0, |question| question.reads.len());
        let confirmed: usize = self.waiting.iter().map(|confirmed| confirmed.reads.len()).sum();
        let queued = self.queued.len() + self.leased.len();
        let room = queued + asking + confirmed < most;
        if room {
            match level {
                Level::Linearizable => self.queued.push(id),
                Level::Lease => self.leased.push(id),
            }
        }
        room
    }

    /// Whether no read waits for a round.
    #[inline]
    pub(crate) fn idle(&self) -> bool {
        self.queued.is_empty() && self.leased.is_empty()
    }

    /// Starts a round for the reads that wait, unless one is under way.
    #[inline]
    pub(crate) fn start(&mut self, config: &Arc<Config>, lead: Option<NodeId>, out: &mut Outbox) {
        if !self.idle() {
            self.ask_leader(lead, out);
            self.ask_quorum(config, out);
        }
    }

    fn ask_leader(&mut self, lead: Option<NodeId>, out: &mut Outbox) {
        if self.leased.is_empty() || self.question.is_some() {
            return;
        }
        let reads = core::mem::take(&mut self.leased);
        let Some(leader) = lead else { return self.queued.extend(reads) };
        self.questions += 1;
        self.question = Some(Question { leader, reads, late: false });
        out.send(leader, Message::Lease(LeaseMessage::Query { round: self.questions }));
    }

    fn ask_quorum(&mut self, config: &Arc<Config>, out: &mut Outbox) {
        if self.queued.is_empty() || self.round.is_some() {
            return;
        }
        self.number += 1;
        self.round = Some(Round {
            config: config.clone(),
            waitfor: WaitFor::default(),
            highest: Slot(0),
            reads: core::mem::take(&mut self.queued),
            late: false,
        });
        for &acceptor in &config.members.acceptors {
            out.send(acceptor, Message::ReadQuery { round: self.number });
        }
    }

    /// Case answer to a query.
    pub(crate) fn reply(&mut self, from: NodeId, number: u64, highest: Slot) {
        let Some(round) = self.round.as_mut().filter(|_| number == self.number) else { return };
        let Some(answered) = round.waitfor.answer(&round.config, from) else { return };
        round.highest = round.highest.max(highest);
        // A quorum of phase 1 meets every quorum of phase 2 (E52).
        if answered < round.config.members.quorums.phase1 {
            return;
        }
        if let Some(Round { config, highest, reads, .. }) = self.round.take() {
            self.waiting.push(Confirmed { highest, epoch: config.epoch, reads });
        }
    }

    /// Case answer of a leader. If it holds no lease, or another leader has taken over from it, a
    /// quorum has to be asked.
    fn answer(&mut self, from: NodeId, number: u64, point: Option<ReadPoint>) {
        let current = |question: &mut Question| number == self.questions && question.leader == from;
        let Some(Question { reads, .. }) = self.question.take_if(current) else { return };
        match point {
            Some(ReadPoint { highest, epoch }) => {
                self.waiting.push(Confirmed { highest, epoch, reads });
            }
            None => self.queued.extend(reads),
        }
    }

    /// Whether no read waits for slots to be performed.
    #[inline]
    pub(crate) fn settled(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Everything below `slot_out` has been performed.
    pub(crate) fn ready(&mut self, slot_out: Slot, schedule: &Schedule, out: &mut Outbox) {
        for i in (0..self.waiting.len()).rev() {
            if slot_out <= self.waiting[i].highest {
                continue; // The rule is "above", though "at" seems to do (E46).
            }
            let Confirmed { epoch, reads, .. } = self.waiting.swap_remove(i);
            // Whoever was answered before the read began knew slot_out to be decided if a later
            // slot was; and slot_out, which the acceptors have not accepted, is theirs to accept,
            // unless another configuration governs it by now.
            if schedule.at(slot_out).epoch == epoch {
                reads.into_iter().for_each(|id| out.push(Effect::ReadReady(id)));
            } else {
                self.queued.extend(reads);
            }
        }
    }

    /// Asks again the acceptors that have not answered; others, if the configuration changed.
    pub(crate) fn retry(&mut self, config: &Arc<Config>, out: &mut Outbox) {
        let late = |question: &mut Question| core::mem::replace(&mut question.late, true);
        if let Some(Question { reads, .. }) = self.question.take_if(late) {
            self.queued.extend(reads);
        }
        let Some(round) = self.round.as_mut() else { return };
        if round.config.epoch != config.epoch {
            let reads = core::mem::take(&mut round.reads);
            self.queued.extend(reads);
            self.round = None;
            return self.ask_quorum(config, out);
        }
        if core::mem::replace(&mut round.late, true) {
            for acceptor in round.waitfor.missing(&round.config) {
                out.send(acceptor, Message::ReadQuery { round: self.number });
            }
        }
    }

    /// The slot after the last one that a read waits for.
    pub(crate) fn awaits(&self) -> Slot {
        let highest = self.waiting.iter().map(|confirmed| confirmed.highest.next());
        highest.max().unwrap_or(Slot(0))
    }
}

impl<S: StateMachine> Replica<S> {
    /// A read-only command of the owner's number `id` (section 4.5). When its
    /// [`Effect::ReadReady`] comes, the state contains every update that was answered before.
    /// False if too many wait, and this one will not be answered.
    pub fn read(&mut self, id: u64, level: Level) -> bool {
        self.reads.queue(id, level, self.limits.reads)
    }

    /// Case answer to a read query.
    pub fn read_reply(&mut self, from: NodeId, round: u64, highest: Slot, out: &mut Outbox) {
        self.reads.reply(from, round, highest);
        self.reads.ready(self.slot_out, &self.schedule, out);
    }

    /// Case answer of a leader, about its lease.
    pub(crate) fn lease_reply(
        &mut self,
        from: NodeId,
        round: u64,
        point: Option<ReadPoint>,
        out: &mut Outbox,
    ) {
        self.reads.answer(from, round, point);
        self.reads.start(self.schedule.at(self.slot_out), self.lead, out);
        self.reads.ready(self.slot_out, &self.schedule, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconfig::{Members, Reconfiguration};

    /// Two of three acceptors make a quorum; from slot 5 on, they are others.
    fn schedule() -> Schedule {
        let members = |acceptors: [u32; 3]| {
            Members::new([NodeId(1)], [NodeId(2), NodeId(3)], acceptors.map(NodeId)).unwrap()
        };
        let mut schedule = Schedule::new(members([11, 12, 13]), 4);
        let to = Reconfiguration { replaces: 0, members: members([21, 22, 23]) };
        assert_eq!(schedule.reconfigure(Slot(1), &to), Some(Slot(5)));
        schedule
    }

    /// Whom it asks, and with what number.
    fn asked(out: &mut Outbox) -> Vec<(u32, u64)> {
        let query = |effect| {
            let Effect::Send(
                NodeId(to),
                Message::ReadQuery { round } | Message::Lease(LeaseMessage::Query { round }),
            ) = effect
            else {
                return None;
            };
            Some((to, round))
        };
        out.drain().filter_map(query).collect()
    }

    /// The reads that may be served when everything below `slot_out` has been performed.
    fn ready(reads: &mut Reads, slot_out: u64, out: &mut Outbox) -> Vec<u64> {
        reads.ready(Slot(slot_out), &schedule(), out);
        let ready = |effect| if let Effect::ReadReady(id) = effect { Some(id) } else { None };
        out.drain().filter_map(ready).collect()
    }

    #[test]
    fn a_read_is_served_above_the_highest_slot_that_a_quorum_knows() {
        let (mut reads, mut out) = (Reads::new(1), Outbox::new(NodeId(1)));
        let (schedule, first) = (schedule(), 1 << 32);
        assert!(reads.queue(7, Level::Linearizable, 9));
        reads.start(schedule.at(Slot(1)), None, &mut out);
        let round = first + 1;
        assert_eq!(asked(&mut out), [11, 12, 13].map(|to| (to, round)));
        // Two answers of one acceptor, one to an earlier question, and one of a stranger.
        for (from, round, highest) in
            [(11, round, 3), (11, round, 3), (12, first, 3), (14, round, 3)]
        {
            reads.reply(NodeId(from), round, Slot(highest));
        }
        assert!(reads.settled());
        reads.reply(NodeId(12), round, Slot(2));
        assert_eq!((reads.settled(), reads.awaits()), (false, Slot(4)));
        assert_eq!(ready(&mut reads, 3, &mut out), []);
        assert_eq!(ready(&mut reads, 4, &mut out), [7]);
        assert!(reads.settled() && reads.idle());
    }

    #[test]
    fn a_quorum_is_asked_again_after_a_whole_round_and_another_one_at_once() {
        let (mut reads, mut out) = (Reads::new(0), Outbox::new(NodeId(1)));
        let schedule = schedule();
        assert!(reads.queue(7, Level::Linearizable, 9));
        reads.start(schedule.at(Slot(1)), None, &mut out);
        reads.reply(NodeId(12), 1, Slot(3));
        out.drain().for_each(drop);
        reads.retry(schedule.at(Slot(1)), &mut out);
        assert_eq!(asked(&mut out), []);
        reads.retry(schedule.at(Slot(1)), &mut out);
        assert_eq!(asked(&mut out), [(11, 1), (13, 1)]);
        reads.retry(schedule.at(Slot(5)), &mut out);
        assert_eq!(asked(&mut out), [(21, 2), (22, 2), (23, 2)]);
        [21, 22].into_iter().for_each(|from| reads.reply(NodeId(from), 2, Slot(3)));
        assert_eq!(ready(&mut reads, 4, &mut out), [], "slot 4 is not theirs");
        assert!(!reads.idle());
    }

    #[test]
    fn a_leader_is_asked_once_and_a_quorum_if_it_cannot_say_or_does_not() {
        let (schedule, point) = (schedule(), ReadPoint { highest: Slot(3), epoch: 0 });
        let asks_leader = || {
            let (mut reads, mut out) = (Reads::new(0), Outbox::new(NodeId(1)));
            assert!(reads.queue(7, Level::Lease, 9) && !reads.idle());
            reads.start(schedule.at(Slot(1)), Some(NodeId(2)), &mut out);
            assert_eq!(asked(&mut out), [(2, 1)]);
            (reads, out)
        };
        let (mut reads, mut out) = asks_leader();
        assert!(reads.queue(8, Level::Lease, 9));
        reads.start(schedule.at(Slot(1)), Some(NodeId(2)), &mut out);
        assert_eq!(asked(&mut out), [], "one question at a time");
        reads.answer(NodeId(3), 1, Some(point));
        reads.answer(NodeId(2), 0, Some(point));
        assert!(reads.settled(), "another leader, and another question");
        reads.answer(NodeId(2), 1, Some(point));
        assert_eq!(ready(&mut reads, 3, &mut out), []);
        assert_eq!(ready(&mut reads, 4, &mut out), [7]);
        let quorum = [11, 12, 13].map(|to| (to, 1));
        reads.start(schedule.at(Slot(1)), None, &mut out);
        assert_eq!(asked(&mut out), quorum, "nobody leads");

        let (mut reads, mut out) = asks_leader();
        reads.answer(NodeId(2), 1, None);
        reads.start(schedule.at(Slot(1)), Some(NodeId(2)), &mut out);
        assert_eq!(asked(&mut out), quorum);

        let (mut reads, mut out) = asks_leader();
        for asked_now in [&[][..], &quorum] {
            reads.retry(schedule.at(Slot(1)), &mut out);
            reads.start(schedule.at(Slot(1)), Some(NodeId(2)), &mut out);
            assert_eq!(asked(&mut out), asked_now);
        }
    }

    #[test]
    fn reads_are_bounded_whatever_they_wait_for() {
        let (schedule, mut out) = (schedule(), Outbox::new(NodeId(1)));
        let mut reads = Reads::new(0);
        let fill =
            |reads: &mut Reads, n, level| (0..n).filter(|id| reads.queue(*id, level, 400)).count();
        let quarter = 100;
        // For answers of a leader, for those of a quorum, and for slots.
        fill(&mut reads, quarter, Level::Lease);
        reads.start(schedule.at(Slot(1)), Some(NodeId(2)), &mut out);
        reads.answer(NodeId(2), 1, Some(ReadPoint { highest: Slot(3), epoch: 0 }));
        fill(&mut reads, quarter, Level::Lease);
        fill(&mut reads, quarter, Level::Linearizable);
        reads.start(schedule.at(Slot(1)), Some(NodeId(2)), &mut out);
        // For one of the two to begin.
        fill(&mut reads, quarter / 2, Level::Lease);
        let last = fill(&mut reads, quarter, Level::Linearizable);
        assert_eq!(last as u64, quarter / 2);
    }
}
