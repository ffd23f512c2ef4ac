//! Commands and queries, from clients near and far.

use std::time::Duration;

use synod::{
    CallError, Client, Completion, Connect, Lease, Linearizable, Local, NotDone, Pipeline,
    ReadError, Refused,
};

use crate::cluster::{Cluster, Command, Journal, LONG, Query, append, numbers, until, wait};

#[test]
fn clients_at_every_node_and_over_tcp_see_each_others_commands() {
    let cluster = Cluster::new(3);
    let mut clients: Vec<_> = (1..=3).map(|id| cluster.client(id)).collect();
    clients.push(cluster.connect());
    for (at, client) in (1..).zip(&clients) {
        assert_eq!(append(client, at).unwrap(), at);
        for reader in &clients {
            for level in [Linearizable, Lease] {
                let expected: Vec<u64> = (1..=at).collect();
                assert_eq!(numbers(reader, level), expected, "{level:?} after {at}");
            }
        }
    }
    for reader in &clients {
        until("a local read has caught up", || numbers(reader, Local) == [1, 2, 3, 4]);
    }
    cluster.converge();
}

#[test]
fn one_client_that_stays_with_a_follower_is_served_by_it() {
    let cluster = Cluster::new(3);
    let leader = cluster.leader();
    let follower = leader % 3 + 1;
    let address = cluster.peers[follower as usize - 1].clone();
    let client: Client<Journal> = wait("connect", Connect::to([address]).stay().connect()).unwrap();
    assert_eq!(wait("a status", client.status()).unwrap().node, follower);
    assert_eq!(append(&client, 1).unwrap(), 1);
    assert_eq!(numbers(&client, Linearizable), [1]);
    assert_eq!(wait("a status", client.status()).unwrap().node, follower);
    assert!(cluster.status(follower).counters["reads"] > 0);
}

#[test]
fn ten_thousand_calls_of_one_client_may_be_in_flight() {
    const CALLS: u64 = 10_000;
    let cluster = Cluster::new(3);
    let connect = Connect::to(&cluster.peers).timeout(LONG);
    let mut pipeline = Pipeline::<Journal>::connect(connect).unwrap();
    (0..CALLS).for_each(|number| pipeline.call(&Command::Append(number), number));
    let mut completions = Vec::new();
    until("all are answered", || {
        pipeline.poll(Duration::from_millis(50), &mut completions);
        completions.len() as u64 == CALLS
    });
    for (tag, completion) in completions {
        assert!(matches!(completion, Completion::Done(_)), "{tag}: {completion:?}");
    }
    let mut performed = cluster.numbers(1);
    performed.sort_unstable();
    assert_eq!(performed, (0..CALLS).collect::<Vec<_>>());
}

#[test]
fn a_client_with_too_many_calls_in_flight_is_told_that_none_of_the_rest_was_done() {
    const CALLS: u64 = (1 << 14) + 100;
    // Without a majority, so that nothing is answered.
    let mut cluster = Cluster::unstarted(3, |builder| builder);
    cluster.start(1);
    let client = cluster.client(1).with_timeout(Duration::from_millis(100));
    let calls = (0..CALLS).map(|number| client.call(Command::Append(number)));
    let calls: Vec<_> = wait_all(calls);
    let refused = calls
        .iter()
        .filter(|outcome| matches!(outcome, Err(CallError::NotDone(NotDone::TooManyInFlight))));
    assert_eq!(refused.count(), 100);
    let unknown = calls.iter().filter(|call| matches!(call, Err(CallError::Unknown(_))));
    assert_eq!(unknown.count() as u64, CALLS - 100);
    cluster.start(2);
    let client = cluster.client(2);
    let last = CALLS + 1;
    append(&client, last).unwrap();
    until("what was unknown is done", || cluster.numbers(2).len() as u64 == CALLS - 100 + 1);
    let mut performed = cluster.numbers(1);
    performed.retain(|number| *number != last);
    performed.sort_unstable();
    assert_eq!(performed, (0..CALLS - 100).collect::<Vec<_>>());
}

fn wait_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    let mut outcomes: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    wait(
        "all",
        std::future::poll_fn(|context| {
            let mut missing = false;
            for (future, outcome) in futures.iter_mut().zip(&mut outcomes) {
                if outcome.is_none() {
                    match future.as_mut().poll(context) {
                        std::task::Poll::Ready(output) => *outcome = Some(output),
                        std::task::Poll::Pending => missing = true,
                    }
                }
            }
            if missing { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
        }),
    );
    outcomes.into_iter().flatten().collect()
}

