//! A process's disk. Records that a later one replaces are dropped, and the rest is kept in one
//! order, so that disks from which the same process comes back are equal.

use synod_paxos::{Ballot, PValue, Record, Slot};

use crate::machine::Machine;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Snapshot {
    pub(crate) slot: Slot,
    pub(crate) frame: Vec<u8>,
    pub(crate) state: Machine,
}

#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Disk {
    pub(crate) log: Vec<Record>,
    pub(crate) snapshot: Option<Snapshot>,
    /// Something was to be written while it hung.
    pub(crate) missed: bool,
}

impl Disk {
    pub(crate) fn append(&mut self, record: Record) {
        self.log.retain(|old| !replaces(&record, old));
        self.log.push(record);
        self.log.sort_by_key(place);
    }

    pub(crate) fn save(&mut self, slot: Slot, frame: Vec<u8>, state: Machine) {
        self.snapshot = Some(Snapshot { slot, frame, state });
    }

    /// The highest ballot that the acceptor has adopted.
    pub(crate) fn promised(&self) -> Ballot {
        self.log.iter().filter_map(promise).max().unwrap_or(Ballot::BOTTOM)
    }
}

/// The ballot that a record of an acceptor adopts.
pub(crate) fn promise(record: &Record) -> Option<Ballot> {
    match record {
        Record::Adopted(ballot)
        | Record::Accepted(PValue { ballot, .. })
        | Record::Lost { ballot, .. } => Some(*ballot),
        Record::Started(_)
        | Record::Campaigned(_)
        | Record::Collected(_)
        | Record::Learned { .. }
        | Record::Performed { .. } => None,
    }
}

/// Whether `old` says nothing that matters once `new` is there.
fn replaces(new: &Record, old: &Record) -> bool {
    match (new, old) {
        (Record::Started(_), Record::Started(_)) | (Record::Collected(_), Record::Collected(_)) => {
            true
        }
        (Record::Campaigned(new), Record::Campaigned(old)) => new >= old,
        (Record::Accepted(new), Record::Accepted(old)) => {
            new.slot == old.slot && new.ballot >= old.ballot
        }
        (_, Record::Adopted(old)) => promise(new) >= Some(*old),
        _ => new == old,
    }
}

/// What comes first must not undo what comes later: among the acceptor's records, lower ballots.
fn place(record: &Record) -> (u8, Ballot, Slot) {
    let none = Slot(0);
    match record {
        Record::Started(_) => (0, Ballot::BOTTOM, none),
        Record::Campaigned(ballot) => (1, *ballot, none),
        Record::Collected(slot) => (2, Ballot::BOTTOM, *slot),
        Record::Adopted(ballot) => (3, *ballot, none),
        Record::Accepted(PValue { ballot, slot, .. }) | Record::Lost { ballot, slot } => {
            (3, *ballot, *slot)
        }
        Record::Learned { slot, .. } => (4, Ballot::BOTTOM, *slot),
        Record::Performed { ballot, first, .. } => (5, *ballot, *first),
    }
}
