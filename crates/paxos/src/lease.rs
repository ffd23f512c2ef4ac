//! Leases (section 4.5): a leader that holds one knows what a read must not miss, and asks nobody.
//! Off by default.
//!
//! An acceptor that holds a leader's ballot grants it a lease: for so long, it adopts no ballot of
//! another leader. While acceptors that every quorum of phase 1 needs have granted one, no other
//! leader can get anything chosen; so what has been decided is what this leader inherited in
//! phase 1 and what it has announced since. Everything up to there performed, a replica may read.
//!
//! The paper gives leases to replicas, which then have to take part in every update. Here the
//! leader has them, and any replica may ask it. What else the paper leaves open:
//! * The holder counts from before it asked, the acceptor from when it was asked, each on its own
//!   clock, and the holder's time is shorter by as much as the clocks may disagree (E49).
//! * An acceptor forgets in a crash what it has granted. So in each life but its first it adopts no
//!   ballot of another leader before the longest lease is over. A grant waits for the disk like a
//!   vote: then the ballot that it was granted to is the one that is held after the crash.
//! * A lease is about acceptors, not about who answers clients first: hence "announced" (E50).
//! * Before it has inherited everything, a leader knows nothing (E51).
//! * Only the acceptors of one configuration have granted it. If another one governs the slots by
//!   the time of the read, a quorum is asked (E47).
//!
//! Unlike everything else in this crate, leases rely on clocks for safety. Without leases, nothing
//! here does anything.

use alloc::{collections::VecDeque, vec::Vec};

use crate::{
    acceptor::Acceptor,
    leader::Leader,
    liveness::{Nanos, Time, nanos},
    message::ReadPoint,
    reconfig::Config,
    types::{Ballot, NodeId, Slot},
};

/// How reads may rely on clocks.
///
/// Let the rate of each node's clock be off by at most ρ = `drift_ppm` / 1,000,000. An acceptor
/// that counts δ = `length` from when it was asked waits at least δ/(1+ρ). The leader, which
/// counts from before it asked, uses the lease for δ·(1−ρ)/(1+ρ) on its clock, which lasts at
/// most δ/(1+ρ): it ends before any acceptor's. With a length of 100 ms and 500 ppm it uses
/// 99.9 ms of each lease, less the time that the answers take.
///
/// The clock must go on while the machine sleeps (on Linux, `CLOCK_BOOTTIME`), and it must not be
/// set (no wall clock). The owner reads it *after* an input has arrived, as
/// [`effect`](crate::effect) says: a process may pause between any two instructions. If a virtual
/// machine can be resumed from an image with its clock stopped in between, leave leases off.
///
/// After a leader's death nobody can take over until its last lease is over. With a length of at
/// most [`Timing::patience_min`](crate::Timing::patience_min), that is over by the time that the
/// others run out of patience; where [`Node::lost`](crate::Node::lost) would let them take over
/// sooner, they wait for the rest of the length, and at most one round of asking again. With a
/// length of five heartbeats the leader outlives the loss of some of its questions.
///
/// Nodes may differ in the length: what counts for a lease is the shorter one of the leader's and
/// of each acceptor's. A node that is started with a shorter length than before, or without
/// leases, must have been down for the old length, for its earlier life may have granted so much.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lease {
    /// For how long acceptors keep other leaders out: δ.
    pub length: Time,
    /// By how much the rate of a clock may be off, in millionths: ρ. Oscillators of computers are
    /// off by less than 200; a clock that is being steered to the time of day, by up to 500 more.
    pub drift_ppm: u32,
}

impl Lease {
    /// How long a leader may use a lease, from before it asks on, by its own clock.
    #[must_use]
    pub fn usable(self) -> Time {
        Time::from_nanos(usable(nanos(self.length), self.drift_ppm))
    }
}

/// δ·(1−ρ)/(1+ρ), rounded down.
fn usable(length: Nanos, drift_ppm: u32) -> Nanos {
    const ONE: u128 = 1_000_000;
    let drift = u128::from(drift_ppm);
    let usable = u128::from(length) * ONE.saturating_sub(drift) / (ONE + drift);
    Nanos::try_from(usable).unwrap_or(0)
}

/// What the acceptor on this node has granted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Grants {
    /// The longest lease that is granted here; 0 if none is.
    longest: Nanos,
    /// No other leader's ballot is adopted before this time. The later of the two below.
    closed: Nanos,
    /// Until when the lease lasts.
    until: Nanos,
    /// Until when the leases of earlier lives may last; the end of time if this life has not begun.
    earlier: Nanos,
    /// The ballot that asked last, and in which round.
    last: (Ballot, u64),
}

