//! A connection: a socket, plain or TLS, as frames.
//!
//! The socket does not block, and its owner polls it with mio (edge-triggered: register it once,
//! for reading and writing). On each event the owner calls, in this order,
//!
//! 1. [`Connection::ended`] if the event says that the other side has closed its half
//!    (`is_read_closed()`) or that there was an error: an end that comes together with the last
//!    bytes has no event of its own;
//! 2. [`Connection::receive`], and [`Connection::next_frame`] until there is none, both again as
//!    long as [`Received::more`] says so: either at once or after others had their turn, but
//!    without an event;
//! 3. [`Connection::send`] once, when all answers have been put into [`Connection::out`].

use std::io::{self, ErrorKind, Write};
use std::net::Shutdown;

use mio::net::TcpStream;
use synod_paxos::NodeId;

use super::{
    frame::{FrameError, GREETING_MAX, Inbox, KEEP, Received, is_not_now, put_frame},
    handshake::{Answer, Refusal},
    session::Session,
    tls::{Tls, TlsFailure},
};

/// Why a connection is over. Frames that came before are still there.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// What came is not a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// One side could not prove who it is, or only one of them speaks TLS.
    #[error(transparent)]
    Tls(#[from] TlsFailure),
}

/// A socket as frames, in both directions.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    session: Option<Box<Session>>,
    inbox: Inbox,
    out: Outbox,
    /// A frame has come: the other side speaks what we speak.
    met: bool,
    /// Read until the end is seen.
    to_end: bool,
}

impl Connection {
    /// Without TLS. Until [`Connection::set_limit`], frames of up to [`GREETING_MAX`] bytes are
    /// taken.
    #[must_use]
    pub fn plain(stream: TcpStream) -> Self {
        Self::new(stream, None)
    }

    /// One that we have made: with TLS, if it is configured, and then to the given node or, without
    /// one, to any node of the cluster. In the latter case ask [`Connection::proves`] when the
    /// node has said who it is.
    ///
    /// # Errors
    /// When rustls cannot begin.
    pub fn dial(
        stream: TcpStream,
        tls: Option<(&Tls, Option<NodeId>)>,
    ) -> Result<Self, ConnectionError> {
        let session = tls.map(|(tls, node)| tls.dial(node)).transpose()?;
        Ok(Self::new(stream, session))
    }

    /// One that somebody else has made: with TLS, if it is configured.
    ///
    /// # Errors
    /// When rustls cannot begin.
    pub fn accepted(stream: TcpStream, tls: Option<&Tls>) -> Result<Self, ConnectionError> {
        let session = tls.map(Tls::accept).transpose()?;
        Ok(Self::new(stream, session))
    }

    pub(super) fn new(stream: TcpStream, session: Option<rustls::Connection>) -> Self {
        // A socket that fails here fails again when it is used, and says so there.
        drop(stream.set_nodelay(true));
        Self {
            stream,
            session: session.map(|session| Box::new(Session::new(session))),
            inbox: Inbox::new(GREETING_MAX),
            out: Outbox::default(),
            met: false,
            to_end: false,
        }
    }

    /// The socket, to register it.
    pub const fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Takes frames of up to `limit` bytes from now on: [`super::FRAME_MAX`] after the handshake.
    pub const fn set_limit(&mut self, limit: usize) {
        self.inbox.set_limit(limit);
    }

    /// Whether the other side has proved to be `node`. Without TLS everyone is believed; during the
    /// handshake of TLS nobody is.
    #[must_use]
    pub fn proves(&self, node: NodeId) -> bool {
        self.session.as_ref().is_none_or(|session| session.proves(node))
    }

