//! Frames: where a message begins and ends on a stream of bytes, and whether it is whole.
//!
//! A frame is the length of its body (u32), the CRC32C of its body (u32), and its body; numbers
//! are little-endian. A body has at least one byte. What TCP's own checksum misses, and a program
//! at the other end that is not ours, show here.

use std::io::{self, ErrorKind, Read};

/// The longest body of a frame, in bytes.
pub const FRAME_MAX: usize = 32 << 20;

/// The longest body of a frame before the handshake is over, in bytes: whoever has not said who it
/// is gets little memory.
pub const GREETING_MAX: usize = 64 << 10;

/// The bytes before the body.
const HEADER: usize = 8;

/// What an inbox has at first, and by how much it grows at least.
const ROOM: usize = 16 << 10;

/// What an inbox or a queue keeps when it is empty, at most: enough for the bursts of every day.
pub(super) const KEEP: usize = 1 << 20;

/// Whether a read that returns less than it could is followed by an event when more arrives, also
/// if nobody has met `WouldBlock`. This is so where mio is built on epoll or kqueue; elsewhere mio
/// needs the `WouldBlock`.
pub(super) const SHORT_READ_DRAINS: bool = cfg!(any(
    target_os = "linux",
    target_os = "android",
    target_os = "macos",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
));

/// Why bytes are not a frame. There is no way to find the next one: the connection is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// The body is longer than it may be.
    #[error(
        "a frame of {len} bytes, where {max} are allowed: the other side is not Synod, or a \
         command is too large"
    )]
    TooLong {
        /// The length of the body, in bytes.
        len: usize,
        /// The longest allowed, in bytes.
        max: usize,
    },
    /// The body is not the one that was sent.
    #[error("the checksum of a frame is wrong: it was damaged on its way; connect again")]
    Checksum,
    /// There is no body.
    #[error("a frame without a body: the other side is not Synod")]
    Empty,
}

/// Appends a frame to `out`, whose body is what `body` appends. When it is no frame that a receiver
/// would take, `out` is as it was.
///
/// # Errors
/// When the body is empty or longer than [`FRAME_MAX`].
pub fn put_frame(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    body(out);
    let sealed = out.get_mut(start..).ok_or(FrameError::Empty).and_then(seal);
    if sealed.is_err() {
        out.truncate(start);
    }
    sealed
}

/// Fills in the header, now that the body is known.
fn seal(frame: &mut [u8]) -> Result<(), FrameError> {
    let (header, body) = frame.split_first_chunk_mut::<HEADER>().ok_or(FrameError::Empty)?;
    let too_long = FrameError::TooLong { len: body.len(), max: FRAME_MAX };
    let len = u32::try_from(body.len()).map_err(|_| too_long)?;
    if body.is_empty() {
        return Err(FrameError::Empty);
    }
    if body.len() > FRAME_MAX {
        return Err(too_long);
    }
    let [a, b, c, d] = len.to_le_bytes();
    let [e, f, g, h] = crc32c::crc32c(body).to_le_bytes();
    *header = [a, b, c, d, e, f, g, h];
    Ok(())
}

/// What a read brought.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Received {
    /// How many bytes came out of the socket.
    pub bytes: usize,
    /// There may be more, for which no event will come: take the frames, and read again.
    pub more: bool,
    /// The other side sends nothing any more. Frames that came before are still there.
    pub closed: bool,
}

/// Bytes that have arrived, from which frames are taken in place.
///
/// Its memory grows with the bytes that really arrive, at most to twice as many, never with the
/// length that a header claims; and it shrinks again when it is empty.
#[derive(Debug)]
pub struct Inbox {
    /// Initialised memory; what is in `start..end` has arrived and has not been taken.
    memory: Vec<u8>,
    start: usize,
    end: usize,
    limit: usize,
}

