//! Garbage collection, and how a replica that is behind catches up (section 4.2).
//!
//! Replicas tell one another how far they are. What f + 1 of them hold durably can be dropped
//! everywhere: one of them outlives f crashes, and teaches the others. A replica that misses
//! decisions asks another one for them, and is sent a snapshot if they have been dropped (E43).
//! It asks for each part, so that nobody is held up, and a transfer is resumed where it stopped.
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
    wire,
};

/// Most decrees in one message.
const DECREES_MAX: usize = 256;
/// Most bytes of operations in one message, unless a single decree has more.
const DECREES_BYTES_MAX: usize = 1 << 20;
/// Bytes in one part of a snapshot.
const CHUNK: usize = 1 << 18;

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
    serving: Option<Serving>,
}

/// A snapshot on its way here.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Download {
    slot: Slot,
    checksum: u64,
    total: u64,
    bytes: Vec<u8>,
    /// How many bytes were there when the last round of retries began.
    before: usize,
    /// Nothing has come for a whole round. Only then may another snapshot replace this one, or
    /// the parts from two replicas would for ever push each other out.
    stalled: bool,
}

/// A snapshot that others are fetching.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Serving {
    slot: Slot,
    checksum: u64,
    bytes: Arc<[u8]>,
    /// When it was asked for last, in rounds of trying again.
    asked: u64,
}

/// Rounds after which a snapshot that nobody has asked for is given up.
const SERVED_ROUNDS: u64 = 256;

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
            serving: None,
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

    pub(crate) fn durable(&self) -> Slot {
        self.durable
    }
}

