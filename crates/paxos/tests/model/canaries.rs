//! Mistakes that the search must find: owners who are careless with their disk, and quorums that
//! need not meet. Which mistakes in the roles it finds is in `docs/evidence.md`. And every rule is
//! shown something that breaks it: a rule that never objects proves nothing.

use synod_paxos::{
    Ballot, Envelope, Message, NodeId, Outcome, PValue, Payload, Record, Response, Slot,
    message::{P1b, P2b, Propose, Vote},
};

use crate::{
    bounds::Bounds,
    disk::Disk,
    history::{self, History},
    models,
    process::{Event, Owner, Process},
    properties::{self, Judged},
    shortest,
};

/// The rule that is broken, and after how many steps at the earliest.
fn found(bounds: Bounds) -> Option<(&'static str, usize)> {
    shortest(bounds).map(|(rule, steps)| (rule, steps.len()))
}

#[test]
fn a_careful_owner_breaks_no_rule() {
    assert_eq!(found(models::ballots(1, &[4]).with_crashes(1, &[1])), None);
}

#[test]
fn quorums_that_need_not_meet_are_found() {
    assert_eq!(found(models::halves(models::ballots(1, &[4, 5]))), Some(("C2", 4)));
}

#[test]
fn votes_that_leave_before_they_are_on_disk_are_found() {
    let hasty = models::ballots(1, &[4]).owned_by(Owner::Eager).with_crashes(1, &[1]);
    assert_eq!(found(hasty), Some(("A2", 8)));
}

#[test]
fn promises_that_leave_before_they_are_on_disk_are_found() {
    let hasty = models::ballots(1, &[4, 5]).owned_by(Owner::Eager).with_crashes(1, &[1]);
    assert_eq!(found(hasty), Some(("A1", 6)));
}

#[test]
fn forgotten_promises_are_found() {
    let forgets = models::ballots(1, &[4, 5]).owned_by(Owner::ForgetsPromises);
    assert_eq!(found(forgets.with_crashes(1, &[1])), Some(("A1", 6)));
}

#[test]
fn forgotten_votes_are_found() {
    let forgets = models::ballots(1, &[4, 5]).owned_by(Owner::ForgetsVotes);
    assert_eq!(found(forgets.with_crashes(1, &[1])), Some(("A3", 11)));
}

#[test]
fn ballots_that_are_used_again_are_found() {
    let mut forgets = models::ballots(1, &[4, 4]).owned_by(Owner::ForgetsEverything);
    forgets.sent[1].to = forgets.sent[0].to; // It is asked for both decrees.
    assert_eq!(found(forgets.with_crashes(1, &[4])), Some(("C1", 12)));
}

fn ballot(round: u64, leader: u32) -> Ballot {
    Ballot { round, leader: NodeId(leader), incarnation: 1 }
}

/// Slot 1: the decree of this number.
fn pvalue(ballot: Ballot, number: u8) -> PValue {
    let command = models::ballots(1, &[]).command(number);
    PValue { ballot, slot: Slot(1), decree: vec![command].into() }
}

fn vote(acceptor: u32, pvalue: &PValue) -> history::Vote {
    history::Vote { acceptor: NodeId(acceptor), pvalue: pvalue.clone() }
}

fn history(votes: &[history::Vote]) -> Result<History, &'static str> {
    History::of(&models::ballots(1, &[]).members, 2, votes.iter())
}

/// Decree 0 is chosen for slot 1 in ballot 1.4, by acceptors 1 and 2.
fn chosen() -> (PValue, History) {
    let first = pvalue(ballot(1, 4), 0);
    let history = history(&[vote(1, &first), vote(2, &first)]).expect("there is one decree");
    (first, history)
}

fn sent(from: u32, message: Message) -> Envelope {
    Envelope { from: NodeId(from), to: NodeId(9), message }
}

fn report(asked: Ballot, accepted: Vec<PValue>) -> Message {
    let (first, gc_slot) = (Slot::FIRST, Slot::FIRST);
    Message::P1b(Box::new(P1b { asked, held: asked, first, rest: None, gc_slot, accepted }))
}

fn says(from: u32, message: Message, before: &[Envelope], history: &History) -> Judged {
    let before: Vec<&Envelope> = before.iter().collect();
    properties::judge(&Event::Sent(sent(from, message)), &before, history)
}

#[test]
fn a1_objects_to_a_ballot_that_falls() {
    let before = [sent(1, report(ballot(2, 5), vec![]))];
    let fallen = report(ballot(1, 4), vec![]);
    let history = history(&[]).expect("nothing is wrong");
    assert_eq!(says(1, fallen.clone(), &before, &history), Err("A1"));
    assert_eq!(says(2, fallen, &before, &history), Ok(()));
}

#[test]
fn a2_objects_to_what_is_not_on_disk() {
    let (first, history) = chosen();
    let p2b = Message::P2b(P2b { slot: Slot(1), asked: first.ballot, vote: Vote::Accepted });
    assert_eq!(says(1, p2b.clone(), &[], &history), Ok(()));
    assert_eq!(says(3, p2b, &[], &history), Err("A2"));
    let mut disk = Disk::default();
    disk.append(Record::Adopted(ballot(2, 5)));
    assert_eq!(properties::may_write(&disk, NodeId(1), &Record::Accepted(first)), Err("A2"));
}

