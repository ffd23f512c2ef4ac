//! Snapshots: written, started from, and handed to a node that has missed too much.

use std::fs;

use synod::Linearizable;

use crate::cluster::{Cluster, Command, Query, append, until, wait};

fn snapshots(cluster: &Cluster, id: u32) -> Vec<String> {
    let names = fs::read_dir(cluster.directory(id)).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".snap")).collect()
}

fn put(cluster: &Cluster, id: u32, names: std::ops::Range<u64>, bytes: usize) {
    let client = cluster.client(id);
    for name in names {
        let value: Vec<u8> =
            (0..bytes).map(|at| (at as u64 * 31 + name).to_le_bytes()[0]).collect();
        wait("a call", client.call(Command::Put(name, value))).unwrap();
    }
}

fn blobs(cluster: &Cluster, id: u32) -> Vec<u64> {
    wait("a read", cluster.client(id).read(Linearizable, Query::Blobs)).unwrap()
}

#[test]
fn a_restart_goes_on_from_the_snapshot_that_was_written() {
    let mut cluster = Cluster::with(3, |builder| builder.snapshot_every(10_000));
    put(&cluster, 1, 0..30, 1000);
    append(&cluster.client(1), 7).unwrap();
    until("all have a snapshot", || (1..=3).all(|id| cluster.status(id).durable > 10));
    let durable = cluster.status(1).durable;
    let (before, digest) = (blobs(&cluster, 1), cluster.status(1).digest);
    assert_eq!(snapshots(&cluster, 1).len(), 1);
    cluster.nodes.clear();
    (1..=3).for_each(|id| cluster.start(id));
    assert!(cluster.status(1).durable >= durable, "the snapshot was not used");
    for id in 1..=3 {
        assert_eq!(blobs(&cluster, id), before);
        assert_eq!(cluster.numbers(id), [7]);
    }
    assert_ne!(digest, 0);
    cluster.converge();
}

#[test]
fn a_snapshot_is_written_when_an_operator_asks_for_it() {
    let mut cluster = Cluster::new(1);
    append(&cluster.client(1), 7).unwrap();
    assert_eq!(snapshots(&cluster, 1), [""; 0]);
    wait("a snapshot", cluster.connect().snapshot()).unwrap();
    until("it is there", || snapshots(&cluster, 1).len() == 1);
    until("it is known", || cluster.status(1).durable > 1);
    cluster.kill(1);
    cluster.start(1);
    assert_eq!(cluster.numbers(1), [7]);
}

#[test]
fn a_node_that_missed_what_the_others_have_collected_is_sent_a_snapshot_of_some_megabytes() {
    let mut cluster = Cluster::with(3, |builder| builder.snapshot_every(1 << 20));
    append(&cluster.client(1), 1).unwrap();
    cluster.converge();
    let missed = cluster.status(3).slot_out;
    cluster.kill(3);
    put(&cluster, 1, 0..80, 100_000);
    until("the others have collected", || {
        (1..=2).all(|id| cluster.status(id).durable > missed + 20)
    });
    cluster.start(3);
    until("node 3 takes a snapshot over", || cluster.status(3).counters["snapshots_installed"] > 0);
    // It goes on meanwhile.
    append(&cluster.client(1), 2).unwrap();
    assert_eq!(blobs(&cluster, 3), blobs(&cluster, 1));
    assert_eq!(cluster.numbers(3), [1, 2]);
    cluster.converge();
    let bytes = fs::metadata(cluster.directory(3).join(&snapshots(&cluster, 3)[0])).unwrap().len();
    assert!(bytes > 1 << 20, "{bytes}");
    // What was taken over is durable here, too.
    cluster.kill(3);
    cluster.start(3);
    assert_eq!(cluster.numbers(3), [1, 2]);
    assert_eq!(blobs(&cluster, 3).len(), 80);
}

#[test]
fn a_snapshot_that_is_being_written_when_the_node_is_killed_harms_nobody() {
    let mut cluster = Cluster::with(1, |builder| builder.snapshot_every(1000));
    for life in 0..8 {
        put(&cluster, 1, life * 10..life * 10 + 10, 20_000);
        cluster.kill(1);
        cluster.start(1);
        assert_eq!(blobs(&cluster, 1).len() as u64, life * 10 + 10);
    }
}

#[test]
fn no_log_grows_for_ever_not_that_of_a_read_copy_either() {
    let mut cluster =
        Cluster::with(1, |builder| builder.segment_bytes(32 << 10).snapshot_every(20_000));
    let mut desired = cluster.members();
    desired.push(cluster.join(2).read_copy());
    wait("members", cluster.client(1).ensure_members(desired)).unwrap();
    let log = |id| -> u64 {
        let files = fs::read_dir(cluster.directory(id)).unwrap().map(Result::unwrap);
        let segments = files.filter(|file| file.file_name().to_str().unwrap().starts_with("log-"));
        segments.map(|file| file.metadata().unwrap().len()).sum()
    };
    for _ in 0..150 {
        put(&cluster, 1, 0..10, 1000);
    }
    cluster.converge();
    // Kept whole, it would be three times as long.
    for id in [1, 2] {
        assert!(log(id) < 1_000_000, "the log of node {id} has {} bytes", log(id));
    }
}

#[test]
fn a_node_that_is_started_anew_again_and_again_makes_snapshots_too() {
    let mut cluster = Cluster::with(1, |builder| builder.snapshot_every(20_000));
    for life in 0..5 {
        put(&cluster, 1, life * 5..life * 5 + 5, 1000);
        cluster.kill(1);
        cluster.start(1);
    }
    until("it has made one", || cluster.status(1).durable > 1);
}
