//! What a process does with all that has arrived, in a turn.

use std::time::Duration;

use synod::{
    Machine,
    engine::{Host, Port},
    protocol::{Ask, Manage, Report, Tell},
};
use synod_paxos::{NodeId, wire};

use super::{
    guest::Guest,
    process::{Input, Letter, Line, Output, Parcel, Up},
};

impl<M: Machine> Up<M> {
    /// Looks at everything, and does what it is time for; whether it is time for anything.
    pub(super) fn does_all(&mut self, clock: Duration) -> bool {
        while let Some(input) = self.inbox.pop_front() {
            self.takes(clock, input);
        }
        let ticked = clock >= self.engine.deadline();
        if ticked {
            self.engine.tick(clock, &mut self.io);
        }
        self.engine.flush(clock, &mut self.io);
        ticked
    }

    /// Looks at one thing.
    fn takes(&mut self, clock: Duration, input: Input<Guest<M>>) {
        match input {
            Input::Synced(count) => self.engine.synced(clock, count),
            Input::DiskFull(full) => self.engine.disk_full(full),
            Input::Finished(finished) => self.engine.finished(clock, finished, &mut self.io),
            Input::Save => drop(self.engine.save(&mut self.io)),
            Input::Parcel(parcel) => self.receives(clock, parcel),
        }
    }

    /// Closes the connection of whoever says what cannot be read. If it can be, though it is not
    /// what was meant, nobody could tell: then it is as if nothing had come.
    fn refuses(&mut self, clock: Duration, from: NodeId, bytes: &[u8]) {
        if let Err(error) = wire::decode_message(bytes) {
            self.engine.lost(clock, from);
            self.io.refused.push((from, error));
        }
    }

    /// Does what an operator asks for, as in production.
    fn manages(&mut self, port: Port, id: u64, what: Manage) {
        let report = match what {
            Manage::HandOver(to) => Report::of_hand_over(self.engine.hand_over(to.map(NodeId))),
            Manage::Snapshot => Report::of_snapshot(self.engine.save(&mut self.io)),
            Manage::Status | Manage::Genesis => return, // What engines do not know.
        };
        self.io.tell(port, &Tell::Report { id, report });
    }

    fn receives(&mut self, clock: Duration, parcel: Parcel) {
        match parcel {
            Parcel::Message { from, incarnation, sequence, message, number: _ } => {
                if !self.engine.still(from, incarnation, sequence) {
                    return;
                }
                let message = match message {
                    Letter::Plain(message) => message,
                    Letter::Garbled(bytes) => return self.refuses(clock, from, &bytes),
                    Letter::Bytes(bytes) => match wire::decode_message(&bytes) {
                        Ok(message) => message,
                        Err(error) => panic!("what was sent cannot be read: {error}"),
                    },
                };
                self.engine.message(clock, from, message);
            }
            Parcel::Hello { from, life, dial, hello } => self.greeted((from, life), dial, &hello),
            Parcel::Answer { from, life, dial, answer } => {
                self.answered((from, life), dial, &answer);
            }
            Parcel::Closed(peer) => {
                self.lines.insert(peer, Line::Idle);
                self.engine.lost(clock, peer);
            }
            Parcel::Connect { client, conn } => {
                self.io.outputs.push(Output::Welcome { client, conn });
            }
            Parcel::Gone { port } => {
                if let Some(session) = self.sessions.remove(&port.0) {
                    self.engine.unbind(session, port);
                }
            }
            Parcel::Ask { port, bytes, number: _ } => match Ask::take(&bytes) {
                Ok(Ask::Command(command)) => {
                    // As in production: a connection has one session, the last that it asked in.
                    let before = self.sessions.insert(port.0, command.client);
                    if let Some(before) = before.filter(|before| *before != command.client) {
                        self.engine.unbind(before, port);
                    }
                    self.engine.command(port, command, &mut self.io);
                }
                Ok(Ask::Read { id, level, query }) => {
                    self.engine.read(clock, port, id, level, query, &mut self.io);
                }
                Ok(Ask::Manage { id, what }) => self.manages(port, id, what),
                Err(error) => panic!("what a client asks cannot be read: {error}"),
            },
        }
    }
}
