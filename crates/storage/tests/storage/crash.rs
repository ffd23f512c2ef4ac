//! A crash at every call of the disk, and in every write at every byte.

use std::io::{Read as _, Write as _};

use synod_paxos::{Record, Slot};
use synod_storage::{
    SimDisk, Store,
    sim::{Failure, Fault, Trigger, Unsynced},
};

use crate::model::{self, Sum, accepted, ballot};

/// A step of the script.
enum Step {
    Append(Record),
    Sync,
    Prepare,
    Snapshot(u64, usize),
}

/// About 200 steps, in which everything happens: rotation within a batch and between batches, a
/// record longer than a segment, collection, use of old segments, snapshots.
fn script() -> Vec<Step> {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut steps = vec![Step::Append(Record::Started(1)), Step::Sync];
    let (mut slot, mut round, mut collected) = (1, 1, 1);
    while steps.len() < 200 {
        match rng.u32(..24) {
            0..=8 => {
                steps.push(Step::Append(accepted(round, slot, rng.usize(..700))));
                slot += 1;
            }
            9 => {
                round += 1;
                steps.push(Step::Append(Record::Campaigned(ballot(round))));
                steps.push(Step::Append(Record::Adopted(ballot(round))));
            }
            10 => {
                steps.push(Step::Append(model::performed(round, collected, slot)));
            }
            11 => {
                let decree = model::decree(slot, 90);
                steps.push(Step::Append(Record::Learned { slot: Slot(slot), decree }));
            }
            12..=17 => steps.push(Step::Sync),
            18..=20 => steps.push(Step::Prepare),
            21 if slot > collected + 3 => {
                collected = slot - 2;
                steps.push(Step::Snapshot(collected, rng.usize(..900)));
                steps.push(Step::Append(Record::Collected(Slot(collected))));
            }
            22 => {
                steps.push(Step::Append(accepted(round, slot, 5000)));
                slot += 1;
            }
            _ => steps.push(Step::Sync),
        }
    }
    steps
}

/// What a run was told.
#[derive(Default)]
struct Told {
    appended: Vec<Record>,
    /// How many of them are durable.
    durable: usize,
    snapshot: Option<u64>,
    /// The snapshot that was being made.
    perhaps: Option<u64>,
}

fn state(slot: u64, len: usize) -> Vec<u8> {
    (0..len).map(|at| (slot as usize + at) as u8).collect()
}

/// Runs steps until the disk stops.
fn run(disk: &SimDisk, steps: &[Step], told: &mut Told) -> Option<()> {
    let (store, _, _) = model::recover(disk).ok()?;
    go_on(store, steps, told)
}

fn go_on(mut store: Store<SimDisk>, steps: &[Step], told: &mut Told) -> Option<()> {
    let before = store.sequence() as usize;
    assert_eq!(before, told.appended.len(), "numbers go on where the records end");
    for step in steps {
        match step {
            Step::Append(record) => {
                store.append(std::slice::from_ref(record));
                told.appended.push(record.clone());
                assert_eq!(store.sequence() as usize, told.appended.len());
            }
            Step::Sync => {
                store.sync().ok()?;
                told.durable = told.appended.len();
            }
            Step::Prepare => while store.prepare().ok()? {},
            Step::Snapshot(slot, len) => {
                told.perhaps = Some(*slot);
                let mut writer = store.snapshots().create(Slot(*slot)).ok()?;
                writer.write_all(&state(*slot, *len)).ok()?;
                writer.finish().ok()?;
                told.snapshot = Some(*slot);
            }
        }
    }
    Some(())
}

/// Recovers, and sees that everything is there that has to be, and nothing that must not.
fn check(disk: &SimDisk, told: &Told, what: &str) -> (Store<SimDisk>, usize) {
    let (store, replayed, records) =
        model::recover(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    let n = usize::try_from(store.sequence()).unwrap();
    assert!(n >= told.durable, "{what}: {n} records of {} durable ones", told.durable);
    assert!(n <= told.appended.len(), "{what}: {n} records of {}", told.appended.len());
    assert_eq!(Sum::of(&records), Sum::of(&told.appended[..n]), "{what}");
    let suffix = &records[records.len() - replayed.records as usize..];
    assert!(told.appended[..n].ends_with(suffix), "{what}: other records");
    assert_eq!((replayed.lost.len(), replayed.mended), (0, 0), "{what}");
    let newest = store.snapshots().newest().unwrap_or_else(|error| panic!("{what}: {error}"));
    let slot = newest.map(|info| info.slot.0);
    assert!(slot == told.snapshot || slot == told.perhaps, "{what}: snapshot {slot:?}");
    if let Some(info) = newest {
        let mut bytes = Vec::new();
        let mut reader = store.snapshots().open(info.slot).unwrap();
        reader.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, state(info.slot.0, bytes.len()), "{what}");
    }
    (store, n)
}

