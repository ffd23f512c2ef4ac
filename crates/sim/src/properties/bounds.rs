//! R1, R2, V2 and V3: how much there is of everything.

use std::collections::BTreeMap;

use synod::transport::frame::FRAME_MAX;
use synod_paxos::{Members, Message, NodeId, Record};

use crate::{
    event::{Event, Judged, hold},
    ghost::Ghost,
    queue::Time,
};

/// No run of seconds needs more: one that does is a storm.
const EVENTS_MAX: u64 = 20_000_000;
/// One more may happen in so long: in a day at rest, nodes tell one another a lot.
const EVENT_EVERY: Time = 250_000;
/// More cannot be in flight at a time.
const FLYING_MAX: usize = 200_000;
/// As many ballots are enough after the faults, whoever is hindered by whom.
pub(crate) const BALLOTS_MAX: u32 = 24;
/// What nodes tell one another all the time is counted for so long.
pub(crate) const SPELL: Time = 200_000_000;
/// After so long, they have nothing else to tell.
pub(crate) const UNREST_MAX: Time = 5_000_000_000;
/// The same, where messages are tiny: who was removed may have to fetch a snapshot in hundreds of
/// parts, and then slot by slot what was decided since.
pub(crate) const UNREST_IN_PARTS_MAX: Time = 60_000_000_000;

/// R1, of a whole run: how much has happened, and how much is still to come.
pub(crate) fn is_bounded(events: u64, flying: usize, now: Time) -> Judged {
    let bounded = events <= EVENTS_MAX + now / EVENT_EVERY && flying <= FLYING_MAX;
    hold!("R1", bounded, "a storm: {events} events, and {flying} to come");
    Ok(())
}

#[derive(Default)]
pub(super) struct Bounds {
    healed: bool,
    /// Ballots begun since then.
    ballots: u32,
    idle: Option<Idle>,
}

/// Nothing is asked for any more.
struct Idle {
    since: Time,
    most: u64,
    within: Time,
    /// The beginning of the spell, and what has been sent in it.
    spell: Time,
    sent: BTreeMap<(NodeId, &'static str), u64>,
}

impl Bounds {
    pub(super) fn check(&mut self, event: &Event<'_>, ghost: &Ghost) -> Judged {
        match event {
            Event::Sent { from, message, bytes, .. } => {
                let kind = message.kind();
                hold!("R2", *bytes <= FRAME_MAX, "{from} sends a {kind} of {bytes} bytes");
                match &mut self.idle {
                    Some(idle) if concerns(*from, message, ghost) => {
                        return idle.sent(*from, message, ghost.now);
                    }
                    Some(_) | None => return Ok(()),
                }
            }
            Event::Healed => self.healed = true,
            Event::Durable { record: Record::Campaigned(ballot), .. } if self.healed => {
                self.ballots += 1;
                let few = self.ballots <= BALLOTS_MAX;
                hold!("V2", few, "{ballot} is ballot {} since the faults ended", self.ballots);
            }
            Event::Idle { most, within } => {
                let (since, sent) = (ghost.now, BTreeMap::new());
                let (most, within) = (*most, *within);
                self.idle = Some(Idle { since, most, within, spell: since, sent });
            }
            Event::Started { .. }
            | Event::Forgot { .. }
            | Event::Durable { .. }
            | Event::Saved { .. }
            | Event::Performed { .. }
            | Event::Requested { .. }
            | Event::Answers { .. }
            | Event::Answered { .. }
            | Event::NotDone { .. }
            | Event::ReadBegins { .. }
            | Event::ReadAnswered { .. }
            | Event::ReadSeen { .. }
            | Event::WouldServe { .. }
            | Event::Holds { .. }
            | Event::State { .. } => {}
        }
        Ok(())
    }
}

impl Idle {
    /// V3.
    fn sent(&mut self, from: NodeId, message: &Message, now: Time) -> Judged {
        if !is_routine(message) {
            let late = now - self.since > self.within;
            hold!("V3", !late, "{from} still says {message}");
            return Ok(());
        }
        if matches!(message.kind(), "pong" | "granted") {
            return Ok(()); // There are no more answers than questions, but they may come at once.
        }
        if now - self.spell > SPELL {
            self.spell = now;
            self.sent.clear();
        }
        let count = self.sent.entry((from, message.kind())).or_default();
        *count += 1;
        let routine = *count <= self.most;
        hold!("V3", routine, "{from} says {message}: nobody asks anything, and it is no. {count}");
        Ok(())
    }
}

/// Whether something keeps the newest configuration busy that should not when nothing is asked for.
pub(crate) fn is_unrest(from: NodeId, message: &Message, ghost: &Ghost) -> bool {
    !is_routine(message) && concerns(from, message, ghost)
}

/// Whether a node of the newest configuration speaks, and for one of its replicas. The replica of
/// a node that was removed, and that of a witness, is told nothing: it may propose in vain until it
/// is stopped, and leaders pass that on.
fn concerns(from: NodeId, message: &Message, ghost: &Ghost) -> bool {
    let Members { replicas, leaders, acceptors, .. } = &ghost.latest().members;
    if let Message::Propose(propose) = message {
        return replicas.contains(&propose.replica.unwrap_or(from));
    }
    [replicas, leaders, acceptors].iter().any(|role| role.contains(&from))
}

/// What nodes tell one another all the time. An acceptor that has granted a lease does not answer
/// another leader's p1a: that one goes on asking.
fn is_routine(message: &Message) -> bool {
    let all = ["ping", "pong", "heartbeat", "slot_out", "lease", "granted", "p1a"];
    all.contains(&message.kind())
}
