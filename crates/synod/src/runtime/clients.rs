//! The clients in the node's own process.

use std::{collections::HashMap, time::Duration};

use futures_channel::oneshot;
use synod_paxos::{ClientId, Slot};

use super::{Asked, io::LOCAL};
use crate::{
    client::calls::{Calls, Outcome, Request},
    engine::Port,
    protocol::Tell,
};

/// How long a local client waits before it asks again: an answer is lost only if the replica was
/// overtaken by a snapshot that held the command.
const PATIENCE: Duration = Duration::from_millis(500);

/// The clients, by number.
pub(super) struct Clients {
    by_number: HashMap<u64, Local>,
    next_tick: Duration,
}

struct Local {
    calls: Calls<oneshot::Sender<Outcome>>,
    /// Its session has expired, in the middle of something.
    expired: bool,
}

impl Clients {
    pub(super) fn new() -> Self {
        Self { by_number: HashMap::new(), next_tick: Duration::ZERO }
    }

    /// Takes a request on; what is to be done for it goes into `asks`.
    pub(super) fn request(
        &mut self,
        now: Duration,
        client: u64,
        (request, within): (Request, Duration),
        waiter: oneshot::Sender<Outcome>,
        born: Slot,
        asks: &mut Vec<Asked>,
    ) {
        let local = self.by_number.entry(client).or_insert_with(|| Local {
            calls: Calls::new(new_session(born), PATIENCE),
            expired: false,
        });
        local.calls.request(now, request, within, waiter, |ask| {
            asks.push(Asked::from(ask));
            true
        });
        local.deliver();
    }

    pub(super) fn forget(&mut self, client: u64, cid: u64) {
        if let Some(local) = self.by_number.get_mut(&client) {
            local.calls.forget(cid);
        }
    }

    /// A client has been dropped. Returns its session.
    pub(super) fn leave(&mut self, client: u64) -> Option<ClientId> {
        self.by_number.remove(&client).map(|local| local.calls.id())
    }

    pub(super) fn tell(&mut self, port: Port, tell: &Tell<'_>) {
        let Some(local) = self.by_number.get_mut(&(port.0 - LOCAL)) else { return };
        if let Tell::Expired { cid } = *tell {
            local.expired |= local.calls.has(cid);
        }
        local.calls.told(tell);
        local.deliver();
    }

    /// Asks again what has waited for long; gives up what has waited for too long; begins new
    /// sessions where one has expired.
    pub(super) fn tick(&mut self, now: Duration, born: Slot, asks: &mut Vec<(u64, Asked)>) {
        if now < self.next_tick {
            return;
        }
        self.next_tick = now + PATIENCE / 4;
        for (&number, local) in &mut self.by_number {
            if std::mem::take(&mut local.expired) {
                local.calls.expired(new_session(born));
            }
            local.calls.tick(now, |ask| {
                asks.push((number, Asked::from(ask)));
                true
            });
            local.deliver();
        }
    }

    /// Nothing more will come.
    pub(super) fn stop(&mut self) {
        for local in self.by_number.values_mut() {
            local.calls.stop();
            local.deliver();
        }
    }
}

impl Local {
    fn deliver(&mut self) {
        for (waiter, outcome) in self.calls.settled() {
            drop(waiter.send(outcome)); // Whoever does not wait any more need not be told.
        }
    }
}

/// A session with a number that nobody else has drawn.
pub(crate) fn new_session(born: Slot) -> ClientId {
    ClientId { born, number: random() }
}

/// A number from the operating system.
pub(crate) fn random() -> u64 {
    getrandom::u64().unwrap_or_else(|error| {
        // Without randomness, the time in nanoseconds and this process's number.
        tracing::warn!(%error, "no randomness: falling back on the time");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let nanos = now.map_or(0, |now| now.as_nanos());
        u64::try_from(nanos & u128::from(u64::MAX)).unwrap_or(0)
            ^ u64::from(std::process::id()) << 40
    })
}
