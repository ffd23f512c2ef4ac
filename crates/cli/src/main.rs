//! `synod`: Multi-Paxos made real, on the command line.

mod args;
mod bench;
mod environment;
mod node;
mod registers;
mod sim;
mod trace;

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use clap::Parser;

use args::{Arguments, Command, Flags, Run};
use environment::{
    Options,
    plan::{self, BadInput},
    summary::Summary,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The input is wrong, and nothing has been started.
const BAD_INPUT: u8 = 2;
/// The input was right, but it has not worked.
const FAILURE: u8 = 1;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Run { file, flags } = match arguments.command {
        Some(Command::Run(run)) => run,
        Some(Command::Node(node)) => {
            return match node.run() {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    complain(&error.to_string());
                    ExitCode::from(FAILURE)
                }
            };
        }
        Some(Command::Sim(sim)) => {
            return match sim.run() {
                Ok(sim::Found::Nothing) => ExitCode::SUCCESS,
                Ok(sim::Found::Something) => ExitCode::from(FAILURE),
                Err(error) => {
                    complain(&error.to_string());
                    ExitCode::from(BAD_INPUT)
                }
            };
        }
        Some(Command::Bench(bench)) => return exit(bench.run()),
        Some(Command::Echo(echo)) => return exit(echo.run().map_err(bench::Error::Loopback)),
        None => Run { file: None, flags: arguments.flags },
    };
    match run(file.as_deref(), &flags) {
        Ok(summary) => conclude(&summary, &flags),
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(BAD_INPUT)
        }
    }
}

/// What there was to say has been printed, or is the error.
fn exit(result: Result<(), bench::Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            let bad_input = matches!(error, bench::Error::Arguments(_));
            ExitCode::from(if bad_input { BAD_INPUT } else { FAILURE })
        }
    }
}

/// Runs an environment, and writes its trace.
fn run(file: Option<&Path>, flags: &Flags) -> Result<Summary, BadInput> {
    let plan = plan::read(file, |description| flags.amend(description))?;
    // A file that cannot be written is to be known before the run, not after it.
    let unwritable = |path: &Path, error| {
        BadInput::new(format!("{}: cannot be written: {error}", path.display()))
    };
    let trace = match &flags.trace {
        Some(path) => Some((path, File::create(path).map_err(|error| unwritable(path, error))?)),
        None => None,
    };
    let options = Options { quiet: flags.quiet, trace: trace.is_some() };
    let (summary, page) = environment::run(plan, options);
    if let (Some((path, mut file)), Some(page)) = (trace, page) {
        file.write_all(page.as_bytes()).map_err(|error| unwritable(path, error))?;
    }
    Ok(summary)
}

/// Prints the summary, and says whether all is well.
fn conclude(summary: &Summary, flags: &Flags) -> ExitCode {
    summary.problems().iter().for_each(|problem| complain(problem));
    let mut text = summary.to_string();
    if flags.json {
        text += &summary.json();
        text.push('\n');
    }
    // If nobody reads the summary, the exit status is what remains.
    drop(io::stdout().lock().write_all(text.as_bytes()));
    if summary.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn complain(what: &str) {
    drop(writeln!(io::stderr().lock(), "error: {what}"));
}
