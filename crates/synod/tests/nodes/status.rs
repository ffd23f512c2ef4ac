//! What a node says of itself, and who is asked to lead.

use synod::{Linearizable, ReadError, Refused};

use crate::cluster::{Cluster, append, numbers, until, wait};

#[test]
fn a_status_says_how_the_node_is() {
    let cluster = Cluster::new(3);
    for number in 0..10 {
        append(&cluster.client(1), number).unwrap();
    }
    let client = cluster.client(1);
    numbers(&client, Linearizable);
    let leader = cluster.leader();
    cluster.converge();
    let all: Vec<_> = (1..=3).map(|id| cluster.status(id)).collect();
    for (id, status) in (1..).zip(&all) {
        assert_eq!((status.node, status.incarnation, status.leader), (id, 1, Some(leader)));
        assert_eq!(status.cluster, all[0].cluster);
        assert!(id != leader || status.ballot.1 == leader);
        assert!(!status.why.is_empty() && !status.disk_full && status.lost_slots == 0);
        assert!(status.slot_out > 1 && status.slot_in <= status.slot_out + status.window);
        assert_ne!(status.digest, 0);
        let fsync = status.fsync;
        assert!(fsync.count > 0 && fsync.p50_us > 0, "{fsync:?}");
        assert!(fsync.p50_us <= fsync.p99_us && fsync.p99_us <= fsync.max_us, "{fsync:?}");
        assert_eq!(status.counters["syncs"], fsync.count);
        assert!(status.counters["records"] >= status.counters["syncs"]);
        assert_eq!(status.counters["faulty_connections"], 0);
        let members: Vec<_> = status.members.iter().map(|m| (m.node, m.address.clone())).collect();
        let expected: Vec<_> = (1..).zip(cluster.peers.clone()).collect();
        assert_eq!(members, expected);
        assert!(status.members.iter().all(|m| m.replica && m.leader && m.acceptor));
        assert!(status.members.iter().all(|m| m.connected && m.problem.is_none()), "{status:?}");
    }
    assert_eq!(all[0].counters["requests"], 10);
    assert_eq!(all[0].counters["responses"], 10);
    assert_eq!(all[0].counters["reads"], 1);
    for id in 1..=3 {
        until("each knows how far the others are", || {
            cluster.status(id).members.iter().all(|member| member.lag == 0)
        });
    }
}

#[test]
fn a_node_that_is_down_shows_as_such_and_lags() {
    let mut cluster = Cluster::new(3);
    cluster.kill(3);
    for number in 0..50 {
        append(&cluster.client(1), number).unwrap();
    }
    until("node 1 says that node 3 is not there, why, and how far it is behind", || {
        let status = cluster.status(1);
        let member = &status.members[2];
        !member.connected && member.problem.is_some() && member.lag > 0
    });
}

#[test]
fn whoever_leads_hands_over_when_asked() {
    let cluster = Cluster::new(3);
    let leader = cluster.leader();
    let heir = leader % 3 + 1;
    let follower = cluster.client(heir);
    let refused = wait("a hand-over", follower.hand_over(None));
    assert!(matches!(refused, Err(ReadError::Refused(Refused::NotLeading))), "{refused:?}");
    assert_eq!(
        wait("a hand-over", cluster.client(leader).hand_over(Some(heir))).unwrap(),
        Some(heir)
    );
    until("the heir leads", || cluster.leader() == heir);
    append(&follower, 1).unwrap();
    // To whoever is fittest, asked from afar: the client follows the leader.
    let client = cluster.connect();
    until("a leader hands over", || wait("a hand-over", client.hand_over(None)).is_ok());
    until("another leads", || cluster.leader() != heir);
    append(&client, 2).unwrap();
    assert_eq!(cluster.numbers(1), [1, 2]);
}
