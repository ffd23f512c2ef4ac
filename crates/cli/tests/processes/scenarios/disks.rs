//! Disks fail, hang, are full, and forget.

use std::thread;
use std::time::{Duration, Instant};

use super::{for_a_while, others};
use crate::cluster::{Cluster, skipped};
use crate::disks::Syncs;
use crate::load::Plan;
use crate::plug;
use crate::trial::{BOUND, Trial};

const NODES: [u64; 3] = [1, 2, 3];

#[test]
fn a_node_whose_disk_fails_stops_and_the_others_go_on() {
    let mut trial = Trial::begin("failing-disk", 3, Plan { seed: 31, ..Plan::default() });
    // With the last, a node that merely tries again would believe that all is well.
    for (leads, syncs) in [(false, Syncs::Fail), (true, Syncs::Fail), (true, Syncs::FailOnce)] {
        let leader = trial.leader(&NODES);
        let victim = if leads { leader } else { others(&NODES, leader)[0] };
        trial.cluster.fsync(victim).set(syncs);
        let status = trial.cluster.must_end(victim, BOUND);
        assert!(!status.success(), "node {victim} ended as if all were well: {status}");
        assert!(trial.cluster.fsync(victim).seen() > 0, "no call was interfered with");
        let log = trial.cluster.log(victim);
        assert!(log.contains("the disk failed"), "node {victim} does not say why it stopped");
        trial.must_progress(&format!("after the disk of node {victim} failed"));
        trial.cluster.fsync(victim).set(Syncs::Work);
        trial.cluster.start(victim);
        trial.must_progress("with all three");
    }
    trial.finish(&NODES);
}

#[test]
fn a_leader_whose_disk_hangs_is_replaced() {
    let mut trial = Trial::begin("hanging-disk", 3, Plan { seed: 32, ..Plan::default() });
    for leads in [true, false] {
        let leader = trial.leader(&NODES);
        let victim = if leads { leader } else { others(&NODES, leader)[0] };
        let fsync = trial.cluster.fsync(victim);
        let before = fsync.seen();
        fsync.set(Syncs::Hang);
        fsync.must_bite(before);
        if leads {
            let hung = Instant::now();
            // Who votes without a disk does not lead, however quick its heartbeats are.
            let deadline = Instant::now() + BOUND;
            while trial.leader(&others(&NODES, victim)) == victim {
                assert!(Instant::now() < deadline, "node {victim} leads, though its disk hangs");
                thread::sleep(Duration::from_millis(20));
            }
            trial.must_progress("with another leader");
            eprintln!("the leader's disk hung: writes went on after {:?}", hung.elapsed());
        }
        for_a_while();
        trial.must_progress(&format!("while the disk of node {victim} hangs"));
        trial.cluster.fsync(victim).set(Syncs::Work);
        trial.must_progress("when no disk hangs");
    }
    // A slow disk is no reason to stop.
    let leader = trial.leader(&NODES);
    trial.cluster.fsync(leader).set(Syncs::Slow(Duration::from_millis(100)));
    for_a_while();
    trial.must_progress("while the disk of the leader is slow");
    trial.cluster.fsync(leader).set(Syncs::Work);
    trial.cluster.must_be_well();
    trial.finish(&NODES);
}

/// Room for some segments of the log and a snapshot.
const ROOM: u64 = 16 << 20;

/// Waits until the node says that its disk is full, or that it no longer is.
fn must_say_full(trial: &Trial, id: u64, full: bool) {
    let deadline = Instant::now() + BOUND;
    while trial.status(id).is_none_or(|status| status.disk_full != full) {
        assert!(Instant::now() < deadline, "node {id} does not say disk_full = {full}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn full_disks_refuse_commands_and_recover_by_themselves() {
    let mut cluster = Cluster::new("full-disks", 3, plug::program);
    for id in NODES {
        if let Err(why) = cluster.mount(id, ROOM) {
            return skipped("full disks", &format!("cannot mount a tmpfs: {why}"));
        }
    }
    cluster.start_all();
    // Long values, so that the log soon needs more room.
    let pause = Duration::from_millis(1);
    let mut trial = Trial::with(cluster, Plan { padding: 64 << 10, pause, ..Plan::default() });
    let full = others(&NODES, trial.leader(&NODES))[0];
    trial.cluster.disk(full).fill();
    must_say_full(&trial, full, true);
    trial.must_progress(&format!("while the disk of node {full} is full"));
    for id in others(&NODES, full) {
        trial.cluster.disk(id).fill();
    }
    // A node says so when it needs room; with the first that does, the load ends.
    trial.load.must_be_refused("while all disks are full", BOUND);
    trial.cluster.must_be_well();
    // Even then a node starts, and promises and votes survive.
    trial.cluster.kill(full);
    trial.cluster.start(full);
    NODES.iter().for_each(|id| trial.cluster.disk(*id).relieve());
    NODES.iter().for_each(|id| must_say_full(&trial, *id, false));
    trial.must_progress("when there is room again");
    trial.cluster.must_be_well();
    trial.finish(&NODES);
}

#[test]
fn a_node_whose_directory_was_wiped_does_not_vote() {
    let mut trial = Trial::begin("wiped", 3, Plan { seed: 34, ..Plan::default() });
    // What is acknowledged now, nodes 1 and 2 hold alone.
    trial.cluster.kill(3);
    trial.must_progress("with nodes 1 and 2");
    for_a_while();
    trial.cluster.kill(2);
    trial.cluster.kill(1);
    trial.cluster.wipe(2);
    // If node 2 voted, it and node 3 would be a majority that has lost all of that.
    trial.cluster.start(2);
    trial.cluster.start(3);
    trial.load.must_stand_still("with a wiped node and one that was dead", 2 * super::LONG);
    trial.cluster.start(1);
    trial.must_progress("with nodes 1 and 3");
    let status = trial.cluster.must_end(2, BOUND);
    assert!(!status.success(), "the wiped node ended as if all were well: {status}");
    let log = trial.cluster.log(2);
    assert!(log.contains("new id"), "it does not name the cure");
    trial.finish(&[1, 3]);
}

#[test]
fn an_old_copy_of_a_directory_does_no_harm() {
    let mut trial = Trial::begin("restored", 3, Plan { seed: 35, ..Plan::default() });
    let old = others(&NODES, trial.leader(&NODES))[0];
    trial.cluster.kill(old);
    trial.cluster.keep(old);
    trial.cluster.start(old);
    for_a_while();
    trial.must_progress("with all three");
    trial.cluster.kill(old);
    trial.cluster.put_back(old);
    trial.cluster.start(old);
    // The others know better than it what it has promised.
    for_a_while();
    trial.must_progress("with two nodes and an old one");
    let status = trial.cluster.must_end(old, BOUND);
    assert!(!status.success(), "node {old} ended as if all were well: {status}");
    trial.finish(&others(&NODES, old));
}
