//! Mutation tests: put a known bug back, in a copy of the sources, and see that a test fails.
//!
//! The list, `xtask/mutants.toml`, is a list of bugs that other implementations of Paxos had or
//! that ours had. It is not random mutation: every entry says what would break.

mod list;
mod seeds;
mod verdict;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::process::{Ending, run_within};
use crate::tree;
use list::{Mutant, Test};
use verdict::Verdict;

const LIST: &str = "xtask/mutants.toml";

/// No test runs longer than this.
const LONGEST: Duration = Duration::from_secs(600);

#[derive(Args, Default)]
pub(crate) struct Options {
    /// Try this mutant alone
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Try the first of the list alone, so many
    #[arg(long, value_name = "N", conflicts_with = "only")]
    first: Option<usize>,
    /// Instead of the tests, let the simulator look for those that random schedules must find:
    /// the median of how many seeds it takes, from five places, and at most so many
    #[arg(long, value_name = "SEEDS")]
    simulate: Option<u64>,
    /// Say which mutants there are, and stop
    #[arg(long)]
    list: bool,
}

impl Options {
    /// The first `n` of the list.
    pub(crate) fn first(n: usize) -> Self {
        Self { first: Some(n), ..Self::default() }
    }
}

/// Tries the mutants and says whether the tests caught them all.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let mut mutants = list::parse(&tree::read(LIST)?).context(LIST)?;
    if let Some(name) = &options.only {
        mutants.retain(|mutant| mutant.name == *name);
        ensure!(!mutants.is_empty(), "{LIST} has no mutant {name}");
    }
    if options.simulate.is_some() {
        mutants.retain(Mutant::is_for_seeds);
    }
    mutants.truncate(options.first.unwrap_or(usize::MAX));
    if options.list {
        for mutant in &mutants {
            println!("{}: {}", mutant.name, mutant.why);
        }
        return Ok(true);
    }
    still_apply(&mutants)?;
    let workshop = Workshop::open()?;
    if let Some(most) = options.simulate {
        return workshop.simulate(&mutants, most);
    }
    let limits = workshop.unmutated(&mutants)?;
    let mut caught = 0;
    for mutant in &mutants {
        let limit = limits.iter().find(|(test, _)| *test == mutant.test()).map(|(_, limit)| *limit);
        let verdict = workshop.mutated(mutant, limit.expect("every test ran unmutated"))?;
        println!("{}", verdict.line(&mutant.name));
        caught += usize::from(verdict.is_caught());
    }
    println!("{caught} passed, {} failed", mutants.len() - caught);
    Ok(caught == mutants.len())
}

/// Checks every entry against the sources before any time is spent on one.
fn still_apply(mutants: &[Mutant]) -> Result<()> {
    let mut rotten = Vec::new();
    for mutant in mutants {
        let applied = tree::read(&mutant.file).and_then(|text| mutant.apply(&text));
        if let Err(error) = applied {
            rotten.push(format!("\n  {}: {error:#}", mutant.name));
        }
    }
    ensure!(rotten.is_empty(), "{LIST} has rotted:{}", rotten.concat());
    Ok(())
}

/// Where mutants are built: a copy of the checkout, beside it. What it depends on is compiled once
/// for both.
struct Workshop {
    tree: PathBuf,
    build: PathBuf,
    output: PathBuf,
}

impl Workshop {
    fn open() -> Result<Self> {
        let place = tree::root().join("target/mutants");
        let workshop = Self {
            tree: place.join("tree"),
            build: tree::root().join("target"),
            output: place.join("output"),
        };
        fs::create_dir_all(&workshop.output).context("target/mutants")?;
        tree::mirror(tree::root(), &workshop.tree, &tree::files()?)?;
        Ok(workshop)
    }

    /// Runs every test that `mutants` name without a mutant: it must pass, or a failure later
    /// would prove nothing. Returns how long each may take with one.
    fn unmutated(&self, mutants: &[Mutant]) -> Result<Vec<(Test, Duration)>> {
        let mut limits: Vec<(Test, Duration)> = Vec::new();
        for test in mutants.iter().map(Mutant::test) {
            if limits.iter().any(|(seen, _)| *seen == test) {
                continue;
            }
            let started = Instant::now();
            let (ending, output) = self.run(&test, "unmutated", LONGEST)?;
            match verdict::read(ending, &output) {
                Verdict::Survived => {}
                Verdict::Caught { by } => bail!("`{test}` fails without any mutant: {by}"),
                Verdict::DoesNotBuild { error } => bail!("`{test}` does not build: {error}"),
            }
            let limit = Duration::from_secs(60) + 4 * started.elapsed();
            limits.push((test, limit.min(LONGEST)));
        }
        Ok(limits)
    }

    fn mutated(&self, mutant: &Mutant, limit: Duration) -> Result<Verdict> {
        let outcome = self.with(mutant, || self.run(&mutant.test(), &mutant.name, limit))?;
        let (ending, output) = outcome?;
        Ok(verdict::read(ending, &output))
    }

    /// Does something while the bug is in the copy.
    fn with<T>(&self, mutant: &Mutant, deed: impl FnOnce() -> T) -> Result<T> {
        let path = self.tree.join(&mutant.file);
        let original = fs::read_to_string(&path).with_context(|| mutant.file.clone())?;
        fs::write(&path, mutant.apply(&original)?)?;
        let outcome = deed();
        fs::write(&path, original)?;
        Ok(outcome)
    }

    /// Has the simulator look for each, and says what it took. Whether all were found.
    fn simulate(&self, mutants: &[Mutant], most: u64) -> Result<bool> {
        let mut found = 0;
        for mutant in mutants {
            let run = |test: &Test| self.run(test, &mutant.name, LONGEST);
            match self.with(mutant, || seeds::search(most, run))? {
                Ok(search) => {
                    println!("{}: {search}", mutant.name);
                    found += usize::from(search.is_found());
                }
                Err(error) => println!("{}: {error:#}", mutant.name),
            }
        }
        println!("{found} found, {} not", mutants.len() - found);
        Ok(found == mutants.len())
    }

    /// Runs `test` in the copy; what it printed also stays under `target/mutants/output`.
    fn run(&self, test: &Test, name: &str, limit: Duration) -> Result<(Ending, String)> {
        let path = self.output.join(format!("{name}.txt"));
        let output = File::create(&path).with_context(|| path.display().to_string())?;
        let mut words = test.command.split_whitespace();
        let mut command = Command::new(words.next().context("an empty test command")?);
        command
            .args(words)
            .envs(&test.env)
            .env("CARGO_TARGET_DIR", &self.build)
            // One line has changed: that is compiled in a second, or else in ten.
            .env("CARGO_INCREMENTAL", "1")
            .env("CARGO_TERM_COLOR", "never")
            .env("RUST_BACKTRACE", "0")
            .current_dir(&self.tree)
            .stdout(output.try_clone()?)
            .stderr(output);
        let ending = run_within(&mut command, limit)?;
        Ok((ending, String::from_utf8_lossy(&fs::read(&path)?).into_owned()))
    }
}
