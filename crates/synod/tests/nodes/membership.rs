//! Who takes part: members come and go while the cluster is in use.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use synod::{
    CallError, Client, Connect, Linearizable, Local, Member, MembershipError, NotDone, ReadError,
    Refused,
};

use crate::cluster::{Cluster, Journal, Query, address, append, numbers, until, wait};

/// The voters that the newest configuration names.
fn voters(cluster: &Cluster, id: u32) -> Vec<u32> {
    let members = cluster.status(id).members;
    members.into_iter().filter(|member| member.acceptor).map(|member| member.node).collect()
}

#[test]
fn a_fourth_node_joins_and_asking_again_changes_nothing() {
    let mut cluster = Cluster::new(3);
    let client = cluster.connect();
    append(&client, 1).unwrap();
    let fourth = cluster.join(4);
    let mut desired = cluster.members();
    desired.push(fourth);
    wait("members", client.ensure_members(desired.clone())).unwrap();
    assert_eq!(voters(&cluster, 1), [1, 2, 3, 4]);
    let epoch = cluster.status(1).epoch;
    wait("members", client.ensure_members(desired.clone())).unwrap();
    wait("members", cluster.client(4).ensure_members(desired)).unwrap();
    assert_eq!(cluster.status(1).epoch, epoch, "it was as desired already");
    assert_eq!(cluster.numbers(4), [1]);
    append(&cluster.client(4), 2).unwrap();
    cluster.converge();
    // It needs no join() any more, and no peers.
    cluster.kill(4);
    let address = cluster.status(1).members[3].address.clone();
    let again = wait("a start", cluster.builder(4).address(address).start()).unwrap();
    cluster.nodes.insert(4, again);
    assert_eq!(cluster.numbers(4), [1, 2]);
}

#[test]
fn a_node_is_replaced_and_the_old_one_may_be_switched_off_before() {
    let mut cluster = Cluster::new(3);
    append(&cluster.client(1), 1).unwrap();
    cluster.kill(3);
    let fourth = cluster.join(4);
    let mut desired = cluster.members();
    desired[2] = fourth;
    let client = cluster.client(1);
    wait("members", client.ensure_members(desired)).unwrap();
    assert_eq!(voters(&cluster, 1), [1, 2, 4]);
    // The newcomer's vote counts.
    cluster.kill(2);
    append(&client, 2).unwrap();
    assert_eq!(cluster.numbers(4), [1, 2]);
}

#[test]
fn the_leader_can_be_removed() {
    let mut cluster = Cluster::new(4);
    let leader = cluster.leader();
    let mut desired = cluster.members();
    desired.retain(|member| member.id != leader);
    let client = cluster.client(leader % 4 + 1);
    append(&client, 1).unwrap();
    wait("members", client.ensure_members(desired.clone())).unwrap();
    until("another leads", || {
        let now = cluster.status(leader % 4 + 1).leader;
        now.is_some_and(|now| now != leader)
    });
    append(&client, 2).unwrap();
    let removed = cluster.client(leader).with_timeout(Duration::from_millis(500));
    let read = wait("a read", removed.read(Linearizable, Query::Numbers));
    assert!(read.as_ref().is_err() || read.as_ref().is_ok_and(|all| *all == [1, 2]), "{read:?}");
    cluster.kill(leader);
    append(&client, 3).unwrap();
    assert_eq!(numbers(&client, Linearizable), [1, 2, 3]);
}

#[test]
fn all_nodes_are_replaced_one_after_the_other() {
    let mut cluster = Cluster::new(3);
    let mut desired = cluster.members();
    let mut expected = Vec::new();
    for (old, new) in [(1, 4), (2, 5), (3, 6)] {
        let newcomer = cluster.join(new);
        desired.retain(|member| member.id != old);
        desired.push(newcomer);
        let client = cluster.client(new);
        let through = cluster.client(3);
        wait("members", through.ensure_members(desired.clone())).unwrap();
        append(&client, u64::from(new)).unwrap();
        expected.push(u64::from(new));
        if old != 3 {
            cluster.kill(old);
        }
    }
    cluster.kill(3);
    append(&cluster.client(4), 7).unwrap();
    expected.push(7);
    for id in 4..=6 {
        assert_eq!(cluster.numbers(id), expected);
    }
    cluster.converge();
}

#[test]
fn a_client_far_away_outlives_all_nodes_that_it_knew() {
    let mut cluster = Cluster::new(3);
    let connect = Connect::to(&cluster.peers).connect();
    let client: Client<Journal> = wait("connect", connect).unwrap();
    append(&client, 1).unwrap();
    let desired: Vec<_> = [4, 5, 6].map(|id| cluster.join(id)).into();
    wait("members", cluster.client(1).ensure_members(desired)).unwrap();
    append(&client, 2).unwrap();
    [1, 2, 3].iter().for_each(|id| cluster.kill(*id));
    append(&client, 3).unwrap();
    assert_eq!(numbers(&client, Linearizable), [1, 2, 3]);
}

