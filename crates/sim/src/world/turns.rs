//! The turns of a process: it looks at all that has arrived, then lets out what may leave.

use std::panic::{AssertUnwindSafe, catch_unwind};

use synod::{
    Machine,
    engine::Port,
    error::StopReason,
    protocol::{Refused, Report, Tell},
};
use synod_paxos::{Message, NodeId, Slot, message::LeaseMessage, wire};

use super::{
    Happening, Said, World,
    caller::Caller,
    guest::Guest,
    micros,
    process::{Input, Letter, Line, Output, Parcel},
};
use crate::{
    event::{Event, Judged, Line as On, Outcome, Violation},
    ghost::bit,
    properties::bounds::is_unrest,
    recorder::{Content, Party, Seen},
    streams::Stream,
};

impl<M: Machine> World<'_, M> {
    /// Something arrives at a machine. If nobody listens there, whoever has sent it finds out.
    pub(super) fn arrives(&mut self, to: NodeId, life: u64, parcel: Parcel) -> Judged {
        match self.running(to, life) {
            Some(place) => self.input(place, Input::Parcel(parcel)),
            None => {
                self.bounces(to, &parcel);
                Ok(())
            }
        }
    }

    fn bounces(&mut self, to: NodeId, parcel: &Parcel) {
        if let Some(number) = parcel.number() {
            self.trace.see(self.now, Seen::Loses(number, "nobody there"));
        }
        match parcel {
            Parcel::Message { from, .. } | Parcel::Hello { from, .. } => {
                let at = self.now + self.wires.latency(&mut self.streams);
                let life = self.process(*from).map_or(0, |process| process.life);
                let parcel = Parcel::Closed(to);
                self.queue.push(at, Happening::Arrives { to: *from, life, parcel });
            }
            Parcel::Ask { port, .. } => self.closed_for(*port),
            Parcel::Answer { .. }
            | Parcel::Closed(_)
            | Parcel::Connect { .. }
            | Parcel::Gone { .. } => {}
        }
    }

    pub(super) fn closed_for(&mut self, port: Port) {
        let (client, conn) = Caller::client_of(port);
        let at = self.now + self.wires.latency(&mut self.streams);
        self.queue.push(at, Happening::Told { client, conn, said: Said::Closed });
    }

    /// Puts something before a process, which looks at it in its next turn.
    pub(super) fn input(&mut self, place: usize, input: Input<Guest<M>>) -> Judged {
        let now = self.now;
        let process = &mut self.processes[place];
        let Some(up) = &mut process.up else { return Ok(()) };
        up.inbox.push_back(input);
        if process.paused > now || up.turn_at.is_some() {
            return Ok(());
        }
        let turn = if process.sluggish.1 > now && !self.calm {
            process.sluggish.0
        } else {
            micros(self.plan.cluster.turn)
        };
        if turn == 0 {
            return self.turn(place);
        }
        up.turn_at = Some(now + turn);
        let (node, life) = (process.id, process.life);
        self.queue.push(now + turn, Happening::Turn { node, life });
        Ok(())
    }

    pub(super) fn turn_of(&mut self, node: NodeId, life: u64) -> Judged {
        match self.running(node, life) {
            Some(place) => self.turn(place),
            None => Ok(()),
        }
    }

    pub(super) fn tick(&mut self, node: NodeId, life: u64) -> Judged {
        let Some(place) = self.running(node, life) else { return Ok(()) };
        let now = self.now;
        match &mut self.processes[place].up {
            Some(up) if up.tick_at == Some(now) => {
                up.tick_at = None;
                self.turn(place)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// One turn.
    pub(super) fn turn(&mut self, place: usize) -> Judged {
        let now = self.now;
        self.mend(place);
        let process = &mut self.processes[place];
        let (clock, second) = (process.clock(now), process.is_second());
        let Some(up) = process.up.as_mut().filter(|_| process.paused <= now) else {
            return Ok(());
        };
        up.turn_at = None;
        self.trace.see(now, Seen::Turn(process.id));
        let (before, led) = (up.engine.slot_out(), up.engine.leads());
        for number in up.inbox.iter().filter_map(Input::number) {
            self.trace.see(now, Seen::Looks(number));
        }
        let ticked = match catch_unwind(AssertUnwindSafe(|| up.does_all(clock))) {
            Ok(ticked) => ticked,
            Err(panic) => return self.panicked(place, panic),
        };
        if !second {
            self.trace.remembers(now, process.id, |show| up.engine.variables(show));
        }
        let leads = up.engine.leads();
        if led != leads {
            self.marks.add(if leads { "elected" } else { "preempted" });
        }
        for record in up.io.appended.drain(..) {
            self.trace.note(now, || format!("{} writes {record}", process.id));
            if !second {
                self.ghost.append(process.id, record.clone());
            }
            up.batch.push(record);
        }
        self.performed(place, before)?;
        if leads && self.plan.cluster.lease > 0 {
            self.looks_at_leases()?;
        }
        self.lets_out(place, ticked)
    }

    /// Tells the properties which leaders would let reads be served now.
    fn looks_at_leases(&mut self) -> Judged {
        for process in &self.processes {
            let leads = |up: &&super::process::Up<M>| up.engine.leads();
            let Some(up) = process.up.as_ref().filter(leads) else { continue };
            if let Some(epoch) = up.engine.lease(process.clock(self.now)) {
                let event = Event::WouldServe { node: process.id, epoch };
                self.properties.judge(&event, &mut self.ghost)?;
            }
        }
        Ok(())
    }

    /// Carries out what a process has asked for.
    fn lets_out(&mut self, place: usize, ticked: bool) -> Judged {
        let process = &mut self.processes[place];
        let (node, life) = (process.id, process.life);
        let second = process.is_second();
        let Some(up) = &mut process.up else { return Ok(()) };
        let ballot = up.engine.acceptor().ballot_num();
        up.is_not_misled()?;
        if up.engine.is_behind() {
            self.marks.add("too much waits for a disk");
        }
        let jobs: Vec<_> = up.io.jobs.drain(..).collect();
        let refused = std::mem::take(&mut up.io.refused);
        let stop = up.io.stop.take();
        let slot_out = up.engine.slot_out();
        let mut outputs = std::mem::take(&mut up.io.outputs);
        if !second {
            self.properties.judge(&Event::Holds { node, ballot }, &mut self.ghost)?;
        }
        for output in outputs.drain(..) {
            self.leaves(place, slot_out, output)?;
            if self.processes[place].life != life || self.processes[place].up.is_none() {
                return Ok(()); // These were its last words.
            }
        }
        if let Some(up) = &mut self.processes[place].up {
            up.io.outputs = outputs;
        }
        for (peer, error) in refused {
            self.marks.add("garbled message refused");
            self.remark(node, || format!("closes its connection with {peer}: {error}"));
            self.breaks(peer, node);
        }
        if let Some(reason) = stop {
            return self.stopped(place, &reason);
        }
        for job in jobs {
            self.begin_work(place, job);
        }
        self.log(place, ticked);
        if ticked {
            self.look_after_lines(place)?;
        }
        self.tick_later(place);
        Ok(())
    }

    /// What has to be written is handed to the log, if somebody waits for it, or now and then.
    fn log(&mut self, place: usize, ticked: bool) {
        let process = &mut self.processes[place];
        let Some(up) = &mut process.up else { return };
        let wanted = up.engine.waits_for_disk() || ticked;
        if wanted && !up.batch.is_empty() && up.log.append(&mut up.batch) {
            self.sync_later(place);
        }
    }

    fn tick_later(&mut self, place: usize) {
        let now = self.now;
        let process = &self.processes[place];
        let Some(up) = &process.up else { return };
        let at = process.when(up.engine.deadline()).max(now + 1);
        if up.tick_at.is_some_and(|tick_at| tick_at <= at && tick_at > now) {
            return;
        }
        let (node, life) = (process.id, process.life);
        if let Some(up) = &mut self.processes[place].up {
            up.tick_at = Some(at);
        }
        self.queue.push(at, Happening::Tick { node, life });
    }

    fn leaves(&mut self, place: usize, slot_out: Slot, output: Output) -> Judged {
        let node = self.processes[place].id;
        match output {
            Output::Message(to, message) => self.transmit(place, slot_out, to, message),
            Output::Answer { to, life, dial, answer } => {
                let own = self.processes[place].life;
                let parcel = Parcel::Answer { from: node, life: own, dial, answer };
                self.carry(node, to, "answer", life, parcel);
                Ok(())
            }
            Output::Welcome { client, conn } => {
                let life = self.processes[place].life;
                let said = Said::Welcome { to: node, life, slot_out };
                let at = self.now + self.wires.latency(&mut self.streams);
                self.queue.push(at, Happening::Told { client, conn, said });
                Ok(())
            }
            Output::Tell(port, bytes) => self.tells(node, slot_out, port, bytes),
        }
    }

    /// A message leaves a process; it may be the last one.
    pub(super) fn transmit(
        &mut self,
        place: usize,
        slot_out: Slot,
        to: NodeId,
        message: Message,
    ) -> Judged {
        let process = &self.processes[place];
        let (from, kind) = (process.id, message.kind());
        let Some(up) = &process.up else { return Ok(()) };
        let (incarnation, sequence) = (up.engine.incarnation(), up.engine.sequence());
        let line = up.lines.get(&to).copied();
        let connected = matches!(line, Some(Line::Connected { .. }));
        if self.returned == Some(place) {
            let what = format!("{to} has let in {from}, and what that says is {message}");
            return if connected { Err(Violation::new("M4", what)) } else { Ok(()) };
        }
        self.trace.mix(self.now, u64::from(from.0) << 32 | u64::from(to.0) << 16 | fold(&message));
        self.trace.note(self.now, || format!("{from} -> {to} {message}"));
        self.next_parcel += 1;
        let number = self.next_parcel;
        let (sender, receiver) = (Party::Node(from), Party::Node(to));
        let content = Content::Message(&message);
        self.trace.see(self.now, Seen::Sends { number, from: sender, to: receiver, content });
        self.marks_message(&message);
        if is_unrest(from, &message, &self.ghost) {
            self.busy = self.now;
        }
        let mut bytes = Vec::new();
        if self.plan.cluster.wire {
            wire::encode_message(&message, &mut bytes);
        }
        let len = bytes.len();
        let event = Event::Sent { from, incarnation, message: &message, slot_out, bytes: len };
        self.judge(&event)?;
        let Some(Line::Connected { life }) = line else {
            self.trace.see(self.now, Seen::Loses(number, "no connection"));
            return Ok(());
        };
        let letter = if self.wires.garbles(from, self.now, &mut self.streams) {
            Letter::Garbled(garbled(&message, &mut self.streams.network))
        } else if len > 0 {
            Letter::Bytes(bytes)
        } else {
            Letter::Plain(message)
        };
        if (kind == "p1b" || kind == "p2b") && self.wires.holds(from, kind, self.now) {
            self.marks.add("vote held back");
        }
        let parcel = Parcel::Message { from, incarnation, sequence, message: letter, number };
        self.carry(from, to, kind, life, parcel);
        let last = &mut self.processes[place].last_words;
        if let Some((_, down)) = last.take_if(|(last, _)| last == kind) {
            let left = crate::plan::Left::Sectors;
            return self.crash(place, left, down);
        }
        Ok(())
    }

    fn marks_message(&mut self, message: &Message) {
        if matches!(message, Message::Lease(LeaseMessage::Granted { .. })) {
            self.marks.add("lease granted");
        } else if matches!(message, Message::P1b(p1b) if p1b.rest.is_some()) {
            self.marks.add("report in parts");
        } else if matches!(message, Message::SnapshotChunk(chunk) if chunk.offset > 0) {
            self.marks.add("snapshot in parts");
        }
    }

    /// Gives something to the network.
    pub(super) fn carry(&mut self, from: NodeId, to: NodeId, kind: &str, life: u64, what: Parcel) {
        let streams = &mut self.streams;
        let Some(at) = self.wires.arrival(self.now, (from, to), kind, streams) else {
            if let Some(number) = what.number() {
                self.trace.see(self.now, Seen::Loses(number, "by the network"));
            }
            return;
        };
        if matches!(what, Parcel::Message { .. })
            && let Some(again) = self.wires.second(at, streams)
        {
            // It may find another life of the receiver, as if it had waited somewhere.
            self.next_parcel += 1;
            let copy = self.next_parcel;
            let parcel = what.copy(copy);
            if let Some(number) = what.number() {
                self.trace.see(self.now, Seen::Doubles { number, copy });
            }
            self.queue.push(again, Happening::Arrives { to, life: 0, parcel });
        }
        self.queue.push(at, Happening::Arrives { to, life, parcel: what });
    }

    /// A process tells a client something.
    fn tells(&mut self, node: NodeId, slot_out: Slot, port: Port, bytes: Vec<u8>) -> Judged {
        let (number, conn) = Caller::client_of(port);
        let Some(caller) = self.callers.get(number) else { return Ok(()) };
        let current = caller.is_on(conn);
        let former = self.former.get(&port.0).copied();
        let session = |cid| former.or_else(|| caller.session_of(cid).filter(|_| current));
        let tell = Tell::take(&bytes);
        let tell = tell.map_err(|error| Violation::new("C2", format!("{node} says {error}")))?;
        self.trace.mix(self.now, u64::from(node.0) << 48 | port.0);
        self.trace.note(self.now, || format!("{node} -> client {number}.{conn} {tell:?}"));
        self.next_parcel += 1;
        let parcel = self.next_parcel;
        let (from, to) = (Party::Node(node), Party::Client(number));
        let content = Content::Tell(caller.session_told(&tell).filter(|_| current), &tell);
        self.trace.see(self.now, Seen::Sends { number: parcel, from, to, content });
        match tell {
            Tell::Done { cid, reply } => {
                let outcome = Outcome::Done(reply);
                if let Some(client) = session(cid) {
                    self.judge(&Event::Answers { node, client, cid, outcome, slot_out })?;
                }
            }
            Tell::Expired { cid } => {
                self.marks.add("session expired");
                let outcome = Outcome::Expired;
                if let Some(client) = session(cid) {
                    self.judge(&Event::Answers { node, client, cid, outcome, slot_out })?;
                }
                if former.is_some() {
                    self.marks.add("former session refused");
                }
            }
            // What is asked over another connection now is asked anew, perhaps by somebody else.
            Tell::Answer { .. } if !current => {}
            Tell::Answer { id, answer } => {
                self.marks.add("read answered");
                let applied = self.workload.applied(answer);
                let over = On { client: number as u64, conn };
                let event = Event::ReadAnswered { node, over, id, applied, slot_out };
                self.judge(&event)?;
            }
            Tell::Refused { why: Refused::Busy, .. }
            | Tell::ReadRefused { why: Refused::Busy, .. } => self.marks.add("refused as busy"),
            Tell::Report { report: Report::Agreed(heir), .. } => {
                self.marks.add(if heir.is_some() { "handed over" } else { "snapshot asked for" });
            }
            Tell::Refused { .. }
            | Tell::ReadRefused { .. }
            | Tell::Report { .. }
            | Tell::Leader { .. }
            | Tell::Members { .. } => {}
        }
        let said = Said::Bytes { by: node, number: parcel, bytes };
        let at = self.now + self.wires.latency(&mut self.streams);
        self.queue.push(at, Happening::Told { client: number, conn, said });
        Ok(())
    }

    /// A process stops by itself. That is right only where somebody has done something to its
    /// disk, or its disk has failed.
    fn stopped(&mut self, place: usize, reason: &StopReason) -> Judged {
        let process = &self.processes[place];
        let (node, tampered, second) = (process.id, process.tampered, process.is_second());
        self.remark(node, || format!("stops: {reason}"));
        let refused = matches!(reason, StopReason::Refused { .. } | StopReason::Wiped { .. });
        if !refused || !tampered {
            return Err(Violation::new("M4", format!("node {node} stops: {reason}")));
        }
        self.marks.add(if second { "second life refused" } else { "tampered node refused" });
        self.dies(place, reason.to_string());
        Ok(())
    }

    /// A node has stopped and does not come back.
    pub(super) fn dies(&mut self, place: usize, why: String) {
        self.ends(place, &why);
        self.processes[place].dead = Some(why);
        if !self.processes[place].is_second() {
            self.left_dead |= bit(self.processes[place].id);
        }
    }
}

/// A message that is spoiled: it ends too early, goes on too long, or one of its bytes is another.
fn garbled(message: &Message, rng: &mut Stream) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::encode_message(message, &mut bytes);
    let at = rng.usize(0..bytes.len());
    match rng.u32(0..4) {
        0 => bytes.truncate(at),
        1 => bytes.push(0),
        _ => bytes[at] = bytes[at].wrapping_add(1 + u8::try_from(rng.u32(0..255)).unwrap_or(0)),
    }
    bytes
}

/// What a message is, in a few bits.
fn fold(message: &Message) -> u64 {
    let kind = message
        .kind()
        .bytes()
        .fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let slot = message.slot().map_or(0, |slot| slot.0);
    let round = message.ballot().map_or(0, |ballot| ballot.round);
    kind << 24 ^ slot << 40 ^ round << 52
}
