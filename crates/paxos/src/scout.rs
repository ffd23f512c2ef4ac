//! The scout: phase 1 of one ballot (section 2.4, Fig. 6b).
//!
//! What differs from the paper: a scout is a value that its leader owns, not a process; it covers
//! the slots from `first` on that one configuration governs (E26); it keeps only the highest
//! pvalue of each slot, which is all that pmax wants (section 4.1); an answer in several parts
//! counts when its last part is in (E37); it asks again those who have not answered (E1).

use alloc::{collections::BTreeMap, sync::Arc, vec, vec::Vec};

use crate::{
    effect::Outbox,
    message::{Message, P1b},
    quorum::{Verdict, WaitFor},
    reconfig::Config,
    ring::SPAN_MAX,
    types::{Ballot, Decree, NodeId, PValue, Slot},
};

/// The paper's pmax: for each slot the decree accepted in the highest ballot.
pub(crate) type PMax = BTreeMap<Slot, (Ballot, Decree)>;

/// What a quorum reported: the paper's *adopted*.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Adopted {
    pub(crate) pmax: PMax,
    /// Slots below this one have been collected by some acceptor: nothing may be proposed there,
    /// for silence about them means nothing (E40).
    pub(crate) gc_slot: Slot,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Scout {
    ballot: Ballot,
    pub(crate) config: Arc<Config>,
    /// The first slot that it does not cover.
    end: Option<Slot>,
    pub(crate) waitfor: WaitFor,
    /// By acceptor: the slot from which its report is still to come.
    cursors: Vec<Slot>,
    adopted: Adopted,
}

impl Scout {
    /// Starts phase 1 of `ballot` for the slots from `first` up to `end`. The p1a waits for the
    /// disk: that the ballot is used must be durable first (E13).
    pub(crate) fn spawn(
        ballot: Ballot,
        (first, end): (Slot, Option<Slot>),
        config: Arc<Config>,
        out: &mut Outbox,
    ) -> Self {
        for &acceptor in &config.members.acceptors {
            out.send_when_durable(acceptor, Message::P1a { ballot, first });
        }
        let cursors = vec![first; config.members.acceptors.len()];
        let adopted = Adopted { pmax: PMax::new(), gc_slot: Slot::FIRST };
        Self { ballot, config, end, waitfor: WaitFor::default(), cursors, adopted }
    }

    /// Whether a report of `from` that begins with slot `first` is still to come. A report may go
    /// on beyond the slots that are covered, if where those end became known late.
    pub(crate) fn awaits(&self, from: NodeId, first: Slot) -> bool {
        let cursor = self.config.acceptor(from).and_then(|place| self.cursors.get(place));
        cursor == Some(&first) && !self.waitfor.has(&self.config, from)
    }

    /// Case p1b.
    pub(crate) fn p1b(&mut self, from: NodeId, p1b: P1b, out: &mut Outbox) -> Verdict<Adopted> {
        if p1b.held > self.ballot {
            return Verdict::Preempted(p1b.held);
        }
        let Some(place) = self.config.acceptor(from) else { return Verdict::Waiting };
        let absurd = |pvalue: &PValue| pvalue.slot.0.saturating_sub(p1b.gc_slot.0) >= SPAN_MAX;
        if p1b.accepted.iter().any(absurd) {
            return Verdict::Waiting; // More than an acceptor can hold.
        }
        let stale = p1b.asked != self.ballot || p1b.held != self.ballot;
        if stale || !self.awaits(from, p1b.first) {
            return Verdict::Waiting; // To an earlier scout (E6), or a part that is in (E7).
        }
        self.adopted.gc_slot = self.adopted.gc_slot.max(p1b.gc_slot);
        for pvalue in p1b.accepted {
            let highest = self.adopted.pmax.get(&pvalue.slot).map(|(ballot, _)| *ballot);
            if highest.is_none_or(|highest| pvalue.ballot > highest) {
                self.adopted.pmax.insert(pvalue.slot, (pvalue.ballot, pvalue.decree));
            }
        }
        let wanted = |rest: &Slot| *rest > p1b.first && self.end.is_none_or(|end| *rest < end);
        if let Some(rest) = p1b.rest.filter(wanted) {
            self.cursors[place] = rest;
            out.send_when_durable(from, Message::P1a { ballot: self.ballot, first: rest });
            return Verdict::Waiting;
        }
        let answered = self.waitfor.answer(&self.config, from);
        if answered < Some(self.config.members.quorums.phase1) {
            return Verdict::Waiting;
        }
        let nothing = Adopted { pmax: PMax::new(), gc_slot: Slot::FIRST };
        Verdict::Won(core::mem::replace(&mut self.adopted, nothing))
    }

    /// Asks again those who have not answered, under the same ballot (E1).
    pub(crate) fn resend(&self, out: &mut Outbox) {
        for acceptor in self.waitfor.missing(&self.config) {
            let Some(place) = self.config.acceptor(acceptor) else { continue };
            let (ballot, first) = (self.ballot, self.cursors[place]);
            out.send_when_durable(acceptor, Message::P1a { ballot, first });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        effect::Effect,
        reconfig::{Members, Schedule},
    };

    /// Trap E37: whatever lies beyond the slots that it is about.
    #[test]
    fn an_acceptor_is_asked_for_the_rest_up_to_the_end_of_the_range() {
        let one = [NodeId(1)];
        let schedule = Schedule::new(Members::new(one, one, one).unwrap(), 4);
        let ballot = Ballot { round: 1, leader: NodeId(1), incarnation: 1 };
        // From which slot on it asks again, or nothing if the acceptor counts.
        let asks = |first, rest, end| {
            let mut out = Outbox::new(NodeId(9));
            let (first, config) = (Slot(first), schedule.latest().clone());
            let mut scout = Scout::spawn(ballot, (first, Some(Slot(end))), config, &mut out);
            out.drain().for_each(drop);
            let (held, rest, gc_slot) = (ballot, Some(Slot(rest)), Slot::FIRST);
            let p1b = P1b { asked: ballot, held, first, rest, gc_slot, accepted: Vec::new() };
            let waits = scout.p1b(NodeId(1), p1b, &mut out) == Verdict::Waiting;
            let asked = out.drain().find_map(|effect| {
                let Effect::SendWhenDurable(_, Message::P1a { first, .. }) = effect else {
                    return None;
                };
                Some(first.0)
            });
            assert_eq!(waits, asked.is_some());
            asked
        };
        assert_eq!(asks(3, 8, 9), Some(8));
        assert_eq!(asks(3, 9, 9), None);
        assert_eq!(asks(3, 3, 9), None, "it has nothing to say of that, and would say so for ever");
    }
}