impl Inbox {
    /// An empty inbox that takes bodies of up to `limit` bytes.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { memory: Vec::new(), start: 0, end: 0, limit }
    }

    /// Takes bodies of up to `limit` bytes from now on.
    pub const fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Reads from `from` until it has nothing more, or about `budget` bytes have been read, or so
    /// much is here that there must be a whole frame. A read that returns less than it could is
    /// the last one, unless `to_end`: then it reads until the end or `WouldBlock`.
    ///
    /// # Errors
    /// Those of `from`, but only if nothing was read before: what has arrived comes first.
    pub fn fill(
        &mut self,
        from: &mut impl Read,
        budget: usize,
        to_end: bool,
    ) -> io::Result<Received> {
        let mut received = Received::default();
        loop {
            if self.is_full() || received.bytes >= budget {
                received.more = true;
                return Ok(received);
            }
            let room = self.room(budget - received.bytes);
            let asked = room.len();
            match read(from, room) {
                Ok(Some(0)) => {
                    received.closed = true;
                    return Ok(received);
                }
                Ok(Some(bytes)) => {
                    self.end += bytes;
                    received.bytes += bytes;
                    if bytes < asked && SHORT_READ_DRAINS && !to_end {
                        return Ok(received);
                    }
                }
                Ok(None) => return Ok(received),
                Err(error) if received.bytes == 0 => return Err(error),
                Err(_) => {
                    received.more = true;
                    return Ok(received);
                }
            }
        }
    }

    /// Takes all that `from` has without waiting, and says whether that was the end of it.
    pub(super) fn drain(&mut self, from: &mut impl Read) -> io::Result<bool> {
        loop {
            match read(from, self.room(usize::MAX))? {
                Some(0) => return Ok(true),
                Some(bytes) => self.end += bytes,
                None => return Ok(false),
            }
        }
    }

    /// Takes the next frame, if all of it has arrived, and returns its body.
    ///
    /// # Errors
    /// When the bytes are not a frame. Asked again, it says the same.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        if self.start == self.end {
            self.recycle();
        }
        let Some((header, rest)) = self.unread().split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let [a, b, c, d, e, f, g, h] = *header;
        // On a machine whose addresses have 16 bits, it is too long as well.
        let len = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if len == 0 {
            return Err(FrameError::Empty);
        }
        if len > self.limit {
            return Err(FrameError::TooLong { len, max: self.limit });
        }
        let Some(body) = rest.get(..len) else { return Ok(None) };
        if crc32c::crc32c(body) != u32::from_le_bytes([e, f, g, h]) {
            return Err(FrameError::Checksum);
        }
        let body = self.start + HEADER..self.start + HEADER + len;
        self.start = body.end;
        Ok(self.memory.get(body))
    }

    /// What has arrived and has not been taken.
    pub(super) fn unread(&self) -> &[u8] {
        self.memory.get(self.start..self.end).unwrap_or(&[])
    }

    /// With this much here, there is a whole frame, or an error.
    pub(super) fn is_full(&self) -> bool {
        self.end - self.start >= self.limit.saturating_add(HEADER)
    }

    /// All has been taken: begin anew, without what only a giant needed.
    fn recycle(&mut self) {
        (self.start, self.end) = (0, 0);
        if self.memory.len() > KEEP {
            self.memory = Vec::new();
        }
    }

    /// Memory for at least one more byte, and at most `most`.
    fn room(&mut self, most: usize) -> &mut [u8] {
        if self.start == self.end {
            self.recycle();
        } else if self.start > 0 {
            // What is left is less than a frame, unless the owner takes them one by one.
            self.memory.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.memory.len() {
            let enough = self.limit.saturating_add(HEADER + ROOM);
            let len = (2 * self.end).min(enough).max(self.end + ROOM);
            self.memory.reserve_exact(len - self.end);
            self.memory.resize(len, 0);
        }
        let end = self.memory.len().min(self.end.saturating_add(most));
        &mut self.memory[self.end..end]
    }
}

