//! What the roles of a node remember, variable by variable, for whoever shows a state: under the
//! paper's names where the paper has one, in the paper's notation.

use core::fmt::{self, Display};

use crate::{
    acceptor::Acceptor,
    commander::Commander,
    display::join,
    leader::{Leader, Proposal},
    node::Node,
    replica::Replica,
    types::{PValue, Slot},
};

/// A variable and its value, while it is shown.
#[derive(Clone, Copy)]
pub struct Variable<'a> {
    /// `acceptor`, `leader` or `replica`.
    pub role: &'static str,
    /// Its name, as in the paper.
    pub name: &'static str,
    /// For a map of slots: one of them.
    pub slot: Option<Slot>,
    /// In one line.
    pub value: &'a dyn Display,
}

/// Who wants to see variables.
type Show<'a> = dyn FnMut(Variable<'_>) + 'a;

impl<S> Node<S> {
    /// Shows every variable of every role that this node has. Of a map, each slot is one.
    pub fn variables(&self, show: &mut Show<'_>) {
        if self.roles.acceptor {
            acceptor(&self.acceptor, show);
        }
        if self.roles.leader {
            leader(&self.leader, show);
        }
        if self.roles.replica {
            replica(&self.replica, show);
        }
    }
}

fn acceptor(acceptor: &Acceptor, show: &mut Show<'_>) {
    let mut show = |name, slot, value: &dyn Display| {
        show(Variable { role: "acceptor", name, slot, value });
    };
    show("ballot_num", None, &acceptor.ballot_num());
    show("gc_slot", None, &acceptor.gc_slot());
    for (slot, (ballot, decree)) in acceptor.held(Slot::FIRST) {
        show("accepted", Some(slot), &format_args!("<{ballot}, {slot}, {decree}>"));
    }
    for slot in acceptor.lost() {
        show("accepted", Some(slot), &"lost by the disk");
    }
}

fn leader(leader: &Leader, show: &mut Show<'_>) {
    let mut show = |name, slot, value: &dyn Display| {
        show(Variable { role: "leader", name, slot, value });
    };
    show("ballot_num", None, &leader.ballot_num());
    show("active", None, &leader.active());
    for phase in &leader.phases {
        if let Some(scout) = &phase.scout {
            let waitfor = set(|| scout.waitfor.missing(&scout.config));
            show("scout", Some(phase.first), &format_args!("waitfor {waitfor}"));
        }
    }
    for (slot, proposal) in leader.proposals.iter() {
        match proposal {
            Proposal::Waiting(decree) => show("proposals", Some(slot), decree),
            Proposal::Commanded(Commander { pvalue, config, waitfor, .. }) => {
                let PValue { ballot, decree, .. } = pvalue;
                let waitfor = set(|| waitfor.missing(config));
                show("proposals", Some(slot), decree);
                show("commander", Some(slot), &format_args!("{ballot}, waitfor {waitfor}"));
            }
            Proposal::Decided(PValue { ballot, decree, .. }) => {
                let chosen = format_args!("{decree}, chosen in {ballot}");
                show("proposals", Some(slot), &chosen);
            }
        }
    }
}

fn replica<S>(replica: &Replica<S>, show: &mut Show<'_>) {
    let mut show = |name, slot, value: &dyn Display| {
        show(Variable { role: "replica", name, slot, value });
    };
    show("slot_in", None, &replica.slot_in);
    show("slot_out", None, &replica.slot_out);
    show("epoch", None, &replica.schedule.latest().epoch);
    if let Some(lead) = &replica.lead {
        show("follows", None, lead);
    }
    if !replica.requests.is_empty() {
        show("requests", None, &set(|| replica.requests.iter()));
    }
    // Batches: forwarded by others or in vain, displaced from their slots, handed to others.
    if !replica.waiting.is_empty() {
        show("waiting", None, &set(|| replica.waiting.iter()));
    }
    if !replica.displaced.is_empty() {
        show("displaced", None, &set(|| replica.displaced.iter()));
    }
    if !replica.forwarded.is_empty() {
        show("forwarded", None, &set(|| replica.forwarded.iter().map(|(decree, _)| decree)));
    }
    for (slot, (decree, _)) in replica.proposals.iter() {
        show("proposals", Some(slot), decree);
    }
    for (slot, decree) in replica.decisions.iter() {
        show("decisions", Some(slot), decree);
    }
}

