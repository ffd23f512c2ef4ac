//! What must hold, under the paper's names. All that was ever sent is still in flight, and all
//! votes that ever were on disk are known: nothing that left a process can be taken back.

use synod_paxos::{
    Ballot, Config, Decree, Envelope, Message, NodeId, Outcome, PValue, Record, Slot,
    message::{P1b, P2b, Vote},
};

use crate::{
    disk::{Disk, promise},
    history::History,
    process::{Event, Process},
};

/// The rule that is broken.
pub(crate) type Judged = Result<(), &'static str>;

fn hold(rule: &'static str, holds: bool) -> Judged {
    if holds { Ok(()) } else { Err(rule) }
}

/// C1: a ballot is used by one leader in one life, and never again. A2: what an acceptor has on
/// its disk is a sequence of ballots that never falls.
pub(crate) fn may_write(disk: &Disk, node: NodeId, record: &Record) -> Judged {
    if let Record::Campaigned(ballot) = record {
        let used = |old: &Record| matches!(old, Record::Campaigned(old) if old >= ballot);
        hold("C1", ballot.leader == node && !disk.log.iter().any(used))?;
    }
    hold("A2", promise(record).is_none_or(|ballot| ballot >= disk.promised()))
}

/// What the sender's disk and replica must show when a message leaves: a ballot in use (C1), a
/// promise (A2), and for a proposal, that its slot is in the window (R5).
pub(crate) fn may_send(process: &Process, message: &Message) -> Judged {
    if let Message::P1a { ballot, .. } = message {
        let used = process.disk.log.contains(&Record::Campaigned(*ballot));
        return hold("C1", used && ballot.leader == process.node.id());
    }
    if let Message::P1b(p1b) = message {
        return hold("A2", process.disk.promised() >= p1b.held);
    }
    if let Message::Propose(propose) = message
        && propose.replica.is_none()
    {
        let replica = process.node.replica();
        let (slot_out, window) = (replica.slot_out(), replica.schedule().window());
        return hold("R5", propose.slot < slot_out.plus(window));
    }
    Ok(())
}

/// Section 4.5: a read that has begun sees everything that somebody had seen by then.
pub(crate) fn sees(seen: Option<Slot>, slot_out: Slot) -> Judged {
    hold("4.5 read", seen.is_some_and(|seen| slot_out >= seen))
}

/// Judges what happens, after `history` has taken notice of it; `sent` are all messages so far.
pub(crate) fn judge(event: &Event, sent: &[&Envelope], history: &History) -> Judged {
    match event {
        Event::Accepted(pvalue) => {
            let mut proposed = commands(sent).filter(|other| other.slot == pvalue.slot);
            proposed.try_for_each(|other| conflicts(other, history))
        }
        Event::Sent(envelope) => judge_message(envelope, sent, history),
        Event::Performed(slot_out, state) => {
            hold("R2, R3", history.state(*slot_out) == Some(state.as_slice()))
        }
        Event::Responds(response, at) => {
            let command = (response.client, response.cid);
            let mut performed = history.performed.iter();
            let done = performed.any(|(client, cid, slot)| (*client, *cid) == command && slot < at);
            hold("answers", done || !matches!(response.outcome, Outcome::Done(_)))
        }
        Event::ReadReady(..) => Ok(()),
        Event::Broken(rule) => Err(rule),
    }
}

fn judge_message(envelope: &Envelope, sent: &[&Envelope], history: &History) -> Judged {
    let from = envelope.from;
    ballots_rise(envelope, sent)?;
    if let Message::P1b(p1b) = &envelope.message {
        return hold("A3", forgets_nothing(from, p1b, history));
    }
    if let Message::P2b(P2b { slot, asked, vote: Vote::Accepted }) = &envelope.message {
        let accepted = history.accepted(*slot, *asked);
        return hold("A2", accepted.is_some_and(|accepted| accepted.by.contains(&from)));
    }
    if let Message::P2a(pvalue) = &envelope.message {
        hold("C1", pvalue.ballot.leader == from && one_decree(pvalue, sent))?;
        let Some(config) = history.config(pvalue.slot) else { return Err("R5") };
        hold("C2", permitted(pvalue, config, sent))?;
        return conflicts(pvalue, history);
    }
    if let Message::Decision { slot, ballot, decree } = &envelope.message {
        let chosen = history.accepted(*slot, *ballot).filter(|accepted| accepted.chosen);
        let same = |chosen: &Decree| decree.as_ref().is_none_or(|decree| decree == chosen);
        return hold("R1", chosen.is_some_and(|chosen| same(&chosen.decree)));
    }
    if let Message::Decisions { first, decrees } = &envelope.message {
        let slots = (first.0..).map(Slot);
        let chosen = |(slot, decree): (Slot, &Decree)| {
            history.chosen(slot).is_some_and(|chosen| chosen.decree == *decree)
        };
        return hold("R1", slots.zip(decrees).all(chosen));
    }
    Ok(())
}

