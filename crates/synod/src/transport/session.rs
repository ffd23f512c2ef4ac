//! One connection's TLS: rustls between a socket and an inbox.

use std::io::{self, ErrorKind, Write};

use mio::net::TcpStream;
use rustls::Error as RustlsError;
use synod_paxos::NodeId;

use super::{
    connection::{ConnectionError, Outbox},
    frame::{self, Inbox, Received, SHORT_READ_DRAINS},
    tls::{self, TlsFailure},
};

/// How much is read from a socket at once: a little more than a record of TLS can have.
const CHUNK: usize = 32 << 10;

/// How much may be encrypted ahead of the socket, so that one write takes many records.
const AHEAD: usize = 256 << 10;

/// The state of TLS on one connection.
#[derive(Debug)]
pub(super) struct Session {
    rustls: rustls::Connection,
    /// The first bytes that the other side sent: TLS or not?
    head: Vec<u8>,
    /// About how many bytes are encrypted and not yet taken by the socket.
    encrypted: usize,
}

impl Session {
    pub(super) fn new(mut rustls: rustls::Connection) -> Self {
        rustls.set_buffer_limit(Some(AHEAD));
        Self { rustls, head: Vec::new(), encrypted: 0 }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.rustls.is_handshaking()
    }

    pub(super) fn wants_write(&self) -> bool {
        self.rustls.wants_write()
    }

    /// About how many bytes are encrypted and not yet taken by the socket.
    pub(super) const fn queued(&self) -> usize {
        self.encrypted
    }

    /// Whether the other side has proved to be `node`.
    pub(super) fn proves(&self, node: NodeId) -> bool {
        let shown = self.rustls.peer_certificates().and_then(<[_]>::first);
        !self.is_handshaking() && shown.is_some_and(|shown| tls::is_valid_for(shown, node))
    }

    /// Like [`Inbox::fill`]. It may go beyond the budget and the inbox's limit by one read.
    pub(super) fn receive(
        &mut self,
        socket: &mut TcpStream,
        inbox: &mut Inbox,
        budget: usize,
        to_end: bool,
    ) -> Result<Received, ConnectionError> {
        let mut received = Received::default();
        let mut chunk = [0; CHUNK];
        while !received.closed {
            if inbox.is_full() || received.bytes >= budget {
                received.more = true;
                break;
            }
            match frame::read(socket, &mut chunk) {
                Ok(Some(0)) => received.closed = true,
                Ok(Some(bytes)) => {
                    received.bytes += bytes;
                    let arrived = chunk.get(..bytes).unwrap_or(&[]);
                    received.closed = self.decrypt(arrived, socket, inbox)?;
                    if bytes < CHUNK && SHORT_READ_DRAINS && !to_end {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) if received.bytes == 0 => return Err(error.into()),
                Err(_) => {
                    received.more = true;
                    break;
                }
            }
        }
        if received.closed && self.is_handshaking() {
            return Err(TlsFailure::Ended.into());
        }
        Ok(received)
    }

    /// Puts what `arrived` into the inbox, and says whether the other side ended the session.
    fn decrypt(
        &mut self,
        mut arrived: &[u8],
        socket: &mut TcpStream,
        inbox: &mut Inbox,
    ) -> Result<bool, ConnectionError> {
        let missing = super::connection::HEAD.saturating_sub(self.head.len());
        self.head.extend(arrived.iter().take(missing));
        while !arrived.is_empty() {
            self.rustls.read_tls(&mut arrived)?;
            if let Err(error) = self.rustls.process_new_packets() {
                // The other side should know why. If the socket does not take it, it will not.
                drop(self.rustls.write_tls(socket));
                return Err(self.failure(error).into());
            }
            if inbox.drain(&mut self.rustls.reader())? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn failure(&self, error: RustlsError) -> TlsFailure {
        if self.is_handshaking() && super::connection::is_not_tls(&self.head) {
            TlsFailure::PlainPeer
        } else {
            error.into()
        }
    }

    /// Writes as much of `out` as the socket takes.
    pub(super) fn send(&mut self, socket: &mut TcpStream, out: &mut Outbox) -> io::Result<()> {
        loop {
            if !self.is_handshaking() && !out.is_empty() {
                let taken = self.rustls.writer().write(out.rest())?;
                out.took(taken);
                self.encrypted += taken;
            }
            if !self.wants_write() {
                self.encrypted = 0;
                return Ok(());
            }
            match self.rustls.write_tls(socket) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(bytes) => self.encrypted = self.encrypted.saturating_sub(bytes),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if frame::is_not_now(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Says that no more will come.
    pub(super) fn close(&mut self, socket: &mut TcpStream) {
        self.rustls.send_close_notify();
        // Without it the other side sees an end all the same.
        drop(self.rustls.write_tls(socket));
    }
}
