//! What became of a snapshot: on the disk, or on its way here from another node.

use std::io::{self, ErrorKind, Read as _, Write as _};

use arbitrary::Unstructured;
use synod_paxos::{NodeId, Slot};
use synod_storage::{Incoming, Options, SimDisk, SnapshotInfo, Snapshots, Store, Want};

use crate::{draw, memory};

const SLOT: Slot = Slot(9);
const NAME: &str = "snapshot-000000000009.snap";
const CHANGES: usize = 4;

/// The first byte says what the others are.
///
/// # Panics
/// When a promise is broken: what is read is what was written, or an error says why not.
pub fn run(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    match draw::below(&mut input, 4) {
        0 => strange_file(&mut input),
        1 => changed_file(&mut input),
        2 => strange_transfer(&mut input),
        _ => changed_transfer(&mut input),
    }
}

/// The snapshots of an empty directory, and its disk.
fn snapshots() -> (SimDisk, Snapshots<SimDisk>) {
    let disk = SimDisk::new();
    let want = Want { cluster: 1, node: NodeId(1) };
    let options = Options { segment_bytes: 0, spare_segments: 0, spare_segments_max: 0 };
    let store = Store::open(disk.clone(), want, 1, options);
    let snapshots = store.expect("an empty directory is formatted").snapshots();
    (disk, snapshots)
}

/// A state drawn from `input`: short, or of more than one chunk.
fn state(input: &mut Unstructured<'_>) -> Vec<u8> {
    let mut state = draw::bytes(input, 64).to_vec();
    let more = [0, 0, 0, 0, 0, 1000, (256 << 10) - 64, 300_000][draw::below(input, 8)];
    state.resize(state.len() + more, 5);
    state
}

fn save(snapshots: &Snapshots<SimDisk>, state: &[u8]) -> SnapshotInfo {
    let mut writer = snapshots.create(SLOT).expect("the disk does not fail");
    writer.write_all(state).expect("the disk does not fail");
    writer.finish().expect("the disk does not fail")
}

/// Reads the snapshot. What is read before an error is right as well.
fn read(snapshots: &Snapshots<SimDisk>) -> (Vec<u8>, io::Result<()>) {
    let mut bytes = Vec::new();
    let read = snapshots.open(SLOT).and_then(|mut reader| reader.read_to_end(&mut bytes));
    (bytes, read.map(drop))
}

/// Any bytes, under the name of a snapshot.
fn strange_file(input: &mut Unstructured<'_>) {
    let (disk, snapshots) = snapshots();
    let bytes = input.bytes(input.len()).unwrap_or(&[]);
    disk.write(NAME, bytes.to_vec());
    let most = 8 * bytes.len() + (1 << 20);
    let (read, outcome) = memory::within(most, || read(&snapshots));
    assert!(read.len() <= bytes.len());
    assert_eq!(snapshots.newest().is_err(), snapshots.open(SLOT).is_err());
    if outcome.is_ok() {
        assert!(snapshots.newest().is_ok_and(|info| info.is_some()));
    }
}

/// A snapshot that was written, and then changed.
fn changed_file(input: &mut Unstructured<'_>) {
    let (disk, snapshots) = snapshots();
    let state = state(input);
    save(&snapshots, &state);
    let mut bytes = disk.read(NAME).unwrap_or_default();
    let written = bytes.clone();
    for _ in 0..CHANGES {
        if !input.is_empty() {
            change(&mut bytes, input);
        }
    }
    disk.write(NAME, bytes.clone());
    judge(&state, bytes == written, read(&snapshots));
}

/// What is read is what was written, or the beginning of it and an error.
fn judge(state: &[u8], untouched: bool, (read, outcome): (Vec<u8>, io::Result<()>)) {
    assert!(state.starts_with(&read), "another state is given out");
    match outcome {
        Ok(()) => assert_eq!(read.len(), state.len(), "the end is missing"),
        Err(error) => assert!(!untouched, "nothing was changed: {error}"),
    }
}

