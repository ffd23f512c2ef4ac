//! The same on a real disk.

use std::io::{ErrorKind, Read as _, Write as _};

use synod_paxos::{Record, Slot};
use synod_storage::{Directory, Disk as _, File as _, OpenError};

use crate::model::{self, Sum, accepted};

#[test]
fn a_real_directory_keeps_what_was_synced() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Directory::new(folder.path().join("a/b")).unwrap();
    let mut all = Vec::new();
    for life in 1..=5 {
        let (mut store, replayed, records) = model::recover(&disk).unwrap();
        assert_eq!(store.is_new(), life == 1);
        assert_eq!(replayed.torn, None);
        assert_eq!(Sum::of(&records), Sum::of(&all));
        let mut batch = vec![Record::Started(life)];
        batch.extend((1..20).map(|slot| accepted(1, u64::from(life) * 20 + slot, 300)));
        store.append(&batch);
        store.sync().unwrap();
        all.extend(batch);
        let collected = [Record::Collected(Slot(u64::from(life) * 20))];
        store.append(&collected);
        all.extend(collected);
        if life % 2 == 0 {
            store.close().unwrap();
        } else {
            while store.prepare().unwrap() {}
            store.sync().unwrap();
        }
    }
    let files = std::fs::read_dir(disk.path()).unwrap().count();
    assert!(files < 12, "old segments are used again or removed: {files} files");
}

#[test]
fn a_real_directory_is_for_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Directory::new(folder.path()).unwrap();
    let first = model::open(&disk).unwrap();
    assert!(matches!(model::open(&disk), Err(OpenError::Locked)));
    drop(first);
    model::open(&disk).unwrap();
}

#[test]
fn a_real_file_that_was_allocated_has_its_length_and_one_that_is_too_long_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = Directory::new(folder.path()).unwrap().create("a").unwrap();
    file.allocate(10_000).unwrap();
    assert_eq!(file.len().unwrap(), 10_000);
    file.allocate(1 << 62).unwrap_err();
}

#[test]
fn the_space_of_a_discarded_file_comes_back_little_by_little() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Directory::new(folder.path()).unwrap();
    let (long, short) = (disk.create("long").unwrap(), disk.create("short").unwrap());
    let bytes = 18 << 20;
    long.set_len(bytes).unwrap();
    short.set_len(1000).unwrap();
    disk.discard("long").unwrap();
    disk.discard("short").unwrap();
    assert!(disk.list().unwrap().is_empty(), "the names are free at once");
    // Open only to see it: whoever discards a file is to be the last that has it.
    let mut seen = vec![bytes];
    while long.len().unwrap() > 4 << 20 {
        let len = long.len().unwrap();
        if seen.last() != Some(&len) {
            seen.push(len);
        }
        std::thread::yield_now();
    }
    assert!(seen.len() > 2, "not all at once: {seen:?}");
    assert_eq!(short.len().unwrap(), 1000, "what is short is freed when it is closed");
    assert!(disk.discard("long").is_err_and(|error| error.kind() == ErrorKind::NotFound));
}

#[test]
fn a_real_directory_keeps_snapshots() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Directory::new(folder.path()).unwrap();
    let store = model::open(&disk).unwrap();
    let snapshots = store.snapshots();
    assert_eq!(snapshots.newest().unwrap(), None);
    let state: Vec<u8> = (0..1_000_000_u32).map(|at| (at / 3) as u8).collect();
    for slot in [5, 9] {
        let mut writer = snapshots.create(Slot(slot)).unwrap();
        writer.write_all(&state).unwrap();
        let info = writer.finish().unwrap();
        assert_eq!(snapshots.newest().unwrap(), Some(info));
    }
    assert!(snapshots.open(Slot(5)).is_err(), "the older one is gone");
    drop(snapshots.create(Slot(11)).unwrap());
    let mut reader = snapshots.open(Slot(9)).unwrap();
    assert_eq!(reader.payload(), 1_000_000);
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert!(read == state);
    let left = std::fs::read_dir(folder.path()).unwrap();
    let left = left
        .filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|end| end == "tmp"));
    assert_eq!(left.count(), 0, "what is not finished leaves nothing");
}
