//! R1, R2, V2 and V3.

use synod::transport::FRAME_MAX;

use super::{
    super::bounds::{BALLOTS_MAX, SPELL, UNREST_MAX, is_bounded},
    *,
};

#[test]
fn r1_objects_to_a_storm() {
    let hour = 3_600_000_000_000;
    assert_eq!(is_bounded(20_000_000, 200_000, 0), Ok(()));
    assert_eq!(is_bounded(34_400_000, 0, hour), Ok(()));
    for (events, flying, now) in [(20_000_001, 0, 0), (0, 200_001, 0), (34_400_001, 0, hour)] {
        assert_eq!(is_bounded(events, flying, now).map_err(|storm| storm.property), Err("R1"));
    }
}

#[test]
fn r2_objects_to_a_message_that_no_frame_holds() {
    let mut story = Story::begun();
    let mut sends = |bytes| {
        let (from, message, slot_out) = (NodeId(1), &decision(1, 1), Slot(1));
        story.happens(&Event::Sent { from, incarnation: 1, message, slot_out, bytes })
    };
    assert_eq!(sends(FRAME_MAX), Ok(()));
    assert_eq!(sends(FRAME_MAX + 1), Err("R2"));
}

#[test]
fn v2_objects_to_ballots_without_end() {
    let mut story = Story::begun();
    let campaign = |round| Record::Campaigned(ballot(round, 1));
    for round in 2..100 {
        assert_eq!(story.writes(1, campaign(round)), Ok(()), "there are faults");
    }
    assert_eq!(story.happens(&Event::Healed), Ok(()));
    let refused = (100..200).find(|round| story.writes(1, campaign(*round)).is_err());
    assert_eq!(refused, Some(100 + u64::from(BALLOTS_MAX)));
    assert_eq!(story.writes(1, campaign(200)), Err("V2"));
}

#[test]
fn v3_objects_to_nodes_that_do_not_come_to_rest() {
    let ping = || Message::Ping { round: 1 };
    let mut story = Story::begun();
    assert_eq!(story.happens(&Event::Idle { most: 2, within: UNREST_MAX }), Ok(()));
    assert_eq!(story.sends(1, decision(1, 1)), Ok(()), "somebody may be behind");
    for spell in 1..=3 {
        assert_eq!(story.sends(1, ping()), Ok(()));
        assert_eq!(story.sends(1, ping()), Ok(()));
        assert_eq!(story.sends(2, ping()), Ok(()));
        assert_eq!(story.sends(1, ping()), Err("V3"));
        story.ghost.now += spell * (SPELL + 1);
    }
    story.ghost.now = UNREST_MAX + 1;
    assert_eq!(story.sends(4, decision(1, 1)), Ok(()), "no member any more");
    assert_eq!(story.sends(1, decision(1, 1)), Err("V3"));
}
