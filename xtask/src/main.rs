//! The chores of this repository: `cargo xtask tidy`, `cargo xtask mutants`, `cargo xtask ci`.
//!
//! None of them edits the tree. What they build beside the ordinary, they build under `target/`.
#![expect(clippy::print_stdout, reason = "a program for people")]

mod ci;
mod mutants;
mod process;
mod tidy;
mod tree;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The chores of this repository")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Check what neither rustfmt nor clippy checks: sizes, headings, leftovers, invariants
    Tidy,
    /// Put known bugs back, one at a time, and see that the tests find each
    Mutants(mutants::Options),
    /// Run everything that a change has to pass
    Ci(ci::Options),
}

fn main() -> ExitCode {
    let passed = match Arguments::parse().chore {
        Chore::Tidy => tidy::run(),
        Chore::Mutants(options) => mutants::run(&options),
        Chore::Ci(options) => ci::run(&options),
    };
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
