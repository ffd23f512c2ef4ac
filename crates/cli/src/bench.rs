//! `synod bench`: load for a cluster, and how well it carries it.

mod cluster;
mod conductor;
mod cores;
mod driver;
pub(crate) mod echo;
mod echo_target;
#[cfg(test)]
mod fake;
mod floor;
mod generator;
mod outage;
mod plot;
mod progress;
mod protocol;
mod record;
mod report;
mod schedule;
mod synod_target;
mod table;
pub(crate) mod target;
mod usage;
mod workload;

use std::{
    env,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::Duration,
};

use clap::{Args, ValueEnum, value_parser};
use signal_hook::consts::{SIGINT, SIGTERM};
use tempfile::TempDir;
use thiserror::Error;

use cluster::Cluster;
use conductor::{Load, Measured};
use floor::Floor;
use progress::Progress;
use protocol::Protocol;
use report::{Configuration, Report};
use target::Level;
use workload::Mix;

/// In flight for each client in an open loop, unless it is said: enough not to matter.
const UNHINDERED: usize = 1024;
/// In flight for all clients together, at most.
const MOST_IN_FLIGHT: usize = 1 << 20;
/// The largest value, in bytes: with what belongs to it, it fits into a frame.
const LARGEST: u64 = 16 << 20;
/// Shorter intervals between kills would leave the killed nodes no time to come back.
const SHORTEST_LIFE: Duration = Duration::from_secs(2);
/// How long a cluster may take until it performs its first command.
const PATIENCE: Duration = Duration::from_secs(15);

/// What `synod bench` is told.
#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// Nodes to start on this machine, for this run only
    #[arg(long, value_name = "N", default_value_t = 3, conflicts_with = "target",
        value_parser = value_parser!(u8).range(1..=15))]
    nodes: u8,
    /// A running cluster, instead of one that is started for this run
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',')]
    target: Vec<String>,
    /// Where the nodes keep their data: a folder that is made in this one, and removed at the end
    /// [default: the system's folder for temporary files]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// What the nodes speak
    #[arg(long, value_enum, default_value_t = Protocol::Synod)]
    protocol: Protocol,
    /// Clients, each with its own session
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = value_parser!(u16).range(1..))]
    clients: u16,
    /// Threads that drive the clients, each a share of them; no more than there are clients
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Commands that each client may have in flight [default: 1, and 1024 with --rate]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    in_flight: Option<u32>,
    /// Commands due each second, by all clients together, whether or not earlier ones have been
    /// answered; latency counts from when they are due. Without it, the next command is sent when
    /// an earlier one has been answered
    #[arg(long, value_name = "PER_SECOND",
        value_parser = value_parser!(u64).range(1..=schedule::FASTEST))]
    rate: Option<u64>,
    /// Bytes of a value
    #[arg(long, value_name = "BYTES", default_value_t = 256,
        value_parser = value_parser!(u64).range(..=LARGEST))]
    size: u64,
    /// Different keys, drawn evenly; if there are reads, each key is written before the start
    #[arg(long, value_name = "N", default_value_t = 1000,
        value_parser = value_parser!(u64).range(1..))]
    keys: u64,
    /// How many of a hundred commands are reads
    #[arg(long, value_name = "PERCENT", default_value_t = 0,
        value_parser = value_parser!(u8).range(..=100))]
    reads: u8,
    /// Which node the clients talk to
    #[arg(long, value_enum, default_value_t = At::Leader)]
    at: At,
    /// What reads may return
    #[arg(long, value_enum, default_value_t = Level::Linearizable)]
    level: Level,
    /// How long to measure
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    duration: Duration,
    /// How long to run before that, under the same load
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    warm_up: Duration,
    /// Seed of the commands
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Kill the process of the leader again and again (as `kill -9` does), start it again a second
    /// later, and tell how long writes stood still
    #[arg(long, value_name = "SECONDS", conflicts_with = "target", value_parser = seconds)]
    kill_leader_every: Option<Duration>,
    /// Measure what this machine allows before and after the load: a round trip between two
    /// processes, and a record written and made durable in the data folder
    #[arg(long)]
    floor: bool,
    /// More arguments for the nodes that are started, as `synod node` takes them
    #[arg(
        long,
        value_name = "ARGUMENTS",
        value_delimiter = ' ',
        allow_hyphen_values = true,
        conflicts_with = "target"
    )]
    with: Vec<String>,
    /// Print the report as a JSON object too, on the last line
    #[arg(long)]
    json: bool,
    /// Write a picture of latency by percentile and throughput over time
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// Which node a client talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum At {
    /// The one that leads, or any
    Leader,
    /// One that does not lead, whatever happens
    Follower,
}

