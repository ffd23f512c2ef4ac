//! Processes die, and stand still.

use std::thread;
use std::time::Duration;

use fastrand::Rng;

use super::{for_a_while, others};
use crate::load::Plan;
use crate::proxy::Pace;
use crate::trial::Trial;

fn up_to(rng: &mut Rng, milliseconds: u64) {
    thread::sleep(Duration::from_millis(rng.u64(0..milliseconds)));
}

#[test]
fn nodes_are_killed_at_any_moment() {
    let nodes = [1, 2, 3];
    let mut trial = Trial::begin("killed", 3, Plan { seed: 11, ..Plan::default() });
    let mut rng = Rng::with_seed(11);
    for _ in 0..8 {
        let victim = nodes[rng.usize(0..3)];
        trial.cluster.kill(victim);
        up_to(&mut rng, 300);
        trial.must_progress(&format!("while node {victim} is dead"));
        trial.cluster.start(victim);
        // The next one may be the same, while it recovers.
        up_to(&mut rng, 500);
    }
    nodes.iter().for_each(|id| trial.cluster.kill(*id));
    trial.cluster.start_all();
    trial.finish(&nodes);
}

#[test]
fn a_node_is_killed_while_it_recovers() {
    let nodes = [1, 2, 3];
    let mut trial = Trial::begin("recovering", 3, Plan { seed: 12, ..Plan::default() });
    let mut rng = Rng::with_seed(12);
    for victim in nodes {
        for _ in 0..12 {
            trial.cluster.kill(victim);
            trial.cluster.start(victim);
            up_to(&mut rng, 40);
        }
        trial.must_progress(&format!("after node {victim} was killed often"));
    }
    trial.finish(&nodes);
}

#[test]
fn two_of_five_die_and_the_links_are_slow() {
    let nodes = [1, 2, 3, 4, 5];
    let mut trial = Trial::begin("five", 5, Plan { seed: 13, ..Plan::default() });
    let mut rng = Rng::with_seed(13);
    let (delay, jitter) = (Duration::from_millis(1), Duration::from_millis(8));
    trial.cluster.mesh().pace(Pace { delay, jitter, bandwidth: Some(4 << 20) });
    for _ in 0..3 {
        let leader = trial.leader(&nodes);
        let follower = others(&nodes, leader)[rng.usize(0..4)];
        for victim in [leader, follower] {
            trial.cluster.kill(victim);
        }
        trial.must_progress(&format!("while {leader}, who led, and {follower} are dead"));
        up_to(&mut rng, 500);
        trial.cluster.start_all();
        up_to(&mut rng, 500);
    }
    trial.cluster.must_use_links();
    trial.cluster.mesh().heal();
    trial.finish(&nodes);
}

#[test]
fn a_leader_is_paused_and_believes_that_it_still_leads() {
    let nodes = [1, 2, 3];
    let mut trial = Trial::begin("paused", 3, Plan { seed: 14, ..Plan::default() });
    for _ in 0..3 {
        let leader = trial.leader(&nodes);
        trial.cluster.pause(leader);
        trial.must_progress(&format!("while node {leader}, who led, is paused"));
        for_a_while();
        assert_ne!(trial.leader(&others(&nodes, leader)), leader, "it is followed, though paused");
        // Everything that was sent to it meanwhile, and all of its timers, come at once.
        trial.cluster.resume(leader);
        trial.must_progress(&format!("after node {leader} was resumed"));
    }
    // All stand still, as on a machine that was suspended, and clients as well as nodes wake up.
    nodes.iter().for_each(|id| trial.cluster.pause(*id));
    for_a_while();
    nodes.iter().for_each(|id| trial.cluster.resume(*id));
    trial.cluster.must_be_well();
    trial.finish(&nodes);
}
