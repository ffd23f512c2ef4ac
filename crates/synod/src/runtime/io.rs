//! The sockets of a node, and what goes out: an engine's host.

use std::{net::SocketAddr, time::Duration};

use mio::{Interest, Registry, Token, net::TcpStream};
use synod_paxos::{ClientId, Message, NodeId, Record, wire};

use super::{
    Asked, Clients, Worker,
    peers::{Peer, Peers},
};
use crate::{
    engine::{Host, Job, Port},
    error::StopReason,
    machine::Machine,
    metrics::Metrics,
    protocol::{Ask, COMMAND_MAX, Refused, Tell},
    transport::{
        connection::{Connection, ConnectionError},
        frame::{FRAME_MAX, put_frame},
        handshake::{Answer, DecodeError as HandshakeError, Hello},
        tls::Tls,
    },
};

/// Ports from here on are clients in this process.
pub(super) const LOCAL: u64 = 1 << 63;

/// The first token of a connection.
pub(super) const FIRST_TOKEN: usize = 2;

/// Most bytes that wait to be sent to a node. What comes on top is lost, as on any network.
const PEER_QUEUE_MAX: usize = 64 << 20;
/// Above as many bytes that wait to be sent to a client, nothing more is read from it.
pub(super) const CLIENT_QUEUE_MAX: usize = 4 << 20;
/// Most connections.
const CONNECTIONS_MAX: usize = 1 << 14;
/// With as many, no further client is let in: the rest is for nodes, and for saying so.
pub(super) const CLIENTS_MAX: usize = CONNECTIONS_MAX - (1 << 10);
/// Most bytes read from one connection before the others have their turn.
const READ_BUDGET: usize = 1 << 20;

/// One connection.
pub(super) struct Conn {
    pub(super) connection: Connection,
    pub(super) stage: Stage,
    /// Tells apart connections that have had the same place.
    generation: u32,
    /// When it came to be.
    pub(super) since: Duration,
    /// Something waits to be sent.
    dirty: bool,
    /// A client that does not take its answers is not read on until it does.
    paused: bool,
}

/// How far a connection is, and what it is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Somebody has connected, and has not said who it is.
    Greeting,
    /// We have connected to a node, and wait for its welcome.
    Dialing(NodeId),
    /// We send to this node.
    Out(NodeId),
    /// This node sends to us, in this life of its own.
    In(NodeId, u32),
    /// A client, and its session, once it has sent a command.
    Client(Option<ClientId>),
    /// It has been told why it is refused.
    Closing,
}

/// What has come over a connection.
pub(super) enum Incoming {
    Hello(Hello),
    /// A hello of a version that is not spoken here.
    OtherVersion,
    Answer(Answer),
    Message {
        from: NodeId,
        incarnation: u32,
        sequence: u64,
        message: Message,
    },
    Asked(Asked),
    TooLong {
        id: u64,
        read: bool,
    },
}

/// Everything of a node but its engine and its listener.
pub(super) struct Io<M: Machine> {
    pub(super) registry: Registry,
    pub(super) tls: Option<Tls>,
    conns: Vec<Option<Box<Conn>>>,
    free: Vec<usize>,
    generation: u32,
    /// Connections with something to send.
    dirty: Vec<usize>,
    /// Connections that are read on: their clients have taken their answers.
    pub(super) resumed: Vec<usize>,
    pub(super) peers: Peers,
    pub(super) clients: Clients,
    /// Records for the log.
    pub(super) batch: Vec<Record>,
    pub(super) worker: Worker<M>,
    pub(super) metrics: Metrics,
    /// How much of the log is on disk: said with every message.
    pub(super) sequence: u64,
    pub(super) stop: Option<StopReason>,
}

impl<M: Machine> Io<M> {
    pub(super) fn new(
        registry: Registry,
        tls: Option<Tls>,
        peers: Peers,
        clients: Clients,
        worker: Worker<M>,
    ) -> Self {
        Self {
            registry,
            tls,
            conns: Vec::new(),
            free: Vec::new(),
            generation: 0,
            dirty: Vec::new(),
            resumed: Vec::new(),
            peers,
            clients,
            batch: Vec::new(),
            worker,
            metrics: Metrics::default(),
            sequence: 0,
            stop: None,
        }
    }

