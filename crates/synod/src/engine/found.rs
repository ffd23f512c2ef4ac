//! What earlier lives have left on a node's disk.

use synod_paxos::Record;
use synod_storage::{Disk, OpenError, Store};

use super::{Head, archive::load};
use crate::{error::StartError, machine::Machine};

/// What a node finds on its disk when it starts.
pub struct Found<M> {
    /// The state of the last snapshot, or of the machine's own last commit.
    pub machine: M,
    /// The head of that snapshot.
    pub head: Option<Head>,
    /// The snapshot's length in bytes; 0 if there is none.
    pub snapshot_bytes: u64,
    /// What is in the log; `None` if nothing has ever been.
    pub records: Option<Vec<Record>>,
}

impl<M: Machine> Found<M> {
    /// Reads it. `machine` is as its program made it.
    ///
    /// # Errors
    /// When something on the disk keeps the node from running.
    pub fn read<D: Disk>(store: &mut Store<D>, machine: M) -> Result<Self, StartError> {
        let (machine, head, snapshot_bytes) = last_state(store, machine)?;
        let records = last_records(store)?;
        if head.is_some() && records.is_none() {
            let missing =
                "there is a state that was made from the log, but nothing in the log".into();
            return Err(OpenError::Amnesia { missing }.into());
        }
        Ok(Self { machine, head, snapshot_bytes, records })
    }
}

fn last_state<M: Machine, D: Disk>(
    store: &Store<D>,
    machine: M,
) -> Result<(M, Option<Head>, u64), StartError> {
    if let Some(head) = machine.committed() {
        let head = Head::read(&mut head.as_slice()).map_err(StartError::Snapshot)?;
        return Ok((machine, Some(head), 0));
    }
    let snapshots = store.snapshots();
    let newest = snapshots.newest().map_err(StartError::Snapshot)?;
    let Some(newest) = newest else { return Ok((machine, None, 0)) };
    let restore = machine.restore();
    let loaded = snapshots.open(newest.slot).and_then(|reader| load(reader, restore));
    let (head, machine) = loaded.map_err(StartError::Snapshot)?;
    Ok((machine, Some(head), newest.len))
}

fn last_records<D: Disk>(store: &mut Store<D>) -> Result<Option<Vec<Record>>, StartError> {
    let mut records = Vec::new();
    let replayed = store.replay(&mut |record| records.push(record))?;
    if let Some(torn) = replayed.torn {
        tracing::warn!(?torn, "the end of the log was torn by a crash, and was never confirmed");
    }
    let new = records.is_empty() && store.sequence() == 0;
    Ok((!new).then_some(records))
}
