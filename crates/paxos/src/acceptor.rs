//! The acceptor: the memory of Paxos (section 2.2, Fig. 4).
//!
//! An acceptor answers scouts (p1a) and commanders (p2a), and starts nothing by itself. It never
//! lowers its ballot (A1), accepts only in the ballot that it holds (A2), and forgets nothing
//! that it accepted (A3), except as sections 4.1 and 4.2 allow: of several pvalues for one slot
//! only the latest is kept, and slots that enough replicas hold durably are collected.
//!
//! What differs from the paper:
//! * An answer is [`Backed`] by the record that must be on disk before it leaves (E12).
//! * A p2a with a higher ballot is adopted and accepted in one step, as if the p1a that got lost
//!   had come first (E5). Accepting without adopting would be unsafe: a lower ballot could
//!   overwrite the pvalue later.
//! * A refusal carries no pvalues.
//! * A p1b comes in parts, and starts at the slot that the leader asks for (E36, E37).
//! * A pvalue that the disk has lost, but for its ballot and slot, is no reason to stop voting. It
//!   must not be reported as if nothing had been accepted, so a report ends before such a slot,
//!   and one that would begin there is not made.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{
    effect::{Backed, Record},
    invariant,
    message::{P1b, P2b, Vote},
    ring::Ring,
    setup::Limits,
    types::{Ballot, Decree, PValue, Slot},
};

/// The paper's acceptor α.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Acceptor {
    /// The ballot adopted last.
    ballot_num: Ballot,
    /// The latest pvalue of each slot that has not been collected.
    accepted: Ring<(Ballot, Decree)>,
    /// The highest slot that was ever accepted or collected.
    highest: Slot,
    /// The slots of which only the ballot is known in which something was accepted last. They are
    /// neither accepted above nor collected.
    lost: BTreeMap<Slot, Ballot>,
    pub(crate) limits: Limits,
}

impl Default for Acceptor {
    fn default() -> Self {
        Self {
            ballot_num: Ballot::BOTTOM,
            accepted: Ring::new(Slot::FIRST),
            highest: Slot(Slot::FIRST.0 - 1),
            lost: BTreeMap::new(),
            limits: Limits::default(),
        }
    }
}

impl Acceptor {
    /// Case p1a: adopt `ballot` if it is higher, and report what was accepted from `first` on.
    /// `None` if the disk has lost what was accepted there: there is nothing true to say.
    pub fn p1a(&mut self, ballot: Ballot, first: Slot) -> Option<Backed<P1b>> {
        if ballot >= self.ballot_num && self.lost.contains_key(&first) {
            return None;
        }
        let record = (ballot > self.ballot_num).then(|| self.adopt(ballot));
        let adopted = ballot == self.ballot_num;
        let (accepted, rest) = if adopted { self.report(first) } else { (Vec::new(), None) };
        let gc_slot = self.gc_slot();
        let answer = P1b { asked: ballot, held: self.ballot_num, first, rest, gc_slot, accepted };
        Some(Backed { record, answer })
    }

    /// Case p2a: accept `pvalue` unless a higher ballot is held.
    #[inline]
    pub fn p2a(&mut self, pvalue: PValue) -> Backed<P2b> {
        let PValue { slot, ballot: asked, .. } = pvalue;
        let answer = |vote| P2b { slot, asked, vote };
        if !self.accepted.has_room(slot) {
            return Backed { record: None, answer: answer(Vote::Collected(self.gc_slot())) };
        }
        if asked < self.ballot_num {
            return Backed { record: None, answer: answer(Vote::Preempted(self.ballot_num)) };
        }
        Backed { record: self.accept(pvalue), answer: answer(Vote::Accepted) }
    }

    /// Forgets everything below `slot`, which enough replicas hold durably (section 4.2).
    pub fn collect(&mut self, slot: Slot) -> Option<Record> {
        if slot <= self.gc_slot() {
            return None;
        }
        self.accepted.advance(slot);
        self.lost = self.lost.split_off(&slot);
        self.highest = self.highest.max(Slot(slot.0 - 1));
        Some(Record::Collected(slot))
    }

