//! A record on the disk.
//!
//! ```text
//! | header, 64 bytes | body, filled up with zeros to a multiple of 8 | the header again |
//! ```
//!
//! The header says everything about a record but the decree, and it is there twice, so one copy
//! that is damaged costs nothing, and a damaged body is known by its ballot and slot. Both copies
//! carry a checksum that no other place in any file of any directory can have: it is salted by the
//! identity, the number of the segment and the place of the record in it.
//!
//! A *barrier* is one header alone: it says up to which record everything is known to be synced.
//! Every record says so, too, as of the time when it was made. This is how a record that was lost
//! is told from one that was never finished.

use synod_paxos::{
    Ballot, NodeId, Record, Slot,
    wire::{self, DecodeError},
};

use crate::{
    identity::Identity,
    layout::{low, put_u32, put_u64, u32_at, u64_at},
};

/// The length of a header.
pub(crate) const HEADER: usize = 64;
/// The length of a header, in files.
pub(crate) const HEADER_LEN: u64 = 64;
/// Everything on the disk begins at a multiple of this.
pub(crate) const ALIGN: usize = 8;

/// Tells the second copy of a header from the first.
const TRAILER: u32 = 0x5a5a_a5a5;

const KIND: usize = 60;

/// What a record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Barrier,
    Started,
    Campaigned,
    Adopted,
    Accepted,
    Collected,
    Learned,
    Performed,
    Lost,
}

impl Kind {
    fn number(self) -> u8 {
        match self {
            Self::Barrier => 1,
            Self::Started => 2,
            Self::Campaigned => 3,
            Self::Adopted => 4,
            Self::Accepted => 5,
            Self::Collected => 6,
            Self::Learned => 7,
            Self::Performed => 8,
            Self::Lost => 9,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Barrier,
            2 => Self::Started,
            3 => Self::Campaigned,
            4 => Self::Adopted,
            5 => Self::Accepted,
            6 => Self::Collected,
            7 => Self::Learned,
            8 => Self::Performed,
            9 => Self::Lost,
            _ => return None,
        })
    }
}

/// What makes the checksums of one segment different from those of every other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Salt {
    /// In every header as it is. Within one directory, no two segments have the same, not even
    /// when one takes over the other's file: their numbers differ.
    tag: u32,
    seed: u32,
}

impl Salt {
    pub(crate) fn new(identity: Identity, number: u64) -> Self {
        let mut whose = [0; 28];
        put_u64(&mut whose, 0, identity.cluster);
        put_u64(&mut whose, 8, identity.birth);
        put_u32(&mut whose, 16, identity.node.0);
        let tag = crc32c::crc32c(&whose[..20]);
        put_u64(&mut whose, 20, number);
        // An odd factor: different numbers stay different.
        let tag = tag.wrapping_add(low(number).wrapping_mul(0x9e37_79b1));
        Self { tag, seed: crc32c::crc32c(&whose) }
    }

    /// The seed of the checksums of a record at `offset`.
    fn at(self, offset: u64) -> u32 {
        self.seed.wrapping_add(low(offset / 8).wrapping_mul(0x85eb_ca6b))
    }

    /// Whether these bytes may be a header of the segment. Nearly always right, and fast, for it
    /// is asked of every eighth byte.
    pub(crate) fn marks(self, bytes: &[u8]) -> bool {
        u32_at(bytes, 4) == self.tag
    }

    pub(crate) fn body(self, offset: u64, body: &[u8]) -> u32 {
        crc32c::crc32c_append(self.at(offset), body)
    }
}

/// What is known about a record without its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// The length of the body, without what fills it up.
    pub(crate) len: u32,
    pub(crate) body_crc: u32,
    /// The number of the record, from 1, over all lives. A barrier has that of the record before.
    pub(crate) sequence: u64,
    /// Everything up to this record was known to be synced when this one was made.
    pub(crate) synced: u64,
    pub(crate) slot: Slot,
    pub(crate) ballot: Ballot,
    /// The checksum of the header before.
    pub(crate) chain: u32,
}

impl Header {
    /// The barrier behind record `sequence`: all up to there is synced.
    pub(crate) fn barrier(sequence: u64, chain: u32) -> Self {
        Self {
            kind: Kind::Barrier,
            len: 0,
            body_crc: 0,
            sequence,
            synced: sequence,
            slot: Slot(0),
            ballot: Ballot::BOTTOM,
            chain,
        }
    }

    /// The header's bytes, for a record at `offset`, and their checksum.
    pub(crate) fn encode(&self, salt: Salt, offset: u64) -> ([u8; HEADER], u32) {
        let mut bytes = [0; HEADER];
        put_u32(&mut bytes, 4, salt.tag);
        put_u32(&mut bytes, 8, self.body_crc);
        put_u32(&mut bytes, 12, self.len);
        put_u64(&mut bytes, 16, self.sequence);
        put_u64(&mut bytes, 24, self.synced);
        put_u64(&mut bytes, 32, self.slot.0);
        put_u64(&mut bytes, 40, self.ballot.round);
        put_u32(&mut bytes, 48, self.ballot.incarnation);
        put_u32(&mut bytes, 52, self.ballot.leader.0);
        put_u32(&mut bytes, 56, self.chain);
        bytes[KIND] = self.kind.number();
        let crc = crc32c::crc32c_append(salt.at(offset), &bytes[4..]);
        put_u32(&mut bytes, 0, crc);
        (bytes, crc)
    }

    /// The header of a record at `offset`, if these bytes are its first copy, undamaged.
    pub(crate) fn head(bytes: &[u8], salt: Salt, offset: u64) -> Option<(Self, u32)> {
        Self::decode(bytes, salt, offset, 0)
    }

