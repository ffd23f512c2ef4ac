//! Directories that are not what they should be: each mistake has an error that names the cure.

use std::io::Write as _;

use synod_paxos::{NodeId, Record, Slot};
use synod_storage::{
    OpenError, SimDisk, Store, Want,
    sim::{Failure, Fault, Operation, Trigger, Unsynced},
};

use crate::model::{self, BIRTH, Sum, WANT, accepted};

/// A directory with a log of three segments and a snapshot.
fn directory(want: Want, birth: u64) -> SimDisk {
    let disk = SimDisk::new();
    let mut store = Store::open(disk.clone(), want, birth, model::tiny()).unwrap();
    store.replay(&mut |_| ()).unwrap();
    for slot in 1..10 {
        store.append(&[accepted(1, slot, 900)]);
        store.sync().unwrap();
    }
    let mut snapshot = store.snapshots().create(Slot(3)).unwrap();
    snapshot.write_all(b"state").unwrap();
    snapshot.finish().unwrap();
    drop(store);
    disk
}

fn mine() -> SimDisk {
    directory(WANT, BIRTH)
}

fn error(disk: &SimDisk) -> OpenError {
    model::recover(disk).expect_err("there is something wrong")
}

fn segment(number: u64) -> String {
    format!("log-{number:08}.seg")
}

#[test]
fn a_new_directory_is_formatted_once() {
    let disk = SimDisk::new();
    let store = model::open(&disk).unwrap();
    assert_eq!((store.is_new(), store.identity().birth), (true, BIRTH));
    drop(store);
    let store = Store::open(disk, WANT, 99, model::tiny()).unwrap();
    // Nothing was ever written to it, so nothing can have been forgotten.
    assert_eq!((store.is_new(), store.identity().birth), (true, BIRTH));
    assert!(!model::open(&mine()).unwrap().is_new());
}

#[test]
fn a_directory_is_new_until_something_is_durable() {
    let disk = SimDisk::new();
    let (mut store, _, _) = model::recover(&disk).unwrap();
    store.append(&[Record::Started(1)]);
    disk.plan(Fault::new(Trigger::nth(Operation::Sync, 1), Failure::Crash));
    store.sync().unwrap_err();
    for (cut, new) in [
        (Unsynced::Lost, true),
        (Unsynced::Prefix { whole: 0, bytes: 60 }, true),
        (Unsynced::Prefix { whole: 0, bytes: 64 }, false),
        (Unsynced::Kept, false),
    ] {
        let (store, _, found) = model::recover(&disk.image(cut)).unwrap();
        assert_eq!((store.is_new(), found.is_empty()), (new, new), "{cut:?}");
    }
}

#[test]
fn a_directory_in_use_is_refused() {
    let disk = mine();
    let store = model::open(&disk).unwrap();
    let text = error(&disk).to_string();
    assert!(text.contains("in use by another process"), "{text}");
    drop(store);
    model::recover(&disk).unwrap();
}

#[test]
fn another_nodes_directory_is_refused() {
    for (cluster, node) in [(WANT.cluster, 8), (5, WANT.node.0)] {
        let disk = directory(Want { cluster, node: NodeId(node) }, BIRTH);
        let text = error(&disk).to_string();
        assert!(matches!(error(&disk), OpenError::Identity { .. }), "{text}");
        assert!(text.contains(&format!("belongs to node {node} of cluster")), "{text}");
    }
}

#[test]
fn a_segment_of_another_directory_is_refused() {
    let other = directory(WANT, BIRTH + 1);
    let disk = mine();
    disk.write(&segment(2), other.read(&segment(2)).unwrap());
    let text = error(&disk).to_string();
    assert!(matches!(error(&disk), OpenError::Foreign { .. }), "{text}");
    assert!(text.contains("log-00000002.seg belongs to another directory"), "{text}");
}

#[test]
fn an_identity_of_another_directory_is_refused() {
    let disk = mine();
    disk.write("IDENTITY", directory(WANT, BIRTH + 1).read("IDENTITY").unwrap());
    assert!(matches!(error(&disk), OpenError::Foreign { .. }));
}

