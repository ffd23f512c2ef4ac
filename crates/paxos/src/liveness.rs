//! When to act (section 3): with [`lease`](crate::lease), the only module that sees time.
//!
//! Nothing here can hurt safety. It may urge a leader to campaign too early or too late; the other
//! modules answer for the consequences without ever reading a clock.
//!
//! A passive leader watches the active one and campaigns when it has been silent for too long.
//! How long that is adapts: being preempted doubles it, each chosen decree takes a little off,
//! down to a floor (the paper's AIMD).
//!
//! What differs from the paper: leaders are not pinged. An active leader sends heartbeats, but
//! only while a quorum of acceptors, disks included, answers it; a leader that cannot commit
//! falls silent and is replaced. A passive leader passes on that it hears the active one, so that
//! a neighbour who is merely cut off from that leader does not take over; and it campaigns only
//! if it can reach a quorum itself (quorum-connectedness, after Omni-Paxos, EuroSys 2023).
//!
//! Whoever knows more need not wait for silence: a leader that wants to be replaced, as its own
//! disk hangs or its time is over, asks another one to take over; and where the connection to the
//! leader broke, a little silence is enough, once.

use alloc::vec::Vec;
use core::time::Duration;

use crate::{
    lease::Lease,
    reconfig::Config,
    types::{Ballot, NodeId},
};

/// Time since the process started. Given, never read.
pub type Time = Duration;

/// The same, in the form that is cheapest to compare: it is compared for every message.
pub(crate) type Nanos = u64;

#[inline]
pub(crate) fn nanos(time: Time) -> Nanos {
    const SECOND: u64 = 1_000_000_000;
    time.as_secs().saturating_mul(SECOND).saturating_add(u64::from(time.subsec_nanos()))
}

/// How long things may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// Between two heartbeats.
    pub heartbeat: Time,
    /// Between two rounds of asking again whoever has not answered.
    pub resend: Time,
    /// The least time of silence after which a leader is replaced; at least two heartbeats.
    pub patience_min: Time,
    /// The longest time of silence after which a leader is replaced.
    pub patience_max: Time,
    /// Leases for reads, granted by acceptors to leaders. `None`: reads ask a quorum.
    pub lease: Option<Lease>,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Time::from_millis(20),
            resend: Time::from_millis(50),
            patience_min: Time::from_millis(150),
            patience_max: Time::from_secs(10),
            lease: None,
        }
    }
}

/// What it is time for.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Urges {
    /// To ask acceptors whether they are there, and to say who leads.
    pub(crate) heartbeat: bool,
    /// To ask again whoever has not answered.
    pub(crate) resend: bool,
    /// To start a new ballot.
    pub(crate) campaign: bool,
}

/// One process's sense of time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Liveness {
    heartbeat: Nanos,
    resend: Nanos,
    patience_min: Nanos,
    patience_max: Nanos,
    /// The state of the jitter: given, and stirred.
    seed: u64,
    now: Nanos,
    next_heartbeat: Nanos,
    next_resend: Nanos,
    /// The highest ballot whose leader was heard of.
    followed: Ballot,
    /// When that was, directly or through others.
    heard_at: Nanos,
    /// When that leader itself was heard.
    heard_directly: Option<Nanos>,
    /// The silence after which to campaign; grows and shrinks.
    patience: Nanos,
    /// A random part of the patience, so that not all campaign at once.
    jitter: Nanos,
    /// When acceptors answered last.
    pongs: Vec<(NodeId, Nanos)>,
    /// When the acceptor on this node answered last, or was asked first. `None` if it is not
    /// asked: the configuration has no such acceptor.
    own: Option<Nanos>,
    /// When passive leaders were heard last.
    neighbours: Vec<(NodeId, Nanos)>,
    /// The last ballot whose leader's connection broke, the silence after which that leader is
    /// replaced, and how long that goes for.
    lost: (Ballot, Nanos, Nanos),
    /// The ballot whose leader asked this one to take over, and how long that goes for.
    summons: (Ballot, Nanos),
    /// When this leader may ask another one again to take over, unless it is told to.
    next_hand_over: Nanos,
}

impl Liveness {
    /// What a chosen decree takes off the patience.
    const DECREASE: Nanos = 1_000_000;