#[test]
fn a3_objects_to_a_report_that_is_not_true() {
    let (first, history) = chosen();
    let asked = ballot(2, 5);
    assert_eq!(says(1, report(asked, vec![first.clone()]), &[], &history), Ok(()));
    assert_eq!(says(1, report(asked, vec![]), &[], &history), Err("A3"));
    assert_eq!(says(3, report(asked, vec![first]), &[], &history), Err("A3"));
}

#[test]
fn a4_and_a5_object_to_two_decrees() {
    let (first, _) = chosen();
    let twice = [vote(1, &first), vote(2, &pvalue(first.ballot, 1))];
    assert_eq!(history(&twice).err(), Some("A4"));
    let higher = pvalue(ballot(2, 5), 1);
    let overwritten = [vote(1, &first), vote(3, &higher), vote(2, &first)];
    assert_eq!(history(&overwritten).err(), Some("A5"));
    assert_eq!(history(&overwritten[..2]).err(), None);
}

#[test]
fn c1_objects_to_a_ballot_that_is_used_again_or_not_on_disk() {
    let (first, history) = chosen();
    let before = [sent(4, Message::P2a(first.clone()))];
    let other = Message::P2a(pvalue(first.ballot, 1));
    assert_eq!(says(4, other, &before, &history), Err("C1"));
    assert_eq!(says(5, Message::P2a(first.clone()), &[], &history), Err("C1"));
    let mut disk = Disk::default();
    disk.append(Record::Campaigned(first.ballot));
    let again = Record::Campaigned(first.ballot);
    assert_eq!(properties::may_write(&disk, NodeId(4), &again), Err("C1"));
    let p1a = Message::P1a { ballot: first.ballot, first: Slot::FIRST };
    assert_eq!(properties::may_send(&process(4), &p1a), Err("C1"));
}

#[test]
fn c2_objects_to_what_no_quorum_of_reports_permits() {
    let history = history(&[]).expect("nothing is wrong");
    let (low, asked) = (pvalue(ballot(1, 4), 0), ballot(2, 5));
    let reports = [sent(1, report(asked, vec![])), sent(2, report(asked, vec![low]))];
    let propose = |number, reports| says(5, Message::P2a(pvalue(asked, number)), reports, &history);
    assert_eq!(propose(0, &reports[..]), Ok(()));
    assert_eq!(propose(1, &reports[..]), Err("C2"));
    assert_eq!(propose(0, &reports[1..]), Err("C2"));
}

#[test]
fn r1_to_r3_object_to_what_is_not_chosen() {
    let (first, history) = chosen();
    let decision = |number| {
        let decree = Some(pvalue(first.ballot, number).decree);
        Message::Decision { slot: Slot(1), ballot: first.ballot, decree }
    };
    assert_eq!(says(4, decision(0), &[], &history), Ok(()));
    assert_eq!(says(4, decision(1), &[], &history), Err("R1"));
    let learned = |number| Message::Decisions {
        first: Slot(1),
        decrees: vec![pvalue(first.ballot, number).decree],
    };
    assert_eq!(says(4, learned(1), &[], &history), Err("R1"));
    let performed = |slot, state: &[u8]| {
        properties::judge(&Event::Performed(Slot(slot), state.to_vec()), &[], &history)
    };
    assert_eq!(performed(2, b"41"), Ok(()));
    assert_eq!(performed(2, b"51"), Err("R2, R3"));
    assert_eq!(performed(3, b"41"), Err("R2, R3"));
}

#[test]
fn r5_objects_to_slots_beyond_the_window() {
    let (first, history) = chosen();
    let far = Message::P2a(PValue { slot: Slot(4), ..first.clone() });
    assert_eq!(says(4, far, &[], &history), Err("R5"));
    let propose = |slot| {
        let decree = first.decree.clone();
        Message::Propose(Propose { slot: Slot(slot), decree, epoch: 0, replica: None })
    };
    assert_eq!(properties::may_send(&process(4), &propose(2)), Ok(()));
    assert_eq!(properties::may_send(&process(4), &propose(3)), Err("R5"));
}

#[test]
fn answers_and_reads_object_to_what_did_not_happen() {
    let (first, history) = chosen();
    let client = first.decree.commands()[0].client;
    let outcome = Outcome::Done(Payload::EMPTY);
    let responds = |cid, at| {
        let response = Response { client, cid, outcome: outcome.clone() };
        properties::judge(&Event::Responds(response, Slot(at)), &[], &history)
    };
    assert_eq!(responds(1, 2), Ok(()));
    assert_eq!(responds(1, 1), Err("answers"));
    assert_eq!(responds(2, 2), Err("answers"));
    assert_eq!(properties::sees(Some(Slot(2)), Slot(2)), Ok(()));
    assert_eq!(properties::sees(Some(Slot(2)), Slot(1)), Err("4.5 read"));
    assert_eq!(properties::sees(None, Slot(2)), Err("4.5 read"));
}

#[test]
fn what_an_assertion_in_a_role_stops_is_broken() {
    let history = history(&[]).expect("nothing is wrong");
    let broken = properties::judge(&Event::Broken("assertion"), &[], &history);
    assert_eq!(broken, Err("assertion"));
}

fn process(id: u32) -> Process {
    Process::new(models::ballots(1, &[]).setup(NodeId(id)))
}
