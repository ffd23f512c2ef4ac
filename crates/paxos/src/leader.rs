//! The leader: proposals, and the scouts and commanders that get them chosen (section 2.4, Fig. 7).
//!
//! What differs from the paper:
//! * A leader does not scout whenever it is preempted; [`liveness`](crate::liveness) says when to
//!   [`campaign`](Leader::campaign) (section 3).
//! * Scouts and commanders are values that the leader owns.
//! * Phase 1 covers ranges of slots: one for each configuration that governs slots still open,
//!   all under one ballot (E26). A range is added when a reconfiguration becomes known.
//! * Only slots whose configuration is known are commanded; others wait (E26).
//! * A decided slot is not commanded again (E36), and the decision is told to whoever proposes
//!   for that slot once more (E4). It is forgotten when enough replicas hold it durably, or the
//!   replica on this node has performed it.
//! * Holes below the highest slot in use become no-ops (E11).
//! * A passive leader keeps no proposals: it forwards them, once (E38).

use alloc::{sync::Arc, vec::Vec};

use crate::{
    commander::Commander,
    effect::{Outbox, Record},
    invariant,
    message::{Message, P1b, P2b, Progress, Propose, Vote},
    progress::Reports,
    quorum::Verdict,
    reconfig::{Config, Schedule},
    ring::Ring,
    scout::{Adopted, Scout},
    setup::Limits,
    types::{Ballot, Decree, NodeId, PValue, Slot},
};

/// The paper's leader λ.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leader {
    id: NodeId,
    incarnation: u32,
    /// The ballot used last.
    ballot_num: Ballot,
    /// The highest ballot heard of.
    highest: Ballot,
    /// Whether `ballot_num` has not been preempted. The paper's `active` says in addition that
    /// phase 1 is done, which is known here for each range of slots.
    leading: bool,
    /// Phase 1, by ranges of slots that do not overlap.
    pub(crate) phases: Vec<Phase>,
    /// The paper's proposals, from the first slot on that may not have been performed by enough
    /// replicas.
    pub(crate) proposals: Ring<Proposal>,
    /// Every slot that may have been decided is below this one: it was inherited in phase 1, or
    /// announced since.
    pub(crate) announced: Slot,
    schedule: Schedule,
    /// The configurations of all slots below this one are known.
    known: Slot,
    /// How far each replica said it was, last.
    pub(crate) reports: Reports,
    /// Everything below this slot is durable at enough replicas.
    collected: Slot,
    /// Everything below this slot has been performed by enough replicas, as they say now.
    performed: Slot,
    /// Counts rounds of asking again.
    round: u64,
    /// Holes below this slot have been there for a whole round.
    holes: Slot,
    pub(crate) limits: Limits,
}

/// Phase 1 for the slots from `first` up to `end` that one configuration governs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Phase {
    pub(crate) first: Slot,
    end: Option<Slot>,
    config: Arc<Config>,
    /// `None` once adopted.
    pub(crate) scout: Option<Scout>,
}

impl Phase {
    #[inline]
    fn covers(&self, slot: Slot) -> bool {
        slot >= self.first && self.end.is_none_or(|end| slot < end)
    }
}

/// What the leader knows of a slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Proposal {
    /// Proposed; phase 1 is not done, or the slot's configuration is not known.
    Waiting(Decree),
    /// In phase 2.
    Commanded(Commander),
    /// Chosen. Only here does the leader know that; a proposal may never have been chosen (E4).
    Decided(PValue),
}

/// What happened that [`liveness`](crate::liveness) should know of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A majority adopted our ballot.
    Adopted,
    /// A decree was chosen in our ballot.
    Chosen,
    /// An acceptor holds this higher ballot.
    Preempted(Ballot),
}

impl Leader {
    /// A leader in its `incarnation`-th life, which has used no ballot above `used` before.
    #[must_use]
    pub fn new(id: NodeId, incarnation: u32, used: Ballot, schedule: Schedule) -> Self {
        let known = Slot::FIRST.plus(schedule.window());
        Self {
            id,
            incarnation,
            ballot_num: used,
            highest: used,
            leading: false,
            phases: Vec::new(),
            proposals: Ring::new(Slot::FIRST),
            announced: Slot::FIRST,
            schedule,
            known,
            reports: Reports::default(),
            collected: Slot::FIRST,
            performed: Slot::FIRST,
            round: 0,
            holes: Slot::FIRST,
            limits: Limits::default(),
        }
    }

