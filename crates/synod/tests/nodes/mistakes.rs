//! What operators do to a cluster: disks wiped, copied and restored, addresses mixed up.

use std::{fs, path::Path};

use synod::{Builder, Node, StopReason, transport::handshake::Refusal};

use crate::cluster::{Cluster, Journal, append, stopped, until, wait};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A cluster that has worked, and whose nodes know each other.
fn worked(size: usize) -> Cluster {
    let cluster = Cluster::new(size);
    for number in 0..20 {
        append(&cluster.client(1), number).unwrap();
    }
    until("the nodes have told each other of their lives", || {
        (1..)
            .take(size)
            .all(|id| cluster.status(id).members.iter().all(|member| !member.address.is_empty()))
    });
    cluster.converge();
    cluster
}

fn refused(reason: &StopReason) -> &Refusal {
    match reason {
        StopReason::Refused { why, .. } => why,
        other => panic!("{other}"),
    }
}

#[test]
fn a_node_whose_directory_was_wiped_stops_and_the_others_go_on() {
    let mut cluster = worked(3);
    cluster.kill(2);
    fs::remove_dir_all(cluster.directory(2)).unwrap();
    let wiped = cluster.try_start(2).unwrap();
    let reason = stopped(&wiped);
    let says = reason.to_string();
    let typed = matches!(
        reason,
        StopReason::Wiped { node: 2 } | StopReason::Refused { why: Refusal::Amnesia { .. }, .. }
    );
    assert!(typed, "{reason}");
    assert!(says.contains("new id"), "the cure: {says}");
    append(&cluster.client(1), 20).unwrap();
    assert_eq!(cluster.numbers(3).len(), 21);
    // Again, after the others have restarted: what they know is in the log.
    drop(wiped);
    cluster.kill(1);
    cluster.kill(3);
    cluster.start(1);
    cluster.start(3);
    append(&cluster.client(1), 21).unwrap();
    let wiped = cluster.try_start(2).unwrap();
    assert!(!matches!(stopped(&wiped), StopReason::Panicked(_)));
    drop(wiped);
    // The cure.
    let newcomer = cluster.join(4);
    let mut desired = cluster.members();
    desired[1] = newcomer;
    wait("members", cluster.client(1).ensure_members(desired)).unwrap();
    assert_eq!(cluster.numbers(4).len(), 22);
}

#[test]
fn an_older_copy_of_a_directory_is_refused() {
    let mut cluster = worked(3);
    cluster.kill(2);
    let copied = cluster.data.path().join("copy");
    copy(&cluster.directory(2), &copied);
    cluster.start(2);
    for number in 20..40 {
        append(&cluster.client(2), number).unwrap();
    }
    cluster.converge();
    cluster.kill(2);
    fs::remove_dir_all(cluster.directory(2)).unwrap();
    copy(&copied, &cluster.directory(2));
    let restored = cluster.try_start(2).unwrap();
    let reason = stopped(&restored);
    assert!(
        matches!(refused(&reason), Refusal::Rollback { .. } | Refusal::Duplicate { .. }),
        "{reason}"
    );
    append(&cluster.client(1), 40).unwrap();
    assert_eq!(cluster.numbers(3).len(), 41);
}

#[test]
fn of_two_copies_of_a_disk_that_run_at_once_one_is_refused() {
    let mut cluster = worked(3);
    cluster.kill(2);
    let copied = cluster.data.path().join("copy");
    copy(&cluster.directory(2), &copied);
    cluster.start(2);
    append(&cluster.client(2), 20).unwrap();
    let builder = Node::open_with(&copied, Journal::default()).unwrap().id(2);
    let builder = builder.segment_bytes(1 << 20).peers(&cluster.peers).listen("127.0.0.1:0");
    let copied = wait("a start", builder.start()).unwrap();
    let reason = stopped(&copied);
    assert!(matches!(refused(&reason), Refusal::Duplicate { incarnation: 2, .. }), "{reason}");
    append(&cluster.client(2), 21).unwrap();
    assert_eq!(cluster.numbers(2).len(), 22);
}

