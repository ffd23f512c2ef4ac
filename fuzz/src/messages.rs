//! What members send each other and write to their disks.

use synod_paxos::{
    Members, NodeId, Outbox, Payload, Schedule, StateMachine,
    replica::Replica,
    wire::{self, DecodeError},
};

use crate::memory;

/// The longest a list of small items gets in memory, for each byte that it has on the wire: an
/// optional payload has one byte, and a session is in a table of its own.
const GROWTH: usize = 128;

/// Sessions of the replica that is given frames.
const SESSIONS: usize = 8;

/// The first byte says what the others are.
///
/// # Panics
/// When a promise is broken: what can be read is written with the very same bytes.
pub fn run(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    match kind % 4 {
        0 => canonical(rest, wire::decode_message, |message, out| {
            drop(message.to_string());
            wire::encode_message(message, out);
        }),
        1 => canonical(rest, wire::decode_record, |record, out| {
            drop(record.to_string());
            wire::encode_record(record, out);
        }),
        2 => canonical(rest, wire::decode_command, |command, out| {
            drop(command.to_string());
            wire::encode_command(command, out);
        }),
        _ => frame(rest),
    }
}

fn canonical<T>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
    encode: impl Fn(&T, &mut Vec<u8>),
) {
    let most = GROWTH * bytes.len() + 4096;
    if let Ok(value) = memory::within(most, || decode(bytes)) {
        let mut again = Vec::new();
        encode(&value, &mut again);
        assert_eq!(again, bytes, "there is one way to write each value");
    }
}

/// A frame can be read or not. A replica that goes on from one writes another that says the same.
fn frame(bytes: &[u8]) {
    let most = GROWTH * bytes.len() + (64 << 10);
    let Some(written) = memory::within(most, || resumed(bytes)) else { return };
    assert_eq!(resumed(&written), Some(written), "a frame that was written is read as it was");
}

/// The frame of a replica that has gone on from `frame`, if it could.
fn resumed(frame: &[u8]) -> Option<Vec<u8>> {
    let nodes = [1, 2, 3].map(NodeId);
    let members = Members::new(nodes, nodes, nodes).expect("three nodes make a configuration");
    let schedule = Schedule::new(members, 5);
    let mut replica = Replica::new(NodeId(1), 1, Nothing, schedule, SESSIONS);
    let installed = replica.install(frame, Nothing, &mut Outbox::new(NodeId(1)));
    matches!(installed, Ok(true)).then(|| replica.frame())
}

/// The state machine behind a frame: it is not asked.
#[derive(Clone, Debug)]
struct Nothing;

impl StateMachine for Nothing {
    fn apply(&mut self, _: &[u8]) -> Payload {
        Payload::EMPTY
    }
}
