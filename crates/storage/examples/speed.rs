//! How fast is this disk? Measures syncs of various batches, reading back, and snapshots, in a
//! directory that is given, or else in a temporary one.
//!
//! `cargo run --release -p synod-storage --example speed [directory]`
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::{
    error::Error,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::Path,
    time::{Duration, Instant},
};

use synod_paxos::{Ballot, ClientId, Command, Decree, NodeId, Op, PValue, Payload, Record, Slot};
use synod_storage::{Directory, Options, Store, Want};

const WANT: Want = Want { cluster: 1, node: NodeId(1) };
/// The length of a command in bytes.
const COMMAND: usize = 256;

fn main() -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let given = std::env::args().nth(1);
    let path = given.as_ref().map_or_else(|| temporary.path(), Path::new);
    println!("records of one command of {COMMAND} bytes, in {}", path.display());
    fs::create_dir_all(path)?;
    bare(&path.join("bare"))?;
    for batch in [1, 16, 256] {
        appends(&path.join(batch.to_string()), batch)?;
    }
    reading_back(&path.join("replay"), 256 << 20)?;
    snapshot(&path.join("snapshot"), 256 << 20)
}

/// What the disk itself takes: one page over an old one, and a flush.
fn bare(path: &Path) -> Result<(), Box<dyn Error>> {
    fs::write(path, vec![0; 16 << 20])?;
    let file = File::options().write(true).open(path)?;
    file.sync_all()?;
    let mut times = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        let start = Instant::now();
        file.write_all_at(&[1; 4096], (times.len() as u64 % 4096) * 4096)?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    println!("the disk alone, 4 KiB: {}", percentiles(&mut times));
    Ok(())
}

fn percentiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_micros();
    format!("p50 {:>5} µs, p99 {:>6} µs", at(50), at(99))
}

fn open(path: &Path) -> Result<Store<Directory>, Box<dyn Error>> {
    Ok(Store::open(Directory::new(path)?, WANT, 1, Options::default())?)
}

fn record(slot: u64, fill: &mut fastrand::Rng, len: usize) -> Record {
    let mut bytes = vec![0; len];
    fill.fill(&mut bytes);
    let client = ClientId { born: Slot(1), number: 1 };
    let op = Op::Apply(Payload::from(bytes));
    let decree = Decree::from(vec![Command { client, cid: slot, acked: slot, op }]);
    let ballot = Ballot { round: 1, incarnation: 1, leader: NodeId(1) };
    Record::Accepted(PValue { ballot, slot: Slot(slot), decree })
}

fn appends(path: &Path, batch: usize) -> Result<(), Box<dyn Error>> {
    let mut store = open(path)?;
    store.replay(&mut |_| ())?;
    while store.prepare()? {}
    let mut fill = fastrand::Rng::with_seed(1);
    let (mut slot, mut times, mut encoding) = (0, Vec::new(), Duration::ZERO);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        let mut records: Vec<Record> = Vec::with_capacity(batch);
        records.extend((0..batch).map(|_| {
            slot += 1;
            record(slot, &mut fill, COMMAND)
        }));
        let start = Instant::now();
        store.append(&records);
        encoding += start.elapsed();
        store.sync()?;
        times.push(start.elapsed());
        if slot % 4096 < batch as u64 {
            store.append(&[Record::Collected(Slot(slot.saturating_sub(2000)))]);
            store.prepare()?;
        }
    }
    let total: Duration = times.iter().sum();
    let rate = slot as f64 / total.as_secs_f64();
    let each = encoding.as_nanos() / u128::from(slot);
    let percentiles = percentiles(&mut times);
    println!("{batch:>4} records a sync: {percentiles}, {rate:.0} records/s, {each} ns to encode");
    Ok(())
}

fn reading_back(path: &Path, bytes: usize) -> Result<(), Box<dyn Error>> {
    for len in [COMMAND, 4096] {
        let path = path.join(len.to_string());
        let mut store = open(&path)?;
        store.replay(&mut |_| ())?;
        let mut fill = fastrand::Rng::with_seed(1);
        let records: Vec<Record> = (1..=256).map(|slot| record(slot, &mut fill, len)).collect();
        let mut written = 0;
        while written < bytes {
            store.append(&records);
            store.sync()?;
            written += records.len() * (len + 208);
        }
        let expected = store.sequence();
        drop(store);
        let mut store = open(&path)?;
        let start = Instant::now();
        let mut read = 0_u64;
        store.replay(&mut |_| read += 1)?;
        let took = start.elapsed().as_secs_f64();
        assert_eq!(read, expected);
        let (rate, records) = (written as f64 / took / 1e6, read as f64 / took);
        println!("replay, {len:>4} bytes a record: {rate:>5.0} MB/s, {records:>9.0} records/s");
    }
    Ok(())
}

fn snapshot(path: &Path, len: usize) -> Result<(), Box<dyn Error>> {
    let snapshots = open(path)?.snapshots();
    let mut state = vec![0; len];
    fastrand::Rng::with_seed(1).fill(&mut state);
    let start = Instant::now();
    let mut writer = snapshots.create(Slot(1))?;
    writer.write_all(&state)?;
    let info = writer.finish()?;
    let written = len as f64 / start.elapsed().as_secs_f64() / 1e6;
    let start = Instant::now();
    io::copy(&mut snapshots.open(info.slot)?, &mut io::sink())?;
    let read = len as f64 / start.elapsed().as_secs_f64() / 1e6;
    println!("snapshot: written at {written:.0} MB/s, read and verified at {read:.0} MB/s");
    Ok(())
}