impl<S: StateMachine> Replica<S> {
    /// The whole replicated state: what this replica is at slot_out. To be written to disk from
    /// time to time, and then reported with [`Replica::saved`].
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        wire::encode_snapshot(self.slot_out, &self.schedule, &self.sessions, &self.state.snapshot())
    }

    /// Continues from a snapshot that this replica saved in an earlier life.
    ///
    /// # Errors
    /// When the bytes are no snapshot of this state machine.
    pub fn restore(&mut self, snapshot: &[u8]) -> Result<(), InvalidSnapshot> {
        self.install(snapshot)?;
        self.catchup.durable = self.slot_out;
        Ok(())
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
        acceptors.sort_unstable();
        acceptors.dedup();
        acceptors.into_iter().for_each(|acceptor| out.send(acceptor, Message::Collect(slot)));
        self.decisions.advance(slot);
        self.retire(slot, out);
    }

    /// Asks for decisions that others have, if a whole round has brought nothing.
    pub(crate) fn learn_missing(&mut self, out: &mut Outbox) {
        let wanted = |serving: &Serving| self.round < serving.asked + SERVED_ROUNDS;
        self.catchup.serving = self.catchup.serving.take().filter(wanted);
        let stuck = core::mem::replace(&mut self.catchup.stuck, self.slot_out) == self.slot_out;
        if !stuck || self.catchup.heard <= self.slot_out {
            return;
        }
        let latest = &self.schedule.latest().members.replicas;
        let here = &self.schedule.at(self.slot_out).members.replicas;
        let beside = self.lead.map(|lead| self.schedule.latest().beside(lead));
        let ahead = self.catchup.ahead.into_iter().chain(beside);
        let peers = ahead.chain(latest.iter().copied()).chain(here.iter().copied());
        let peers: Vec<NodeId> = peers.filter(|id| *id != self.id).collect();
        let Some(&peer) = peers.get(self.catchup.turn % peers.len().max(1)) else { return };
        if let Some(download) = &mut self.catchup.download {
            download.stalled = download.bytes.len() == download.before;
            download.before = download.bytes.len();
            if !download.stalled {
                return;
            }
        }
        self.catchup.turn += 1;
        match &self.catchup.download {
            Some(Download { slot, bytes, .. }) => {
                let (slot, offset) = (*slot, bytes.len() as u64);
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
            return self.serve(to, Slot(0), 0, out);
        }
        let mut weight = 0;
        let mut decrees = Vec::new();
        for (_, decree) in self.decisions.iter_from(slot).take(DECREES_MAX) {
            weight += decree.weight();
            let next = slot.plus(decrees.len() as u64);
            if next >= self.slot_out || (weight > DECREES_BYTES_MAX && !decrees.is_empty()) {
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

    /// Case fetch: the part from `offset` on of the snapshot at `slot`, or the first part of
    /// another one if that is no longer at hand; `Slot(0)` asks for any.
    pub fn serve(&mut self, to: NodeId, slot: Slot, offset: u64, out: &mut Outbox) {
        let useful = |s: &Serving| s.slot == slot || s.slot >= self.decisions.base();
        if !self.catchup.serving.as_ref().is_some_and(useful) {
            let bytes: Arc<[u8]> = self.snapshot().into();
            let checksum = checksum(&bytes);
            let (slot, asked) = (self.slot_out, self.round);
            self.catchup.serving = Some(Serving { slot, checksum, bytes, asked });
        }
        let Some(serving) = &mut self.catchup.serving else { return };
        serving.asked = self.round;
        let Serving { slot: at, checksum, bytes, .. } = serving;
        let wanted = usize::try_from(offset).ok().filter(|_| *at == slot);
        let start = wanted.filter(|start| *start <= bytes.len()).unwrap_or(0);
        let rest = &bytes[start..];
        out.send(
            to,
            Message::SnapshotChunk(Box::new(SnapshotChunk {
                slot: *at,
                checksum: *checksum,
                total: bytes.len() as u64,
                offset: start as u64,
                bytes: rest[..rest.len().min(CHUNK)].into(),
            })),
        );
    }

    /// Case part of a snapshot: keeps it, and asks for the next or installs the whole.
    pub fn chunk(&mut self, from: NodeId, chunk: SnapshotChunk, out: &mut Outbox) {
        let SnapshotChunk { slot, checksum: sum, total, offset, bytes } = chunk;
        if slot <= self.slot_out {
            let later = |download: &Download| download.slot > self.slot_out;
            self.catchup.download = self.catchup.download.take().filter(later);
            return;
        }
        let same = |d: &Download| (d.slot, d.checksum, d.total) == (slot, sum, total);
        let other = self.catchup.download.as_ref().filter(|d| !same(d) && d.stalled);
        if offset > 0 && other.is_some() {
            // Snapshots at one slot may differ in the configurations that are forgotten: what was
            // begun with another replica cannot go on with this one.
            self.catchup.download = None;
            return out.send(from, Message::FetchSnapshot { slot, offset: 0 });
        }
        let wanted = self.catchup.download.as_ref().is_some_and(|d| same(d) || !d.stalled);
        if offset == 0 && !wanted {
            let (bytes, before, stalled) = (Vec::new(), 0, false);
            let download = Download { slot, checksum: sum, total, bytes, before, stalled };
            self.catchup.download = Some(download);
        }
        let Some(download) = self.catchup.download.as_mut().filter(|d| same(d)) else { return };
        if download.bytes.len() as u64 != offset {
            return; // Repeated, or out of order.
        }
        download.bytes.extend_from_slice(&bytes);
        download.stalled = false;
        let offset = download.bytes.len() as u64;
        if offset < total && !bytes.is_empty() {
            return out.send(from, Message::FetchSnapshot { slot, offset });
        }
        let Some(download) = self.catchup.download.take() else { return };
        if checksum(&download.bytes) != sum {
            return;
        }
        if let Ok(over) = self.install(&download.bytes) {
            over.into_iter().for_each(|config| out.push(Effect::Retired(config)));
            self.advance(out);
            if self.slot_out < self.catchup.heard {
                out.send(from, Message::Learn(self.slot_out));
            }
        }
    }

    /// Replaces the state by that of a snapshot, whole or not at all, and never by an older one
    /// (R4). Commands that were proposed for slots it covers are proposed again, unless its
    /// sessions show them as performed (E43). Returns the configurations that are over by then.
    fn install(&mut self, bytes: &[u8]) -> Result<Vec<Arc<Config>>, InvalidSnapshot> {
        let limit = self.sessions.limit();
        let snapshot = wire::decode_snapshot(bytes, limit).map_err(|_| InvalidSnapshot)?;
        if snapshot.slot < self.slot_out {
            return Ok(Vec::new());
        }
        self.state.restore(snapshot.state)?;
        let slot = snapshot.slot;
        invariant!(R4, slot >= self.slot_out, "snapshot {slot} is behind {}", self.slot_out);
        self.slot_out = slot;
        let before = core::mem::replace(&mut self.schedule, snapshot.schedule);
        let oldest = self.schedule.at(Slot::FIRST).epoch;
        let configs = before.entries.into_iter().map(|(_, config)| config);
        let over = configs.filter(|config| config.epoch < oldest).collect();
        self.sessions = snapshot.sessions;
        self.catchup.heard(slot);
        self.decisions.advance(slot);
        self.yield_below(slot);
        Ok(over)
    }
}

/// Tells apart two snapshots, and a whole one from a damaged one: a multiply-and-rotate hash of
/// eight bytes at a time. Against malice there is TLS.
fn checksum(bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let mix = |sum: u64, word: [u8; 8]| {
        (sum.rotate_left(23) ^ u64::from_le_bytes(word)).wrapping_mul(PRIME)
    };
    let sum = words.iter().copied().chain([last]).fold(bytes.len() as u64, mix);
    sum ^ (sum >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        effect::Effect,
        reconfig::{Members, Schedule},
        types::Payload,
    };

    #[derive(Clone, PartialEq, Eq, Debug)]
    struct Nothing;

    impl StateMachine for Nothing {
        fn apply(&mut self, _: &[u8]) -> Payload {
            Payload::EMPTY
        }
        fn snapshot(&self) -> Vec<u8> {
            Vec::new()
        }
        fn restore(&mut self, _: &[u8]) -> Result<(), InvalidSnapshot> {
            Ok(())
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

    fn part(slot: u64, checksum: u64, offset: u64) -> SnapshotChunk {
        let bytes = Box::new([0; 3]);
        SnapshotChunk { slot: Slot(slot), checksum, total: 9, offset, bytes }
    }

    fn fetch(from: u32, slot: u64, offset: u64) -> Effect {
        Effect::Send(NodeId(from), Message::FetchSnapshot { slot: Slot(slot), offset })
    }

    #[test]
    fn the_parts_of_two_snapshots_do_not_push_each_other_out() {
        let (mut replica, mut out) = (behind(), Outbox::new(NodeId(1)));
        replica.chunk(NodeId(2), part(32, 1, 0), &mut out);
        replica.chunk(NodeId(3), part(29, 2, 0), &mut out);
        replica.chunk(NodeId(2), part(32, 1, 3), &mut out);
        assert_eq!(out.drain().collect::<Vec<_>>(), [fetch(2, 32, 3), fetch(2, 32, 6)]);
    }

    #[test]
    fn a_snapshot_that_cannot_go_on_is_begun_anew_with_another_replica() {
        let (mut replica, mut out) = (behind(), Outbox::new(NodeId(1)));
        replica.chunk(NodeId(2), part(32, 1, 0), &mut out);
        for _ in 0..3 {
            replica.learn_missing(&mut out);
        }
        out.drain().for_each(drop);
        replica.chunk(NodeId(3), part(32, 2, 3), &mut out);
        assert_eq!(out.drain().collect::<Vec<_>>(), [fetch(3, 32, 0)]);
    }
}