    /// Starts phase 1 of a ballot that is higher than any heard of: the paper's spawn(Scout).
    pub fn campaign(&mut self, out: &mut Outbox) {
        let round = self.highest.round.max(self.ballot_num.round) + 1;
        if round > Ballot::ROUND_MAX {
            return;
        }
        let ballot = Ballot { round, leader: self.id, incarnation: self.incarnation };
        invariant!(C1, ballot > self.ballot_num, "ballot {ballot} would be used twice");
        self.resign();
        self.ballot_num = ballot;
        self.highest = ballot;
        self.leading = true;
        out.persist(Record::Campaigned(ballot));
        self.cover(out);
    }

    /// Case propose. While passive, the proposal goes to the leader that is followed.
    #[inline]
    pub fn propose(
        &mut self,
        from: NodeId,
        propose: Propose,
        followed: Option<NodeId>,
        out: &mut Outbox,
    ) {
        if !self.leading {
            let to = followed.filter(|&to| to != self.id && propose.replica.is_none());
            if let Some(to) = to {
                out.send(to, Message::Propose(Propose { replica: Some(from), ..propose }));
            }
            return;
        }
        let Propose { slot, decree, epoch, replica } = propose;
        let from = replica.unwrap_or(from);
        if self.schedule.at(slot).epoch != epoch {
            if epoch > self.schedule.latest().epoch {
                out.send(from, Message::AskSchedule);
            }
            return;
        }
        if !self.proposals.has_room(slot) {
            return;
        }
        if !self.schedule.at(slot).leads(self.id) {
            if slot < self.performed {
                // A slot that only others may lead is open after all: replicas have lost it.
                self.reports.clear();
                self.performed = Slot::FIRST;
            }
            return;
        }
        match self.proposals.get(slot) {
            None => {
                self.command(slot, decree, out);
                self.know(slot.next(), out);
            }
            Some(Proposal::Decided(PValue { ballot, decree, .. })) => {
                let (ballot, decree) = (*ballot, Some(decree.clone()));
                out.send(from, Message::Decision { slot, ballot, decree });
            }
            Some(Proposal::Waiting(_) | Proposal::Commanded(_)) => {
                self.know(slot.next(), out);
            }
        }
    }

    /// Case p1b, and then case adopted.
    pub fn p1b(&mut self, from: NodeId, p1b: P1b, out: &mut Outbox) -> Option<Event> {
        if p1b.held > self.ballot_num {
            return self.preempted(p1b.held);
        }
        // `adopted` must be about the ballot in use (E33): phases are dropped with their ballot,
        // and a scout refuses answers to other ballots than its own.
        let mut scouts = self.phases.iter().map(|phase| phase.scout.as_ref());
        let i = scouts.position(|s| s.is_some_and(|s| s.awaits(from, p1b.first)))?;
        match self.phases[i].scout.as_mut()?.p1b(from, p1b, out) {
            Verdict::Waiting => None,
            Verdict::Preempted(held) => self.preempted(held),
            Verdict::Won(adopted) => Some(self.adopted(i, adopted, out)),
        }
    }

    /// Case p2b, and then case decision.
    #[inline]
    pub fn p2b(&mut self, from: NodeId, p2b: P2b, out: &mut Outbox) -> Option<Event> {
        match p2b.vote {
            Vote::Preempted(held) if held > self.ballot_num => return self.preempted(held),
            Vote::Collected(gc_slot) => self.collect(gc_slot),
            Vote::Preempted(_) | Vote::Accepted => {}
        }
        let Some(Proposal::Commanded(commander)) = self.proposals.get_mut(p2b.slot) else {
            return None;
        };
        if p2b.asked != commander.pvalue.ballot {
            return None; // To an earlier commander of this slot.
        }
        match commander.p2b(from, p2b.vote) {
            Verdict::Waiting => None,
            Verdict::Preempted(held) => self.preempted(held),
            Verdict::Won(()) => {
                self.decided(p2b.slot, out);
                Some(Event::Chosen)
            }
        }
    }

    /// Case preempted. A stale one must not make an active leader passive (E10).
    pub fn preempted(&mut self, held: Ballot) -> Option<Event> {
        self.highest = self.highest.max(held);
        if held <= self.ballot_num || !self.leading {
            return None;
        }
        self.resign();
        Some(Event::Preempted(held))
    }

