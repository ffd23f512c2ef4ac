//! Each property is shown something that must not happen, and has to object: a property that never
//! objects proves nothing.

use synod_paxos::{
    Ballot, ClientId, Command, Decree, Members, Message, NodeId, Op, Outcome, PValue, Payload,
    Record, Response, Slot,
    message::{P1b, P2b, Propose, Vote},
};

use crate::{
    event::{Event, Position},
    history::History,
    properties::{self, Property},
};

const CLIENT: ClientId = ClientId { born: Slot::FIRST, number: 1 };

/// Three full nodes and WINDOW 2.
struct Story {
    history: History,
    properties: Vec<Box<dyn Property>>,
}

/// Which property objects.
type Objection = Result<(), &'static str>;

fn command(cid: u64) -> Command {
    let op = Op::Apply(Payload::from(format!("x{cid}").as_bytes()));
    Command { client: CLIENT, cid, acked: 1, op }
}

fn decree(cid: u64) -> Decree {
    Decree::from(vec![command(cid)])
}

fn ballot(round: u64, leader: u32) -> Ballot {
    Ballot { round, leader: NodeId(leader), incarnation: 1 }
}

fn pvalue(ballot: Ballot, slot: u64, cid: u64) -> PValue {
    PValue { ballot, slot: Slot(slot), decree: decree(cid) }
}

fn p1b(asked: Ballot, accepted: Vec<PValue>) -> Message {
    let (first, gc_slot) = (Slot::FIRST, Slot::FIRST);
    Message::P1b(Box::new(P1b { asked, held: asked, first, rest: None, gc_slot, accepted }))
}

fn p2b(asked: Ballot, slot: u64) -> Message {
    Message::P2b(P2b { slot: Slot(slot), asked, vote: Vote::Accepted })
}

fn decision(slot: u64, cid: u64) -> Message {
    Message::Decision { slot: Slot(slot), ballot: ballot(1, 1), decree: Some(decree(cid)) }
}

fn propose(slot: u64, epoch: u64) -> Message {
    Message::Propose(Propose { slot: Slot(slot), decree: decree(1), epoch, replica: None })
}

fn initial() -> Position {
    Position { slot_out: Slot::FIRST, applied: 0, hash: 0 }
}

impl Story {
    fn new() -> Self {
        let all: Vec<NodeId> = (1..=3).map(NodeId).collect();
        let members = Members::new(all.clone(), all.clone(), all).unwrap();
        let mut story =
            Self { history: History::new(members, 2, 8), properties: properties::all() };
        for cid in 1..=4 {
            assert_eq!(story.happens(&Event::Requested { command: &command(cid) }), Ok(()));
        }
        story
    }

    fn happens(&mut self, event: &Event<'_>) -> Objection {
        properties::judge(&mut self.properties, &mut self.history, event)
            .map_err(|violation| violation.property)
    }

    fn sends(&mut self, from: u32, message: Message) -> Objection {
        let slot_out = Slot::FIRST;
        self.happens(&Event::Sent { from: NodeId(from), message: &message, slot_out })
    }

    fn writes(&mut self, node: u32, record: Record) -> Objection {
        self.happens(&Event::Durable { node: NodeId(node), record: &record })
    }

    /// The leader of `ballot` campaigns, and acceptors 1 and 2 adopt it, with these reports.
    fn elect(&mut self, ballot: Ballot, reports: [Vec<PValue>; 2]) -> Objection {
        self.writes(ballot.leader.0, Record::Campaigned(ballot))?;
        self.sends(ballot.leader.0, Message::P1a { ballot, first: Slot::FIRST })?;
        for (acceptor, accepted) in (1..).zip(reports) {
            self.writes(acceptor, Record::Adopted(ballot))?;
            self.sends(acceptor, p1b(ballot, accepted))?;
        }
        Ok(())
    }

    /// Acceptors 1 and 2 accept it.
    fn choose(&mut self, pvalue: &PValue) -> Objection {
        self.sends(pvalue.ballot.leader.0, Message::P2a(pvalue.clone()))?;
        self.writes(1, Record::Accepted(pvalue.clone()))?;
        self.writes(2, Record::Accepted(pvalue.clone()))
    }

    /// Ballot 1.1 gets command 1 chosen for slot 1.
    fn begun() -> Self {
        let mut story = Self::new();
        assert_eq!(story.elect(ballot(1, 1), [vec![], vec![]]), Ok(()));
        assert_eq!(story.choose(&pvalue(ballot(1, 1), 1, 1)), Ok(()));
        story
    }

