//! The loop that owns an engine in production: sockets, clock, log and snapshots.
//!
//! One thread does the protocol and its own socket I/O; a second writes the log; a third handles
//! snapshots. Waking a thread costs more than the protocol does for a hundred commands, so a
//! command changes threads only for the disk. See `docs/decisions/0008`.
//!
//! Each turn takes everything that has piled up: reads all sockets that have something, hands it
//! all to the engine, lets it propose once, writes to each socket once, and gives the log
//! everything that is to be written, once.

use std::{
    io as std_io,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_channel::oneshot;
use mio::{Events, Poll, Token, net::TcpListener};
use synod_paxos::{Command, Message, NodeId};

use crate::{
    client::calls::{Outcome, Request},
    engine::{Engine, Finished, Port},
    error::StopReason,
    genesis::Genesis,
    inbox::Inbox,
    machine::Machine,
    protocol::{Ask, Level, Manage, Report, Tell},
    status::Status,
};

pub(crate) mod clients;
mod disk;
mod io;
mod meeting;
mod peers;
mod resolver;
mod socket;
mod start;
mod status;
mod worker;

use clients::Clients;
use disk::LogWriter;
use io::{Fault, Incoming, Io, LOCAL, Stage};
pub(crate) use start::start;
use worker::Worker;

const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);

/// How long a node that is asked to stop waits for another to lead.
const HAND_OVER: Duration = Duration::from_millis(500);
/// How often connections are looked after.
const CHORES: Duration = Duration::from_millis(20);

/// What other threads tell the loop.
pub(crate) enum Event<M> {
    /// A client in this process asks for something.
    Ask { client: u64, request: Request, within: Duration, waiter: oneshot::Sender<Outcome> },
    /// A client will not ask what became of a command.
    Forget { client: u64, cid: u64 },
    /// A client is gone.
    Left { client: u64 },
    /// So many records are on disk; the last sync had so many and took so long.
    Synced { count: u64, records: u64, took: Duration },
    /// Whether the disk is full.
    DiskFull(bool),
    /// The log cannot be written any more.
    DiskFailed(String),
    /// Work on a snapshot has come to an end.
    Finished(Finished<M>),
    /// A part of a snapshot, for a peer.
    Send(NodeId, Message),
    /// The address of a peer was looked up.
    Resolved(NodeId, std_io::Result<std::net::SocketAddr>),
    /// How is the node?
    Status(oneshot::Sender<Status>),
    /// Come to an end: hand over first, or not.
    Stop { gently: bool },
    /// Come to an end as a crash would.
    Kill,
}

/// What a client asks for.
enum Asked {
    Command(Command),
    Read { id: u64, level: Level, query: Vec<u8> },
    Manage { id: u64, what: Manage },
}

impl From<Ask<'_>> for Asked {
    fn from(ask: Ask<'_>) -> Self {
        match ask {
            Ask::Command(command) => Self::Command(command),
            Ask::Read { id, level, query } => Self::Read { id, level, query: query.into() },
            Ask::Manage { id, what } => Self::Manage { id, what },
        }
    }
}

/// The members of a configuration that serve clients, and where they are.
#[derive(Clone, Default, PartialEq, Eq)]
struct Book {
    epoch: u64,
    addresses: Vec<(u32, String)>,
}

impl Book {
    fn tell(&self) -> Tell<'_> {
        let members = self.addresses.iter().map(|(id, at)| (*id, at.as_str())).collect();
        Tell::Members { epoch: self.epoch, members }
    }
}

/// Who the node is.
struct Identity {
    cluster: u64,
    /// Drawn when its disk was formatted.
    birth: u64,
    /// Where the others reach it.
    address: String,
    genesis: Genesis,
}

/// The loop.
struct Runtime<M: Machine> {
    poll: Poll,
    listener: TcpListener,
    inbox: Arc<Inbox<Event<M>>>,
    engine: Engine<M>,
    io: Io<M>,
    log: LogWriter,
    identity: Identity,
    began: Instant,
    turn: Turn<M>,
}

/// What a turn works with; kept for its memory.
struct Turn<M> {
    events: Vec<Event<M>>,
    /// Connections that have more to read.
    ready: Vec<usize>,
    over: Vec<(usize, String)>,
    asks: Vec<Asked>,
    late: Vec<(u64, Asked)>,
    next_chores: Duration,
    /// Chores are done in this turn; what can wait is written, too.
    chores: bool,
    /// Somebody who wanted to connect still waits.
    accept: bool,
    /// When a node that was asked to stop does so.
    ends: Option<Duration>,
    /// It ends as a crash would.
    killed: bool,
    /// What clients were told last about who leads.
    leader: Option<NodeId>,
    /// What they were told last about who the members are.
    book: Book,
}

