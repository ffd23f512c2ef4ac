//! What the protocol asks for, carried out.

use std::collections::VecDeque;

use synod_paxos::{Effect, Outcome, Response};

use super::{Engine, Host, Job, OWN, Port};
use crate::{
    machine::Machine,
    protocol::{Refused, Tell},
};

impl<M: Machine> Engine<M> {
    /// Carries out effects until there are none.
    pub(super) fn let_out(&mut self, host: &mut impl Host<M>) {
        loop {
            self.release(host);
            if self.out.is_empty() {
                return;
            }
            let mut effects = std::mem::take(&mut self.effects);
            self.out.swap(&mut effects);
            for effect in effects.drain(..) {
                self.carry_out(effect, host);
            }
            self.effects = effects;
        }
    }

    #[inline]
    fn carry_out(&mut self, effect: Effect, host: &mut impl Host<M>) {
        match effect {
            Effect::Persist(record) => {
                self.appended += 1;
                if !record.can_wait() {
                    self.awaited = self.appended;
                }
                self.saving.note(&record);
                self.backlog.note(self.appended, &record);
                host.append(record);
            }
            Effect::Send(to, message) => host.send(to, &message),
            // What is left out is lost, as on any network.
            Effect::SendWhenDurable(..) if self.is_behind() => host.metrics().dropped += 1,
            Effect::SendWhenDurable(to, message) => {
                self.backlog.hold();
                self.held.push_back((self.awaited, to, message));
            }
            Effect::Respond(response) => self.respond(response, host),
            Effect::ReadReady(number) => {
                if let Some(waiting) = self.reads.take(number) {
                    self.answer(waiting, host);
                }
            }
            Effect::Retired(config) => {
                tracing::info!(epoch = config.epoch, "configuration retired");
            }
            Effect::ServeSnapshot { to, slot, offset } => {
                self.serve((to, slot, offset), host);
            }
            Effect::KeepChunk { chunk, complete } => {
                let restore = complete.then(|| self.node.replica().state().machine.restore());
                host.start(Job::Keep { chunk, restore });
            }
        }
    }

    /// Sends what has waited for the disk long enough.
    fn release(&mut self, host: &mut impl Host<M>) {
        while self.held.front().is_some_and(|(after, ..)| *after <= self.synced) {
            let Some((_, to, message)) = self.held.pop_front() else { return };
            if to == self.node.id() {
                self.node.step(self.now, to, message, &mut self.out);
            } else {
                host.send(to, &message);
            }
        }
    }

    #[inline]
    fn respond(&mut self, response: Response, host: &mut impl Host<M>) {
        let Response { client, cid, outcome } = response;
        let port = match self.recent {
            Some((recent, port)) if recent == client => port,
            Some(_) | None => match self.ports.get(&client) {
                Some(&port) => {
                    self.recent = Some((client, port));
                    port
                }
                None => return, // It has left; it will ask again, here or elsewhere.
            },
        };
        if port == OWN {
            self.arrivals.respond(cid, &outcome, self.node.replica().slot_out());
            if self.arrivals.session.id() != client {
                self.unbind(client, OWN);
            }
            return;
        }
        host.metrics().responses += 1;
        match outcome {
            Outcome::Done(reply) => host.tell(port, &Tell::Done { cid, reply: reply.as_slice() }),
            Outcome::Busy => {
                host.metrics().refused += 1;
                host.tell(port, &Tell::Refused { cid, why: Refused::Busy });
            }
            Outcome::Expired => host.tell(port, &Tell::Expired { cid }),
        }
    }

    pub(super) fn answer(&mut self, waiting: Waiting, host: &mut impl Host<M>) {
        let Waiting { port, id, query } = waiting;
        self.answer.clear();
        self.node.replica().state().machine.query(&query, &mut self.answer);
        host.metrics().reads += 1;
        host.tell(port, &Tell::Answer { id, answer: &self.answer });
    }
}

/// The reads that wait, by number.
#[derive(Default)]
pub(super) struct Reads {
    pub(super) first: u64,
    pub(super) waiting: VecDeque<Option<Waiting>>,
}

pub(super) struct Waiting {
    pub(super) port: Port,
    pub(super) id: u64,
    pub(super) query: Vec<u8>,
}

impl Reads {
    fn take(&mut self, number: u64) -> Option<Waiting> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let waiting = self.waiting.get_mut(place)?.take();
        while let Some(None) = self.waiting.front() {
            self.waiting.pop_front();
            self.first += 1;
        }
        waiting
    }
}
