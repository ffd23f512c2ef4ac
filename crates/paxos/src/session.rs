//! Exactly once: which commands have been performed, and with what result (sections 2.1 and 4.2).
//!
//! The paper finds a duplicate by looking through all decisions, which garbage collection makes
//! impossible (trap E20), and stays silent about it, so that a client whose response was lost
//! waits forever (E9). Here the table of sessions is a part of the replicated state. A client has
//! any number of commands in flight (E21); it says which replies it has, and those are dropped.

use alloc::{collections::VecDeque, vec::Vec};

use crate::{
    ring::low,
    types::{ClientId, Payload, Slot},
};

/// Most commands that one client may have in flight. A command further ahead is not taken.
pub const IN_FLIGHT_MAX: u64 = 1 << 14;

/// Most sessions, unless the owner of a replica says otherwise. All replicas of a cluster must
/// have the same limit.
pub const SESSIONS_MAX: usize = 1 << 16;

/// Something for each client, in the order of their names. Younger clients come later, so a new
/// one is usually added at the end; and often a client is asked for who was asked for before.
#[derive(Clone, Debug)]
pub(crate) struct Table<T> {
    entries: Vec<(ClientId, T)>,
    /// Where the client was who was asked for last.
    hint: usize,
}

impl<T> Table<T> {
    const fn new() -> Self {
        Self { entries: Vec::new(), hint: 0 }
    }

    /// Where `client` is, or would have to be.
    #[inline]
    fn find(&self, client: ClientId) -> Result<usize, usize> {
        match self.entries.get(self.hint) {
            Some((id, _)) if *id == client => Ok(self.hint),
            Some(_) | None => self.entries.binary_search_by_key(&client, |(id, _)| *id),
        }
    }

    #[inline]
    fn get(&self, client: ClientId) -> Option<&T> {
        self.find(client).ok().map(|place| &self.entries[place].1)
    }

    /// Adds a client who is not there.
    pub(crate) fn insert(&mut self, client: ClientId, value: T) {
        if let Err(place) = self.find(client) {
            self.entries.insert(place, (client, value));
        }
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &(ClientId, T)> {
        self.entries.iter()
    }
}

impl<T: PartialEq> PartialEq for Table<T> {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl<T: Eq> Eq for Table<T> {}

/// One client's commands. Replicated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Session {
    /// Everything below has been answered.
    pub(crate) acked: u64,
    /// The replies from `acked` on; `None` where a command has not been performed.
    pub(crate) replies: VecDeque<Option<Payload>>,
    /// The slot of the latest command; decides who is evicted.
    pub(crate) used: Slot,
}

/// What a session says about a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seen<'a> {
    /// Not performed so far.
    Never,
    /// Performed with this result.
    Done(&'a Payload),
    /// Performed, and the client has said that it knows the result.
    Acked,
    /// Too far ahead to be kept in mind.
    TooFar,
}

impl Session {
    /// What became of command `cid`.
    #[inline]
    pub(crate) fn seen(&self, cid: u64) -> Seen<'_> {
        let Some(place) = cid.checked_sub(self.acked) else { return Seen::Acked };
        if place >= IN_FLIGHT_MAX {
            return Seen::TooFar;
        }
        let reply = self.replies.get(low(place));
        reply.and_then(Option::as_ref).map_or(Seen::Never, Seen::Done)
    }

    /// Forgets the replies below `acked`.
    #[inline]
    pub(crate) fn ack(&mut self, acked: u64) {
        if acked > self.acked {
            skip(&mut self.replies, acked - self.acked);
            self.acked = acked;
        }
    }

    /// Keeps the reply to a command that was [never](Seen::Never) seen.
    #[inline]
    pub(crate) fn keep(&mut self, cid: u64, reply: Payload) {
        let place = low(cid - self.acked);
        if place == self.replies.len() {
            self.replies.push_back(Some(reply));
            return;
        }
        if place > self.replies.len() {
            self.replies.resize(place + 1, None);
        }
        self.replies[place] = Some(reply);
    }
}

/// Drops the first `n` items, or as many as there are.
#[inline]
fn skip<T>(items: &mut VecDeque<T>, n: u64) {
    if n == 1 {
        drop(items.pop_front());
    } else if n >= items.len() as u64 {
        items.clear();
    } else {
        items.drain(..low(n));
    }
}

/// All sessions. A deterministic function of the decided prefix.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sessions {
    pub(crate) table: Table<Session>,
    /// No evicted session was used after this slot; so a client born later is new.
    pub(crate) horizon: Slot,
    max: usize,
}

impl Sessions {
    pub(crate) fn new(max: usize) -> Self {
        Self { table: Table::new(), horizon: Slot(0), max: max.max(1) }
    }

