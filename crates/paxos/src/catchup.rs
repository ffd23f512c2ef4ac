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
    effect::Outbox,
    invariant,
    message::{Message, Progress, SnapshotChunk},
    progress::Reports,
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
}

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

    /// Collects what enough replicas of every configuration in force hold durably (E41).
    fn collect(&mut self, out: &mut Outbox) {
        let own = self.progress();
        self.catchup.reports.note(self.id, own, &self.schedule);
        let configs = self.schedule.entries.iter().map(|(_, config)| config);
        let reports = &self.catchup.reports;
        let durable = |config| reports.reached(config, |progress: &Progress| progress.durable);
        let enough = configs.clone().map(|config| durable(config)).min();
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
            self.catchup.serving = Some(Serving { slot: self.slot_out, checksum, bytes });
        }
        let Some(Serving { slot: at, checksum, bytes }) = &self.catchup.serving else { return };
        let offset = if *at == slot { offset } else { 0 };
        let Some(rest) = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)) else {
            return;
        };
        out.send(
            to,
            Message::SnapshotChunk(Box::new(SnapshotChunk {
                slot: *at,
                checksum: *checksum,
                total: bytes.len() as u64,
                offset,
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
        if checksum(&download.bytes) == sum && self.install(&download.bytes).is_ok() {
            self.advance(out);
            if self.slot_out < self.catchup.heard {
                out.send(from, Message::Learn(self.slot_out));
            }
        }
    }

    /// Replaces the state by that of a snapshot, whole or not at all, and never by an older one
    /// (R4). Commands that were proposed for slots it covers are proposed again, unless its
    /// sessions show them as performed (E43).
    fn install(&mut self, bytes: &[u8]) -> Result<(), InvalidSnapshot> {
        let limit = self.sessions.limit();
        let snapshot = wire::decode_snapshot(bytes, limit).map_err(|_| InvalidSnapshot)?;
        if snapshot.slot < self.slot_out {
            return Ok(());
        }
        self.state.restore(snapshot.state)?;
        let slot = snapshot.slot;
        invariant!(R4, slot >= self.slot_out, "snapshot {slot} is behind {}", self.slot_out);
        self.slot_out = slot;
        self.schedule = snapshot.schedule;
        self.sessions = snapshot.sessions;
        self.catchup.heard(slot);
        self.decisions.advance(slot);
        self.yield_below(slot);
        Ok(())
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
