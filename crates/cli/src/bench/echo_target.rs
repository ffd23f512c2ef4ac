//! Echo servers as a target: how much load can be generated at all, and what the loopback costs.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    ops::Range,
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::{
    Error, echo,
    target::{Completion, Operation, Outcome, Sessions, Target},
};

/// How long a connection may take to be made.
const PATIENCE: Duration = Duration::from_secs(3);
/// Read at once.
const CHUNK: usize = 256 << 10;
/// Bytes of an answer to a write.
const CONFIRMATION: u32 = 16;

/// Echo servers. Clients are spread over them.
pub(super) struct EchoTarget {
    /// At least one.
    addresses: Vec<String>,
    /// What a read is answered with, in bytes.
    value: u32,
}

impl EchoTarget {
    pub(super) fn new(addresses: Vec<String>, value: u32) -> Self {
        Self { addresses, value }
    }
}

impl Target for EchoTarget {
    fn connect(&self, clients: Range<usize>) -> Result<Box<dyn Sessions>, Error> {
        let mut connections = Vec::with_capacity(clients.len());
        for client in clients.clone() {
            let address = &self.addresses[client % self.addresses.len()];
            let unreachable = |error: io::Error| Error::Unreachable {
                address: address.clone(),
                why: error.to_string(),
            };
            let stream = connect(address).map_err(unreachable)?;
            connections.push(Connection::new(address.clone(), stream));
        }
        Ok(Box::new(EchoSessions {
            first: clients.start,
            value: self.value,
            connections,
            dirty: Vec::new(),
            ended: Vec::new(),
            chunk: vec![0; CHUNK],
        }))
    }

    /// None of them leads.
    fn leader(&self) -> Option<usize> {
        None
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut error = io::Error::other("the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                return Ok(stream);
            }
            Err(failure) => error = failure,
        }
    }
    Err(error)
}

struct EchoSessions {
    /// The client of the first connection.
    first: usize,
    value: u32,
    connections: Vec<Connection>,
    /// Connections that have something new to send.
    dirty: Vec<usize>,
    ended: Vec<Completion>,
    chunk: Vec<u8>,
}

/// The connection of one client.
struct Connection {
    address: String,
    /// None if it has broken.
    stream: Option<TcpStream>,
    requests: Vec<u8>,
    responses: Vec<u8>,
    /// Tickets, in the order in which the server answers.
    waiting: VecDeque<u64>,
}

impl Sessions for EchoSessions {
    fn submit(&mut self, client: usize, operation: Operation<'_>, ticket: u64) {
        let index = client - self.first;
        let connection = &mut self.connections[index];
        if connection.stream.is_none() {
            match connect(&connection.address) {
                Ok(stream) => connection.stream = Some(stream),
                Err(error) => {
                    let outcome = Outcome::Failed(error.to_string().into());
                    self.ended.push(Completion { ticket, outcome });
                    return;
                }
            }
        }
        if connection.requests.is_empty() {
            self.dirty.push(index);
        }
        let (value, answer) = match operation {
            Operation::Write { value, .. } => (value, CONFIRMATION),
            Operation::Read { .. } => (&[][..], self.value),
        };
        echo::request(&mut connection.requests, ticket, value, answer);
        connection.waiting.push_back(ticket);
    }

    fn poll(&mut self, timeout: Duration, completions: &mut Vec<Completion>) {
        for index in std::mem::take(&mut self.dirty) {
            let connection = &mut self.connections[index];
            connection.attempt(&mut self.ended, Connection::send);
        }
        let timeout = if self.ended.is_empty() { timeout } else { Duration::ZERO };
        for (index, ready) in self.wait(timeout) {
            let connection = &mut self.connections[index];
            if ready.contains(PollFlags::OUT) {
                connection.attempt(&mut self.ended, Connection::send);
            }
            if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                connection.attempt(&mut self.ended, |connection, ended| {
                    connection.receive(&mut self.chunk, ended)
                });
            }
        }
        completions.append(&mut self.ended);
    }
}

impl EchoSessions {
    /// The connections with which something can be done, and what. `poll` takes time-outs as
    /// exactly as the schedule needs them; `epoll_wait` knows whole milliseconds only.
    fn wait(&self, timeout: Duration) -> Vec<(usize, PollFlags)> {
        let open = self.connections.iter().enumerate();
        let open = open.filter_map(|(index, connection)| {
            let stream = connection.stream.as_ref()?;
            let sending = !connection.requests.is_empty();
            let flags = if sending { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            Some((index, PollFd::new(stream, flags)))
        });
        let (indexes, mut sockets): (Vec<usize>, Vec<PollFd<'_>>) = open.unzip();
        let timeout = Timespec::try_from(timeout).ok();
        // An error means that it was interrupted: then the caller comes again.
        if rustix::event::poll(&mut sockets, timeout.as_ref()).is_err() {
            return Vec::new();
        }
        let flags = sockets.iter().map(PollFd::revents);
        indexes.into_iter().zip(flags).filter(|(_, ready)| !ready.is_empty()).collect()
    }
}

impl Connection {
    fn new(address: String, stream: TcpStream) -> Self {
        let (requests, responses, waiting) = (Vec::new(), Vec::new(), VecDeque::new());
        Self { address, stream: Some(stream), requests, responses, waiting }
    }

    /// Does something; if that fails the connection is broken, and nobody knows what became of
    /// what was sent.
    fn attempt(
        &mut self,
        ended: &mut Vec<Completion>,
        what: impl FnOnce(&mut Self, &mut Vec<Completion>) -> io::Result<()>,
    ) {
        let Err(error) = what(self, ended) else { return };
        self.stream = None;
        self.requests.clear();
        self.responses.clear();
        let lost =
            |ticket| Completion { ticket, outcome: Outcome::Unknown(error.to_string().into()) };
        ended.extend(self.waiting.drain(..).map(lost));
    }

    fn send(&mut self, _: &mut Vec<Completion>) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let mut sent = 0;
        while sent < self.requests.len() {
            match stream.write(&self.requests[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.requests.drain(..sent);
        Ok(())
    }

    fn receive(&mut self, chunk: &mut [u8], ended: &mut Vec<Completion>) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        loop {
            match stream.read(chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.responses.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let mut used = 0;
        while let Some((ticket, length)) = echo::response(&self.responses[used..])? {
            used += length;
            if self.waiting.pop_front() != Some(ticket) {
                return Err(io::Error::other("an answer to another question"));
            }
            ended.push(Completion { ticket, outcome: Outcome::Done });
        }
        self.responses.drain(..used);
        Ok(())
    }
}
