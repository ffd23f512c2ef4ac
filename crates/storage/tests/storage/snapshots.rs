//! Snapshots, made here and fetched from others.

use std::io::{ErrorKind, Read as _, Write as _};

use synod_paxos::{NodeId, Slot};
use synod_storage::{
    DamagedSnapshot, SimDisk, SnapshotInfo, Snapshots, Store, Want,
    sim::{Failure, Fault, Operation, Trigger, Unsynced},
};

use crate::model::{self, BIRTH, WANT};

fn snapshots(disk: &SimDisk) -> Snapshots<SimDisk> {
    model::open(disk).unwrap().snapshots()
}

fn state(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 7) as u8).collect()
}

fn make(from: &Snapshots<SimDisk>, slot: u64, len: usize) -> SnapshotInfo {
    let mut writer = from.create(Slot(slot)).unwrap();
    writer.write_all(&state(len)).unwrap();
    writer.finish().unwrap()
}

fn read(from: &Snapshots<SimDisk>, slot: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.open(Slot(slot))?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[test]
fn a_snapshot_of_any_length_is_read_as_it_was_written() {
    let chunk = 256 << 10;
    for len in [0, 1, chunk - 1, chunk, chunk + 1, 3 * chunk, 3 * chunk + 77] {
        let disk = SimDisk::new();
        let info = make(&snapshots(&disk), 9, len);
        let again = snapshots(&disk.image(Unsynced::Lost));
        assert_eq!(again.newest().unwrap(), Some(info));
        assert!(read(&again, 9).unwrap() == state(len), "{len} bytes");
    }
}

#[test]
fn a_long_snapshot_is_synced_while_it_is_written() {
    let syncs = |len| {
        let disk = SimDisk::new();
        let all = snapshots(&disk);
        let before = disk.calls_of(Operation::Sync);
        make(&all, 9, len);
        disk.calls_of(Operation::Sync) - before
    };
    let (short, long) = (syncs(1 << 19), syncs((1 << 19) + (5 << 20)));
    assert_eq!(long - short, 5, "one for each MiB");
}

#[test]
fn the_newest_snapshot_replaces_the_older_ones() {
    let disk = SimDisk::new();
    let all = snapshots(&disk);
    make(&all, 5, 10);
    let mut reader = all.open(Slot(5)).unwrap();
    make(&all, 9, 20);
    assert_eq!(all.newest().unwrap().unwrap().slot, Slot(9));
    assert_eq!(read(&all, 5).unwrap_err().kind(), ErrorKind::NotFound);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, state(10), "who is reading it goes on");
    let mut late = all.create(Slot(7)).unwrap();
    late.write_all(b"late").unwrap();
    assert_eq!(late.finish().unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(all.newest().unwrap().unwrap().slot, Slot(9));
    assert_eq!(disk.files().keys().filter(|name| name.starts_with("snapshot")).count(), 1);
}

#[test]
fn who_reads_a_snapshot_reads_all_of_it_though_there_is_a_newer_one() {
    let disk = SimDisk::new();
    let all = snapshots(&disk);
    let len = 3 << 18;
    make(&all, 5, len);
    let mut reader = all.open(Slot(5)).unwrap();
    let mut bytes = vec![0; 10];
    reader.read_exact(&mut bytes).unwrap();
    make(&all, 9, len);
    assert_eq!(all.open(Slot(5)).unwrap_err().kind(), ErrorKind::NotFound);
    reader.read_to_end(&mut bytes).unwrap();
    assert!(bytes == state(len));
}

#[test]
fn a_long_snapshot_is_synced_while_it_is_received() {
    let syncs = |len| {
        let (here, there) = (SimDisk::new(), SimDisk::new());
        let info = make(&snapshots(&here), 9, len);
        let bytes = snapshots(&here).read_at(Slot(9), 0, usize::MAX).unwrap();
        let mut incoming = snapshots(&there).receive(Slot(9), info.checksum, info.len).unwrap();
        let before = there.calls_of(Operation::Sync);
        for (part, bytes) in bytes.chunks(1 << 18).enumerate() {
            incoming.write((part as u64) << 18, bytes).unwrap();
        }
        incoming.finish().unwrap();
        there.calls_of(Operation::Sync) - before
    };
    assert_eq!(syncs((1 << 19) + (5 << 20)) - syncs(1 << 19), 5, "one for each MiB");
}

#[test]
fn what_was_received_before_a_sync_that_failed_is_no_snapshot() {
    let (here, there) = (SimDisk::new(), SimDisk::new());
    let info = make(&snapshots(&here), 9, 3 << 20);
    let bytes = snapshots(&here).read_at(Slot(9), 0, usize::MAX).unwrap();
    let all = snapshots(&there);
    let mut incoming = all.receive(Slot(9), info.checksum, info.len).unwrap();
    there.plan(Fault::new(Trigger::nth(Operation::Sync, 1), Failure::Io { seed: 1 }));
    incoming.write(0, &bytes[..2 << 20]).unwrap_err();
    incoming.write(2 << 20, &bytes[2 << 20..]).unwrap();
    incoming.finish().unwrap_err();
    assert_eq!(all.newest().unwrap(), None);
    assert!(!there.files().keys().any(|name| name.ends_with(".tmp")));
}

#[test]
fn snapshots_of_one_slot_that_are_made_at_the_same_time_do_not_meet() {
    let disk = SimDisk::new();
    let all = snapshots(&disk);
    let mut one = all.create(Slot(9)).unwrap();
    let mut other = all.create(Slot(9)).unwrap();
    one.write_all(&state(10)).unwrap();
    other.write_all(&state(20)).unwrap();
    drop(other);
    let info = one.finish().unwrap();
    assert_eq!(all.newest().unwrap(), Some(info));
    assert_eq!(read(&all, 9).unwrap(), state(10));
}

/// Every byte of a snapshot of three chunks is changed.
#[test]
fn damage_is_named_and_no_older_one_is_taken() {
    let chunk = 256 << 10;
    let disk = SimDisk::new();
    make(&snapshots(&disk), 9, 2 * chunk + 50);
    let older = SimDisk::new();
    make(&snapshots(&older), 5, 10);
    let (old, new) = ("snapshot-000000000005.snap", "snapshot-000000000009.snap");
    disk.write(old, older.read(old).unwrap());
    let len = disk.read(new).unwrap().len();
    for at in (0..128).chain((128..len - 128).step_by(40_009)).chain(len - 128..len) {
        disk.flip_bit(new, at as u64, 3);
        let all = snapshots(&disk.fork());
        let error = all.newest().map(|_| ()).and_then(|()| read(&all, 9).map(|_| ())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "byte {at}: {error}");
        let inner = error.get_ref().unwrap().downcast_ref::<DamagedSnapshot>().unwrap();
        assert_eq!(inner.file, new);
        assert!(inner.offset <= at as u64, "{inner}");
        assert!(error.to_string().contains("Restore this file, or remove it"), "{error}");
        disk.flip_bit(new, at as u64, 3);
    }
    assert!(read(&snapshots(&disk), 9).is_ok());
}

#[test]
fn chunks_in_another_order_are_damage() {
    let chunk = (256 << 10) + 4;
    let disk = SimDisk::new();
    make(&snapshots(&disk), 9, 600 << 10);
    let name = "snapshot-000000000009.snap";
    let mut bytes = disk.read(name).unwrap();
    let first = bytes[64..64 + chunk].to_vec();
    bytes.copy_within(64 + chunk..64 + 2 * chunk, 64);
    bytes[64 + chunk..64 + 2 * chunk].copy_from_slice(&first);
    disk.write(name, bytes);
    let mut reader = snapshots(&disk).open(Slot(9)).unwrap();
    let error = reader.read(&mut [0; 1]).unwrap_err();
    assert!(error.to_string().contains("at byte 64: chunk 0"), "not a byte is given out: {error}");
}

#[test]
fn a_snapshot_is_fetched_from_another_node() {
    let (here, there) = (SimDisk::new(), SimDisk::new());
    let want = Want { cluster: WANT.cluster, node: NodeId(8) };
    let from = Store::open(there, want, 1, model::tiny()).unwrap().snapshots();
    let info = make(&from, 9, 700 << 10);
    let to = snapshots(&here);
    make(&to, 5, 10);
    let mut incoming = to.receive(info.slot, info.checksum, info.len).unwrap();
    while incoming.received() < info.len {
        let at = incoming.received();
        let bytes = from.read_at(info.slot, at, 100_000).unwrap();
        let before = incoming.received();
        // What comes too early is left for later.
        assert_eq!(incoming.write((at + 50_000).min(info.len - 1), &bytes[..1]).unwrap(), before);
        incoming.write(at, &bytes).unwrap();
        // What comes twice is no news.
        assert_eq!(incoming.write(at, &bytes).unwrap(), at + bytes.len() as u64);
    }
    assert_eq!(incoming.finish().unwrap(), info);
    let again = snapshots(&here.image(Unsynced::Lost));
    assert_eq!(again.newest().unwrap(), Some(info));
    assert!(read(&again, 9).unwrap() == state(700 << 10));
    assert!(read(&to, 5).is_err());
}

#[test]
fn what_was_not_announced_is_not_installed() {
    let there = SimDisk::new();
    let from = snapshots(&there);
    let info = make(&from, 9, 1000);
    let good = from.read_at(info.slot, 0, 5000).unwrap();
    let try_it = |info: SnapshotInfo, bytes: &[u8], cluster: u64| {
        let disk = SimDisk::new();
        let want = Want { cluster, ..WANT };
        let to = Store::open(disk.clone(), want, BIRTH, model::tiny()).unwrap().snapshots();
        let mut incoming = to.receive(info.slot, info.checksum, info.len).unwrap();
        incoming.write(0, bytes)?;
        let outcome = incoming.finish();
        let files = disk.files();
        let left = files.keys().filter(|name| name.starts_with("snapshot"));
        assert_eq!(left.count(), usize::from(outcome.is_ok()), "nothing is left of a failure");
        outcome
    };
    let kind = |info, bytes: &[u8], cluster| try_it(info, bytes, cluster).unwrap_err().kind();
    assert_eq!(try_it(info, &good, WANT.cluster).unwrap(), info);
    assert_eq!(kind(info, &good, 77), ErrorKind::InvalidData);
    let other = SnapshotInfo { checksum: info.checksum ^ 1, ..info };
    assert_eq!(kind(other, &good, WANT.cluster), ErrorKind::InvalidData);
    let other = SnapshotInfo { slot: Slot(10), ..info };
    assert_eq!(kind(other, &good, WANT.cluster), ErrorKind::InvalidData);
    let other = SnapshotInfo { len: info.len + 1, ..info };
    assert_eq!(kind(other, &good, WANT.cluster), ErrorKind::UnexpectedEof);
    let other = SnapshotInfo { len: info.len - 1, ..info };
    assert_eq!(kind(other, &good, WANT.cluster), ErrorKind::InvalidInput);
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 16;
        assert_eq!(kind(info, &bytes, WANT.cluster), ErrorKind::InvalidData, "byte {at}");
    }
}

