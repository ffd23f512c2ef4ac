//! M1, M2 and M4: which configuration governs what, and who takes part.

use std::collections::BTreeSet;

use synod_paxos::{Message, NodeId};

use crate::{
    event::{Event, Judged, Known, hold},
    ghost::Ghost,
};

#[derive(Default)]
pub(super) struct Configurations {
    lives: BTreeSet<(NodeId, u32)>,
    forgetful: BTreeSet<NodeId>,
}

impl Configurations {
    pub(super) fn check(&mut self, event: &Event<'_>, ghost: &Ghost) -> Judged {
        match event {
            Event::Forgot { node } => drop(self.forgetful.insert(*node)),
            Event::Started { node, incarnation, .. } => {
                let new = self.lives.insert((*node, *incarnation));
                let known = new || self.forgetful.contains(node);
                hold!("M4", known, "node {node} lives its life {incarnation} a second time");
            }
            Event::Sent { from, message, slot_out, .. } => {
                return within_window(*from, message, *slot_out, ghost);
            }
            Event::Performed { node, latest, .. } => return is_known(*node, *latest, ghost),
            Event::Durable { .. }
            | Event::Saved { .. }
            | Event::Requested { .. }
            | Event::Answers { .. }
            | Event::Answered { .. }
            | Event::NotDone { .. }
            | Event::ReadBegins { .. }
            | Event::ReadAnswered { .. }
            | Event::ReadSeen { .. }
            | Event::Holds { .. } => {}
        }
        Ok(())
    }
}

/// M1: a replica proposes only for slots below slot_out + WINDOW, in the epoch that governs them;
/// and a leader commands only slots whose configuration is settled.
fn within_window(
    from: NodeId,
    message: &Message,
    slot_out: synod_paxos::Slot,
    ghost: &Ghost,
) -> Judged {
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
