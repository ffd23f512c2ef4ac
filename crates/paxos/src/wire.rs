//! The bytes of messages, records and frames of snapshots.
//!
//! A message or record is a version byte, a kind byte, and its fields in order. Numbers are
//! little-endian and of fixed length; a list is its length and its items. What is read is bounded
//! before memory is set aside for it: no list can be longer than the bytes that are left. Frames,
//! checksums and encryption are the business of whoever carries the bytes.

mod primitives;
mod values;

use alloc::vec::Vec;

use self::primitives::{put_len, take_len};
use crate::{
    effect::Record,
    message::Message,
    reconfig::Schedule,
    session::Sessions,
    types::{ClientId, Command, Slot},
};

/// The version of the format that is written. Older ones are read.
pub const VERSION: u8 = 1;

/// Why bytes are not a message, a record or a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// Written by a newer version of this crate.
    Version(u8),
    /// The bytes end too early, or a length says more than there is.
    Short,
    /// There are bytes after the end.
    Long,
    /// A kind that does not exist.
    Kind(u8),
    /// A value out of its range.
    Value,
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Version(version) => write!(
                f,
                "format version {version}, but this program reads up to {VERSION}: upgrade it"
            ),
            Self::Short => f.write_str("bytes end too early"),
            Self::Long => f.write_str("bytes after the end"),
            Self::Kind(kind) => write!(f, "unknown kind {kind}"),
            Self::Value => f.write_str("value out of range"),
        }
    }
}

impl core::error::Error for DecodeError {}

type Decoded<T> = Result<T, DecodeError>;

/// A value with bytes.
trait Wire: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn take(bytes: &mut &[u8]) -> Decoded<Self>;
}

/// Appends the bytes of a message to `out`.
pub fn encode_message(message: &Message, out: &mut Vec<u8>) {
    out.push(VERSION);
    message.put(out);
}

/// Reads a message.
///
/// # Errors
/// When the bytes are not exactly one message.
pub fn decode_message(bytes: &[u8]) -> Decoded<Message> {
    decode(bytes)
}

/// Appends the bytes of a record to `out`.
pub fn encode_record(record: &Record, out: &mut Vec<u8>) {
    out.push(VERSION);
    record.put(out);
}

/// Reads a record.
///
/// # Errors
/// When the bytes are not exactly one record.
pub fn decode_record(bytes: &[u8]) -> Decoded<Record> {
    decode(bytes)
}

/// Appends the bytes of a client's command to `out`.
pub fn encode_command(command: &Command, out: &mut Vec<u8>) {
    out.push(VERSION);
    command.put(out);
}

/// Reads a client's command.
///
/// # Errors
/// When the bytes are not exactly one command.
pub fn decode_command(bytes: &[u8]) -> Decoded<Command> {
    decode(bytes)
}

fn decode<T: Wire>(mut bytes: &[u8]) -> Decoded<T> {
    version(&mut bytes)?;
    let value = T::take(&mut bytes)?;
    if bytes.is_empty() { Ok(value) } else { Err(DecodeError::Long) }
}

fn version(bytes: &mut &[u8]) -> Decoded<()> {
    match u8::take(bytes)? {
        VERSION => Ok(()),
        other => Err(DecodeError::Version(other)),
    }
}

/// Everything of a snapshot but the state.
pub(crate) struct Frame {
    pub(crate) slot: Slot,
    pub(crate) schedule: Schedule,
    pub(crate) sessions: Sessions,
}

pub(crate) fn encode_frame(slot: Slot, schedule: &Schedule, sessions: &Sessions) -> Vec<u8> {
    let mut out = Vec::from([VERSION]);
    slot.put(&mut out);
    schedule.put(&mut out);
    sessions.horizon.put(&mut out);
    put_len(sessions.table.iter().len(), &mut out);
    for (client, session) in sessions.table.iter() {
        client.put(&mut out);
        session.put(&mut out);
    }
    out
}

pub(crate) fn decode_frame(mut bytes: &[u8], max: usize) -> Decoded<Frame> {
    let bytes = &mut bytes;
    version(bytes)?;
    let (slot, schedule) = (first_open(bytes)?, Schedule::take(bytes)?);
    let mut sessions = Sessions::new(max);
    sessions.horizon = Slot::take(bytes)?;
    for _ in 0..take_len(bytes)? {
        sessions.table.insert(ClientId::take(bytes)?, Wire::take(bytes)?);
    }
    if bytes.is_empty() { Ok(Frame { slot, schedule, sessions }) } else { Err(DecodeError::Long) }
}

/// The slot of a frame: the snapshot has everything below it. Reads no further than that.
///
/// # Errors
/// When the bytes do not begin like a frame.
pub fn frame_slot(mut frame: &[u8]) -> Decoded<Slot> {
    version(&mut frame)?;
    first_open(&mut frame)
}

/// The slot after those that a snapshot covers.
fn first_open(bytes: &mut &[u8]) -> Decoded<Slot> {
    let slot = Slot::take(bytes)?;
    if slot >= Slot::FIRST { Ok(slot) } else { Err(DecodeError::Value) }
}
