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
