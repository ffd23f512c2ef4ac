//! What strangers send, before anybody knows who they are: frames, the handshake, and what clients
//! and nodes say to each other.

use std::{
    collections::VecDeque,
    fmt::Debug,
    io::{self, ErrorKind, Read},
};

use arbitrary::Unstructured;
use synod::{
    protocol::{Ask, Tell},
    transport::{
        FrameError, GREETING_MAX, Inbox,
        handshake::{Answer, Hello},
        put_frame,
    },
};

use crate::{draw, memory};

/// What a list of small items takes in memory, for each byte that it has on the wire; at most.
const GROWTH: usize = 64;
/// What is asked for whatever the bytes are: serde sets this much aside before it reads a list.
const ONCE: usize = 1 << 20;

/// The first byte says what the others are.
///
/// # Panics
/// When a promise is broken.
pub fn run(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let most = GROWTH * rest.len() + 4096;
    match kind % 6 {
        0 => strange_stream(rest),
        1 => true_stream(rest),
        2 => {
            if let Ok(hello) = memory::within(most, || Hello::decode(rest)) {
                let written = encoded(|out| hello.encode(out));
                assert_eq!(Hello::decode(&written), Ok(hello));
            }
        }
        3 => {
            if let Ok(answer) = memory::within(most, || Answer::decode(rest)) {
                let written = encoded(|out| answer.encode(out));
                assert_eq!(Answer::decode(&written), Ok(answer.clone()));
                if let Answer::Refusal(refusal) = answer {
                    drop(refusal.to_string());
                }
            }
        }
        4 => {
            if let Ok(ask) = memory::within(most, || Ask::take(rest)) {
                let written = encoded(|out| ask.put(out));
                let again = Ask::take(&written).expect("it was just written");
                assert_same(&ask, &again);
                assert_eq!(encoded(|out| again.put(out)), written);
            }
        }
        _ => {
            if let Ok(tell) = memory::within(most + ONCE, || Tell::take(rest)) {
                let written = encoded(|out| tell.put(out));
                let again = Tell::take(&written).expect("it was just written");
                assert_same(&tell, &again);
                assert_eq!(encoded(|out| again.put(out)), written);
            }
        }
    }
}

fn encoded(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out);
    out
}

/// They have no equality; their text says everything.
fn assert_same<T: Debug>(one: &T, other: &T) {
    assert_eq!(format!("{one:?}"), format!("{other:?}"));
}

/// What came out of a stream: the bodies of frames, and what was wrong with the next one.
type Taken = (Vec<Vec<u8>>, Option<FrameError>);

/// Any bytes: however they are cut, the same comes out of them.
fn strange_stream(bytes: &[u8]) {
    let (half, cuts) = bytes.split_at(bytes.len() / 2);
    let mut cuts = Unstructured::new(cuts);
    let limit = if draw::below(&mut cuts, 2) == 0 { GREETING_MAX } else { 64 };
    let whole = take(limit, half, &mut Unstructured::new(&[]));
    assert_eq!(take(limit, half, &mut cuts), whole);
}

/// Frames with these bodies come out as they were, however they are cut.
fn true_stream(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let (mut stream, mut bodies) = (Vec::new(), Vec::new());
    for _ in 0..=draw::below(&mut input, 8) {
        let mut body = draw::bytes(&mut input, 80).to_vec();
        body.resize(body.len() + draw::below(&mut input, 3) * 10_000, 7);
        let put = put_frame(&mut stream, |out| out.extend_from_slice(&body));
        assert_eq!(put, if body.is_empty() { Err(FrameError::Empty) } else { Ok(()) });
        bodies.extend(Some(body).filter(|body| !body.is_empty()));
    }
    assert_eq!(take(GREETING_MAX, &stream, &mut input), (bodies, None));
}

/// Takes all frames from an inbox into which `stream` comes in pieces, until there is an error.
fn take(limit: usize, stream: &[u8], cuts: &mut Unstructured<'_>) -> Taken {
    let mut pieces = Pieces::new(stream, cuts);
    let budget = [usize::MAX, 1, 7, 5000][draw::below(cuts, 4)];
    let (mut inbox, mut taken) = (Inbox::new(limit), (Vec::new(), None));
    // The frames are copied, and the inbox is at most twice as large as what has arrived.
    let most = 4 * stream.len() + GROWTH * 1024;
    memory::within(most, || {
        while !pieces.left.is_empty() {
            let received = inbox.fill(&mut pieces, budget, false).expect("no piece is an error");
            assert!(received.bytes > 0 && !received.closed, "there is more");
            loop {
                match inbox.next_frame() {
                    Ok(Some(body)) => taken.0.push(body.to_vec()),
                    Ok(None) => break,
                    Err(error) => {
                        assert_eq!(inbox.next_frame(), Err(error), "asked again");
                        taken.1 = Some(error);
                        return;
                    }
                }
            }
        }
    });
    taken
}

/// Each read brings a piece, or a part of one.
struct Pieces<'a> {
    left: VecDeque<&'a [u8]>,
}

impl<'a> Pieces<'a> {
    fn new(mut stream: &'a [u8], cuts: &mut Unstructured<'_>) -> Self {
        let mut left = VecDeque::new();
        while !stream.is_empty() && !cuts.is_empty() {
            let len = 1 + draw::below(cuts, 300);
            let (piece, rest) = stream.split_at(len.min(stream.len()));
            left.push_back(piece);
            stream = rest;
        }
        left.extend(Some(stream).filter(|rest| !rest.is_empty()));
        Self { left }
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let piece = self.left.pop_front().ok_or(ErrorKind::WouldBlock)?;
        let (now, later) = piece.split_at(piece.len().min(into.len()));
        into[..now.len()].copy_from_slice(now);
        if !later.is_empty() {
            self.left.push_front(later);
        }
        Ok(now.len())
    }
}