#[test]
fn a_node_that_has_lost_its_log_does_not_begin_anew() {
    let disk = mine();
    disk.files().keys().filter(|name| name.starts_with("log-")).for_each(|name| {
        disk.lose(name);
    });
    let text = error(&disk).to_string();
    assert!(matches!(error(&disk), OpenError::Amnesia { .. }), "{text}");
    assert!(text.contains("an identity, but no log"), "{text}");
}

#[test]
fn a_node_that_has_lost_its_identity_does_not_begin_anew() {
    let disk = mine();
    disk.lose("IDENTITY");
    let text = error(&disk).to_string();
    assert!(matches!(error(&disk), OpenError::Amnesia { .. }), "{text}");
    assert!(text.contains("no IDENTITY"), "{text}");
    // Nor if a snapshot is all that is left.
    disk.files().keys().filter(|name| name.starts_with("log-")).for_each(|name| {
        disk.lose(name);
    });
    assert!(matches!(error(&disk), OpenError::Amnesia { .. }));
    // A segment without a record may be all that there ever was, but only the first.
    let disk = SimDisk::new();
    drop(model::open(&disk).unwrap());
    disk.lose("IDENTITY");
    assert!(model::open(&disk.fork()).unwrap().is_new());
    disk.write(&segment(2), disk.read(&segment(1)).unwrap());
    disk.lose(&segment(1));
    assert!(matches!(error(&disk), OpenError::Amnesia { .. }));
}

#[test]
fn a_missing_segment_is_named() {
    for number in 1..=2 {
        let disk = mine();
        assert!(disk.lose(&segment(number)));
        let error = error(&disk);
        let text = error.to_string();
        assert!(matches!(error, OpenError::Damaged { .. }), "{text}");
    }
}

/// What has lost its title and is older than the log has nothing to say, and may be used again; but
/// as the youngest, or what comes next would be taken for older than all the rest.
#[test]
fn a_file_below_the_log_is_used_again_above_it() {
    let disk = SimDisk::new();
    let mut all = Vec::new();
    for (slots, collected) in [(1..10, 10), (10..20, 0)] {
        let (mut store, _, found) = model::recover(&disk).unwrap();
        assert_eq!(Sum::of(&found), Sum::of(&all));
        for slot in slots {
            let records = [accepted(1, slot, 900), Record::Collected(Slot(slot.min(collected)))];
            store.append(&records);
            store.sync().unwrap();
            all.extend(records);
            while store.prepare().unwrap() {}
        }
        drop(store);
        assert!(!disk.files().contains_key(&segment(1)));
        disk.write(&segment(1), vec![0; 16 << 10]);
    }
    let (_, _, found) = model::recover(&disk).unwrap();
    assert_eq!(Sum::of(&found), Sum::of(&all));
}

#[test]
fn a_segment_under_another_name_is_named() {
    let disk = mine();
    disk.write(&segment(1), disk.read(&segment(2)).unwrap());
    let text = error(&disk).to_string();
    assert!(text.contains("log-00000002.seg under another name"), "{text}");
    // Under a higher number, it could be a spare; but then it is missing where it was.
    let disk = mine();
    disk.write(&segment(9), disk.read(&segment(2)).unwrap());
    disk.lose(&segment(2));
    assert!(matches!(error(&disk), OpenError::Damaged { .. }));
}

#[test]
fn a_file_that_was_cut_off_is_named() {
    for (number, len) in [(1, 9000), (3, 9000), (3, 8192), (3, 12288), (2, 100), (1, 0)] {
        let disk = mine();
        let mut bytes = disk.read(&segment(number)).unwrap();
        bytes.truncate(len);
        disk.write(&segment(number), bytes);
        let text = error(&disk).to_string();
        assert!(matches!(error(&disk), OpenError::Damaged { .. }), "{number} at {len}: {text}");
    }
}

#[test]
fn both_titles_of_the_last_segment_are_missed() {
    for end in [4096 + 512, 8192] {
        let disk = mine();
        let mut bytes = disk.read(&segment(3)).unwrap();
        bytes[..end].fill(0);
        disk.write(&segment(3), bytes);
        let text = error(&disk).to_string();
        assert!(text.contains("log-00000003.seg is damaged at byte 0: the title"), "{text}");
    }
}

