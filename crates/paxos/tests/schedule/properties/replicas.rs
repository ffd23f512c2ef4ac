//! R1 to R5, and what sections 2.1 and 4.2 ask of replicas.

use std::collections::BTreeMap;

use synod_paxos::{Decree, Message, NodeId, Record, Slot};

use super::Property;
use crate::{
    event::{Event, Position, hold},
    history::{History, bit},
};

/// R1: what any process passes on as decided is what is chosen, by accepts that are on disk now.
pub(crate) struct LearnsWhatIsChosen;

impl Property for LearnsWhatIsChosen {
    fn name(&self) -> &'static str {
        "R1"
    }

    fn check(&mut self, event: &Event<'_>, history: &History) -> Result<(), String> {
        let Event::Sent { from, message, .. } = event else { return Ok(()) };
        if let Message::Decision { slot, ballot, decree } = message {
            if let Some(decree) = decree {
                return is_chosen(*from, *slot, decree, history);
            }
            let chosen = history.proposed(*slot, *ballot).is_some_and(|p| p.chosen);
            hold!(chosen, "{from} says that <{ballot}, {slot}> is chosen, and it is not");
        }
        if let Message::Decisions { first, decrees } = message {
            for (slot, decree) in (first.0..).map(Slot).zip(decrees) {
                is_chosen(*from, slot, decree, history)?;
            }
        }
        Ok(())
    }
}

fn is_chosen(from: NodeId, slot: Slot, decree: &Decree, history: &History) -> Result<(), String> {
    let chosen = history.chosen(slot).map(|chosen| &chosen.decree);
    hold!(
        chosen == Some(decree),
        "{from} says that <{slot}, {decree}> is decided, but chosen is {}",
        chosen.map_or_else(|| "nothing".into(), ToString::to_string)
    );
    Ok(())
}

/// Section 4.3: what a replica notes for its next life is chosen, and is what its acceptor holds
/// where it says so. Then a restart cannot perform anything else, whichever notes are left.
pub(crate) struct NotesWhatIsChosen;

impl Property for NotesWhatIsChosen {
    fn name(&self) -> &'static str {
        "4.3 notes"
    }

    fn check(&mut self, event: &Event<'_>, history: &History) -> Result<(), String> {
        let Event::Durable { node, record } = event else { return Ok(()) };
        if let Record::Learned { slot, decree } = record {
            return is_chosen(*node, *slot, decree, history);
        }
        let Record::Performed { ballot, first, end } = record else { return Ok(()) };
        for slot in (first.0..end.0).map(Slot) {
            let held = history.proposed(slot, *ballot).filter(|p| p.accepted & bit(*node) != 0);
            let Some(held) = held else {
                return Err(format!("{node} notes {record}: it has not accepted slot {slot}"));
            };
            is_chosen(*node, slot, &held.decree, history)?;
        }
        Ok(())
    }
}

/// R2, R3 and R4: a replica's state is what the decrees chosen for the slots below slot_out make
/// of the initial state, each command once. slot_out never falls while the replica lives, nor
/// below its last snapshot when it comes back.
#[derive(Default)]
pub(crate) struct PerformsInOrder {
    slot_out: BTreeMap<NodeId, Slot>,
}

impl Property for PerformsInOrder {
    fn name(&self) -> &'static str {
        "R2, R3, R4"
    }

    fn check(&mut self, event: &Event<'_>, history: &History) -> Result<(), String> {
        if let Event::Started { node, saved, at } = event {
            hold!(
                at.slot_out >= *saved,
                "replica {node} comes back at {} from the snapshot at {saved}",
                at.slot_out
            );
            self.slot_out.insert(*node, at.slot_out);
            return state_is_history(*node, at, history);
        }
        let Event::Performed { node, at } = event else { return Ok(()) };
        let before = self.slot_out.insert(*node, at.slot_out).unwrap_or(Slot::FIRST);
        hold!(at.slot_out >= before, "replica {node} falls back to {}", at.slot_out);
        state_is_history(*node, at, history)
    }
}

fn state_is_history(node: NodeId, at: &Position, history: &History) -> Result<(), String> {
    let Position { slot_out, applied, hash } = *at;
    let Some(point) = history.point(slot_out) else {
        return Err(format!(
            "replica {node} has performed up to {slot_out}, but chosen is only up to {}",
            history.next()
        ));
    };
    hold!(
        (applied, hash) == (point.applied, point.hash),
        "replica {node} at {slot_out} has another state: {applied} operations, hash {hash:x}; \
         the decrees make {} operations, hash {:x}",
        point.applied,
        point.hash
    );
    Ok(())
}

/// R5: a replica proposes only for slots below slot_out + WINDOW, whose configuration it knows;
/// and a leader commands only such slots.
pub(crate) struct WithinWindow;

impl Property for WithinWindow {
    fn name(&self) -> &'static str {
        "R5"
    }

    fn check(&mut self, event: &Event<'_>, history: &History) -> Result<(), String> {
        let Event::Sent { from, message, slot_out } = event else { return Ok(()) };
        if let Message::Propose(propose) = message
            && propose.replica.is_none()
        {
            let (slot, end) = (propose.slot, slot_out.plus(history.window()));
            hold!(slot < end, "replica {from} at {slot_out} proposes for slot {slot}");
            let epoch = history.config(slot).map(|config| config.epoch);
            hold!(
                epoch == Some(propose.epoch),
                "replica {from} proposes for slot {slot} in epoch {}, which is {epoch:?}",
                propose.epoch
            );
        }
        if let Message::P2a(pvalue) = message {
            let known = history.config(pvalue.slot).is_some();
            hold!(known, "leader {from} commands slot {} ahead of the window", pvalue.slot);
        }
        Ok(())
    }
}

/// Section 2.1: the processes of a configuration may stop when all its slots are decided, and on
/// the disks of enough replicas of a later one.
pub(crate) struct RetiresWhatIsDone;

impl Property for RetiresWhatIsDone {
    fn name(&self) -> &'static str {
        "2.1 retire"
    }

    fn check(&mut self, event: &Event<'_>, history: &History) -> Result<(), String> {
        let Event::Retired { node, config } = event else { return Ok(()) };
        let later = history.schedule.iter().filter(|(_, later)| later.epoch > config.epoch);
        let Some((end, _)) = later.clone().next() else {
            return Err(format!("replica {node} retires {config}, and no other follows"));
        };
        hold!(history.next() >= *end, "replica {node} retires {config} with open slots");
        let mut begun = later.filter(|(first, next)| {
            let replicas = &next.members.replicas;
            let enough = (next.members.tolerates() + 1).min(replicas.len());
            history.holders(replicas, *first) >= enough
        });
        hold!(begun.next().is_some(), "replica {node} retires {config}: too few disks hold it");
        Ok(())
    }
}
