//! The bytes of format version 1, for ever: what one release has written, every later one reads.
//!
//! `tests/golden/v1.txt` is a whole directory. It is never changed. `UPDATE_GOLDENFILES=1` writes
//! it if it is not there.

use std::{
    collections::BTreeMap, fmt::Write as _, fs, io::Read as _, io::Write as _, path::PathBuf,
};

use synod_paxos::{Ballot, NodeId, Record, Slot};
use synod_storage::{Identity, SimDisk};

use crate::model::{self, BIRTH, Sum, WANT, accepted, ballot};

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1.txt")
}

/// What is in the directory: every kind of record, in three segments, the first of which is gone.
fn batches() -> Vec<Vec<Record>> {
    let first = vec![
        Record::Started(3),
        Record::Campaigned(Ballot { round: 9, incarnation: 3, leader: NodeId(7) }),
        accepted(9, 1, 900),
        accepted(9, 2, 900),
        accepted(9, 3, 900),
    ];
    let second = vec![
        Record::Adopted(ballot(11)),
        accepted(11, 4, 900),
        Record::Collected(Slot(4)),
        accepted(11, 5, 900),
    ];
    let third = vec![
        Record::Learned { slot: Slot(6), decree: model::decree(6, 30) },
        model::performed(11, 4, 6),
        Record::Lost { ballot: ballot(10), slot: Slot(8) },
        accepted(11, 7, 0),
    ];
    vec![first, second, third]
}

fn make() -> SimDisk {
    let disk = SimDisk::new();
    let (mut store, _, _) = model::recover(&disk).unwrap();
    for batch in batches() {
        store.append(&batch);
        store.sync().unwrap();
        while store.prepare().unwrap() {}
    }
    let mut snapshot = store.snapshots().create(Slot(4)).unwrap();
    snapshot.write_all(b"the state before slot 4").unwrap();
    snapshot.finish().unwrap();
    store.close().unwrap();
    disk
}

/// Files as text: 32 bytes a line, without lines of zeros.
fn text(files: &BTreeMap<String, Vec<u8>>) -> String {
    let mut text = String::new();
    for (name, bytes) in files {
        writeln!(text, "{name} {}", bytes.len()).unwrap();
        for (line, bytes) in bytes.chunks(32).enumerate() {
            if bytes.iter().any(|byte| *byte != 0) {
                write!(text, "  {:05x} ", line * 32).unwrap();
                bytes.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
                text.push('\n');
            }
        }
    }
    text
}

fn parse(text: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for line in text.lines() {
        if let Some(line) = line.strip_prefix("  ") {
            let (at, hex) = line.split_once(' ').unwrap();
            let at = usize::from_str_radix(at, 16).unwrap();
            let (_, bytes) = files.last_mut().unwrap();
            for (place, pair) in hex.as_bytes().chunks(2).enumerate() {
                let pair = std::str::from_utf8(pair).unwrap();
                bytes[at + place] = u8::from_str_radix(pair, 16).unwrap();
            }
        } else {
            let (name, len) = line.split_once(' ').unwrap();
            files.push((name.to_owned(), vec![0; len.parse().unwrap()]));
        }
    }
    files
}

#[test]
fn version_1_is_read() {
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() && !path().exists() {
        fs::create_dir_all(path().parent().unwrap()).unwrap();
        fs::write(path(), text(&make().files())).unwrap();
    }
    let disk = SimDisk::from_files(parse(&fs::read_to_string(path()).unwrap()));
    let (store, replayed, records) = model::recover(&disk).unwrap();
    let identity = Identity { cluster: WANT.cluster, node: WANT.node, birth: BIRTH };
    assert_eq!(store.identity(), identity);
    assert!(!store.is_new());
    assert_eq!(Sum::of(&records), Sum::of(&batches().concat()));
    assert_eq!(store.sequence(), 13);
    assert_eq!((replayed.lost, replayed.torn, replayed.mended), (vec![], None, 0));
    let info = store.snapshots().newest().unwrap().unwrap();
    let mut state = String::new();
    store.snapshots().open(info.slot).unwrap().read_to_string(&mut state).unwrap();
    assert_eq!((info.slot, state.as_str()), (Slot(4), "the state before slot 4"));
}

/// Until there is a version 2, what is written is also what was always written.
#[test]
fn version_1_is_written() {
    let golden = fs::read_to_string(path()).unwrap();
    assert!(text(&make().files()) == golden, "what is written is not format version 1 any more");
}
