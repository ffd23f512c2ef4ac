//! Seeds, and plans that once found something.
//!
//! `SYNOD_SEEDS` says how many seeds, `SYNOD_FROM` the first one. A failure prints the plan and the
//! last things that happened; `synod sim --seed SEED --trace-text` prints all of them.

use std::{env, fs, path::Path, thread};

use synod_sim::{PROPERTIES, Plan, explore, replay, run};

const SEEDS: u64 = 50;
/// Below this number of seeds, rare events need not have happened.
const ENOUGH: u64 = 1000;
const LINES: usize = 60;

fn number(name: &str, default: u64) -> u64 {
    match env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")),
        Err(_) => default,
    }
}

#[test]
fn seeds() {
    let (first, count) = (number("SYNOD_FROM", 0), number("SYNOD_SEEDS", SEEDS));
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    let summary = explore(first, count, jobs, |so_far| so_far.failed.is_empty());
    if let Some((seed, violation)) = summary.failed.iter().next() {
        let plan = Plan::of_seed(*seed);
        panic!("seed {seed} violates {violation}\n\n{plan}\n{}", replay(&plan, LINES));
    }
    println!("{summary:#?}");
    if count >= ENOUGH {
        let missing = summary.marks.missing();
        assert!(missing.is_empty(), "too little happened to prove anything: {missing:?}");
    }
}

/// Plans that found a mistake, as they were when they found it: a seed tells another story when the
/// drawing changes, a plan does not.
#[test]
fn regressions() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regressions");
    for entry in fs::read_dir(directory).expect("there is a directory of plans") {
        let path = entry.expect("it can be read").path();
        let text = fs::read_to_string(&path).expect("a plan is text");
        let plan = Plan::from_text(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        if let Err(violation) = run(&plan).outcome {
            panic!("{path:?} violates {violation}\n{}", replay(&plan, LINES));
        }
    }
}

#[test]
fn one_plan_has_one_course() {
    for seed in 0..5 {
        let plan = Plan::of_seed(seed);
        let (one, other) = (run(&plan), run(&plan));
        assert_eq!(one, other, "D1: seed {seed}");
        assert_eq!(replay(&plan, 1).trace, one.trace, "D1: seed {seed}, looked at");
    }
    assert_ne!(run(&Plan::of_seed(0)).trace, run(&Plan::of_seed(1)).trace);
}

#[test]
fn without_a_quorum_nothing_ends_well() {
    let mut plan = Plan::of_seed(0);
    plan.faults.clear();
    plan.healing = 2_000_000;
    plan.network.latency = (90_000_000, 1);
    let violation = run(&plan).outcome.expect_err("messages take longer than the run");
    assert_eq!(violation.property, "V1");
}

#[test]
fn each_property_has_one_name() {
    let mut names: Vec<&str> = PROPERTIES.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), PROPERTIES.len());
}
