//! What became of a log: bytes that nobody has written, or a log that was changed.

use std::collections::BTreeMap;

use arbitrary::Unstructured;
use synod_paxos::{PValue, Record, Slot};
use synod_storage::{OpenError, Replayed, SimDisk, Store, sim::SECTOR, sim::Unsynced};

use crate::draw;

#[expect(
    dead_code,
    clippy::cast_possible_truncation,
    reason = "what the storage's tests know of records; some of it is used here"
)]
#[path = "../../crates/storage/tests/storage/model.rs"]
mod model;

use model::{accepted, ballot, decree, performed};

/// Records of a log that is changed. So, a dozen fill a segment.
const RECORDS: usize = 40;
const CHANGES: usize = 8;

type Recovered = Result<(Store<SimDisk>, Replayed, Vec<Record>), OpenError>;

/// The first byte says whether there was a log.
///
/// # Panics
/// When a promise is broken.
pub fn run(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    if draw::below(&mut input, 2) == 0 {
        strange(&mut input);
    } else {
        changed(&mut input);
    }
}

/// A directory with a segment, and perhaps another one, in which there is anything.
fn strange(input: &mut Unstructured<'_>) {
    let disk = SimDisk::new();
    drop(model::open(&disk).expect("an empty directory is formatted"));
    let second = draw::below(input, 2) == 1;
    let titled = draw::below(input, 2) == 1;
    for number in 1..=1 + usize::from(second) {
        let name = format!("log-{number:08}.seg");
        let mut bytes = disk.read(&name).unwrap_or_default();
        if !titled {
            bytes.clear();
        }
        let half = input.len() / if number == 1 && second { 2 } else { 1 };
        bytes.truncate(8192);
        bytes.extend_from_slice(input.bytes(half).unwrap_or(&[]));
        bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
        disk.write(&name, bytes);
    }
    let Ok((mut store, _, found)) = model::recover(&disk) else { return };
    goes_on(&disk, &mut store, found);
}

/// A log that was written, and then changed.
fn changed(input: &mut Unstructured<'_>) {
    let disk = SimDisk::new();
    disk.keep_history();
    let closed = draw::below(input, 2) == 0;
    let written = write(&disk, closed, input);
    let before = disk.files();
    for _ in 0..CHANGES {
        if input.is_empty() {
            break;
        }
        change(&disk, input);
    }
    let untouched = disk.files() == before;
    let whole = if untouched {
        written.durable
    } else if closed && seal_is_there(&before, &disk) {
        written.records.len()
    } else {
        0
    };
    let recovered = model::recover(&disk);
    if let Err(error) = &recovered {
        assert!(!untouched, "nothing was changed: {error}");
    }
    judge(&written.records, whole, &recovered);
    if let Ok((mut store, _, found)) = recovered {
        goes_on(&disk, &mut store, found);
    }
}

/// What was written.
struct Written {
    records: Vec<Record>,
    /// How many of them are durable.
    durable: usize,
}

/// Writes records drawn from `input`, in batches, into several segments, of which none gets done
/// with; then closes the log, or has the power cut.
fn write(disk: &SimDisk, closed: bool, input: &mut Unstructured<'_>) -> Written {
    let (mut store, _, _) = model::recover(disk).expect("an empty directory is formatted");
    let mut records = vec![Record::Started(1), accepted(1, 50, 10)];
    store.append(&records);
    store.sync().expect("the disk does not fail");
    let mut durable = records.len();
    for n in 0..draw::below(input, RECORDS) as u64 {
        let choice = draw::byte(input);
        let len = usize::from(choice >> 4) * 60;
        let record = match choice % 8 {
            0 => Record::Adopted(ballot(1 + n)),
            1 => Record::Learned { slot: Slot(n), decree: decree(n, len) },
            2 => performed(1, n, n + 3),
            3 => Record::Collected(Slot(n)),
            4 => Record::Campaigned(ballot(n)),
            _ => accepted(1 + n / 4, 51 + n, len),
        };
        store.append(std::slice::from_ref(&record));
        records.push(record);
        if choice & 8 == 0 {
            store.sync().expect("the disk does not fail");
            durable = records.len();
        }
    }
    if closed {
        store.close().expect("the disk does not fail");
        durable = records.len();
    } else {
        let bytes = 64 * draw::below(input, 200);
        drop(store);
        disk.power_cut(Unsynced::Prefix { whole: 0, bytes });
    }
    Written { records, durable }
}

