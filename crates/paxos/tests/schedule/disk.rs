//! A process's disk: what is on it, and what is still on its way there, in order.

use std::collections::VecDeque;

use synod_paxos::{Message, NodeId, Record, Slot};

/// Something that waits for a sync, or a message that waits with it.
#[derive(Debug)]
pub(crate) enum Pending {
    Record(Record),
    Message(NodeId, Message),
    Snapshot(Slot, Vec<u8>),
}

#[derive(Default, Debug)]
pub(crate) struct Disk {
    pub(crate) log: Vec<Record>,
    pub(crate) snapshot: Option<(Slot, Vec<u8>)>,
    pending: VecDeque<Pending>,
}

impl Disk {
    /// Whether nothing waits for a sync.
    pub(crate) fn is_clean(&self) -> bool {
        self.pending.is_empty()
    }

    pub(crate) fn write(&mut self, pending: Pending) {
        self.pending.push_back(pending);
    }

    /// Everything that waits, in order. The caller says for each what became of it: with
    /// [`Disk::keep`] it is on the disk.
    pub(crate) fn take(&mut self) -> VecDeque<Pending> {
        std::mem::take(&mut self.pending)
    }

    /// What a power failure leaves: the first `survivors` of what was being written.
    pub(crate) fn crash(&mut self, survivors: usize) -> Vec<Pending> {
        let written = |pending: &Pending| !matches!(pending, Pending::Message(..));
        self.take().into_iter().filter(written).take(survivors).collect()
    }

    pub(crate) fn unsynced(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn keep(&mut self, record: Record) {
        self.log.push(record);
    }

    /// Where the log has records for which `wanted` says so.
    pub(crate) fn places(&self, wanted: impl Fn(&Record) -> bool) -> Vec<usize> {
        (0..self.log.len()).filter(|place| wanted(&self.log[*place])).collect()
    }

    /// A later snapshot replaces an earlier one.
    pub(crate) fn save(&mut self, slot: Slot, bytes: Vec<u8>) -> bool {
        let later = self.snapshot.as_ref().is_none_or(|(saved, _)| *saved < slot);
        if later {
            self.snapshot = Some((slot, bytes));
        }
        later
    }
}
