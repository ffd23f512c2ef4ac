//! Garbage collection, and how a replica that is behind catches up (section 4.2).
//!
//! Replicas tell one another how far they are. What f + 1 of them hold durably can be dropped
//! everywhere: one of them outlives f crashes, and teaches the others. A replica that misses
//! decisions asks another one for them, and is sent a snapshot if they have been dropped (E43).
//! It asks for each part, so that nobody is held up, and a transfer is resumed where it stopped.
//! Which snapshot is fetched, and from whom, is decided here; the bytes are the owner's.
//!
//! What differs from the paper: acceptors are told the slot to collect up to, instead of working
//! it out from the replicas' reports, so they need not know any configuration; progress counts
//! when it is durable, not when it is made (E41).

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use crate::{
    effect::{Effect, Outbox},
    invariant,
    message::{Message, Progress, SnapshotChunk},
    progress::Reports,
    reconfig::Config,
    replica::{InvalidSnapshot, Replica, StateMachine},
    types::{Decree, NodeId, Slot},
    wire::{self, Frame},
};

/// What a replica knows of the others, and of the way to catch up with them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Catchup {
    /// All slots below this one are decided, as far as this replica has heard.
    heard: Slot,
    /// Where slot_out was when the last round of retries began.
    stuck: Slot,
    /// Whom to ask next: counts questions.
    turn: usize,
    /// Who said last that it is ahead. It may belong to a configuration not known here.
    ahead: Option<NodeId>,
    /// Everything below this slot is in a snapshot on this replica's disk.
    durable: Slot,
    /// Everything below this slot is durable at enough replicas.
    collected: Slot,
    reports: Reports,
    download: Option<Download>,
    /// For how many rounds a part is waited for. Twice as many after each time that another
    /// snapshot was begun instead: that there are several must not keep all from being complete.
    patience: u32,
    /// Who sent the last part of the snapshot that the owner is restoring.
    installing: Option<NodeId>,
    /// What was performed below this slot is in the log, as far as it can be.
    pub(crate) logged: Slot,
}

/// A snapshot on its way here.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Download {
    slot: Slot,
    checksum: u64,
    total: u64,
    /// How many bytes have come.
    received: u64,
    /// Who sent the last of them.
    from: NodeId,
    /// How many had come when the last round of retries began.
    before: u64,
    /// For how many rounds nothing has come.
    waited: u32,
    /// The most rounds that a part has taken: the way from there is slow.
    pace: u32,
    /// Nothing has come for too long. Only then may another snapshot replace this one, or the
    /// parts from two replicas would for ever push each other out.
    stalled: bool,
}

/// For how many rounds a part of a snapshot is waited for at first.
const PATIENCE: u32 = 8;
/// And at most.
const PATIENCE_MAX: u32 = 1 << 10;

impl Default for Catchup {
    fn default() -> Self {
        Self {
            heard: Slot::FIRST,
            stuck: Slot::FIRST,
            turn: 0,
            ahead: None,
            durable: Slot::FIRST,
            collected: Slot::FIRST,
            reports: Reports::default(),
            download: None,
            patience: PATIENCE,
            installing: None,
            logged: Slot::FIRST,
        }
    }
}

impl Catchup {
    /// Some replica or leader knows that all slots below `slot` are decided, or that the last is.
    #[inline]
    pub(crate) fn heard(&mut self, slot: Slot) {
        self.heard = self.heard.max(slot);
    }

    pub(crate) fn heard_of(&self) -> Slot {
        self.heard
    }

    pub(crate) fn reports(&self) -> &Reports {
        &self.reports
    }

    pub(crate) fn durable(&self) -> Slot {
        self.durable
    }

    /// Gives up the snapshot that is on its way, if there is one, for another.
    fn give_up_stalled(&mut self) {
        if self.download.take().is_some() {
            self.patience = self.patience.saturating_mul(2).min(PATIENCE_MAX);
        }
    }
}

