//! A session over TCP: which node to talk to, and what to do when it does not answer.
//!
//! One connection is in use at a time, to the leader where that is known: one hop less. When it
//! breaks, or nothing comes for too long, another node is asked, and everything that is on its way
//! is sent again: the nodes find duplicates.

use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};
use synod_paxos::{NodeId, Slot};

use super::calls::{Calls, Outcome, Request};
use crate::{
    error::ConnectError,
    protocol::{Ask, Tell},
    runtime::clients::new_session,
    transport::{
        backoff::Backoff,
        connection::{Connection, ConnectionError},
        frame::{FRAME_MAX, put_frame},
        handshake::{Answer, Caller, Hello, Refusal, Welcome},
        names,
        tls::Tls,
    },
};

/// How long to wait for an answer before asking once more.
const PATIENCE: Duration = Duration::from_millis(1000);
/// How long a node may say nothing while something is asked of it; twice as long each time that it
/// was in vain to ask another one.
const SILENCE: Duration = Duration::from_millis(600);
/// The longest silence that is borne.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long a node may take to let us in.
const GREETING: Duration = Duration::from_secs(2);
/// How often it is looked whether something is late.
const TICK: Duration = Duration::from_millis(100);
/// How long a connection that is not in use any more is kept for its last answers.
const LINGER: Duration = Duration::from_secs(5);
/// Bytes read at one time.
const READ_BUDGET: usize = 1 << 20;

/// How to reach a cluster.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) addresses: Vec<String>,
    pub(crate) tls: Option<Arc<Tls>>,
    /// Talk to the given nodes only, whoever leads.
    pub(crate) stay: bool,
}

struct Link {
    connection: Connection,
    address: String,
    /// Who it is, once it has let us in.
    node: Option<NodeId>,
    since: Duration,
    heard: Duration,
    /// It has said that it keeps no state.
    useless: bool,
}

/// One client's connections and its session.
pub(crate) struct Remote<W> {
    poll: Poll,
    events: Events,
    began: Instant,
    route: Route,
    /// Where the members are, as of the newest configuration that any node has told of.
    book: BTreeMap<u32, String>,
    epoch: u64,
    links: Vec<Option<Link>>,
    /// The link in use.
    current: Option<usize>,
    /// The link that is to be in use next.
    dialing: Option<usize>,
    calls: Calls<W>,
    leader: Option<NodeId>,
    /// The newest slot that any node said it was at.
    born: Slot,
    /// Whether the session has a name that nodes know to be new.
    met: bool,
    turn: usize,
    next_dial: Duration,
    /// For each name, how many dials have come to nothing: it may have another address.
    failures: BTreeMap<String, usize>,
    next_tick: Duration,
    /// How long a node may say nothing now.
    silence: Duration,
    backoff: Backoff,
    expired: bool,
    problem: Option<ConnectError>,
}

impl<W> Remote<W> {
    /// A session that is not connected; [`Remote::turn`] sees to that. `token` is for waking.
    pub(crate) fn new(poll: Poll, route: Route) -> Self {
        let id = new_session(Slot::FIRST);
        let seed = id.number;
        Self {
            poll,
            events: Events::with_capacity(64),
            began: Instant::now(),
            route,
            book: BTreeMap::new(),
            epoch: 0,
            links: Vec::new(),
            current: None,
            dialing: None,
            calls: Calls::new(id, PATIENCE),
            leader: None,
            born: Slot::FIRST,
            met: false,
            turn: usize::try_from(seed % 64).unwrap_or(0),
            next_dial: Duration::ZERO,
            failures: BTreeMap::new(),
            next_tick: Duration::ZERO,
            silence: SILENCE,
            backoff: Backoff::new(seed),
            expired: false,
            problem: None,
        }
    }

    /// Waits until some node lets us in.
    pub(crate) fn connect(&mut self, within: Duration) -> Result<(), ConnectError> {
        if self.route.addresses.is_empty() {
            return Err(ConnectError::NoAddress);
        }
        while self.current.is_none() {
            self.turn(TICK, || true);
            if self.began.elapsed() > within {
                return Err(self.problem.take().unwrap_or_else(|| ConnectError::Unreachable {
                    addresses: self.route.addresses.join(", "),
                    last: "no answer".to_owned(),
                }));
            }
        }
        Ok(())
    }

