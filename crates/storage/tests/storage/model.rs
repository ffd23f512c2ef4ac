//! What a store should hold: the records themselves.

use std::collections::BTreeMap;

use synod_paxos::{Ballot, ClientId, Command, Decree, NodeId, Op, PValue, Payload, Record, Slot};
use synod_storage::{Disk, OpenError, Options, Replayed, Store, Want};

pub(crate) const WANT: Want = Want { cluster: 0xc1, node: NodeId(7) };
pub(crate) const BIRTH: u64 = 0xb1;

/// Segments with room for 4 KiB of records.
pub(crate) fn tiny() -> Options {
    Options { segment_bytes: 16 << 10, spare_segments: 1, spare_segments_max: 2 }
}

pub(crate) fn open<D: Disk>(disk: &D) -> Result<Store<D>, OpenError> {
    Store::open(disk.clone(), WANT, BIRTH, tiny())
}

/// Opens a store and reads everything back.
pub(crate) fn recover<D: Disk>(disk: &D) -> Result<(Store<D>, Replayed, Vec<Record>), OpenError> {
    let mut store = open(disk)?;
    let mut records = Vec::new();
    let replayed = store.replay(&mut |record| records.push(record))?;
    Ok((store, replayed, records))
}

pub(crate) fn ballot(round: u64) -> Ballot {
    Ballot { round, incarnation: 1, leader: NodeId(7) }
}

/// A decree of one command of `len` bytes, which differ from those of every other slot.
pub(crate) fn decree(slot: u64, len: usize) -> Decree {
    if len == 0 {
        return Decree::noop();
    }
    let op: Vec<u8> = (0..len).map(|at| (slot as usize * 31 + at * 7) as u8).collect();
    let client = ClientId { born: Slot(1), number: 1 };
    let op = Op::Apply(Payload::from(op));
    Decree::from(vec![Command { client, cid: slot, acked: 1, op }])
}

pub(crate) fn accepted(round: u64, slot: u64, len: usize) -> Record {
    Record::Accepted(PValue {
        ballot: ballot(round),
        slot: Slot(slot),
        decree: decree(slot * 1000 + round, len),
    })
}

pub(crate) fn performed(round: u64, first: u64, end: u64) -> Record {
    Record::Performed { ballot: ballot(round), first: Slot(first), end: Slot(end) }
}

/// What records come to, for a node: the same for the same records, however much of what is
/// superseded is left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sum {
    started: u32,
    campaigned: Ballot,
    adopted: Ballot,
    collected: Slot,
    /// From the collected slot on.
    accepted: BTreeMap<Slot, Record>,
    learned: BTreeMap<Slot, Record>,
    performed: Vec<(Ballot, Slot, Slot)>,
}

impl Sum {
    pub(crate) fn of(records: &[Record]) -> Self {
        let mut sum = Self {
            started: 0,
            campaigned: Ballot::BOTTOM,
            adopted: Ballot::BOTTOM,
            collected: Slot(0),
            accepted: BTreeMap::new(),
            learned: BTreeMap::new(),
            performed: Vec::new(),
        };
        for record in records {
            match record {
                Record::Started(life) => sum.started = sum.started.max(*life),
                Record::Campaigned(ballot) => sum.campaigned = sum.campaigned.max(*ballot),
                Record::Adopted(ballot) => sum.adopted = sum.adopted.max(*ballot),
                Record::Collected(slot) => sum.collected = sum.collected.max(*slot),
                Record::Accepted(pvalue) => {
                    sum.adopted = sum.adopted.max(pvalue.ballot);
                    sum.accepted.insert(pvalue.slot, record.clone());
                }
                Record::Lost { ballot, slot } => {
                    sum.adopted = sum.adopted.max(*ballot);
                    sum.accepted.insert(*slot, record.clone());
                }
                Record::Learned { slot, .. } => {
                    sum.learned.insert(*slot, record.clone());
                }
                Record::Performed { ballot, first, end } => {
                    sum.performed.push((*ballot, *first, *end));
                }
            }
        }
        let collected = sum.collected;
        sum.accepted.retain(|slot, _| *slot >= collected);
        sum.learned.retain(|slot, _| *slot >= collected);
        sum.performed.retain(|(_, _, end)| *end > collected);
        sum
    }
}
