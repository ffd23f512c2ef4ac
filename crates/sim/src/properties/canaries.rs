//! Each property is shown something that must not happen, and has to object: a property that never
//! objects proves nothing.

use synod::Machine;
use synod_paxos::{
    Ballot, ClientId, Command, Config, Decree, Members, Message, NodeId, Op, PValue, Payload,
    Quorums, Record, Slot,
    message::{LeaseMessage, P1b, P2b, Propose, Vote},
};

mod bounds;
mod reads;

use super::Properties;
use crate::{
    event::{Event, Known, Line, Outcome, Position},
    ghost::Ghost,
    workload::{Tallies, Tally, Workload},
};

const CLIENT: ClientId = ClientId { born: Slot::FIRST, number: 1 };

/// Three full nodes and WINDOW 2.
struct Story {
    ghost: Ghost,
    machine: Tally,
    properties: Properties,
}

/// Which property objects.
type Objection = Result<(), &'static str>;

fn command(cid: u64) -> Command {
    let mut op = vec![0];
    Tally::encode_command(&(cid, Vec::new()), &mut op);
    Command { client: CLIENT, cid, acked: 1, op: Op::Apply(Payload::from(op)) }
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

/// How long leases are.
const LEASE: u64 = 1000;

fn members() -> Members {
    let nodes: Vec<NodeId> = (1..=3).map(NodeId).collect();
    Members::new(nodes.clone(), nodes.clone(), nodes).unwrap()
}

impl Story {
    /// Clients have asked for commands 1 and 2, and nothing else has happened.
    fn new() -> Self {
        let machine = Tallies::default().machine();
        let ghost = Ghost::new(members(), 2, 100);
        let mut story = Self { ghost, machine, properties: Properties::default() };
        for cid in 1..=2 {
            assert_eq!(story.happens(&Event::Requested { command: &command(cid) }), Ok(()));
        }
        story
    }

    /// Leader 1 has had command 1 chosen in slot 1, by acceptors 1 and 2.
    fn begun() -> Self {
        let mut story = Self::new();
        let ballot = ballot(1, 1);
        story.elect(ballot, [vec![], vec![]]).unwrap();
        assert_eq!(story.sends(1, Message::P2a(pvalue(ballot, 1, 1))), Ok(()));
        for acceptor in 1..=2 {
            let accepted = Record::Accepted(pvalue(ballot, 1, 1));
            assert_eq!(story.writes(acceptor, accepted), Ok(()));
        }
        story
    }

    fn happens(&mut self, event: &Event<'_>) -> Objection {
        self.ghost.notice(event, &mut self.machine);
        let judged = self.properties.judge(event, &mut self.ghost);
        judged.map_err(|violation| violation.property)
    }

    fn writes(&mut self, node: u32, record: Record) -> Objection {
        self.happens(&Event::Durable { node: NodeId(node), record: &record })
    }

    fn sends(&mut self, from: u32, message: Message) -> Objection {
        let (from, slot_out) = (NodeId(from), Slot::FIRST);
        let sent = Event::Sent { from, incarnation: 1, message: &message, slot_out, bytes: 0 };
        self.happens(&sent)
    }

    /// An acceptor grants a leader a lease; only reads hear of it.
    fn grants(&mut self, by: u32, leader: u32) {
        let ballot = ballot(1, leader);
        let granted = LeaseMessage::Granted { round: 1, ballot, length: LEASE };
        let (from, message, slot_out) = (NodeId(by), &Message::Lease(granted), Slot::FIRST);
        let sent = Event::Sent { from, incarnation: 1, message, slot_out, bytes: 0 };
        assert_eq!(self.properties.reads.check(&sent, &self.ghost), Ok(()));
    }

    /// Acceptors 2 and 3 report to the leader of a ballot.
    fn elect(&mut self, ballot: Ballot, reports: [Vec<PValue>; 2]) -> Objection {
        let leader = ballot.leader.0;
        self.writes(leader, Record::Campaigned(ballot))?;
        self.sends(leader, Message::P1a { ballot, first: Slot::FIRST })?;
        for (acceptor, accepted) in (2..).zip(reports) {
            self.writes(acceptor, Record::Adopted(ballot))?;
            self.sends(acceptor, p1b(ballot, accepted))?;
        }
        Ok(())
    }

    fn position(&self) -> Position {
        let slot_out = self.ghost.next();
        Position { slot_out, digest: self.ghost.point(slot_out).unwrap().digest }
    }

    fn performs(&mut self, node: u32, at: Position) -> Objection {
        let config = Config { epoch: 0, members: members() };
        let latest = Known { first: Slot::FIRST, config: &config };
        self.happens(&Event::Performed { node: NodeId(node), at, latest })
    }

    fn answers(&mut self, cid: u64, outcome: Outcome<'_>) -> Objection {
        let (node, client, slot_out) = (NodeId(1), CLIENT, Slot(2));
        self.happens(&Event::Answers { node, client, cid, outcome, slot_out })
    }
}

/// A client's connection.
const OVER: Line = Line { client: 1, conn: 1 };

fn answered(cid: u64) -> Event<'static> {
    Event::Answered { client: CLIENT, cid, over: OVER, token: Some(cid) }
}

