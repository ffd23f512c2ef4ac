//! `synod sim`: simulated clusters, and everything that can go wrong with them.

mod account;
mod diagram;
mod progress;
mod schedule;
mod search;
mod shrunk;
mod table;

use std::{
    fs,
    io::{self, Write},
    panic,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::{ArgGroup, Args, value_parser};
use signal_hook::consts::{SIGINT, SIGTERM};
use synod_sim::{Plan, Report, Summary, explore, record, replay, shrink};
use thiserror::Error;

use account::Account;
use diagram::Diagram;
use progress::Progress;
use search::Search;
use shrunk::Comparison;

/// Seeds of a run that is told neither how many nor how long.
const SEEDS: u64 = 1000;
/// Scripts have numbers of 63 bits.
const SEED_MAX: u64 = i64::MAX as u64;
/// The last lines of a run, if not all of them are asked for.
const LINES: usize = 60;

/// What `synod sim` is told.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("one").args(["seed", "script"])))]
pub(crate) struct Sim {
    /// How many seeds to run: each draws a cluster, a workload and a schedule of faults
    /// [default: 1000, or as many as --minutes allow]
    #[arg(long, value_name = "N", conflicts_with = "one",
        value_parser = value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// The first of them
    #[arg(long, value_name = "SEED", default_value_t = 0, conflicts_with = "one",
        value_parser = value_parser!(u64).range(..=SEED_MAX))]
    from: u64,
    /// How long to run at most
    #[arg(long, value_name = "M", conflicts_with = "one", value_parser = minutes)]
    minutes: Option<Duration>,
    /// Threads, each with one seed at a time [default: one for each core]
    #[arg(long, value_name = "J", conflicts_with = "one",
        value_parser = value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Go on after a seed has failed
    #[arg(long, conflicts_with = "one")]
    keep_going: bool,
    /// Fail also if one of the rare events has never occurred: too little happened to prove much
    #[arg(long, conflicts_with = "one")]
    all_marks: bool,
    /// Run this seed alone, and print its plan and its outcome
    #[arg(long, value_name = "SEED", value_parser = value_parser!(u64).range(..=SEED_MAX))]
    seed: Option<u64>,
    /// Run the plan in this file
    #[arg(long, value_name = "FILE.toml")]
    script: Option<PathBuf>,
    /// Print everything that happens, a line for each event
    #[arg(short = 'v', long, requires = "one")]
    trace_text: bool,
    /// Write the run as a space-time diagram, to open in a browser: messages, faults, and what
    /// every node remembered, from turn to turn; of the smaller plan, with --shrink
    #[arg(long, value_name = "FILE.html", requires = "one")]
    trace: Option<PathBuf>,
    /// If the plan fails, make it as small as possible
    #[arg(long, requires = "one")]
    shrink: bool,
    /// Other seeds to try with each smaller plan: more for a failure that needs luck
    #[arg(long, value_name = "N", default_value_t = 0, requires = "shrink")]
    rolls: u16,
    /// Write the plan to a file, as a script, instead of running it; the smaller one, with --shrink
    #[arg(long, value_name = "FILE.toml", requires = "one")]
    write: Option<PathBuf>,
    /// Print the outcome as a JSON object too, on the last line
    #[arg(long)]
    json: bool,
}

/// What has been found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    Nothing,
    /// A property was violated, or too little has happened.
    Something,
}

/// Why nothing could be run.
#[derive(Debug, Error)]
pub(crate) enum Error {
    #[error("{}: cannot be read: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("{}: {error}", path.display())]
    Script { path: PathBuf, error: String },
    #[error("{}: cannot be written: {error}", path.display())]
    Write { path: PathBuf, error: io::Error },
    #[error("--shrink: all properties hold, so there is nothing to shrink")]
    Holds,
    #[error("signals cannot be caught: {0}")]
    Signals(io::Error),
    #[error("the report has no JSON form: {0}")]
    Json(#[from] serde_json::Error),
}

/// As `--minutes` takes it.
fn minutes(text: &str) -> Result<Duration, String> {
    let minutes: f64 = text.parse().map_err(|_| "a number of minutes, please".to_owned())?;
    let time = Duration::try_from_secs_f64(minutes * 60.0).ok().filter(|time| !time.is_zero());
    time.ok_or_else(|| "more than 0 minutes, please".to_owned())
}

/// The plan that is run alone, and where it comes from.
struct Source {
    /// As it is given on the command line.
    arguments: String,
    /// As a person would call it.
    name: String,
    plan: Plan,
    /// It is as small as it can be.
    shrunk: bool,
}

impl Source {
    fn of_seed(seed: u64) -> Self {
        let (arguments, name) = (format!("--seed {seed}"), format!("seed {seed}"));
        Self { arguments, name, plan: Plan::of_seed(seed), shrunk: false }
    }

    fn of_script(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path);
        let text = text.map_err(|error| Error::Read { path: path.to_owned(), error })?;
        let sound = |plan: Plan| plan.validate().map(|()| plan);
        let plan = Plan::from_text(&text).and_then(sound);
        let plan = plan.map_err(|error| Error::Script { path: path.to_owned(), error })?;
        let name = path.display().to_string();
        Ok(Self { arguments: format!("--script {name}"), name, plan, shrunk: false })
    }
}