/// Reads once. `None`: nothing is there now. A connection that is still being made has nothing.
pub(super) fn read(from: &mut impl Read, into: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match from.read(into) {
            Ok(bytes) => return Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if is_not_now(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// The socket cannot now, and mio says when it can.
pub(super) fn is_not_now(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Each read brings (part of) one piece; after the last, nothing is there.
    struct Pieces(VecDeque<io::Result<Vec<u8>>>);

    impl Pieces {
        fn of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
            Self(pieces.into_iter().map(|piece| Ok(piece.to_vec())).collect())
        }
    }

    impl Read for Pieces {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let mut piece = self.0.pop_front().ok_or(ErrorKind::WouldBlock)??;
            let len = into.len().min(piece.len());
            into[..len].copy_from_slice(&piece[..len]);
            if len < piece.len() {
                self.0.push_front(Ok(piece.split_off(len)));
            }
            Ok(len)
        }
    }

    fn frames(bodies: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        for body in bodies {
            put_frame(&mut out, |out| out.extend_from_slice(body)).unwrap();
        }
        out
    }

    fn take_all(inbox: &mut Inbox, into: &mut Vec<Vec<u8>>) {
        while let Some(body) = inbox.next_frame().unwrap() {
            into.push(body.to_vec());
        }
    }

    #[test]
    fn a_frame_has_the_bytes_that_it_always_had() {
        let bytes = frames(&[b"123456789".to_vec()]);
        // The check value of CRC32C, from its specification.
        assert_eq!(
            bytes,
            [&[9, 0, 0, 0, 0x83, 0x92, 0x06, 0xe3], b"123456789".as_slice()].concat()
        );
    }

    #[test]
    fn frames_come_whole_however_they_are_cut() {
        let sent = [vec![1], vec![2; 100], vec![3; 300]];
        let bytes = frames(&sent);
        for cut in 0..=bytes.len() {
            let mut inbox = Inbox::new(FRAME_MAX);
            let mut taken = Vec::new();
            let (head, tail) = bytes.split_at(cut);
            for piece in [head, tail].into_iter().filter(|piece| !piece.is_empty()) {
                inbox.fill(&mut Pieces::of([piece]), usize::MAX, false).unwrap();
                take_all(&mut inbox, &mut taken);
            }
            assert_eq!(taken, sent, "cut at {cut}");
        }
        let mut inbox = Inbox::new(FRAME_MAX);
        let mut taken = Vec::new();
        for byte in bytes.chunks(1) {
            inbox.fill(&mut Pieces::of([byte]), usize::MAX, false).unwrap();
            take_all(&mut inbox, &mut taken);
        }
        assert_eq!(taken, sent);
    }

    #[test]
    fn no_bit_can_change_unnoticed() {
        let bytes = frames(&[vec![7; 40]]);
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let mut inbox = Inbox::new(FRAME_MAX);
            inbox.fill(&mut changed.as_slice(), usize::MAX, false).unwrap();
            let taken = inbox.next_frame().map(|body| body.map(<[u8]>::to_vec));
            assert!(!matches!(taken, Ok(Some(_))), "bit {bit}");
            assert_eq!(inbox.next_frame().map(|body| body.map(<[u8]>::to_vec)), taken);
        }
    }

    #[test]
    fn what_is_no_frame_is_told_apart() {
        let error = |bytes: &[u8], limit| {
            let mut inbox = Inbox::new(limit);
            inbox.fill(&mut &*bytes, usize::MAX, false).unwrap();
            inbox.next_frame().map(|body| body.map(<[u8]>::len))
        };
        assert_eq!(error(&[0; 8], 64), Err(FrameError::Empty));
        let long = frames(&[vec![1; 65]]);
        assert_eq!(error(&long, 64), Err(FrameError::TooLong { len: 65, max: 64 }));
        assert_eq!(error(&long, 65), Ok(Some(65)));
        assert_eq!(error(&[&[1, 0, 0, 0], &[0; 5][..]].concat(), 64), Err(FrameError::Checksum));
        assert_eq!(
            error(b"GET / HT", FRAME_MAX).unwrap_err(),
            FrameError::TooLong { len: 0x2054_4547, max: FRAME_MAX }
        );
    }

    #[test]
    fn garbage_is_survived() {
        let mut random = 1_u64;
        for _ in 0..20_000 {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let [len, small, rest @ ..] = random.to_be_bytes();
            let mut bytes = rest.repeat(usize::from(len % 8));
            if let Some(second) = bytes.get_mut(1..4)
                && small % 2 == 0
            {
                second.fill(0);
            }
            let mut inbox = Inbox::new(GREETING_MAX);
            inbox.fill(&mut Pieces::of(bytes.chunks(7)), usize::MAX, true).unwrap();
            while let Ok(Some(_)) = inbox.next_frame() {}
        }
    }

    #[test]
    fn what_cannot_be_a_frame_is_not_put() {
        let mut out = vec![1, 2, 3];
        assert_eq!(put_frame(&mut out, |_| ()), Err(FrameError::Empty));
        let long = FRAME_MAX + 1;
        assert_eq!(
            put_frame(&mut out, |out| out.resize(out.len() + long, 0)),
            Err(FrameError::TooLong { len: long, max: FRAME_MAX })
        );
        assert_eq!(out, [1, 2, 3]);
        assert_eq!(put_frame(&mut out, |out| out.resize(out.len() + FRAME_MAX, 0)), Ok(()));
        assert_eq!(put_frame(&mut vec![1], Vec::clear), Err(FrameError::Empty));
    }

    #[test]
    fn memory_grows_with_what_arrives_and_not_with_what_is_promised() {
        let mut bytes = Vec::new();
        put_frame(&mut bytes, |out| out.resize(out.len() + (20 << 20), 5)).unwrap();
        let mut inbox = Inbox::new(FRAME_MAX);
        let mut arrived = 0;
        for piece in bytes.chunks(100_000) {
            assert_eq!(inbox.next_frame(), Ok(None));
            inbox.fill(&mut Pieces::of([piece]), usize::MAX, false).unwrap();
            arrived += piece.len();
            assert!(inbox.memory.capacity() <= 2 * arrived + ROOM, "after {arrived}");
        }
        assert_eq!(inbox.next_frame().unwrap().unwrap().len(), 20 << 20);
        // It goes back as soon as nobody looks at the frame.
        assert_eq!(inbox.next_frame(), Ok(None));
        assert!(inbox.memory.capacity() <= KEEP);
    }

    #[test]
    fn reading_stops_at_the_budget_and_when_there_must_be_a_frame() {
        let bytes = frames(&[vec![1; 100], vec![2; 100]]);
        let mut pieces = Pieces::of([bytes.as_slice()]);
        let mut inbox = Inbox::new(100);
        let received = inbox.fill(&mut pieces, 50, false).unwrap();
        assert_eq!(received, Received { bytes: 50, more: true, closed: false });
        // Both frames fit into the memory, so they come at once.
        let received = inbox.fill(&mut pieces, 1000, false).unwrap();
        assert_eq!(received, Received { bytes: 166, more: false, closed: false });
        assert!(inbox.is_full());
        let received = inbox.fill(&mut pieces, 1000, false).unwrap();
        assert_eq!(received, Received { bytes: 0, more: true, closed: false });
        let mut taken = Vec::new();
        take_all(&mut inbox, &mut taken);
        assert_eq!(taken.len(), 2);
        assert!(!inbox.fill(&mut pieces, 1000, false).unwrap().more);
    }

    #[test]
    fn what_came_before_an_error_or_the_end_is_kept() {
        let bytes = frames(&[vec![1; 100]]);
        let broken = || Err(ErrorKind::ConnectionReset.into());
        let mut pieces = Pieces([Ok(bytes.clone()), broken(), Ok(Vec::new())].into());
        let mut inbox = Inbox::new(FRAME_MAX);
        let received = inbox.fill(&mut pieces, 1000, true).unwrap();
        assert_eq!(received, Received { bytes: 108, more: true, closed: false });
        assert!(inbox.next_frame().unwrap().is_some());
        assert!(inbox.fill(&mut pieces, 1000, true).unwrap().closed);
        let error = inbox.fill(&mut Pieces([broken()].into()), 1000, true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }

    #[test]
    fn a_short_read_is_the_last_one_unless_the_end_is_looked_for() {
        let pieces = || Pieces([Ok(vec![1; 9]), Ok(Vec::new())].into());
        let mut inbox = Inbox::new(FRAME_MAX);
        let received = inbox.fill(&mut pieces(), 1000, false).unwrap();
        assert_eq!(received.closed, !SHORT_READ_DRAINS);
        assert!(inbox.fill(&mut pieces(), 1000, true).unwrap().closed);
    }
}
