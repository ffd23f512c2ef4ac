//! C1, C5, C6, L1 and L2.

use synod::Level;

use super::*;

fn begins(level: Level) -> Event<'static> {
    Event::ReadBegins { over: OVER, id: 1, level }
}

/// Replica 3 serves that read.
fn read(applied: Option<u64>, slot_out: Slot) -> Event<'static> {
    Event::ReadAnswered { node: NodeId(3), over: OVER, id: 1, applied, slot_out }
}

#[test]
fn c1_objects_to_reads_and_commands_of_the_past() {
    let mut story = Story::begun();
    assert_eq!(story.happens(&answered(1)), Ok(()));
    assert_eq!(story.happens(&begins(Level::Linearizable)), Ok(()));
    let mut reads = |applied, slot_out| story.happens(&read(applied, slot_out));
    assert_eq!(reads(Some(1), Slot(2)), Ok(()));
    assert_eq!(reads(None, Slot(1)), Err("C1"));
    assert_eq!(reads(Some(0), Slot(2)), Err("C1"));
}

#[test]
fn c1_objects_to_a_read_before_another_read() {
    let mut story = Story::begun();
    assert_eq!(story.happens(&Event::ReadSeen { over: OVER, applied: 1 }), Ok(()));
    assert_eq!(story.happens(&begins(Level::Linearizable)), Ok(()));
    assert_eq!(story.happens(&read(Some(0), Slot(2))), Err("C1"));
}

#[test]
fn c5_objects_to_what_is_older_than_what_the_connection_has_shown() {
    let shown = [answered(1), Event::ReadSeen { over: OVER, applied: 1 }];
    for shown in shown {
        let mut story = Story::begun();
        assert_eq!(story.happens(&shown), Ok(()));
        assert_eq!(story.happens(&begins(Level::Local)), Ok(()));
        assert_eq!(story.happens(&read(Some(0), Slot(1))), Err("C5"));
        assert_eq!(story.happens(&read(Some(1), Slot(2))), Ok(()));
        let over = Line { conn: 2, ..OVER };
        let (node, applied, slot_out) = (NodeId(2), Some(0), Slot(1));
        let elsewhere = Event::ReadAnswered { node, over, id: 1, applied, slot_out };
        assert_eq!(story.happens(&elsewhere), Ok(()), "another node may be behind");
    }
}

#[test]
fn c6_objects_to_tokens_that_fall_or_are_given_twice() {
    let given = |cid, token| {
        let token = Some(token);
        Event::Answered { client: CLIENT, cid, over: OVER, token }
    };
    /// As Story::begun, with command 2 in slot 2.
    fn both() -> Story {
        let mut story = Story::begun();
        for acceptor in 1..=2 {
            let accepted = Record::Accepted(pvalue(ballot(1, 1), 2, 2));
            assert_eq!(story.writes(acceptor, accepted), Ok(()));
        }
        story
    }
    let mut story = both();
    assert_eq!(story.happens(&given(1, 7)), Ok(()));
    assert_eq!(story.happens(&given(2, 7)), Err("C6"));
    assert_eq!(story.happens(&given(2, 6)), Ok(()), "both had been asked for before");
    let mut story = both();
    assert_eq!(story.happens(&given(1, 7)), Ok(()));
    assert_eq!(story.happens(&Event::Requested { command: &command(2) }), Ok(()));
    assert_eq!(story.happens(&given(2, 6)), Err("C6"));
    assert_eq!(story.happens(&given(2, 8)), Ok(()));
}

#[test]
fn l1_objects_to_two_leases_of_one_configuration_at_one_time() {
    let serves = |node, epoch| Event::WouldServe { node: NodeId(node), epoch };
    let mut story = Story::begun();
    story.ghost.schedule.push((Slot(9), Config { epoch: 1, members: members() }));
    (1..=3).for_each(|leader| story.grants(leader % 3 + 1, leader));
    assert_eq!(story.happens(&serves(1, 0)), Ok(()));
    assert_eq!(story.happens(&serves(1, 0)), Ok(()));
    assert_eq!(story.happens(&serves(2, 1)), Ok(()));
    assert_eq!(story.happens(&serves(3, 0)), Err("L1"));
    story.ghost.now += 1;
    assert_eq!(story.happens(&serves(2, 0)), Ok(()));
}

#[test]
fn l1_objects_to_a_lease_that_no_quorum_has_granted() {
    let serves = Event::WouldServe { node: NodeId(1), epoch: 0 };
    let mut story = Story::begun();
    assert_eq!(story.happens(&serves), Err("L1"), "it has granted it to itself");
    story.grants(2, 3);
    assert_eq!(story.happens(&serves), Err("L1"), "to another leader");
    story.grants(9, 1);
    assert_eq!(story.happens(&serves), Err("L1"), "by no acceptor");
    story.grants(2, 1);
    assert_eq!(story.happens(&serves), Ok(()));
    story.ghost.now += LEASE;
    assert_eq!(story.happens(&serves), Ok(()));
    story.ghost.now += 1;
    assert_eq!(story.happens(&serves), Err("L1"), "it is over");
}

#[test]
fn l2_objects_to_reads_that_miss_what_is_decided() {
    let mut story = Story::begun();
    assert_eq!(story.happens(&begins(Level::Linearizable)), Ok(()));
    assert_eq!(story.happens(&read(Some(0), Slot(1))), Err("L2"));
    assert_eq!(story.happens(&read(Some(0), Slot(2))), Err("L2"));
    assert_eq!(story.happens(&read(Some(1), Slot(2))), Ok(()));
    assert_eq!(story.happens(&begins(Level::Local)), Ok(()));
    assert_eq!(story.happens(&read(Some(0), Slot(1))), Ok(()), "it promises nothing");
    // The leader need not know that it is chosen, until somebody does.
    assert_eq!(story.happens(&begins(Level::Lease)), Ok(()));
    assert_eq!(story.happens(&read(Some(0), Slot(1))), Ok(()));
    let at = story.position();
    assert_eq!(story.performs(2, at), Ok(()));
    assert_eq!(story.happens(&begins(Level::Lease)), Ok(()));
    assert_eq!(story.happens(&read(Some(0), Slot(1))), Err("L2"));
}
