//! The replica: gives commands their slots and performs what is decided (section 2.1, Fig. 1).
//!
//! What differs from the paper:
//! * A slot holds a batch: everything that piled up while WINDOW slots were in flight.
//! * One replica proposes, the one beside the active leader; the others forward to it. Should
//!   that not help, any replica proposes for itself, to all leaders, as in the paper.
//! * A proposal that lost its slot is taken up again as soon as that is known (E8); a slot without
//!   a decision is proposed for again (E4); decisions that are missing are learned from other
//!   replicas (`catchup`).
//! * Duplicates are found in the table of sessions, and answered (E9, E20).
//! * Decisions that enough replicas hold durably are dropped (section 4.2).

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};

use crate::{
    catchup::Catchup,
    effect::{Effect, Outbox, Outcome},
    invariant,
    message::{Message, Progress, Propose},
    read::Reads,
    reconfig::{Config, Reconfigured, Schedule},
    ring::Ring,
    session::{Admitted, Seen, Sessions},
    setup::Limits,
    types::{ClientId, Command, Decree, NodeId, Op, Payload, Slot},
};

/// What is replicated. It must be deterministic: equal operations in equal order give equal
/// states and results, everywhere.
pub trait StateMachine {
    /// Performs one operation: the paper's (next, result) := op(state).
    fn apply(&mut self, op: &[u8]) -> Payload;
}

/// The bytes are not the frame of a snapshot: made by a newer version, or damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidSnapshot;

impl core::fmt::Display for InvalidSnapshot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("not the frame of a snapshot: take a snapshot from another replica")
    }
}

impl core::error::Error for InvalidSnapshot {}

/// The paper's replica ρ.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replica<S> {
    pub(crate) id: NodeId,
    pub(crate) state: S,
    /// The next slot for which nothing has been proposed here.
    pub(crate) slot_in: Slot,
    /// The next slot to perform; the paper's version number.
    pub(crate) slot_out: Slot,
    /// Commands that are neither proposed nor forwarded.
    pub(crate) requests: Vec<Command>,
    /// Batches to propose from here: forwarded by others, or in vain to others.
    pub(crate) waiting: VecDeque<Decree>,
    /// Batches that lost their slots. They come before newer commands, and like them go to the
    /// replica that proposes: competing with it for slots, this one might lose for ever.
    pub(crate) displaced: VecDeque<Decree>,
    /// Batches that were handed to the proposing replica, and when, in rounds.
    pub(crate) forwarded: VecDeque<(Decree, u64)>,
    /// The paper's proposals: what this replica proposed for slots not decided, and when.
    pub(crate) proposals: Ring<(Decree, u64)>,
    /// The paper's decisions, as far back as others may need them.
    pub(crate) decisions: Ring<Decree>,
    pub(crate) schedule: Schedule,
    pub(crate) sessions: Sessions,
    pub(crate) admitted: Admitted,
    pub(crate) reads: Reads,
    pub(crate) catchup: Catchup,
    pub(crate) limits: Limits,
    /// The leader that is believed to be active.
    pub(crate) lead: Option<NodeId>,
    /// Propose for ourselves, to all leaders: what was tried before did not help.
    urgent: bool,
    /// Counts rounds of trying again.
    pub(crate) round: u64,
}

impl<S: StateMachine> Replica<S> {
    /// A replica in its initial state and its `incarnation`-th life, with at most `sessions`
    /// sessions.
    #[must_use]
    pub fn new(
        id: NodeId,
        incarnation: u32,
        state: S,
        schedule: Schedule,
        sessions: usize,
    ) -> Self {
        Self {
            id,
            state,
            slot_in: Slot::FIRST,
            slot_out: Slot::FIRST,
            requests: Vec::new(),
            waiting: VecDeque::new(),
            displaced: VecDeque::new(),
            forwarded: VecDeque::new(),
            proposals: Ring::new(Slot::FIRST),
            decisions: Ring::new(Slot::FIRST),
            schedule,
            sessions: Sessions::new(sessions),
            admitted: Admitted::new(),
            reads: Reads::new(incarnation),
            catchup: Catchup::default(),
            limits: Limits::default(),
            lead: None,
            urgent: false,
            round: 0,
        }
    }