    /// Replays a record of an earlier life, through the transitions that made it.
    pub fn replay(&mut self, record: Record) {
        match record {
            // Older than a checkpoint that the log begins with: contained in it.
            Record::Adopted(ballot) if ballot <= self.ballot_num => {}
            Record::Accepted(pvalue) if !self.wants(&pvalue) => {}
            Record::Adopted(ballot) => drop(self.adopt(ballot)),
            Record::Accepted(pvalue) => drop(self.accept(pvalue)),
            Record::Collected(slot) => drop(self.collect(slot)),
            Record::Lost { ballot, slot } => self.lose(ballot, slot),
            Record::Started(_)
            | Record::Campaigned(_)
            | Record::Learned { .. }
            | Record::Performed { .. } => {}
        }
    }

    /// The fewest records from which this acceptor can be replayed: what a log may be
    /// rewritten to once the slots below [`Acceptor::gc_slot`] have been collected.
    pub fn checkpoint(&self) -> impl Iterator<Item = Record> {
        let collected = (self.gc_slot() > Slot::FIRST).then(|| Record::Collected(self.gc_slot()));
        let mut pvalues: Vec<PValue> = self.pvalues(self.gc_slot()).collect();
        pvalues.sort_by_key(|pvalue| pvalue.ballot); // Replayed ballots must not fall (A1).
        let held = pvalues.last().map_or(Ballot::BOTTOM, |pvalue| pvalue.ballot);
        let adopted = (self.ballot_num > held).then_some(Record::Adopted(self.ballot_num));
        let lost = self.lost.iter().map(|(&slot, &ballot)| Record::Lost { ballot, slot });
        // A lost pvalue's ballot is adopted, so it comes after all that was accepted in lower ones.
        let accepted = pvalues.into_iter().map(Record::Accepted);
        collected.into_iter().chain(accepted).chain(adopted).chain(lost)
    }

    /// The slots of which the disk has lost what was accepted, in ascending order. Until they are
    /// accepted anew or collected, no scout that asks about them can count this acceptor: a
    /// snapshot, once it is on disk, lets them be collected.
    pub fn lost(&self) -> impl Iterator<Item = Slot> {
        self.lost.keys().copied()
    }

    /// The ballot adopted last.
    #[must_use]
    pub fn ballot_num(&self) -> Ballot {
        self.ballot_num
    }

    /// Everything below this slot has been collected.
    #[inline]
    #[must_use]
    pub fn gc_slot(&self) -> Slot {
        self.accepted.base()
    }

    /// No slot above this one was ever accepted or collected here; for reads (E42).
    #[must_use]
    pub fn highest(&self) -> Slot {
        self.highest
    }

    /// The decree accepted in `slot` under `ballot`, if that is the latest one there.
    #[inline]
    #[must_use]
    pub fn accepted(&self, slot: Slot, ballot: Ballot) -> Option<&Decree> {
        let (held, decree) = self.accepted.get(slot)?;
        (*held == ballot).then_some(decree)
    }

    /// What was accepted last in `slot`, and in which ballot.
    #[inline]
    pub(crate) fn latest(&self, slot: Slot) -> Option<&(Ballot, Decree)> {
        self.accepted.get(slot)
    }

    /// What is accepted in each of the slots from `first` on, and in which ballot.
    pub(crate) fn held(&self, first: Slot) -> impl Iterator<Item = (Slot, &(Ballot, Decree))> {
        self.accepted.iter_from(first)
    }

    fn wants(&self, pvalue: &PValue) -> bool {
        pvalue.ballot >= self.ballot_num && self.accepted.has_room(pvalue.slot)
    }

    fn pvalues(&self, from: Slot) -> impl Iterator<Item = PValue> {
        self.accepted.iter_from(from).map(|(slot, (ballot, decree))| PValue {
            ballot: *ballot,
            slot,
            decree: decree.clone(),
        })
    }