    /// Whether `client` has a session.
    pub(crate) fn knows(&self, client: ClientId) -> bool {
        self.table.get(client).is_some()
    }

    /// The most sessions at one time.
    pub(crate) fn limit(&self) -> usize {
        self.max
    }

    /// The session of `client`, for a command decided in `slot`. `None` if it has expired.
    #[inline]
    pub(crate) fn open(&mut self, client: ClientId, slot: Slot) -> Option<&mut Session> {
        let place = match self.table.find(client) {
            Ok(place) => place,
            Err(_) => self.create(client, slot)?,
        };
        self.table.hint = place;
        let (_, session) = &mut self.table.entries[place];
        session.used = slot;
        Some(session)
    }

    fn create(&mut self, client: ClientId, slot: Slot) -> Option<usize> {
        // Born after this slot would be a lie, and could outlive an eviction.
        if client.born <= self.horizon || client.born > slot {
            return None;
        }
        if self.table.entries.len() >= self.max {
            self.evict();
        }
        self.table.insert(client, Session { acked: 1, replies: VecDeque::new(), used: slot });
        self.table.find(client).ok()
    }

    /// What became of command `cid`, without opening a session. `None` if the session expired.
    #[inline]
    pub(crate) fn seen(&self, client: ClientId, cid: u64) -> Option<Seen<'_>> {
        match self.table.get(client) {
            Some(session) => Some(session.seen(cid)),
            None if client.born <= self.horizon => None,
            None => Some(Seen::Never),
        }
    }

    /// Evicts the eighth of the sessions that was not used for longest. Every replica evicts the
    /// same ones, for the slots of their commands decide, and no clock.
    fn evict(&mut self) {
        let mut oldest: Vec<_> = self.table.iter().map(|(id, s)| (s.used, *id)).collect();
        oldest.sort_unstable();
        oldest.truncate(self.max / 8 + 1);
        if let Some(&(used, last)) = oldest.last() {
            self.table.entries.retain(|(id, s)| (s.used, *id) > (used, last));
            self.horizon = self.horizon.max(used);
        }
    }
}

/// The commands that this replica has taken from clients. Local, unlike the sessions: it keeps a
/// retransmission from being proposed while its first copy is under way (E19), and says whom to
/// answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Admitted {
    clients: Table<InFlight>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct InFlight {
    acked: u64,
    taken: VecDeque<bool>,
}

impl Admitted {
    pub(crate) const fn new() -> Self {
        Self { clients: Table::new() }
    }

    /// Takes a command, unless it has been taken already or is too far ahead.
    #[inline]
    pub(crate) fn admit(&mut self, client: ClientId, cid: u64, acked: u64) -> bool {
        let place = self.clients.find(client).unwrap_or_else(|place| {
            let new = InFlight { acked, taken: VecDeque::new() };
            self.clients.entries.insert(place, (client, new));
            place
        });
        self.clients.hint = place;
        let flight = &mut self.clients.entries[place].1;
        if acked > flight.acked {
            skip(&mut flight.taken, acked - flight.acked);
            flight.acked = acked;
        }
        let Some(ahead) = cid.checked_sub(flight.acked) else { return false };
        if ahead >= IN_FLIGHT_MAX {
            return false;
        }
        let ahead = low(ahead);
        if ahead == flight.taken.len() {
            flight.taken.push_back(true);
            return true;
        }
        if ahead > flight.taken.len() {
            flight.taken.resize(ahead + 1, false);
        }
        !core::mem::replace(&mut flight.taken[ahead], true)
    }

    /// Whether a command has been taken.
    pub(crate) fn has(&self, client: ClientId, cid: u64) -> bool {
        self.clients.get(client).is_some_and(|flight| {
            let ahead = cid.checked_sub(flight.acked);
            ahead.is_none_or(|ahead| flight.taken.get(low(ahead)).is_some_and(|taken| *taken))
        })
    }

    /// Whether `client` has sent commands here, and is to be answered.
    #[inline]
    pub(crate) fn knows(&self, client: ClientId) -> bool {
        self.clients.get(client).is_some()
    }

    /// Forgets a client whose session has expired.
    pub(crate) fn forget(&mut self, client: ClientId) {
        self.clients.entries.retain(|(id, _)| *id != client);
    }

    /// Forgets the clients for whom `keep` says no.
    pub(crate) fn retain(&mut self, keep: impl Fn(ClientId) -> bool) {
        self.clients.entries.retain(|(id, _)| keep(*id));
    }

