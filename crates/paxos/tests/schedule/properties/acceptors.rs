//! A1 to A5, and what section 4.2 asks of acceptors.

use std::collections::BTreeMap;

use synod_paxos::{
    Ballot, Config, Message, NodeId, PValue, Record, Slot,
    message::{P1b, P2b, Vote},
};

use super::Property;
use crate::{
    event::{Event, hold},
    history::{History, bit},
};

/// A1: the ballots that an acceptor reveals never fall, whatever crashes lie between. A quorum
/// that promised to ignore lower ballots must be believed for ever.
#[derive(Default)]
pub(crate) struct BallotsRise {
    revealed: BTreeMap<NodeId, Ballot>,
}

impl Property for BallotsRise {
    fn name(&self) -> &'static str {
        "A1"
    }

    fn check(&mut self, event: &Event<'_>, _: &History) -> Result<(), String> {
        let Event::Sent { from, message, .. } = event else { return Ok(()) };
        let held = if let Message::P1b(p1b) = message {
            p1b.held
        } else if let Message::P2b(P2b { asked: held, vote: Vote::Accepted, .. })
        | Message::P2b(P2b { vote: Vote::Preempted(held), .. })
        | Message::Pong { held, .. } = message
        {
            *held
        } else {
            return Ok(());
        };
        let revealed = self.revealed.entry(*from).or_insert(held);
        hold!(held >= *revealed, "acceptor {from} holds {held} after it showed {revealed}");
        *revealed = held;
        Ok(())
    }
}

/// A2: an acceptor accepts only in the ballot that it holds. On its disk, that is a sequence of
/// ballots that never falls; and what it says it has accepted is there (section 4.3).
#[derive(Default)]
pub(crate) struct AcceptsWhatItHolds {
    held: BTreeMap<NodeId, Ballot>,
}

impl Property for AcceptsWhatItHolds {
    fn name(&self) -> &'static str {
        "A2"
    }

    fn check(&mut self, event: &Event<'_>, history: &History) -> Result<(), String> {
        if let Event::Durable { node, record } = event
            && let Record::Adopted(ballot) | Record::Accepted(PValue { ballot, .. }) = record
        {
            let held = self.held.entry(*node).or_insert(*ballot);
            hold!(*ballot >= *held, "acceptor {node} goes back from {held} to {ballot}");
            *held = *ballot;
        }
        let Event::Sent { from, message, .. } = event else { return Ok(()) };
        if let Message::P2b(P2b { slot, asked, vote: Vote::Accepted }) = message {
            let proposed = history.proposed(*slot, *asked);
            let durable = proposed.is_some_and(|p| p.accepted & bit(*from) != 0);
            hold!(durable, "acceptor {from} says it accepted <{asked}, {slot}>: not on disk");
        }
        if let Message::P1b(p1b) = message {
            let held = self.held.get(from).copied().unwrap_or(Ballot::BOTTOM);
            hold!(held >= p1b.held, "acceptor {from} promises {}: not on disk", p1b.held);
        }
        Ok(())
    }
}

/// A3, as sections 4.1 and 4.2 leave it: a report to a scout has for each slot the latest pvalue
/// accepted in a lower ballot, and leaves out only what has been collected.
pub(crate) struct ForgetsNothing;

impl Property for ForgetsNothing {
    fn name(&self) -> &'static str {
        "A3"
    }

    fn check(&mut self, event: &Event<'_>, history: &History) -> Result<(), String> {
        let Event::Sent { from, message: Message::P1b(p1b), .. } = event else { return Ok(()) };
        if p1b.held != p1b.asked {
            return Ok(());
        }
        reported_is_accepted(*from, p1b, history)?;
        let end = history.end().min(p1b.rest.unwrap_or(Slot(u64::MAX)));
        let mut slot = p1b.first.max(p1b.gc_slot);
        while slot < end {
            let mut below = history.ballots(slot).iter().rev().filter(|p| p.ballot < p1b.asked);
            if let Some(latest) = below.find(|p| p.accepted & bit(*from) != 0) {
                let reported = p1b.accepted.iter().find(|pvalue| pvalue.slot == slot);
                hold!(
                    reported.is_some_and(|reported| reported.ballot >= latest.ballot),
                    "acceptor {from} forgot <{}, {slot}> in its report for {}",
                    latest.ballot,
                    p1b.asked
                );
            }
            slot = slot.next();
        }
        Ok(())
    }
}

