//! When a node makes a snapshot, and how it takes one over.

use std::{collections::BTreeSet, time::Duration};

use synod_paxos::{NodeId, PValue, Record, Slot, wire::frame_slot};

use crate::{
    error::StopReason,
    machine::Machine,
    system::{Head, Replicated, picture},
};

use super::{Boot, Engine, Finished, Host, Job};

/// Slots after which a snapshot is made, however little they hold: the protocol keeps a million.
const SLOTS_MAX: u64 = 1 << 17;

/// How long to wait after a snapshot could not be written.
const RETRY: Duration = Duration::from_secs(5);

/// When the next snapshot is due.
pub(super) struct Saving {
    /// Bytes of commands after which a snapshot is made, unless the last one was longer.
    every: u64,
    /// The length of the last snapshot.
    last: u64,
    /// So many eighths later: not all nodes should be writing one at the same time.
    delay: u64,
    /// Bytes of commands since then.
    bytes: u64,
    /// Everything below this slot is in the last snapshot.
    slot: Slot,
    /// One is being written.
    busy: bool,
    /// Not before this time.
    not_before: Duration,
    /// An operator, or a peer, wants one.
    wanted: bool,
    /// A peer wants one, as a file.
    for_peer: bool,
    /// Peers for which a part is being read.
    serving: BTreeSet<NodeId>,
}

impl Saving {
    /// Counts what the log has: who is started anew again and again has to make snapshots, too.
    pub(super) fn new<M>(boot: &Boot<M>) -> Self {
        let (every, last) = (boot.snapshot_every, boot.snapshot_bytes);
        let (delay, not_before) = (u64::from(boot.setup.id.0 % 4), Duration::ZERO);
        let saved = boot.head.as_ref().and_then(|head| frame_slot(&head.frame).ok());
        let slot = saved.unwrap_or(Slot::FIRST);
        let (busy, wanted, for_peer) = (false, false, false);
        let serving = BTreeSet::new();
        let records = boot.records.iter().flatten();
        let since = records.filter_map(decreed).filter(|(open, _)| *open >= slot);
        let bytes = since.map(|(_, bytes)| bytes).sum();
        Self { every, last, delay, bytes, slot, busy, not_before, wanted, for_peer, serving }
    }

    /// Counts what goes into the log.
    #[inline]
    pub(super) fn note(&mut self, record: &Record) {
        self.bytes += decreed(record).map_or(0, |(_, bytes)| bytes);
    }

    /// Whether something is being written or read.
    pub(super) fn is_busy(&self) -> bool {
        self.busy || !self.serving.is_empty()
    }

    fn due(&self, slot_out: Slot) -> bool {
        let slots = slot_out.0 - self.slot.0;
        let enough = self.every.max(self.last);
        let enough = enough.saturating_add(enough / 8 * self.delay);
        let long = self.bytes >= enough || slots >= SLOTS_MAX;
        (slots > 0 && (long || self.wanted)) || self.for_peer
    }
}

/// The slot and the bytes of commands that a record is about.
#[inline]
pub(super) fn decreed(record: &Record) -> Option<(Slot, u64)> {
    match record {
        Record::Accepted(PValue { slot, decree, .. }) | Record::Learned { slot, decree } => {
            Some((*slot, decree.weight() as u64))
        }
        Record::Started(_)
        | Record::Campaigned(_)
        | Record::Adopted(_)
        | Record::Collected(_)
        | Record::Performed { .. }
        | Record::Lost { .. } => None,
    }
}

impl<M: Machine> Engine<M> {
    /// Makes a snapshot of the state as it is now, as soon as none is being written. False if
    /// this node keeps no state.
    pub fn save(&mut self, host: &mut impl Host<M>) -> bool {
        self.save_if_due(true, host);
        self.replicates()
    }

    /// Everything below this slot is in this node's last snapshot, or in its machine's last commit.
    #[must_use]
    pub fn durable(&self) -> Slot {
        self.node.replica().progress().durable
    }

