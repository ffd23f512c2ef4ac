//! The bytes of messages, records and snapshots.
//!
//! A message or record is a version byte, a kind byte, and its fields in order. Numbers are
//! little-endian and of fixed length; a list is its length and its items. What is read is bounded
//! before memory is set aside for it: no list can be longer than the bytes that are left. Frames,
//! checksums and encryption are the business of whoever carries the bytes.

use alloc::{boxed::Box, collections::VecDeque, sync::Arc, vec::Vec};

use crate::{
    effect::Record,
    message::{Message, P1b, P2b, Progress, Propose, SnapshotChunk, Vote},
    reconfig::{Config, Members, Quorums, Reconfiguration, Schedule, WINDOW_MAX},
    session::{Session, Sessions},
    types::{Ballot, ClientId, Command, Decree, NodeId, Op, PValue, Payload, Slot},
};

/// The version of the format that is written. Older ones are read.
pub const VERSION: u8 = 1;

/// Why bytes are not a message, a record or a snapshot.
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

/// A replica's state, as a snapshot carries it.
pub(crate) struct Snapshot<'a> {
    pub(crate) slot: Slot,
    pub(crate) schedule: Schedule,
    pub(crate) sessions: Sessions,
    pub(crate) state: &'a [u8],
}

pub(crate) fn encode_snapshot(
    slot: Slot,
    schedule: &Schedule,
    sessions: &Sessions,
    state: &[u8],
) -> Vec<u8> {
    let mut out = Vec::from([VERSION]);
    slot.put(&mut out);
    schedule.put(&mut out);
    sessions.horizon.put(&mut out);
    put_len(sessions.table.iter().len(), &mut out);
    for (client, session) in sessions.table.iter() {
        client.put(&mut out);
        session.put(&mut out);
    }
    out.extend_from_slice(state);
    out
}

pub(crate) fn decode_snapshot(mut bytes: &[u8], max: usize) -> Decoded<Snapshot<'_>> {
    let bytes = &mut bytes;
    version(bytes)?;
    let (slot, schedule) = (Slot::take(bytes)?, Schedule::take(bytes)?);
    let mut sessions = Sessions::new(max);
    sessions.horizon = Slot::take(bytes)?;
    for _ in 0..take_len(bytes)? {
        sessions.table.insert(ClientId::take(bytes)?, Session::take(bytes)?);
    }
    Ok(Snapshot { slot, schedule, sessions, state: bytes })
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Wire for $number {
            #[inline]
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            #[inline]
            fn take(bytes: &mut &[u8]) -> Decoded<Self> {
                let (head, rest) = bytes.split_first_chunk().ok_or(DecodeError::Short)?;
                *bytes = rest;
                Ok(Self::from_le_bytes(*head))
            }
        }
    )*};
}

numbers!(u8, u32, u64);

/// A struct is its fields, in order.
macro_rules! fields {
    ($($name:ident { $($field:ident),* })*) => {$(
        impl Wire for $name {
            #[inline]
            fn put(&self, out: &mut Vec<u8>) {
                $(self.$field.put(out);)*
            }
            #[inline]
            fn take(bytes: &mut &[u8]) -> Decoded<Self> {
                $(let $field = Wire::take(bytes)?;)*
                Ok(Self { $($field),* })
            }
        }
    )*};
}

fields! {
    ClientId { born, number }
    Command { client, cid, acked, op }
    PValue { ballot, slot, decree }
    Propose { slot, decree, epoch, replica }
    P1b { asked, held, first, rest, gc_slot, accepted }
    P2b { slot, asked, vote }
    Progress { slot_out, durable, epoch }
    SnapshotChunk { slot, checksum, total, offset, bytes }
    Quorums { phase1, phase2 }
    Reconfiguration { replaces, members }
    Config { epoch, members }
    Session { acked, used, replies }
}

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn take(bytes: &mut &[u8]) -> Decoded<Self> {
        match u8::take(bytes)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Value),
        }
    }
}

impl Wire for NodeId {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn take(bytes: &mut &[u8]) -> Decoded<Self> {
        u32::take(bytes).map(Self)
    }
}

impl Wire for Slot {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    /// No slot is so high that counting on from it could overflow.
    fn take(bytes: &mut &[u8]) -> Decoded<Self> {
        u64::take(bytes).and_then(|slot| within(slot, 1 << 62)).map(Self)
    }
}

fn within(value: u64, max: u64) -> Decoded<u64> {
    if value <= max { Ok(value) } else { Err(DecodeError::Value) }
}

