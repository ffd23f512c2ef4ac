//! A client: a session that asks one node after the other, as the library's clients do.

use std::{collections::BTreeSet, time::Duration};

use synod::{
    Level,
    client::calls::{Calls, Outcome, Request},
    engine::Port,
    protocol::{Ask, Tell},
};
use synod_paxos::{ClientId, Command, NodeId, Slot};

use crate::{
    event::{Judged, Line, hold},
    queue::Time,
};

/// Whom an outcome is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waiter {
    /// The command of this number.
    Command(u64),
    /// A read, with the number that its question has.
    Read,
}

/// The connection of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wire {
    None,
    Connecting { conn: u64, until: Time },
    Connected { conn: u64, to: NodeId, life: u64 },
}

/// What a client wants to send.
pub(crate) struct Sent {
    pub(crate) bytes: Vec<u8>,
    /// A command that is sent for the first time, or a read.
    pub(crate) new: New,
}

pub(crate) enum New {
    Command(Command),
    Read { id: u64, level: Level },
    Again,
}

/// A client.
pub(crate) struct Caller {
    number: usize,
    pub(crate) calls: Calls<Waiter>,
    /// It has a session that a node has given a birthday.
    named: bool,
    pub(crate) wire: Wire,
    /// When the node that it is connected to was of use last.
    pub(crate) heard: Time,
    /// Requests that it has not made.
    pub(crate) left: u32,
    /// Requests on their way.
    pub(crate) waiting: u32,
    /// Commands that were sent twice: that one of them is refused says nothing.
    pub(crate) copied: BTreeSet<u64>,
    next_conn: u64,
    patience: Duration,
    /// How long it waits for what became of a command.
    within: Duration,
    /// Commands that it has given up, and has still to ask about.
    pub(crate) unresolved: Vec<u64>,
    /// Sessions so far.
    pub(crate) sessions: u64,
    /// The next command's number, as the session counts.
    next_cid: u64,
    /// The sessions in which commands were asked for.
    asked: std::collections::BTreeMap<u64, ClientId>,
    /// Sessions that it has left behind or that have expired, and their next command's numbers.
    former: Vec<(ClientId, u64)>,
    /// A reconfiguration that waits to be sent: an operator's.
    pub(crate) errand: Option<synod_paxos::Op>,
    /// The only node that it talks to, if it is not to be any.
    pub(crate) visits: Option<NodeId>,
}

impl Caller {
    pub(crate) fn new(number: usize, left: u32, (patience, within): (Duration, Duration)) -> Self {
        Self {
            number,
            calls: Calls::new(ClientId { born: Slot(0), number: 0 }, patience),
            named: false,
            wire: Wire::None,
            heard: 0,
            left,
            waiting: 0,
            copied: BTreeSet::new(),
            next_conn: 0,
            patience,
            within,
            unresolved: Vec::new(),
            sessions: 0,
            next_cid: 1,
            asked: std::collections::BTreeMap::new(),
            former: Vec::new(),
            errand: None,
            visits: None,
        }
    }

    /// The port of a connection: which client, and which of its connections.
    pub(crate) fn port(&self, conn: u64) -> Port {
        Port((self.number as u64) << 32 | conn)
    }

    pub(crate) fn client_of(port: Port) -> (usize, u64) {
        ((port.0 >> 32) as usize, port.0 & 0xffff_ffff)
    }

    pub(crate) fn connect(&mut self, until: Time) -> u64 {
        self.next_conn += 1;
        self.wire = Wire::Connecting { conn: self.next_conn, until };
        self.next_conn
    }

    /// A node has let it in, and said how far it is.
    pub(crate) fn welcomed(&mut self, now: Duration, born: Slot, out: &mut Vec<Sent>) {
        if !self.named {
            self.named = true;
            let id = self.new_session(born);
            self.calls.rename(id);
        }
        self.calls.resend(now, |ask| send(&ask, New::Again, out));
    }

    fn new_session(&mut self, born: Slot) -> ClientId {
        self.sessions += 1;
        let number = (self.number as u64 + 1) << 32 | self.sessions;
        ClientId { born, number }
    }

    /// Leaves its session behind and begins another one, as a program that was started anew does.
    pub(crate) fn restart(&mut self) {
        self.leaves_session();
        self.calls = Calls::new(ClientId { born: Slot(0), number: 0 }, self.patience);
        self.calls.expired(ClientId { born: Slot(0), number: 0 });
        (self.named, self.waiting, self.wire) = (false, 0, Wire::None);
        self.next_cid = 1;
        self.copied.clear();
        self.unresolved.clear();
        self.asked.clear();
    }

    fn leaves_session(&mut self) {
        if self.named {
            self.former.push((self.calls.id(), self.next_cid));
        }
    }

    /// The port of a connection beside its own, and the number of that.
    pub(crate) fn another_port(&mut self) -> (Port, u64) {
        self.next_conn += 1;
        (self.port(self.next_conn), self.next_conn)
    }