fn reported_is_accepted(from: NodeId, p1b: &P1b, history: &History) -> Result<(), String> {
    for PValue { ballot, slot, decree } in &p1b.accepted {
        let proposed = history.proposed(*slot, *ballot);
        let accepted = proposed.is_some_and(|p| p.accepted & bit(from) != 0 && p.decree == *decree);
        hold!(accepted, "acceptor {from} reports <{ballot}, {slot}, {decree}>: not on its disk");
    }
    Ok(())
}

/// A4: at most one decree is accepted in one ballot and slot, by whichever acceptors.
pub(crate) struct OneDecreePerBallot;

impl Property for OneDecreePerBallot {
    fn name(&self) -> &'static str {
        "A4"
    }

    fn check(&mut self, event: &Event<'_>, history: &History) -> Result<(), String> {
        let Event::Durable { node, record: Record::Accepted(pvalue) } = event else {
            return Ok(());
        };
        let PValue { ballot, slot, decree } = pvalue;
        let first = history.proposed(*slot, *ballot).map(|proposed| &proposed.decree);
        hold!(
            first == Some(decree),
            "acceptor {node} accepted {pvalue}, where {} was proposed before",
            first.map_or_else(|| "nothing".into(), ToString::to_string)
        );
        Ok(())
    }
}

/// A5: once a quorum has accepted a decree, nothing else is accepted in a higher ballot, whichever
/// of the two came first. So no two decrees are ever chosen for one slot.
pub(crate) struct ChosenStaysChosen;

impl Property for ChosenStaysChosen {
    fn name(&self) -> &'static str {
        "A5"
    }

    fn check(&mut self, event: &Event<'_>, history: &History) -> Result<(), String> {
        let Event::Durable { record: Record::Accepted(PValue { slot, .. }), .. } = event else {
            return Ok(());
        };
        let Some(chosen) = history.chosen(*slot) else { return Ok(()) };
        for other in history.ballots(*slot) {
            let bound = other.ballot > chosen.ballot && other.accepted != 0;
            hold!(
                !bound || other.decree == chosen.decree,
                "<{}, {slot}, {}> is chosen, but {} is accepted in {}",
                chosen.ballot,
                chosen.decree,
                other.decree,
                other.ballot
            );
        }
        Ok(())
    }
}

/// Section 4.2: an acceptor forgets a slot only if f + 1 replicas of every configuration that the
/// slot concerns have it on disk: its own, and those that slots below it have brought up. A
/// configuration is over, and its processes may be gone, when f + 1 replicas of a later one have
/// everything before their first slot on disk.
pub(crate) struct CollectsWhatIsHeld;

impl Property for CollectsWhatIsHeld {
    fn name(&self) -> &'static str {
        "4.2 collect"
    }

    fn check(&mut self, event: &Event<'_>, history: &History) -> Result<(), String> {
        let Event::Durable { node, record: Record::Collected(slot) } = event else {
            return Ok(());
        };
        let last = Slot(slot.0 - 1);
        let Some(own) = history.config(last) else {
            return Err(format!("acceptor {node} collects below {slot}, which is not decided"));
        };
        let enough =
            |config: &Config| (config.members.tolerates() + 1).min(config.members.replicas.len());
        let begun = history.schedule.iter().filter(|(first, config)| {
            history.holders(&config.members.replicas, *first) >= enough(config)
        });
        let begun = begun.map(|(_, config)| config.epoch).max().unwrap_or(0);
        let known = history.schedule.iter().filter(|(first, config)| {
            config.epoch >= own.epoch.max(begun) && *first < slot.plus(history.window())
        });
        for (_, config) in known {
            let enough = enough(config);
            let holders = history.holders(&config.members.replicas, *slot);
            hold!(
                holders >= enough,
                "acceptor {node} collects below {slot}: on {holders} disks of {config}"
            );
        }
        Ok(())
    }
}
