//! The paper's notation, in one line each: what traces, scripts and logs print.

use core::{
    fmt::{self, Display, Formatter},
    time::Duration,
};

use crate::{
    effect::{Effect, Outcome, Record, Response},
    message::{LeaseMessage, Message, P1b, P2b, Progress, Propose, ReadPoint, SnapshotChunk, Vote},
    reconfig::{Config, Members, Reconfiguration, Schedule},
    types::{Ballot, ClientId, Command, Decree, NodeId, Op, PValue, Payload, Slot},
};

impl Display for NodeId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Display for Slot {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Display for Ballot {
    /// `round.leader`, with `'incarnation` from the second life on.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Self { round: 0, .. } => f.write_str("⊥"),
            Self { round, leader, incarnation: 0 | 1 } => write!(f, "{round}.{leader}"),
            Self { round, leader, incarnation } => write!(f, "{round}.{leader}'{incarnation}"),
        }
    }
}

impl Display for ClientId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.born {
            Slot::FIRST => write!(f, "c{}", self.number),
            born => write!(f, "c{}@{born}", self.number),
        }
    }
}

impl Display for Payload {
    /// As text where it is text, else in hexadecimal; only the beginning of a long one.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 24;
        let bytes = self.as_slice();
        let (shown, more) = bytes.split_at(bytes.len().min(SHOWN));
        match core::str::from_utf8(shown) {
            Ok(text) if !text.chars().any(char::is_control) => f.write_str(text)?,
            Ok(_) | Err(_) => shown.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?,
        }
        if more.is_empty() { Ok(()) } else { write!(f, "…{}", bytes.len()) }
    }
}

impl Display for Op {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apply(payload) => payload.fmt(f),
            Self::Reconfigure(to) => to.fmt(f),
        }
    }
}

impl Display for Command {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{} {}", self.client, self.cid, self.op)
    }
}

impl Display for Decree {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 4;
        match self.commands() {
            [] => f.write_str("no-op"),
            [command] => command.fmt(f),
            commands => {
                f.write_str("{")?;
                join(f, commands.iter().take(SHOWN), ", ")?;
                match commands.len() - commands.len().min(SHOWN) {
                    0 => f.write_str("}"),
                    more => write!(f, ", …{more} more}}"),
                }
            }
        }
    }
}

impl Display for PValue {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "<{}, {}, {}>", self.ballot, self.slot, self.decree)
    }
}

pub(crate) fn join<T: Display>(
    f: &mut Formatter<'_>,
    items: impl IntoIterator<Item = T>,
    separator: &str,
) -> fmt::Result {
    items.into_iter().enumerate().try_for_each(|(i, item)| {
        if i > 0 {
            f.write_str(separator)?;
        }
        item.fmt(f)
    })
}

impl Display for Members {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("replicas ")?;
        join(f, self.replicas.iter(), ",")?;
        f.write_str(" leaders ")?;
        join(f, self.leaders.iter(), ",")?;
        f.write_str(" acceptors ")?;
        join(f, self.acceptors.iter(), ",")
    }
}

impl Display for Reconfiguration {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "reconfigure({}: {})", self.replaces, self.members)
    }
}

impl Display for Config {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "configuration {}: {}", self.epoch, self.members)
    }
}

impl Display for Schedule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let entries = self.entries.iter();
        join(f, entries.map(|(first, config)| alloc::format!("from {first} {config}")), "; ")
    }
}

impl Display for Message {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self {
            Self::Forward(decree) => write!(f, " {decree}"),
            Self::Propose(propose) => propose.fmt(f),
            Self::P1a { ballot, first } => write!(f, " {ballot} from {first}"),
            Self::P1b(p1b) => p1b.fmt(f),
            Self::P2a(pvalue) => write!(f, " {pvalue}"),
            Self::P2b(p2b) => p2b.fmt(f),
            Self::Decision { slot, decree: Some(decree), .. } => write!(f, " <{slot}, {decree}>"),
            Self::Decision { slot, ballot, decree: None } => {
                write!(f, " <{slot}, as accepted in {ballot}>")
            }
            Self::SlotOut(progress) => progress.fmt(f),
            Self::Collect(slot) => write!(f, " below {slot}"),
            Self::AskSchedule => Ok(()),
            Self::Schedule(schedule) => write!(f, " {schedule}"),
            Self::Learn(slot) => write!(f, " from {slot}"),
            Self::Decisions { first, decrees } => {
                write!(f, " from {first} [")?;
                join(f, decrees, "; ")?;
                f.write_str("]")
            }
            Self::FetchSnapshot { slot, offset } => write!(f, " below {slot} from byte {offset}"),
            Self::SnapshotChunk(chunk) => chunk.fmt(f),
            Self::ReadQuery { round } | Self::Ping { round } => write!(f, " {}", short(*round)),
            Self::ReadReply { round, highest } => {
                write!(f, " {} highest={highest}", short(*round))
            }
            Self::Pong { round, held } => write!(f, " {} held={held}", short(*round)),
            Self::Heartbeat { ballot, leading: true } => write!(f, " {ballot}"),
            Self::Heartbeat { ballot, leading: false } => write!(f, " hears {ballot}"),
            Self::TakeOver { ballot, round: 0 } => write!(f, " from {ballot}"),
            Self::TakeOver { ballot, round } => {
                write!(f, " from {ballot}, leases up to {} are given up", short(*round))
            }
            Self::Lease(message) => message.fmt(f),
        }
    }
}