impl Wire for Ballot {
    fn put(&self, out: &mut Vec<u8>) {
        self.round.put(out);
        self.leader.put(out);
        self.incarnation.put(out);
    }
    fn take(bytes: &mut &[u8]) -> Decoded<Self> {
        let round = within(u64::take(bytes)?, Self::ROUND_MAX)?;
        Ok(Self { round, leader: NodeId::take(bytes)?, incarnation: u32::take(bytes)? })
    }
}

fn put_len(len: usize, out: &mut Vec<u8>) {
    u32::try_from(len).unwrap_or(u32::MAX).put(out);
}

/// The length of a list whose items have at least one byte each.
fn take_len(bytes: &mut &[u8]) -> Decoded<usize> {
    let len = usize::try_from(u32::take(bytes)?).map_err(|_| DecodeError::Value)?;
    if len <= bytes.len() { Ok(len) } else { Err(DecodeError::Short) }
}

fn put_bytes(data: &[u8], out: &mut Vec<u8>) {
    put_len(data.len(), out);
    out.extend_from_slice(data);
}

fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Decoded<&'a [u8]> {
    let len = take_len(bytes)?;
    let (head, rest) = bytes.split_at_checked(len).ok_or(DecodeError::Short)?;
    *bytes = rest;
    Ok(head)
}

fn put_list<'a, T: Wire + 'a>(items: impl ExactSizeIterator<Item = &'a T>, out: &mut Vec<u8>) {
    put_len(items.len(), out);
    items.for_each(|item| item.put(out));
}

/// Memory grows with what is really there, whatever the length says.
fn take_list<T: Wire, L: FromIterator<T>>(bytes: &mut &[u8]) -> Decoded<L> {
    let len = take_len(bytes)?;
    (0..len).map(|_| T::take(bytes)).collect()
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(self.iter(), out);
    }
    fn take(bytes: &mut &[u8]) -> Decoded<Self> {
        take_list(bytes)
    }
}

impl Wire for VecDeque<Option<Payload>> {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(self.iter(), out);
    }
    fn take(bytes: &mut &[u8]) -> Decoded<Self> {
        take_list(bytes)
    }
}

impl Wire for Box<[NodeId]> {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(self.iter(), out);
    }
    fn take(bytes: &mut &[u8]) -> Decoded<Self> {
        take_list(bytes)
    }
}

impl Wire for Box<[u8]> {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(self, out);
    }
    fn take(bytes: &mut &[u8]) -> Decoded<Self> {
        take_bytes(bytes).map(Into::into)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        self.iter().for_each(|value| value.put(out));
    }
    fn take(bytes: &mut &[u8]) -> Decoded<Self> {
        bool::take(bytes)?.then(|| T::take(bytes)).transpose()
    }
}

impl Wire for Payload {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(self.as_slice(), out);
    }
    fn take(bytes: &mut &[u8]) -> Decoded<Self> {
        take_bytes(bytes).map(Into::into)
    }
}

impl Wire for Op {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Apply(payload) => {
                out.push(0);
                payload.put(out);
            }
            Self::Reconfigure(to) => {
                out.push(1);
                to.put(out);
            }
        }
    }
    fn take(bytes: &mut &[u8]) -> Decoded<Self> {
        match u8::take(bytes)? {
            0 => Payload::take(bytes).map(Self::Apply),
            1 => Reconfiguration::take(bytes).map(|to| Self::Reconfigure(Box::new(to))),
            kind => Err(DecodeError::Kind(kind)),
        }
    }
}

impl Wire for Decree {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(self.commands().iter(), out);
    }
    fn take(bytes: &mut &[u8]) -> Decoded<Self> {
        Vec::take(bytes).map(Self::from)
    }
}

impl Wire for Members {
    fn put(&self, out: &mut Vec<u8>) {
        self.replicas.put(out);
        self.leaders.put(out);
        self.acceptors.put(out);
        self.quorums.put(out);
    }
    fn take(bytes: &mut &[u8]) -> Decoded<Self> {
        let (replicas, leaders) = (Wire::take(bytes)?, Wire::take(bytes)?);
        let (acceptors, quorums) = (Wire::take(bytes)?, Wire::take(bytes)?);
        let members = Self { replicas, leaders, acceptors, quorums };
        members.checked().map_err(|_| DecodeError::Value)
    }
}