    /// `seed` should differ between processes, and between the lives of one.
    #[must_use]
    pub fn new(timing: Timing, seed: u64) -> Self {
        let heartbeat = nanos(timing.heartbeat);
        // Who is heard once per heartbeat must not be given up in between.
        let patience_min = nanos(timing.patience_min).max(heartbeat.saturating_mul(2));
        let mut this = Self {
            heartbeat,
            resend: nanos(timing.resend),
            patience_min,
            patience_max: nanos(timing.patience_max).max(patience_min),
            seed,
            now: 0,
            next_heartbeat: 0,
            next_resend: nanos(timing.resend),
            followed: Ballot::BOTTOM,
            heard_at: 0,
            heard_directly: None,
            patience: patience_min,
            jitter: 0,
            pongs: Vec::new(),
            own: None,
            neighbours: Vec::new(),
            lost: (Ballot::BOTTOM, 0, 0),
            summons: (Ballot::BOTTOM, 0),
            next_hand_over: 0,
        };
        this.draw_jitter();
        this
    }

    /// The least time of silence after which a leader is replaced.
    pub(crate) fn patience_min(&self) -> Nanos {
        self.patience_min
    }

    /// The time of the last input.
    #[inline]
    pub(crate) fn now(&self) -> Nanos {
        self.now
    }

    /// Time has passed. It never goes back here, whatever the caller says.
    #[inline]
    pub fn pass(&mut self, now: Time) {
        self.now = self.now.max(nanos(now));
    }

    /// When to ask again what it is time for.
    #[must_use]
    pub fn deadline(&self) -> Time {
        Time::from_nanos(self.next_heartbeat.min(self.next_resend))
    }

    /// The leader of this ballot was heard, directly or through another leader.
    pub(crate) fn heard(&mut self, ballot: Ballot, directly: bool) {
        if ballot < self.followed {
            return;
        }
        if ballot != self.followed {
            self.heard_directly = None;
        }
        self.followed = ballot;
        self.heard_at = self.now;
        if directly {
            self.heard_directly = Some(self.now);
        }
    }

    /// Notes that the followed leader itself was heard once more. False if `ballot` is another.
    #[inline]
    pub(crate) fn hears_on(&mut self, ballot: Ballot) -> bool {
        let same = ballot == self.followed;
        if same {
            self.heard_at = self.now;
            self.heard_directly = Some(self.now);
        }
        same
    }

    /// Our ballot was preempted: be more patient.
    pub(crate) fn preempted(&mut self, by: Ballot) {
        self.patience = self.patience.saturating_mul(2).min(self.patience_max);
        self.draw_jitter();
        self.heard(by, false);
    }

    /// A decree was chosen in our ballot: be a little less patient.
    #[inline]
    pub(crate) fn chosen(&mut self) {
        if self.patience > self.patience_min {
            let less = self.patience.saturating_sub(Self::DECREASE);
            self.patience = less.max(self.patience_min);
        }
    }

    /// The connection to `peer` broke. If that is the leader that is followed, this need not wait
    /// for the whole patience; but not for long, and not again for the same ballot before the
    /// longest patience is over: a link that comes and goes must not bring leaders down.
    pub(crate) fn lost(&mut self, peer: NodeId) {
        let ballot = self.followed;
        let (last, _, until) = self.lost;
        let again = ballot == last && self.now < until.saturating_add(self.patience_max);
        if ballot.leader != peer || ballot == Ballot::BOTTOM || again {
            return;
        }
        // Longer than between two heartbeats: who else hears that leader goes on saying so.
        let silence = self.heartbeat + self.heartbeat / 2;
        let silence = silence.saturating_add(self.draw(silence));
        self.lost = (ballot, silence, self.now.saturating_add(self.patience_min));
        self.heard_directly = None;
    }

    /// The leader of `ballot` asks this one to take over.
    pub(crate) fn summoned(&mut self, ballot: Ballot) {
        self.summons = (ballot, self.now.saturating_add(self.patience_min));
    }

    /// An acceptor has answered a ping; it and its disk are there. `own`: it is on this node.
    pub(crate) fn pong(&mut self, from: NodeId, own: bool) {
        note(&mut self.pongs, from, self.now);
        if own {
            self.own = Some(self.now);
        }
    }

