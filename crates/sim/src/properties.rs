//! What must hold, checked on every event, by names that reports and tests use.
//!
//! A property remembers whatever it needs across crashes: nothing that has left a node, and nothing
//! that was on its disk, can be taken back. They see what leaves a node, what its disk keeps, what
//! its state adds up to, the ballot that it holds, and whether it would now serve reads by a lease.

mod acceptors;
pub(crate) mod bounds;
#[cfg(test)]
mod canaries;
mod clients;
mod configurations;
mod leaders;
mod reads;
mod replicas;

use crate::{
    event::{Event, Judged},
    ghost::Ghost,
};

/// Every property by its name, and what it says.
pub const PROPERTIES: [(&str, &str); 37] = [
    ("AC1", "an acceptor's ballot never falls, in memory, on disk, and across crashes"),
    ("AC2", "an acceptor accepts only in the ballot that it holds"),
    ("AC3", "in one ballot and slot there is one decree, whoever proposes or accepts it"),
    ("AC4", "a ballot has one leader, and is used once over all crashes"),
    ("AC5", "a report to a scout leaves out nothing but what has been collected"),
    ("AC6", "what is proposed is what a quorum of reports permits"),
    ("AC7", "nothing leaves before the records that it depends on are on disk"),
    ("G1", "once a quorum has accepted a decree, nothing else is accepted in a higher ballot"),
    ("G2", "what is passed on as decided is chosen"),
    ("G3", "all replicas that are at one slot have performed the same"),
    ("G4", "what is accepted was asked for by a client, unchanged"),
    ("G5", "a replica performs slots in order, and falls back to no less than its snapshot"),
    ("G6", "a leader that commands a slot has proposed or knows all chosen ones before it"),
    ("G7", "what was acknowledged stays, and what was synced is there after a crash"),
    ("G8", "equal slots have equal digests over operations and results"),
    ("G9", "snapshots of one slot are the same on all nodes"),
    ("C1", "a read or command sees everything that was acknowledged before it began"),
    ("C2", "a command is performed once, and every answer to it is that of the first time"),
    ("C3", "a command that a client was told will not be done is never done"),
    ("C4", "a session expires only where the log says so"),
    ("C5", "over one connection, a client sees nothing older than what it has seen or written"),
    ("C6", "a fencing token is given to one command, and is higher than those given before"),
    ("L1", "one leader at a time holds a lease of a configuration, and a quorum has granted it"),
    ("L2", "a read sees everything that was decided before it began, also what nobody was told"),
    ("L3", "a leader proposes only in ballots of its own life"),
    ("M1", "a slot is proposed only within the window, in the epoch that governs it"),
    ("M2", "every quorum of a configuration intersects the other phase's quorums"),
    ("M3", "a decree is decided by votes of members of its slot's configuration"),
    ("M4", "a node that has lost its memory is not let in, and no life is lived twice"),
    ("M5", "who knows that it was removed begins no ballot; who has a lease leads in its epoch"),
    ("R1", "what happens in a run, and what is in flight, is bounded"),
    ("R2", "no message is larger than a frame may be"),
    ("V1", "after the faults, everything is answered and all replicas agree, in time"),
    ("V2", "after the faults, a few ballots are enough"),
    ("V3", "where nothing is asked for, nodes tell one another only that they are there"),
    ("V4", "one slow node, disk or link does not slow down what can do without it"),
    ("D1", "one plan has one course"),
];

/// All of them.
#[derive(Default)]
pub(crate) struct Properties {
    acceptors: acceptors::Acceptors,
    leaders: leaders::Leaders,
    replicas: replicas::Replicas,
    configurations: configurations::Configurations,
    clients: clients::Clients,
    reads: reads::Reads,
    bounds: bounds::Bounds,
}

impl Properties {
    /// Judges an event that `ghost` has noticed.
    pub(crate) fn judge(&mut self, event: &Event<'_>, ghost: &mut Ghost) -> Judged {
        self.acceptors.check(event, ghost)?;
        self.leaders.check(event, ghost)?;
        self.configurations.check(event, ghost)?;
        self.replicas.check(event, ghost)?;
        self.clients.check(event, ghost)?;
        self.reads.check(event, ghost)?;
        self.bounds.check(event, ghost)
    }
}