    /// Where a replica is that has performed everything.
    fn position(&self) -> Position {
        let slot_out = self.history.next();
        let point = self.history.point(slot_out).unwrap();
        Position { slot_out, applied: point.applied, hash: point.hash }
    }
}

#[test]
fn a1_objects_to_a_ballot_that_falls() {
    let mut story = Story::new();
    let pong = |held| Message::Pong { round: 1, held };
    assert_eq!(story.sends(1, pong(ballot(2, 2))), Ok(()));
    assert_eq!(story.sends(1, pong(ballot(1, 1))), Err("A1"));
}

#[test]
fn a2_objects_to_a_pvalue_below_the_ballot_held() {
    let mut story = Story::begun();
    assert_eq!(story.writes(3, Record::Adopted(ballot(2, 2))), Ok(()));
    let low = pvalue(ballot(1, 1), 1, 1);
    assert_eq!(story.writes(3, Record::Accepted(low)), Err("A2"));
}

#[test]
fn a2_objects_to_answers_that_are_not_on_disk() {
    assert_eq!(Story::begun().sends(3, p2b(ballot(1, 1), 1)), Err("A2"));
    assert_eq!(Story::new().sends(3, p1b(ballot(1, 1), vec![])), Err("A2"));
}

#[test]
fn a3_objects_to_a_report_that_leaves_something_out() {
    let mut story = Story::begun();
    assert_eq!(story.elect(ballot(2, 2), [vec![], vec![]]), Err("A3"));
}

#[test]
fn a3_objects_to_a_report_of_what_is_not_accepted() {
    let mut story = Story::new();
    let invented = vec![pvalue(ballot(1, 1), 1, 1)];
    assert_eq!(story.elect(ballot(2, 2), [invented, vec![]]), Err("A3"));
}

#[test]
fn a4_objects_to_two_decrees_in_one_ballot_and_slot() {
    let other = pvalue(ballot(1, 1), 1, 2);
    assert_eq!(Story::begun().writes(3, Record::Accepted(other)), Err("A4"));
}

#[test]
fn a5_objects_to_another_decree_above_the_chosen_one() {
    let other = pvalue(ballot(2, 2), 1, 2);
    assert_eq!(Story::begun().writes(3, Record::Accepted(other)), Err("A5"));
}

#[test]
fn a5_objects_also_if_the_higher_ballot_came_first() {
    let (low, high) = (pvalue(ballot(1, 1), 1, 1), pvalue(ballot(2, 2), 1, 2));
    let mut story = Story::new();
    assert_eq!(story.writes(3, Record::Accepted(high)), Ok(()));
    assert_eq!(story.writes(1, Record::Accepted(low.clone())), Ok(()));
    assert_eq!(story.writes(2, Record::Accepted(low)), Err("A5"));
}

#[test]
fn section_4_2_objects_to_collecting_what_one_replica_holds() {
    let mut story = Story::begun();
    assert_eq!(story.happens(&Event::Saved { node: NodeId(1), slot: Slot(2) }), Ok(()));
    assert_eq!(story.writes(1, Record::Collected(Slot(2))), Err("4.2 collect"));
}

#[test]
fn c1_objects_to_a_ballot_that_is_used_again() {
    let mut story = Story::begun();
    assert_eq!(story.writes(1, Record::Campaigned(ballot(1, 1))), Err("C1"));
}

#[test]
fn c1_objects_to_a_ballot_that_is_not_on_disk() {
    let p1a = Message::P1a { ballot: ballot(1, 1), first: Slot::FIRST };
    assert_eq!(Story::new().sends(1, p1a), Err("C1"));
}

#[test]
fn c1_objects_to_a_second_commander_with_another_decree() {
    let other = pvalue(ballot(1, 1), 1, 2);
    assert_eq!(Story::begun().sends(1, Message::P2a(other)), Err("C1"));
}

#[test]
fn c2_objects_to_a_proposal_without_a_quorum_of_reports() {
    let early = pvalue(ballot(1, 1), 1, 1);
    assert_eq!(Story::new().sends(1, Message::P2a(early)), Err("C2"));
}

#[test]
fn c2_objects_to_another_decree_than_the_latest_reported() {
    let mut story = Story::begun();
    let reported = vec![pvalue(ballot(1, 1), 1, 1)];
    assert_eq!(story.elect(ballot(2, 2), [reported.clone(), reported]), Ok(()));
    let other = pvalue(ballot(2, 2), 1, 2);
    assert_eq!(story.sends(2, Message::P2a(other)), Err("C2"));
}