    /// The header whose second copy is at `place`, and where its record begins.
    pub(crate) fn trailer(bytes: &[u8], salt: Salt, place: u64) -> Option<(Self, u32, u64)> {
        if !salt.marks(bytes) {
            return None;
        }
        let before = HEADER_LEN + padded(u32_at(bytes, 12));
        let offset = place.checked_sub(before)?;
        let (header, crc) = Self::decode(bytes, salt, offset, TRAILER)?;
        (header.kind != Kind::Barrier).then_some((header, crc, offset))
    }

    fn decode(bytes: &[u8], salt: Salt, offset: u64, which: u32) -> Option<(Self, u32)> {
        if !salt.marks(bytes) {
            return None;
        }
        let crc = u32_at(bytes, 0) ^ which;
        if crc32c::crc32c_append(salt.at(offset), &bytes[4..HEADER]) != crc {
            return None;
        }
        let header = Self {
            kind: Kind::from_number(bytes[KIND])?,
            body_crc: u32_at(bytes, 8),
            len: u32_at(bytes, 12),
            sequence: u64_at(bytes, 16),
            synced: u64_at(bytes, 24),
            slot: Slot(u64_at(bytes, 32)),
            ballot: Ballot {
                round: u64_at(bytes, 40),
                incarnation: u32_at(bytes, 48),
                leader: NodeId(u32_at(bytes, 52)),
            },
            chain: u32_at(bytes, 56),
        };
        Some((header, crc))
    }

    /// The length of the whole record on the disk.
    pub(crate) fn size(&self) -> u64 {
        match self.kind {
            Kind::Barrier => HEADER_LEN,
            Kind::Started
            | Kind::Campaigned
            | Kind::Adopted
            | Kind::Accepted
            | Kind::Collected
            | Kind::Learned
            | Kind::Performed
            | Kind::Lost => 2 * HEADER_LEN + padded(self.len),
        }
    }

    /// The number of the first record that is not before this header.
    pub(crate) fn follows(&self) -> u64 {
        match self.kind {
            Kind::Barrier => self.sequence.saturating_add(1),
            Kind::Started
            | Kind::Campaigned
            | Kind::Adopted
            | Kind::Accepted
            | Kind::Collected
            | Kind::Learned
            | Kind::Performed
            | Kind::Lost => self.sequence,
        }
    }

    /// The highest slot for whose sake this record is kept.
    pub(crate) fn keeps(&self) -> Option<Slot> {
        match self.kind {
            Kind::Accepted | Kind::Learned | Kind::Performed | Kind::Lost => Some(self.slot),
            Kind::Barrier | Kind::Started | Kind::Campaigned | Kind::Adopted | Kind::Collected => {
                None
            }
        }
    }

    /// The record of this header; a barrier is none.
    pub(crate) fn record(&self, body: &[u8]) -> Result<Option<Record>, DecodeError> {
        Ok(Some(match self.kind {
            Kind::Barrier => return Ok(None),
            Kind::Started => {
                Record::Started(u32::try_from(self.slot.0).map_err(|_| DecodeError::Value)?)
            }
            Kind::Campaigned => Record::Campaigned(self.ballot),
            Kind::Adopted => Record::Adopted(self.ballot),
            Kind::Collected => Record::Collected(self.slot),
            Kind::Lost => Record::Lost { ballot: self.ballot, slot: self.slot },
            Kind::Accepted | Kind::Learned | Kind::Performed => {
                let record = wire::decode_record(body)?;
                if outline(&record) != (self.kind, self.slot, self.ballot) {
                    return Err(DecodeError::Value);
                }
                record
            }
        }))
    }
}

/// What a header says of a record.
pub(crate) fn outline(record: &Record) -> (Kind, Slot, Ballot) {
    match record {
        Record::Started(life) => (Kind::Started, Slot(u64::from(*life)), Ballot::BOTTOM),
        Record::Campaigned(ballot) => (Kind::Campaigned, Slot(0), *ballot),
        Record::Adopted(ballot) => (Kind::Adopted, Slot(0), *ballot),
        Record::Accepted(pvalue) => (Kind::Accepted, pvalue.slot, pvalue.ballot),
        Record::Collected(slot) => (Kind::Collected, *slot, Ballot::BOTTOM),
        Record::Learned { slot, .. } => (Kind::Learned, *slot, Ballot::BOTTOM),
        // Of the slots, the last one decides how long the record is kept.
        Record::Performed { ballot, end, .. } => {
            (Kind::Performed, Slot(end.0.saturating_sub(1)), *ballot)
        }
        Record::Lost { ballot, slot } => (Kind::Lost, *slot, *ballot),
    }
}

/// Appends the body of a record: what its header cannot say.
pub(crate) fn put_body(record: &Record, out: &mut Vec<u8>) {
    match record {
        Record::Accepted(_) | Record::Learned { .. } | Record::Performed { .. } => {
            wire::encode_record(record, out);
        }
        Record::Started(_)
        | Record::Campaigned(_)
        | Record::Adopted(_)
        | Record::Collected(_)
        | Record::Lost { .. } => {}
    }
}

/// The second copy of a header.
pub(crate) fn trailer(mut header: [u8; HEADER]) -> [u8; HEADER] {
    let crc = u32_at(&header, 0);
    put_u32(&mut header, 0, crc ^ TRAILER);
    header
}

/// The length of a body with what fills it up.
pub(crate) fn padded(len: u32) -> u64 {
    u64::from(len).next_multiple_of(8)
}
