//! The faults of the plan, carried out.

use synod::{
    Machine,
    protocol::Manage,
    transport::handshake::{Caller as Who, Hello},
};
use synod_paxos::NodeId;
use synod_storage::sim::{Failure, Fault as DiskFault, Operation, Trigger};

use super::{
    CLUSTER, Happening, World, micros,
    network::{Deed, Rule},
    process::{Failing, Parcel, Up},
};
use crate::{
    event::Judged,
    ghost::{Set, bit},
    plan::{Fault, Left},
    queue::Time,
    recorder::Seen,
};

const ALL: Set = Set::MAX;
/// Of a thousand.
const EVERY: u32 = 1000;

/// One node, or all if 0.
fn of(node: u32) -> Set {
    if node == 0 { ALL } else { bit(NodeId(node)) }
}

impl<M: Machine> World<'_, M> {
    /// A fault, if it can happen as things are.
    pub(super) fn goes_wrong(&mut self, fault: &Fault) -> Judged {
        let replaces = matches!(fault, Fault::Reconfigure { .. });
        if (fault.crashes() || replaces) && self.is_undetected() {
            return Ok(());
        }
        self.trace.note(self.now, || format!("{fault:?}"));
        self.trace.see(self.now, Seen::Fault(fault));
        *self.faults.entry(fault.name()).or_default() += 1;
        match *fault {
            Fault::Part { ref side, mute, deaf, lasts } => self.parts(side, (mute, deaf), lasts),
            Fault::Isolate { lasts } => self.isolates(lasts),
            Fault::Cut { from, to, lasts } => {
                self.rule((of(from), of(to)), None, Deed::Lose(EVERY), lasts);
            }
            Fault::Lose { ref kind, rate, lasts } => {
                self.rule((ALL, ALL), Some(kind), Deed::Lose(rate), lasts);
            }
            Fault::Hold { ref kind, from, lasts } => {
                self.rule((of(from), ALL), Some(kind), Deed::Hold, lasts);
            }
            Fault::Slow { from, to, by, lasts } => {
                self.rule((of(from), of(to)), None, Deed::Slow(micros(by)), lasts);
            }
            Fault::Garble { from, rate, lasts } => {
                self.rule((of(from), ALL), None, Deed::Garble(rate), lasts);
            }
            Fault::Misdirect { from, to } => return self.misdirect(NodeId(from), NodeId(to)),
            Fault::Foreign { to } => return self.foreign(NodeId(to)),
            Fault::Reset { one, other } => {
                self.breaks(NodeId(one), NodeId(other));
                self.breaks(NodeId(other), NodeId(one));
            }
            Fault::PowerCut { left, down } => return self.cuts_power(left, micros(down)),
            Fault::Crash { node, .. }
            | Fault::LastWords { node, .. }
            | Fault::CrashInDisk { node, .. }
            | Fault::SlowDisk { node, .. }
            | Fault::HungDisk { node, .. }
            | Fault::FullDisk { node, .. }
            | Fault::FailingDisk { node, .. }
            | Fault::Pause { node, .. }
            | Fault::Sluggish { node, .. }
            | Fault::Leap { node, .. }
            | Fault::StoppedClock { node, .. }
            | Fault::LyingDisk { node, .. }
            | Fault::WrongPlace { node, .. }
            | Fault::Cloned { node, .. }
            | Fault::Panic { node, .. }
            | Fault::Upgrade { node, .. }
            | Fault::Rot { node, .. }
            | Fault::Stale { node, .. }
            | Fault::Wipe { node, .. }
            | Fault::Restore { node, .. } => {
                if let Some(place) = self.place(node) {
                    return self.befalls(place, fault);
                }
            }
            Fault::Poison { lasts, down } => self.poison(micros(lasts), micros(down)),
            Fault::FormerSession { client, node } => {
                return self.asks_as_before(client as usize, NodeId(node));
            }
            Fault::Reconfigure { remove, add, twice } => {
                return self.reconfigures(remove, add, twice);
            }
            Fault::HandOver { to } => self.hands_over(to),
            Fault::Save { node } => self.orders(NodeId(node), Manage::Snapshot),
        }
        Ok(())
    }

    fn cuts_power(&mut self, left: Left, down: Time) -> Judged {
        (0..self.processes.len()).try_for_each(|place| self.crash(place, left, down))
    }

    /// A fault of one node.
    fn befalls(&mut self, place: usize, fault: &Fault) -> Judged {
        let now = self.now;
        let process = &mut self.processes[place];
        let node = process.id;
        match *fault {
            Fault::Crash { left, down, .. } => return self.crash(place, left, micros(down)),
            Fault::LastWords { ref kind, down, .. } => {
                process.last_words = Some((kind.clone(), micros(down)));
            }
            Fault::CrashInDisk { call, recovery, left, down, .. } => {
                return self.crashes_in_disk(place, (call, recovery), left, down);
            }
            Fault::FailingDisk { .. } => self.fails(place, fault),
            Fault::SlowDisk { by, lasts, .. } => process.slow = (micros(by), now + micros(lasts)),
            Fault::HungDisk { lasts, .. } => {
                process.disk.set_hung(true);
                self.queue.push(now + micros(lasts), Happening::Resumes { node });
            }
            Fault::FullDisk { room, lasts, .. } => {
                process.disk.set_space(Some(process.disk.used() + room));
                self.queue.push(now + micros(lasts), Happening::Resumes { node });
            }
            Fault::Pause { lasts, .. } => {
                process.paused = process.paused.max(now + micros(lasts));
                self.queue.push(process.paused, Happening::Resumes { node });
            }
            Fault::Sluggish { turn, lasts, .. } => {
                process.sluggish = (micros(turn), now + micros(lasts));
            }
            Fault::Leap { by, .. } => process.leaps(micros(by)),
            Fault::Rot { down, vote, .. } => return self.rots(place, vote, micros(down)),
            Fault::Stale { down, .. } => return self.stales(place, micros(down)),
            Fault::Wipe { down, .. } => return self.wipes(place, micros(down)),
            Fault::Restore { back, .. } => self.copies(place, micros(back)),
            Fault::StoppedClock { lasts, asleep, .. } => {
                self.stops_clock(place, now + micros(lasts), asleep);
            }
            Fault::LyingDisk { lasts, left, down, .. } => {
                self.lies(place, micros(lasts), left, micros(down));
            }
            Fault::WrongPlace { swap, down, .. } => {
                return self.misplaces(place, swap, micros(down));
            }
            Fault::Cloned { after, .. } => return self.clones(place, micros(after)),
            Fault::Panic { nth, lasts, down, .. } => {
                self.may_panic(place, nth, micros(lasts), micros(down));
            }
            Fault::Upgrade { down, .. } => return self.upgrades(place, micros(down)),
            Fault::Part { .. }
            | Fault::Isolate { .. }
            | Fault::Cut { .. }
            | Fault::Lose { .. }
            | Fault::Hold { .. }
            | Fault::Slow { .. }
            | Fault::Garble { .. }
            | Fault::Misdirect { .. }
            | Fault::Foreign { .. }
            | Fault::Reset { .. }
            | Fault::PowerCut { .. }
            | Fault::Poison { .. }
            | Fault::FormerSession { .. }
            | Fault::Reconfigure { .. }
            | Fault::HandOver { .. }
            | Fault::Save { .. } => {}
        }
        Ok(())
    }

    /// The leader is asked to hand over, if there is one.
    fn hands_over(&mut self, to: Option<u32>) {
        let Some(place) = self.place(0) else { return };
        self.orders(self.processes[place].id, Manage::HandOver(to));
    }

    /// A node's clock stands still, and perhaps its process as well.
    fn stops_clock(&mut self, place: usize, until: Time, asleep: bool) {
        let process = &mut self.processes[place];
        if !process.stop_clock(self.now, until) {
            return;
        }
        self.marks.add("clock stood still");
        if asleep {
            process.paused = process.paused.max(until);
            let node = process.id;
            self.queue.push(until, Happening::Resumes { node });
        }
    }

    /// The place of a node; of the leader, if 0.
    fn place(&self, node: u32) -> Option<usize> {
        if node == 0 {
            let leads = |up: &Up<M>| up.engine.leads();
            return self
                .processes
                .iter()
                .position(|process| process.up.as_ref().is_some_and(leads));
        }
        let place = node as usize - 1;
        (place < self.processes.len()).then_some(place)
    }

    fn rule(&mut self, (from, to): (Set, Set), kind: Option<&String>, deed: Deed, lasts: u64) {
        let now = self.now;
        let (kind, until) = (kind.cloned(), now + micros(lasts));
        self.wires.rules.retain(|rule| rule.until > now);
        self.wires.rules.push(Rule { from, to, kind, deed, until });
    }

    fn parts(&mut self, side: &[u32], (mute, deaf): (bool, bool), lasts: u64) {
        let side = side.iter().fold(0, |set, node| set | bit(NodeId(*node)));
        if mute {
            self.rule((side, !side), None, Deed::Lose(EVERY), lasts);
        }
        if deaf {
            self.rule((!side, side), None, Deed::Lose(EVERY), lasts);
        }
    }

    fn isolates(&mut self, lasts: u64) {
        let Some(place) = self.place(0) else { return };
        let leader = self.processes[place].id;
        self.parts(&[leader.0], (true, true), lasts);
        let others: Vec<NodeId> = self.processes.iter().map(|process| process.id).collect();
        for other in others.into_iter().filter(|other| *other != leader) {
            self.breaks(other, leader);
        }
    }

    /// A node dials another one than it means.
    fn misdirect(&mut self, from: NodeId, to: NodeId) -> Judged {
        let Some(process) = self.process(from) else { return Ok(()) };
        let life = process.life;
        let Some(up) = &process.up else { return Ok(()) };
        let caller = up.engine.introduce();
        let meant = Some(NodeId(to.0 % 3 + 1));
        let hello = Box::new(Hello { cluster: CLUSTER, to: meant, caller });
        let parcel = Parcel::Hello { from, life, dial: 0, hello };
        self.arrives(to, 0, parcel)
    }

    /// A node of another cluster, of the same id as one of ours, knocks.
    fn foreign(&mut self, to: NodeId) -> Judged {
        self.marks.add("foreign node refused");
        let from = NodeId(to.0 % 3 + 1);
        let (birth, incarnation, process, began) = (1, 1 << 20, 1, 1 << 40);
        let address = String::new();
        let caller = Who::Peer { node: from, birth, incarnation, process, began, address };
        let hello = Box::new(Hello { cluster: CLUSTER + 1, to: Some(to), caller });
        let parcel = Parcel::Hello { from, life: u64::MAX, dial: 0, hello };
        self.arrives(to, 0, parcel)
    }

    fn crashes_in_disk(
        &mut self,
        place: usize,
        (call, recovery): (u64, bool),
        left: Left,
        down: u64,
    ) -> Judged {
        if recovery {
            self.crash(place, left, 1)?;
        }
        let process = &mut self.processes[place];
        let when = Trigger::Call(process.disk.calls() + call.max(1));
        process.disk.plan(DiskFault::new(when, Failure::Crash));
        process.armed = Some((left, micros(down)));
        Ok(())
    }

    fn fails(&mut self, place: usize, fault: &Fault) {
        let Fault::FailingDisk { call, of, nth, down, .. } = fault else { return };
        let operation = match call.as_str() {
            "write" => Operation::Write,
            "read" => Operation::Read,
            _ => Operation::Sync,
        };
        let process = &mut self.processes[place];
        let seed = self.streams.disk.any();
        let when = Trigger::Nth { operation, prefix: of.clone(), n: (*nth).max(1) };
        process.disk.plan(DiskFault::new(when, Failure::Io { seed }));
        process.failing.push(Failing { of: of.clone(), down: micros(*down) });
    }

    /// What holds a node up for a while is over; perhaps something else still does.
    pub(super) fn resumes(&mut self, node: NodeId) -> Judged {
        let now = self.now;
        let Some(process) = self.process(node) else { return Ok(()) };
        if process.paused > now {
            return Ok(());
        }
        process.disk.set_hung(false);
        process.disk.set_space(None);
        let (life, place) = (process.life, node.0 as usize - 1);
        if let Some(up) = &mut process.up {
            let stuck = std::mem::take(&mut up.log.stuck);
            if stuck {
                self.queue.push(now, Happening::SyncEnds { node, life });
            }
            return self.turn(place);
        }
        Ok(())
    }
}