impl<M> Default for Turn<M> {
    fn default() -> Self {
        Self {
            events: Vec::new(),
            ready: Vec::new(),
            over: Vec::new(),
            asks: Vec::new(),
            late: Vec::new(),
            next_chores: Duration::ZERO,
            chores: false,
            accept: false,
            ends: None,
            killed: false,
            leader: None,
            book: Book::default(),
        }
    }
}

impl<M: Machine> Runtime<M> {
    /// Runs until the node stops, and says why it did.
    fn run(mut self) -> StopReason {
        let mut events = Events::with_capacity(1024);
        loop {
            if let Some(reason) = self.turn(&mut events) {
                self.io.clients.stop();
                drop(self.io); // Snapshots that are under way end before the directory is free.
                if self.turn.killed {
                    self.log.abandon();
                } else {
                    self.log.stop();
                }
                return reason;
            }
        }
    }

    /// For listening: whoever connects is announced with this token.
    fn watch(&mut self) -> std_io::Result<()> {
        self.poll.registry().register(&mut self.listener, LISTENER, mio::Interest::READABLE)
    }

    /// Sleeps until something happens, and handles all that has.
    fn turn(&mut self, events: &mut Events) -> Option<StopReason> {
        self.sleep(events);
        let now = self.began.elapsed();
        self.other_threads(now);
        if self.turn.killed {
            return Some(StopReason::Asked);
        }
        self.sockets(now, events);
        if now >= self.engine.deadline() {
            self.engine.tick(now, &mut self.io);
        }
        self.turn.chores = now >= self.turn.next_chores;
        if self.turn.chores {
            self.turn.next_chores = now + CHORES;
            self.chores(now);
        }
        self.io.sequence = self.engine.sequence();
        self.engine.flush(now, &mut self.io);
        self.send(now);
        self.turn.ready.append(&mut self.io.resumed);
        let wanted = self.engine.waits_for_disk() || self.turn.chores;
        if wanted && !self.io.batch.is_empty() {
            self.log.append(&mut self.io.batch);
        }
        let ended = self.turn.ends.is_some_and(|ends| now >= ends || !self.leads());
        self.io.stop.take().or_else(|| ended.then_some(StopReason::Asked))
    }

    fn leads(&self) -> bool {
        self.engine.leader() == Some(self.engine.id())
    }

    fn sleep(&mut self, events: &mut Events) {
        let now = self.began.elapsed();
        let next = self.engine.deadline().min(self.turn.next_chores);
        let idle = self.turn.ready.is_empty() && self.inbox.may_sleep();
        let timeout = if idle { next.saturating_sub(now) } else { Duration::ZERO };
        if let Err(error) = self.poll.poll(events, Some(timeout))
            && error.kind() != std_io::ErrorKind::Interrupted
        {
            self.io.stop.get_or_insert_with(|| StopReason::Panicked(format!("poll: {error}")));
        }
        self.inbox.awake();
    }

    /// What other threads have told.
    fn other_threads(&mut self, now: Duration) {
        let mut told = std::mem::take(&mut self.turn.events);
        self.inbox.take(&mut told);
        for event in told.drain(..) {
            self.event(now, event);
        }
        self.turn.events = told;
    }

    fn event(&mut self, now: Duration, event: Event<M>) {
        match event {
            Event::Ask { client, request, within, waiter } => {
                let mut asks = std::mem::take(&mut self.turn.asks);
                let (request, born) = ((request, within), self.engine.slot_out());
                self.io.clients.request(now, client, request, waiter, born, &mut asks);
                asks.drain(..).for_each(|asked| self.asked(Port(LOCAL + client), asked));
                self.turn.asks = asks;
            }
            Event::Forget { client, cid } => self.io.clients.forget(client, cid),
            Event::Left { client } => {
                if let Some(session) = self.io.clients.leave(client) {
                    self.engine.unbind(session, Port(LOCAL + client));
                }
            }
            Event::Synced { count, records, took } => {
                self.io.metrics.synced(records, took);
                self.engine.synced(now, count);
            }
            Event::DiskFull(full) => {
                tracing::warn!(full, "the disk is full, or has room again");
                self.engine.disk_full(full);
            }
            Event::DiskFailed(error) => drop(self.io.stop.get_or_insert(StopReason::Disk(error))),
            Event::Finished(finished) => self.engine.finished(now, finished, &mut self.io),
            Event::Send(to, message) => crate::engine::Host::send(&mut self.io, to, &message),
            Event::Resolved(node, address) => self.resolved(now, node, address),
            Event::Status(waiter) => drop(waiter.send(self.status())),
            Event::Stop { gently } => self.stop(now, gently),
            Event::Kill => self.turn.killed = true,
        }
    }

    fn stop(&mut self, now: Duration, gently: bool) {
        let heir = if gently { self.engine.hand_over(None) } else { None };
        let patience = if heir.is_some() { HAND_OVER } else { Duration::ZERO };
        self.turn.ends = Some(now + patience);
    }

