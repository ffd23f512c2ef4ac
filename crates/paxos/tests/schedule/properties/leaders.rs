//! C1 and C2.

use std::collections::BTreeSet;

use synod_paxos::{Ballot, Config, Decree, Message, PValue, Record, Slot};

use super::Property;
use crate::{
    event::{Event, hold},
    history::{History, Report},
};

/// C1: for a ballot and slot there is at most one commander, with one decree, in all lives of all
/// leaders. So no ballot is used again after a crash (E13), and nobody uses another's.
#[derive(Default)]
pub(crate) struct OneCommander {
    campaigned: BTreeSet<Ballot>,
}

impl Property for OneCommander {
    fn name(&self) -> &'static str {
        "C1"
    }

    fn check(&mut self, event: &Event<'_>, history: &History) -> Result<(), String> {
        if let Event::Durable { node, record: Record::Campaigned(ballot) } = event {
            let new = self.campaigned.insert(*ballot);
            hold!(new, "leader {node} uses ballot {ballot} a second time");
            hold!(ballot.leader == *node, "leader {node} uses ballot {ballot}");
        }
        let Event::Sent { from, message, .. } = event else { return Ok(()) };
        if let Message::P1a { ballot, .. } = message {
            let used = self.campaigned.contains(ballot);
            hold!(used, "leader {from} starts ballot {ballot}, which is not on its disk");
            hold!(ballot.leader == *from, "leader {from} starts ballot {ballot}");
        }
        if let Message::P2a(PValue { ballot, slot, decree }) = message {
            let first = history.proposed(*slot, *ballot).map(|proposed| &proposed.decree);
            hold!(
                first == Some(decree),
                "leader {from} proposes <{ballot}, {slot}, {decree}> after {}",
                first.map_or_else(|| "nothing".into(), ToString::to_string)
            );
            hold!(ballot.leader == *from, "leader {from} proposes in ballot {ballot}");
        }
        Ok(())
    }
}

/// C2: what is proposed in a ballot may be what a lower ballot has chosen or may yet choose: there
/// is a quorum of reports to this ballot of which it is the latest decree, or which have none.
/// Checked when the commander starts, before anything can have gone wrong; and once more against
/// what is chosen.
#[derive(Default)]
pub(crate) struct ProposesWhatMayBeChosen {
    permitted: BTreeSet<(Ballot, Slot)>,
}

impl Property for ProposesWhatMayBeChosen {
    fn name(&self) -> &'static str {
        "C2"
    }

    fn check(&mut self, event: &Event<'_>, history: &History) -> Result<(), String> {
        if let Event::Durable { record: Record::Accepted(PValue { slot, .. }), .. } = event {
            return conflicts(*slot, history);
        }
        let Event::Sent { from, message: Message::P2a(pvalue), .. } = event else { return Ok(()) };
        let PValue { ballot, slot, .. } = pvalue;
        if self.permitted.contains(&(*ballot, *slot)) {
            return Ok(());
        }
        let Some(config) = history.config(*slot) else { return Ok(()) };
        let permitted = permitted(pvalue, config, history);
        hold!(permitted, "no quorum of reports lets leader {from} propose {pvalue}");
        self.permitted.insert((*ballot, *slot));
        conflicts(*slot, history)
    }
}

/// Whether something else than what is chosen was proposed in a higher ballot.
fn conflicts(slot: Slot, history: &History) -> Result<(), String> {
    let Some(chosen) = history.chosen(slot) else { return Ok(()) };
    for other in history.ballots(slot).iter().filter(|other| other.ballot > chosen.ballot) {
        hold!(
            other.decree == chosen.decree,
            "<{}, {slot}, {}> is chosen, but {} is proposed in {}",
            chosen.ballot,
            chosen.decree,
            other.decree,
            other.ballot
        );
    }
    Ok(())
}

fn permitted(pvalue: &PValue, config: &Config, history: &History) -> bool {
    let PValue { ballot, slot, decree } = pvalue;
    let reports = history.reports.get(ballot).map_or(&[][..], Vec::as_slice);
    let latest: Vec<Option<Ballot>> = config
        .members
        .acceptors
        .iter()
        .filter_map(|acceptor| {
            let report = reports.iter().find(|r| r.from == *acceptor && covers(r, *slot))?;
            let below = |(s, b): &&(Slot, Ballot)| s == slot && b < ballot;
            Some(report.accepted.iter().find(below).map(|(_, b)| *b))
        })
        .collect();
    let quorum = config.members.quorums.phase1 as usize;
    let up_to = |highest| latest.iter().filter(|reported| **reported <= highest).count();
    let mut candidates = latest.iter().copied().chain([None]);
    candidates.any(|highest| {
        let decreed = highest.is_none_or(|highest| is_decree(history, *slot, highest, decree));
        decreed && up_to(highest) >= quorum
    })
}

fn covers(report: &Report, slot: Slot) -> bool {
    report.first.max(report.gc_slot) <= slot && report.rest.is_none_or(|rest| slot < rest)
}

fn is_decree(history: &History, slot: Slot, ballot: Ballot, decree: &Decree) -> bool {
    history.proposed(slot, ballot).is_some_and(|proposed| proposed.decree == *decree)
}