impl Download {
    /// A round of retries. Whether the next part is still waited for.
    fn goes_on(&mut self, patience: u32, out: &mut Outbox) -> bool {
        let came = self.received > self.before;
        self.before = self.received;
        if came {
            self.pace = self.pace.max(self.waited);
            self.waited = 0;
            return true;
        }
        self.waited = self.waited.saturating_add(1);
        self.stalled = self.waited >= patience.max(self.pace.saturating_mul(4));
        // It may have been lost; or it takes its time, and asking for more would make that longer.
        if !self.stalled && self.waited > self.pace && self.waited.is_power_of_two() {
            let (slot, offset) = (self.slot, self.received);
            out.send(self.from, Message::FetchSnapshot { slot, offset });
        }
        !self.stalled
    }
}

impl<S: StateMachine> Replica<S> {
    /// Everything of a snapshot but the state, as this replica is at slot_out: which slots it
    /// covers, the configurations, and who has been answered what.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        wire::encode_frame(self.slot_out, &self.schedule, &self.sessions)
    }

    /// Decisions below this slot have been dropped here. Whoever continues from a snapshot below
    /// it cannot learn the rest from this replica.
    #[must_use]
    pub fn collected(&self) -> Slot {
        self.decisions.base()
    }

    /// A snapshot of everything below `slot` is on disk.
    pub fn saved(&mut self, slot: Slot, out: &mut Outbox) {
        if slot > self.catchup.durable && slot <= self.slot_out {
            self.catchup.durable = slot;
            self.collect(out);
        }
    }

    /// Another replica's report.
    pub fn peer_progress(&mut self, from: NodeId, progress: Progress, out: &mut Outbox) {
        self.catchup.heard(progress.slot_out);
        if progress.slot_out > self.slot_out {
            self.catchup.ahead = Some(from);
        }
        if self.catchup.reports.note(from, progress, &self.schedule) {
            self.collect(out);
        }
    }

    /// Collects what enough replicas of every configuration in force hold durably (E41). One that
    /// is over does not count: when enough replicas of a later one hold everything before their
    /// first slot, its own may have stopped.
    fn collect(&mut self, out: &mut Outbox) {
        let own = self.progress();
        self.catchup.reports.note(self.id, own, &self.schedule);
        let configs = self.schedule.entries.iter().map(|(_, config)| config);
        let reports = &self.catchup.reports;
        let durable = |config: &Config| reports.reached(config, |progress| progress.durable);
        let over = |(first, config): &(Slot, Arc<Config>)| durable(config) >= *first;
        let begun = self.schedule.entries.iter().rposition(over).unwrap_or(0);
        let enough = configs.clone().skip(begun).map(|config| durable(config)).min();
        // Which configurations a slot concerns, only those know who have performed what is below.
        let enough = enough.map(|slot| slot.min(self.slot_out));
        let Some(slot) = enough.filter(|slot| *slot > self.catchup.collected) else { return };
        self.catchup.collected = slot;
        let mut acceptors: Vec<NodeId> =
            configs.flat_map(|config| config.members.acceptors.iter().copied()).collect();
        // Where the acceptor on this node votes in none of them, its log is this replica's alone.
        acceptors.push(self.id);
        acceptors.sort_unstable();
        acceptors.dedup();
        acceptors.into_iter().for_each(|acceptor| out.send(acceptor, Message::Collect(slot)));
        self.decisions.advance(slot);
        self.retire(slot, out);
    }

    /// Asks for decisions that others have, if a whole round has brought nothing.
    pub(crate) fn learn_missing(&mut self, out: &mut Outbox) {
        let stuck = core::mem::replace(&mut self.catchup.stuck, self.slot_out) == self.slot_out;
        let installing = self.catchup.installing.is_some();
        if !stuck || installing || self.catchup.heard <= self.slot_out {
            return;
        }
        let latest = &self.schedule.latest().members.replicas;
        let here = &self.schedule.at(self.slot_out).members.replicas;
        let beside = self.lead.map(|lead| self.schedule.latest().beside(lead));
        let ahead = self.catchup.ahead.into_iter().chain(beside);
        let peers = ahead.chain(latest.iter().copied()).chain(here.iter().copied());
        let peers: Vec<NodeId> = peers.filter(|id| *id != self.id).collect();
        let Some(&peer) = peers.get(self.catchup.turn % peers.len().max(1)) else { return };
        let patience = self.catchup.patience;
        if let Some(download) = &mut self.catchup.download
            && download.goes_on(patience, out)
        {
            return;
        }
        self.catchup.turn += 1;
        match &self.catchup.download {
            Some(Download { slot, received, .. }) => {
                let (slot, offset) = (*slot, *received);
                out.send(peer, Message::FetchSnapshot { slot, offset });
            }
            None => out.send(peer, Message::Learn(self.slot_out)),
        }
    }

    /// Case learn: decisions from `slot` on, or a snapshot if they have been dropped.
    pub fn teach(&mut self, to: NodeId, slot: Slot, out: &mut Outbox) {
        if slot >= self.slot_out {
            return;
        }
        if slot < self.decisions.base() {
            return out.serve_snapshot(to, Slot(0), 0);
        }
        let mut weight = 0;
        let mut decrees = Vec::new();
        for (_, decree) in self.decisions.iter_from(slot).take(self.limits.decrees) {
            weight += decree.weight();
            let next = slot.plus(decrees.len() as u64);
            if next >= self.slot_out || (weight > self.limits.message_bytes && !decrees.is_empty())
            {
                break;
            }
            decrees.push(decree.clone());
        }
        out.send(to, Message::Decisions { first: slot, decrees });
    }

    /// Decisions from another replica. Asks for more if there are more.
    pub fn taught(&mut self, from: NodeId, first: Slot, decrees: Vec<Decree>, out: &mut Outbox) {
        let before = self.slot_out;
        let mut slot = first;
        for decree in decrees {
            self.decision(slot, Some(decree), out);
            slot = slot.next();
        }
        if self.slot_out > before && self.slot_out < self.catchup.heard {
            out.send(from, Message::Learn(self.slot_out));
        }
    }

    /// Case part of a snapshot: has it kept, and asks for the next.
    pub fn chunk(&mut self, from: NodeId, chunk: Box<SnapshotChunk>, out: &mut Outbox) {
        let SnapshotChunk { slot, checksum, total, offset, .. } = *chunk;
        if self.catchup.installing.is_some() {
            return;
        }
        if slot <= self.slot_out {
            let later = |download: &Download| download.slot > self.slot_out;
            self.catchup.download = self.catchup.download.take().filter(later);
            return;
        }
        let same = |d: &Download| (d.slot, d.checksum, d.total) == (slot, checksum, total);
        let other = self.catchup.download.as_ref().filter(|d| !same(d) && d.stalled);
        if offset > 0 && other.is_some() {
            // Snapshots at one slot may differ in the configurations that are forgotten: what was
            // begun with another replica cannot go on with this one.
            self.catchup.give_up_stalled();
            return out.send(from, Message::FetchSnapshot { slot, offset: 0 });
        }
        let wanted = self.catchup.download.as_ref().is_some_and(|d| same(d) || !d.stalled);
        if offset == 0 && !wanted {
            self.catchup.give_up_stalled();
            let (received, before, waited, pace, stalled) = (0, 0, 0, 0, false);
            let new =
                Download { slot, checksum, total, received, from, before, waited, pace, stalled };
            self.catchup.download = Some(new);
        }
        let Some(download) = self.catchup.download.as_mut().filter(|d| same(d)) else { return };
        if download.received != offset {
            return; // Repeated, or out of order.
        }
        let received = offset.saturating_add(chunk.bytes.len() as u64);
        let complete = received == total;
        if received > total || (received == offset && !complete) {
            self.catchup.download = None; // That will never become a snapshot.
            return;
        }
        (download.received, download.from, download.stalled) = (received, from, false);
        out.push(Effect::KeepChunk { chunk, complete });
        if complete {
            self.catchup.installing = Some(from);
        } else {
            out.send(from, Message::FetchSnapshot { slot, offset: received });
        }
    }

    /// Replaces the state by that of a snapshot, unless that is not newer (R4). Commands that were
    /// proposed for slots it covers are proposed again, unless its sessions show them as performed
    /// (E43). False if the snapshot is not newer.
    ///
    /// # Errors
    /// When `frame` is no frame; then everything stays as it was.
    pub fn install(
        &mut self,
        frame: &[u8],
        state: S,
        out: &mut Outbox,
    ) -> Result<bool, InvalidSnapshot> {
        let source = self.give_up_download();
        let slot = wire::frame_slot(frame).map_err(|_| InvalidSnapshot)?;
        if slot <= self.slot_out {
            return Ok(false);
        }
        self.resume(frame, out)?;
        self.catchup.patience = PATIENCE;
        self.state = state;
        self.advance(out);
        if let Some(source) = source.filter(|_| self.slot_out < self.catchup.heard) {
            out.send(source, Message::Learn(self.slot_out));
        }
        Ok(true)
    }

    /// Forgets the snapshot that is on its way or being restored. Returns who sent its last part.
    pub fn give_up_download(&mut self) -> Option<NodeId> {
        self.catchup.download = None;
        self.catchup.installing.take()
    }

    /// Continues where a snapshot ends whose state the replica has, or is about to get.
    fn resume(&mut self, frame: &[u8], out: &mut Outbox) -> Result<(), InvalidSnapshot> {
        let limit = self.sessions.limit();
        let Frame { slot, schedule, sessions } =
            wire::decode_frame(frame, limit).map_err(|_| InvalidSnapshot)?;
        invariant!(R4, slot >= self.slot_out, "snapshot {slot} is behind {}", self.slot_out);
        self.slot_out = slot;
        let before = core::mem::replace(&mut self.schedule, schedule);
        self.sessions = sessions;
        self.catchup.heard(slot);
        self.decisions.advance(slot);
        self.yield_below(slot);
        // Who takes part in none of the configurations that are left must be told, also if it was
        // told in an earlier life.
        let oldest = self.schedule.at(Slot::FIRST).epoch;
        let over = before.entries.into_iter().filter(|(_, config)| config.epoch < oldest);
        over.for_each(|(_, config)| out.push(Effect::Retired(config)));
        Ok(())
    }

    /// Continues from a snapshot of an earlier life, whose state the replica has.
    pub(crate) fn resume_saved(
        &mut self,
        frame: &[u8],
        out: &mut Outbox,
    ) -> Result<(), InvalidSnapshot> {
        self.resume(frame, out)?;
        self.catchup.durable = self.slot_out;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::{
        effect::Effect,
        reconfig::{Members, Schedule},
        types::{ClientId, Command, Op, Payload},
    };

    #[derive(Clone, PartialEq, Eq, Debug)]
    struct Nothing;

    impl StateMachine for Nothing {
        fn apply(&mut self, _: &[u8]) -> Payload {
            Payload::EMPTY
        }
    }

    /// Replica 1 of three, which has performed nothing and has heard of later slots.
    fn behind() -> Replica<Nothing> {
        let all = [NodeId(1), NodeId(2), NodeId(3)];
        let schedule = Schedule::new(Members::new(all, all, all).unwrap(), 1);
        let mut replica = Replica::new(NodeId(1), 1, Nothing, schedule, 8);
        replica.catchup.heard(Slot(40));
        replica
    }

    fn part(slot: u64, checksum: u64, offset: u64) -> Box<SnapshotChunk> {
        let bytes = Box::new([0; 3]);
        Box::new(SnapshotChunk { slot: Slot(slot), checksum, total: 9, offset, bytes })
    }

    fn keep(chunk: Box<SnapshotChunk>) -> Effect {
        Effect::KeepChunk { chunk, complete: false }
    }

    fn fetch(from: u32, slot: u64, offset: u64) -> Effect {
        Effect::Send(NodeId(from), Message::FetchSnapshot { slot: Slot(slot), offset })
    }

    #[test]
    fn what_is_saved_is_neither_less_than_before_nor_more_than_was_performed() {
        let (mut replica, mut out) = (behind(), Outbox::new(NodeId(1)));
        replica.saved(Slot(9), &mut out);
        assert_eq!(replica.progress().durable, Slot::FIRST, "nothing has been performed");
        let decrees = vec![Decree::noop(), Decree::noop()];
        replica.taught(NodeId(2), Slot::FIRST, decrees, &mut out);
        for (slot, durable) in [(3, 3), (2, 3), (4, 3)] {
            replica.saved(Slot(slot), &mut out);
            assert_eq!(replica.progress().durable, Slot(durable), "{slot}");
        }
    }

    #[test]
    fn a_snapshot_longer_than_was_said_is_given_up() {
        let (mut replica, mut out) = (behind(), Outbox::new(NodeId(1)));
        let part = |offset, len: usize| {
            Box::new(SnapshotChunk { bytes: vec![0; len].into(), ..*part(32, 1, offset) })
        };
        replica.chunk(NodeId(2), part(0, 3), &mut out);
        replica.chunk(NodeId(2), part(3, 7), &mut out);
        out.drain().for_each(drop);
        replica.chunk(NodeId(2), part(0, 9), &mut out);
        let whole = Effect::KeepChunk { chunk: part(0, 9), complete: true };
        assert_eq!(out.drain().next(), Some(whole), "it begins anew");
    }

    #[test]
    fn the_parts_of_two_snapshots_do_not_push_each_other_out() {
        let (mut replica, mut out) = (behind(), Outbox::new(NodeId(1)));
        replica.chunk(NodeId(2), part(32, 1, 0), &mut out);
        replica.chunk(NodeId(3), part(29, 2, 0), &mut out);
        replica.chunk(NodeId(2), part(32, 1, 3), &mut out);
        let kept = |offset| keep(part(32, 1, offset));
        let first = [kept(0), fetch(2, 32, 3)];
        assert_eq!(out.drain().collect::<Vec<_>>(), [first, [kept(3), fetch(2, 32, 6)]].concat());
    }

    #[test]
    fn a_snapshot_that_cannot_go_on_is_begun_anew_with_another_replica() {
        let (mut replica, mut out) = (behind(), Outbox::new(NodeId(1)));
        replica.chunk(NodeId(2), part(32, 1, 0), &mut out);
        rounds(&mut replica, PATIENCE + 2, &mut out);
        out.drain().for_each(drop);
        replica.chunk(NodeId(3), part(32, 2, 3), &mut out);
        assert_eq!(out.drain().collect::<Vec<_>>(), [fetch(3, 32, 0)]);
    }

    fn rounds(replica: &mut Replica<Nothing>, count: u32, out: &mut Outbox) {
        (0..count).for_each(|_| replica.learn_missing(out));
    }

    #[test]
    fn a_part_that_takes_its_time_is_waited_for() {
        let (mut replica, mut out) = (behind(), Outbox::new(NodeId(1)));
        rounds(&mut replica, 1, &mut out); // Nothing was performed in it.
        replica.chunk(NodeId(2), part(32, 1, 0), &mut out);
        rounds(&mut replica, 1, &mut out);
        out.drain().for_each(drop);
        rounds(&mut replica, PATIENCE - 1, &mut out);
        let again = fetch(2, 32, 3);
        assert_eq!(out.drain().collect::<Vec<_>>(), [again.clone(), again.clone(), again]);
        replica.chunk(NodeId(3), part(29, 2, 0), &mut out);
        assert!(out.is_empty(), "another snapshot is not begun");
        replica.chunk(NodeId(2), part(32, 1, 3), &mut out);
        assert_eq!(out.drain().collect::<Vec<_>>(), [keep(part(32, 1, 3)), fetch(2, 32, 6)]);
        rounds(&mut replica, PATIENCE, &mut out);
        assert!(out.is_empty(), "the last part took as long, so it is not yet asked for again");
    }

    #[test]
    fn whoever_goes_from_one_snapshot_to_another_is_more_patient_every_time() {
        let (mut replica, mut out) = (behind(), Outbox::new(NodeId(1)));
        rounds(&mut replica, 1, &mut out);
        for (checksum, patience) in (1..).zip([8, 16, 32, 64, 128, 256, 512, 1024, 1024]) {
            replica.chunk(NodeId(2), part(32, checksum, 0), &mut out);
            rounds(&mut replica, patience, &mut out);
            let download = |replica: &Replica<Nothing>| replica.catchup.download.clone().unwrap();
            assert!(!download(&replica).stalled, "{patience}");
            rounds(&mut replica, 1, &mut out);
            assert!(download(&replica).stalled, "{patience}");
        }
    }

    #[test]
    fn who_has_been_taught_something_new_asks_for_the_rest_at_once() {
        let (mut replica, mut out) = (behind(), Outbox::new(NodeId(1)));
        let mut asks_after = |first, n| {
            replica.taught(NodeId(2), Slot(first), vec![Decree::noop(); n], &mut out);
            out.drain().collect::<Vec<_>>()
        };
        assert_eq!(asks_after(1, 3), [Effect::Send(NodeId(2), Message::Learn(Slot(4)))]);
        assert_eq!(asks_after(1, 3), [], "a repetition");
        assert_eq!(asks_after(4, 36), [], "that is all that it has heard of");
    }

    #[test]
    fn who_has_restored_a_snapshot_asks_its_source_for_the_rest_at_once() {
        let (mut replica, mut out) = (behind(), Outbox::new(NodeId(1)));
        let mut asks_after = |n| {
            let mut ahead = behind();
            ahead.taught(NodeId(2), Slot::FIRST, vec![Decree::noop(); n], &mut out);
            let slot = ahead.slot_out().0;
            for offset in [0, 3, 6] {
                replica.chunk(NodeId(3), part(slot, 1, offset), &mut out);
            }
            out.drain().for_each(drop);
            assert_eq!(replica.install(&ahead.frame(), Nothing, &mut out), Ok(true));
            out.drain().collect::<Vec<_>>()
        };
        assert_eq!(asks_after(9), [Effect::Send(NodeId(3), Message::Learn(Slot(10)))]);
        assert_eq!(asks_after(39), [], "that is all that it has heard of");
    }

    #[test]
    fn what_is_taught_at_one_time_is_limited() {
        let (mut replica, mut out) = (behind(), Outbox::new(NodeId(1)));
        let client = ClientId { born: Slot::FIRST, number: 1 };
        let third = replica.limits.message_bytes / 3 + 1;
        for (cid, len) in (1..).zip([third, third, third, 3 * third, third, 0, 0]) {
            let op = Op::Apply(Payload::from(vec![0; len]));
            let decree = Decree::from(Vec::from([Command { client, cid, acked: cid, op }]));
            replica.decision(Slot(cid), Some(decree), &mut out);
        }
        out.drain().for_each(drop);
        let mut taught = |from| {
            replica.teach(NodeId(2), Slot(from), &mut out);
            match out.drain().next() {
                Some(Effect::Send(NodeId(2), Message::Decisions { first, decrees })) => {
                    assert_eq!(first, Slot(from));
                    decrees.len()
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(taught(1), 2);
        assert_eq!(taught(3), 1);
        assert_eq!(taught(4), 1, "one decree is always sent");
        assert_eq!(taught(5), 3);
    }

    #[test]
    fn a_part_of_what_has_been_performed_gives_up_no_snapshot_that_is_newer() {
        let (mut replica, mut out) = (behind(), Outbox::new(NodeId(1)));
        replica.chunk(NodeId(2), part(2, 1, 0), &mut out);
        replica.chunk(NodeId(3), part(1, 2, 0), &mut out);
        assert!(replica.catchup.download.is_some());
        replica.decision(Slot(1), Some(Decree::noop()), &mut out);
        replica.chunk(NodeId(3), part(1, 2, 0), &mut out);
        assert_eq!(replica.catchup.download, None, "the other is no newer now, either");
    }
}
