//! Everything that a change has to pass, in the order in which it is cheapest to fail.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::process::run_within;
use crate::{mutants, tidy, tree};

/// One run of an environment: long enough for a slow machine, short enough to notice a hang.
const RUN_LIMIT: Duration = Duration::from_secs(180);

/// How many of the mutants are tried before a change lands. All of them take a quarter of an hour.
const MUTANTS: usize = 20;

/// How many simulated clusters are compared between profiles; the slowest is not optimised.
const COMPARED: u32 = 40;

#[derive(Args)]
pub(crate) struct Options {
    /// Run the slow steps too: many seeds, every environment, the mutants
    #[arg(long)]
    slow: bool,
}

/// One thing to pass.
struct Step {
    title: String,
    work: Box<dyn Fn() -> Result<bool>>,
}

/// Runs the steps and stops at the first that fails.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let mut steps = quick();
    if options.slow {
        steps.extend(slow()?);
    }
    let mut passed = 0;
    for Step { title, work } in &steps {
        println!("\n== {title}");
        let started = Instant::now();
        let outcome = work();
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Ok(true) => println!("-- passed in {seconds:.1} s"),
            Ok(false) => println!("-- FAILED after {seconds:.1} s: {title}"),
            Err(ref error) => println!("-- FAILED after {seconds:.1} s: {title}: {error:#}"),
        }
        if !matches!(outcome, Ok(true)) {
            println!("\n{passed} passed, 1 failed");
            return Ok(false);
        }
        passed += 1;
    }
    println!("\n{passed} passed, 0 failed");
    Ok(true)
}

fn quick() -> Vec<Step> {
    vec![
        cargo(&[], "fmt --all --check"),
        cargo(&[], "clippy --workspace --all-targets -- -D warnings"),
        Step { title: "cargo xtask tidy".into(), work: Box::new(tidy::run) },
        cargo(&[], "test --workspace"),
        // A workspace of its own. In the same directory, what both need is compiled once.
        cargo(&[], "fmt --manifest-path fuzz/Cargo.toml --check"),
        cargo(
            &[],
            "clippy --manifest-path fuzz/Cargo.toml --target-dir target --all-targets \
                    -- -D warnings",
        ),
        cargo(&[], "test --manifest-path fuzz/Cargo.toml --target-dir target"),
        cargo(&[("RUSTDOCFLAGS", "-D warnings")], "doc --workspace --no-deps"),
    ]
}

fn slow() -> Result<Vec<Step>> {
    let mut steps = vec![
        cargo(&[("SYNOD_SEEDS", "20000")], "test --profile ci -p synod-paxos --test schedule"),
        cargo(&[], "test --profile ci -p synod-paxos --test model -- --ignored --nocapture"),
        // Always the same seeds: what fails here is the change's.
        cargo(&[], "run --profile ci --quiet -- sim --seeds 20000 --all-marks"),
        Step { title: "an hour at rest, with one leader".into(), work: Box::new(rests) },
        cargo(&[], "build --release"),
        Step { title: "one plan has one course, in each profile".into(), work: Box::new(compare) },
    ];
    steps.extend(environments()?.iter().map(|environment| synod_run(environment)));
    let slice = mutants::Options::first(MUTANTS);
    steps.push(Step {
        title: format!("cargo xtask mutants --first {MUTANTS}"),
        work: Box::new(move || mutants::run(&slice)),
    });
    Ok(steps)
}

/// Whether whoever leads at first leads to the end of an hour in which nothing happens, and all
/// properties hold.
fn rests() -> Result<bool> {
    let script = "crates/sim/tests/hour-at-rest.toml";
    let arguments = format!("run --profile ci --quiet -- sim --script {script} --json");
    let output = cargo_command(&[], &arguments).output().context("cargo does not start")?;
    let text = String::from_utf8(output.stdout).context("its output is not UTF-8")?;
    let outcome = text.lines().last().unwrap_or_default();
    println!("{outcome}");
    Ok(output.status.success() && outcome.contains("\"elected\":1,"))
}

/// Whether some seeds go the same way however the program was compiled.
fn compare() -> Result<bool> {
    let mut traces = Vec::new();
    for profile in ["dev", "ci", "release"] {
        let arguments = format!("run --profile {profile} --quiet -- sim --seeds {COMPARED} --json");
        let output = cargo_command(&[], &arguments).output().context("cargo does not start")?;
        let text = String::from_utf8(output.stdout).context("its output is not UTF-8")?;
        let Some(trace) = trace(&text) else { bail!("cargo {arguments}: no trace in\n{text}") };
        println!("{trace} {profile}");
        traces.push(trace.to_owned());
    }
    traces.dedup();
    Ok(traces.len() == 1)
}

/// The number of all that happened, in the object on the last line.
fn trace(output: &str) -> Option<&str> {
    let (_, after) = output.lines().last()?.split_once("\"trace\":\"")?;
    after.split_once('"').map(|(trace, _)| trace)
}

/// Every environment that a newcomer may try.
fn environments() -> Result<Vec<String>> {
    let found: Vec<String> = tree::files()?
        .into_iter()
        .filter(|file| file.starts_with("environments/") && file.ends_with(".toml"))
        .collect();
    ensure!(!found.is_empty(), "there is no environments/*.toml to run");
    Ok(found)
}

fn synod_run(environment: &str) -> Step {
    let arguments = format!("run --release --quiet -- run {environment} --seed 1");
    Step {
        title: format!("cargo {arguments}"),
        work: Box::new(move || {
            Ok(run_within(&mut cargo_command(&[], &arguments), RUN_LIMIT)?.succeeded())
        }),
    }
}

fn cargo(env: &'static [(&str, &str)], arguments: &'static str) -> Step {
    let settings: String = env.iter().map(|(name, value)| format!("{name}={value:?} ")).collect();
    Step {
        title: format!("{settings}cargo {arguments}"),
        work: Box::new(move || {
            let status = cargo_command(env, arguments).status().context("cargo does not start")?;
            Ok(status.success())
        }),
    }
}

fn cargo_command(env: &[(&str, &str)], arguments: &str) -> Command {
    let mut command = Command::new("cargo");
    command.args(arguments.split_whitespace()).envs(env.iter().copied()).current_dir(tree::root());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_found_in_the_last_line_only() {
        assert_eq!(trace("a table\n{\"seeds\":1,\"trace\":\"0a\"}\n"), Some("0a"));
        assert_eq!(trace("{\"trace\":\"0a\"}\nerror: seed 1 violates G1\n"), None);
        assert_eq!(trace(""), None);
    }
}
