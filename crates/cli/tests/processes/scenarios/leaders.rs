//! Leaders are killed under load, one after the other: for a few seconds, and for ten minutes.

use std::thread;
use std::time::{Duration, Instant};

use super::others;
use crate::load::Plan;
use crate::trial::Trial;

const NODES: [u64; 3] = [1, 2, 3];

/// Kills the leader so many times, with so long a pause in between, and says how long it took each
/// time until writes had succeeded again.
fn kill_leaders(mut trial: Trial, kills: u32, pause: Duration) {
    let mut outages = Vec::new();
    for kill in 1..=kills {
        let leader = trial.leader(&NODES);
        trial.cluster.kill(leader);
        let killed = Instant::now();
        trial.must_progress(&format!("after kill {kill}, of leader {leader}"));
        outages.push(killed.elapsed());
        assert_ne!(trial.leader(&others(&NODES, leader)), leader, "it is dead");
        trial.cluster.start(leader);
        thread::sleep(pause);
    }
    outages.sort_unstable();
    let (median, longest) = (outages[outages.len() / 2], outages[outages.len() - 1]);
    eprintln!("{kills} leaders killed: writes stood still for {median:?}, at most {longest:?}");
    trial.finish(&NODES);
}

#[test]
fn leaders_are_killed_one_after_the_other() {
    let trial = Trial::begin("leaders", 3, Plan { seed: 61, ..Plan::default() });
    kill_leaders(trial, 10, Duration::from_millis(200));
}

#[test]
#[ignore = "takes ten minutes"]
fn a_hundred_leaders_are_killed_in_ten_minutes() {
    let pause = Duration::from_millis(20);
    // Many keys, for the checks take longer the longer the history of a key is.
    let plan = Plan { seed: 62, registers: 1_000, lists: 1_500, pause, ..Plan::default() };
    kill_leaders(Trial::begin("hundred", 3, plan), 100, Duration::from_millis(5_700));
}