#[test]
fn r1_objects_to_a_decision_that_is_not_chosen() {
    assert_eq!(Story::begun().sends(1, decision(1, 2)), Err("R1"));
    assert_eq!(Story::begun().sends(1, decision(2, 2)), Err("R1"));
}

#[test]
fn r2_to_r4_object_to_another_state_and_to_falling_back() {
    let node = NodeId(1);
    let mut story = Story::begun();
    let at = story.position();
    assert_eq!(story.happens(&Event::Performed { node, at }), Ok(()));
    let back = story.happens(&Event::Performed { node, at: initial() });
    assert_eq!(back, Err("R2, R3, R4"));
    let other = Position { hash: at.hash + 1, ..at };
    assert_eq!(story.happens(&Event::Performed { node, at: other }), Err("R2, R3, R4"));
    let ahead = Position { slot_out: at.slot_out.next(), ..at };
    assert_eq!(story.happens(&Event::Performed { node, at: ahead }), Err("R2, R3, R4"));
    let lost = Event::Started { node, saved: Slot(2), at: initial() };
    assert_eq!(story.happens(&lost), Err("R2, R3, R4"));
}

#[test]
fn section_4_3_objects_to_notes_of_what_is_not_chosen() {
    let mut story = Story::begun();
    let learned = |cid| Record::Learned { slot: Slot(1), decree: decree(cid) };
    let ballot = ballot(1, 1);
    let performed = |end| Record::Performed { ballot, first: Slot(1), end: Slot(end) };
    assert_eq!(story.writes(3, learned(1)), Ok(()));
    assert_eq!(story.writes(1, performed(2)), Ok(()));
    assert_eq!(story.writes(3, learned(2)), Err("4.3 notes"));
    assert_eq!(story.writes(3, performed(2)), Err("4.3 notes"));
    assert_eq!(story.writes(1, performed(3)), Err("4.3 notes"));
}

#[test]
fn r5_objects_to_slots_beyond_the_window_and_to_other_epochs() {
    assert_eq!(Story::new().sends(1, propose(2, 0)), Ok(()));
    assert_eq!(Story::new().sends(1, propose(3, 0)), Err("R5"));
    assert_eq!(Story::new().sends(1, propose(2, 1)), Err("R5"));
}

#[test]
fn section_2_1_objects_to_retiring_the_last_configuration() {
    let mut story = Story::begun();
    let config = story.history.latest().clone();
    let retired = Event::Retired { node: NodeId(1), config: &config };
    assert_eq!(story.happens(&retired), Err("2.1 retire"));
}

#[test]
fn validity_objects_to_a_command_that_nobody_sent() {
    let stray = pvalue(ballot(1, 1), 1, 9);
    assert_eq!(Story::new().writes(1, Record::Accepted(stray)), Err("validity"));
}

#[test]
fn exactly_once_objects_to_a_second_performance() {
    let mut story = Story::begun();
    story.history.twice = Some((CLIENT, 1));
    let next = Record::Adopted(ballot(3, 3));
    assert_eq!(story.writes(1, next), Err("exactly once"));
}

#[test]
fn answers_objects_to_what_did_not_happen() {
    let mut story = Story::begun();
    let at = story.position();
    let mut responds = |cid, outcome| {
        let response = Response { client: CLIENT, cid, outcome };
        story.happens(&Event::Responds { node: NodeId(1), response: &response, at })
    };
    let done = |reply: &[u8]| Outcome::Done(Payload::from(reply));
    assert_eq!(responds(1, done(b"1")), Ok(()));
    assert_eq!(responds(1, done(b"2")), Err("answers"));
    assert_eq!(responds(2, done(b"2")), Err("answers"));
    assert_eq!(responds(2, Outcome::Expired), Err("answers"));
}

#[test]
fn section_4_5_objects_to_a_read_of_an_old_state() {
    let mut story = Story::begun();
    assert_eq!(story.happens(&Event::Answered { client: CLIENT, cid: 1 }), Ok(()));
    assert_eq!(story.happens(&Event::ReadBegins { id: 1 }), Ok(()));
    let ready = Event::ReadReady { node: NodeId(3), id: 1, at: initial() };
    assert_eq!(story.happens(&ready), Err("4.5 read"));
}
