//! AC1, AC2, AC3, AC5, AC7 and G1: what acceptors hold, say and forget.

use std::collections::BTreeMap;

use synod_paxos::{
    Ballot, Message, NodeId, PValue, Record, Slot,
    message::{LeaseMessage, P1b, P2b, Vote},
};

use crate::{
    event::{Event, Judged, hold},
    ghost::{Ghost, Set, bit},
};

#[derive(Default)]
pub(super) struct Acceptors {
    /// The highest ballot that an acceptor has shown to others.
    revealed: BTreeMap<NodeId, Ballot>,
    /// The ballot that is on its disk.
    durable: BTreeMap<NodeId, Ballot>,
    /// The ballot in its memory, in this life.
    held: BTreeMap<NodeId, Ballot>,
    /// Acceptors whose disks were tampered with.
    forgetful: Set,
}

impl Acceptors {
    pub(super) fn check(&mut self, event: &Event<'_>, ghost: &Ghost) -> Judged {
        match event {
            Event::Forgot { node } => self.forgetful |= bit(*node),
            Event::Started { node, .. } => drop(self.held.remove(node)),
            Event::Holds { node, ballot } => return self.holds(*node, *ballot),
            Event::Durable { node, record } => return self.durable(*node, record, ghost),
            Event::Sent { from, message, .. } => return self.sent(*from, message, ghost),
            Event::Saved { .. }
            | Event::Performed { .. }
            | Event::Requested { .. }
            | Event::Answers { .. }
            | Event::Answered { .. }
            | Event::NotDone { .. }
            | Event::ReadBegins { .. }
            | Event::ReadAnswered { .. }
            | Event::ReadSeen { .. }
            | Event::WouldServe { .. }
            | Event::Healed
            | Event::Idle { .. }
            | Event::State { .. } => {}
        }
        Ok(())
    }

    fn forgets(&self, node: NodeId) -> bool {
        self.forgetful & bit(node) != 0
    }

    /// AC1, in memory: never below what was shown, on which others rely.
    fn holds(&mut self, node: NodeId, ballot: Ballot) -> Judged {
        let revealed = self.revealed.get(&node).copied().unwrap_or(Ballot::BOTTOM);
        let known = ballot >= revealed || self.forgets(node);
        hold!("AC1", known, "acceptor {node} holds {ballot} after it showed {revealed}");
        let held = self.held.entry(node).or_insert(ballot);
        hold!("AC1", ballot >= *held, "acceptor {node} goes back from {held} to {ballot}");
        *held = ballot;
        Ok(())
    }

    fn durable(&mut self, node: NodeId, record: &Record, ghost: &Ghost) -> Judged {
        if let Record::Adopted(ballot) | Record::Accepted(PValue { ballot, .. }) = record {
            let durable = self.durable.entry(node).or_insert(*ballot);
            let rises = *ballot >= *durable || self.forgetful & bit(node) != 0;
            hold!("AC2", rises, "acceptor {node} goes back from {durable} to {ballot} on its disk");
            *durable = *ballot;
        }
        match record {
            Record::Accepted(pvalue) => accepted(node, pvalue, ghost),
            Record::Collected(slot) => collected(node, *slot, ghost),
            Record::Started(_)
            | Record::Campaigned(_)
            | Record::Adopted(_)
            | Record::Learned { .. }
            | Record::Performed { .. }
            | Record::Lost { .. } => Ok(()),
        }
    }

    fn sent(&mut self, from: NodeId, message: &Message, ghost: &Ghost) -> Judged {
        let shown = if let Message::P1b(p1b) = message {
            Some(p1b.held)
        } else if let Message::P2b(P2b { asked: held, vote: Vote::Accepted, .. })
        | Message::P2b(P2b { vote: Vote::Preempted(held), .. })
        | Message::Pong { held, .. }
        | Message::Lease(LeaseMessage::Granted { ballot: held, .. }) = message
        {
            Some(*held)
        } else {
            None
        };
        let Some(shown) = shown else { return Ok(()) };
        if self.forgets(from) {
            return Ok(());
        }
        let revealed = self.revealed.entry(from).or_insert(shown);
        hold!("AC1", shown >= *revealed, "acceptor {from} shows {shown} after {revealed}");
        *revealed = shown;
        let durable = self.durable.get(&from).copied().unwrap_or(Ballot::BOTTOM);
        hold!("AC7", shown <= durable, "acceptor {from} says {message}: on its disk is {durable}");
        if let Message::P2b(P2b { slot, asked, vote: Vote::Accepted }) = message {
            let proposed = ghost.proposed(*slot, *asked);
            let there = proposed.is_some_and(|p| p.accepted & bit(from) != 0);
            hold!("AC7", there, "acceptor {from} says {message}: that is not on its disk");
        }
        if let Message::P1b(p1b) = message
            && p1b.held == p1b.asked
        {
            return reports_all(from, p1b, ghost);
        }
        Ok(())
    }
}