/// Why there is nothing to report.
#[derive(Debug, Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Arguments(String),
    #[error("{}: cannot be written: {error}", path.display())]
    Plot { path: PathBuf, error: io::Error },
    #[error("{}: no data can be kept there: {error}", folder.display())]
    Disk { folder: PathBuf, error: io::Error },
    #[error("no free port on the loopback: {0}")]
    Ports(io::Error),
    #[error("node {node} cannot be started: {error}")]
    Start { node: usize, error: io::Error },
    #[error("{0}")]
    Deserted(String),
    #[error("{address} cannot be reached: {why}")]
    Unreachable { address: String, why: String },
    #[error("the cluster performs no commands: {0}")]
    Silent(String),
    #[error("the loopback cannot be measured: {0}")]
    Loopback(io::Error),
    #[error("a thread of load cannot be started: {0}")]
    Thread(io::Error),
    #[error("signals cannot be caught: {0}")]
    Signals(io::Error),
    #[error("ticket {0:#x} was answered, but it does not wait for an answer")]
    Ticket(u64),
    #[error("the report has no JSON form: {0}")]
    Json(serde_json::Error),
    #[error("interrupted")]
    Interrupted,
}

/// As `--duration` and the like take it.
fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text);
    let seconds: f64 = number.parse().map_err(|_| "a number of seconds, please".to_owned())?;
    let day = Duration::from_secs(24 * 60 * 60);
    let time = Duration::try_from_secs_f64(seconds).ok().filter(|time| *time <= day);
    time.ok_or_else(|| "between 0 seconds and a day, please".to_owned())
}

impl Bench {
    /// Puts a cluster under load, and prints what came of it.
    pub(crate) fn run(&self) -> Result<(), Error> {
        let load = self.load()?;
        // A file that cannot be written is to be known before the run, not after it.
        let unwritable = |path: &Path, error| Error::Plot { path: path.to_owned(), error };
        let plot = match &self.plot {
            Some(path) => Some((path, File::create(path).map_err(|e| unwritable(path, e))?)),
            None => None,
        };
        let (report, measured) = self.measure(&load)?;
        if let Some((path, mut file)) = plot {
            let picture = plot::draw(&report, &measured);
            file.write_all(picture.as_bytes()).map_err(|error| unwritable(path, error))?;
        }
        let mut text = report.to_string();
        if self.json {
            text += &report.json()?;
            text.push('\n');
        }
        // If nobody reads the report, the exit status is what remains.
        drop(io::stdout().lock().write_all(text.as_bytes()));
        Ok(())
    }

    /// What each argument does not say for itself.
    fn load(&self) -> Result<Load, Error> {
        let refuse = |what: &str| Err(Error::Arguments(what.to_owned()));
        let default = if self.rate.is_some() { UNHINDERED } else { 1 };
        let in_flight = self.in_flight.map_or(Some(default), |n| usize::try_from(n).ok());
        let clients = usize::from(self.clients);
        let whole = in_flight.and_then(|each| each.checked_mul(clients));
        let (Some(in_flight), Some(..=MOST_IN_FLIGHT)) = (in_flight, whole) else {
            return refuse("--clients times --in-flight may be 1048576 at most");
        };
        if self.threads > self.clients {
            return refuse("--threads: there are fewer clients than that (see --clients)");
        }
        if self.duration < record::INTERVAL {
            return refuse("--duration: nothing can be measured in less than 0.1 seconds");
        }
        if let Some(every) = self.kill_leader_every {
            if every < SHORTEST_LIFE {
                return refuse("--kill-leader-every: 2 seconds or more, so that nodes come back");
            }
            if every >= self.duration {
                return refuse("--kill-leader-every: less than --duration, or nobody is killed");
            }
            if self.reads == 100 {
                return refuse("--kill-leader-every: is told by writes, but --reads is 100");
            }
            if !self.protocol.has_leader() {
                return refuse("--kill-leader-every: this protocol has no leader");
            }
        }
        let value = usize::try_from(self.size).expect("clap bounds it");
        let Self { keys, reads, level, seed, rate, warm_up, duration, .. } = *self;
        Ok(Load {
            clients,
            threads: usize::from(self.threads),
            in_flight,
            rate,
            mix: Mix { value, keys, reads, level, seed },
            warm_up,
            duration,
            kill_leader_every: self.kill_leader_every,
        })
    }