#[test]
fn a_full_disk_costs_the_snapshot_and_nothing_else() {
    let disk = SimDisk::new();
    let all = snapshots(&disk);
    make(&all, 5, 10);
    disk.set_space(Some(disk.used() + 300_000));
    let mut writer = all.create(Slot(9)).unwrap();
    let error = writer.write_all(&state(2 << 20)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert!(writer.write_all(b"more").is_err(), "it does not go on with a hole");
    assert!(writer.finish().is_err());
    assert_eq!(read(&all, 5).unwrap(), state(10));
    disk.set_space(None);
    make(&all, 9, 2 << 20);
}

/// Whatever the disk does not do, there is a whole snapshot, and not an older one than was said.
#[test]
fn any_call_may_fail_while_a_snapshot_is_made() {
    for what in [Failure::Crash, Failure::Io { seed: 4 }, Failure::Full] {
        for call in 1.. {
            let disk = SimDisk::new();
            let all = snapshots(&disk);
            make(&all, 5, 300);
            let before = disk.calls();
            disk.plan(Fault::new(Trigger::Call(before + call), what.clone()));
            let made = all.create(Slot(9)).and_then(|mut writer| {
                writer.write_all(&state(600))?;
                writer.finish()
            });
            let calls = disk.calls() - before;
            for seed in 0..8 {
                let cut = Unsynced::Sectors { seed };
                for cut in [cut, Unsynced::Lost, Unsynced::Kept] {
                    let copy = snapshots(&disk.image(cut));
                    let slot = copy.newest().unwrap().unwrap().slot.0;
                    assert!(slot == 9 || (slot == 5 && made.is_err()), "{what:?} at {call}");
                    let len = if slot == 9 { 600 } else { 300 };
                    assert_eq!(read(&copy, slot).unwrap(), state(len));
                }
            }
            if calls < call {
                assert!(made.is_ok());
                break;
            }
        }
    }
    let disk = SimDisk::new();
    let all = snapshots(&disk);
    disk.plan(Fault::new(Trigger::nth(Operation::Sync, 1), Failure::Io { seed: 1 }));
    let mut writer = all.create(Slot(9)).unwrap();
    writer.write_all(b"state").unwrap();
    writer.finish().unwrap_err();
    assert_eq!(all.newest().unwrap(), None);
}