/// Node 3 begins its second life, where nothing has been performed.
fn started(saved: Slot, config: &Config) -> Event<'_> {
    let latest = Known { first: Slot::FIRST, config };
    Event::Started { node: NodeId(3), incarnation: 2, saved, at: START, latest }
}

const START: Position = Position { slot_out: Slot::FIRST, digest: 0 };

#[test]
fn ac1_objects_to_a_ballot_that_falls() {
    let mut story = Story::begun();
    let held = |round| Event::Holds { node: NodeId(3), ballot: ballot(round, 1) };
    assert_eq!(story.happens(&held(2)), Ok(()));
    assert_eq!(story.happens(&held(1)), Err("AC1"));
    let mut story = Story::begun();
    let forgotten = Event::Holds { node: NodeId(3), ballot: Ballot::BOTTOM };
    assert_eq!(story.happens(&forgotten), Err("AC1"));
}

#[test]
fn ac2_objects_to_a_pvalue_below_the_ballot_held() {
    let mut story = Story::begun();
    assert_eq!(story.writes(3, Record::Adopted(ballot(2, 2))), Ok(()));
    assert_eq!(story.writes(3, Record::Accepted(pvalue(ballot(1, 1), 1, 1))), Err("AC2"));
}

#[test]
fn ac3_objects_to_two_decrees_in_one_ballot_and_slot() {
    let other = pvalue(ballot(1, 1), 1, 2);
    assert_eq!(Story::begun().writes(3, Record::Accepted(other.clone())), Err("AC3"));
    assert_eq!(Story::begun().sends(1, Message::P2a(other)), Err("AC3"));
}

#[test]
fn ac4_objects_to_a_ballot_that_is_used_again() {
    assert_eq!(Story::begun().writes(1, Record::Campaigned(ballot(1, 1))), Err("AC4"));
    assert_eq!(Story::begun().writes(1, Record::Campaigned(ballot(3, 2))), Err("AC4"));
}

#[test]
fn ac5_objects_to_a_report_that_leaves_something_out() {
    let mut story = Story::begun();
    assert_eq!(story.elect(ballot(2, 2), [vec![], vec![]]), Err("AC5"));
}

#[test]
fn ac5_objects_to_collecting_what_one_replica_holds() {
    let mut story = Story::begun();
    assert_eq!(story.happens(&Event::Saved { node: NodeId(1), slot: Slot(2) }), Ok(()));
    assert_eq!(story.writes(1, Record::Collected(Slot(2))), Err("AC5"));
    assert_eq!(story.happens(&Event::Saved { node: NodeId(2), slot: Slot(2) }), Ok(()));
    assert_eq!(story.writes(1, Record::Collected(Slot(2))), Ok(()));
}

