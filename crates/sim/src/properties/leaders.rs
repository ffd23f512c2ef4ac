//! AC4, AC6, AC3 at the leader, and L3: ballots and what is proposed in them.

use std::collections::BTreeSet;

use synod_paxos::{Ballot, Config, Decree, Message, NodeId, PValue, Record, Slot};

use crate::{
    event::{Event, Judged, hold},
    ghost::{Ghost, Report, bit},
};

#[derive(Default)]
pub(super) struct Leaders {
    campaigned: BTreeSet<Ballot>,
    /// Nodes whose disks were tampered with: they may not know what they have used.
    wiped: BTreeSet<NodeId>,
}

impl Leaders {
    pub(super) fn check(&mut self, event: &Event<'_>, ghost: &mut Ghost) -> Judged {
        match event {
            Event::Forgot { node } => drop(self.wiped.insert(*node)),
            Event::Durable { node, record: Record::Campaigned(ballot) } => {
                let new = self.campaigned.insert(*ballot) || self.wiped.contains(node);
                hold!("AC4", new, "leader {node} uses ballot {ballot} a second time");
                hold!("AC4", ballot.leader == *node, "leader {node} uses ballot {ballot}");
            }
            Event::Sent { from, incarnation, message, .. } => {
                return self.sent(*from, *incarnation, message, ghost);
            }
            Event::Started { .. }
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
            | Event::Holds { .. } => {}
        }
        Ok(())
    }

    fn sent(&self, from: NodeId, life: u32, message: &Message, ghost: &mut Ghost) -> Judged {
        if let Message::P1a { ballot, .. } = message {
            let used = self.campaigned.contains(ballot);
            hold!("AC7", used, "leader {from} starts ballot {ballot}, which is not on its disk");
            let own = ballot.leader == from && ballot.incarnation == life;
            hold!("L3", own, "leader {from} in its life {life} starts ballot {ballot}");
        }
        let Message::P2a(pvalue) = message else { return Ok(()) };
        let PValue { ballot, slot, decree } = pvalue;
        let own = ballot.leader == from && ballot.incarnation == life;
        hold!("L3", own, "leader {from} in its life {life} proposes in ballot {ballot}");
        let Some(proposed) = ghost.proposed(*slot, *ballot) else { return Ok(()) };
        hold!(
            "AC3",
            proposed.decree == *decree,
            "leader {from} proposes <{ballot}, {slot}, {decree}> after {}",
            proposed.decree
        );
        if proposed.permitted {
            return Ok(());
        }
        let Some(config) = ghost.config(*slot) else { return Ok(()) };
        let permitted = permitted(pvalue, config, ghost);
        hold!("AC6", permitted, "no quorum of reports lets leader {from} propose {pvalue}");
        if let Some(chosen) = ghost.chosen(*slot) {
            hold!(
                "G1",
                chosen.decree == *decree || chosen.ballot > *ballot,
                "<{}, {slot}, {}> is chosen, but leader {from} proposes {pvalue}",
                chosen.ballot,
                chosen.decree
            );
        }
        if let Some(proposed) = ghost.proposed_mut(*slot, *ballot) {
            proposed.permitted = true;
        }
        Ok(())
    }
}

/// AC6: there is a quorum of reports to this ballot of which it is the latest decree, or which have
/// none.
fn permitted(pvalue: &PValue, config: &Config, ghost: &Ghost) -> bool {
    let PValue { ballot, slot, decree } = pvalue;
    let reports = ghost.reports.get(ballot).map_or(&[][..], Vec::as_slice);
    let latest: Vec<Option<Ballot>> = config
        .members
        .acceptors
        .iter()
        .filter_map(|acceptor| {
            if *acceptor == ballot.leader {
                return latest_beside(*slot, *ballot, ghost);
            }
            let report = reports.iter().find(|r| r.from == *acceptor && covers(r, *slot))?;
            let below = |(s, b): &&(Slot, Ballot)| s == slot && b < ballot;
            Some(report.accepted.iter().find(below).map(|(_, b)| *b))
        })
        .collect();
    let quorum = config.members.quorums.phase1 as usize;
    let up_to = |highest| latest.iter().filter(|reported| **reported <= highest).count();
    let mut candidates = latest.iter().copied().chain([None]);
    candidates.any(|highest| {
        let decreed = highest.is_none_or(|highest| is_decree(ghost, *slot, highest, decree));
        decreed && up_to(highest) >= quorum
    })
}

/// What the acceptor beside the leader has reported, if it has: by what is on its disk.
fn latest_beside(slot: Slot, ballot: Ballot, ghost: &Ghost) -> Option<Option<Ballot>> {
    let own = bit(ballot.leader);
    let below = ghost.ballots(slot).iter().filter(|p| p.ballot < ballot && p.accepted & own != 0);
    let latest = below.map(|proposed| proposed.ballot).max();
    ghost.adopted_beside.contains(&ballot).then_some(latest)
}

fn covers(report: &Report, slot: Slot) -> bool {
    report.first.max(report.gc_slot) <= slot && report.rest.is_none_or(|rest| slot < rest)
}

fn is_decree(ghost: &Ghost, slot: Slot, ballot: Ballot, decree: &Decree) -> bool {
    ghost.proposed(slot, ballot).is_some_and(|proposed| proposed.decree == *decree)
}
