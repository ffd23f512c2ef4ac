//! M1 to M5: which configuration governs what, and who takes part.

use std::collections::{BTreeMap, BTreeSet};

use synod_paxos::{Ballot, Message, NodeId, Slot};

use crate::{
    event::{Event, Judged, Known, hold},
    ghost::{Ghost, bit, set},
};

#[derive(Default)]
pub(super) struct Configurations {
    lives: BTreeSet<(NodeId, u32)>,
    forgetful: BTreeSet<NodeId>,
    /// Leaders that know that they were removed, with the last ballot that they had begun by then.
    removed: BTreeMap<NodeId, Ballot>,
}

impl Configurations {
    pub(super) fn check(&mut self, event: &Event<'_>, ghost: &Ghost) -> Judged {
        match event {
            Event::Forgot { node } => drop(self.forgetful.insert(*node)),
            Event::Started { node, incarnation, at, latest, .. } => {
                let new = self.lives.insert((*node, *incarnation));
                let known = new || self.forgetful.contains(node);
                hold!("M4", known, "node {node} lives its life {incarnation} a second time");
                self.knows(*node, at.slot_out, *latest, ghost);
            }
            Event::Sent { from, message, slot_out, .. } => {
                within_window(*from, message, *slot_out, ghost)?;
                return self.sent(*from, message, ghost);
            }
            Event::Performed { node, at, latest } => {
                self.knows(*node, at.slot_out, *latest, ghost);
                return is_known(*node, *latest, ghost);
            }
            Event::WouldServe { node, epoch } => {
                let mut configs = ghost.schedule.iter().map(|(_, config)| config);
                let leads = configs.any(|config| config.epoch == *epoch && config.leads(*node));
                hold!("M5", leads, "{node} does not lead in epoch {epoch}, and lets others read");
            }
            Event::Durable { .. }
            | Event::Saved { .. }
            | Event::Requested { .. }
            | Event::Answers { .. }
            | Event::Answered { .. }
            | Event::NotDone { .. }
            | Event::ReadSeen { .. }
            | Event::ReadBegins { .. }
            | Event::ReadAnswered { .. }
            | Event::Holds { .. }
            | Event::Healed
            | Event::Idle { .. }
            | Event::State { .. } => {}
        }
        Ok(())
    }

    /// A replica is at `slot_out`, and knows of no configuration after `latest`. Who is in none
    /// of them was not removed, but is to be added.
    fn knows(&mut self, node: NodeId, slot_out: Slot, latest: Known<'_>, ghost: &Ghost) {
        let Known { first, config } = latest;
        let mut before = ghost.schedule.iter().filter(|(_, other)| other.epoch < config.epoch);
        if first <= slot_out && !config.leads(node) && before.any(|(_, other)| other.leads(node)) {
            self.removed.entry(node).or_insert_with(|| ghost.begun(node));
        } else {
            self.removed.remove(&node);
        }
    }

    /// M3 and M5.
    fn sent(&self, from: NodeId, message: &Message, ghost: &Ghost) -> Judged {
        if let Message::P1a { ballot, .. } = message {
            let last = self.removed.get(&from);
            let may = last.is_none_or(|last| ballot <= last);
            hold!("M5", may, "leader {from} was removed, and begins ballot {ballot}");
        }
        let Message::Decision { slot, ballot, .. } = message else { return Ok(()) };
        if ballot.leader != from {
            return Ok(());
        }
        let (Some(config), Some(proposed)) = (ghost.config(*slot), ghost.proposed(*slot, *ballot))
        else {
            return Ok(());
        };
        // Its own acceptor's vote does not leave the node.
        let votes = proposed.voted | proposed.accepted & bit(from);
        let members = votes & set(&config.members.acceptors);
        let quorum = config.members.quorums.phase2;
        hold!(
            "M3",
            members.count_ones() >= quorum || votes.count_ones() < quorum,
            "leader {from} decides <{ballot}, {slot}> by {votes:b}, of whom {members:b} are members"
        );
        Ok(())
    }
}

/// M1: a replica proposes only for slots below slot_out + WINDOW, in the epoch that governs them;
/// and a leader commands only slots whose configuration is settled.
fn within_window(from: NodeId, message: &Message, slot_out: Slot, ghost: &Ghost) -> Judged {
    if let Message::Propose(propose) = message
        && propose.replica.is_none()
    {
        let (slot, end) = (propose.slot, slot_out.plus(ghost.window));
        hold!("M1", slot < end, "replica {from} at {slot_out} proposes for slot {slot}");
        let epoch = ghost.config(slot).map(|config| config.epoch);
        hold!(
            "M1",
            epoch == Some(propose.epoch),
            "replica {from} proposes for slot {slot} in epoch {}, which is {epoch:?}",
            propose.epoch
        );
    }
    if let Message::P2a(pvalue) = message {
        let config = ghost.config(pvalue.slot);
        let known = config.is_some();
        hold!("M1", known, "leader {from} commands slot {} ahead of the window", pvalue.slot);
    }
    Ok(())
}

/// M1 and M2: the newest configuration that a replica knows is that of the log, and is sound.
fn is_known(node: NodeId, latest: Known<'_>, ghost: &Ghost) -> Judged {
    let Known { first, config } = latest;
    let epoch = config.epoch;
    let logged = ghost.schedule.iter().find(|(_, logged)| logged.epoch == epoch);
    let same = logged.is_some_and(|(from, logged)| *from == first && logged == config);
    hold!("M1", same, "node {node} knows {config} from slot {first}, and the log does not");
    let (n, quorums) = (config.members.acceptors.len(), config.members.quorums);
    let sound = (quorums.phase1 + quorums.phase2) as usize > n;
    hold!("M2", sound, "node {node} knows {config}, whose quorums may miss one another");
    Ok(())
}