    /// A replica's report: what it has performed need not be commanded again (E36), and it knows
    /// the configurations of the slots below slot_out + WINDOW.
    #[inline]
    pub fn slot_out(&mut self, from: NodeId, progress: Progress, out: &mut Outbox) {
        let latest = self.schedule.latest().epoch;
        if progress.epoch > latest {
            out.send(from, Message::AskSchedule);
        } else if progress.epoch == latest {
            self.know(progress.slot_out.plus(self.schedule.window()), out);
        }
        if !self.reports.note(from, progress, &self.schedule) {
            return;
        }
        if from == self.id && progress.slot_out >= self.proposals.base() {
            // This node's replica lives and dies with its leader: it alone is enough.
            return self.forget(progress.slot_out);
        }
        self.weigh_reports();
    }

    /// Configurations, from a replica.
    pub fn learn_schedule(&mut self, schedule: &Schedule, out: &mut Outbox) {
        self.schedule.extend(schedule);
        // Configurations that are missing there were forgotten, their slots being collected.
        self.collect(schedule.entries[0].0);
        self.cover(out);
    }

    /// Asks again whoever has not answered, and fills holes that have been there for a while.
    pub fn resend(&mut self, out: &mut Outbox) {
        self.round += 1;
        let (round, mut budget) = (self.round, self.limits.resend);
        self.phases.iter().filter_map(|phase| phase.scout.as_ref()).for_each(|s| s.resend(out));
        let mut slot = self.proposals.base();
        while slot < self.proposals.end() {
            match self.proposals.get_mut(slot) {
                Some(Proposal::Commanded(commander)) if commander.asked + 1 < round => {
                    commander.resend(round, out);
                    budget -= 1;
                }
                None if self.leading && slot < self.holes => {
                    self.command(slot, Decree::noop(), out);
                    budget -= 1;
                }
                Some(_) | None => {}
            }
            if budget == 0 {
                break;
            }
            slot = slot.next();
        }
        self.holes = self.proposals.end();
    }

    /// The ballot used last.
    #[must_use]
    pub fn ballot_num(&self) -> Ballot {
        self.ballot_num
    }

    /// Whether the ballot has not been preempted since the campaign.
    #[inline]
    #[must_use]
    pub fn leading(&self) -> bool {
        self.leading
    }

    /// The paper's `active`: phase 1 is done for every slot that this leader may command.
    #[must_use]
    pub fn active(&self) -> bool {
        self.leading && self.phases.iter().all(|phase| phase.scout.is_none())
    }