/// Something happens to some bytes.
fn change(bytes: &mut Vec<u8>, input: &mut Unstructured<'_>) {
    let kind = draw::below(input, 6);
    // Near the beginning or the end, where the header and the end are; or anywhere.
    let near = draw::below(input, 256);
    let at = match draw::below(input, 3) {
        0 => near,
        1 => bytes.len().saturating_sub(near + 1),
        _ => bytes.len() / 256 * near,
    };
    let Some(byte) = bytes.get_mut(at) else { return };
    match kind {
        0 | 1 => *byte ^= 1 << draw::below(input, 8),
        2 => bytes.truncate(at),
        3 => bytes.insert(at, draw::byte(input)),
        4 => drop(bytes.remove(at)),
        _ => {
            let len = draw::below(input, 64).min(bytes.len() - at);
            bytes.copy_within(at..at + len, 0);
        }
    }
}

/// What another node announces and sends is anything.
fn strange_transfer(input: &mut Unstructured<'_>) {
    let (disk, snapshots) = snapshots();
    let (slot, checksum) = (draw::byte(input).into(), input.arbitrary().unwrap_or(0));
    let total = if draw::below(input, 4) == 0 { u64::MAX } else { input.len() as u64 / 2 };
    let received = snapshots.receive(Slot(slot), checksum, total);
    let mut incoming = received.expect("the disk does not fail");
    while !input.is_empty() {
        let offset = match draw::below(input, 4) {
            0 => input.arbitrary().unwrap_or(0),
            1 => incoming.received().saturating_sub(draw::byte(input).into()),
            _ => incoming.received(),
        };
        let (before, bytes) = (incoming.received(), draw::bytes(input, 100));
        match incoming.write(offset, bytes) {
            Ok(after) => assert!(before <= after && after <= total),
            Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput),
        }
    }
    drop(incoming.reader().map(|mut reader| io::copy(&mut reader, &mut io::sink())));
    settled(&disk, incoming);
}

/// Another node's snapshot comes in pieces, in some order; some are not what they were.
fn changed_transfer(input: &mut Unstructured<'_>) {
    let (there_disk, there) = snapshots();
    let state = state(input);
    let mut info = save(&there, &state);
    match draw::below(input, 12) {
        1 => info.checksum ^= 1,
        2 => info.slot = Slot(10),
        3 => info.len -= 1,
        4 => info.len += 1,
        _ => {}
    }
    let bytes = there_disk.read(NAME).unwrap_or_default();
    let (disk, here) = snapshots();
    let received = here.receive(info.slot, info.checksum, info.len);
    let mut incoming = received.expect("the disk does not fail");
    for _ in 0..64 {
        let at = usize::try_from(incoming.received()).expect("it is short");
        let from = at.saturating_sub(draw::below(input, 8)).min(bytes.len());
        let to = (from + 1 + draw::below(input, 256) * (bytes.len() / 128 + 1)).min(bytes.len());
        let mut piece = bytes[from..to].to_vec();
        if draw::below(input, 8) == 7 {
            change(&mut piece, input);
        }
        drop(incoming.write(from as u64, &piece));
    }
    if settled(&disk, incoming) {
        let same = disk.read(NAME).is_some_and(|installed| installed == bytes);
        assert!(same, "another snapshot was installed");
        judge(&state, true, read(&here));
    }
}

/// Ends a transfer, and says whether there is a snapshot now. If not, nothing is left of it.
fn settled(disk: &SimDisk, incoming: Incoming<SimDisk>) -> bool {
    let outcome = incoming.finish();
    let files = disk.files();
    let left = files.keys().filter(|name| name.starts_with("snapshot")).count();
    assert_eq!(left, usize::from(outcome.is_ok()), "{outcome:?}");
    outcome.is_ok()
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn the_judge_objects_to_another_state() {
        let objects = |read: &'static [u8], outcome: Option<ErrorKind>, untouched| {
            catch_unwind(|| {
                let outcome = outcome.map_or(Ok(()), |kind| Err(kind.into()));
                judge(b"state", untouched, (read.to_vec(), outcome));
            })
            .is_err()
        };
        assert!(!objects(b"state", None, true));
        assert!(!objects(b"sta", Some(ErrorKind::InvalidData), false));
        assert!(objects(b"sta", Some(ErrorKind::InvalidData), true), "nothing was changed");
        assert!(objects(b"sta", None, false), "the end is missing");
        assert!(objects(b"stale", Some(ErrorKind::InvalidData), false), "it says something else");
    }
}
