//! G2, G3, G5, G7, G8 and G9: what replicas pass on, perform and keep.

use std::collections::BTreeMap;

use synod_paxos::{Decree, Message, NodeId, Record, Slot};

use crate::{
    event::{Event, Judged, Position, hold},
    ghost::{Ghost, bit},
};

#[derive(Default)]
pub(super) struct Replicas {
    slot_out: BTreeMap<NodeId, Slot>,
    /// Whose state was looked at first at the end, and that state.
    first: Option<(NodeId, Vec<u8>)>,
}

impl Replicas {
    pub(super) fn check(&mut self, event: &Event<'_>, ghost: &Ghost) -> Judged {
        match event {
            Event::Sent { from, message, .. } => sent(*from, message, ghost),
            Event::Durable { node, record } => noted(*node, record, ghost),
            Event::Started { node, saved, at, .. } => {
                hold!(
                    "G5",
                    at.slot_out >= *saved,
                    "replica {node} comes back at {} from the snapshot at {saved}",
                    at.slot_out
                );
                self.slot_out.insert(*node, at.slot_out);
                is_history(*node, *at, ghost)
            }
            Event::Performed { node, at, .. } => {
                let before = self.slot_out.insert(*node, at.slot_out).unwrap_or(Slot::FIRST);
                let on = at.slot_out >= before;
                hold!("G5", on, "replica {node} falls back from {before} to {}", at.slot_out);
                is_history(*node, *at, ghost)
            }
            Event::State { node, bytes } => self.is_alike(*node, bytes, ghost),
            Event::Forgot { .. }
            | Event::Saved { .. }
            | Event::Requested { .. }
            | Event::Answers { .. }
            | Event::Answered { .. }
            | Event::NotDone { .. }
            | Event::ReadBegins { .. }
            | Event::ReadAnswered { .. }
            | Event::ReadSeen { .. }
            | Event::WouldServe { .. }
            | Event::Holds { .. }
            | Event::Healed
            | Event::Idle { .. } => Ok(()),
        }
    }
}

impl Replicas {
    /// G9.
    fn is_alike(&mut self, node: NodeId, bytes: &[u8], ghost: &Ghost) -> Judged {
        let (first, theirs) = self.first.get_or_insert_with(|| (node, bytes.to_vec()));
        let (same, slot) = (theirs == bytes, ghost.next());
        hold!("G9", same, "the snapshots of {first} and {node} differ, at slot {slot}");
        Ok(())
    }
}

fn sent(from: NodeId, message: &Message, ghost: &Ghost) -> Judged {
    if let Message::Decision { slot, ballot, decree } = message {
        if let Some(decree) = decree {
            return is_chosen(from, *slot, decree, ghost);
        }
        let chosen = ghost.proposed(*slot, *ballot).is_some_and(|p| p.chosen);
        hold!("G2", chosen, "{from} says that <{ballot}, {slot}> is chosen, and it is not");
    }
    if let Message::Decisions { first, decrees } = message {
        for (slot, decree) in (first.0..).map(Slot).zip(decrees) {
            is_chosen(from, slot, decree, ghost)?;
        }
    }
    Ok(())
}

fn is_chosen(from: NodeId, slot: Slot, decree: &Decree, ghost: &Ghost) -> Judged {
    let chosen = ghost.chosen(slot).map(|chosen| &chosen.decree);
    hold!(
        "G2",
        chosen == Some(decree),
        "{from} says that <{slot}, {decree}> is decided, but chosen is {}",
        chosen.map_or_else(|| "nothing".into(), ToString::to_string)
    );
    Ok(())
}

/// G2: what a replica notes for its next life is chosen, and is what its acceptor holds where it
/// says so.
fn noted(node: NodeId, record: &Record, ghost: &Ghost) -> Judged {
    if ghost.strangers & bit(node) != 0 {
        return Ok(()); // What it has accepted does not count, either.
    }
    if let Record::Learned { slot, decree } = record {
        return is_chosen(node, *slot, decree, ghost);
    }
    let Record::Performed { ballot, first, end } = record else { return Ok(()) };
    for slot in (first.0..end.0).map(Slot) {
        let held = ghost.proposed(slot, *ballot).filter(|p| p.accepted & bit(node) != 0);
        hold!("G2", held.is_some(), "{node} notes {record}: it has not accepted slot {slot}");
        if let Some(held) = held {
            is_chosen(node, slot, &held.decree, ghost)?;
        }
    }
    Ok(())
}

/// G3 and G8: a replica's state is what the decrees chosen for the slots below slot_out make of the
/// initial state.
fn is_history(node: NodeId, at: Position, ghost: &Ghost) -> Judged {
    let Position { slot_out, digest } = at;
    let point = ghost.point(slot_out);
    hold!(
        "G3",
        point.is_some(),
        "replica {node} has performed up to {slot_out}, but chosen is only up to {}",
        ghost.next()
    );
    let expected = point.map_or(digest, |point| point.digest);
    hold!(
        "G8",
        digest == expected,
        "replica {node} at {slot_out} has digest {digest:016x}, and the decrees make \
         {expected:016x}: a result differs, so the state machine is not deterministic, or a \
         decree was not performed as it was chosen"
    );
    Ok(())
}