#[test]
fn a_call_without_time_is_not_done_or_unknown_and_its_ticket_tells() {
    let cluster = Cluster::new(3);
    for client in [cluster.client(1), cluster.client(2), cluster.connect()] {
        for (number, within) in (1..).zip([0, 1, 1000]) {
            let hasty = client.clone().with_timeout(Duration::from_micros(within));
            match append(&hasty, number) {
                Ok(_) => {}
                Err(CallError::Unknown(ticket)) => match wait("a ticket", ticket.resolve()) {
                    Ok(_) => {}
                    Err(CallError::Unknown(_)) => append(&client, 100).map(drop).unwrap(),
                    Err(other) => panic!("{other}"),
                },
                Err(CallError::NotDone(NotDone::Unreachable)) => continue,
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[test]
fn the_longest_time_out_there_is_is_one() {
    let cluster = Cluster::new(1);
    for client in [cluster.client(1), cluster.connect()] {
        let patient = client.with_timeout(Duration::MAX);
        append(&patient, 1).unwrap();
        assert!(!numbers(&patient, Linearizable).is_empty());
    }
}

#[test]
fn without_a_majority_calls_are_unknown_reads_time_out_and_local_reads_go_on() {
    let mut cluster = Cluster::new(3);
    let (near, far) = (cluster.client(1), cluster.connect());
    append(&near, 1).unwrap();
    until("node 1 has it", || numbers(&near, Local) == [1]);
    cluster.kill(2);
    cluster.kill(3);
    let within = Duration::from_millis(300);
    let mut tickets = Vec::new();
    for (number, client) in [(2, near.clone()), (3, far)] {
        let hasty = client.with_timeout(within);
        match append(&hasty, number) {
            Err(CallError::Unknown(ticket)) => tickets.push(ticket),
            Err(CallError::NotDone(NotDone::Unreachable)) => {}
            other => panic!("{other:?}"),
        }
        let read = wait("a read", hasty.read(Linearizable, Query::Numbers));
        assert!(matches!(read, Err(ReadError::TimedOut)), "{read:?}");
    }
    assert_eq!(numbers(&near, Local), [1]);
    cluster.start(2);
    assert!(!tickets.is_empty());
    for mut ticket in tickets {
        // The session goes on asking; it may take more than one time-out.
        loop {
            match wait("a ticket", ticket.resolve()) {
                Ok(_) => break,
                Err(CallError::Unknown(again)) => ticket = again,
                Err(other) => panic!("{other}"),
            }
        }
    }
    // Of two sessions, whose command is done first is open.
    let all = cluster.numbers(1);
    assert_eq!((all[0], all.contains(&2)), (1, true), "{all:?}");
}

#[test]
fn what_is_too_long_is_refused_and_harms_nobody() {
    let cluster = Cluster::with(3, |builder| builder.segment_bytes(16 << 20));
    for (number, client) in (1..).zip([cluster.client(1), cluster.connect()]) {
        // The longer one would not even be a frame.
        for bytes in [(8 << 20) + 1, if number == 1 { 33 << 20 } else { 9 << 20 }] {
            let long = Command::Put(1, vec![1; bytes]);
            let outcome = wait("a call", client.call(long));
            let refused = Err(CallError::NotDone(NotDone::Refused(Refused::TooLong)));
            assert_eq!(text(&outcome), text(&refused), "{bytes}");
        }
        append(&client, number).unwrap();
    }
    let long = Command::Put(2, vec![2; 3 << 20]);
    wait("a call", cluster.connect().call(long)).unwrap();
    cluster.converge();
    assert_eq!(cluster.numbers(2), [1, 2]);
}

fn text(outcome: &Result<u64, CallError<Journal>>) -> String {
    format!("{outcome:?}")
}

#[test]
fn a_session_that_was_forgotten_is_lost_once_and_its_client_goes_on() {
    let cluster = Cluster::with(3, |builder| builder.sessions(8));
    let (near, far) = (cluster.client(1), cluster.connect());
    let mut expected = Vec::new();
    let mut lost = 0;
    for round in 0..3 {
        for (which, client) in [&near, &far].into_iter().enumerate() {
            let number = 1000 * (round + 1) + which as u64;
            loop {
                match append(client, number) {
                    Ok(count) => {
                        expected.push(number);
                        assert_eq!(count, expected.len() as u64, "the reply to another command");
                        break;
                    }
                    Err(CallError::Lost) => lost += 1,
                    Err(other) => panic!("{other}"),
                }
                assert!(lost < 100, "the client never gets a session that lives");
            }
        }
        // Others come, and push them out.
        for number in 0..20 {
            let other = cluster.client(2);
            expected.push(number);
            assert_eq!(append(&other, number).unwrap(), expected.len() as u64);
        }
    }
    assert!(lost > 0, "no session was forgotten");
    assert_eq!(cluster.numbers(3), expected);
}
