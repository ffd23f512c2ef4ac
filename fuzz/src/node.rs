//! What happens to a small cluster, and in which order: messages overtake each other, get lost and
//! come twice, disks are slow, processes crash and come back, members are replaced.
//!
//! The cluster, its clients and the properties are those of the random schedules; but here the
//! bytes decide what happens next. Processes are trusted: they say nothing but what the protocol
//! makes them say. The invariants that the roles assert hold at any rate, and so does what an
//! omniscient observer asks for; and when the bytes are at their end, the faults are over, and
//! everything that waits has to get done.

use std::time::Duration;

use arbitrary::Unstructured;
use fastrand::Rng;
use synod_paxos::{Lease, Members, Node, NodeId, Timing};

use crate::{
    draw,
    event::Violation,
    marks::Marks,
    options::{Options, Weights},
    trace::Trace,
    world::{Judged, World},
};

/// More is not looked at: an input should be short enough to be understood.
const STEPS: usize = 1500;
/// More packets in flight are dropped.
const FLYING_MAX: usize = 150;
/// The messages of which some are the last that their sender sends in its life.
const LAST_WORDS: [&str; 6] = ["p1a", "p2a", "decision", "propose", "read_query", "snapshot_chunk"];

/// The first bytes are the settings; each of the others is something that happens.
///
/// # Panics
/// When a property does not hold.
pub fn run(bytes: &[u8]) {
    if let Err(violation) = play(bytes) {
        panic!("violates {violation}");
    }
}

fn play(bytes: &[u8]) -> Result<Marks, Violation> {
    let mut input = Unstructured::new(bytes);
    let options = settings(&mut input);
    let seed = draw::byte(&mut input).into();
    let mut world = World::new(options, Rng::with_seed(seed), Trace::default());
    world.populate()?;
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        step(&mut world, &mut input)?;
    }
    world.recuperate()?;
    world.marks.reconfigurations += world.history.latest().epoch;
    Ok(world.marks)
}

fn settings(input: &mut Unstructured<'_>) -> Options {
    let (flags, sizes, more) = (draw::byte(input), draw::byte(input), draw::byte(input));
    let flag = |n: u8| flags & 1 << n != 0;
    let ids = |first: u32| [first, first + 1, first + 2].map(NodeId);
    let colocated = !flag(0);
    let members = if colocated {
        Members::new(ids(1), ids(1), ids(1))
    } else {
        Members::new(ids(1), ids(11), ids(21))
    };
    let (length, drift_ppm) = (Duration::from_millis(100), 500);
    let lease = flag(1).then_some(Lease { length, drift_ppm });
    let patience_max = Duration::from_millis(800);
    let word = LAST_WORDS.get(usize::from(more & 7));
    Options {
        members: members.expect("three of each role make a configuration"),
        colocated,
        window: u64::from(sizes & 3) + 1,
        sessions: if flag(2) { 2 } else { 1000 },
        snapshot_every: u64::from(sizes >> 2 & 7) + 2,
        ballast: 0,
        timing: Timing { patience_max, lease, ..Timing::default() },
        drift_ppm: if lease.is_some() { drift_ppm / 10 * 9 } else { 0 },
        steps: 0,
        callers: 2,
        in_flight: 4,
        commands: u32::MAX,
        reconfigurations: u32::from(sizes >> 5 & 3),
        pace: Duration::from_millis(20),
        wire: true,
        flush_at_once: flag(3),
        sync_at_once: flag(4),
        weights: Weights::default(),
        in_order: 0,
        lost: 0,
        doubled: 0,
        held: None,
        last_words: word.map(|word| (*word, 100)),
        torn: flag(5),
        damaged: if flag(6) { 300 } else { 0 },
        restores_slowly: flag(7),
    }
}