/// What commanders have asked for.
fn commands<'a>(sent: &'a [&Envelope]) -> impl Iterator<Item = &'a PValue> {
    sent.iter().filter_map(|envelope| {
        let Message::P2a(pvalue) = &envelope.message else { return None };
        Some(pvalue)
    })
}

/// The ballot that an acceptor shows itself to hold.
fn shown(message: &Message) -> Option<Ballot> {
    if let Message::P1b(p1b) = message {
        return Some(p1b.held);
    }
    let (Message::P2b(P2b { asked: held, vote: Vote::Accepted, .. })
    | Message::P2b(P2b { vote: Vote::Preempted(held), .. })
    | Message::Pong { held, .. }) = message
    else {
        return None;
    };
    Some(*held)
}

/// A1: the ballots that an acceptor shows never fall, whatever crashes lie between.
fn ballots_rise(envelope: &Envelope, sent: &[&Envelope]) -> Judged {
    let Some(held) = shown(&envelope.message) else { return Ok(()) };
    let before = sent.iter().filter(|other| other.from == envelope.from);
    hold("A1", before.filter_map(|other| shown(&other.message)).all(|shown| shown <= held))
}

/// A3, as section 4.1 leaves it: a report has for each slot the latest pvalue that was accepted in
/// a lower ballot, and it is one that was accepted.
fn forgets_nothing(from: NodeId, p1b: &P1b, history: &History) -> bool {
    if p1b.held != p1b.asked {
        return true;
    }
    let begin = p1b.first.max(p1b.gc_slot);
    let covered = |slot: Slot| slot >= begin && p1b.rest.is_none_or(|rest| slot < rest);
    let complete = history.slots().filter(|(slot, _)| covered(*slot)).all(|(slot, ballots)| {
        let mut below = ballots.iter().rev().filter(|accepted| accepted.ballot < p1b.asked);
        let Some(latest) = below.find(|accepted| accepted.by.contains(&from)) else { return true };
        let reported = p1b.accepted.iter().find(|pvalue| pvalue.slot == slot);
        reported.is_some_and(|reported| reported.ballot >= latest.ballot)
    });
    let true_of = |pvalue: &PValue| {
        let accepted = history.accepted(pvalue.slot, pvalue.ballot);
        accepted.is_some_and(|a| a.by.contains(&from) && a.decree == pvalue.decree)
    };
    complete && p1b.accepted.iter().all(true_of)
}

/// C1: for a ballot and slot there is one decree.
fn one_decree(pvalue: &PValue, sent: &[&Envelope]) -> bool {
    let same = |p: &&PValue| (p.ballot, p.slot) == (pvalue.ballot, pvalue.slot);
    commands(sent).filter(same).all(|other| other.decree == pvalue.decree)
}

/// C2: a quorum of reports to this ballot lets the decree be proposed. It is the latest of some
/// quorum's, or such a quorum reports none.
fn permitted(pvalue: &PValue, config: &Config, sent: &[&Envelope]) -> bool {
    let latest: Vec<Option<&PValue>> = config
        .members
        .acceptors
        .iter()
        .filter_map(|acceptor| {
            let report = sent.iter().filter(|e| e.from == *acceptor).find_map(|e| {
                let Message::P1b(report) = &e.message else { return None };
                covers(report, pvalue).then_some(report)
            })?;
            let below = |p: &&PValue| p.slot == pvalue.slot && p.ballot < pvalue.ballot;
            Some(report.accepted.iter().find(below))
        })
        .collect();
    let quorum = config.members.quorums.phase1 as usize;
    let ballot = |reported: &Option<&PValue>| reported.map(|p| p.ballot);
    let up_to = |highest| latest.iter().filter(|reported| ballot(reported) <= highest).count();
    let mut candidates = latest.iter().copied().chain([None]);
    candidates.any(|candidate| {
        let decreed = candidate.is_none_or(|highest| highest.decree == pvalue.decree);
        decreed && up_to(ballot(&candidate)) >= quorum
    })
}

fn covers(report: &P1b, pvalue: &PValue) -> bool {
    let slot = pvalue.slot;
    report.asked == pvalue.ballot
        && report.held == pvalue.ballot
        && report.first.max(report.gc_slot) <= slot
        && report.rest.is_none_or(|rest| slot < rest)
}

/// C2: nothing else is proposed above a ballot in which something is chosen.
fn conflicts(pvalue: &PValue, history: &History) -> Judged {
    let mut lower = history.ballots(pvalue.slot).iter().filter(|a| a.ballot < pvalue.ballot);
    let chosen = lower.find(|accepted| accepted.chosen);
    hold("C2", chosen.is_none_or(|chosen| chosen.decree == pvalue.decree))
}