    /// The pvalues from `first` on, as many as one message may carry, and the slot of the rest. A
    /// slot that is lost is never passed over: the rest begins there.
    fn report(&self, first: Slot) -> (Vec<PValue>, Option<Slot>) {
        let lost = self.lost.range(first..).next().map(|(slot, _)| *slot);
        let mut weight = 0;
        let mut report = Vec::new();
        for pvalue in self.pvalues(first).take_while(|p| lost.is_none_or(|lost| p.slot < lost)) {
            weight += pvalue.decree.weight();
            let full = report.len() >= self.limits.pvalues || weight > self.limits.message_bytes;
            if full && !report.is_empty() {
                return (report, Some(pvalue.slot));
            }
            report.push(pvalue);
        }
        (report, lost)
    }

    fn adopt(&mut self, ballot: Ballot) -> Record {
        invariant!(A1, ballot > self.ballot_num, "adopting {ballot}, holding {}", self.ballot_num);
        self.ballot_num = ballot;
        Record::Adopted(ballot)
    }

    /// A pvalue was accepted of which nothing else is left, unless a later one replaced it.
    fn lose(&mut self, ballot: Ballot, slot: Slot) {
        self.ballot_num = self.ballot_num.max(ballot);
        self.highest = self.highest.max(slot);
        let later = self.accepted.get(slot).is_some_and(|(held, _)| *held >= ballot);
        if later || slot < self.gc_slot() {
            return;
        }
        self.accepted.remove(slot);
        let known = self.lost.entry(slot).or_insert(ballot);
        *known = ballot.max(*known);
    }

    /// `None` if it has been accepted before.
    #[inline]
    fn accept(&mut self, pvalue: PValue) -> Option<Record> {
        let PValue { ballot, slot, decree } = &pvalue;
        invariant!(A1, *ballot >= self.ballot_num, "accepting {pvalue} below {}", self.ballot_num);
        self.ballot_num = *ballot;
        if let Some((held, kept)) = self.accepted.get(*slot) {
            invariant!(A3, held <= ballot, "{pvalue} would overwrite ballot {held}");
            if held == ballot {
                invariant!(A4, kept == decree, "two decrees in one ballot and slot: {pvalue}");
                return None; // Repeated: answered again, not persisted again.
            }
        }
        invariant!(A2, *ballot == self.ballot_num, "accepting {pvalue}");
        self.accepted.insert(*slot, (*ballot, decree.clone()));
        if !self.lost.is_empty() {
            self.lost.remove(slot);
        }
        self.highest = self.highest.max(*slot);
        Some(Record::Accepted(pvalue))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::types::NodeId;

    fn ballot(round: u64) -> Ballot {
        Ballot { round, leader: NodeId(1), incarnation: 1 }
    }

    /// What an acceptor says of slot 3 after a restart from these records.
    fn says(records: impl IntoIterator<Item = Record>) -> Option<Vec<Ballot>> {
        let mut acceptor = Acceptor::default();
        records.into_iter().for_each(|record| acceptor.replay(record));
        let report = acceptor.p1a(ballot(9), Slot(3))?.answer.accepted;
        Some(report.into_iter().map(|pvalue| pvalue.ballot).collect())
    }

    #[test]
    fn a_vote_that_is_lost_counts_against_earlier_ones_and_not_against_later_ones() {
        let (slot, decree) = (Slot(3), Decree::noop());
        let accepted =
            |n| Record::Accepted(PValue { ballot: ballot(n), slot, decree: decree.clone() });
        let lost = |n| Record::Lost { ballot: ballot(n), slot };
        assert_eq!(says([accepted(1), lost(2)]), None, "what is left is not what it accepted last");
        assert_eq!(says([lost(1), accepted(2)]), Some(vec![ballot(2)]));
        assert_eq!(says([accepted(2), lost(1)]), Some(vec![ballot(2)]));
        assert_eq!(
            says([accepted(2), lost(2)]),
            Some(vec![ballot(2)]),
            "a second copy of it is there"
        );
        assert_eq!(says([lost(1), lost(2), accepted(2)]), Some(vec![ballot(2)]));
        assert_eq!(says([Record::Collected(Slot(4)), lost(1)]), Some(vec![]));
    }
}
