//! Looking on: who wants to show a run is told everything that happens in it, and what every node
//! remembers. Nobody who looks on changes anything; and if nobody does, it costs nothing.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    time::Duration,
};

use synod::protocol::{Ask, Tell};
use synod_paxos::{ClientId, Message, NodeId, Slot, Variable};

use crate::{plan::Fault, queue::Time};

/// Takes down what happens in a run.
pub trait Recorder {
    /// Something happens, so long after the beginning.
    fn record(&mut self, at: Duration, what: Seen<'_>);
}

/// Somebody who sends and receives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Party {
    /// A node.
    Node(NodeId),
    /// A client; the last two are operators.
    Client(usize),
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => node.fmt(f),
            Self::Client(client) => write!(f, "client {client}"),
        }
    }
}

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// By a node to a node.
    Message(&'a Message),
    /// By a client.
    Ask(&'a Ask<'a>),
    /// To a client, in this session if the client still knows it.
    Tell(Option<ClientId>, &'a Tell<'a>),
}

/// A variable of a node: its role, its name and, if it is one place of a map, the slot.
pub type Name = (&'static str, &'static str, Option<Slot>);

/// Something that happens.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// A process begins: it remembers what it finds on its disk, and that is told next.
    Starts(NodeId, &'a str),
    /// A process ends: what it remembered is gone.
    Ends(NodeId, &'a str),
    /// Something else is to be said of somebody.
    Remark(Party, &'a str),
    /// A fault of the plan.
    Fault(&'a Fault),
    /// The faults end.
    Heals,
    /// A node looks at all that has arrived; what follows belongs to this turn.
    Turn(NodeId),
    /// Something that was sent is looked at by whom it was sent to.
    Looks(u64),
    /// A variable has another value after this turn; or there is no such variable any more.
    Remembers(NodeId, Name, Option<&'a str>),
    /// Something is sent.
    Sends {
        /// Its number; each has another one.
        number: u64,
        /// Who sends it.
        from: Party,
        /// To whom.
        to: Party,
        /// What.
        content: Content<'a>,
    },
    /// The network makes a copy of what was sent, with a number of its own.
    Doubles {
        /// What was sent.
        number: u64,
        /// The copy.
        copy: u64,
    },
    /// Something that was sent is never looked at, and why.
    Loses(u64, &'static str),
}

/// A recorder at work, with what it knows of the nodes.
pub(crate) struct Recording<'w> {
    recorder: &'w mut dyn Recorder,
    nodes: BTreeMap<NodeId, Memory>,
    /// A value, while it is compared.
    value: String,
}

/// What a node remembered at the end of its last turn, and which turn last said so.
#[derive(Default)]
struct Memory {
    turn: u64,
    variables: BTreeMap<Name, (String, u64)>,
}

impl<'w> Recording<'w> {
    pub(crate) fn new(recorder: &'w mut dyn Recorder) -> Self {
        Self { recorder, nodes: BTreeMap::new(), value: String::new() }
    }

    pub(crate) fn see(&mut self, at: Time, what: Seen<'_>) {
        if let Seen::Ends(node, _) = what {
            self.nodes.remove(&node);
        }
        self.recorder.record(Duration::from_nanos(at), what);
    }

    /// A turn is over: tells what a node remembers differently.
    pub(crate) fn compare(
        &mut self,
        at: Time,
        node: NodeId,
        variables: impl FnOnce(&mut dyn FnMut(Variable<'_>)),
    ) {
        let Self { recorder, nodes, value, .. } = self;
        let at = Duration::from_nanos(at);
        let Memory { turn, variables: known } = nodes.entry(node).or_default();
        *turn += 1;
        variables(&mut |variable: Variable<'_>| {
            let Variable { role, name, slot, value: shown } = variable;
            value.clear();
            _ = write!(value, "{shown}"); // Writing to a string cannot fail.
            let (before, seen) = known.entry((role, name, slot)).or_default();
            if *seen == 0 || before != value {
                before.clone_from(value);
                recorder.record(at, Seen::Remembers(node, (role, name, slot), Some(value)));
            }
            *seen = *turn;
        });
        known.retain(|name, (_, seen)| {
            let stays = seen == turn;
            if !stays {
                recorder.record(at, Seen::Remembers(node, *name, None));
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Lines(Vec<String>);

    impl Recorder for Lines {
        fn record(&mut self, at: Duration, what: Seen<'_>) {
            let at = at.as_nanos();
            self.0.push(if let Seen::Remembers(node, (role, name, slot), value) = what {
                format!("{at} {node} {role} {name} {slot:?} {value:?}")
            } else {
                format!("{at} {what:?}")
            });
        }
    }

    fn variable<'a>(
        name: &'static str,
        slot: Option<u64>,
        value: &'a dyn fmt::Display,
    ) -> Variable<'a> {
        Variable { role: "acceptor", name, slot: slot.map(Slot), value }
    }

    #[test]
    fn only_what_has_changed_is_told_and_a_new_life_remembers_nothing() {
        let mut lines = Lines::default();
        let mut recording = Recording::new(&mut lines);
        recording.compare(1, NodeId(2), |show| {
            show(variable("ballot_num", None, &3));
            show(variable("accepted", Some(7), &"x"));
        });
        recording.compare(2, NodeId(2), |show| {
            show(variable("ballot_num", None, &3));
            show(variable("accepted", Some(8), &""));
        });
        recording.see(3, Seen::Ends(NodeId(2), "killed"));
        recording.compare(4, NodeId(2), |show| show(variable("ballot_num", None, &3)));
        assert_eq!(
            lines.0,
            [
                "1 2 acceptor ballot_num None Some(\"3\")",
                "1 2 acceptor accepted Some(Slot(7)) Some(\"x\")",
                "2 2 acceptor accepted Some(Slot(8)) Some(\"\")",
                "2 2 acceptor accepted Some(Slot(7)) None",
                "3 Ends(NodeId(2), \"killed\")",
                "4 2 acceptor ballot_num None Some(\"3\")",
            ]
        );
    }
}