#[test]
fn a_client_far_away_does_not_notice_that_its_node_is_replaced() {
    let mut cluster = Cluster::new(3);
    let connect = Connect::to(&cluster.peers).connect();
    let client: Client<Journal> = wait("connect", connect).unwrap();
    let desired: Vec<_> = [4, 5, 6].map(|id| cluster.join(id)).into();
    let operator = cluster.client(1);
    let working = AtomicBool::new(true);
    let done = thread::scope(|scope| {
        let calls = scope.spawn(|| {
            let working = || working.load(Relaxed);
            (1..).take_while(|number| working() && append(&client, *number).is_ok()).count()
        });
        wait("members", operator.ensure_members(desired)).unwrap();
        thread::sleep(Duration::from_millis(500));
        assert!(!calls.is_finished(), "a call has failed");
        working.store(false, Relaxed);
        calls.join().unwrap()
    });
    assert!(done > 0);
    assert_eq!(numbers(&client, Linearizable).len(), done);
}

#[test]
fn a_client_that_is_let_in_by_a_node_without_a_state_goes_elsewhere() {
    let mut cluster = Cluster::new(3);
    append(&cluster.client(1), 1).unwrap();
    let no_member = cluster.join(4).address;
    let both = [no_member.clone(), cluster.peers[0].clone()];
    // Where each of them begins is drawn.
    for number in 2..8 {
        let client: Client<Journal> = wait("connect", Connect::to(both.clone()).connect()).unwrap();
        append(&client, number).unwrap();
        assert_eq!(numbers(&client, Linearizable).last(), Some(&number));
    }
    // Whoever wants to stay is told.
    let stays = Connect::to([no_member]).stay().connect();
    let stays: Client<Journal> = wait("connect", stays).unwrap();
    let refused = append(&stays, 9);
    let told = matches!(refused, Err(CallError::NotDone(NotDone::Refused(Refused::NoReplica))));
    assert!(told, "{refused:?}");
}

#[test]
fn a_member_that_never_comes_does_not_take_part_in_votes() {
    let cluster = Cluster::new(3);
    let mut desired = cluster.members();
    let nowhere = address();
    desired.push(Member::new(4, &nowhere));
    let client = cluster.client(1);
    append(&client, 1).unwrap();
    match wait("members", client.ensure_members(desired)) {
        Err(MembershipError::NotCaughtUp { node: 4, address, why }) => {
            assert_eq!(address, nowhere);
            assert!(!why.is_empty());
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(voters(&cluster, 1), [1, 2, 3]);
    append(&client, 2).unwrap();
    wait("members", client.ensure_members(cluster.members())).unwrap();
    let members = cluster.status(1).members;
    assert_eq!(members.iter().filter(|member| member.replica).count(), 3);
}

#[test]
fn a_witness_votes_and_keeps_nothing() {
    let mut cluster = Cluster::new(2);
    let client = cluster.client(1);
    append(&client, 1).unwrap();
    let witness = cluster.join(3).witness();
    let mut desired = cluster.members();
    desired.push(witness);
    wait("members", client.ensure_members(desired)).unwrap();
    assert_eq!(voters(&cluster, 1), [1, 2, 3]);
    cluster.kill(2);
    append(&client, 2).unwrap();
    assert_eq!(numbers(&client, Linearizable), [1, 2]);
    let at_witness = cluster.client(3);
    let read = wait("a read", at_witness.read(Local, Query::Numbers));
    assert!(matches!(read, Err(ReadError::Refused(Refused::NoReplica))), "{read:?}");
    assert!(append(&at_witness, 3).is_err());
    cluster.kill(3);
    let again = wait("a start", cluster.builder(3).address(address()).start()).unwrap();
    assert!(again.has_stopped().is_none());
}

#[test]
fn witnesses_that_never_come_do_not_take_the_majority_away() {
    let cluster = Cluster::new(1);
    let client = cluster.client(1);
    append(&client, 1).unwrap();
    let mut desired = cluster.members();
    desired.push(Member::new(2, address()).witness());
    desired.push(Member::new(3, address()).witness());
    let outcome = wait("members", client.ensure_members(desired));
    assert!(matches!(outcome, Err(MembershipError::NotCaughtUp { .. })), "{outcome:?}");
    append(&client, 2).unwrap();
    assert_eq!(voters(&cluster, 1), [1]);
}

#[test]
fn a_read_copy_answers_and_does_not_vote() {
    let mut cluster = Cluster::new(1);
    let client = cluster.client(1);
    append(&client, 1).unwrap();
    let copy = cluster.join(2).read_copy();
    let mut desired = cluster.members();
    desired.push(copy);
    wait("members", client.ensure_members(desired)).unwrap();
    assert_eq!(voters(&cluster, 1), [1]);
    assert_eq!(cluster.numbers(2), [1]);
    append(&cluster.client(2), 2).unwrap();
    until("a local read has caught up", || numbers(&cluster.client(2), Local) == [1, 2]);
    cluster.kill(2);
    append(&client, 3).unwrap();
}

#[test]
fn members_that_make_no_configuration_are_refused() {
    let cluster = Cluster::new(1);
    let client = cluster.client(1);
    let nobody = wait("members", client.ensure_members([]));
    assert!(matches!(nobody, Err(MembershipError::Members(_))), "{nobody:?}");
    let twice = [Member::new(1, "a:1"), Member::new(1, "b:1")];
    let twice = wait("members", client.ensure_members(twice));
    assert!(matches!(twice, Err(MembershipError::Members(_))), "{twice:?}");
    append(&client, 1).unwrap();
}