/// Most bytes deliver a packet: the one that has been in flight for longest, or a later one.
fn step(world: &mut World, input: &mut Unstructured<'_>) -> Judged {
    let code = draw::byte(input);
    if code < 128 {
        return deliver(world, code.into());
    }
    let some = usize::from(code & 3);
    let place = if world.ids.len() <= 4 { some } else { draw::byte(input).into() };
    let id = world.ids[place % world.ids.len()];
    match code >> 2 & 31 {
        0 | 1 => deliver_all(world),
        2 => {
            world.now += Duration::from_millis(20 << some);
            let ids = world.ids.clone();
            ids.into_iter().try_for_each(|id| world.call(id, Node::tick))
        }
        3 => {
            world.now += Duration::from_millis(1);
            world.call(id, Node::tick)
        }
        4 => world.call(id, |node, _, out| node.flush(out)),
        5 => world.sync(id),
        6 | 7 => request(world, some % 2),
        8 => {
            world.retry_at(some % 2, id);
            Ok(())
        }
        9 => world.read(id),
        10 => world.crash(id),
        11 => world.recover(id),
        12 => world.call(id, |node, _, out| node.campaign(out)),
        13 => world.call(id, |node, _, out| _ = node.hand_over(None, out)),
        14 => {
            let peer = world.ids[usize::from(draw::byte(input)) % world.ids.len()];
            world.call(id, |node, _, _| node.lost(peer))
        }
        15 => world.restored(id),
        16 => {
            world.compact(id);
            Ok(())
        }
        17 => world.reconfigure(),
        18 => {
            world.stop(id);
            Ok(())
        }
        19 => {
            let pause = Duration::from_millis(200);
            let now = world.now;
            if let Some(process) = world.processes.get_mut(&id) {
                process.paused = now + pause;
            }
            Ok(())
        }
        20 => world.usurp(),
        21 => {
            let peer = world.ids[usize::from(draw::byte(input)) % world.ids.len()];
            world.network.cuts.cut(id, peer);
            Ok(())
        }
        22 => {
            world.network.cuts.heal();
            Ok(())
        }
        other => packets(world, other, usize::from(draw::byte(input))),
    }
}

/// Something happens to a packet in flight.
fn packets(world: &mut World, what: u8, place: usize) -> Judged {
    let (flying, held) = (world.network.flying(), world.network.held());
    if what == 23 && held > 0 {
        world.network.release(place % held);
    } else if flying > 0 {
        let packet = world.network.take(place % flying);
        match what {
            // Nobody receives it.
            24 | 25 => {}
            // It arrives much later.
            26 | 27 => world.network.hold(packet),
            // It arrives now, and once more.
            _ => {
                world.network.hold(packet.clone());
                return world.deliver(packet);
            }
        }
    }
    Ok(())
}

fn deliver(world: &mut World, place: usize) -> Judged {
    let flying = world.network.flying();
    if flying == 0 {
        return Ok(());
    }
    let packet = world.network.take(place % flying);
    if packet.to().is_some_and(|to| world.is_paused(to)) {
        world.network.hold(packet);
        return Ok(());
    }
    if flying > FLYING_MAX || !world.network.cuts.passes(&packet) {
        return Ok(());
    }
    world.deliver(packet)
}

/// What is in flight now arrives in the order in which it was sent.
fn deliver_all(world: &mut World) -> Judged {
    (0..world.network.flying()).try_for_each(|_| deliver(world, 0))
}

fn request(world: &mut World, place: usize) -> Judged {
    let caller = &mut world.callers[place];
    if caller.client.in_flight() >= world.options.in_flight {
        return Ok(());
    }
    let op = caller.next_op();
    world.ask(place, op)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Inputs in which nothing happens prove nothing.
    #[test]
    fn much_happens_in_the_seeds() {
        let mut marks = Marks::default();
        for seed in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/seeds/node")).unwrap() {
            marks += play(&fs::read(seed.unwrap().path()).unwrap()).unwrap();
        }
        let happened = [
            marks.slots_performed,
            marks.preemptions,
            marks.recoveries,
            marks.answered,
            marks.answered_again,
            marks.reads,
            marks.leased,
            marks.handed_over,
            marks.snapshots_installed,
            marks.reconfigurations,
        ];
        assert!(happened.iter().all(|times| *times > 0), "{marks:#?}");
    }
}
