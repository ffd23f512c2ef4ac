//! A restart (section 4.3): how a node goes on from its last snapshot and its log, without asking
//! anybody, and what it notes in the log for that.
//!
//! A replica keeps no log of its own. Most of what it performs is in the log of the acceptor on
//! its node already; from time to time it notes for which slots that is what was decided
//! ([`Record::Performed`]), and the decrees of the others ([`Record::Learned`]). Each of these
//! records is true by itself: it says of certain slots that they are decided, and what, for a
//! ballot and a slot have one decree. So it does not matter which of them a crash has left, where
//! in the log they stand, whether a snapshot came in between, or which life wrote them: what they
//! say together are decisions, and a replica performs decisions in order, as far as there is no
//! gap. The rest it learns from others.

use alloc::vec::Vec;

use crate::{
    acceptor::Acceptor,
    effect::{Outbox, Record},
    node::Node,
    replica::{InvalidSnapshot, Replica, StateMachine},
    setup::{RecoverError, Setup},
    types::{Ballot, Decree, Slot},
};

/// How much is noted at one time.
struct Most {
    slots: u64,
    /// Of operations that are compared or noted, unless a single decree has more.
    bytes: usize,
}

const IN_A_TICK: Most = Most { slots: 1 << 14, bytes: 1 << 20 };
const EVERYTHING: Most = Most { slots: u64::MAX, bytes: usize::MAX };

/// More slots than this are noted at the next tick, however lately some were.
const MANY: u64 = 1 << 10;

impl<S: StateMachine> Node<S> {
    /// The next life of a node, from its last snapshot, if there is one, and the records of all
    /// its earlier lives. `base` is the frame of the snapshot, and `state` is restored from it.
    ///
    /// What `out` asks for must be on disk before the first input: if a life were forgotten, the
    /// next would have its number, and take late answers to its questions for answers to its own.
    ///
    /// # Errors
    /// When there are no records, or the frame cannot be read: then it must not run.
    pub fn recover(
        setup: Setup,
        base: Option<&[u8]>,
        state: S,
        records: impl IntoIterator<Item = Record>,
        out: &mut Outbox,
    ) -> Result<Self, RecoverError> {
        let (mut lives, mut used, mut acceptor) = (0_u32, Ballot::BOTTOM, Acceptor::default());
        let mut decided = Vec::new();
        for record in records {
            match record {
                Record::Started(life) => lives = life.max(lives),
                Record::Campaigned(ballot) => used = used.max(ballot),
                Record::Adopted(_)
                | Record::Accepted(_)
                | Record::Collected(_)
                | Record::Lost { .. } => acceptor.replay(record),
                Record::Learned { slot, decree } => decided.push((slot, decree)),
                Record::Performed { ballot, first, end } => {
                    let held = acceptor.held(first).take_while(|(slot, _)| *slot < end);
                    let held = held.filter(|(_, (held, _))| *held == ballot);
                    decided.extend(held.map(|(slot, (_, decree))| (slot, decree.clone())));
                }
            }
        }
        if lives == 0 {
            return Err(RecoverError::Amnesia);
        }
        let mut node = Self::start(setup, lives.saturating_add(1), used, acceptor, state, out);
        if let Some(frame) = base {
            node.replica.resume_saved(frame, out).map_err(RecoverError::Snapshot)?;
        }
        node.replica.perform_again(decided, out);
        Ok(node)
    }

    /// The fewest records from which this node can recover: what its log may be rewritten to, once
    /// every record so far has been appended to it.
    pub fn checkpoint(&self) -> impl Iterator<Item = Record> {
        let used = Some(self.leader.ballot_num()).filter(|ballot| *ballot > Ballot::BOTTOM);
        let (performed, _) = self.replica.notes(&self.acceptor, Slot::FIRST, EVERYTHING);
        [Record::Started(self.incarnation)]
            .into_iter()
            .chain(used.map(Record::Campaigned))
            .chain(self.acceptor.checkpoint())
            .chain(performed)
    }

    /// Continues from a snapshot of another replica, with its frame, and its state restored. False
    /// if it is not newer than what is here; then nothing changes. If the snapshot is on disk,
    /// [`Node::saved`] comes next.
    ///
    /// # Errors
    /// When `frame` is no frame. As with [`Node::install_failed`], another one may be fetched then.
    pub fn install(
        &mut self,
        frame: &[u8],
        state: S,
        out: &mut Outbox,
    ) -> Result<bool, InvalidSnapshot> {
        let installed = self.replica.install(frame, state, out);
        self.settle(out);
        installed
    }

    /// The snapshot that was fetched cannot be used, or will not be: it is damaged, too large, or
    /// there is no place to keep it. It may be another replica's turn. Also before it is complete.
    pub fn install_failed(&mut self) {
        self.replica.give_up_download();
    }

