//! Disks that fail, lie, or are full.

use synod_paxos::{Record, Slot, wire};
use synod_storage::{
    Disk as _, OpenError, Options, SimDisk, Store, WriteError,
    sim::{Failure, Fault, Operation, Trigger, Unsynced},
};

use crate::model::{self, Sum, accepted, ballot};

fn nth(operation: Operation, n: u64, what: Failure) -> Fault {
    Fault::new(Trigger::nth(operation, n), what)
}

fn eio(seed: u64) -> Failure {
    Failure::Io { seed }
}

/// A disk with a log of two synced batches, and its store.
fn begun() -> (SimDisk, Store<SimDisk>, Vec<Record>) {
    let disk = SimDisk::new();
    let (mut store, _, _) = model::recover(&disk).unwrap();
    let records = vec![Record::Started(1), accepted(1, 1, 100), accepted(1, 2, 600)];
    store.append(&records[..2]);
    store.sync().unwrap();
    store.append(&records[2..]);
    store.sync().unwrap();
    (disk, store, records)
}

#[test]
fn after_a_sync_that_failed_there_is_no_other() {
    for seed in 0..20 {
        let (disk, mut store, mut records) = begun();
        records.extend((3..8).map(|slot| accepted(1, slot, 300)));
        store.append(&records[3..]);
        disk.plan(nth(Operation::Sync, 1, eio(seed)));
        let error = store.sync().unwrap_err();
        assert!(matches!(error, WriteError::Failed { .. }), "{error}");
        assert!(error.to_string().contains("cannot sync log-00000001.seg"), "{error}");
        let calls = disk.calls();
        store.append(&[Record::Adopted(ballot(9))]);
        assert_eq!(store.sync().unwrap_err().to_string(), error.to_string());
        assert!(store.prepare().is_err());
        assert_eq!(store.durable(), 3);
        assert!(store.close().is_err());
        assert_eq!(disk.calls(), calls, "the disk is left alone");

        // The pages count as clean now, and are not. Recovery makes them durable all the same.
        disk.kill();
        let (store, _, found) = model::recover(&disk).unwrap();
        assert_eq!(found, records[..found.len()]);
        assert_eq!(store.sequence(), 8, "the process sees what was written");
        disk.power_cut(Unsynced::Lost);
        let (_, replayed, again) = model::recover(&disk).unwrap();
        assert_eq!(again, found, "what was replayed once is durable: {replayed:?}");
    }
}

#[test]
fn what_a_failed_sync_left_of_the_first_batch_is_made_durable_as_a_whole() {
    for seed in 0..20 {
        let disk = SimDisk::new();
        let (mut store, _, _) = model::recover(&disk).unwrap();
        let records = [Record::Started(1), accepted(1, 1, 600), accepted(1, 2, 600)];
        store.append(&records);
        disk.plan(nth(Operation::Sync, 1, eio(seed)));
        store.sync().unwrap_err();
        disk.kill();
        assert_eq!(model::recover(&disk).unwrap().2, records);
        disk.power_cut(Unsynced::Lost);
        assert_eq!(model::recover(&disk).unwrap().2, records);
    }
}

#[test]
fn a_write_that_failed_ends_the_store() {
    let (disk, mut store, records) = begun();
    while store.prepare().unwrap() {}
    disk.plan(nth(Operation::Write, 1, eio(0)));
    store.append(&[accepted(1, 3, 1600)]);
    let error = store.sync().unwrap_err();
    assert!(error.to_string().contains("cannot write log-00000001.seg"), "{error}");
    assert!(store.sync().is_err());
    let (_, replayed, found) = model::recover(&disk.fork()).unwrap();
    assert_eq!(found, records);
    assert!(replayed.torn.is_some_and(|torn| torn.bytes > 0 && torn.offset > 8192));
}

/// Some file systems never overwrite: a write may need space where something was written before.
#[test]
fn a_write_for_which_there_is_no_space_is_repeated_and_loses_nothing() {
    let (disk, mut store, mut records) = begun();
    while store.prepare().unwrap() {}
    disk.plan(nth(Operation::Write, 1, Failure::Full));
    records.push(accepted(1, 3, 600));
    store.append(&records[3..]);
    assert!(matches!(store.sync(), Err(WriteError::Full)));
    assert!(store.is_low());
    assert_eq!(store.durable(), 3);
    store.sync().unwrap();
    while store.prepare().unwrap() {}
    assert!(!store.is_low());
    let (_, _, found) = model::recover(&disk.image(Unsynced::Lost)).unwrap();
    assert_eq!(found, records);
}