    fn measure(&self, load: &Load) -> Result<(Report, Measured), Error> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&interrupted))
                .map_err(Error::Signals)?;
        }
        let folder = self.folder()?;
        let progress = Progress::new();
        let floor = || {
            progress.stage("measuring the machine");
            Floor::measure(folder.path(), load.mix.value, &interrupted)
        };
        let before = self.floor.then(floor).transpose()?;
        progress.stage("starting");
        let mut cluster = self.start(folder.path())?;
        let addresses = cluster.as_ref().map_or(&*self.target, Cluster::addresses).to_vec();
        let target = self.protocol.target(&addresses, load.mix.value, self.at)?;
        conductor::reach(&*target, &mut cluster, PATIENCE, &interrupted)?;
        let measured = conductor::conduct(load, &*target, &mut cluster, &progress, &interrupted)?;
        let mut notes = cluster.as_mut().map(Cluster::deserters).unwrap_or_default();
        if let Some(cluster) = &mut cluster {
            cluster.kill_all();
        }
        let after = self.floor.then(floor).transpose()?;
        progress.finish();
        if (cluster.is_some() || self.floor) && floor::is_in_memory(folder.path()) {
            let place = folder.path().display();
            notes.push(format!("{place} is in memory: nothing was made durable (see --data)"));
        }
        let floor = before.zip(after).map(|(before, after)| [before, after]);
        let configuration = self.configuration(load, addresses);
        Ok((Report::new(configuration, &measured, floor, notes), measured))
    }

    /// A folder for this run, which vanishes with it.
    fn folder(&self) -> Result<TempDir, Error> {
        let parent = self.data.clone().unwrap_or_else(env::temp_dir);
        let folder = tempfile::Builder::new().prefix("synod-bench-").tempdir_in(&parent);
        folder.map_err(|error| Error::Disk { folder: parent, error })
    }

    fn start(&self, folder: &Path) -> Result<Option<Cluster>, Error> {
        if !self.target.is_empty() {
            return Ok(None);
        }
        let start = self
            .protocol
            .node(self.with.clone())
            .map_err(|error| Error::Start { node: 1, error })?;
        Cluster::start(usize::from(self.nodes), folder, start).map(Some)
    }

    fn configuration(&self, load: &Load, addresses: Vec<String>) -> Configuration {
        let Load { clients, threads, in_flight, rate, .. } = *load;
        Configuration {
            version: env!("CARGO_PKG_VERSION"),
            protocol: self.protocol.name(),
            nodes: self.target.is_empty().then_some(usize::from(self.nodes)),
            addresses,
            clients,
            in_flight_per_client: in_flight,
            threads,
            rate_per_s: rate,
            value_bytes: load.mix.value,
            keys: self.keys,
            reads_percent: self.reads,
            level: self.level,
            duration_s: self.duration.as_secs_f64(),
            warm_up_s: self.warm_up.as_secs_f64(),
            seed: self.seed,
            kill_leader_every_s: self.kill_leader_every.map(|every| every.as_secs_f64()),
            cpus: thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Line {
        #[command(flatten)]
        bench: Bench,
    }

    fn load(arguments: &str) -> Result<Load, String> {
        let line = std::iter::once("bench").chain(arguments.split_whitespace());
        let line = Line::try_parse_from(line).map_err(|error| error.to_string())?;
        line.bench.load().map_err(|error| error.to_string())
    }

    #[test]
    fn without_arguments_one_client_has_one_command_in_flight() {
        let load = load("").unwrap();
        assert_eq!((load.clients, load.threads, load.in_flight, load.rate), (1, 1, 1, None));
        assert_eq!((load.warm_up, load.duration).1, Duration::from_secs(10));
    }

    #[test]
    fn an_open_loop_is_not_hindered_unless_asked() {
        assert_eq!(load("--rate 100").unwrap().in_flight, 1024);
        assert_eq!(load("--rate 100 --in-flight 3").unwrap().in_flight, 3);
    }

    #[test]
    fn times_are_seconds() {
        assert_eq!(seconds("2.5"), Ok(Duration::from_millis(2500)));
        assert_eq!(seconds("10s"), Ok(Duration::from_secs(10)));
        for wrong in ["", "-1", "nan", "inf", "1e300", "ten", "86401"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_words() {
        for (arguments, word) in [
            ("--clients 0", "--clients"),
            ("--threads 2", "fewer clients"),
            ("--clients 65535 --in-flight 4294967295", "1048576"),
            ("--reads 101", "--reads"),
            ("--rate 0", "--rate"),
            ("--rate 1000000001", "--rate"),
            ("--size 16777217", "--size"),
            ("--duration 0.01", "--duration"),
            ("--keys 0", "--keys"),
            ("--nodes 0", "--nodes"),
            ("--nodes 3 --target a:1", "--target"),
            ("--target a:1 --kill-leader-every 3", "--target"),
            ("--kill-leader-every 1", "2 seconds"),
            ("--kill-leader-every 10", "less than --duration"),
            ("--kill-leader-every 3 --reads 100", "writes"),
            ("--kill-leader-every 3 --protocol echo", "no leader"),
            ("--level stale", "--level"),
        ] {
            let error = load(arguments).unwrap_err();
            assert!(error.contains(word), "{arguments}: {error}");
        }
    }
}