    /// Notes what has been performed, so that a restart need not ask for it: when it is `time`, or
    /// when much is not noted.
    pub(crate) fn note_performed(&mut self, time: bool, out: &mut Outbox) {
        let logged = self.replica.catchup.logged;
        if self.roles.replica && (time || self.replica.slot_out() > logged.plus(MANY)) {
            let (records, next) = self.replica.notes(&self.acceptor, logged, IN_A_TICK);
            self.replica.catchup.logged = next;
            records.into_iter().for_each(|record| out.persist(record));
        }
    }
}

impl<S: StateMachine> Replica<S> {
    /// Performs what is known to have been decided, as far as there is no gap.
    fn perform_again(&mut self, decided: Vec<(Slot, Decree)>, out: &mut Outbox) {
        for (slot, decree) in decided {
            self.decision(slot, Some(decree), out);
        }
        self.catchup.logged = self.slot_out();
    }

    /// The records that let a restart perform the slots from `from` on, no more than `most`,
    /// and the first slot that is not among them. What is in the last snapshot is left out.
    fn notes(&self, acceptor: &Acceptor, from: Slot, most: Most) -> (Vec<Record>, Slot) {
        let from = from.max(self.collected()).max(self.catchup.durable());
        let (mut records, mut next, mut weight) = (Vec::new(), from, 0);
        let end = self.slot_out().min(from.plus(most.slots));
        while next < end {
            let slot = next;
            let Some(decree) = self.decisions.get(slot) else { break };
            let accepted = acceptor.latest(slot);
            if !accepted.is_some_and(|(_, accepted)| accepted.is(decree)) {
                weight += decree.weight();
                if weight > most.bytes && next > from {
                    break;
                }
            }
            next = slot.next();
            let Some((ballot, _)) = accepted.filter(|(_, accepted)| accepted == decree) else {
                records.push(Record::Learned { slot, decree: decree.clone() });
                continue;
            };
            match records.last_mut() {
                Some(Record::Performed { ballot: last, end, .. }) if last == ballot => *end = next,
                Some(_) | None => {
                    let (ballot, first) = (*ballot, slot);
                    records.push(Record::Performed { ballot, first, end: next });
                }
            }
        }
        (records, next)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::{
        effect::Effect,
        liveness::Time,
        message::Message,
        reconfig::{Members, Schedule},
        types::{ClientId, Command, NodeId, Op, PValue, Payload},
    };

    struct Nothing;

    impl StateMachine for Nothing {
        fn apply(&mut self, _: &[u8]) -> Payload {
            Payload::EMPTY
        }
    }

    #[test]
    fn a_checkpoint_says_which_ballot_has_been_used() {
        let (one, mut out) = ([NodeId(1)], Outbox::new(NodeId(1)));
        let schedule = Schedule::new(Members::new(one, one, one).unwrap(), 1);
        let mut node = Node::format(Setup::new(NodeId(1), schedule), Nothing, &mut out);
        let used = |node: &Node<Nothing>| {
            node.checkpoint().any(|record| matches!(record, Record::Campaigned(_)))
        };
        assert!(!used(&node));
        node.campaign(&mut out);
        assert!(used(&node));
    }

    #[test]
    fn what_need_not_be_compared_is_noted_at_once_and_the_rest_a_few_at_a_time() {
        let all = [NodeId(1), NodeId(2), NodeId(3)];
        let setup = Setup::new(NodeId(1), Schedule::new(Members::new(all, all, all).unwrap(), 16));
        let ballot = Ballot { round: 1, leader: NodeId(2), incarnation: 1 };
        let decrees = || -> Vec<Decree> {
            let client = ClientId { born: Slot::FIRST, number: 1 };
            let large = |cid| {
                let op = Op::Apply(Payload::from(vec![1; 100_000]));
                Decree::from(vec![Command { client, cid, acked: cid, op }])
            };
            (1..=30).map(large).collect()
        };
        let noted = |accepted: Vec<Decree>, decided: Vec<Decree>| {
            let mut out = Outbox::new(NodeId(1));
            let mut node = Node::format(setup.clone(), Nothing, &mut out);
            let mut step = |message| node.step(Time::ZERO, NodeId(2), message, &mut out);
            for (slot, decree) in (1..).map(Slot).zip(accepted) {
                step(Message::P2a(PValue { ballot, slot, decree }));
            }
            step(Message::Decisions { first: Slot::FIRST, decrees: decided });
            node.tick(Time::from_millis(20), &mut out);
            out.drain().find_map(|effect| {
                let Effect::Persist(Record::Performed { first, end, .. }) = effect else {
                    return None;
                };
                Some((first.0, end.0))
            })
        };
        let same = decrees();
        assert_eq!(noted(same.clone(), same), Some((1, 31)), "what was accepted itself");
        assert_eq!(noted(decrees(), decrees()), Some((1, 11)), "as many as have a mebibyte");
    }
}
