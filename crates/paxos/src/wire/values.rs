//! The values of the protocol, field by field.

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use super::{
    DecodeError, Decoded, Wire,
    primitives::{put_bytes, put_len, put_list, take_bytes, take_len},
};
use crate::{
    effect::Record,
    message::{LeaseMessage, Message, P1b, P2b, Progress, Propose, ReadPoint, SnapshotChunk, Vote},
    reconfig::{Config, Members, Quorums, Reconfiguration, Schedule, WINDOW_MAX},
    session::Session,
    types::{Ballot, ClientId, Command, Decree, NodeId, Op, PValue, Payload, Slot},
};

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
    ReadPoint { highest, epoch }
    SnapshotChunk { slot, checksum, total, offset, bytes }
    Quorums { phase1, phase2 }
    Reconfiguration { replaces, members }
    Config { epoch, members }
    Session { acked, used, replies }
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
    20 => Self::TakeOver { ballot, round }, [ballot, round], Self::TakeOver { ballot, round };
    21 => Self::Lease(LeaseMessage::Ask { round, ballot, length }), [round, ballot, length],
        Self::Lease(LeaseMessage::Ask { round, ballot, length });
    22 => Self::Lease(LeaseMessage::Granted { round, ballot, length }), [round, ballot, length],
        Self::Lease(LeaseMessage::Granted { round, ballot, length });
    23 => Self::Lease(LeaseMessage::Release { ballot, round }), [ballot, round],
        Self::Lease(LeaseMessage::Release { ballot, round });
    24 => Self::Lease(LeaseMessage::Query { round }), [round],
        Self::Lease(LeaseMessage::Query { round });
    25 => Self::Lease(LeaseMessage::Reply { round, point }), [round, point],
        Self::Lease(LeaseMessage::Reply { round, point });
});

kinds!(Record {
    0 => Self::Started(life), [life], Self::Started(life);
    1 => Self::Campaigned(ballot), [ballot], Self::Campaigned(ballot);
    2 => Self::Adopted(ballot), [ballot], Self::Adopted(ballot);
    3 => Self::Accepted(pvalue), [pvalue], Self::Accepted(pvalue);
    4 => Self::Collected(slot), [slot], Self::Collected(slot);
    5 => Self::Learned { slot, decree }, [slot, decree], Self::Learned { slot, decree };
    6 => Self::Performed { ballot, first, end }, [ballot, first, end],
        Self::Performed { ballot, first, end };
    7 => Self::Lost { ballot, slot }, [ballot, slot], Self::Lost { ballot, slot };
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