#[test]
fn what_cannot_be_read_is_not_taken_for_nothing() {
    let (disk, _, records) = begun();
    let whole = disk.fork();
    model::recover(&whole).unwrap();
    let reads = whole.calls_of(Operation::Read);
    assert!(reads > 2);
    for n in 1..=reads {
        let copy = disk.fork();
        copy.plan(nth(Operation::Read, n, eio(0)));
        let error = model::recover(&copy).unwrap_err();
        assert!(matches!(error, OpenError::Io { .. }), "{error}");
        assert!(error.to_string().contains("cannot read"), "{error}");
        let (_, _, found) = model::recover(&copy).unwrap();
        assert_eq!(found, records);
    }
}

/// Every kind of call fails once, at every place, with the disk full or broken.
#[test]
fn whatever_call_fails_what_was_synced_is_there() {
    for what in [eio(1), Failure::Full] {
        for call in 1.. {
            let disk = SimDisk::new();
            disk.plan(Fault::new(Trigger::Call(call), what.clone()));
            let mut synced = Vec::new();
            let mut all = Vec::new();
            let ran = || -> Option<()> {
                let (mut store, _, _) = model::recover(&disk).ok()?;
                for batch in 0..9 {
                    let records = [accepted(1, batch + 1, 900), Record::Collected(Slot(batch))];
                    store.append(&records);
                    all.extend(records);
                    while let Err(error) = store.sync() {
                        // When there is space again, it goes on.
                        matches!(error, WriteError::Full).then_some(())?;
                    }
                    synced.clone_from(&all);
                    store.prepare().ok()?;
                }
                Some(())
            };
            let finished = { ran }().is_some();
            let copy = disk.image(Unsynced::Lost);
            let (store, _, found) = model::recover(&copy).unwrap();
            let n = usize::try_from(store.sequence()).unwrap();
            assert!(n >= synced.len(), "{what:?} at call {call}");
            assert_eq!(Sum::of(&found), Sum::of(&all[..n]), "{what:?} at call {call}");
            if finished && disk.calls() < call {
                break;
            }
        }
    }
}

fn with_reserve(disk: &SimDisk) -> Store<SimDisk> {
    let options = Options { spare_segments: 2, ..model::tiny() };
    let mut store =
        Store::open(disk.clone(), model::WANT, model::BIRTH, options).expect("nothing is wrong");
    store.replay(&mut |_| ()).unwrap();
    store
}

#[test]
fn a_full_disk_is_written_to_from_the_reserve_and_recovers() {
    let disk = SimDisk::new();
    let mut store = with_reserve(&disk);
    while store.prepare().unwrap() {}
    assert!(!store.is_low());
    disk.set_space(Some(disk.used()));
    let mut records = Vec::new();
    let mut low = None;
    let mut slot = 0;
    let error = loop {
        slot += 1;
        let record = accepted(1, slot, 700);
        store.append(std::slice::from_ref(&record));
        records.push(record);
        while store.prepare().unwrap() {}
        if store.is_low() && low.is_none() {
            low = Some(slot);
        }
        if let Err(error) = store.sync() {
            break error;
        }
    };
    assert!(matches!(error, WriteError::Full), "{error}");
    let reserve = slot - low.expect("it says so before it is full");
    assert!(reserve >= 8, "{reserve} records were written from the reserve");
    let durable = store.durable();
    assert_eq!(durable, slot - 1);

    // It is not dead, and keeps what it was given.
    let more = [accepted(1, slot + 1, 3000), Record::Adopted(ballot(5))];
    store.append(&more);
    records.extend(more);
    assert!(matches!(store.sync(), Err(WriteError::Full)));
    let (_, replayed, found) = model::recover(&disk.fork()).unwrap();
    assert_eq!((found.len() as u64, replayed.torn), (durable, None), "nothing of it is written");

    disk.set_space(None);
    store.sync().unwrap();
    assert!(store.is_low(), "the reserve is not whole yet");
    while store.prepare().unwrap() {}
    assert!(!store.is_low());
    let (_, _, found) = model::recover(&disk.image(Unsynced::Lost)).unwrap();
    assert_eq!(found, records);
}

