//! Every bit that was synced changes, one at a time; sectors go back to what they were.

use std::io::{Read as _, Write as _};

use synod_paxos::{Record, Slot};
use synod_storage::{SimDisk, sim::SECTOR};

use crate::model::{self, accepted, ballot};

/// A log of several segments with everything in it, closed, and a snapshot.
fn history() -> Vec<Vec<Record>> {
    let mut batches = vec![vec![Record::Started(1)]];
    batches.push(vec![Record::Campaigned(ballot(1)), Record::Adopted(ballot(1))]);
    let mut slot = 1;
    for batch in 0..12_u64 {
        let mut records = Vec::new();
        for _ in 0..=batch % 3 {
            records.push(accepted(1, slot, usize::try_from(slot * 37 % 500).unwrap()));
            slot += 1;
        }
        if batch % 4 == 1 {
            records.push(Record::Learned { slot: Slot(slot), decree: model::decree(slot, 40) });
            records.push(model::performed(1, 1, slot));
        }
        if batch == 6 {
            records.push(Record::Collected(Slot(2)));
            records.push(Record::Adopted(ballot(2)));
        }
        batches.push(records);
    }
    batches
}

fn write_history(disk: &SimDisk) -> Vec<Record> {
    let (mut store, _, _) = model::recover(disk).unwrap();
    let batches = history();
    for batch in &batches {
        store.append(batch);
        store.sync().unwrap();
    }
    let mut snapshot = store.snapshots().create(Slot(2)).unwrap();
    snapshot.write_all(&[7; 300]).unwrap();
    snapshot.finish().unwrap();
    store.close().unwrap();
    batches.concat()
}

/// What became of one change.
#[derive(Default, Debug)]
struct Outcomes {
    refused: u32,
    lost: u32,
    forgotten: u32,
    harmless: u32,
    mended: u32,
    snapshots: u32,
}