    /// A peer asks for a part of a snapshot. It asks again when it has to wait: what it asked for
    /// first is not read twice, or more would be asked for than can be read, for ever.
    pub(super) fn serve(
        &mut self,
        (to, slot, offset): (NodeId, Slot, u64),
        host: &mut impl Host<M>,
    ) {
        if self.saving.serving.insert(to) {
            let at_least = self.node.replica().collected();
            host.start(Job::Serve { to, slot, offset, at_least });
        }
    }

    /// Something long has come to an end.
    pub fn finished(&mut self, now: Duration, finished: Finished<M>, host: &mut impl Host<M>) {
        self.now = now;
        match finished {
            Finished::Saved { slot: Ok(slot), bytes } => {
                self.saving.busy = false;
                self.saving.last = bytes;
                host.metrics().snapshots += 1;
                self.node.saved(slot, &mut self.out);
            }
            Finished::Saved { slot: Err(error), .. } => {
                tracing::warn!(%error, "a snapshot could not be written; it is tried again");
                self.saving.busy = false;
                self.saving.wanted = true;
                self.saving.slot = self.node.replica().progress().durable;
                self.saving.not_before = now + RETRY;
            }
            Finished::Kept => {}
            Finished::Served { to, sent } => {
                self.saving.serving.remove(&to);
                if !sent {
                    self.saving.for_peer = true;
                    self.save_if_due(true, host);
                }
            }
            Finished::Restored(restored) => self.restored(*restored, host),
            Finished::NotRestored(error) => {
                tracing::warn!(%error, "a peer's snapshot could not be taken over");
                self.node.install_failed();
            }
        }
    }

    fn restored(&mut self, (head, machine): (Head, M), host: &mut impl Host<M>) {
        let state = Replicated::new(machine, head.preamble);
        match self.node.install(&head.frame, state, &mut self.out) {
            Ok(true) => {
                host.metrics().installed += 1;
                self.saving.bytes = 0;
                self.installed(&head.frame, host);
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "a peer's snapshot could not be taken over"),
        }
    }

    /// A peer's snapshot is what this node goes on from, and it is on disk already; but a machine
    /// that is durable by itself has to commit it.
    fn installed(&mut self, frame: &[u8], host: &mut impl Host<M>) {
        let Ok(slot) = frame_slot(frame) else { return };
        if self.durable_by_itself {
            self.save_if_due(true, host);
        } else {
            self.saving.slot = slot;
            self.node.saved(slot, &mut self.out);
        }
    }

    /// Makes a snapshot if enough has happened since the last one, or if it is `wanted`.
    pub(super) fn save_if_due(&mut self, wanted: bool, host: &mut impl Host<M>) {
        let replica = self.node.replica();
        let slot = replica.slot_out();
        let lost = self.node.acceptor().lost().any(|lost| lost < slot && lost >= self.saving.slot);
        self.saving.wanted |= wanted || lost;
        if !self.saving.due(slot) || self.saving.busy || self.now < self.saving.not_before {
            return;
        }
        let head = Head { frame: replica.frame(), preamble: replica.state().preamble() };
        self.saving.slot = slot;
        self.saving.bytes = 0;
        self.saving.wanted = false;
        match self.commit(&head) {
            Some(Ok(())) => {
                self.durable_by_itself = true;
                host.metrics().snapshots += 1;
                self.node.saved(slot, &mut self.out);
                if !std::mem::take(&mut self.saving.for_peer) {
                    return;
                }
            }
            Some(Err(error)) => return host.stop(StopReason::Machine(error.into())),
            None => {}
        }
        (self.saving.busy, self.saving.for_peer) = (true, false);
        let picture = picture(head, &self.node.replica().state().machine);
        host.start(Job::Save { slot, picture });
    }

    /// Lets a machine that is durable by itself make its state durable.
    fn commit(&mut self, head: &Head) -> Option<std::io::Result<()>> {
        let bytes = match head.to_bytes() {
            Ok(bytes) => bytes,
            Err(error) => return Some(Err(error)),
        };
        self.node.state_mut().machine.commit(&bytes)
    }
}