    /// The configurations that this leader knows.
    #[must_use]
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The configuration of the first slot that may be open.
    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        self.schedule.at(self.proposals.base().max(self.performed))
    }

    /// Whether this leader may lead in the configuration of the first slot that may be open.
    #[must_use]
    pub fn may_lead(&self) -> bool {
        self.config().leads(self.id)
    }

    fn resign(&mut self) {
        self.leading = false;
        self.phases.clear();
        self.proposals.retain(|proposal| matches!(proposal, Proposal::Decided(_)));
    }

    /// Starts phase 1 wherever slots are open, this leader may lead, and it has not begun.
    fn cover(&mut self, out: &mut Outbox) {
        if !self.leading {
            return;
        }
        // A phase ends where its configuration does, also if all slots up to there are done with.
        for phase in &mut self.phases {
            let end = self.schedule.end(phase.config.epoch);
            phase.end = phase.end.into_iter().chain(end).min();
        }
        let base = self.proposals.base();
        self.phases.retain(|phase| phase.end.is_none_or(|end| end > base));
        for (first, end, config) in self.schedule.ranges(base) {
            let covered = self.phases.iter().any(|phase| phase.config.epoch == config.epoch);
            if config.leads(self.id) && !covered {
                let scout = Scout::spawn(self.ballot_num, (first, end), config.clone(), out);
                self.phases.push(Phase { first, end, config: config.clone(), scout: Some(scout) });
            }
        }
        if self.phases.is_empty() {
            self.resign(); // No configuration wants this leader.
        }
    }

    /// Case adopted, for one range of slots: proposals := proposals ◁ pmax, and a commander for
    /// each. This is where C2 is kept: whatever a majority may already have chosen is proposed
    /// again.
    fn adopted(&mut self, i: usize, adopted: Adopted, out: &mut Outbox) -> Event {
        self.phases[i].scout = None;
        let (first, end) = (self.phases[i].first, self.phases[i].end);
        self.collect(adopted.gc_slot);
        let first = first.max(self.proposals.base());
        let within = |slot: Slot| slot >= first && end.is_none_or(|end| slot < end);
        let mut highest = first;
        self.announced = self.announced.max(first);
        for (slot, (ballot, decree)) in adopted.pmax.into_iter().filter(|(slot, _)| within(*slot)) {
            invariant!(C2, self.proposals.has_room(slot), "slot {slot} reported by an acceptor");
            highest = slot;
            self.announced = self.announced.max(slot.next()); // E51
            match self.proposals.get(slot) {
                Some(Proposal::Commanded(Commander { pvalue, .. }) | Proposal::Decided(pvalue)) => {
                    let same = decree == pvalue.decree;
                    let (theirs, ours) = (ballot, pvalue.ballot);
                    invariant!(C1, theirs != ours || same, "two decrees in {ours}, slot {slot}");
                    invariant!(C2, theirs <= ours || same, "{pvalue} chosen, not in {theirs}");
                }
                Some(Proposal::Waiting(_)) | None => {
                    let reused = ballot == self.ballot_num;
                    invariant!(C1, !reused, "ballot {ballot} was used before, in slot {slot}");
                    self.proposals.insert(slot, Proposal::Waiting(decree));
                }
            }
        }
        let mut slot = first;
        while slot < self.proposals.end() && end.is_none_or(|end| slot < end) {
            if self.proposals.get(slot).is_none() && slot < highest {
                self.proposals.insert(slot, Proposal::Waiting(Decree::noop()));
            }
            if let Some(Proposal::Waiting(decree)) = self.proposals.get(slot) {
                self.command(slot, decree.clone(), out);
            }
            slot = slot.next();
        }
        Event::Adopted
    }

    /// Spawns a commander if phase 1 is done for the slot and its configuration is known.
    #[inline]
    fn command(&mut self, slot: Slot, decree: Decree, out: &mut Outbox) {
        let adopted = |phase: &&Phase| phase.covers(slot) && phase.scout.is_none();
        let ready = self.phases.iter().find(adopted).filter(|_| slot < self.known);
        let Some(phase) = ready else {
            self.proposals.insert(slot, Proposal::Waiting(decree));
            return;
        };
        let (epoch, governs) = (phase.config.epoch, self.schedule.at(slot).epoch);
        invariant!(C2, epoch == governs, "slot {slot} is of epoch {governs}, phase 1 of {epoch}");
        let pvalue = PValue { ballot: self.ballot_num, slot, decree };
        let commander = Commander::spawn(pvalue, phase.config.clone(), self.round, out);
        self.proposals.insert(slot, Proposal::Commanded(commander));
    }

    /// Tells the replicas. Newer ones than the slot's own are told as well (E31).
    #[inline]
    fn decided(&mut self, slot: Slot, out: &mut Outbox) {
        let Some(proposal) = self.proposals.get_mut(slot) else { return };
        let Proposal::Commanded(Commander { pvalue, config, .. }) = proposal else { return };
        for &replica in &config.members.replicas {
            tell(replica, pvalue, config.acceptor(replica).is_some(), out);
        }
        let latest = self.schedule.latest();
        if latest.epoch != config.epoch {
            let new = latest.members.replicas.iter();
            for &replica in new.filter(|id| !config.members.replicas.contains(id)) {
                tell(replica, pvalue, false, out);
            }
        }
        *proposal = Proposal::Decided(pvalue.clone());
        self.announced = self.announced.max(slot.next());
    }

    /// The configurations of all slots below `until` are known.
    #[inline]
    fn know(&mut self, until: Slot, out: &mut Outbox) {
        if until <= self.known {
            return;
        }
        let mut slot = core::mem::replace(&mut self.known, until).max(self.proposals.base());
        while slot < until.min(self.proposals.end()) {
            if let Some(Proposal::Waiting(decree)) = self.proposals.get(slot) {
                self.command(slot, decree.clone(), out);
            }
            slot = slot.next();
        }
    }

    /// Everything below `slot` has been performed by enough replicas.
    #[inline]
    fn forget(&mut self, slot: Slot) {
        self.proposals.advance(slot);
        let base = self.proposals.base();
        self.phases.retain(|phase| phase.end.is_none_or(|end| end > base));
        if self.leading && self.phases.is_empty() {
            self.resign(); // No configuration of a slot that is open wants this leader.
        }
    }

    /// Everything below `slot` is durable at enough replicas.
    fn collect(&mut self, slot: Slot) {
        if slot > self.collected {
            self.collected = slot;
            self.weigh_reports();
        }
    }

    /// Decides from the replicas' reports which slots need no more commanding. What others have
    /// performed they may lose again, and a slot that was forgotten cannot be commanded once more
    /// in this ballot (C1); so it has to be durable there, or performed on this node.
    fn weigh_reports(&mut self) {
        let config = self.schedule.latest();
        self.performed = self.reports.reached(config, |progress| progress.slot_out);
        let durable = self.reports.reached(config, |progress| progress.durable);
        self.collected = self.collected.max(durable);
        self.forget(self.collected);
        drop(self.schedule.forget(self.collected));
    }
}