#[test]
fn an_older_copy_is_refused_also_after_the_others_have_restarted() {
    let mut cluster = worked(3);
    cluster.kill(2);
    let copied = cluster.data.path().join("copy");
    copy(&cluster.directory(2), &copied);
    cluster.start(2);
    for number in 20..40 {
        append(&cluster.client(2), number).unwrap();
    }
    cluster.converge();
    // Two more lives, known to the log.
    cluster.kill(2);
    cluster.start(2);
    append(&cluster.client(2), 40).unwrap();
    until("the third life of node 2 is known to all", || {
        [1, 2, 3].iter().all(|id| cluster.status(*id).members[1].incarnation == 3)
    });
    cluster.converge();
    cluster.nodes.clear();
    fs::remove_dir_all(cluster.directory(2)).unwrap();
    copy(&copied, &cluster.directory(2));
    cluster.start(1);
    cluster.start(3);
    append(&cluster.client(1), 41).unwrap();
    let restored = cluster.try_start(2).unwrap();
    let reason = stopped(&restored);
    assert!(
        matches!(refused(&reason), Refusal::Rollback { .. } | Refusal::Duplicate { .. }),
        "{reason}"
    );
}

#[test]
fn of_two_copies_of_a_node_at_most_one_takes_part() {
    let mut cluster = worked(3);
    cluster.kill(2);
    let twin = Cluster::unstarted(1, |builder| builder);
    copy(&cluster.directory(2), &twin.directory(2));
    cluster.start(2);
    append(&cluster.client(2), 20).unwrap();
    let builder = twin.builder(2).peers(&cluster.peers).listen(&twin.peers[0]);
    let twin = wait("a start", builder.start()).unwrap();
    until("one of the two has stopped", || {
        twin.has_stopped().is_some() || cluster.node(2).has_stopped().is_some()
    });
    let reason = twin.has_stopped().or_else(|| cluster.node(2).has_stopped()).unwrap();
    assert!(
        matches!(refused(&reason), Refusal::Duplicate { .. } | Refusal::Rollback { .. }),
        "{reason}"
    );
    append(&cluster.client(1), 21).unwrap();
    assert_eq!(cluster.numbers(3).len(), 22);
}

/// Waits until node `id` says that this is wrong with its connection to `peer`.
fn problem(cluster: &Cluster, id: u32, peer: u32, says: &str) {
    until(says, || {
        let members = cluster.status(id).members;
        let member = members.into_iter().find(|member| member.node == peer).unwrap();
        !member.connected && member.problem.is_some_and(|problem| problem.contains(says))
    });
}

fn run(cluster: &mut Cluster, id: u32, change: impl Fn(Builder<Journal>) -> Builder<Journal>) {
    let builder = change(cluster.builder(id));
    let node = wait("a start", builder.start()).unwrap();
    cluster.nodes.insert(id, node);
}

#[test]
fn a_node_of_another_cluster_at_a_peers_address_is_told_apart() {
    let mut cluster = Cluster::unstarted(3, |builder| builder);
    let peers = cluster.peers.clone();
    let name = |name: &'static str| {
        let peers = peers.clone();
        move |builder: Builder<Journal>| builder.peers(&peers).cluster(name)
    };
    run(&mut cluster, 1, name("ours"));
    run(&mut cluster, 2, name("ours"));
    run(&mut cluster, 3, name("theirs"));
    problem(&cluster, 1, 3, "belongs to cluster");
    problem(&cluster, 3, 1, "belongs to cluster");
    append(&cluster.client(1), 1).unwrap();
    assert!(cluster.node(3).has_stopped().is_none(), "it may be the others who are wrong");
}

#[test]
fn another_node_at_a_peers_address_is_told_apart() {
    // Node 3 is where node 1 believes node 2 to be, and the other way round.
    let mut cluster = Cluster::unstarted(3, |builder| builder.cluster("named"));
    let right = cluster.peers.clone();
    let swapped = vec![right[0].clone(), right[2].clone(), right[1].clone()];
    let (one, others) = (swapped, right);
    run(&mut cluster, 1, |builder| builder.peers(&one));
    run(&mut cluster, 3, |builder| builder.peers(&others));
    problem(&cluster, 1, 2, "it is node 3");
    run(&mut cluster, 2, |builder| builder.peers(&others));
    // The nodes say themselves where they are, and so it works all the same.
    append(&cluster.client(1), 1).unwrap();
    assert_eq!(cluster.numbers(3), [1]);
}