#[test]
fn collected_segments_are_space_too() {
    let disk = SimDisk::new();
    let mut store = with_reserve(&disk);
    while store.prepare().unwrap() {}
    disk.set_space(Some(disk.used() + (20 << 10)));
    for slot in 1..200 {
        store.append(&[accepted(1, slot, 700), Record::Collected(Slot(slot))]);
        store.sync().unwrap();
        if slot % 3 == 0 {
            store.prepare().unwrap();
        }
    }
    let (store, replayed, found) = model::recover(&disk.image(Unsynced::Lost)).unwrap();
    assert_eq!((store.sequence(), &replayed.torn), (398, &None), "old remains mean nothing");
    assert!(replayed.records < 20, "most of it is gone: {replayed:?}");
    assert!(found.contains(&Record::Collected(Slot(199))));
}

#[test]
fn a_restart_on_a_full_disk_costs_nothing_of_the_reserve() {
    let disk = SimDisk::new();
    let mut store = with_reserve(&disk);
    while store.prepare().unwrap() {}
    disk.set_space(Some(disk.used()));
    store.append(&[accepted(1, 1, 100)]);
    store.sync().unwrap();
    for life in 1..50 {
        drop(store);
        disk.kill();
        store = with_reserve(&disk);
        store.append(&[Record::Started(life)]);
        store.sync().unwrap();
    }
    assert_eq!(disk.files().keys().filter(|name| name.starts_with("log-")).count(), 3);
}

/// Each life ends in the middle of a write, so that the next one needs another segment.
#[test]
fn segments_without_pvalues_do_not_pile_up() {
    let disk = SimDisk::new();
    for life in 1..30 {
        let mut store = with_reserve(&disk);
        store.append(&[Record::Started(life)]);
        store.sync().unwrap();
        while store.prepare().unwrap() {}
        disk.plan(nth(Operation::Sync, 1, Failure::Crash));
        store.append(&[accepted(life.into(), 5, 900)]);
        store.sync().unwrap_err();
        drop(store);
        // The title and the first record are whole, the second one is not.
        let whole = disk.unsynced().len() - 1;
        disk.power_cut(Unsynced::Prefix { whole, bytes: 700 });
    }
    assert!(disk.files().len() < 8, "{:?}", disk.files().keys());
    let (_, _, found) = model::recover(&disk).unwrap();
    assert_eq!(found.last(), Some(&Record::Started(29)));
    assert!(found.len() < 4, "{found:?}");
}

/// A write that went to another place is missing where it should be, and does no harm there.
#[test]
fn a_misdirected_write_is_noticed() {
    let (first, second) = ("log-00000001.seg", "log-00000002.seg");
    let places = [(first, 8192), (first, 8700), (first, 12000), (second, 8192), (second, 9000)];
    for (file, offset) in places {
        for batch in 3..6 {
            let (disk, mut store, mut records) = begun();
            for slot in 3..9 {
                while store.prepare().unwrap() {}
                if slot == batch {
                    let what = Failure::Misdirect { file: file.to_owned(), offset };
                    disk.plan(nth(Operation::Write, 1, what));
                }
                records.push(accepted(1, slot, 400));
                store.append(&records[records.len() - 1..]);
                store.sync().unwrap();
            }
            let what = format!("batch {batch} to {file} at {offset}");
            match model::recover(&disk.fork()) {
                Err(OpenError::Damaged { .. }) => {}
                Err(error) => panic!("{what}: {error}"),
                Ok((_, replayed, found)) => panic!("{what}: {replayed:?}, {}", found.len()),
            }
        }
    }
}