/// What a power cut may leave.
fn cuts(disk: &SimDisk, call: u64, thorough: bool) -> Vec<Unsynced> {
    let mut cuts = vec![Unsynced::Lost, Unsynced::Kept];
    let lengths = disk.unsynced();
    for (whole, len) in lengths.iter().enumerate() {
        cuts.push(Unsynced::Prefix { whole, bytes: 0 });
        // The last one is the write that the crash was in. Its every byte is a place to tear it.
        let last = whole + 1 == lengths.len();
        let stride = if thorough { 1 } else { len / 32 + 1 };
        let first = 1 + usize::try_from(call).unwrap() % stride;
        if last {
            let places = (first..*len).step_by(stride);
            cuts.extend(places.map(|bytes| Unsynced::Prefix { whole, bytes }));
        }
    }
    let seeds = if thorough { 0..12 } else { 0..3 };
    cuts.extend(seeds.map(|seed| Unsynced::Sectors { seed: seed + call * 100 }));
    cuts
}

fn thorough() -> bool {
    std::env::var_os("SYNOD_THOROUGH").is_some()
}

fn crash_at(call: u64) -> Fault {
    Fault::new(Trigger::Call(call), Failure::Crash)
}

/// How many calls of the disk the script makes.
fn calls(steps: &[Step]) -> u64 {
    let disk = SimDisk::new();
    let mut told = Told::default();
    run(&disk, steps, &mut told).expect("nothing goes wrong");
    check(&disk.fork(), &told, "at the end");
    disk.calls()
}

#[test]
fn after_any_crash_the_log_is_what_was_synced_and_perhaps_a_bit_more() {
    let steps = script();
    let calls = calls(&steps);
    assert!(calls > 280, "the script does a lot: {calls}");
    let mut images = 0;
    for call in 1..=calls {
        let disk = SimDisk::new();
        disk.plan(crash_at(call));
        let mut told = Told::default();
        // Where it is of no consequence, as with an old snapshot that stays, it runs to the end.
        run(&disk, &steps, &mut told);
        assert_eq!(disk.calls(), call, "the disk stops at this call");
        check(&disk.fork(), &told, &format!("killed at call {call}"));
        for cut in cuts(&disk, call, thorough()) {
            images += 1;
            check(&disk.image(cut), &told, &format!("call {call}, {cut:?}"));
        }
    }
    assert!(images > 3000, "{images} images");
}

/// Goes on after a crash, and crashes again.
#[test]
fn after_a_crash_the_log_goes_on_and_survives_the_next_one() {
    let steps = script();
    let calls = calls(&steps);
    let mut rng = fastrand::Rng::with_seed(3);
    for call in (1..=calls).step_by(if thorough() { 1 } else { 5 }) {
        let mut disk = SimDisk::new();
        disk.plan(crash_at(call));
        let mut told = Told::default();
        run(&disk, &steps, &mut told);
        for life in 0..4 {
            let cuts = cuts(&disk, call, false);
            let cut = cuts[rng.usize(..cuts.len())];
            let what = format!("call {call}, life {life}, {cut:?}");
            disk = disk.image(cut);
            let (store, n) = check(&disk, &told, &what);
            told.appended.truncate(n);
            told.durable = n;
            told.snapshot = store.snapshots().newest().unwrap().map(|info| info.slot.0);
            told.perhaps = told.snapshot;
            // Old snapshots are not published again; everything else is.
            let next = |step: &&Step| !matches!(step, Step::Snapshot(..));
            let more: Vec<Step> = script().into_iter().skip(3 * life).collect();
            let more: Vec<Step> = more.into_iter().filter(|step| next(&step)).collect();
            disk.plan(crash_at(disk.calls() + rng.u64(1..40)));
            go_on(store, &more, &mut told);
        }
        check(&disk.fork(), &told, &format!("call {call}, at the end"));
    }
}

/// Recovery itself is cut off, at every one of its calls.
#[test]
fn recovery_can_crash_anywhere_and_be_done_again() {
    let steps = script();
    let calls = calls(&steps);
    for call in (1..=calls).step_by(if thorough() { 1 } else { 7 }) {
        let disk = SimDisk::new();
        disk.plan(crash_at(call));
        let mut told = Told::default();
        run(&disk, &steps, &mut told);
        let first = disk.image(Unsynced::Sectors { seed: call });
        let whole = first.fork();
        drop(check(&whole, &told, "for counting"));
        for again in 1..=whole.calls() {
            let second = first.fork();
            second.plan(crash_at(again));
            if let Ok((store, _, records)) = model::recover(&second) {
                // What was read is durable, whatever comes.
                let n = store.sequence() as usize;
                told.durable = told.durable.max(n);
                assert_eq!(Sum::of(&records), Sum::of(&told.appended[..n]));
            }
            for cut in [Unsynced::Lost, Unsynced::Kept, Unsynced::Sectors { seed: again }] {
                let what = format!("call {call}, then {again}, {cut:?}");
                check(&second.image(cut), &told, &what);
            }
        }
    }
}
