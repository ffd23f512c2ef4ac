//! Nodes that are killed and come back.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use synod::{CallError, Client, NotDone, Ticket};

use crate::cluster::{Cluster, Command, Journal, append, until, wait};

#[test]
fn each_node_may_be_killed_and_comes_back_with_everything() {
    let mut cluster = Cluster::new(3);
    let mut expected = Vec::new();
    for victim in 1..=3 {
        let client = cluster.client(victim);
        append(&client, 10 * u64::from(victim)).unwrap();
        expected.push(10 * u64::from(victim));
        cluster.kill(victim);
        let other = cluster.client(victim % 3 + 1);
        append(&other, 10 * u64::from(victim) + 1).unwrap();
        expected.push(10 * u64::from(victim) + 1);
        let before = cluster.status(victim % 3 + 1).slot_out;
        cluster.start(victim);
        assert_eq!(cluster.numbers(victim), expected);
        assert!(cluster.status(victim).slot_out >= before);
        assert_eq!(cluster.status(victim).incarnation, 2);
    }
    cluster.converge();
}

#[test]
fn all_nodes_may_be_killed_at_once() {
    let mut cluster = Cluster::new(3);
    let mut expected = Vec::new();
    for life in 1..=3 {
        let client = cluster.connect();
        for number in 0..20 {
            append(&client, number).unwrap();
            expected.push(number);
        }
        assert!((1..=3).all(|id| cluster.status(id).incarnation == life));
        cluster.nodes.clear();
        (1..=3).for_each(|id| cluster.start(id));
        for id in 1..=3 {
            assert_eq!(cluster.numbers(id), expected, "node {id} in life {life}");
        }
    }
    cluster.converge();
}

#[test]
fn a_single_node_keeps_what_it_has_answered() {
    let mut cluster = Cluster::new(1);
    for life in 1..=5 {
        assert_eq!(append(&cluster.client(1), life).unwrap(), life);
        cluster.kill(1);
        cluster.start(1);
    }
    assert_eq!(cluster.numbers(1), [1, 2, 3, 4, 5]);
}

/// What became of each number.
#[derive(Default)]
struct Outcomes {
    done: Vec<u64>,
    not_done: Vec<u64>,
    unknown: Vec<(u64, Ticket<Journal>)>,
    lost: Vec<u64>,
}

/// Appends numbers of its own until told to stop.
fn load(
    client: Client<Journal>,
    numbers: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> thread::JoinHandle<Outcomes> {
    thread::spawn(move || {
        let mut outcomes = Outcomes::default();
        while !stop.load(Ordering::Relaxed) {
            // Many at a time: a call is on its way as soon as it has been polled once.
            let batch: Vec<u64> =
                (0..50).map(|_| numbers.fetch_add(1, Ordering::Relaxed)).collect();
            let calls = batch.iter().map(|number| {
                let client = client.clone();
                let command = Command::Append(*number);
                Box::pin(async move { client.call(command).await })
            });
            let mut calls: Vec<_> = calls.collect();
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            let early: Vec<_> =
                calls.iter_mut().map(|call| call.as_mut().poll(&mut context)).collect();
            for ((number, call), early) in batch.into_iter().zip(calls).zip(early) {
                let outcome = match early {
                    std::task::Poll::Ready(outcome) => outcome,
                    std::task::Poll::Pending => wait("a call", call),
                };
                match outcome {
                    Ok(_) => outcomes.done.push(number),
                    Err(CallError::NotDone(NotDone::Stopped)) => {
                        outcomes.not_done.push(number);
                        return outcomes;
                    }
                    Err(CallError::NotDone(_)) => outcomes.not_done.push(number),
                    Err(CallError::Unknown(ticket)) => outcomes.unknown.push((number, ticket)),
                    Err(CallError::Lost) => {
                        outcomes.lost.push(number);
                        return outcomes; // The node is dead, and its session with it.
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        }
        outcomes
    })
}

#[test]
fn with_many_calls_in_flight_the_leader_may_be_killed_again_and_again() {
    let mut cluster = Cluster::new(3);
    let numbers = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let mut loads = Vec::new();
    for within in [100, 2_000, 20_000] {
        let client = cluster.connect().with_timeout(Duration::from_millis(within));
        loads.push(load(client, numbers.clone(), stop.clone()));
    }
    for _ in 0..3 {
        let leader = cluster.leader();
        loads.push(load(cluster.client(leader), numbers.clone(), stop.clone()));
        let follower = leader % 3 + 1;
        loads.push(load(cluster.client(follower), numbers.clone(), stop.clone()));
        let before = numbers.load(Ordering::Relaxed);
        until("commands flow", || numbers.load(Ordering::Relaxed) > before + 500);
        cluster.kill(leader);
        let before = numbers.load(Ordering::Relaxed);
        until("commands flow again", || numbers.load(Ordering::Relaxed) > before + 500);
        cluster.start(leader);
    }
    stop.store(true, Ordering::Relaxed);
    let (mut done, mut not_done, mut lost) = (Vec::new(), Vec::new(), Vec::new());
    for load in loads {
        let outcomes = load.join().unwrap();
        done.extend(outcomes.done);
        not_done.extend(outcomes.not_done);
        lost.extend(outcomes.lost);
        for (number, ticket) in outcomes.unknown {
            match resolve(ticket) {
                Some(true) => done.push(number),
                Some(false) => not_done.push(number),
                None => lost.push(number),
            }
        }
    }
    let mut times = BTreeMap::<u64, u32>::new();
    cluster.numbers(1).into_iter().for_each(|number| *times.entry(number).or_default() += 1);
    assert!(times.values().all(|times| *times == 1), "something was done twice");
    assert!(done.iter().all(|number| times.contains_key(number)), "something done was lost");
    assert!(!not_done.iter().any(|number| times.contains_key(number)), "not done, and yet done");
    assert!(done.len() > 1000);
    cluster.converge();
    println!("{} done, {} not done, {} lost", done.len(), not_done.len(), lost.len());
}

/// Whether a command was done. `None`: nobody will ever know.
fn resolve(mut ticket: Ticket<Journal>) -> Option<bool> {
    loop {
        match wait("a ticket", ticket.resolve()) {
            Ok(_) => return Some(true),
            Err(CallError::NotDone(_)) => return Some(false),
            Err(CallError::Unknown(again)) => ticket = again,
            Err(_) => return None,
        }
    }
}

#[test]
fn a_stopped_node_hands_over_first_and_its_clients_are_told_that_it_has_stopped() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.leader();
    let (client, node) = (cluster.client(leader), cluster.nodes.remove(&leader).unwrap());
    append(&client, 1).unwrap();
    let reason = wait("a stop", node.stop());
    assert!(matches!(reason, synod::StopReason::Asked), "{reason}");
    let call = append(&client, 2);
    assert!(matches!(call, Err(CallError::NotDone(NotDone::Stopped))), "{call:?}");
    let read = wait("a read", client.read(synod::Local, crate::cluster::Query::Numbers));
    assert!(matches!(read, Err(synod::ReadError::Stopped)), "{read:?}");
    assert!(wait("a status", client.status()).is_err());
    append(&cluster.client(leader % 3 + 1), 3).unwrap();
    assert_eq!(cluster.numbers(leader % 3 + 1), [1, 3]);
}
