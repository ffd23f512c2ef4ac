//! AC4, AC6, AC3 at the leader, G6 and L3: ballots and what is proposed in them.

use std::collections::{BTreeMap, BTreeSet};

use synod_paxos::{Ballot, Config, Decree, Message, NodeId, PValue, Record, Slot};

use crate::{
    event::{Event, Judged, hold},
    ghost::{Ghost, Report, bit},
};

#[derive(Default)]
pub(super) struct Leaders {
    campaigned: BTreeSet<Ballot>,
    phases: BTreeMap<Ballot, Vec<Phase>>,
    /// Nodes whose disks were tampered with: they may not know what they have used.
    wiped: BTreeSet<NodeId>,
}

/// Phase 1 of a ballot, for the slots from `first` on that one configuration governs.
struct Phase {
    epoch: u64,
    /// What is chosen below this slot was looked for.
    looked_at: Slot,
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
            Event::Sent { from, incarnation, message, slot_out, .. } => {
                return self.sent((*from, *incarnation), *slot_out, message, ghost);
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
            | Event::WouldServe { .. }
            | Event::Holds { .. }
            | Event::Healed
            | Event::Idle { .. }
            | Event::State { .. } => {}
        }
        Ok(())
    }

    fn sent(
        &mut self,
        (from, life): (NodeId, u32),
        slot_out: Slot,
        message: &Message,
        ghost: &mut Ghost,
    ) -> Judged {
        if let Message::P1a { ballot, first } = message {
            let used = self.campaigned.contains(ballot);
            hold!("AC7", used, "leader {from} starts ballot {ballot}, which is not on its disk");
            let own = ballot.leader == from && ballot.incarnation == life;
            hold!("L3", own, "leader {from} in its life {life} starts ballot {ballot}");
            self.begins(*ballot, *first, ghost);
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
        self.is_complete(pvalue, config.epoch, slot_out, ghost)?;
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

    /// A scout asks for what was accepted from `first` on. It asks again, and for the rest.
    fn begins(&mut self, ballot: Ballot, first: Slot, ghost: &Ghost) {
        let Some(config) = ghost.config(first) else { return };
        let phases = self.phases.entry(ballot).or_default();
        if phases.iter().all(|phase| phase.epoch != config.epoch) {
            phases.push(Phase { epoch: config.epoch, looked_at: first });
        }
    }

    /// G6: when a slot is commanded, so is everything before it that was chosen in lower ballots,
    /// unless it need not be.
    fn is_complete(
        &mut self,
        pvalue: &PValue,
        epoch: u64,
        slot_out: Slot,
        ghost: &Ghost,
    ) -> Judged {
        let PValue { ballot, slot, .. } = pvalue;
        let phases = self.phases.get_mut(ballot).map_or(&mut [][..], Vec::as_mut_slice);
        let Some(phase) = phases.iter_mut().find(|phase| phase.epoch == epoch) else {
            return Ok(());
        };
        while phase.looked_at < *slot {
            let before = phase.looked_at;
            phase.looked_at = before.next();
            let lower = ghost.chosen(before).filter(|chosen| chosen.ballot < *ballot);
            let Some(chosen) = lower else { continue };
            let led = ghost.config(before).is_some_and(|config| config.epoch == epoch);
            let held = ghost.proposed(before, *ballot).is_some() || before < slot_out;
            hold!(
                "G6",
                !led || held || is_known(before, *ballot, ghost),
                "leader {} commands {pvalue}, but not <{before}, {}>, which is chosen",
                ballot.leader,
                chosen.decree
            );
        }
        phase.looked_at = phase.looked_at.max(slot.next());
        Ok(())
    }
}

/// Whether the leader of a ballot need not command a chosen slot: it had it chosen itself in this
/// life, or enough replicas keep it on disk.
fn is_known(slot: Slot, ballot: Ballot, ghost: &Ghost) -> bool {
    let (leader, incarnation) = (ballot.leader, ballot.incarnation);
    let own = |b: Ballot| b.leader == leader && b.incarnation == incarnation;
    let kept = |(_, config): &(Slot, Config)| {
        let replicas = &config.members.replicas;
        let enough = (config.members.tolerates() + 1).min(replicas.len());
        ghost.holders(replicas, slot.next()) >= enough
    };
    ghost.ballots(slot).iter().any(|p| p.chosen && own(p.ballot)) || ghost.schedule.iter().any(kept)
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
