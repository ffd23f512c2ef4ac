//! A process's disk: what is left of it when it crashes.
//!
//! It is memory that the environment keeps. What matters for the protocol is only the order of
//! things: records of one turn are on the disk, all of them, before anything that waits for them
//! is sent; and what was not there is lost with the process.

use synod_paxos::Record;

/// Fewest records for which rewriting is worthwhile.
const REWRITE_MIN: usize = 1024;

/// Records, and the last snapshot.
#[derive(Default, Debug)]
pub(crate) struct Disk {
    records: Vec<Record>,
    snapshot: Option<Vec<u8>>,
    /// How many records there were after the last rewriting.
    rewritten: usize,
}

impl Disk {
    /// Makes the records durable.
    pub(crate) fn append(&mut self, records: &mut Vec<Record>) {
        self.records.append(records);
    }

    /// Whether so much has piled up that the records should be rewritten.
    pub(crate) fn is_long(&self) -> bool {
        self.records.len() > REWRITE_MIN.max(2 * self.rewritten)
    }

    /// Replaces all records.
    pub(crate) fn rewrite(&mut self, records: impl Iterator<Item = Record>) {
        self.records.clear();
        self.records.extend(records);
        self.rewritten = self.records.len();
    }

    /// Replaces the snapshot.
    pub(crate) fn save(&mut self, snapshot: Vec<u8>) {
        self.snapshot = Some(snapshot);
    }

    /// The records, in order.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record> {
        self.records.iter().cloned()
    }

    /// The last snapshot.
    pub(crate) fn snapshot(&self) -> Option<&[u8]> {
        self.snapshot.as_deref()
    }
}