/// Something happens to a file.
fn change(disk: &SimDisk, input: &mut Unstructured<'_>) {
    let files = disk.files();
    let names: Vec<&String> = files.keys().collect();
    let Some(&name) = names.get(draw::below(input, names.len())) else { return };
    let Some(old) = files.get(name).filter(|bytes| !bytes.is_empty()) else { return };
    let mut bytes = old.clone();
    let kind = draw::below(input, 9);
    let at = draw::below(input, bytes.len());
    let sector = at / SECTOR;
    match kind {
        0 | 1 => bytes[at] ^= 1 << draw::below(input, 8),
        2 => {
            let end = (at + 1 + draw::below(input, 600)).min(bytes.len());
            bytes[at..end].fill(draw::byte(input));
        }
        3 => bytes.truncate(at),
        4 | 5 => {
            let this = sector * SECTOR;
            let other = draw::below(input, bytes.len()) / SECTOR * SECTOR;
            let len = SECTOR.min(bytes.len() - this.max(other));
            if kind == 5 {
                bytes.copy_within(this..this + len, other);
            } else {
                for i in 0..len {
                    bytes.swap(this + i, other + i);
                }
            }
        }
        6 => {
            let back = 1 + draw::below(input, 4);
            disk.restore_sector(name, sector as u64, back);
            return;
        }
        7 => {
            disk.lose(name);
            return;
        }
        _ => {
            let other = names.get(draw::below(input, names.len()));
            bytes = other.and_then(|other| files.get(*other)).cloned().unwrap_or_default();
        }
    }
    disk.write(name, bytes);
}

/// Whether the barrier that a log ends with when it is closed is where it was.
fn seal_is_there(before: &BTreeMap<String, Vec<u8>>, disk: &SimDisk) -> bool {
    let sealed = |(name, bytes): (&String, &Vec<u8>)| {
        let last = bytes.get(8192..)?.iter().rposition(|byte| *byte != 0)?;
        name.starts_with("log-").then(|| (name.clone(), (8192 + last) / 4096 * 4096))
    };
    let Some((name, page)) = before.iter().rev().find_map(sealed) else { return false };
    let now = disk.read(&name).unwrap_or_default();
    now.get(page..) == before.get(&name).and_then(|bytes| bytes.get(page..))
}

/// What was recovered is what was written: at least the first `whole` records, or an error, or word
/// of what is lost.
fn judge(records: &[Record], whole: usize, recovered: &Recovered) {
    let Ok((store, replayed, found)) = recovered else { return };
    let n = usize::try_from(store.sequence()).expect("there are few");
    assert!(n <= records.len(), "{n} records, and {} were written", records.len());
    assert!(n >= whole, "{n} records, and {whole} were synced; {replayed:?}");
    let mut expected = records[..n].to_vec();
    for (ballot, slot) in &replayed.lost {
        let it = |p: &PValue| (p.ballot, p.slot) == (*ballot, *slot);
        let mut lost = expected.iter_mut();
        let lost = lost.find(|record| matches!(record, Record::Accepted(p) if it(p)));
        let lost = lost.expect("what is lost was accepted");
        *lost = Record::Lost { ballot: *ballot, slot: *slot };
    }
    for _ in 0..replayed.forgotten {
        let missing = expected.iter().zip(found).position(|(a, b)| a != b).unwrap_or(found.len());
        let gone = expected.remove(missing);
        assert!(gone.can_wait(), "{gone:?} is missing");
    }
    assert_eq!(*found, expected, "{replayed:?}");
}

/// A log that was read back is written on, and read back as a whole.
fn goes_on(disk: &SimDisk, store: &mut Store<SimDisk>, mut found: Vec<Record>) {
    let more = [Record::Started(9), accepted(99, 999, 100)];
    store.append(&more);
    store.sync().expect("the disk does not fail");
    disk.kill();
    let (_, replayed, again) = model::recover(disk).expect("it was read back a moment ago");
    found.extend(more);
    assert_eq!(again, found);
    assert_eq!(replayed.torn, None, "what is torn is not met again");
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    /// A log of six records, closed and read back, and the records.
    fn log() -> (SimDisk, Vec<Record>) {
        let disk = SimDisk::new();
        let input = [4, 0x25, 0x25, 0x22, 0x25];
        let written = write(&disk, true, &mut Unstructured::new(&input));
        assert_eq!(written.records.len(), 6);
        (disk, written.records)
    }

    #[test]
    fn the_judge_objects_to_what_was_not_written() {
        let objects = |change: fn(&mut Vec<Record>), whole| {
            let (disk, mut records) = log();
            change(&mut records);
            catch_unwind(|| judge(&records, whole, &model::recover(&disk))).is_err()
        };
        assert!(!objects(|_| (), 6));
        assert!(objects(|_| (), 7), "too few");
        assert!(objects(|records| records.swap(2, 3), 0), "in another order");
        assert!(objects(|records| drop(records.pop()), 0), "too many");
        assert!(objects(|records| records[3] = accepted(1, 51, 7), 0), "another decree");
    }

    #[test]
    fn a_lost_decree_has_to_be_one_that_was_accepted() {
        let (disk, records) = log();
        let name = "log-00000001.seg";
        let bytes = disk.read(name).unwrap();
        // The body of the first accepted pvalue, behind a record without a body.
        let body = (8192 + 2 * 64 + 64) as u64;
        assert!(bytes[usize::try_from(body).unwrap()] != 0);
        disk.flip_bit(name, body + 4, 0);
        let recovered = model::recover(&disk);
        assert_eq!(recovered.as_ref().unwrap().1.lost.len(), 1);
        judge(&records, 6, &recovered);
        let mut others = records;
        others[1] = Record::Adopted(ballot(1));
        let judged = catch_unwind(AssertUnwindSafe(|| judge(&others, 6, &recovered)));
        assert!(judged.is_err());
    }
}