/// The first batch of a segment is torn: its title is gone, and two records are left. If the next
/// life writes the first of the two anew, the other one must not come after it.
#[test]
fn what_is_left_of_a_torn_write_never_comes_back() {
    let disk = SimDisk::new();
    let open = || {
        let options = Options { segment_bytes: 32 << 10, ..model::tiny() };
        let mut store = Store::open(disk.clone(), model::WANT, model::BIRTH, options).unwrap();
        let mut found = Vec::new();
        let replayed = store.replay(&mut |record| found.push(record)).unwrap();
        (store, replayed, found)
    };
    let (mut store, _, _) = open();
    store.append(&[Record::Started(1), accepted(1, 1, 17_000)]);
    store.sync().unwrap();
    while store.prepare().unwrap() {}
    // One page each: else what fills up the page of the first would wipe out the second.
    let size = |record: &Record| {
        let mut body = Vec::new();
        wire::encode_record(record, &mut body);
        body.len().next_multiple_of(8) + 128
    };
    let len = (3000..4000).find(|len| size(&accepted(1, 2, *len)) == 4096).unwrap();
    let batch = [accepted(1, 2, len), accepted(1, 3, len)];
    store.append(&batch);
    store.sync().unwrap();
    drop(store);
    let name = "log-00000002.seg";
    let mut bytes = disk.read(name).unwrap();
    bytes[..8192].fill(0);
    // The barrier was not written either.
    bytes[8192 + 2 * 4096..].fill(0);
    disk.write(name, bytes);

    let (mut store, replayed, found) = open();
    assert_eq!(found.len(), 2);
    assert_eq!(replayed.torn.map(|torn| torn.file).as_deref(), Some(name));
    store.append(&batch[..1]);
    store.sync().unwrap();
    drop(store);
    disk.power_cut(Unsynced::Lost);
    let (_, replayed, found) = open();
    assert_eq!((&found[2..], replayed.torn), (&batch[..1], None));
}

/// A disk that says that it has synced, and has not, loses its memory in a power cut. Where there
/// is something later on it, this shows.
#[test]
fn a_disk_that_lies_is_found_out_where_it_can_be() {
    let (disk, mut store, mut records) = begun();
    disk.plan(nth(Operation::Write, 1, Failure::Lie));
    for slot in 3..6 {
        records.push(accepted(1, slot, 400));
        store.append(&records[records.len() - 1..]);
        store.sync().unwrap();
    }
    let error = model::recover(&disk.image(Unsynced::Kept)).unwrap_err();
    assert!(error.to_string().contains("record 4 was written here"), "{error}");
    // Nothing is wrong with one that says the truth.
    let (disk, _, records) = begun();
    let (_, _, found) = model::recover(&disk.image(Unsynced::Lost)).unwrap();
    assert_eq!(found, records);
}

/// One that puts off what it says that it syncs, names as well as bytes, does so later.
#[test]
fn a_disk_that_lies_keeps_nothing_until_it_is_honest() {
    let (disk, mut store, records) = begun();
    disk.set_lying(true);
    store.append(&[accepted(1, 3, 10)]);
    store.sync().unwrap();
    disk.create("new").unwrap();
    disk.sync_dir().unwrap();
    let cut = disk.image(Unsynced::Lost);
    assert_eq!((cut.is_lying(), cut.read("new")), (false, None));
    assert_eq!(model::recover(&cut).unwrap().2, records);
    disk.set_lying(false);
    let (_, _, found) = model::recover(&disk.image(Unsynced::Lost)).unwrap();
    assert_eq!((found.len(), &found[..3]), (4, &records[..]));
    assert_eq!(disk.image(Unsynced::Lost).read("new"), Some(Vec::new()));
}

#[test]
fn one_write_and_one_sync_make_a_batch_durable() {
    let (disk, mut store, _) = begun();
    let before = (disk.calls_of(Operation::Write), disk.calls_of(Operation::Sync));
    store.append(&[accepted(1, 3, 10), accepted(1, 4, 10), Record::Adopted(ballot(2))]);
    store.append(&[accepted(2, 5, 10)]);
    store.sync().unwrap();
    let after = (disk.calls_of(Operation::Write), disk.calls_of(Operation::Sync));
    // The second write is the barrier, which waits for nobody.
    assert_eq!((after.0 - before.0, after.1 - before.1), (2, 1));
    store.sync().unwrap();
    assert_eq!(disk.calls_of(Operation::Sync), after.1, "nothing to do");
}