    /// A passive leader was heard.
    pub(crate) fn neighbour(&mut self, from: NodeId) {
        note(&mut self.neighbours, from, self.now);
    }

    /// The acceptors of `config` are asked whether they are there; `me`: the one on this node, if
    /// it is one of them.
    pub(crate) fn pings(&mut self, config: &Config, me: NodeId) {
        match config.acceptor(me) {
            Some(_) => drop(self.own.get_or_insert(self.now)),
            None => self.own = None,
        }
        self.neighbours.retain(|(leader, _)| config.leads(*leader));
    }

    /// Whether a quorum of the configuration's acceptors answers.
    pub(crate) fn connected(&mut self, config: &Config) -> bool {
        self.pongs.retain(|(acceptor, _)| config.acceptor(*acceptor).is_some());
        self.answering(config, None)
    }

    /// Whether the acceptor on this node, or its disk, does not answer, while a quorum of others
    /// does. Who leads then makes everybody wait for the others' disks, and may hang itself.
    pub(crate) fn own_disk_hangs(&self, config: &Config, me: NodeId) -> bool {
        let silent = |at: Nanos| self.now - at > self.patience_min;
        self.own.is_some_and(silent) && self.answering(config, Some(me))
    }

    /// Whether a quorum of the acceptors but for `except` answers.
    fn answering(&self, config: &Config, except: Option<NodeId>) -> bool {
        let counts = |id: NodeId| Some(id) != except && config.acceptor(id).is_some();
        let fresh = |(id, at): &&(NodeId, Nanos)| counts(*id) && self.fresh(*at);
        let quorums = config.members.quorums;
        self.pongs.iter().filter(fresh).count() >= quorums.phase1.max(quorums.phase2) as usize
    }

    #[inline]
    fn fresh(&self, at: Nanos) -> bool {
        self.now - at <= self.patience_min
    }

    /// Whether another leader was there lately: with its acceptor and disk, if it has one.
    pub(crate) fn is_there(&self, leader: NodeId, config: &Config) -> bool {
        let acceptor = config.acceptor(leader).is_some();
        let heard = if acceptor { &self.pongs } else { &self.neighbours };
        heard.iter().any(|(id, at)| *id == leader && self.fresh(*at))
    }

    /// Whether another leader may be asked to take over by itself, that is, without an order from
    /// outside. Not before the last one had its chance; and as every preemption doubles patience,
    /// two leaders that find each other fitter pass the ballot on ever more rarely.
    pub(crate) fn may_hand_over(&mut self) -> bool {
        let may = self.now >= self.next_hand_over;
        if may {
            self.next_hand_over = self.now.saturating_add(self.patience);
        }
        may
    }

    /// The leader that was heard last, directly or not.
    #[inline]
    pub(crate) fn followed(&self) -> Ballot {
        self.followed
    }

    /// Whether the followed leader itself has been heard lately.
    pub(crate) fn hears(&self) -> bool {
        self.heard_directly.is_some_and(|at| self.now - at <= self.patience_min)
    }

    /// What it is time for. `may_campaign`: this process is a leader, and passive.
    pub(crate) fn urges(&mut self, may_campaign: bool, config: &Config, me: NodeId) -> Urges {
        let heartbeat = self.now >= self.next_heartbeat;
        if heartbeat {
            self.next_heartbeat = self.now + self.heartbeat;
        }
        let resend = self.now >= self.next_resend;
        if resend {
            self.next_resend = self.now + self.resend;
        }
        let campaign = may_campaign && self.campaigns(config, me);
        Urges { heartbeat, resend, campaign }
    }

    /// Whether a passive leader has waited long enough, or was asked to take over, and can.
    pub(crate) fn campaigns(&mut self, config: &Config, me: NodeId) -> bool {
        let (lost, silence, until) = self.lost;
        let lost = lost == self.followed && self.heard_directly.is_none() && self.now < until;
        let patience = if lost { silence } else { self.patience.saturating_add(self.jitter) };
        let (ballot, until) = self.summons;
        let summoned = self.now < until && ballot >= self.followed;
        let silent = self.now - self.heard_at >= patience;
        let able = (silent || summoned) && self.connected(config);
        let campaigns = able && !self.own_disk_hangs(config, me);
        if campaigns {
            self.heard_at = self.now;
            self.summons = (Ballot::BOTTOM, 0);
            self.draw_jitter();
        }
        campaigns
    }

