//! The models: what there is, what may happen in it, and what must have been seen happening, or
//! the bounds were too narrow to prove anything.

use std::time::Duration;

use synod_paxos::{
    Decree, Envelope, Lease, Members, Message, NodeId, Op, Quorums, Reconfiguration, Roles, Slot,
    Timing,
    message::{P2b, Propose, Vote},
};

use crate::{
    bounds::{Bounds, Input, Reads},
    history::Accepted,
    search::Sight,
};

pub(crate) fn ids(ids: &[u32]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

pub(crate) fn members(replicas: &[u32], leaders: &[u32], acceptors: &[u32]) -> Members {
    Members::new(ids(replicas), ids(leaders), ids(acceptors)).expect("they are few, and differ")
}

/// Full nodes, of which the first so many are in the first configuration.
fn nodes(all: &[u32], first: usize, window: u64) -> Bounds {
    let processes = ids(all).into_iter().map(|id| (id, Roles::ALL)).collect();
    let first = &all[..first];
    Bounds::new(processes, members(first, first, first), window)
}

/// Ballots and slots: the paper's separate processes. Acceptors 1 to 3; leaders 4 and 5, asked by
/// a replica that is not there for different decrees in the same slots, and each starts a ballot
/// as often as it is named.
pub(crate) fn ballots(slots: u64, campaigns: &[u32]) -> Bounds {
    let members = members(&[9], &[4, 5], &[1, 2, 3]);
    let acceptors = members.acceptors.iter().map(|id| (*id, Roles::ACCEPTOR));
    let leaders = members.leaders.iter().map(|id| (*id, Roles::LEADER));
    let processes = acceptors.chain(leaders).collect();
    let mut bounds = Bounds::new(processes, members, slots.max(2));
    for leader in [4, 5] {
        for slot in (1..=slots).map(Slot) {
            let number = bounds.ask_for(apply(&format!("{leader}{slot}")));
            let decree = Decree::from(vec![bounds.command(number)]);
            let propose = Propose { slot, decree, epoch: 0, replica: None };
            let message = Message::Propose(propose);
            bounds.sent.push(Envelope { from: NodeId(9), to: NodeId(leader), message });
        }
    }
    let campaign = |bounds: Bounds, leader: &u32| bounds.with(1, Input::Campaign, &[*leader]);
    campaigns.iter().fold(bounds, campaign).without(is_refusal)
}

/// What a commander hears can only make it tell replicas, and there are none in [`ballots`]: what
/// is chosen shows on the disks.
pub(crate) fn is_vote(message: &Message) -> bool {
    matches!(message, Message::P2b(_))
}

/// Reconfiguration: nodes 1 and 2 are to be replaced by 2 and 3, while clients go on asking.
pub(crate) fn reconfiguration(window: u64) -> Bounds {
    let members = members(&[2, 3], &[2, 3], &[2, 3]);
    let reconfigure = Op::Reconfigure(Box::new(Reconfiguration { replaces: 0, members }));
    nodes(&[1, 2, 3], 2, window)
        .with_request(reconfigure, &[1])
        .with_request(apply("a"), &[2])
        .with(1, Input::Campaign, &[1])
        .with(1, Input::Campaign, &[2])
        .without(is_refusal)
}

/// Reads that ask a quorum: the client of node 1 writes, the client of node 3 reads.
pub(crate) fn reads() -> Bounds {
    nodes(&[1, 2, 3], 3, 1)
        .with_request(apply("a"), &[1])
        .with(1, Input::Campaign, &[1])
        .with(1, Input::Read(1, Reads::Quorum), &[3])
        .without(is_refusal)
}

/// Leases, with a clock that all share: node 1 leads, knows who is there, and may ask for a lease
/// of `length` at any time; node 2 may take over. Clients of `writers` write, and one of node 1
/// reads.
pub(crate) fn leases(length: u64, clock: u64, writers: &[u32]) -> Bounds {
    let (nanos, hour) = (Duration::from_nanos, Duration::from_secs(3600));
    let mut bounds = nodes(&[1, 2, 3], 3, 1)
        .with(1, Input::Beat, &[1])
        .with(1, Input::Campaign, &[2])
        .with(1, Input::Read(1, Reads::Lease), &[1])
        .without(is_refusal)
        .without(is_beside_leases);
    bounds.processes[2].1 = Roles::ACCEPTOR;
    bounds.members = members(&[1, 2], &[1, 2], &[1, 2, 3]);
    bounds.timing = Timing {
        heartbeat: nanos(1),
        resend: hour,
        patience_min: hour,
        patience_max: hour,
        lease: Some(Lease { length: nanos(length), drift_ppm: 0 }),
    };
    let one = NodeId(1);
    bounds.before = vec![(0, one, Input::Campaign), (0, one, Input::Beat)];
    bounds.clock = clock;
    let write =
        |bounds: Bounds, writer: &u32| bounds.with_request(apply(&format!("{writer}")), &[*writer]);
    writers.iter().fold(bounds, write)
}

/// Garbage collection: replicas 1 and 2 save snapshots, so acceptors collect; and leader 3, who
/// knows of nothing, takes over.
pub(crate) fn collection() -> Bounds {
    let mut bounds = nodes(&[1, 2, 3], 3, 1);
    bounds.members.replicas = ids(&[1, 2]).into();
    bounds.processes[2].1 = Roles { replica: false, ..Roles::ALL };
    bounds
        .with_request(apply("a"), &[1])
        .with(1, Input::Campaign, &[1])
        .with(1, Input::Campaign, &[3])
        .with(1, Input::Save, &[1])
        .with(1, Input::Save, &[2])
        .without(is_refusal)
}

/// Catching up: everything is collected before replica 2 has learned anything.
pub(crate) fn catching_up() -> Bounds {
    let roles = vec![(NodeId(1), Roles::ALL), (NodeId(2), Roles::REPLICA)];
    Bounds::new(roles, members(&[1, 2], &[1], &[1]), 1)
        .with_request(apply("a"), &[1])
        .with_request(apply("b"), &[2])
        .with(1, Input::Campaign, &[1])
        .with(2, Input::Save, &[1])
        .with(2, Input::Retry, &[2])
}

pub(crate) fn apply(text: &str) -> Op {
    Op::Apply(text.as_bytes().into())
}

/// Wrong quorums, which no checked configuration has: the halves of one another's complement.
pub(crate) fn halves(mut bounds: Bounds) -> Bounds {
    let quorums = Quorums { phase1: 1, phase2: 1 };
    bounds.told = Some(Members { quorums, ..bounds.members.clone() });
    bounds
}

/// A refusal can only make a leader stop; not to hear of it is a loss like any other. Nor does a
/// scout learn from a pvalue in its own ballot: the leader commands nothing before it is done.
pub(crate) fn is_refusal(message: &Message) -> bool {
    if let Message::P1b(p1b) = message {
        let over = p1b.accepted.iter().any(|pvalue| pvalue.ballot == p1b.asked);
        return p1b.held != p1b.asked || over;
    }
    matches!(message, Message::P2b(P2b { vote: Vote::Preempted(_) | Vote::Collected(_), .. }))
}

/// How far replicas are, and by what way a command gets to its leader, are no concern of leases;
/// and reads that ask a quorum are those of [`reads`].
fn is_beside_leases(message: &Message) -> bool {
    matches!(message, Message::SlotOut(_) | Message::Forward(_) | Message::ReadQuery { .. })
}

/// Two ballots got votes in one slot.
pub(crate) const COMPETITION: Sight = ("two ballots competed", |cluster, state| {
    cluster.tells(state, |h| h.slots().any(|(_, ballots)| ballots.len() > 1))
});

/// A decree was proposed again in a higher ballot (C2).
pub(crate) const AGAIN: Sight = ("a decree was proposed again", |cluster, state| {
    let again =
        |ballots: &[Accepted]| ballots.windows(2).any(|pair| pair[0].decree == pair[1].decree);
    cluster.tells(state, |h| h.slots().any(|(_, ballots)| again(ballots)))
});

/// A crash lost something that was not on disk.
pub(crate) const LOST: Sight =
    ("a crash lost a record", |cluster, state| cluster.any(state, |process| process.lost));

/// Something was chosen by the acceptors of a new configuration.
pub(crate) const TOOK_EFFECT: Sight = ("a reconfiguration took effect", |cluster, state| {
    cluster.tells(state, |h| {
        let mut later = h.schedule.iter().skip(1);
        later.any(|(first, _)| h.slots().any(|(s, _)| s >= *first && h.chosen(s).is_some()))
    })
});

/// A read was served that began after something had been answered.
pub(crate) const READ: Sight = ("a read saw what had been answered", |_, state| {
    state.served.iter().any(|id| state.begun.contains(&(*id, Slot::FIRST.0 + 1)))
});

/// A read was served.
pub(crate) const SERVED: Sight = ("a read was served", |_, state| !state.served.is_empty());

/// An acceptor forgot what replicas hold.
pub(crate) const COLLECTED: Sight = ("an acceptor collected", |cluster, state| {
    cluster.any(state, |process| process.node.acceptor().gc_slot() > Slot::FIRST)
});

/// A replica went on from another's snapshot.
pub(crate) const INSTALLED: Sight =
    ("a snapshot was installed", |cluster, state| cluster.any(state, |process| process.installed));
