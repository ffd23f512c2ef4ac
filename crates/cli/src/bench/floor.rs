//! What this machine allows, measured beside the load: a round trip between two processes on the
//! loopback, and a record made durable.

use std::{
    env,
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::FileExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use super::{Error, cores::Cores, echo, record};

/// What a command and a vote have beside a value: names, numbers, checksums.
const HEADER: usize = 64;
/// Each measurement has so many samples, after as many for warming up as are skipped.
const SAMPLES: u32 = 1000;
const SKIPPED: u32 = 100;
/// Whatever the number of samples, each measurement ends after this time.
const LIMIT: Duration = Duration::from_secs(2);
/// The file that is written to, again from its start when the end is reached.
const FILE: usize = 16 << 20;

/// What this machine allows, in nanoseconds.
#[derive(Clone, Debug)]
pub(super) struct Floor {
    /// Between two processes on one core, where cores can be chosen.
    pub(super) round_trip: Histogram<u64>,
    /// Between two cores.
    pub(super) apart: Option<Histogram<u64>>,
    pub(super) sync: Histogram<u64>,
}

impl Floor {
    /// Measures with commands of `value` bytes, on the disk of `folder`.
    pub(super) fn measure(
        folder: &Path,
        value: usize,
        interrupted: &AtomicBool,
    ) -> Result<Self, Error> {
        let (round_trip, apart) = loopback(value, interrupted).map_err(Error::Loopback)?;
        let sync = syncs(folder, value, interrupted);
        if interrupted.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let disk = |error| Error::Disk { folder: folder.to_owned(), error };
        Ok(Self { round_trip, apart, sync: sync.map_err(disk)? })
    }

    /// Both of two measurements.
    pub(super) fn and(mut self, other: &Self) -> Self {
        let same = "histograms are all made alike";
        self.round_trip.add(&other.round_trip).expect(same);
        self.sync.add(&other.sync).expect(same);
        if let (Some(mine), Some(theirs)) = (&mut self.apart, &other.apart) {
            mine.add(theirs).expect(same);
        }
        self
    }
}

/// Round trips on one core, and between two.
fn loopback(
    value: usize,
    interrupted: &AtomicBool,
) -> io::Result<(Histogram<u64>, Option<Histogram<u64>>)> {
    let cores = Cores::of_this_thread();
    let Some((here, there)) = cores.apart() else {
        let server = Server::start()?;
        return Ok((round_trips(&server.address, value, interrupted)?, None));
    };
    cores.keep_to(here);
    let server = Server::start()?;
    let together = round_trips(&server.address, value, interrupted)?;
    cores.keep_to(there);
    Ok((together, Some(round_trips(&server.address, value, interrupted)?)))
}

/// This program as an echo server, in a process of its own.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start() -> io::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.args(["echo", "--while-stdin"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut server = Self { process: command.spawn()?, address: String::new() };
        let Some(stdout) = server.process.stdout.take() else {
            return Err(io::Error::other("no pipe to the echo server"));
        };
        BufReader::new(stdout).read_line(&mut server.address)?;
        server.address.truncate(server.address.trim_end().len());
        if server.address.is_empty() {
            return Err(io::Error::other("the echo server does not start"));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Takes samples, each as long as `one` takes.
fn sample(
    interrupted: &AtomicBool,
    mut one: impl FnMut() -> io::Result<()>,
) -> io::Result<Histogram<u64>> {
    let mut times = record::histogram();
    let start = Instant::now();
    for sample in 0..SKIPPED + SAMPLES {
        let begin = Instant::now();
        one()?;
        let end = Instant::now();
        let late = end - start >= LIMIT;
        if sample >= SKIPPED || late {
            record::note(&mut times, end - begin);
        }
        if late || interrupted.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(times)
}

fn round_trips(
    address: &str,
    value: usize,
    interrupted: &AtomicBool,
) -> io::Result<Histogram<u64>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let answer = u32::try_from(HEADER - echo::RESPONSE).expect("small");
    let mut request = Vec::new();
    echo::request(&mut request, 1, &vec![0; HEADER - echo::REQUEST + value], answer);
    let mut response = vec![0; HEADER];
    sample(interrupted, || {
        stream.write_all(&request)?;
        stream.read_exact(&mut response)
    })
}

/// Writes one record after the other into a file that has been written with zeros before, and
/// makes each durable.
fn syncs(folder: &Path, value: usize, interrupted: &AtomicBool) -> io::Result<Histogram<u64>> {
    let file: File = tempfile::tempfile_in(folder)?;
    let bytes = vec![1; HEADER + value];
    let records = (FILE / bytes.len()).max(1);
    let zeros = vec![0; bytes.len()];
    for at in 0..records {
        file.write_all_at(&zeros, position(at, bytes.len()))?;
    }
    file.sync_all()?;
    let mut at = 0;
    sample(interrupted, || {
        file.write_all_at(&bytes, position(at, bytes.len()))?;
        file.sync_data()?;
        at = (at + 1) % records;
        Ok(())
    })
}

fn position(index: usize, length: usize) -> u64 {
    u64::try_from(index * length).expect("no more than the length of the file")
}

/// Whether nothing in this folder survives a loss of power.
pub(super) fn is_in_memory(folder: &Path) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58F6;
    let Ok(system) = rustix::fs::statfs(folder) else { return false };
    u64::try_from(system.f_type).is_ok_and(|kind| kind == TMPFS || kind == RAMFS)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    static NEVER: AtomicBool = AtomicBool::new(false);

    #[test]
    fn records_are_made_durable_one_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let times = syncs(folder.path(), 256, &NEVER).unwrap();
        assert!((1..=u64::from(SAMPLES)).contains(&times.len()), "{}", times.len());
        assert!(times.min() > 0);
        assert_eq!(folder.path().read_dir().unwrap().count(), 0, "it leaves nothing behind");
        // Larger than the file would be: one record after all.
        assert!(!syncs(folder.path(), FILE, &NEVER).unwrap().is_empty());
    }

    #[test]
    fn a_server_that_hangs_up_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || drop(listener.accept()));
        assert!(round_trips(&address, 256, &NEVER).is_err());
        server.join().unwrap();
    }

    #[test]
    fn both_of_two_measurements_count() {
        let one = |ns| {
            let mut histogram = record::histogram();
            histogram.record(ns).unwrap();
            histogram
        };
        let floor =
            |ns| Floor { round_trip: one(ns), apart: Some(one(5 * ns)), sync: one(10 * ns) };
        let both = floor(100).and(&floor(300));
        assert_eq!((both.round_trip.len(), both.round_trip.min()), (2, 100));
        assert_eq!((both.sync.len(), both.apart.unwrap().len()), (2, 2));
    }
}