impl Wire for Schedule {
    fn put(&self, out: &mut Vec<u8>) {
        self.window.put(out);
        put_len(self.entries.len(), out);
        for (first, config) in &self.entries {
            first.put(out);
            config.put(out);
        }
    }
    fn take(bytes: &mut &[u8]) -> Decoded<Self> {
        let window = within(u64::take(bytes)?, WINDOW_MAX)?;
        let mut entries = Vec::new();
        for _ in 0..take_len(bytes)? {
            entries.push((Slot::take(bytes)?, Arc::new(Config::take(bytes)?)));
        }
        let ordered = |pair: &[(Slot, Arc<Config>)]| {
            pair[0].0 < pair[1].0 && pair[0].1.epoch < pair[1].1.epoch
        };
        if window == 0 || entries.is_empty() || !entries.windows(2).all(ordered) {
            return Err(DecodeError::Value);
        }
        Ok(Self { window, entries })
    }
}

impl Wire for Vote {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Accepted => out.push(0),
            Self::Preempted(held) => {
                out.push(1);
                held.put(out);
            }
            Self::Collected(slot) => {
                out.push(2);
                slot.put(out);
            }
        }
    }
    fn take(bytes: &mut &[u8]) -> Decoded<Self> {
        match u8::take(bytes)? {
            0 => Ok(Self::Accepted),
            1 => Ballot::take(bytes).map(Self::Preempted),
            2 => Slot::take(bytes).map(Self::Collected),
            kind => Err(DecodeError::Kind(kind)),
        }
    }
}

/// An enum is a kind byte and the fields of that kind, in order. The numbers are for ever.
macro_rules! kinds {
    ($name:ident { $($kind:literal => $variant:pat, [$($field:ident),*], $build:expr;)* }) => {
        impl Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $($variant => {
                        out.push($kind);
                        $($field.put(out);)*
                    })*
                }
            }
            fn take(bytes: &mut &[u8]) -> Decoded<Self> {
                match u8::take(bytes)? {
                    $($kind => {
                        $(let $field = Wire::take(bytes)?;)*
                        Ok($build)
                    })*
                    kind => Err(DecodeError::Kind(kind)),
                }
            }
        }
    };
}

kinds!(Message {
    0 => Self::Forward(decree), [decree], Self::Forward(decree);
    1 => Self::Propose(propose), [propose], Self::Propose(propose);
    2 => Self::P1a { ballot, first }, [ballot, first], Self::P1a { ballot, first };
    3 => Self::P1b(p1b), [p1b], Self::P1b(p1b);
    4 => Self::P2a(pvalue), [pvalue], Self::P2a(pvalue);
    5 => Self::P2b(p2b), [p2b], Self::P2b(p2b);
    6 => Self::Decision { slot, ballot, decree }, [slot, ballot, decree],
        Self::Decision { slot, ballot, decree };
    7 => Self::SlotOut(progress), [progress], Self::SlotOut(progress);
    8 => Self::Collect(slot), [slot], Self::Collect(slot);
    9 => Self::AskSchedule, [], Self::AskSchedule;
    10 => Self::Schedule(schedule), [schedule], Self::Schedule(schedule);
    11 => Self::Learn(slot), [slot], Self::Learn(slot);
    12 => Self::Decisions { first, decrees }, [first, decrees], Self::Decisions { first, decrees };
    13 => Self::FetchSnapshot { slot, offset }, [slot, offset],
        Self::FetchSnapshot { slot, offset };
    14 => Self::SnapshotChunk(chunk), [chunk], Self::SnapshotChunk(chunk);
    15 => Self::ReadQuery { round }, [round], Self::ReadQuery { round };
    16 => Self::ReadReply { round, highest }, [round, highest], Self::ReadReply { round, highest };
    17 => Self::Ping { round }, [round], Self::Ping { round };
    18 => Self::Pong { round, held }, [round, held], Self::Pong { round, held };
    19 => Self::Heartbeat { ballot, leading }, [ballot, leading],
        Self::Heartbeat { ballot, leading };
});

kinds!(Record {
    0 => Self::Started(life), [life], Self::Started(life);
    1 => Self::Campaigned(ballot), [ballot], Self::Campaigned(ballot);
    2 => Self::Adopted(ballot), [ballot], Self::Adopted(ballot);
    3 => Self::Accepted(pvalue), [pvalue], Self::Accepted(pvalue);
    4 => Self::Collected(slot), [slot], Self::Collected(slot);
});

macro_rules! pointers {
    ($($pointer:ident<$inner:ty>),*) => {$(
        impl Wire for $pointer<$inner> {
            fn put(&self, out: &mut Vec<u8>) {
                (**self).put(out);
            }
            fn take(bytes: &mut &[u8]) -> Decoded<Self> {
                <$inner>::take(bytes).map(Self::new)
            }
        }
    )*};
}

pointers!(Box<P1b>, Box<SnapshotChunk>, Arc<Schedule>);