    /// The next command of one of its former sessions, if it has any.
    pub(crate) fn former(&mut self, which: usize, op: synod_paxos::Op) -> Option<(Port, Command)> {
        let among = which.checked_rem(self.former.len())?;
        let (port, _) = self.another_port();
        let (client, cid) = self.former.get_mut(among)?;
        let command = Command { client: *client, cid: *cid, acked: *cid, op };
        *cid += 1;
        Some((port, command))
    }

    /// The session in which it has asked for a command.
    pub(crate) fn session_of(&self, cid: u64) -> Option<ClientId> {
        self.asked.get(&cid).copied()
    }

    /// The session in which it has asked for the command that it is told of.
    pub(crate) fn session_told(&self, tell: &Tell<'_>) -> Option<ClientId> {
        match *tell {
            Tell::Done { cid, .. } | Tell::Refused { cid, .. } | Tell::Expired { cid } => {
                self.session_of(cid)
            }
            Tell::Answer { .. }
            | Tell::ReadRefused { .. }
            | Tell::Report { .. }
            | Tell::Leader { .. }
            | Tell::Members { .. } => None,
        }
    }

    /// Its connection, if what came over it is of this node.
    pub(crate) fn line(&self, by: Option<NodeId>) -> Line {
        let conn = match self.wire {
            Wire::Connected { conn, to, .. } if by.is_none_or(|by| by == to) => conn,
            Wire::Connected { .. } | Wire::None | Wire::Connecting { .. } => 0,
        };
        Line { client: self.number as u64, conn }
    }

    /// Whether this is its connection.
    pub(crate) fn is_on(&self, conn: u64) -> bool {
        matches!(self.wire, Wire::Connected { conn: current, .. } if current == conn)
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.named && matches!(self.wire, Wire::Connected { .. })
    }

    pub(crate) fn call(&mut self, now: Duration, op: synod_paxos::Op, out: &mut Vec<Sent>) {
        let (waiter, mut took) = (Waiter::Command(self.next_cid), false);
        self.waiting += 1;
        self.calls.request(now, Request::Call(op), self.within, waiter, |ask| {
            let new = match &ask {
                Ask::Command(command) => New::Command(command.clone()),
                Ask::Read { .. } | Ask::Manage { .. } => New::Again,
            };
            took = true;
            send(&ask, new, out)
        });
        // One that is too long, say, is refused, and takes no number.
        if took {
            self.asked.insert(self.next_cid, self.calls.id());
            self.next_cid += 1;
        }
    }

    pub(crate) fn read(
        &mut self,
        now: Duration,
        level: Level,
        query: Vec<u8>,
        out: &mut Vec<Sent>,
    ) {
        self.waiting += 1;
        let request = Request::Read(level, query);
        self.calls.request(now, request, self.within, Waiter::Read, |ask| {
            let new = match &ask {
                Ask::Read { id, level, .. } => New::Read { id: *id, level: *level },
                Ask::Command(_) | Ask::Manage { .. } => New::Again,
            };
            send(&ask, new, out)
        });
    }

    /// Asks once more what became of a command that was given up.
    pub(crate) fn resolve(&mut self, now: Duration, cid: u64) {
        let waiter = Waiter::Command(cid);
        self.waiting += 1;
        self.calls.request(now, Request::Resolve(cid), self.within, waiter, |_| true);
    }

    /// It is told that nobody will ever know what became of a command (C4).
    pub(crate) fn has_expired(&self, cid: u64) -> Judged {
        let (session, now) = (self.session_of(cid), self.calls.id());
        let goes_on = session == Some(now);
        hold!("C4", !goes_on, "{now} goes on, and its command {cid} is said to be lost");
        Ok(())
    }

    /// It has been told all that it wanted to know.
    pub(crate) fn is_done(&self) -> bool {
        let nothing_to_ask = self.left == 0 && self.errand.is_none() && self.unresolved.is_empty();
        nothing_to_ask && self.calls.idle()
    }

    /// Asks again what has waited for long.
    pub(crate) fn tick(&mut self, now: Duration, out: &mut Vec<Sent>) {
        let connected = self.is_connected();
        self.calls.tick(now, |ask| connected && send(&ask, New::Again, out));
    }

    /// What a node has said. Returns who need not wait any more.
    pub(crate) fn told(&mut self, tell: &Tell<'_>, born: Slot) -> Vec<(Waiter, Outcome)> {
        if let Tell::Expired { cid } = *tell
            && self.calls.has(cid)
        {
            self.leaves_session();
            let id = self.new_session(born);
            self.calls.expired(id);
        }
        self.calls.told(tell);
        self.settled()
    }

    pub(crate) fn settled(&mut self) -> Vec<(Waiter, Outcome)> {
        let settled: Vec<_> = self.calls.settled().collect();
        self.waiting = self.waiting.saturating_sub(u32::try_from(settled.len()).unwrap_or(0));
        settled
    }
}

fn send(ask: &Ask<'_>, new: New, out: &mut Vec<Sent>) -> bool {
    let mut bytes = Vec::new();
    ask.put(&mut bytes);
    out.push(Sent { bytes, new });
    true
}