/// `{1, 2}`
fn set<T: Display, I: Iterator<Item = T>>(items: impl Fn() -> I) -> impl Display {
    fmt::from_fn(move |f| {
        f.write_str("{")?;
        join(f, items(), ", ")?;
        f.write_str("}")
    })
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        format,
        string::{String, ToString},
        time::Duration,
    };

    use super::*;
    use crate::{
        effect::Outbox,
        liveness::Timing,
        message::{Message, P1b},
        reconfig::{Members, Schedule},
        replica::StateMachine,
        setup::{Limits, Roles, Setup},
        types::{Ballot, ClientId, Command, Decree, NodeId, Op, Payload},
    };

    struct Nothing;

    impl StateMachine for Nothing {
        fn apply(&mut self, _: &[u8]) -> Payload {
            Payload::EMPTY
        }
    }

    fn node() -> (Node<Nothing>, Outbox) {
        let ids = [1, 2, 3].map(NodeId).to_vec();
        let members = Members::new(ids.clone(), ids.clone(), ids).unwrap();
        let setup = Setup {
            id: NodeId(1),
            roles: Roles::ALL,
            schedule: Schedule::new(members, 4),
            timing: Timing::default(),
            seed: 1,
            sessions: 10,
            limits: Limits::default(),
        };
        let mut out = Outbox::new(NodeId(1));
        (Node::format(setup, Nothing, &mut out), out)
    }

    fn variables(node: &Node<Nothing>) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        node.variables(&mut |Variable { role, name, slot, value }| {
            let slot = slot.map_or_else(String::new, |slot| format!("[{slot}]"));
            let twice = all.insert(format!("{role} {name}{slot}"), value.to_string());
            assert_eq!(twice, None, "{role} {name}{slot}");
        });
        all
    }

    #[test]
    fn roles_are_shown_under_the_papers_names() {
        let (mut node, mut out) = node();
        let before = variables(&node);
        for (name, value) in [
            ("acceptor ballot_num", "⊥"),
            ("leader active", "false"),
            ("replica slot_in", "1"),
            ("replica slot_out", "1"),
        ] {
            assert_eq!(before.get(name).map(String::as_str), Some(value), "{name}");
        }

        node.campaign(&mut out);
        assert_eq!(variables(&node)["leader scout[1]"], "waitfor {1, 2, 3}");
        let ballot = Ballot { round: 1, leader: NodeId(1), incarnation: 1 };
        for from in [2, 3] {
            let (first, gc_slot) = (Slot(1), Slot(1));
            let accepted = [].into();
            let p1b = P1b { asked: ballot, held: ballot, first, rest: None, gc_slot, accepted };
            node.step(Duration::ZERO, NodeId(from), Message::P1b(p1b.into()), &mut out);
        }
        let client = ClientId { born: Slot(1), number: 7 };
        let op = Op::Apply(Payload::from(b"x".as_slice()));
        node.request(Command { client, cid: 1, acked: 0, op }, &mut out);
        assert_eq!(variables(&node)["replica requests"], "{c7#1 x}");
        node.flush(&mut out);
        let after = variables(&node);
        for (name, value) in [
            ("acceptor accepted[1]", "<1.1, 1, c7#1 x>"),
            ("acceptor ballot_num", "1.1"),
            ("leader active", "true"),
            ("leader ballot_num", "1.1"),
            ("leader commander[1]", "1.1, waitfor {1, 2, 3}"),
            ("leader proposals[1]", "c7#1 x"),
            ("replica proposals[1]", "c7#1 x"),
            ("replica slot_in", "2"),
        ] {
            assert_eq!(after.get(name).map(String::as_str), Some(value), "{name}: {after:?}");
        }
        assert!(!after.contains_key("leader scout[1]") && !after.contains_key("replica requests"));

        let (slot, decree) = (Slot(1), Some(Decree::noop()));
        let decision = Message::Decision { slot: Slot(2), ballot, decree };
        node.step(Duration::ZERO, NodeId(1), decision, &mut out);
        assert_eq!(variables(&node)["replica decisions[2]"], "no-op");
        assert_eq!(node.replica().slot_out(), slot);
    }
}
