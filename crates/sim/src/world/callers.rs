//! What clients do: connect, ask, ask again, go elsewhere, and come back as somebody else.

use std::time::Duration;

use synod::{
    Level, Machine,
    client::calls::Outcome,
    engine::machine_op,
    protocol::{Ask, Tell},
};
use synod_paxos::{NodeId, Op, Reconfigured, Slot};

use super::{
    Happening, Said, World,
    caller::{Caller, New, Sent, Waiter, Wire},
    micros,
    process::Parcel,
};
use crate::{
    event::{Event, Judged, Line},
    plan::{Load, OPERATORS},
    queue::Time,
    recorder::{Content, Party, Seen},
    streams::Stream,
};

/// How often a client asks what became of a command that was given up, when it looks around.
const RESOLVED: u32 = 100;
/// How long a client waits to be let in.
const CONNECT: Time = 300_000_000;

impl<M: Machine> World<'_, M> {
    pub(super) fn add_callers(&mut self) {
        let load = &self.plan.workload;
        let patience = Duration::from_micros(load.patience);
        let clients = load.clients as usize;
        for number in 0..clients + OPERATORS {
            let left = if number < clients { load.requests } else { 0 };
            let within = Duration::from_micros(load.within);
            self.callers.push(Caller::new(number, left, (patience, within)));
            self.queue.push(self.now, Happening::Client { client: number });
        }
    }

    fn clock(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    /// A client looks around, and will again.
    pub(super) fn client(&mut self, number: usize) -> Judged {
        self.connect(number);
        let clock = self.clock();
        let mut sent = std::mem::take(&mut self.sent);
        self.callers[number].tick(clock, &mut sent);
        self.send(number, &mut sent)?;
        self.sent = sent;
        self.resolve(number);
        let settled = self.callers[number].settled();
        self.settled(number, settled, None, None)?;
        self.come_back(number);
        self.ask(number)?;
        let think = micros(self.plan.workload.think.max(1000)); // Every answer is a look, too.
        let pause = if self.callers[number].left > 0 { think } else { 20_000_000 };
        let at = self.now + self.streams.client.u64(pause / 2..=pause);
        self.queue.push(at, Happening::Client { client: number });
        Ok(())
    }

    /// Asks, some time later, what became of commands that were given up.
    fn resolve(&mut self, number: usize) {
        let (clock, calm) = (self.clock(), self.calm);
        for cid in std::mem::take(&mut self.callers[number].unresolved) {
            if calm || self.streams.client.happens(RESOLVED) {
                self.callers[number].resolve(clock, cid);
            } else {
                self.callers[number].unresolved.push(cid);
            }
        }
    }

    /// Connects to some node, if it is not connected, or has waited for too long.
    pub(super) fn connect(&mut self, number: usize) {
        let caller = &mut self.callers[number];
        let patience = micros(self.plan.workload.patience) * 3;
        let waits = match caller.wire {
            Wire::None => false,
            Wire::Connecting { until, .. } => until > self.now,
            Wire::Connected { .. } => caller.calls.idle() || caller.heard + patience > self.now,
        };
        if waits {
            return;
        }
        self.leave(number);
        let to = self.callers[number].visits.unwrap_or_else(|| {
            let places = self.processes.len();
            self.processes[self.streams.client.usize(0..places)].id
        });
        let conn = self.callers[number].connect(self.now + CONNECT);
        let at = self.now + self.wires.latency(&mut self.streams);
        let parcel = Parcel::Connect { client: number, conn };
        self.queue.push(at, Happening::Arrives { to, life: 0, parcel });
    }

    /// Closes a client's connection.
    pub(super) fn leave(&mut self, number: usize) {
        let caller = &mut self.callers[number];
        if let Wire::Connected { conn, to, life } = std::mem::replace(&mut caller.wire, Wire::None)
        {
            let port = caller.port(conn);
            let at = self.now + self.wires.latency(&mut self.streams);
            let parcel = Parcel::Gone { port };
            self.queue.push(at, Happening::Arrives { to, life, parcel });
        }
    }

    /// Now and then a client's program ends and is started anew.
    fn come_back(&mut self, number: usize) {
        let restarts = self.plan.workload.restarts;
        if self.calm || !self.streams.client.happens(restarts) {
            return;
        }
        self.leave(number);
        let what = || "comes back with a new session".to_owned();
        let who = Party::Client(number);
        self.trace.tell(self.now, who, what, |text| Seen::Remark(who, text));
        self.callers[number].restart();
        self.history.left(number);
    }

    /// Makes new requests.
    fn ask(&mut self, number: usize) -> Judged {
        let (load, clock) = (&self.plan.workload, self.clock());
        let mut sent = std::mem::take(&mut self.sent);
        let caller = &mut self.callers[number];
        if caller.is_connected()
            && let Some(op) = caller.errand.take()
        {
            caller.call(clock, op, &mut sent);
            if caller.visits.is_some() {
                let mut query = Vec::new();
                M::encode_query(
                    &self.streams.client.lend(|rng| self.workload.query(rng)),
                    &mut query,
                );
                for level in [Level::Linearizable, Level::Lease] {
                    caller.read(clock, level, query.clone(), &mut sent);
                }
            }
        }
        while caller.is_connected() && caller.left > 0 && caller.waiting < load.in_flight {
            caller.left -= 1;
            let rng = &mut self.streams.client;
            if rng.happens(load.reads) {
                let level = level(load, rng);
                let mut query = Vec::new();
                M::encode_query(&rng.lend(|rng| self.workload.query(rng)), &mut query);
                caller.read(clock, level, query, &mut sent);
            } else {
                let op = machine_op::<M>(&rng.lend(|rng| self.workload.command(rng)));
                caller.call(clock, Op::Apply(op), &mut sent);
            }
        }
        self.send(number, &mut sent)?;
        self.sent = sent;
        Ok(())
    }

    /// What a client sends leaves for the node that it is connected to.
    fn send(&mut self, number: usize, sent: &mut Vec<Sent>) -> Judged {
        for Sent { bytes, new } in sent.drain(..) {
            let mut again = false;
            match new {
                New::Command(command) => {
                    self.judge(&Event::Requested { command: &command })?;
                    self.history.command(number, self.events, &command);
                    let retried = self.plan.workload.retried;
                    if !self.calm && self.streams.client.happens(retried) {
                        self.callers[number].copied.insert(command.cid);
                        again = true;
                    }
                }
                New::Read { id, level } => {
                    let over = self.callers[number].line(None);
                    self.judge(&Event::ReadBegins { over, id, level })?;
                    match level {
                        Level::Local => self.marks.add("local read"),
                        Level::Lease => self.marks.add("lease read"),
                        Level::Linearizable => {}
                    }
                    if level != Level::Local {
                        self.history.read(number, self.events, id);
                    }
                }
                New::Again => self.marks.add("command asked for again"),
            }
            let Wire::Connected { conn, to, life } = self.callers[number].wire else { continue };
            let port = self.callers[number].port(conn);
            if again {
                let places = self.processes.len();
                let to = self.processes[self.streams.client.usize(0..places)].id;
                let at = self.now + self.wires.latency(&mut self.streams) * 2;
                let asked = self.asks(number, to, &bytes);
                let parcel = Parcel::Ask { port, bytes: bytes.clone(), number: asked };
                self.queue.push(at, Happening::Arrives { to, life: 0, parcel });
            }
            let at = self.now + self.wires.latency(&mut self.streams);
            let asked = self.asks(number, to, &bytes);
            let parcel = Parcel::Ask { port, bytes, number: asked };
            self.queue.push(at, Happening::Arrives { to, life, parcel });
        }
        Ok(())
    }

    /// A number for what a client asks.
    pub(super) fn asks(&mut self, client: usize, to: NodeId, bytes: &[u8]) -> u64 {
        self.next_parcel += 1;
        if self.trace.is_recorded()
            && let Ok(ask) = Ask::take(bytes)
        {
            let (from, to) = (Party::Client(client), Party::Node(to));
            let (number, content) = (self.next_parcel, Content::Ask(&ask));
            self.trace.see(self.now, Seen::Sends { number, from, to, content });
        }
        self.next_parcel
    }

    /// Something arrives at a client.
    pub(super) fn told(&mut self, number: usize, conn: u64, said: Said) -> Judged {
        let clock = self.clock();
        let Some(caller) = self.callers.get_mut(number) else { return Ok(()) };
        match said {
            Said::Welcome { to, life, slot_out } => {
                let waits = matches!(caller.wire, Wire::Connecting { conn: c, .. } if c == conn);
                if !waits {
                    return Ok(());
                }
                caller.wire = Wire::Connected { conn, to, life };
                caller.heard = self.now;
                let mut sent = std::mem::take(&mut self.sent);
                caller.welcomed(clock, slot_out, &mut sent);
                self.send(number, &mut sent)?;
                self.sent = sent;
                self.ask(number)
            }
            Said::Closed => {
                if caller.is_on(conn) {
                    caller.wire = Wire::None;
                }
                Ok(())
            }
            Said::Bytes { by, number: parcel, bytes } => {
                if !caller.is_on(conn) {
                    self.trace.see(self.now, Seen::Loses(parcel, "the client has gone elsewhere"));
                    return Ok(());
                }
                self.trace.see(self.now, Seen::Looks(parcel));
                let Ok(tell) = Tell::take(&bytes) else { return Ok(()) };
                if self.callers[number].calls.is_turned_away(&tell) {
                    self.leave(number);
                    return Ok(());
                }
                let born = self.born(number);
                let settled = self.callers[number].told(&tell, born);
                if !settled.is_empty() {
                    self.callers[number].heard = self.now;
                }
                let answer = match tell {
                    Tell::Answer { id, answer } => {
                        if !settled.is_empty() {
                            self.history.answered(number, id, self.events, answer);
                        }
                        self.workload.applied(answer)
                    }
                    Tell::Done { .. }
                    | Tell::Refused { .. }
                    | Tell::Expired { .. }
                    | Tell::ReadRefused { .. }
                    | Tell::Report { .. }
                    | Tell::Leader { .. }
                    | Tell::Members { .. } => None,
                };
                self.settled(number, settled, answer, Some(by))?;
                if self.plan.workload.think < 1000 { self.ask(number) } else { Ok(()) }
            }
        }
    }

    /// How far the node is that a client is connected to.
    fn born(&self, number: usize) -> Slot {
        let Wire::Connected { to, life, .. } = self.callers[number].wire else {
            return Slot::FIRST;
        };
        let place = self.running(to, life);
        let up = place.and_then(|place| self.processes[place].up.as_ref());
        up.map_or(Slot::FIRST, |up| up.engine.slot_out())
    }

    /// Requests that a client need not wait for any more.
    fn settled(
        &mut self,
        number: usize,
        settled: Vec<(Waiter, Outcome)>,
        applied: Option<u64>,
        by: Option<NodeId>,
    ) -> Judged {
        // What nobody tells just now may have come over another connection.
        let over = match by {
            Some(_) => self.callers[number].line(by),
            None => Line { client: number as u64, conn: 0 },
        };
        for (waiter, outcome) in settled {
            let answered = matches!(outcome, Outcome::Done(_) | Outcome::Answer(_));
            self.answered += u64::from(answered && !self.calm);
            let cid = match waiter {
                Waiter::Command(cid) => cid,
                Waiter::Read => {
                    if matches!(outcome, Outcome::Failed(_)) {
                        self.is_turned_away(number);
                    }
                    if let (Outcome::Answer(_), Some(applied)) = (&outcome, applied) {
                        self.judge(&Event::ReadSeen { over, applied })?;
                    }
                    continue;
                }
            };
            let client = self.callers[number].session_of(cid);
            match outcome {
                Outcome::Done(reply) => {
                    if let Some(client) = client {
                        let token = self.token(number, &reply);
                        self.judge(&Event::Answered { client, cid, over, token })?;
                        self.history.done(client, cid, self.events, &reply);
                    }
                    if number >= self.callers.len() - OPERATORS {
                        self.reconfigured(&reply);
                    }
                }
                Outcome::NotDone(_) => {
                    self.is_turned_away(number);
                    let copied = self.callers[number].copied.contains(&cid);
                    if let Some(client) = client.filter(|_| !copied) {
                        self.judge(&Event::NotDone { client, cid })?;
                        self.history.not_done(client, cid);
                    }
                }
                Outcome::Unknown(cid) => {
                    self.marks.add("unknown outcome resolved");
                    self.callers[number].unresolved.push(cid);
                }
                Outcome::Expired => self.callers[number].has_expired(cid)?,
                Outcome::Answer(_) | Outcome::Report(_) | Outcome::Failed(_) => {}
            }
        }
        Ok(())
    }

    /// A program that should have ended asks for something in a session that its client has left
    /// behind, or that has expired.
    pub(super) fn asks_as_before(&mut self, number: usize, to: NodeId) -> Judged {
        if number >= self.callers.len() - OPERATORS {
            return Ok(());
        }
        let rng = &mut self.streams.client;
        let which = rng.give(u64::MAX, |rng| rng.usize(..) as u64);
        let which = usize::try_from(which).unwrap_or(0);
        let op = machine_op::<M>(&rng.lend(|rng| self.workload.command(rng)));
        let Some((port, command)) = self.callers[number].former(which, Op::Apply(op)) else {
            return Ok(());
        };
        self.judge(&Event::Requested { command: &command })?;
        self.history.command(number, self.events, &command);
        self.former.insert(port.0, command.client);
        let mut bytes = Vec::new();
        Ask::Command(command).put(&mut bytes);
        let at = self.now + self.wires.latency(&mut self.streams);
        let parcel = Parcel::Ask { port, number: self.asks(number, to, &bytes), bytes };
        self.queue.push(at, Happening::Arrives { to, life: 0, parcel });
        Ok(())
    }

    /// The fencing token in a reply to a client, not to an operator.
    fn token(&self, number: usize, reply: &[u8]) -> Option<u64> {
        let client = number < self.callers.len() - OPERATORS;
        client.then(|| self.workload.token(reply)).flatten()
    }

    fn reconfigured(&mut self, reply: &[u8]) {
        match Reconfigured::from_reply(&reply.into()) {
            Some(Reconfigured::Effective { epoch, from }) => {
                self.note(|| format!("epoch {epoch} begins at slot {from}"));
            }
            Some(Reconfigured::Refused { .. }) => self.marks.add("reconfiguration refused"),
            None => {}
        }
    }

    /// All callers have been told what they wanted to know.
    pub(super) fn all_answered(&self) -> bool {
        self.callers.iter().all(Caller::is_done)
    }

    /// One more command of some client: what was decided last, nobody may have heard of.
    pub(super) fn ask_last(&mut self) {
        self.callers[0].left += 1;
        let command = self.streams.client.lend(|rng| self.workload.command(rng));
        let op = Op::Apply(machine_op::<M>(&command));
        self.callers[0].left -= 1;
        self.callers[0].errand = Some(op);
    }

    /// A node that may be asked.
    pub(super) fn some_node(&mut self) -> NodeId {
        let places = self.processes.len();
        self.processes[self.streams.operator.usize(0..places)].id
    }
}

/// How fresh a client wants the answer to a read to be.
fn level(load: &Load, rng: &mut Stream) -> Level {
    let level = rng.give(2, |rng| match rng.u32(0..1000) {
        drawn if drawn < load.leased => 1,
        drawn if drawn >= 1000 - load.local.min(1000) => 2,
        _ => 0,
    });
    match level {
        0 => Level::Linearizable,
        1 => Level::Lease,
        _ => Level::Local,
    }
}