    /// A client asks, in this process or over a connection.
    fn asked(&mut self, port: Port, asked: Asked) {
        match asked {
            Asked::Command(command) => self.engine.command(port, command, &mut self.io),
            Asked::Read { id, level, query } => {
                self.engine.read(self.began.elapsed(), port, id, level, &query, &mut self.io);
            }
            Asked::Manage { id, what } => self.manage(port, id, what),
        }
    }

    fn manage(&mut self, port: Port, id: u64, what: Manage) {
        let report = match what {
            Manage::Status => Report::Status(Box::new(self.status())),
            Manage::HandOver(to) => Report::of_hand_over(self.engine.hand_over(to.map(NodeId))),
            Manage::Genesis => Report::Genesis(Box::new(self.identity.genesis.clone())),
            Manage::Snapshot => Report::of_snapshot(self.engine.save(&mut self.io)),
        };
        crate::engine::Host::tell(&mut self.io, port, &Tell::Report { id, report });
    }

    /// Whatever the sockets have.
    fn sockets(&mut self, now: Duration, events: &Events) {
        let mut ready = std::mem::take(&mut self.turn.ready);
        for event in events {
            match event.token() {
                LISTENER => self.accept(now),
                WAKER => {}
                Token(token) => {
                    let place = token - io::FIRST_TOKEN;
                    if let Some(conn) = self.io.conn(place) {
                        if event.is_read_closed() || event.is_error() {
                            conn.connection.ended();
                        }
                        if event.is_writable() {
                            self.io.touch(place);
                        }
                        ready.push(place);
                    }
                }
            }
        }
        ready.retain(|place| self.receive(*place));
        self.turn.ready = ready;
    }

    fn accept(&mut self, now: Duration) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.io.accept(now, stream),
                Err(error) if error.kind() == std_io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    // Nobody will say that it waits: it is tried again with the next chores.
                    self.turn.accept = true;
                    return tracing::warn!(%error, "a connection cannot be accepted");
                }
            }
        }
    }

    /// Reads a connection and handles what has come. True if there is more to read.
    fn receive(&mut self, place: usize) -> bool {
        let received = self.io.receive(place);
        let now = self.began.elapsed(); // Leases want to know the time at which it was there.
        loop {
            match self.io.next(place) {
                Ok(Some(incoming)) => self.incoming(now, place, incoming),
                Ok(None) => break,
                Err(fault) => {
                    self.io.metrics.faulty += 1;
                    self.close(now, place, &fault);
                    return false;
                }
            }
        }
        match received {
            Ok(more) => more,
            Err(error) => {
                self.close(now, place, &Fault::Connection(error));
                false
            }
        }
    }

    fn incoming(&mut self, now: Duration, place: usize, incoming: Incoming) {
        match incoming {
            Incoming::Message { from, incarnation, sequence, message } => {
                self.io.metrics.received(message.kind());
                if self.engine.still(from, incarnation, sequence) {
                    self.engine.message(now, from, message);
                }
            }
            Incoming::Asked(asked) => {
                let port = self.io.port(place);
                if let Asked::Command(command) = &asked
                    && let Some(before) = self.io.note_session(place, command.client)
                {
                    self.engine.unbind(before, port);
                }
                self.asked(port, asked);
            }
            Incoming::TooLong { id, read } => {
                let port = self.io.port(place);
                self.io.refuse_long(port, id, read);
            }
            Incoming::Hello(hello) => self.hello(place, &hello),
            Incoming::OtherVersion => self.hello_of_other_version(place),
            Incoming::Answer(answer) => self.answered(now, place, answer),
        }
    }

    /// A connection is over.
    fn close(&mut self, now: Duration, place: usize, why: &Fault) {
        let (port, stage) = (self.io.port(place), self.io.remove(place));
        match stage {
            Some(Stage::Dialing(node)) => {
                self.io.peers.failed(now, node, Some(why.to_string()));
            }
            Some(Stage::Out(node)) => {
                tracing::info!(peer = node.0, "connection lost: {why}");
                self.io.peers.failed(now, node, Some(why.to_string()));
            }
            Some(Stage::In(node, _)) => {
                if self.io.peers.left(node, place) {
                    self.engine.lost(now, node);
                }
            }
            Some(Stage::Client(Some(session))) => self.engine.unbind(session, port),
            Some(Stage::Client(None) | Stage::Greeting | Stage::Closing) | None => {
                tracing::debug!("connection closed: {why}");
            }
        }
    }

    /// Sends everything that waits, to each connection at once.
    fn send(&mut self, now: Duration) {
        let mut over = std::mem::take(&mut self.turn.over);
        self.io.send_all(&mut over);
        for (place, error) in over.drain(..) {
            let error = std_io::Error::other(error);
            self.close(now, place, &Fault::Connection(error.into()));
        }
        self.turn.over = over;
    }
}