    /// The records that are to be written.
    pub(super) fn take_batch(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.batch)
    }

    /// How many connections there are.
    pub(super) fn connections(&self) -> usize {
        self.conns.len() - self.free.len()
    }

    /// Takes in a connection that somebody has made.
    pub(super) fn accept(&mut self, now: Duration, stream: TcpStream) {
        if self.connections() >= CONNECTIONS_MAX {
            return; // Dropped: whoever connects sees it, and tries another node.
        }
        super::socket::keep_alive(&stream);
        match Connection::accepted(stream, self.tls.as_ref()) {
            Ok(connection) => drop(self.add(now, connection, Stage::Greeting)),
            Err(error) => tracing::debug!(%error, "a connection cannot be taken in"),
        }
    }

    /// Connects to a node.
    pub(super) fn dial(&mut self, now: Duration, node: NodeId, to: SocketAddr, hello: &Hello) {
        let connection = TcpStream::connect(to).map_err(ConnectionError::from).and_then(|stream| {
            super::socket::give_up_early(&stream);
            Connection::dial(stream, self.tls.as_ref().map(|tls| (tls, Some(node))))
        });
        let dialed = connection.and_then(|mut connection| {
            put_frame(connection.out(), |out| hello.encode(out))?;
            Ok(connection)
        });
        match dialed {
            Ok(connection) => {
                let place = self.add(now, connection, Stage::Dialing(node));
                self.peers.dialing(node, place);
            }
            Err(error) => self.peers.failed(now, node, Some(error.to_string())),
        }
    }

    fn add(&mut self, now: Duration, connection: Connection, stage: Stage) -> Option<usize> {
        let place = self.free.pop().unwrap_or_else(|| {
            self.conns.push(None);
            self.conns.len() - 1
        });
        self.generation = self.generation.wrapping_add(1) & (u32::MAX >> 1);
        let generation = self.generation;
        let mut conn =
            Conn { connection, stage, generation, since: now, dirty: false, paused: false };
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = Token(place + FIRST_TOKEN);
        if let Err(error) = self.registry.register(conn.connection.stream(), token, interest) {
            tracing::warn!(%error, "a connection cannot be watched");
            self.free.push(place);
            return None;
        }
        self.conns[place] = Some(Box::new(conn));
        Some(place)
    }

    pub(super) fn conn(&mut self, place: usize) -> Option<&mut Conn> {
        self.conns.get_mut(place)?.as_deref_mut()
    }

    /// The places of all connections.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> + use<M> {
        0..self.conns.len()
    }

    /// The port of the client on this connection.
    pub(super) fn port(&self, place: usize) -> Port {
        let generation = self.conns[place].as_ref().map_or(0, |conn| conn.generation);
        Port(u64::from(generation) << 32 | place as u64)
    }

    /// Removes a connection, and returns what it was for.
    pub(super) fn remove(&mut self, place: usize) -> Option<Stage> {
        let mut conn = self.conns.get_mut(place)?.take()?;
        self.free.push(place);
        drop(self.registry.deregister(conn.connection.stream()));
        Some(conn.stage)
    }

    /// Reads what has arrived. True if there is more.
    pub(super) fn receive(&mut self, place: usize) -> Result<bool, ConnectionError> {
        let Some(conn) = self.conn(place) else { return Ok(false) };
        if matches!(conn.stage, Stage::Client(_)) && conn.connection.queued() > CLIENT_QUEUE_MAX {
            conn.connection.send()?;
            if conn.connection.queued() > CLIENT_QUEUE_MAX {
                return Ok(false); // It is read on when it takes more: there will be an event.
            }
        }
        let received = conn.connection.receive(READ_BUDGET)?;
        if received.closed && received.bytes == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        Ok(received.more || received.closed)
    }

    /// The next thing that has come over a connection.
    pub(super) fn next(&mut self, place: usize) -> Result<Option<Incoming>, Fault> {
        let Some(conn) = self.conn(place) else { return Ok(None) };
        let stage = conn.stage;
        if matches!(stage, Stage::Client(_)) && conn.connection.queued() > CLIENT_QUEUE_MAX {
            conn.paused = true;
            return Ok(None);
        }
        let Some(frame) = conn.connection.next_frame()? else { return Ok(None) };
        let incoming = match stage {
            Stage::Greeting => match Hello::decode(frame) {
                Err(HandshakeError::Version(_)) => Incoming::OtherVersion,
                hello => Incoming::Hello(hello?),
            },
            Stage::Dialing(_) => Incoming::Answer(Answer::decode(frame)?),
            Stage::In(from, incarnation) => {
                let (sequence, bytes) = frame.split_first_chunk::<8>().ok_or(Fault::Short)?;
                let sequence = u64::from_le_bytes(*sequence);
                let message = wire::decode_message(bytes)?;
                Incoming::Message { from, incarnation, sequence, message }
            }
            Stage::Client(_) => ask(frame)?,
            Stage::Out(_) | Stage::Closing => return Err(Fault::Unasked),
        };
        Ok(Some(incoming))
    }

    /// Appends a frame to what waits to be sent over a connection.
    pub(super) fn put(&mut self, place: usize, body: impl FnOnce(&mut Vec<u8>)) {
        let Some(conn) = self.conns.get_mut(place).and_then(Option::as_deref_mut) else { return };
        if let Err(error) = put_frame(conn.connection.out(), body) {
            return tracing::error!(%error, "a frame that is too long is not sent");
        }
        if !std::mem::replace(&mut conn.dirty, true) {
            self.dirty.push(place);
        }
    }

    /// Sends what waits, to clients first: nobody else waits for what the nodes are told of their
    /// commands. Returns the connections that are over.
    pub(super) fn send_all(&mut self, over: &mut Vec<(usize, String)>) {
        let mut dirty = std::mem::take(&mut self.dirty);
        let client = |conn: &Conn| matches!(conn.stage, Stage::Client(_));
        dirty.sort_by_key(|place| !self.conn(*place).is_some_and(|conn| client(conn)));
        for place in dirty.drain(..) {
            let Some(conn) = self.conn(place) else { continue };
            conn.dirty = false;
            if let Err(error) = conn.connection.send() {
                over.push((place, error.to_string()));
            } else if conn.paused && conn.connection.queued() <= CLIENT_QUEUE_MAX {
                conn.paused = false;
                self.resumed.push(place);
            }
        }
        self.dirty = dirty;
    }
}

