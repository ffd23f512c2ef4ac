//! What nodes and clients leave behind when they are gone: nothing. Alone in its process, where
//! threads and descriptors can be counted.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(target_os = "linux")]

#[expect(dead_code, reason = "the other tests use the rest")]
#[path = "nodes/cluster.rs"]
mod cluster;

use std::fs;

use cluster::{Cluster, append, numbers, stopped, until, wait};
use synod::{CallError, Client, Connect, Linearizable, StopReason};

/// Threads and descriptors of this process.
fn held() -> (usize, usize) {
    let count = |of: &str| fs::read_dir(format!("/proc/self/{of}")).unwrap().count();
    (count("task"), count("fd"))
}

/// A cluster lives, works with all kinds of clients, and ends in every way there is.
fn live() {
    let mut cluster = Cluster::with(3, |builder| builder.snapshot_every(1000));
    let far: Vec<_> = (0..5).map(|_| cluster.connect()).collect();
    let near: Vec<_> = (1..=3).map(|id| cluster.client(id)).collect();
    for (number, client) in (0..).zip(far.iter().chain(&near)) {
        append(client, number).unwrap();
        assert!(!numbers(client, Linearizable).is_empty());
    }
    // Connecting given up half way, and to nobody.
    let mut given_up = Box::pin(Connect::to(["127.0.0.1:9"]).connect::<cluster::Journal>());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(given_up.as_mut().poll(&mut context).is_pending());
    drop(given_up);
    assert!(cluster.try_start(1).is_err(), "it runs");
    cluster.kill(1);
    let stopped = cluster.nodes.remove(&2).unwrap();
    wait("a stop", stopped.stop());
    drop(cluster.nodes.remove(&3));
    let lost = append(&near[0], 9);
    assert!(matches!(lost, Err(CallError::NotDone(_))), "{lost:?}");
    drop(far);
}

/// A node whose state machine panics.
fn panic() {
    let mut cluster = Cluster::unstarted(1, |builder| builder);
    let builder = cluster.builder_with(1, cluster::Journal::fragile()).peers(&cluster.peers);
    let node = wait("a start", builder.start()).unwrap();
    let client = node.client();
    assert!(wait("a call", client.call(cluster::Command::Explode)).is_err());
    assert!(matches!(stopped(&node), StopReason::Panicked(_)));
    drop(node);
    // Its directory is free again.
    cluster.start(1);
    let _: Client<_> = cluster.connect();
    drop(cluster);
}

#[test]
fn nodes_and_clients_that_are_gone_leave_no_threads_and_no_descriptors() {
    live(); // What the process itself keeps after the first time is no leak.
    panic();
    let before = held();
    for _ in 0..2 {
        live();
        panic();
    }
    until("all is as before", || {
        let (threads, descriptors) = held();
        threads <= before.0 && descriptors <= before.1
    });
}
