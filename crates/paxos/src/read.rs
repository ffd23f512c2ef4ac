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

use alloc::{sync::Arc, vec::Vec};

use crate::{
    effect::{Effect, Outbox},
    message::Message,
    quorum::WaitFor,
    reconfig::{Config, Schedule},
    types::{NodeId, Slot},
};

/// Most reads that wait at one time.
const READS_MAX: usize = 1 << 16;

/// The reads of one replica.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Reads {
    /// Reads that no round covers.
    queued: Vec<u64>,
    round: Option<Round>,
    /// The number of the last round; never used twice, whatever the life of this process.
    number: u64,
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
        Self { number: u64::from(incarnation) << 32, ..Self::default() }
    }

    /// A read that comes after everything that was answered so far. False if there are too many.
    pub(crate) fn queue(&mut self, id: u64) -> bool {
        let asking = self.round.as_ref().map_or(0, |round| round.reads.len());
        let confirmed: usize = self.waiting.iter().map(|confirmed| confirmed.reads.len()).sum();
        let room = self.queued.len() + asking + confirmed < READS_MAX;
        if room {
            self.queued.push(id);
        }
        room
    }

    /// Whether no read waits for a round.
    #[inline]
    pub(crate) fn idle(&self) -> bool {
        self.queued.is_empty()
    }

    /// Starts a round for the reads that wait, unless one is under way.
    #[inline]
    pub(crate) fn start(&mut self, config: &Arc<Config>, out: &mut Outbox) {
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
        let Some(round) = self.round.as_mut() else { return };
        if round.config.epoch != config.epoch {
            let reads = core::mem::take(&mut round.reads);
            self.queued.extend(reads);
            self.round = None;
            return self.start(config, out);
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