    /// Takes a request on. It leaves with the next [`Remote::flush`].
    pub(crate) fn request(&mut self, request: Request, within: Duration, waiter: W) {
        let now = self.began.elapsed();
        let link = self.current.and_then(|at| self.links[at].as_mut());
        self.calls.request(now, request, within, waiter, |ask| put(link, &ask));
    }

    /// Nobody will ask what became of this command.
    pub(crate) fn forget(&mut self, cid: u64) {
        self.calls.forget(cid);
    }

    /// Those who need not wait any more.
    pub(crate) fn settled(&mut self) -> std::vec::Drain<'_, (W, Outcome)> {
        self.calls.settled()
    }

    /// Nothing more will come.
    pub(crate) fn stop(&mut self) {
        self.calls.stop();
    }

    /// Sends what waits.
    pub(crate) fn flush(&mut self) {
        for place in 0..self.links.len() {
            let Some(link) = &mut self.links[place] else { continue };
            if link.connection.queued() > 0
                && let Err(error) = link.connection.send()
            {
                self.lose(place, &error);
            }
        }
    }

    /// Sends what waits, waits up to `timeout` for something to happen, and handles it. `sleep`
    /// says whether it may wait at all.
    pub(crate) fn turn(&mut self, timeout: Duration, sleep: impl FnOnce() -> bool) {
        self.flush();
        let until = self.next_tick.saturating_sub(self.began.elapsed());
        let timeout = if sleep() { timeout.min(until) } else { Duration::ZERO };
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        if let Err(error) = self.poll.poll(&mut events, Some(timeout))
            && error.kind() != io::ErrorKind::Interrupted
        {
            tracing::error!(%error, "poll fails");
        }
        let now = self.began.elapsed();
        for event in &events {
            let Some(place) = event.token().0.checked_sub(FIRST) else { continue };
            if event.is_read_closed() || event.is_error() {
                let link = self.links.get_mut(place).and_then(Option::as_mut);
                link.into_iter().for_each(|link| link.connection.ended());
            }
            self.receive(now, place);
        }
        self.events = events;
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            self.tick(now);
        }
        self.reach(now);
        self.flush();
    }

    fn tick(&mut self, now: Duration) {
        if std::mem::take(&mut self.expired) {
            self.calls.expired(new_session(self.born));
            self.begin_anew();
        }
        let link = self.current.and_then(|at| self.links[at].as_mut());
        // What has not even left is not lost, and need not be sent once more.
        let mut link = link.filter(|link| link.connection.queued() == 0);
        self.calls.tick(now, |ask| put(link.as_deref_mut(), &ask));
        for place in 0..self.links.len() {
            let Some(link) = &self.links[place] else { continue };
            let late = match (self.current == Some(place), link.node) {
                (true, _) => {
                    !self.calls.idle() && now > link.heard.max(self.busy_since(now)) + self.silence
                }
                (false, None) => now > link.since + GREETING,
                (false, Some(_)) => now > link.since + LINGER,
            };
            if late {
                if self.current == Some(place) {
                    self.silence = (2 * self.silence).min(SILENCE_MAX);
                }
                self.lose(place, &io::Error::from(io::ErrorKind::TimedOut).into());
            }
        }
    }

    /// A new session has to be born after whatever made the old one expire: it gets its name with
    /// the next welcome.
    fn begin_anew(&mut self) {
        self.met = false;
        for place in 0..self.links.len() {
            self.lose(place, &io::Error::from(io::ErrorKind::ConnectionReset).into());
        }
    }

    /// Since when something has been waiting for an answer.
    fn busy_since(&self, now: Duration) -> Duration {
        self.calls.oldest().unwrap_or(now)
    }

    /// Reads a link and handles what has come.
    fn receive(&mut self, now: Duration, place: usize) {
        loop {
            let Some(link) = self.links.get_mut(place).and_then(Option::as_mut) else { return };
            let received = link.connection.receive(READ_BUDGET);
            if let Err(error) = self.frames(now, place) {
                return self.lose(place, &error);
            }
            match received {
                Ok(received) if received.closed => {
                    let end = io::Error::from(io::ErrorKind::UnexpectedEof);
                    return self.lose(place, &end.into());
                }
                Ok(received) if received.more => {}
                Ok(_) => return,
                Err(error) => return self.lose(place, &error),
            }
        }
    }

    fn frames(&mut self, now: Duration, place: usize) -> Result<(), ConnectionError> {
        loop {
            let Some(link) = self.links.get_mut(place).and_then(Option::as_mut) else {
                return Ok(());
            };
            let known = link.node.is_some();
            let Some(frame) = link.connection.next_frame()? else { return Ok(()) };
            link.heard = now;
            let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
            if known {
                self.silence = SILENCE;
                let tell = Tell::take(frame).map_err(|error| invalid(error.to_string()))?;
                if !self.route.stay && self.calls.is_turned_away(&tell) {
                    link.useless = true;
                    if self.current == Some(place) {
                        return Err(io::Error::other("it keeps no state").into());
                    }
                    continue;
                }
                match tell {
                    Tell::Leader { node } => self.leader = node,
                    Tell::Members { epoch, members } => {
                        if epoch >= self.epoch {
                            let members = members.into_iter();
                            self.book = members.map(|(id, at)| (id, at.to_owned())).collect();
                            self.epoch = epoch;
                        }
                    }
                    Tell::Expired { cid } => self.expired |= self.calls.has(cid),
                    tell @ (Tell::Done { .. }
                    | Tell::Refused { .. }
                    | Tell::Answer { .. }
                    | Tell::ReadRefused { .. }
                    | Tell::Report { .. }) => self.calls.told(&tell),
                }
            } else {
                match Answer::decode(frame).map_err(|error| invalid(error.to_string()))? {
                    Answer::Welcome(welcome) => self.welcome(now, place, welcome),
                    Answer::Refusal(why) => self.refused(now, place, why),
                }
            }
        }
    }

    /// A node has let us in: it is the one to talk to.
    fn welcome(&mut self, now: Duration, place: usize, welcome: Welcome) {
        let Some(link) = &mut self.links[place] else { return };
        if !link.connection.proves(welcome.node) {
            let why = format!("its certificate is not for node-{}.synod", welcome.node.0);
            return self.refused(now, place, Refusal::Unauthenticated(why));
        }
        link.node = Some(welcome.node);
        link.since = now;
        link.connection.set_limit(FRAME_MAX);
        self.book.extend(welcome.members.into_iter().map(|(node, address)| (node.0, address)));
        self.leader = welcome.leader.or(self.leader);
        self.born = self.born.max(welcome.slot_out);
        self.backoff.reset();
        if !std::mem::replace(&mut self.met, true) {
            self.calls.rename(new_session(self.born));
        }
        let replaced = self.current.replace(place);
        self.dialing = None;
        if let Some(link) = replaced.and_then(|at| self.links[at].as_mut()) {
            link.since = now; // It is kept for a while: its answers are on their way.
        } else {
            let mut link = self.links[place].as_mut();
            self.calls.resend(now, |ask| put(link.as_deref_mut(), &ask));
        }
    }

    fn refused(&mut self, now: Duration, place: usize, why: Refusal) {
        let Some(link) = self.links[place].take() else { return };
        tracing::warn!(address = link.address, "refused: {why}");
        self.problem = Some(ConnectError::Refused { address: link.address.clone(), why });
        self.gone(now, place, &link);
    }

    fn lose(&mut self, place: usize, error: &ConnectionError) {
        let Some(link) = self.links[place].take() else { return };
        let now = self.began.elapsed();
        tracing::debug!(address = link.address, %error, "connection lost");
        self.problem = Some(ConnectError::Unreachable {
            addresses: self.route.addresses.join(", "),
            last: format!("{}: {error}", link.address),
        });
        if link.node.is_some() && link.node == self.leader {
            self.leader = None; // Whoever is asked next will know better.
        }
        self.gone(now, place, &link);
    }

    /// What was on its way over a link that is gone is sent again over the one in use.
    fn gone(&mut self, now: Duration, place: usize, link: &Link) {
        let carried = link.node.is_some();
        if self.dialing == Some(place) {
            self.dialing = None;
            self.not_reached(now, &link.address);
        }
        if self.current == Some(place) {
            self.current = None;
            // The next one may be of no more use.
            self.next_dial = if link.useless { now + TICK } else { now };
        } else if let Some(current) = self.current.filter(|_| carried) {
            let mut link = self.links[current].as_mut();
            self.calls.resend(now, |ask| put(link.as_deref_mut(), &ask));
        }
    }

    /// A dial has come to nothing. If it was for the leader, and nobody else is there to say who
    /// leads now, it is somebody else's turn.
    fn not_reached(&mut self, now: Duration, name: &str) {
        *self.failures.entry(name.to_owned()).or_default() += 1;
        self.next_dial = now + self.backoff.delay();
        if self.current.is_none() {
            self.leader = None;
        }
    }

    /// Sees to it that there is a connection, to the leader if possible.
    fn reach(&mut self, now: Duration) {
        if self.dialing.is_some() || now < self.next_dial {
            return;
        }
        let leader = self.leader.filter(|_| !self.route.stay);
        let current = self.current.and_then(|at| self.links[at].as_ref()).and_then(|l| l.node);
        let there = current.is_some() && (leader.is_none() || leader == current);
        if there {
            return;
        }
        let lead = leader.and_then(|leader| self.book.get(&leader.0).cloned());
        let address = match lead {
            Some(address) => address,
            None if self.current.is_some() => return,
            None => match self.next_address() {
                Some(address) => address,
                None => return,
            },
        };
        self.next_dial = now + TICK;
        if let Err(error) = self.dial(now, &address) {
            let last = format!("{address}: {error}");
            let addresses = self.route.addresses.join(", ");
            self.problem = Some(ConnectError::Unreachable { addresses, last });
            self.not_reached(now, &address);
        }
    }

    fn next_address(&mut self) -> Option<String> {
        let mut all: Vec<&String> = self.route.addresses.iter().collect();
        if !self.route.stay {
            let more = self.book.values().filter(|address| !self.route.addresses.contains(address));
            all.extend(more);
        }
        self.turn += 1;
        all.get(self.turn % all.len().max(1)).map(|address| (*address).clone())
    }

    fn dial(&mut self, now: Duration, address: &str) -> Result<(), ConnectionError> {
        let to = names::after(address, self.failures.get(address).copied().unwrap_or(0))?;
        let tls = self.route.tls.as_deref().map(|tls| (tls, None));
        let mut connection = Connection::dial(TcpStream::connect(to)?, tls)?;
        let hello = Hello { cluster: 0, to: None, caller: Caller::Client };
        put_frame(connection.out(), |out| hello.encode(out))?;
        let place = self.links.iter().position(Option::is_none).unwrap_or_else(|| {
            self.links.push(None);
            self.links.len() - 1
        });
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(connection.stream(), Token(place + FIRST), interest)?;
        let address = address.to_owned();
        let link = Link { connection, address, node: None, since: now, heard: now, useless: false };
        self.links[place] = Some(link);
        self.dialing = Some(place);
        Ok(())
    }
}

/// For waking.
pub(super) const WAKER: Token = Token(0);
/// The first token of a link.
const FIRST: usize = 1;

/// Puts a frame on a link. False if there is none.
fn put(link: Option<&mut Link>, ask: &Ask<'_>) -> bool {
    link.is_some_and(|link| put_frame(link.connection.out(), |out| ask.put(out)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_address_of_a_name_is_tried_when_one_was_in_vain() {
        let nowhere = "127.0.0.1:1";
        let route = Route { addresses: vec![nowhere.to_owned()], tls: None, stay: false };
        let mut remote: Remote<()> = Remote::new(Poll::new().expect("a poll"), route);
        let refused = remote.connect(Duration::from_millis(500)).expect_err("nobody is there");
        assert!(refused.to_string().contains(nowhere), "{refused}");
        assert!(remote.failures[nowhere] >= 2, "{:?}", remote.failures);
    }
}