/// Recovers from `disk`, on which one thing is not as it was written.
fn check(disk: &SimDisk, records: &[Record], outcomes: &mut Outcomes, what: &str) {
    let Ok((store, replayed, found)) = model::recover(disk) else {
        outcomes.refused += 1;
        return;
    };
    let mut expected = records.to_vec();
    for (ballot, slot) in &replayed.lost {
        outcomes.lost += 1;
        let same = |record: &&mut Record| matches!(record, Record::Accepted(p) if p.slot == *slot);
        *expected.iter_mut().find(same).expect("it was accepted") =
            Record::Lost { ballot: *ballot, slot: *slot };
    }
    for _ in 0..replayed.forgotten {
        outcomes.forgotten += 1;
        let missing = expected.iter().zip(&found).position(|(a, b)| a != b);
        let missing = missing.unwrap_or(found.len());
        let gone = expected.remove(missing);
        assert!(gone.can_wait(), "{what}: {gone:?} is missing");
    }
    assert_eq!(found, expected, "{what}");
    assert_eq!(store.sequence(), records.len() as u64, "{what}");
    outcomes.mended += u32::from(replayed.mended > 0);
    let snapshots = store.snapshots();
    let read = snapshots.newest().and_then(|info| {
        let mut bytes = Vec::new();
        snapshots.open(info.expect("there is one").slot)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    match read {
        Ok(bytes) => assert_eq!(bytes, [7; 300], "{what}"),
        Err(_) => outcomes.snapshots += 1,
    }
    if replayed.lost.is_empty() && replayed.forgotten == 0 {
        outcomes.harmless += 1;
    }
}

#[test]
fn no_bit_that_rots_goes_unnoticed_and_matters() {
    let disk = SimDisk::new();
    let records = write_history(&disk);
    let thorough = std::env::var_os("SYNOD_THOROUGH").is_some();
    let mut outcomes = Outcomes::default();
    let files = disk.files();
    assert!(files.len() >= 5, "several segments: {:?}", files.keys());
    for (name, bytes) in &files {
        for (at, byte) in bytes.iter().enumerate() {
            // Where there is nothing, less is to be found.
            let empty = *byte == 0 && at % 64 != 0;
            let bits = match (thorough, empty) {
                (true, _) => 0..8,
                (false, true) => 0..0,
                (false, false) => (at as u32 % 8)..(at as u32 % 8 + 1),
            };
            for bit in bits {
                assert!(disk.flip_bit(name, at as u64, bit));
                let what = format!("{name}, byte {at}, bit {bit}");
                check(&disk.fork(), &records, &mut outcomes, &what);
                disk.flip_bit(name, at as u64, bit);
            }
        }
    }
    let Outcomes { refused, lost, forgotten, harmless, mended, snapshots } = outcomes;
    // One bit alone never costs more than a decree. A whole log is never refused for it.
    assert_eq!(refused, 0, "{outcomes:?}");
    assert!(lost > 100 && forgotten > 10 && harmless > 100, "{outcomes:?}");
    assert!(mended > 100 && snapshots > 100, "{outcomes:?}");
}

/// Any two bytes of one record change: both copies of its header, or its body.
#[test]
fn a_record_that_is_gone_altogether_is_never_skipped() {
    let disk = SimDisk::new();
    let records = write_history(&disk);
    let mut outcomes = Outcomes::default();
    for (name, bytes) in disk.files() {
        if !name.starts_with("log-") {
            continue;
        }
        for from in (8192..bytes.len()).step_by(64) {
            let mut damaged = bytes.clone();
            damaged[from..from + 64].fill(0xee);
            for len in [200, 128] {
                let end = (from + len).min(bytes.len());
                damaged[from..end].fill(0xee);
                let copy = disk.fork();
                copy.write(&name, damaged.clone());
                check(&copy, &records, &mut outcomes, &format!("{name}, {len} bytes from {from}"));
            }
        }
    }
    assert!(outcomes.refused > 30 && outcomes.lost > 100, "{outcomes:?}");
}

#[test]
fn a_sector_that_is_what_it_was_before_is_noticed() {
    let disk = SimDisk::new();
    disk.keep_history();
    let records = write_history(&disk);
    let mut outcomes = Outcomes::default();
    for (name, bytes) in disk.files() {
        for sector in 0..(bytes.len() / SECTOR) as u64 {
            for back in 1..=disk.versions(&name, sector) {
                let copy = disk.fork();
                assert!(copy.restore_sector(&name, sector, back));
                check(&copy, &records, &mut outcomes, &format!("{name}, {sector}, -{back}"));
            }
        }
    }
    assert!(outcomes.refused > 10 && outcomes.harmless > 10, "{outcomes:?}");
}

/// A record in another place than its own is nothing there.
#[test]
fn a_record_is_one_in_its_own_place_only() {
    let disk = SimDisk::new();
    let (mut store, _, _) = model::recover(&disk).unwrap();
    store.append(&[Record::Started(1), accepted(1, 1, 300)]);
    store.sync().unwrap();
    drop(store);
    let name = "log-00000001.seg";
    let mut bytes = disk.read(name).unwrap();
    bytes.copy_within(8192..9216, 10_240);
    disk.write(name, bytes);
    let (_, replayed, found) = model::recover(&disk).unwrap();
    assert_eq!((found.len(), replayed.torn), (2, None));
}

/// A copy of the directory has gone another way, and one of its records gets into this one: with
/// the right number, in the right place of the right segment.
#[test]
fn a_record_from_another_future_of_the_log_is_noticed() {
    let disk = SimDisk::new();
    let (mut store, _, _) = model::recover(&disk).unwrap();
    store.append(&[Record::Started(1)]);
    store.sync().unwrap();
    drop(store);
    let begins = 8192 + 128 + 64;
    // In one batch, and each in one of its own, with a barrier between.
    for (batch, barrier) in [(3, 0), (1, 64)] {
        let futures = [2, 3].map(|round| {
            let copy = disk.fork();
            let (mut store, _, _) = model::recover(&copy).unwrap();
            let records: Vec<Record> = (1..4).map(|slot| accepted(round, slot, 300)).collect();
            for batch in records.chunks(batch) {
                store.append(batch);
                store.sync().unwrap();
            }
            copy.read("log-00000001.seg").unwrap()
        });
        let end = futures[0].iter().rposition(|byte| *byte != 0).unwrap();
        let size = ((end / 8 + 1) * 8 - 64 - begins - 2 * barrier) / 3;
        for (place, len) in [(0, size), (1, size), (0, size + barrier), (0, size + barrier / 2)] {
            let from = begins + place * (size + barrier);
            let mut mixed = futures[0].clone();
            mixed[from..from + len].copy_from_slice(&futures[1][from..from + len]);
            let copy = disk.fork();
            copy.write("log-00000001.seg", mixed);
            let error = model::recover(&copy).unwrap_err();
            assert!(error.to_string().contains("is damaged"), "{place}, {len}: {error}");
        }
    }
}

/// What the last sync has made durable is safe from damage also if the process is killed then.
#[test]
fn damage_to_the_last_batch_of_a_process_that_was_killed_is_noticed() {
    let disk = SimDisk::new();
    let (mut store, _, _) = model::recover(&disk).unwrap();
    store.append(&[Record::Started(1), accepted(1, 1, 300)]);
    store.sync().unwrap();
    disk.kill();
    drop(store);
    let name = "log-00000001.seg";
    // Both copies of the last record's header, and its body, but not the barrier behind.
    let bytes = disk.read(name).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let barrier = (end / 8 + 1) * 8 - 64;
    for (from, to) in [(8192 + 128, barrier), (8192, 8192 + 128)] {
        let mut damaged = bytes.clone();
        damaged[from..to].fill(0x55);
        let copy = disk.fork();
        copy.write(name, damaged);
        let error = model::recover(&copy).unwrap_err().to_string();
        assert!(error.contains("log-00000001.seg is damaged at byte"), "{error}");
        assert!(error.contains("ensure_members"), "{error}");
    }
}