/// A replica whose node was asked to accept the pvalue finds the decree in its acceptor.
#[inline]
fn tell(replica: NodeId, pvalue: &PValue, accepts: bool, out: &mut Outbox) {
    let PValue { ballot, slot, decree } = pvalue;
    let decree = (!accepts).then(|| decree.clone());
    out.send(replica, Message::Decision { slot: *slot, ballot: *ballot, decree });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        effect::Effect,
        reconfig::{Members, Reconfiguration},
    };

    const ME: NodeId = NodeId(1);
    const ACCEPTOR: NodeId = NodeId(2);

    fn members(acceptor: NodeId) -> Members {
        Members::new([ME], [ME], [acceptor]).unwrap()
    }

    /// A leader that has asked to be adopted.
    fn campaigning(schedule: Schedule) -> (Leader, Outbox) {
        let mut out = Outbox::new(ME);
        let mut leader = Leader::new(ME, 1, Ballot::BOTTOM, schedule);
        leader.campaign(&mut out);
        (leader, out)
    }

    /// The acceptor adopts its ballot, and has accepted this.
    fn adopted(leader: &mut Leader, accepted: Vec<PValue>, out: &mut Outbox) {
        adopted_by(leader, (ACCEPTOR, Slot::FIRST), accepted, out);
    }

    /// This one does, of the configuration that governs the slots from `first` on.
    fn adopted_by(
        leader: &mut Leader,
        (acceptor, first): (NodeId, Slot),
        accepted: Vec<PValue>,
        out: &mut Outbox,
    ) {
        let (asked, gc_slot) = (leader.ballot_num(), Slot::FIRST);
        let p1b = P1b { asked, held: asked, first, rest: None, gc_slot, accepted };
        assert_eq!(leader.p1b(acceptor, p1b, out), Some(Event::Adopted));
    }

    /// The slots from the fifth on are of epoch 1, with another acceptor.
    fn replaced() -> Schedule {
        let mut schedule = Schedule::new(members(ACCEPTOR), 4);
        let to = Reconfiguration { replaces: 0, members: members(NodeId(3)) };
        assert_eq!(schedule.reconfigure(Slot(1), &to), Some(Slot(5)));
        schedule
    }

    fn propose(leader: &mut Leader, slot: u64, epoch: u64, out: &mut Outbox) {
        let (slot, decree) = (Slot(slot), Decree::noop());
        leader.propose(ME, Propose { slot, decree, epoch, replica: None }, None, out);
    }

    /// The slots that acceptors are asked for.
    fn asked(out: &mut Outbox) -> Vec<u64> {
        let asks = |effect| {
            let Effect::Send(_, Message::P2a(pvalue)) = effect else { return None };
            Some(pvalue.slot.0)
        };
        out.drain().filter_map(asks).collect()
    }

    #[test]
    fn a_report_counts_for_the_slots_that_its_configuration_governs() {
        let (mut leader, mut out) = campaigning(replaced());
        let ballot = Ballot { round: 1, leader: ME, incarnation: 0 };
        let accepted =
            [2, 5].map(|slot| PValue { ballot, slot: Slot(slot), decree: Decree::noop() });
        adopted(&mut leader, accepted.into(), &mut out);
        assert_eq!(asked(&mut out), [1, 2], "a hole, and what was accepted");
    }

    #[test]
    fn not_all_commanders_ask_again_at_once() {
        const MORE: u64 = 36;
        const SLOTS: u64 = 64 + MORE;
        let (mut leader, mut out) = campaigning(Schedule::new(members(ACCEPTOR), 2 * SLOTS));
        leader.limits.resend = 64;
        adopted(&mut leader, Vec::new(), &mut out);
        (1..=SLOTS).for_each(|slot| propose(&mut leader, slot, 0, &mut out));
        assert_eq!(asked(&mut out), (1..=SLOTS).collect::<Vec<_>>());
        leader.resend(&mut out);
        assert_eq!(asked(&mut out), [], "they have not been asked for a whole round");
        leader.resend(&mut out);
        assert_eq!(asked(&mut out), (1..=SLOTS - MORE).collect::<Vec<_>>());
        leader.resend(&mut out);
        assert_eq!(asked(&mut out), (SLOTS - MORE + 1..=SLOTS).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_proposed_before_phase_1_is_over_fills_no_hole_below_it() {
        let (mut leader, mut out) = campaigning(Schedule::new(members(ACCEPTOR), 4));
        propose(&mut leader, 2, 0, &mut out);
        assert_eq!(asked(&mut out), []);
        adopted(&mut leader, Vec::new(), &mut out);
        assert_eq!(asked(&mut out), [2], "slot 1 is free for whoever proposes for it");
    }

    #[test]
    fn a_higher_ballot_preempts_whichever_slot_it_was_met_in() {
        let (mut leader, mut out) = campaigning(Schedule::new(members(ACCEPTOR), 4));
        let asked = leader.ballot_num();
        let p2b = |held| P2b { slot: Slot(9), asked, vote: Vote::Preempted(held) };
        assert_eq!(leader.p2b(ACCEPTOR, p2b(asked), &mut out), None);
        let held = Ballot { round: asked.round + 1, ..asked };
        let event = leader.p2b(ACCEPTOR, p2b(held), &mut out);
        assert_eq!((event, leader.leading()), (Some(Event::Preempted(held)), false));
    }

    #[test]
    fn a_configuration_is_led_until_its_last_slot_is_forgotten() {
        let (mut leader, mut out) = campaigning(replaced());
        adopted(&mut leader, Vec::new(), &mut out);
        adopted_by(&mut leader, (NodeId(3), Slot(5)), Vec::new(), &mut out);
        let mut performed = |slot_out, open, epoch| {
            let (slot_out, durable) = (Slot(slot_out), Slot::FIRST);
            leader.slot_out(ME, Progress { slot_out, durable, epoch: 1 }, &mut out);
            propose(&mut leader, open, epoch, &mut out);
            assert_eq!(asked(&mut out), [open]);
            leader.phases.iter().map(|phase| phase.first.0).collect::<Vec<_>>()
        };
        assert_eq!(performed(4, 4, 0), [1, 5]);
        assert_eq!(performed(5, 5, 1), [5]);
    }

    #[test]
    fn reports_are_void_once_somebody_proposes_for_what_was_performed_under_other_leaders() {
        let members = |leader| Members::new([NodeId(8)], [leader], [ACCEPTOR]).unwrap();
        let mut schedule = Schedule::new(members(NodeId(7)), 4);
        let to = Reconfiguration { replaces: 0, members: members(ME) };
        assert_eq!(schedule.reconfigure(Slot(1), &to), Some(Slot(5)));
        let (mut leader, mut out) = campaigning(schedule);
        let report = Progress { slot_out: Slot(3), durable: Slot::FIRST, epoch: 1 };
        leader.slot_out(NodeId(8), report, &mut out);
        let mut performed_after = |slot| {
            propose(&mut leader, slot, 0, &mut out);
            leader.performed
        };
        assert_eq!(performed_after(3), Slot(3), "that one was not");
        assert_eq!(performed_after(2), Slot::FIRST);
    }

    #[test]
    fn a_hole_is_filled_when_it_has_been_there_for_a_whole_round() {
        let (mut leader, mut out) = campaigning(Schedule::new(members(ACCEPTOR), 4));
        adopted(&mut leader, Vec::new(), &mut out);
        propose(&mut leader, 3, 0, &mut out);
        assert_eq!(asked(&mut out), [3]);
        leader.resend(&mut out);
        assert_eq!(asked(&mut out), [], "its proposal may be on its way");
        leader.resend(&mut out);
        assert_eq!(asked(&mut out), [1, 2, 3]);
    }
}