    /// How many clients have sent commands here.
    pub(crate) fn len(&self) -> usize {
        self.clients.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: Slot = Slot(9);

    fn client(born: u64, number: u64) -> ClientId {
        ClientId { born: Slot(born), number }
    }

    fn perform(sessions: &mut Sessions, client: ClientId, cid: u64, slot: u64) -> bool {
        let Some(session) = sessions.open(client, Slot(slot)) else { return false };
        let new = session.seen(cid) == Seen::Never;
        if new {
            session.keep(cid, Payload::EMPTY);
        }
        new
    }

    #[test]
    fn a_command_is_new_once_in_whatever_order_its_client_pipelines() {
        let mut sessions = Sessions::new(8);
        let c = client(1, 1);
        assert!(perform(&mut sessions, c, 2, 9));
        assert!(perform(&mut sessions, c, 1, 9));
        assert!(!perform(&mut sessions, c, 2, 9));
        sessions.open(c, SLOT).unwrap().ack(3);
        assert_eq!(sessions.seen(c, 2), Some(Seen::Acked));
        assert_eq!(sessions.seen(c, 3), Some(Seen::Never));
        assert_eq!(sessions.seen(c, 3 + IN_FLIGHT_MAX), Some(Seen::TooFar));
    }

    #[test]
    fn what_a_client_no_longer_asks_for_is_no_longer_in_its_window() {
        let (mut admitted, c) = (Admitted::new(), client(1, 1));
        assert!(admitted.admit(c, 1, 1) && admitted.admit(c, 2, 1) && admitted.admit(c, 3, 1));
        assert!(!admitted.admit(c, 3, 1), "it was taken");
        assert!(!admitted.admit(c, 1 + IN_FLIGHT_MAX, 1), "it is too far ahead");
        // The first two have been answered.
        assert!(!admitted.admit(c, 3, 3), "it was taken, whatever has been answered since");
        assert!(admitted.admit(c, 4, 3) && !admitted.admit(c, 4, 3));
        assert!(!admitted.admit(c, 2, 3), "it has been answered");
        assert!(admitted.admit(c, 2 + IN_FLIGHT_MAX, 3));
        // An old copy takes nothing back.
        assert!(!admitted.admit(c, 4, 1) && admitted.admit(c, 5, 1));
    }

    #[test]
    fn an_evicted_session_expires_and_is_not_taken_for_a_new_one() {
        let mut sessions = Sessions::new(2);
        assert!(perform(&mut sessions, client(1, 1), 1, 10));
        assert!(perform(&mut sessions, client(1, 2), 1, 11));
        assert!(perform(&mut sessions, client(12, 3), 1, 12));
        // The first was evicted: its command must not be performed again.
        assert!(!perform(&mut sessions, client(1, 1), 1, 13));
        assert_eq!(sessions.seen(client(1, 1), 1), None);
        // Nor may a client say it was born before the eviction, or in the future.
        assert!(!perform(&mut sessions, client(10, 4), 1, 13));
        assert!(!perform(&mut sessions, client(14, 5), 1, 13));
        assert!(perform(&mut sessions, client(13, 6), 1, 13));
    }

    #[test]
    fn of_sessions_that_are_too_many_an_eighth_and_one_are_evicted() {
        let mut sessions = Sessions::new(16);
        for number in 1..=16 {
            assert!(perform(&mut sessions, client(1, number), 1, 10 + number));
        }
        assert!(perform(&mut sessions, client(1, 1), 2, 27), "it is used once more");
        assert!(perform(&mut sessions, client(20, 17), 1, 28));
        let known: Vec<u64> =
            (1..=17).filter(|number| sessions.knows(client(1, *number))).collect();
        assert_eq!(known, [1].into_iter().chain(5..=16).collect::<Vec<_>>());
        assert_eq!(sessions.horizon, Slot(14));
    }

    #[test]
    fn a_retransmission_is_not_admitted_twice() {
        let mut admitted = Admitted::new();
        let c = client(1, 1);
        assert!(admitted.admit(c, 2, 1));
        assert!(admitted.admit(c, 1, 1));
        assert!(!admitted.admit(c, 2, 1));
        assert!(!admitted.admit(c, 1, 3));
        assert!(admitted.admit(c, 3, 3));
        assert!(!admitted.admit(c, 3 + IN_FLIGHT_MAX, 3));
    }

    #[test]
    fn sessions_are_equal_whichever_was_looked_up_last() {
        let (mut one, mut other) = (Sessions::new(8), Sessions::new(8));
        for number in [1, 2] {
            assert!(perform(&mut one, client(1, number), 1, 9));
            assert!(perform(&mut other, client(1, 3 - number), 1, 9));
        }
        assert_eq!(one, other);
        assert!(perform(&mut one, client(1, 1), 2, 9));
        assert_ne!(one, other);
    }
}
