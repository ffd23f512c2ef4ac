//! Links are cut, both ways or one way, and connections are lost.

use std::thread;
use std::time::Duration;

use fastrand::Rng;

use super::{for_a_while, others};
use crate::load::Plan;
use crate::mesh::CLIENTS;
use crate::trial::Trial;

const NODES: [u64; 3] = [1, 2, 3];

#[test]
fn a_leader_is_cut_off_while_clients_still_reach_it() {
    let mut trial = Trial::begin("cut", 3, Plan { seed: 21, ..Plan::default() });
    trial.cluster.must_use_links();
    for _ in 0..2 {
        let leader = trial.leader(&NODES);
        let rest = others(&NODES, leader);
        rest.iter().for_each(|other| trial.cluster.mesh().cut(leader, *other));
        trial.must_progress(&format!("while node {leader}, who led, is cut off"));
        for_a_while();
        trial.cluster.mesh().heal();
        trial.must_progress("after the links were healed");
    }
    // Now it learns at once that it is alone.
    let leader = trial.leader(&NODES);
    others(&NODES, leader).iter().for_each(|other| trial.cluster.mesh().refuse(leader, *other));
    trial.must_progress(&format!("while nobody accepts connections of node {leader}, who led"));
    trial.cluster.mesh().heal();
    trial.cluster.must_be_well();
    trial.finish(&NODES);
}

#[test]
fn a_single_link_is_cut_and_one_node_still_reaches_all() {
    let mut trial = Trial::begin("chain", 3, Plan { seed: 22, ..Plan::default() });
    for turn in 0..3 {
        let leader = trial.leader(&NODES);
        let rest = others(&NODES, leader);
        // First the leader loses one follower, then the followers lose each other.
        let (one, other) = if turn == 1 { (rest[0], rest[1]) } else { (leader, rest[turn / 2]) };
        trial.cluster.mesh().cut(one, other);
        trial.must_progress(&format!("while {one} and {other} do not reach each other"));
        for_a_while();
        trial.must_progress("some time later");
        trial.cluster.mesh().heal();
    }
    trial.cluster.must_use_links();
    trial.cluster.must_be_well();
    trial.finish(&NODES);
}

#[test]
fn a_link_is_cut_one_way() {
    let mut trial = Trial::begin("one-way", 3, Plan { seed: 23, ..Plan::default() });
    for turn in 0..4 {
        let leader = trial.leader(&NODES);
        let rest = others(&NODES, leader);
        let cut = |from, to| trial.cluster.mesh().cut_one_way(from, to);
        let what = match turn {
            0 => {
                rest.iter().for_each(|other| cut(leader, *other));
                "hears everything and is not heard"
            }
            1 => {
                rest.iter().for_each(|other| cut(*other, leader));
                "is heard and hears nothing"
            }
            2 => {
                cut(leader, rest[0]);
                "is not heard by one other node"
            }
            _ => {
                cut(rest[0], leader);
                "does not hear one other node"
            }
        };
        trial.must_progress(&format!("while node {leader}, who led, {what}"));
        for_a_while();
        trial.must_progress("some time later");
        trial.cluster.mesh().heal();
        trial.must_progress("after the links were healed");
    }
    trial.cluster.must_use_links();
    trial.cluster.must_be_well();
    trial.finish(&NODES);
}

#[test]
fn five_nodes_fall_into_two_halves() {
    let nodes = [1, 2, 3, 4, 5];
    let mut trial = Trial::begin("halves", 5, Plan { seed: 24, ..Plan::default() });
    let mut rng = Rng::with_seed(24);
    for _ in 0..2 {
        // The leader is in the smaller half.
        let leader = trial.leader(&nodes);
        let mut rest = others(&nodes, leader);
        rng.shuffle(&mut rest);
        let (small, large) = ([leader, rest[0]], &rest[1..]);
        for (one, other) in small.iter().flat_map(|one| large.iter().map(move |two| (*one, *two))) {
            trial.cluster.mesh().cut(one, other);
        }
        trial.must_progress(&format!("while {small:?} and {large:?} do not reach each other"));
        for_a_while();
        trial.cluster.mesh().heal();
        trial.must_progress("after the links were healed");
    }
    trial.cluster.must_use_links();
    trial.cluster.must_be_well();
    trial.finish(&nodes);
}

#[test]
fn answers_to_clients_are_lost() {
    let mut trial = Trial::begin("answers", 3, Plan { seed: 25, ..Plan::default() });
    let mut rng = Rng::with_seed(25);
    for _ in 0..20 {
        // Commands arrive and are performed; then the connection breaks, with the answers in it.
        let node = if rng.bool() { trial.leader(&NODES) } else { NODES[rng.usize(0..3)] };
        trial.cluster.mesh().cut_one_way(node, CLIENTS);
        thread::sleep(Duration::from_millis(rng.u64(20..200)));
        trial.cluster.mesh().reset(node, CLIENTS);
        trial.cluster.mesh().heal();
        thread::sleep(Duration::from_millis(rng.u64(20..200)));
    }
    trial.cluster.must_be_well();
    trial.finish(&NODES);
}
