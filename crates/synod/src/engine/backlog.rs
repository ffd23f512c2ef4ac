//! How much waits for the disk. A node whose disk hangs is sent ever more that it would have to
//! keep in memory until the disk goes on: beyond a bound it takes no more of it in.

use std::collections::VecDeque;

use synod_paxos::{Message, Record};

use super::{Engine, snapshots::decreed};
use crate::machine::Machine;

/// Most bytes of commands that wait for the disk, in production: what a slow disk may be behind in
/// a burst, and far from what would matter to the machine.
pub const BACKLOG: u64 = 256 << 20;
/// What a record or message counts for besides its commands, in bytes.
const EACH: u64 = 128;

/// Records and messages that wait for the disk.
pub(super) struct Backlog {
    /// Most bytes that wait.
    most: u64,
    /// Bytes of everything that has ever waited.
    total: u64,
    /// Bytes of what waits no more.
    done: u64,
    /// How many bytes there were when so many records had been appended.
    steps: VecDeque<(u64, u64)>,
}

impl Backlog {
    pub(super) fn new(most: u64) -> Self {
        Self { most, total: 0, done: 0, steps: VecDeque::new() }
    }

    /// A record waits, which is no. `number` of this life.
    #[inline]
    pub(super) fn note(&mut self, number: u64, record: &Record) {
        let commands = decreed(record).map_or(0, |(_, bytes)| bytes);
        self.total += EACH + commands;
        self.steps.push_back((number, self.total));
    }

    /// A message waits for the records before it, if there are any.
    #[inline]
    pub(super) fn hold(&mut self) {
        if let Some((_, total)) = self.steps.back_mut() {
            self.total += EACH;
            *total = self.total;
        }
    }

    /// So many records of this life are on disk.
    pub(super) fn synced(&mut self, count: u64) {
        while let Some((_, total)) = self.steps.pop_front_if(|(number, _)| *number <= count) {
            self.done = total;
        }
    }

    /// So much waits that no more can be taken in.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.total - self.done > self.most
    }
}

impl<M: Machine> Engine<M> {
    /// Whether so much waits for the disk that no more is taken in.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.backlog.is_full()
    }
}

/// Whether a message leads to something that has to wait for the disk.
pub(super) fn burdens(message: &Message) -> bool {
    match message {
        Message::Forward(_)
        | Message::Propose(_)
        | Message::P1a { .. }
        | Message::P1b(_)
        | Message::P2a(_)
        | Message::P2b(_)
        | Message::Decision { .. }
        | Message::Decisions { .. }
        | Message::Schedule(_)
        | Message::SnapshotChunk(_)
        | Message::Collect(_)
        | Message::TakeOver { .. }
        | Message::Ping { .. } => true,
        Message::SlotOut(_)
        | Message::AskSchedule
        | Message::Learn(_)
        | Message::FetchSnapshot { .. }
        | Message::ReadQuery { .. }
        | Message::ReadReply { .. }
        | Message::Pong { .. }
        | Message::Heartbeat { .. }
        | Message::Lease(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use synod_paxos::Slot;

    use super::*;

    #[test]
    fn what_waits_is_counted_until_it_is_on_disk() {
        let mut backlog = Backlog::new(9 * EACH);
        for number in 1..=9 {
            backlog.note(number, &Record::Collected(Slot(number)));
        }
        assert!(!backlog.is_full());
        backlog.hold();
        assert!(backlog.is_full(), "messages count, too");
        backlog.synced(1);
        assert!(!backlog.is_full());
        backlog.synced(9);
        assert_eq!(backlog.total, backlog.done);
        assert!(backlog.steps.is_empty());
    }

    #[test]
    fn what_waits_for_nothing_is_not_counted() {
        let mut backlog = Backlog::new(9 * EACH);
        (0..=9).for_each(|_| backlog.hold());
        assert!(!backlog.is_full(), "an idle node answers pings for days, and writes nothing");
    }
}