#[test]
fn ac6_objects_to_a_proposal_that_no_quorum_permits() {
    let early = pvalue(ballot(1, 1), 1, 1);
    assert_eq!(Story::new().sends(1, Message::P2a(early)), Err("AC6"));
    let mut story = Story::begun();
    let reported = vec![pvalue(ballot(1, 1), 1, 1)];
    assert_eq!(story.elect(ballot(2, 3), [reported, vec![]]), Ok(()));
    assert_eq!(story.sends(3, Message::P2a(pvalue(ballot(2, 3), 1, 2))), Err("AC6"));
}

#[test]
fn ac7_objects_to_what_is_not_on_disk() {
    assert_eq!(Story::begun().sends(3, p2b(ballot(1, 1), 1)), Err("AC7"));
    assert_eq!(Story::new().sends(3, p1b(ballot(1, 1), vec![])), Err("AC7"));
    let p1a = Message::P1a { ballot: ballot(1, 1), first: Slot::FIRST };
    assert_eq!(Story::new().sends(1, p1a), Err("AC7"));
    let mut story = Story::begun();
    let invented = vec![pvalue(ballot(1, 1), 1, 1)];
    let reports = [invented.clone(), invented];
    assert_eq!(story.elect(ballot(2, 3), reports), Err("AC7"));
}

#[test]
fn g1_objects_to_another_decree_above_the_chosen_one() {
    let other = pvalue(ballot(2, 2), 1, 2);
    assert_eq!(Story::begun().writes(3, Record::Accepted(other)), Err("G1"));
    let (low, high) = (pvalue(ballot(1, 1), 1, 1), pvalue(ballot(2, 2), 1, 2));
    let mut story = Story::new();
    assert_eq!(story.writes(3, Record::Accepted(high)), Ok(()));
    assert_eq!(story.writes(1, Record::Accepted(low.clone())), Ok(()));
    assert_eq!(story.writes(2, Record::Accepted(low)), Err("G1"));
}

#[test]
fn g2_objects_to_a_decision_that_is_not_chosen() {
    assert_eq!(Story::begun().sends(1, decision(1, 1)), Ok(()));
    assert_eq!(Story::begun().sends(1, decision(1, 2)), Err("G2"));
    assert_eq!(Story::begun().sends(1, decision(2, 2)), Err("G2"));
    let learned = |cid| Record::Learned { slot: Slot(1), decree: decree(cid) };
    assert_eq!(Story::begun().writes(3, learned(2)), Err("G2"));
    let performed = Record::Performed { ballot: ballot(1, 1), first: Slot(1), end: Slot(2) };
    assert_eq!(Story::begun().writes(3, performed), Err("G2"));
}

#[test]
fn g3_g5_and_g8_object_to_another_state_and_to_falling_back() {
    let mut story = Story::begun();
    let at = story.position();
    assert_eq!(story.performs(1, at), Ok(()));
    assert_eq!(story.performs(1, START), Err("G5"));
    assert_eq!(story.performs(2, Position { digest: at.digest ^ 1, ..at }), Err("G8"));
    assert_eq!(story.performs(3, Position { slot_out: Slot(3), ..at }), Err("G3"));
    let saved = Slot(2);
    let config = Config { epoch: 0, members: members() };
    let lost = started(saved, &config);
    assert_eq!(story.happens(&lost), Err("G5"));
}

#[test]
fn g4_objects_to_a_command_that_nobody_sent() {
    let stray = pvalue(ballot(1, 1), 1, 9);
    assert_eq!(Story::new().writes(1, Record::Accepted(stray)), Err("G4"));
}

#[test]
fn g7_objects_to_an_acknowledgement_of_what_is_not_chosen() {
    assert_eq!(Story::begun().happens(&answered(1)), Ok(()));
    assert_eq!(Story::begun().happens(&answered(2)), Err("G7"));
}