impl Grants {
    /// `first`: this node has never run before.
    pub(crate) fn new(lease: Option<Lease>, first: bool) -> Self {
        let longest = lease.map_or(0, |lease| nanos(lease.length));
        let earlier = if first || longest == 0 { 0 } else { Nanos::MAX };
        Self { longest, closed: earlier, until: 0, earlier, last: (Ballot::BOTTOM, 0) }
    }

    /// The first input of this life, at the latest: what earlier ones granted lasts no longer than
    /// from now.
    pub(crate) fn begin(&mut self, now: Nanos) {
        if self.earlier == Nanos::MAX {
            self.earlier = now.saturating_add(self.longest);
            self.closed = self.earlier.max(self.until);
        }
    }

    /// Whether the acceptor must not adopt a ballot.
    #[inline]
    pub(crate) fn bar(&mut self, now: Nanos, ballot: Ballot, acceptor: &Acceptor) -> bool {
        now < self.closed && self.bar_now(now, ballot, acceptor.ballot_num())
    }

    #[cold]
    fn bar_now(&mut self, now: Nanos, ballot: Ballot, held: Ballot) -> bool {
        self.begin(now);
        // A leader that uses a higher ballot has given up its lower ones with their leases.
        now < self.closed && ballot > held && ballot.leader != held.leader && held > Ballot::BOTTOM
    }

    /// The leader of `ballot` asks for a lease. Returns for how long it is granted.
    pub(crate) fn grant(
        &mut self,
        now: Nanos,
        (ballot, round): (Ballot, u64),
        length: Nanos,
        held: Ballot,
    ) -> Option<Nanos> {
        self.begin(now);
        if ballot != held || self.longest == 0 || round <= self.last_round(ballot) {
            return None;
        }
        self.last = (ballot, round);
        let length = length.min(self.longest);
        self.until = self.until.max(now.saturating_add(length));
        self.closed = self.until.max(self.earlier);
        Some(length)
    }

    /// The leader of `ballot` has given up what it asked for up to `round`; it may have asked again
    /// since, and been granted that.
    pub(crate) fn release(&mut self, ballot: Ballot, round: u64, held: Ballot) {
        if ballot == held && round >= self.last_round(ballot) {
            self.last = (ballot, round);
            self.until = 0;
            self.closed = self.earlier;
        }
    }

    fn last_round(&self, ballot: Ballot) -> u64 {
        if self.last.0 == ballot { self.last.1 } else { 0 }
    }
}

/// The lease that the leader on this node holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Held {
    lease: Option<Lease>,
    /// The ballot that everything here is about.
    ballot: Ballot,
    /// Rounds of questions, and the time before each.
    asked: VecDeque<(u64, Nanos)>,
    /// Until when each acceptor has granted it, as far as it may be used here.
    granted: Vec<(NodeId, Nanos)>,
    /// It asks for none before this time: it wants to be replaced.
    resumes: Nanos,
}

impl Held {
    pub(crate) fn new(lease: Option<Lease>) -> Self {
        let (asked, granted) = (VecDeque::new(), Vec::new());
        Self { lease, ballot: Ballot::BOTTOM, asked, granted, resumes: 0 }
    }

    pub(crate) fn wanted(&self) -> bool {
        self.lease.is_some()
    }

    /// Begins a round of questions, `now` being before any of them is sent. Returns what to ask
    /// for.
    pub(crate) fn ask(
        &mut self,
        now: Nanos,
        (ballot, round): (Ballot, u64),
        config: &Config,
    ) -> Option<Nanos> {
        let length = nanos(self.lease?.length);
        if now < self.resumes {
            return None;
        }
        if ballot != self.ballot {
            self.give_up(0);
            self.ballot = ballot;
        }
        self.asked.retain(|(_, at)| now - at < length);
        self.granted.retain(|(acceptor, _)| config.acceptor(*acceptor).is_some());
        self.asked.push_back((round, now));
        Some(length)
    }

    /// An acceptor has granted what it was asked for in `round`.
    pub(crate) fn grant(
        &mut self,
        from: NodeId,
        (ballot, round): (Ballot, u64),
        length: Nanos,
        config: &Config,
    ) {
        let Some(lease) = self.lease.filter(|_| ballot == self.ballot) else { return };
        let Some((_, asked)) = self.asked.iter().find(|(asked, _)| *asked == round) else { return };
        if config.acceptor(from).is_none() {
            return;
        }
        let length = length.min(nanos(lease.length));
        let until = asked.saturating_add(usable(length, lease.drift_ppm));
        match self.granted.iter_mut().find(|(acceptor, _)| *acceptor == from) {
            Some((_, latest)) => *latest = until.max(*latest),
            None => self.granted.push((from, until)),
        }
    }