/// AC3 and G1, when an accepted pvalue is on disk.
fn accepted(node: NodeId, pvalue: &PValue, ghost: &Ghost) -> Judged {
    let PValue { ballot, slot, decree } = pvalue;
    let first = ghost.proposed(*slot, *ballot).map(|proposed| &proposed.decree);
    hold!(
        "AC3",
        first == Some(decree),
        "acceptor {node} accepted {pvalue}, where {} was proposed before",
        first.map_or_else(|| "nothing".into(), ToString::to_string)
    );
    let ballots = ghost.ballots(*slot);
    if ballots.len() < 2 {
        return Ok(());
    }
    let Some(chosen) = ghost.chosen(*slot) else { return Ok(()) };
    for other in ballots {
        let bound = other.ballot > chosen.ballot && other.accepted != 0 || other.chosen;
        hold!(
            "G1",
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

/// AC5, of a slot that is collected: f + 1 replicas of a configuration that needs it have it.
fn collected(node: NodeId, slot: Slot, ghost: &Ghost) -> Judged {
    let Some(own) = ghost.config(Slot(slot.0.saturating_sub(1))) else {
        return Err(crate::event::Violation::new(
            "AC5",
            format!("acceptor {node} collects below {slot}, which is not decided"),
        ));
    };
    let enough = |config: &synod_paxos::Config| {
        (config.members.tolerates() + 1).min(config.members.replicas.len())
    };
    let begun = ghost.schedule.iter().filter(|(first, config)| {
        ghost.holders(&config.members.replicas, *first) >= enough(config)
    });
    let begun = begun.map(|(_, config)| config.epoch).max().unwrap_or(0);
    let known = ghost.schedule.iter().filter(|(first, config)| {
        config.epoch >= own.epoch.max(begun) && *first < slot.plus(ghost.window)
    });
    for (_, config) in known {
        let holders = ghost.holders(&config.members.replicas, slot);
        hold!(
            "AC5",
            holders >= enough(config),
            "acceptor {node} collects below {slot}: on {holders} disks of {config}"
        );
    }
    Ok(())
}

/// AC5: a report has for each slot the latest pvalue accepted in a lower ballot.
fn reports_all(from: NodeId, p1b: &P1b, ghost: &Ghost) -> Judged {
    for PValue { ballot, slot, decree } in &p1b.accepted {
        let proposed = ghost.proposed(*slot, *ballot);
        let there = proposed.is_some_and(|p| p.accepted & bit(from) != 0 && p.decree == *decree);
        hold!(
            "AC7",
            there,
            "acceptor {from} reports <{ballot}, {slot}, {decree}>: not on its disk"
        );
    }
    let end = ghost.end().min(p1b.rest.unwrap_or(Slot(u64::MAX)));
    let mut slot = p1b.first.max(p1b.gc_slot);
    let mut reported = p1b.accepted.iter().peekable();
    while slot < end {
        while reported.next_if(|pvalue| pvalue.slot < slot).is_some() {}
        let mut below = ghost.ballots(slot).iter().rev().filter(|p| p.ballot < p1b.asked);
        if let Some(latest) = below.find(|p| p.accepted & bit(from) != 0) {
            let told = reported.peek().filter(|pvalue| pvalue.slot == slot);
            hold!(
                "AC5",
                told.is_some_and(|told| told.ballot >= latest.ballot),
                "acceptor {from} forgot <{}, {slot}> in its report for {}",
                latest.ballot,
                p1b.asked
            );
        }
        slot = slot.next();
    }
    Ok(())
}