impl Sim {
    /// Runs what is asked for, and prints what came of it.
    pub(crate) fn run(&self) -> Result<Found, Error> {
        let source = match (self.seed, &self.script) {
            (Some(seed), _) => Source::of_seed(seed),
            (None, Some(path)) => Source::of_script(path)?,
            (None, None) => return self.many(),
        };
        match &self.write {
            _ if self.shrink => self.smaller(source),
            Some(path) => {
                write(path, &account::script(&source.name, None, &source.plan))?;
                say(&format!("{} is in {}\n", source.name, path.display()));
                if self.trace.is_some() { self.one(&source) } else { Ok(Found::Nothing) }
            }
            None => self.one(&source),
        }
    }

    /// Many seeds, and in detail the first one that fails.
    fn many(&self) -> Result<Found, Error> {
        let interrupted = interrupts()?;
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let jobs = self.jobs.map_or(cores, usize::from);
        let default = if self.minutes.is_some() { None } else { Some(SEEDS) };
        let most = self.seeds.or(default);
        let (began, progress) = (Instant::now(), Progress::of_seeds(most, self.minutes));
        let goes_on = |so_far: &Summary| {
            progress.seeds(so_far, began.elapsed());
            (self.keep_going || so_far.failed.is_empty())
                && self.minutes.is_none_or(|minutes| began.elapsed() < minutes)
                && !interrupted.load(Ordering::Relaxed)
        };
        let summary = quietly(|| explore(self.from, most.unwrap_or(u64::MAX), jobs, goes_on));
        progress.finish();
        let search = Search { summary: &summary, from: self.from, jobs, all_marks: self.all_marks };
        say(&search.to_string());
        if let Some((seed, violation)) = summary.failed.first_key_value() {
            let source = Source::of_seed(*seed);
            let account = Account::new(&source, replay(&source.plan, LINES));
            say(&format!("\n{account}"));
            if account.report.outcome.as_ref() != Err(violation) {
                say("D1 is violated too: the first time it went another way\n");
            }
        }
        self.tell(&search.json())?;
        Ok(if search.is_well() { Found::Nothing } else { Found::Something })
    }

    /// One plan, in detail.
    fn one(&self, source: &Source) -> Result<Found, Error> {
        writable(self.trace.as_ref())?;
        let account = Account::new(source, self.replay(source)?);
        say(&account.to_string());
        self.tell(&account.json())?;
        Ok(account.found())
    }

    /// Runs a plan once more, to tell and to show what happens.
    fn replay(&self, source: &Source) -> Result<Report, Error> {
        let lines = if self.trace_text { usize::MAX } else { LINES };
        let Some(path) = &self.trace else { return Ok(replay(&source.plan, lines)) };
        let mut diagram = Diagram::new(&source.plan);
        let report = record(&source.plan, lines, &mut diagram);
        write(path, &diagram.page(&source.name, &report.outcome))?;
        Ok(report)
    }

    /// One plan, as small as it can be.
    fn smaller(&self, source: Source) -> Result<Found, Error> {
        writable(self.write.iter().chain(&self.trace))?;
        let (progress, interrupted) = (Progress::of_shrinking(), interrupts()?);
        let shrunk = quietly(|| {
            let goes_on = |runs: u64, plan: &Plan| {
                progress.shrinking(runs, plan);
                !interrupted.load(Ordering::Relaxed)
            };
            shrink(&source.plan, self.rolls.into(), synod_sim::run, goes_on)
        });
        progress.finish();
        let shrunk = shrunk.ok_or(Error::Holds)?;
        let comparison = Comparison(&shrunk);
        let script = account::script(&source.name, Some(&shrunk.violation), &shrunk.plan);
        say(&comparison.to_string());
        let arguments = match &self.write {
            Some(path) => {
                write(path, &script)?;
                format!("--script {}", path.display())
            }
            None => {
                say(&format!("\n{script}\n"));
                "--script FILE.toml".to_owned()
            }
        };
        let name = source.name + ", shrunk";
        let source = Source { arguments, name, plan: shrunk.plan.clone(), shrunk: true };
        let account = Account::new(&source, self.replay(&source)?);
        say(&account.to_string());
        self.tell(&comparison.json(account.json()))?;
        Ok(account.found())
    }

    fn tell(&self, outcome: &impl serde::Serialize) -> Result<(), Error> {
        if self.json {
            say(&(serde_json::to_string(outcome)? + "\n"));
        }
        Ok(())
    }
}

/// Set by an interrupt, which ends a search: what it has found so far is told.
fn interrupts() -> Result<Arc<AtomicBool>, Error> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag)).map_err(Error::Signals)?;
    }
    Ok(flag)
}

/// A file that cannot be written is to be known before a run or a search, not after it.
fn writable<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Result<(), Error> {
    for path in paths {
        let file = fs::OpenOptions::new().create(true).append(true).open(path);
        file.map_err(|error| Error::Write { path: path.clone(), error })?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|error| Error::Write { path: path.to_owned(), error })
}

/// If nobody reads it, the exit status is what remains.
fn say(text: &str) {
    drop(io::stdout().lock().write_all(text.as_bytes()));
}

/// Assertions that fail in a simulated node are found, not printed.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let result = work();
    panic::set_hook(hook);
    result
}
