//! Runs many seeds and says what happened in them; or one, and says everything.
//!
//! ```text
//! cargo run --release -p synod-sim --example explore -- 0 1000        seeds 0 to 999
//! cargo run --release -p synod-sim --example explore -- replay 7 100  the last 100 lines of seed 7
//! cargo run --release -p synod-sim --example explore -- plan 7        the plan of seed 7
//! ```
#![expect(clippy::print_stdout, reason = "a program that says what it found")]

use std::{env, process::ExitCode, thread};

use synod_sim::{Plan, explore, replay};

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["plan", seed] => println!("{}", Plan::of_seed(number(seed))),
        ["replay", seed, lines] => {
            let lines = usize::try_from(number(lines)).unwrap_or(usize::MAX);
            println!("{}", replay(&Plan::of_seed(number(seed)), lines));
        }
        [first, count] => return many(number(first), number(count)),
        _ => println!("explore FIRST COUNT | replay SEED LINES | plan SEED"),
    }
    ExitCode::SUCCESS
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text} is no number"))
}

fn many(first: u64, count: u64) -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let jobs = env::var("SYNOD_JOBS").map_or_else(
        |_| thread::available_parallelism().map_or(1, usize::from),
        |jobs| usize::try_from(number(&jobs)).unwrap_or(1),
    );
    let most = env::var("SYNOD_FAILURES").map_or(u64::MAX, |most| number(&most));
    let summary = explore(first, count, jobs, |so_far| (so_far.failed.len() as u64) < most);
    for (seed, violation) in &summary.failed {
        println!("seed {seed} violates {violation}");
    }
    for (name, count) in summary.marks.iter() {
        println!("{count:>12} {name}");
    }
    println!("{:>12} {:?}", "faults", summary.faults);
    println!("{:>12} {:?}", "never", summary.marks.missing());
    println!(
        "{} seeds, {} failed, {} events, {:.0} events/s, trace {:016x}",
        summary.seeds,
        summary.failed.len(),
        summary.events,
        summary.rate(),
        summary.trace
    );
    if summary.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