    /// Whether TLS is still being set up: until then nothing that is in [`Connection::out`] leaves.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.is_handshaking())
    }

    /// The poll said that the other side has closed its half, or that there was an error. From now
    /// on [`Connection::receive`] reads until it sees the end, also after a read that was short.
    pub const fn ended(&mut self) {
        self.to_end = true;
    }

    /// Reads what has arrived, about `budget` bytes at most, and goes on with TLS's handshake. With
    /// everything read, this is one system call: a read that returns less than was asked for is
    /// the last one, because mio announces what arrives after it.
    ///
    /// # Errors
    /// When the connection is over and nothing was read before that.
    pub fn receive(&mut self, budget: usize) -> Result<Received, ConnectionError> {
        let Some(session) = &mut self.session else {
            return Ok(self.inbox.fill(&mut self.stream, budget, self.to_end)?);
        };
        let waited = session.is_handshaking();
        let received = session.receive(&mut self.stream, &mut self.inbox, budget, self.to_end)?;
        // What waited for the handshake can leave, and the handshake has answers of its own.
        if session.wants_write() || waited && !session.is_handshaking() {
            self.send()?;
        }
        Ok(received)
    }

    /// Takes the next frame, if all of it has arrived, and returns its body.
    ///
    /// # Errors
    /// When what has arrived is not a frame. Asked again, it says the same.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, ConnectionError> {
        if !self.met {
            self.meet()?;
        }
        Ok(self.inbox.next_frame()?)
    }

    /// Looks at the first bytes: a peer that speaks TLS to us, who do not, should not be told of a
    /// frame that is too long, and should be told something that it knows not to be TLS.
    fn meet(&mut self) -> Result<(), ConnectionError> {
        let unread = self.inbox.unread();
        if self.session.is_none() && is_tls(unread) {
            if unread.first() == Some(&HANDSHAKE) && self.out.is_empty() {
                let refusal = Refusal::Unauthenticated("this side speaks no TLS".to_owned());
                put_frame(self.out(), |out| Answer::Refusal(refusal).encode(out))?;
                drop(self.flush());
            }
            return Err(TlsFailure::TlsPeer.into());
        }
        self.met = unread.len() >= HEAD;
        Ok(())
    }

    /// Where frames are put, with [`put_frame`], to be sent. Only append: the beginning may have
    /// been sent already.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out.bytes
    }

    /// Writes as much of what is in [`Connection::out`] as the socket takes, and keeps the rest:
    /// call it again when the poll says that the socket takes more.
    ///
    /// # Errors
    /// When the connection is over. The other side may have said why: [`Connection::next_frame`]
    /// has all that came before.
    pub fn send(&mut self) -> Result<(), ConnectionError> {
        let Err(error) = self.flush() else { return Ok(()) };
        // In TLS the reason is in an alert, and better than a broken pipe.
        self.to_end = true;
        match self.receive_all() {
            Err(ConnectionError::Tls(failure)) => Err(failure.into()),
            Ok(_) | Err(ConnectionError::Io(_) | ConnectionError::Frame(_)) => Err(error.into()),
        }
    }

    fn receive_all(&mut self) -> Result<Received, ConnectionError> {
        match &mut self.session {
            Some(session) => session.receive(&mut self.stream, &mut self.inbox, KEEP, true),
            None => Ok(self.inbox.fill(&mut self.stream, KEEP, true)?),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.session {
            Some(session) => session.send(&mut self.stream, &mut self.out),
            None => self.out.write(&mut self.stream),
        }
    }

    /// About how many bytes the socket has not taken yet.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.out.rest().len() + self.session.as_ref().map_or(0, |session| session.queued())
    }

    /// Whether there is something to write for which only the socket is waited for.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.wants_write())
            || !self.out.is_empty() && !self.is_handshaking()
    }

    /// Says that nothing more will be sent, after what the socket still takes. The other side sees
    /// the end after the last frame; drop the connection when it has closed too, or after a while:
    /// if it is dropped before, what was sent last may be lost.
    pub fn shutdown(&mut self) {
        drop(self.flush());
        if let Some(session) = &mut self.session {
            session.close(&mut self.stream);
        }
        // It may be closed already, and that is what is wanted.
        drop(self.stream.shutdown(Shutdown::Write));
    }
}

/// What is to be sent. The beginning may be gone already.
#[derive(Default, Debug)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    taken: usize,
}

