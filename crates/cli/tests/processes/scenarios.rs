//! What may happen to a system, and what it has to do then.

mod disks;
mod leaders;
mod members;
mod network;
mod processes;

use std::thread;
use std::time::Duration;

/// More than the patience of any node with its leader, whatever its jitter.
const LONG: Duration = Duration::from_millis(1500);

fn for_a_while() {
    thread::sleep(LONG);
}

/// `all` but one.
fn others(all: &[u64], one: u64) -> Vec<u64> {
    all.iter().copied().filter(|id| *id != one).collect()
}