#[test]
fn c2_objects_to_a_second_time_and_to_another_answer() {
    let mut story = Story::begun();
    let reply = story.ghost.performed[&(CLIENT, 1)].reply.clone();
    assert_eq!(story.answers(1, Outcome::Done(reply.as_slice())), Ok(()));
    assert_eq!(story.answers(1, Outcome::Done(b"other")), Err("C2"));
    assert_eq!(story.answers(2, Outcome::Done(b"other")), Err("G2"));
    story.ghost.twice = Some((CLIENT, 1));
    assert_eq!(story.writes(3, Record::Accepted(pvalue(ballot(1, 1), 1, 1))), Err("C2"));
}

#[test]
fn c3_objects_to_doing_what_will_not_be_done() {
    let not_done = Event::NotDone { client: CLIENT, cid: 1 };
    assert_eq!(Story::begun().happens(&not_done), Err("C3"));
    let mut story = Story::new();
    assert_eq!(story.happens(&not_done), Ok(()));
    let low = Record::Accepted(pvalue(ballot(1, 1), 1, 1));
    assert_eq!(story.writes(1, low.clone()), Ok(()));
    assert_eq!(story.writes(2, low), Err("C3"));
}

#[test]
fn c4_objects_to_a_session_that_expires_by_itself() {
    assert_eq!(Story::begun().answers(1, Outcome::Expired), Err("C4"));
}

#[test]
fn l3_objects_to_the_ballots_of_others_and_of_other_lives() {
    let mut story = Story::begun();
    let foreign = Message::P2a(pvalue(ballot(1, 1), 2, 2));
    assert_eq!(story.sends(2, foreign), Err("L3"));
    let old = Message::P2a(pvalue(ballot(1, 1), 2, 2));
    let (from, slot_out) = (NodeId(1), Slot(2));
    let late = Event::Sent { from, incarnation: 2, message: &old, slot_out, bytes: 0 };
    assert_eq!(story.happens(&late), Err("L3"));
}

#[test]
fn m1_objects_to_slots_beyond_the_window_and_to_other_epochs() {
    assert_eq!(Story::new().sends(1, propose(2, 0)), Ok(()));
    assert_eq!(Story::new().sends(1, propose(3, 0)), Err("M1"));
    assert_eq!(Story::new().sends(1, propose(2, 1)), Err("M1"));
    let mut story = Story::begun();
    let at = story.position();
    let config = Config { epoch: 1, members: members() };
    let latest = Known { first: Slot(3), config: &config };
    let invented = Event::Performed { node: NodeId(1), at, latest };
    assert_eq!(story.happens(&invented), Err("M1"));
}

#[test]
fn m2_objects_to_quorums_that_miss_one_another() {
    let mut story = Story::begun();
    let at = story.position();
    let mut unsound = members();
    unsound.quorums = Quorums { phase1: 1, phase2: 2 };
    story.ghost.schedule[0].1.members = unsound.clone();
    let config = Config { epoch: 0, members: unsound };
    let latest = Known { first: Slot::FIRST, config: &config };
    let performed = Event::Performed { node: NodeId(1), at, latest };
    assert_eq!(story.happens(&performed), Err("M2"));
}

#[test]
fn m4_objects_to_a_life_that_is_lived_twice() {
    let mut story = Story::begun();
    let config = Config { epoch: 0, members: members() };
    let started = started(Slot::FIRST, &config);
    assert_eq!(story.happens(&started), Ok(()));
    assert_eq!(story.happens(&started), Err("M4"));
}

/// Leader 1 has had command 1 chosen in slot 1, and another one is elected that was told of it.
fn succeeded() -> Story {
    let mut story = Story::begun();
    let reported = vec![pvalue(ballot(1, 1), 1, 1)];
    assert_eq!(story.elect(ballot(2, 3), [reported, vec![]]), Ok(()));
    story
}