impl Outbox {
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or(&[])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    /// The first `count` bytes of the rest are gone.
    pub(super) fn took(&mut self, count: usize) {
        self.taken += count;
        if self.is_empty() {
            self.taken = 0;
            self.bytes.clear();
            if self.bytes.capacity() > KEEP {
                self.bytes = Vec::new();
            }
        } else if self.taken >= KEEP && self.taken >= self.bytes.len() / 2 {
            // Each byte is moved once at most for each that was sent.
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
    }

    /// Writes until all is gone or the socket takes no more.
    fn write(&mut self, to: &mut impl Write) -> io::Result<()> {
        while !self.is_empty() {
            match to.write(self.rest()) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.took(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_not_now(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// How many bytes tell TLS from frames: the type and the version of a record.
pub(super) const HEAD: usize = 3;

/// The type of a record that begins a handshake.
const HANDSHAKE: u8 = 0x16;

/// Whether these are the first bytes of TLS. They are no frame: its length would be above
/// [`GREETING_MAX`].
const fn is_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [0x14..=0x17, 3, 1..=4, ..])
}

/// Whether these are not the first bytes of TLS, which they may be if there are too few.
pub(super) const fn is_not_tls(bytes: &[u8]) -> bool {
    !matches!(bytes, [] | [0x14..=0x17] | [0x14..=0x17, 3]) && !is_tls(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket that takes so many bytes, in so many calls.
    struct Socket {
        room: usize,
        taken: Vec<u8>,
        calls: usize,
    }

    impl Write for Socket {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            let len = bytes.len().min(self.room);
            if len == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.room -= len;
            self.taken.extend_from_slice(&bytes[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_the_socket_takes_goes_in_one_call() {
        let mut socket = Socket { room: 1 << 20, taken: Vec::new(), calls: 0 };
        let mut out = Outbox { bytes: vec![1; 100_000], taken: 0 };
        out.write(&mut socket).unwrap();
        assert_eq!((socket.calls, socket.taken.len()), (1, 100_000));
        out.write(&mut socket).unwrap();
        assert_eq!(socket.calls, 1, "nothing to write");
    }

    #[test]
    fn what_the_socket_does_not_take_stays_in_order() {
        let sent: Vec<u8> = (0..=255).cycle().take(9 << 20).collect();
        let mut socket = Socket { room: 0, taken: Vec::new(), calls: 0 };
        let mut out = Outbox::default();
        for piece in sent.chunks(100_000) {
            out.bytes.extend_from_slice(piece);
            socket.room = 50_000;
            out.write(&mut socket).unwrap();
            assert_eq!(out.rest(), &sent[socket.taken.len()..][..out.rest().len()]);
            assert!(out.bytes.len() <= 2 * out.rest().len() + KEEP, "what is gone takes memory");
        }
        while !out.is_empty() {
            socket.room = 50_000;
            out.write(&mut socket).unwrap();
            assert!(out.bytes.len() <= 2 * out.rest().len() + KEEP, "what is gone takes memory");
        }
        assert_eq!(socket.taken, sent);
        assert!(out.is_empty() && out.bytes.capacity() <= KEEP);
    }

    #[test]
    fn tls_is_told_from_frames_as_soon_as_it_can_be() {
        for head in [[0x16, 3, 1], [0x15, 3, 3], [0x17, 3, 4]] {
            assert!(is_tls(&head) && (0..=HEAD).all(|len| !is_not_tls(&head[..len])));
            // As a frame it would be longer than one may be that early.
            let len = u32::from_le_bytes([head[0], head[1], head[2], 0]);
            assert!(usize::try_from(len).unwrap() > GREETING_MAX);
        }
        for head in [[0x16, 0, 0], [0x16, 3, 0], [9, 3, 1]] {
            assert!(!is_tls(&head) && is_not_tls(&head));
        }
        assert!(is_not_tls(b"G") && !is_tls(&[0x16, 3]));
    }
}