/// Gives the block at `at`, of `len` bytes, another version, and a checksum that fits.
fn with_version(bytes: &mut [u8], at: usize, len: usize, version: u32) {
    bytes[at + 12..at + 16].copy_from_slice(&version.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[at + 12..at + len]);
    bytes[at + 8..at + 12].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn another_format_is_refused_by_its_version() {
    let blocks = [
        ("IDENTITY".to_owned(), 64, vec![0, 512]),
        (segment(1), 128, vec![0, 4096]),
        (segment(3), 128, vec![0, 4096]),
    ];
    for (name, len, places) in blocks {
        for version in [0, 2, u32::MAX] {
            let disk = mine();
            let mut bytes = disk.read(&name).unwrap();
            places.iter().for_each(|at| with_version(&mut bytes, *at, len, version));
            disk.write(&name, bytes);
            let text = error(&disk).to_string();
            let expected = format!("{name} has format version {version}, but this program reads");
            assert!(text.starts_with(&expected), "{text}");
        }
    }
    let disk = mine();
    let name = "snapshot-000000000003.snap";
    let mut bytes = disk.read(name).unwrap();
    with_version(&mut bytes, 0, 64, 2);
    disk.write(name, bytes);
    let (store, _, _) = model::recover(&disk).unwrap();
    let text = store.snapshots().newest().unwrap_err().to_string();
    assert!(text.contains("has format version 2"), "{text}");
}

#[test]
fn to_append_before_the_replay_is_a_mistake() {
    let disk = mine();
    let mut store = model::open(&disk).unwrap();
    store.append(&[Record::Started(1)]);
    let text = store.sync().unwrap_err().to_string();
    assert!(text.contains("replayed first"), "{text}");
}

#[test]
fn what_was_left_half_made_is_removed() {
    let disk = mine();
    let names = ["log-00000044.tmp", "spare.tmp", "snapshot-000000000009-1.tmp", "IDENTITY.tmp"];
    names.iter().for_each(|name| disk.write(name, vec![1; 9000]));
    model::recover(&disk).unwrap();
    let disk = disk.image(Unsynced::Lost);
    assert!(!disk.files().keys().any(|name| name.ends_with(".tmp")), "{:?}", disk.files().keys());
}

/// Files of others do no harm, and none is done to them.
#[test]
fn other_files_are_left_alone() {
    let disk = SimDisk::new();
    let names = ["notes.txt", "log-1.seg", "log-x.seg", "mine.tmp", "snapshot-7.snap"];
    names.iter().for_each(|name| disk.write(name, b"mine".to_vec()));
    model::recover(&disk).unwrap();
    model::recover(&disk).unwrap();
    let kept = |name: &&&str| disk.read(name).as_deref() == Some(b"mine");
    assert_eq!(names.iter().filter(kept).count(), names.len());
}

/// No directory at all, however it came about, makes it panic.
#[test]
fn no_bytes_make_it_panic() {
    let mut rng = fastrand::Rng::with_seed(1);
    let good = mine();
    for _ in 0..1500 {
        let disk = good.fork();
        for (name, mut bytes) in good.files() {
            match rng.u32(..4) {
                0 => bytes.truncate(rng.usize(..=bytes.len())),
                1 => {
                    let from = rng.usize(..bytes.len());
                    let to = (from + rng.usize(..600)).min(bytes.len());
                    bytes[from..to].iter_mut().for_each(|byte| *byte = rng.u8(..));
                }
                2 => {
                    let (from, to) = (rng.usize(..bytes.len()), rng.usize(..bytes.len()));
                    let len = rng.usize(..600).min(bytes.len() - from.max(to));
                    bytes.copy_within(from..from + len, to);
                }
                _ => continue,
            }
            disk.write(&name, bytes);
        }
        if let Ok((mut store, _, _)) = model::recover(&disk) {
            store.append(&[accepted(9, 9, 9)]);
            store.sync().unwrap();
            drop(store.snapshots().newest().map(|info| {
                info.map(|info| store.snapshots().open(info.slot).map(std::io::read_to_string))
            }));
        }
    }
}