/// Decodes what a client asks for.
fn ask(frame: &[u8]) -> Result<Incoming, Fault> {
    let long = frame.len() > COMMAND_MAX;
    Ok(match Ask::take(frame)? {
        Ask::Command(command) if long => Incoming::TooLong { id: command.cid, read: false },
        Ask::Read { id, .. } if long => Incoming::TooLong { id, read: true },
        ask @ (Ask::Command(_) | Ask::Read { .. } | Ask::Manage { .. }) => {
            Incoming::Asked(ask.into())
        }
    })
}

/// Why a connection is closed because of what came over it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error("{0}")]
    Message(wire::DecodeError),
    #[error("a message that ends too early")]
    Short,
    #[error("a message that nobody asked for")]
    Unasked,
}

impl From<wire::DecodeError> for Fault {
    fn from(error: wire::DecodeError) -> Self {
        Self::Message(error)
    }
}

impl<M: Machine> Host<M> for Io<M> {
    #[inline]
    fn send(&mut self, to: NodeId, message: &Message) {
        let place = match self.peers.get(to) {
            Some(Peer { out: Some(place), .. }) => *place,
            Some(_) | None => return self.metrics.dropped += 1,
        };
        let full = self.conn(place).is_none_or(|conn| conn.connection.queued() > PEER_QUEUE_MAX);
        if full {
            return self.metrics.dropped += 1;
        }
        self.metrics.sent(message.kind());
        let sequence = self.sequence;
        self.put(place, |out| {
            out.extend_from_slice(&sequence.to_le_bytes());
            wire::encode_message(message, out);
        });
    }

    #[inline]
    fn append(&mut self, record: Record) {
        self.batch.push(record);
    }

    #[inline]
    fn tell(&mut self, port: Port, tell: &Tell<'_>) {
        if port.0 >= LOCAL {
            return self.clients.tell(port, tell);
        }
        let (generation, place) = ((port.0 >> 32) as u32, (port.0 & 0xffff_ffff) as usize);
        if self.conn(place).is_some_and(|conn| conn.generation == generation) {
            self.put(place, |out| tell.put(out));
        }
    }

    fn start(&mut self, job: Job<M>) {
        self.worker.job(job);
    }

    fn stop(&mut self, reason: StopReason) {
        self.stop.get_or_insert(reason);
    }

    fn metrics(&mut self) -> &mut Metrics {
        &mut self.metrics
    }
}

impl<M: Machine> Io<M> {
    /// Refuses a read or a command that is too long.
    pub(super) fn refuse_long(&mut self, port: Port, id: u64, read: bool) {
        let why = Refused::TooLong;
        self.metrics.refused += 1;
        match read {
            true => self.tell(port, &Tell::ReadRefused { id, why }),
            false => self.tell(port, &Tell::Refused { cid: id, why }),
        }
    }

    /// After the handshake: frames may be long.
    pub(super) fn establish(&mut self, place: usize, stage: Stage) {
        if let Some(conn) = self.conn(place) {
            conn.connection.set_limit(FRAME_MAX);
            conn.stage = stage;
        }
    }
}

impl<M: Machine> Io<M> {
    /// Something may be sent over this connection again.
    pub(super) fn touch(&mut self, place: usize) {
        let Some(conn) = self.conns.get_mut(place).and_then(Option::as_deref_mut) else { return };
        if conn.connection.queued() > 0 && !std::mem::replace(&mut conn.dirty, true) {
            self.dirty.push(place);
        }
    }

    /// The client on this connection has this session. Returns the one that it had before.
    #[inline]
    pub(super) fn note_session(&mut self, place: usize, session: ClientId) -> Option<ClientId> {
        match &mut self.conn(place)?.stage {
            Stage::Client(known) => known.replace(session).filter(|before| *before != session),
            Stage::Greeting
            | Stage::Dialing(_)
            | Stage::Out(_)
            | Stage::In(..)
            | Stage::Closing => None,
        }
    }

    /// Closes a connection when what waits on it has been sent.
    pub(super) fn close_when_sent(&mut self, place: usize) {
        if let Some(conn) = self.conn(place) {
            conn.stage = Stage::Closing;
            drop(conn.connection.send());
            conn.connection.shutdown();
        }
    }

    /// Tells all clients.
    pub(super) fn tell_clients(&mut self, tell: &Tell<'_>) {
        for place in self.places() {
            if self.conn(place).is_some_and(|conn| matches!(conn.stage, Stage::Client(_))) {
                self.put(place, |out| tell.put(out));
            }
        }
    }
}