impl Display for LeaseMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ask { round, ballot, length } | Self::Granted { round, ballot, length } => {
                write!(f, " {} {ballot} for {:?}", short(*round), Duration::from_nanos(*length))
            }
            Self::Release { ballot, round } => write!(f, " {ballot} up to {}", short(*round)),
            Self::Query { round } => write!(f, " {}", short(*round)),
            Self::Reply { round, point: None } => write!(f, " {} no lease", short(*round)),
            Self::Reply { round, point: Some(ReadPoint { highest, epoch }) } => {
                write!(f, " {} highest={highest}", short(*round))?;
                if *epoch > 0 { write!(f, " epoch={epoch}") } else { Ok(()) }
            }
        }
    }
}

/// The number of a round without the life of the process that asks.
fn short(round: u64) -> u64 {
    round & u64::from(u32::MAX)
}

impl Display for Propose {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, " <{}, {}>", self.slot, self.decree)?;
        if self.epoch > 0 {
            write!(f, " epoch={}", self.epoch)?;
        }
        self.replica.map_or(Ok(()), |replica| write!(f, " for {replica}"))
    }
}

impl Display for P1b {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, " {} from {}", self.asked, self.first)?;
        if self.held != self.asked {
            return write!(f, " held={}", self.held);
        }
        f.write_str(" [")?;
        join(f, &self.accepted, ", ")?;
        f.write_str("]")?;
        if self.gc_slot > Slot::FIRST {
            write!(f, " collected below {}", self.gc_slot)?;
        }
        self.rest.map_or(Ok(()), |rest| write!(f, " rest from {rest}"))
    }
}

impl Display for P2b {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, " <{}, {}> ", self.asked, self.slot)?;
        match self.vote {
            Vote::Accepted => f.write_str("accepted"),
            Vote::Preempted(held) => write!(f, "held={held}"),
            Vote::Collected(slot) => write!(f, "collected below {slot}"),
        }
    }
}

impl Display for Progress {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, " {} durable={} epoch={}", self.slot_out, self.durable, self.epoch)
    }
}

impl Display for SnapshotChunk {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let end = self.offset.saturating_add(self.bytes.len() as u64);
        write!(f, " below {} bytes {}..{end} of {}", self.slot, self.offset, self.total)
    }
}

impl Display for Record {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started(life) => write!(f, "started {life}"),
            Self::Campaigned(ballot) => write!(f, "campaigned {ballot}"),
            Self::Adopted(ballot) => write!(f, "adopted {ballot}"),
            Self::Accepted(pvalue) => write!(f, "accepted {pvalue}"),
            Self::Collected(slot) => write!(f, "collected below {slot}"),
            Self::Learned { slot, decree } => write!(f, "learned <{slot}, {decree}>"),
            Self::Performed { ballot, first, end } => {
                write!(f, "performed from {first} below {end}, as accepted in {ballot}")
            }
            Self::Lost { ballot, slot } => write!(f, "lost <{ballot}, {slot}>"),
        }
    }
}

impl Display for Response {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "response {}#{} ", self.client, self.cid)?;
        match &self.outcome {
            Outcome::Done(reply) => write!(f, "= {reply}"),
            Outcome::Expired => f.write_str("expired"),
            Outcome::Busy => f.write_str("busy"),
        }
    }
}

impl Display for Effect {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Persist(record) => write!(f, "persist {record}"),
            Self::Send(to, message) => write!(f, "->{to} {message}"),
            Self::SendWhenDurable(to, message) => write!(f, "=>{to} {message}"),
            Self::Respond(response) => response.fmt(f),
            Self::ReadReady(id) => write!(f, "read {id} ready"),
            Self::Retired(config) => write!(f, "retired {config}"),
            Self::ServeSnapshot { to, slot, offset } => {
                write!(f, "serve snapshot to {to}: below {slot} from byte {offset}")
            }
            Self::KeepChunk { chunk, complete } => {
                write!(f, "keep snapshot{chunk}{}", if *complete { ", complete" } else { "" })
            }
        }
    }
}