#[test]
fn g6_objects_to_a_leader_that_skips_what_is_chosen() {
    let later = || Message::P2a(pvalue(ballot(2, 3), 2, 2));
    assert_eq!(succeeded().sends(3, later()), Err("G6"));
    let mut story = succeeded();
    assert_eq!(story.sends(3, Message::P2a(pvalue(ballot(2, 3), 1, 1))), Ok(()));
    assert_eq!(story.sends(3, later()), Ok(()));
    let mut story = succeeded();
    let (from, message, slot_out) = (NodeId(3), &later(), Slot(2));
    let performed = Event::Sent { from, incarnation: 1, message, slot_out, bytes: 0 };
    assert_eq!(story.happens(&performed), Ok(()));
    let mut story = succeeded();
    for node in [1, 2].map(NodeId) {
        assert_eq!(story.happens(&Event::Saved { node, slot: Slot(2) }), Ok(()));
    }
    assert_eq!(story.sends(3, later()), Ok(()));
}

#[test]
fn g9_objects_to_states_that_differ() {
    let state = |node, bytes| Event::State { node: NodeId(node), bytes };
    let mut story = Story::begun();
    assert_eq!(story.happens(&state(1, b"one")), Ok(()));
    assert_eq!(story.happens(&state(2, b"one")), Ok(()));
    assert_eq!(story.happens(&state(3, b"other")), Err("G9"));
}

#[test]
fn m3_objects_to_a_decision_by_the_votes_of_others() {
    let decided_by = |voters: [u32; 2]| {
        let mut story = Story::new();
        assert_eq!(story.elect(ballot(1, 3), [vec![], vec![]]), Ok(()));
        assert_eq!(story.sends(3, Message::P2a(pvalue(ballot(1, 3), 1, 1))), Ok(()));
        for voter in voters {
            let accepted = Record::Accepted(pvalue(ballot(1, 3), 1, 1));
            assert_eq!(story.writes(voter, accepted), Ok(()));
            assert_eq!(story.sends(voter, p2b(ballot(1, 3), 1)), Ok(()));
        }
        let (slot, ballot, decree) = (Slot(1), ballot(1, 3), None);
        story.sends(3, Message::Decision { slot, ballot, decree })
    };
    assert_eq!(decided_by([1, 2]), Ok(()));
    assert_eq!(decided_by([1, 4]), Err("M3"));
}

#[test]
fn m5_objects_to_a_node_that_goes_on_after_it_was_removed() {
    let mut story = Story::begun();
    let rest = [NodeId(1), NodeId(2)];
    let config = Config { epoch: 1, members: Members::new(rest, rest, rest).unwrap() };
    story.ghost.schedule.push((Slot(2), config.clone()));
    let p1a = |round| Message::P1a { ballot: ballot(round, 3), first: Slot(2) };
    let campaigns = |story: &mut Story, round| {
        let record = Record::Campaigned(ballot(round, 3));
        story.ghost.append(NodeId(3), record.clone());
        story.writes(3, record)
    };
    assert_eq!(campaigns(&mut story, 2), Ok(()));
    let (at, latest) = (story.position(), Known { first: Slot(2), config: &config });
    assert_eq!(story.happens(&Event::Performed { node: NodeId(3), at, latest }), Ok(()));
    assert_eq!(story.sends(3, p1a(2)), Ok(()), "that was begun before");
    assert_eq!(campaigns(&mut story, 3), Ok(()));
    assert_eq!(story.sends(3, p1a(3)), Err("M5"));
    let serves = |node, epoch| Event::WouldServe { node: NodeId(node), epoch };
    [(1, 3), (2, 3), (2, 1)].into_iter().for_each(|(by, leader)| story.grants(by, leader));
    assert_eq!(story.happens(&serves(3, 1)), Err("M5"));
    assert_eq!(story.happens(&serves(3, 0)), Ok(()), "nobody reads by it in the slots of epoch 1");
    assert_eq!(story.happens(&Event::Performed { node: NodeId(1), at, latest }), Ok(()));
    assert_eq!(story.happens(&serves(1, 1)), Ok(()));
    let p1a = Message::P1a { ballot: ballot(4, 1), first: Slot(2) };
    assert_eq!(story.writes(1, Record::Campaigned(ballot(4, 1))), Ok(()));
    assert_eq!(story.sends(1, p1a), Ok(()), "node 1 is still there");
}