    /// Whether no other leader can get anything chosen now, in the slots of `config`: acceptors
    /// have granted it that meet every quorum of phase 1 (E52).
    pub(crate) fn holds(&self, now: Nanos, ballot: Ballot, config: &Config) -> bool {
        let granted = |(acceptor, until): &&(NodeId, Nanos)| {
            now < *until && config.acceptor(*acceptor).is_some()
        };
        ballot == self.ballot
            && self.granted.iter().filter(granted).count() >= config.members.quorums.phase2 as usize
    }

    /// Holds nothing from now on, and asks for nothing until `resumes`.
    pub(crate) fn give_up(&mut self, resumes: Nanos) {
        self.asked.clear();
        self.granted.clear();
        self.resumes = resumes;
    }
}

impl Leader {
    /// What a read must not miss, if this leader holds a lease. `None` while there is something
    /// that it has not inherited (E51).
    pub(crate) fn read_point(&self) -> Option<ReadPoint> {
        let (highest, epoch) = (Slot(self.announced.0 - 1), self.config().epoch);
        (self.active() && self.may_lead()).then_some(ReadPoint { highest, epoch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        effect::Record,
        reconfig::{Members, Schedule},
    };

    const LEASE: Lease = Lease { length: Time::from_nanos(100), drift_ppm: 0 };

    fn ballot(round: u64, leader: u32) -> Ballot {
        Ballot { round, leader: NodeId(leader), incarnation: 1 }
    }

    fn three() -> Schedule {
        let all = [NodeId(1), NodeId(2), NodeId(3)];
        Schedule::new(Members::new(all, all, all).unwrap(), 1)
    }

    #[test]
    fn questions_are_forgotten_when_nothing_can_come_of_them() {
        let schedule = three();
        let mut held = Held::new(Some(LEASE));
        for (round, now) in (1..).zip([5, 60, 104, 105, 204]) {
            assert_eq!(held.ask(now, (ballot(1, 1), round), schedule.latest()), Some(100));
        }
        assert_eq!(held.asked, [(4, 105), (5, 204)]);
    }

    #[test]
    fn a_lease_is_held_from_the_question_on_and_not_while_it_is_given_up() {
        let schedule = three();
        let config = schedule.latest();
        let mut held = Held::new(Some(LEASE));
        held.give_up(50);
        assert_eq!(held.ask(49, (ballot(1, 1), 1), config), None);
        assert_eq!(held.ask(50, (ballot(1, 1), 2), config), Some(100));
        held.grant(NodeId(2), (ballot(1, 1), 2), 100, config);
        held.grant(NodeId(2), (ballot(1, 1), 2), 100, config);
        held.grant(NodeId(9), (ballot(1, 1), 2), 100, config);
        held.grant(NodeId(3), (ballot(1, 1), 1), 100, config);
        held.grant(NodeId(3), (ballot(1, 2), 2), 100, config);
        assert!(!held.holds(60, ballot(1, 1), config), "one of three has granted it");
        held.grant(NodeId(3), (ballot(1, 1), 2), 90, config);
        let holds = |now| held.holds(now, ballot(1, 1), config);
        assert_eq!([holds(60), holds(139), holds(140)], [true, true, false]);
        assert!(!held.holds(60, ballot(2, 1), config));
    }

    #[test]
    fn a_lease_ends_with_its_time_or_when_its_own_holder_gives_it_back() {
        let mut acceptor = Acceptor::default();
        acceptor.replay(Record::Adopted(ballot(1, 1)));
        let granted = || {
            let mut grants = Grants::new(Some(LEASE), true);
            let granted = grants.grant(5, (ballot(1, 1), 3), 200, ballot(1, 1));
            assert_eq!(granted, Some(100), "the acceptor's own limit counts");
            grants
        };
        let bars = |grants: &mut Grants, now| grants.bar(now, ballot(2, 2), &acceptor);
        assert_eq!([104, 105].map(|now| bars(&mut granted(), now)), [true, false]);
        // An old ballot's, a newer one's that is not held here, and one that was overtaken.
        for (of, round, free) in [
            (ballot(0, 1), 3, false),
            (ballot(2, 2), 3, false),
            (ballot(1, 1), 2, false),
            (ballot(1, 1), 3, true),
            (ballot(1, 1), 4, true),
        ] {
            let mut grants = granted();
            grants.release(of, round, ballot(1, 1));
            assert_eq!(bars(&mut grants, 50), !free, "{of} {round}");
            let mut again = |round| grants.grant(50, (ballot(1, 1), round), 100, ballot(1, 1));
            assert_eq!([again(3), again(5)], [None, Some(100)], "a question counts once");
        }
    }
}