    /// Case request. Proposed by the next [`Replica::propose`], with all that piles up till then.
    #[inline]
    pub fn request(&mut self, command: Command, out: &mut Outbox) {
        let Command { client, cid, acked, .. } = command;
        match self.sessions.seen(client, cid) {
            Some(Seen::Never) => {}
            Some(Seen::Done(reply)) => {
                let reply = Outcome::Done(reply.clone());
                self.admitted.admit(client, cid, acked);
                return out.respond(client, cid, reply);
            }
            Some(Seen::Acked) => return,
            Some(Seen::TooFar) => return out.respond(client, cid, Outcome::Busy),
            None => return out.respond(client, cid, Outcome::Expired),
        }
        if self.requests.len() >= self.limits.requests || !self.has_room(client) {
            if !self.admitted.has(client, cid) {
                out.respond(client, cid, Outcome::Busy);
            }
            return;
        }
        if self.admitted.admit(client, cid, acked) {
            self.requests.push(command);
        }
    }

    /// A batch from another replica, to be proposed here.
    pub fn forwarded(&mut self, decree: Decree) {
        if self.waiting.len() < self.limits.waiting {
            self.waiting.push_back(decree);
        }
    }

    /// Case decision. Without the decree, the slot is known to be decided, but not what.
    #[inline]
    pub fn decision(&mut self, slot: Slot, decree: Option<Decree>, out: &mut Outbox) {
        self.catchup.heard(slot.next());
        let Some(decree) = decree else { return };
        if let Some(known) = self.decisions.get(slot) {
            invariant!(R1, *known == decree, "two decrees decided for slot {slot}");
            return;
        }
        if slot < self.slot_out || !self.decisions.has_room(slot) {
            return;
        }
        self.yield_slot(slot, &decree);
        if slot > self.slot_out {
            self.decisions.insert(slot, decree);
            return;
        }
        self.perform(slot, &decree, out);
        self.decisions.insert(slot, decree);
        if self.decisions.end() > self.slot_out || !self.reads.settled() {
            self.advance(out);
        }
    }

    /// Whether [`Replica::propose`] would do nothing.
    #[inline]
    #[must_use]
    pub fn idle(&self) -> bool {
        self.requests.is_empty()
            && self.waiting.is_empty()
            && self.displaced.is_empty()
            && self.reads.idle()
            && !self.urgent
            && self.schedule.boundary() <= self.slot_out
    }

    /// The paper's propose(): gives the commands that wait their slots, while WINDOW allows.
    pub fn propose(&mut self, out: &mut Outbox) {
        self.reads.start(self.schedule.at(self.slot_out), self.lead, out);
        let urgent = core::mem::take(&mut self.urgent);
        if self.lead.is_none() && !urgent {
            return;
        }
        self.slot_in = self.slot_in.max(self.slot_out);
        let end = self.slot_out.plus(self.schedule.window());
        while self.slot_in < end {
            let slot = self.slot_in;
            if self.decisions.get(slot).is_none() && self.proposals.get(slot).is_none() {
                let config = self.schedule.at(slot).clone();
                let Some(decree) = self.next_decree(&config, urgent) else { break };
                invariant!(R5, slot < end, "slot {slot} is {} ahead", slot.0 - self.slot_out.0);
                self.proposals.insert(slot, (decree.clone(), self.round));
                self.send_proposal(slot, decree, &config, urgent, out);
            }
            self.slot_in = slot.next();
        }
        self.forward(out);
    }