    /// A new jitter, up to the patience.
    fn draw_jitter(&mut self) {
        self.jitter = self.draw(self.patience);
    }

    /// A random time up to `longest`. The numbers come from SplitMix64 (Steele et al. 2014).
    fn draw(&mut self, longest: Nanos) -> Nanos {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (longest >> 16).saturating_mul(z >> 48)
    }
}

/// Somebody was heard.
fn note(heard: &mut Vec<(NodeId, Nanos)>, from: NodeId, now: Nanos) {
    match heard.iter_mut().find(|(id, _)| *id == from) {
        Some((_, at)) => *at = now,
        None => heard.push((from, now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconfig::{Members, Schedule};

    #[test]
    fn a_leader_is_there_if_its_own_acceptor_or_else_it_itself_was_heard_lately() {
        let ids = |ids: &[u32]| ids.iter().map(|&id| NodeId(id)).collect::<Vec<_>>();
        let members = Members::new(ids(&[1, 2]), ids(&[1, 2, 3, 4]), ids(&[1, 2, 5])).unwrap();
        let schedule = Schedule::new(members, 1);
        let config = schedule.latest();
        let mut liveness = Liveness::new(Timing::default(), 1);
        liveness.pong(NodeId(2), false);
        liveness.neighbour(NodeId(1));
        liveness.neighbour(NodeId(3));
        let there = |liveness: &Liveness| -> Vec<bool> {
            (1..=4).map(|leader| liveness.is_there(NodeId(leader), config)).collect()
        };
        assert_eq!(there(&liveness), [false, true, true, false]);
        liveness.pass(Timing::default().patience_min);
        assert_eq!(there(&liveness), [false, true, true, false]);
        liveness.pong(NodeId(1), true);
        liveness.pass(Timing::default().patience_min + Time::from_nanos(1));
        assert_eq!(there(&liveness), [true, false, false, false]);
    }

    const MILLI: Nanos = 1_000_000;

    /// Answers of others than acceptors, and of the one that is left out, make no quorum.
    #[test]
    fn a_quorum_answers_if_enough_of_the_other_acceptors_do() {
        let ids = |ids: &[u32]| ids.iter().map(|&id| NodeId(id)).collect::<Vec<_>>();
        let members = Members::new(ids(&[1, 2]), ids(&[1, 2]), ids(&[1, 2, 3])).unwrap();
        let schedule = Schedule::new(members, 1);
        let config = schedule.latest();
        let mut liveness = Liveness::new(Timing::default(), 1);
        let mut answers = |id: u32, except: Option<u32>| {
            liveness.pong(NodeId(id), false);
            liveness.answering(config, except.map(NodeId))
        };
        assert!(!answers(1, Some(1)));
        assert!(!answers(2, Some(1)));
        assert!(!answers(4, Some(1)), "4 is no acceptor");
        assert!(answers(4, None));
        assert!(answers(3, Some(1)));
    }

    fn ballot(round: u64, leader: u32) -> Ballot {
        Ballot { round, leader: NodeId(leader), incarnation: 1 }
    }

    /// Node 1 of three, of which the other two answer, at this time.
    fn at(liveness: &mut Liveness, nanos: Nanos) {
        liveness.pass(Time::from_nanos(nanos));
        [2, 3].into_iter().for_each(|id| liveness.pong(NodeId(id), false));
    }

    fn three() -> Schedule {
        let all = [NodeId(1), NodeId(2), NodeId(3)];
        Schedule::new(Members::new(all, all, all).unwrap(), 1)
    }

    #[test]
    fn patience_doubles_when_preempted_and_shrinks_when_something_is_chosen() {
        let (patience_min, patience_max) = (Time::from_millis(100), Time::from_millis(300));
        let timing = Timing { patience_min, patience_max, ..Timing::default() };
        let mut liveness = Liveness::new(timing, 1);
        let doubled = [(); 3].map(|()| {
            liveness.preempted(ballot(1, 2));
            liveness.patience / MILLI
        });
        assert_eq!(doubled, [200, 300, 300]);
        let shrunk = [1, 2, 190, 9, 99].map(|times| {
            (0..times).for_each(|_| liveness.chosen());
            liveness.patience / MILLI
        });
        assert_eq!(shrunk, [299, 297, 107, 100, 100]);
    }

    #[test]
    fn jitter_is_anything_up_to_the_patience() {
        let mut liveness = Liveness::new(Timing::default(), 1);
        let drawn: Vec<Nanos> = (0..1000).map(|_| liveness.draw(100 * MILLI) / MILLI).collect();
        let tenths = (0..10).map(|n| drawn.iter().filter(|drawn| **drawn / 10 == n).count());
        let tenths: Vec<usize> = tenths.collect();
        assert_eq!(tenths.iter().sum::<usize>(), 1000, "{tenths:?}");
        assert!(tenths.iter().all(|n| (50..200).contains(n)), "{tenths:?}");
    }

    #[test]
    fn a_lost_connection_makes_impatient_once_and_not_for_long() {
        let (schedule, min) = (three(), nanos(Timing::default().patience_min));
        let followed = |now| {
            let mut liveness = Liveness::new(Timing::default(), 1);
            liveness.pass(Time::from_nanos(now));
            liveness.heard(ballot(1, 2), true);
            liveness
        };
        let campaigns = |liveness: &mut Liveness, now| {
            at(liveness, now);
            liveness.campaigns(schedule.latest(), NodeId(1))
        };
        let after = |peer, now| {
            let mut liveness = followed(0);
            liveness.lost(NodeId(peer));
            campaigns(&mut liveness, now)
        };
        // From one and a half heartbeats on, or up to three.
        assert_eq!([29, 60].map(|ms| after(2, ms * MILLI)), [false, true]);
        assert_eq!([min - 1, min].map(|now| after(2, now)), [true, false]);
        assert!(!after(3, 60 * MILLI), "that was not the leader's");
        let longest = min + nanos(Timing::default().patience_max);
        for (again, may) in [(longest - 1, false), (longest, true)] {
            let mut liveness = followed(0);
            liveness.lost(NodeId(2));
            liveness.heard(ballot(1, 2), true);
            assert!(!campaigns(&mut liveness, 60 * MILLI), "it is heard once more");
            liveness.pass(Time::from_nanos(again));
            liveness.heard(ballot(1, 2), true);
            liveness.lost(NodeId(2));
            assert_eq!(campaigns(&mut liveness, again + 60 * MILLI), may);
        }
    }

    #[test]
    fn a_summons_counts_for_the_least_patience_and_not_of_a_leader_that_is_gone() {
        let (schedule, min) = (three(), nanos(Timing::default().patience_min));
        let heeds = |of, now| {
            let mut liveness = Liveness::new(Timing::default(), 1);
            liveness.heard(ballot(2, 2), true);
            liveness.summoned(of);
            at(&mut liveness, now);
            let heeds = liveness.campaigns(schedule.latest(), NodeId(1));
            assert!(!liveness.campaigns(schedule.latest(), NodeId(1)), "once");
            heeds
        };
        assert_eq!([0, min - 1, min].map(|now| heeds(ballot(2, 2), now)), [true, true, false]);
        assert_eq!([ballot(1, 3), ballot(3, 3)].map(|of| heeds(of, 0)), [false, true]);
    }

    #[test]
    fn who_is_silent_for_longer_than_the_least_patience_is_not_there() {
        let (schedule, min) = (three(), nanos(Timing::default().patience_min));
        let config = schedule.latest();
        let mut liveness = Liveness::new(Timing::default(), 1);
        liveness.pings(config, NodeId(1));
        liveness.heard(ballot(1, 2), true);
        at(&mut liveness, min);
        assert!(liveness.hears() && !liveness.own_disk_hangs(config, NodeId(1)));
        at(&mut liveness, min + 1);
        assert!(!liveness.hears() && liveness.own_disk_hangs(config, NodeId(1)));
        liveness.pass(Time::from_nanos(2 * min + 1));
        assert!(liveness.connected(config));
        liveness.pass(Time::from_nanos(2 * min + 2));
        assert!(!liveness.connected(config) && !liveness.own_disk_hangs(config, NodeId(1)));
    }
}