    /// Tries again whatever has waited for a whole round: proposes once more for the slots without
    /// a decision, proposes what was forwarded in vain, asks for decisions that are missing.
    pub fn retry(&mut self, out: &mut Outbox) {
        self.round += 1;
        let old = |round: u64| round + 1 < self.round;
        let late: Vec<Slot> =
            self.proposals.iter().filter(|(_, (_, r))| old(*r)).map(|(slot, _)| slot).collect();
        for slot in late {
            let config = self.schedule.at(slot).clone();
            let Some((decree, round)) = self.proposals.get_mut(slot) else { continue };
            *round = self.round;
            let decree = decree.clone();
            self.send_proposal(slot, decree, &config, true, out);
        }
        while self.forwarded.front().is_some_and(|(_, round)| round + 1 < self.round) {
            let Some((decree, _)) = self.forwarded.pop_front() else { break };
            if !self.performed(&decree) {
                self.waiting.push_back(decree);
            }
        }
        self.urgent = true;
        self.reads.retry(self.schedule.at(self.slot_out), out);
        self.learn_missing(out);
    }

    /// Who is believed to lead; proposals go there.
    #[inline]
    pub fn follow(&mut self, leader: NodeId) {
        self.lead = Some(leader);
    }

    /// How far this replica is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            slot_out: self.slot_out,
            durable: self.catchup.durable(),
            epoch: self.schedule.latest().epoch,
        }
    }

    /// The replicated state.
    #[must_use]
    pub fn state(&self) -> &S {
        &self.state
    }

    /// The next slot to perform.
    #[must_use]
    pub fn slot_out(&self) -> Slot {
        self.slot_out
    }

    /// The next slot to propose for.
    #[must_use]
    pub fn slot_in(&self) -> Slot {
        self.slot_in
    }

    /// The configurations that this replica knows.
    #[must_use]
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The leader that this replica believes to be active.
    #[must_use]
    pub fn lead(&self) -> Option<NodeId> {
        self.lead
    }

    /// Whether every command of the batch has been performed, or never can be.
    pub(crate) fn performed(&self, decree: &Decree) -> bool {
        decree.commands().iter().all(|command| {
            match self.sessions.seen(command.client, command.cid) {
                Some(Seen::Never | Seen::TooFar) => false,
                Some(Seen::Done(_) | Seen::Acked) | None => true,
            }
        })
    }

    /// A slot has been decided: what was proposed for it, if it lost, is proposed elsewhere (E8).
    #[inline]
    fn yield_slot(&mut self, slot: Slot, decided: &Decree) {
        let Some((mine, _)) = self.proposals.remove(slot) else { return };
        if mine != *decided {
            self.displaced.push_back(mine);
        }
    }

    /// Everything below `slot` has been performed, by a snapshot: the proposals there are void,
    /// and what was not performed is proposed elsewhere (E43).
    pub(crate) fn yield_below(&mut self, slot: Slot) {
        let void = self.proposals.iter().take_while(|(s, _)| *s < slot);
        self.displaced.extend(void.map(|(_, (decree, _))| decree.clone()));
        self.proposals.advance(slot);
    }

    /// Performs the decisions that are next in order.
    #[inline]
    pub(crate) fn advance(&mut self, out: &mut Outbox) {
        while let Some(decree) = self.decisions.get(self.slot_out) {
            let decree = decree.clone();
            self.perform(self.slot_out, &decree, out);
        }
        self.reads.ready(self.slot_out, &self.schedule, out);
    }

    /// The paper's perform(), for the decree of `slot`.
    fn perform(&mut self, slot: Slot, decree: &Decree, out: &mut Outbox) {
        let kept = self.decisions.end();
        invariant!(R2, kept >= slot, "decisions kept up to {kept}, performing slot {slot}");
        invariant!(R3, slot == self.slot_out, "performing {slot} before {}", self.slot_out);
        self.slot_out = slot.next();
        self.proposals.advance(self.slot_out);
        for run in decree.commands().chunk_by(|a, b| a.client == b.client) {
            let client = run[0].client;
            let ours = self.admitted.knows(client);
            let Some(session) = self.sessions.open(client, slot) else {
                self.admitted.forget(client);
                let expired = run.iter().filter(|_| ours);
                expired.for_each(|c| out.respond(client, c.cid, Outcome::Expired));
                continue;
            };
            for command in run {
                session.ack(command.acked);
                let reply = match session.seen(command.cid) {
                    Seen::Never => {
                        let reply = match &command.op {
                            Op::Apply(op) => self.state.apply(op.as_slice()),
                            Op::Reconfigure(to) => {
                                Reconfigured::perform(&mut self.schedule, slot, to)
                            }
                        };
                        session.keep(command.cid, reply.clone());
                        reply
                    }
                    Seen::Done(reply) => reply.clone(),
                    Seen::Acked | Seen::TooFar => continue,
                };
                if ours {
                    out.respond(client, command.cid, Outcome::Done(reply));
                }
            }
        }
    }

    /// What to propose next for a slot of `config`, if anything.
    fn next_decree(&mut self, config: &Config, urgent: bool) -> Option<Decree> {
        while let Some(decree) = self.waiting.pop_front() {
            if !self.performed(&decree) {
                return Some(decree);
            }
        }
        let proposer = self.lead.map_or(urgent, |lead| config.beside(lead) == self.id);
        if proposer {
            if let Some(decree) = self.next_displaced() {
                return Some(decree);
            }
            if !self.requests.is_empty() {
                return Some(self.batch());
            }
        }
        if !proposer && !urgent {
            return None;
        }
        // Without commands, no-ops: up to the slot from which a new configuration governs (E27),
        // and for slots that somebody waits for (E11, section 4.5).
        let boundary = self.schedule.boundary();
        let awaited =
            if urgent { self.catchup.heard_of().max(self.reads.awaits()) } else { boundary };
        (self.slot_in < boundary.max(awaited)).then(Decree::noop)
    }

    fn next_displaced(&mut self) -> Option<Decree> {
        while let Some(decree) = self.displaced.pop_front() {
            if !self.performed(&decree) {
                return Some(decree);
            }
        }
        None
    }

    /// Everything that has piled up, as far as one decree may hold it.
    fn batch(&mut self) -> Decree {
        let mut weight = 0;
        let fits = self.requests.iter().take(self.limits.batch_commands).take_while(|command| {
            weight += command.weight();
            weight <= self.limits.batch_bytes
        });
        let n = fits.count().max(1);
        if n == self.requests.len() {
            return Decree::batch(&mut self.requests);
        }
        Decree::from(self.requests.drain(..n).collect::<Vec<_>>())
    }

    fn send_proposal(
        &self,
        slot: Slot,
        decree: Decree,
        config: &Config,
        urgent: bool,
        out: &mut Outbox,
    ) {
        let epoch = config.epoch;
        match self.lead.filter(|lead| !urgent && config.leads(*lead)) {
            Some(lead) => {
                let propose = Propose { slot, decree, epoch, replica: None };
                out.send(lead, Message::Propose(propose));
            }
            None => {
                for &leader in &config.members.leaders {
                    let decree = decree.clone();
                    let propose = Propose { slot, decree, epoch, replica: None };
                    out.send(leader, Message::Propose(propose));
                }
            }
        }
    }

    /// Hands the commands that wait to the replica that proposes, if that is not this one.
    fn forward(&mut self, out: &mut Outbox) {
        let Some(lead) = self.lead else { return };
        let proposer = self.schedule.at(self.slot_out).beside(lead);
        if proposer == self.id {
            return;
        }
        loop {
            let displaced = self.next_displaced();
            let rest = (!self.requests.is_empty()).then_some(());
            let Some(decree) = displaced.or_else(|| rest.map(|()| self.batch())) else { return };
            self.forwarded.push_back((decree.clone(), self.round));
            out.send(proposer, Message::Forward(decree));
        }
    }

    /// Whether the client can be kept in mind. If there are too many, those of whom no command has
    /// been performed are forgotten.
    fn has_room(&mut self, client: ClientId) -> bool {
        let limit = self.sessions.limit();
        if !self.decisions.has_room(self.slot_out.plus(self.schedule.window())) {
            return false; // Nothing has been collected for long: no snapshots are saved.
        }
        if self.admitted.len() <= limit || self.admitted.knows(client) {
            return true;
        }
        let sessions = &self.sessions;
        self.admitted.retain(|client| sessions.knows(client));
        self.admitted.len() <= limit
    }

    /// Forgets configurations that govern only slots below `slot`, which all are durable.
    pub(crate) fn retire(&mut self, slot: Slot, out: &mut Outbox) {
        self.schedule
            .forget(slot)
            .for_each(|config: Arc<Config>| out.push(Effect::Retired(config)));
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::{effect::Response, reconfig::Members, session::IN_FLIGHT_MAX};

    struct Nothing;

    impl StateMachine for Nothing {
        fn apply(&mut self, _: &[u8]) -> Payload {
            Payload::EMPTY
        }
    }

    /// A replica that knows no leader, so that everything waits, with room for 8 sessions.
    fn replica() -> (Replica<Nothing>, Outbox) {
        let one = [NodeId(1)];
        let schedule = Schedule::new(Members::new(one, one, one).unwrap(), 4);
        (Replica::new(NodeId(1), 1, Nothing, schedule, 8), Outbox::new(NodeId(1)))
    }

    fn command(number: u64, cid: u64, len: usize) -> Command {
        let client = ClientId { born: Slot::FIRST, number };
        Command { client, cid, acked: 1, op: Op::Apply(Payload::from(vec![0; len])) }
    }

    #[test]
    fn a_batch_has_as_many_commands_and_bytes_as_are_allowed_and_at_least_one() {
        let (mut replica, _) = replica();
        let Limits { batch_bytes, batch_commands, .. } = replica.limits;
        let mut batches = |lens: Vec<usize>| {
            replica.requests = (1..).zip(lens).map(|(cid, len)| command(1, cid, len)).collect();
            let mut batches = Vec::new();
            while !replica.requests.is_empty() {
                batches.push(replica.batch().commands().len());
            }
            batches
        };
        let header = command(1, 1, 0).weight();
        let quarter = batch_bytes / 4 - header;
        assert_eq!(batches(vec![0; batch_commands + 1]), [batch_commands, 1]);
        assert_eq!(batches(vec![quarter; 5]), [4, 1]);
        assert_eq!(batches(vec![quarter, quarter, quarter, quarter + 1]), [3, 1]);
        assert_eq!(batches(vec![9 * quarter, 0]), [1, 1]);
    }

    #[test]
    fn what_waits_is_bounded() {
        let (mut replica, mut out) = replica();
        let Limits { waiting, requests, .. } = replica.limits;
        for _ in 0..=waiting {
            replica.forwarded(Decree::noop());
        }
        assert_eq!(replica.waiting.len(), waiting);
        for (number, cid) in (1..=4).flat_map(|n| (1..=IN_FLIGHT_MAX).map(move |cid| (n, cid))) {
            replica.request(command(number, cid, 0), &mut out);
        }
        assert_eq!(replica.requests.len(), requests);
        assert!(out.is_empty());
        replica.request(command(5, 1, 0), &mut out);
        let client = ClientId { born: Slot::FIRST, number: 5 };
        let busy = Effect::Respond(Response { client, cid: 1, outcome: Outcome::Busy });
        assert_eq!(out.drain().collect::<Vec<_>>(), [busy]);
    }

    #[test]
    fn clients_are_remembered_until_there_are_more_than_sessions_and_then_those_that_have_one() {
        let (mut replica, mut out) = replica();
        let mut waits_after = |replica: &mut Replica<Nothing>, number, cid| {
            replica.request(command(number, cid, 0), &mut out);
            replica.requests.len()
        };
        (1..=9).for_each(|number| assert!(waits_after(&mut replica, number, 1) > 0));
        assert_eq!(waits_after(&mut replica, 1, 1), 9, "a retransmission");
        let eight = (1..=8).map(|number| command(number, 1, 0)).collect::<Vec<_>>();
        let mut other = Outbox::new(NodeId(1));
        replica.decision(Slot::FIRST, Some(Decree::from(eight)), &mut other);
        assert_eq!(waits_after(&mut replica, 10, 1), 10);
        assert_eq!(waits_after(&mut replica, 8, 2), 11);
        assert_eq!(waits_after(&mut replica, 8, 2), 11);
        assert_eq!(waits_after(&mut replica, 9, 1), 12, "it has no session, and was forgotten");
    }
}
