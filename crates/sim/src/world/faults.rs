//! The faults of the plan, carried out.

use synod::{
    Machine,
    transport::handshake::{Caller as Who, Hello},
};
use synod_paxos::{Members, NodeId, Op, Reconfiguration};
use synod_storage::sim::{Failure, Fault as DiskFault, Operation, Trigger};

use super::{
    CLUSTER, Happening, World, micros,
    network::{Deed, Rule},
    process::{Input, Parcel},
};
use crate::{
    event::{Event, Judged},
    ghost::{Set, bit},
    plan::{Fault, Left},
    queue::Time,
};

const ALL: Set = Set::MAX;

impl<M: Machine> World<'_, M> {
    /// A fault, if it can happen as things are.
    pub(super) fn goes_wrong(&mut self, fault: &Fault) -> Judged {
        self.trace.note(self.now, || format!("{fault:?}"));
        *self.faults.entry(fault.name()).or_default() += 1;
        if fault.crashes() && self.is_undetected() {
            return Ok(());
        }
        match fault {
            Fault::Part { .. }
            | Fault::Cut { .. }
            | Fault::Lose { .. }
            | Fault::Hold { .. }
            | Fault::Slow { .. } => {
                self.rules(fault);
                Ok(())
            }
            Fault::Misdirect { from, to } => self.misdirect(NodeId(*from), NodeId(*to)),
            Fault::Foreign { to } => self.foreign(NodeId(*to)),
            Fault::Reset { one, other } => {
                self.breaks(NodeId(*one), NodeId(*other));
                self.breaks(NodeId(*other), NodeId(*one));
                Ok(())
            }
            Fault::Crash { node, left, down } => match self.place(*node) {
                Some(place) => self.crash(place, *left, micros(*down)),
                None => Ok(()),
            },
            Fault::PowerCut { left, down } => {
                (0..self.processes.len()).try_for_each(|place| self.crash(place, *left, micros(*down)))
            }
            Fault::LastWords { node, kind, down } => {
                if let Some(place) = self.place(*node) {
                    self.processes[place].last_words = Some((kind.clone(), micros(*down)));
                }
                Ok(())
            }
            Fault::CrashInDisk { .. }
            | Fault::SlowDisk { .. }
            | Fault::HungDisk { .. }
            | Fault::FullDisk { .. }
            | Fault::FailingDisk { .. } => self.troubles(fault),
            Fault::Pause { .. } | Fault::Sluggish { .. } | Fault::Leap { .. } => {
                self.slows(fault);
                Ok(())
            }
            Fault::Rot { node, down } => self.rots(*node, micros(*down)),
            Fault::Stale { node, down } => self.stales(*node, micros(*down)),
            Fault::Wipe { node, down } => self.wipes(*node, micros(*down)),
            Fault::Restore { node, back } => self.restores(*node, micros(*back)),
            Fault::Reconfigure { remove, add, twice } => self.reconfigures(*remove, *add, *twice),
            Fault::HandOver => match self.place(0) {
                Some(place) => {
                    self.marks.add("handed over");
                    self.input(place, Input::HandOver)
                }
                None => Ok(()),
            },
        }
    }

    /// The place of a node; of the leader, if 0.
    fn place(&self, node: u32) -> Option<usize> {
        if node == 0 {
            let leads = |up: &super::process::Up<M>| up.engine.leads();
            return self.processes.iter().position(|process| process.up.as_ref().is_some_and(leads));
        }
        let place = node as usize - 1;
        (place < self.processes.len()).then_some(place)
    }

    fn rules(&mut self, fault: &Fault) {
        let mut rule = |from, to, kind, deed, lasts: u64| {
            let until = self.now + micros(lasts);
            self.wires.rules.push(Rule { from, to, kind, deed, until });
        };
        match fault {
            Fault::Part { side, mute, deaf, lasts } => {
                let side = side.iter().fold(0, |set, node| set | bit(NodeId(*node)));
                if *mute {
                    rule(side, !side, None, Deed::Lose(1000), *lasts);
                }
                if *deaf {
                    rule(!side, side, None, Deed::Lose(1000), *lasts);
                }
            }
            Fault::Cut { from, to, lasts } => {
                let (from, to) = (bit(NodeId(*from)), bit(NodeId(*to)));
                rule(from, to, None, Deed::Lose(1000), *lasts);
            }
            Fault::Lose { kind, rate, lasts } => {
                rule(ALL, ALL, Some(kind.clone()), Deed::Lose(*rate), *lasts);
            }
            Fault::Hold { kind, from, lasts } => {
                let from = if *from == 0 { ALL } else { bit(NodeId(*from)) };
                rule(from, ALL, Some(kind.clone()), Deed::Hold, *lasts);
            }
            Fault::Slow { from, to, by, lasts } => {
                let to = if *to == 0 { ALL } else { bit(NodeId(*to)) };
                rule(bit(NodeId(*from)), to, None, Deed::Slow(micros(*by)), *lasts);
            }
            _ => {}
        }
        let now = self.now;
        self.wires.rules.retain(|rule| rule.until > now);
    }

    /// A node dials another one than it means.
    fn misdirect(&mut self, from: NodeId, to: NodeId) -> Judged {
        let Some(process) = self.process(from) else { return Ok(()) };
        let life = process.life;
        let Some(up) = &process.up else { return Ok(()) };
        let caller = Who::Peer {
            node: from,
            birth: up.identity.birth,
            incarnation: up.engine.incarnation(),
            sequence: up.engine.sequence(),
            address: super::process::address(from),
        };
        let meant = Some(NodeId(to.0 % 3 + 1));
        let hello = Box::new(Hello { cluster: CLUSTER, to: meant, caller });
        let parcel = Parcel::Hello { from, life, dial: 0, hello };
        self.arrives(to, 0, parcel)
    }

    /// A node of another cluster, of the same id as one of ours, knocks.
    fn foreign(&mut self, to: NodeId) -> Judged {
        self.marks.add("foreign node refused");
        let from = NodeId(to.0 % 3 + 1);
        let (birth, incarnation, sequence) = (1, 1 << 20, 1 << 40);
        let address = String::new();
        let caller = Who::Peer { node: from, birth, incarnation, sequence, address };
        let hello = Box::new(Hello { cluster: CLUSTER + 1, to: Some(to), caller });
        let parcel = Parcel::Hello { from, life: u64::MAX, dial: 0, hello };
        self.arrives(to, 0, parcel)
    }

    fn troubles(&mut self, fault: &Fault) -> Judged {
        match fault {
            Fault::CrashInDisk { node, call, recovery, left, down } => {
                let Some(place) = self.place(*node) else { return Ok(()) };
                if *recovery {
                    self.crash(place, *left, 1)?;
                }
                let process = &mut self.processes[place];
                let when = Trigger::Call(process.disk.calls() + (*call).max(1));
                process.disk.plan(DiskFault::new(when, Failure::Crash));
                process.armed = Some((*left, micros(*down)));
            }
            Fault::FailingDisk { node, call, nth, down } => {
                let Some(place) = self.place(*node) else { return Ok(()) };
                let operation = match call.as_str() {
                    "write" => Operation::Write,
                    "read" => Operation::Read,
                    _ => Operation::Sync,
                };
                let process = &mut self.processes[place];
                let seed = self.streams.disk.u64(..);
                let when = Trigger::nth(operation, (*nth).max(1));
                process.disk.plan(DiskFault::new(when, Failure::Io { seed }));
                process.failing = Some(micros(*down));
            }
            Fault::SlowDisk { node, by, lasts } => {
                let Some(place) = self.place(*node) else { return Ok(()) };
                self.processes[place].slow = (micros(*by), self.now + micros(*lasts));
            }
            Fault::HungDisk { node, lasts } => {
                let Some(place) = self.place(*node) else { return Ok(()) };
                let process = &self.processes[place];
                process.disk.set_hung(true);
                let node = process.id;
                self.queue.push(self.now + micros(*lasts), Happening::Resumes { node });
            }
            Fault::FullDisk { node, room, lasts } => {
                let Some(place) = self.place(*node) else { return Ok(()) };
                let process = &self.processes[place];
                process.disk.set_space(Some(process.disk.used() + room));
                let node = process.id;
                self.queue.push(self.now + micros(*lasts), Happening::Resumes { node });
            }
            _ => {}
        }
        Ok(())
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

    fn slows(&mut self, fault: &Fault) {
        let now = self.now;
        match fault {
            Fault::Pause { node, lasts } => {
                let Some(place) = self.place(*node) else { return };
                let until = now + micros(*lasts);
                let process = &mut self.processes[place];
                process.paused = process.paused.max(until);
                let node = process.id;
                self.queue.push(until, Happening::Resumes { node });
            }
            Fault::Sluggish { node, turn, lasts } => {
                let Some(place) = self.place(*node) else { return };
                self.processes[place].sluggish = (micros(*turn), now + micros(*lasts));
            }
            Fault::Leap { node, by } => {
                let Some(place) = self.place(*node) else { return };
                let Some(up) = &mut self.processes[place].up else { return };
                up.leapt += micros(*by);
                up.tick_at = None;
            }
            _ => {}
        }
    }

    /// Somebody tampers with what a node has on its disk.
    fn tampers(&mut self, place: usize) -> Judged {
        self.processes[place].tampered = true;
        let node = self.processes[place].id;
        self.judge(&Event::Forgot { node })
    }

    /// A bit flips.
    fn rots(&mut self, node: u32, down: Time) -> Judged {
        let Some(place) = self.place(node) else { return Ok(()) };
        self.crash(place, Left::All, down)?;
        self.tampers(place)?;
        let disk = self.processes[place].disk.clone();
        let files: Vec<(String, Vec<u8>)> = disk.files().into_iter().collect();
        let rng = &mut self.streams.disk;
        let Some((name, bytes)) = rng.choice(files.iter()) else { return Ok(()) };
        // Most of a segment is empty: bits that say something are the interesting ones.
        let said: Vec<usize> = (0..bytes.len()).filter(|place| bytes[*place] != 0).collect();
        if let Some(offset) = rng.choice(said.iter()) {
            disk.flip_bit(name, *offset as u64, rng.u32(0..8));
        }
        Ok(())
    }

    /// A sector is what it once was.
    fn stales(&mut self, node: u32, down: Time) -> Judged {
        let Some(place) = self.place(node) else { return Ok(()) };
        let disk = self.processes[place].disk.clone();
        disk.keep_history();
        self.crash(place, Left::All, down)?;
        self.tampers(place)?;
        let files: Vec<String> = disk.files().into_keys().collect();
        let rng = &mut self.streams.disk;
        let Some(name) = rng.choice(files.iter()) else { return Ok(()) };
        let sectors: Vec<u64> = (0..32).filter(|at| disk.versions(name, *at) > 0).collect();
        if let Some(sector) = rng.choice(sectors.iter()) {
            let back = rng.usize(1..=disk.versions(name, *sector));
            disk.restore_sector(name, *sector, back);
        }
        Ok(())
    }

    /// Whether all others are up, and know a node's disk: only then can they tell that it is
    /// another one now, whatever becomes of them.
    fn is_known_to_others(&self, place: usize) -> bool {
        let (node, alive) = (self.processes[place].id, |id: &NodeId| self.left_dead & bit(*id) == 0);
        let Some(up) = &self.processes[place].up else { return false };
        let birth = up.identity.birth;
        self.processes.iter().filter(|other| other.id != node && alive(&other.id)).all(|other| {
            other.up.as_ref().is_some_and(|up| up.engine.disk_of(node) == Some(birth))
        })
    }

    fn wipes(&mut self, node: u32, down: Time) -> Judged {
        let Some(place) = self.place(node) else { return Ok(()) };
        if self.processes[place].tampered || !self.is_known_to_others(place) {
            return Ok(());
        }
        self.crash(place, Left::Process, down)?;
        self.tampers(place)?;
        self.processes[place].disk = synod_storage::SimDisk::new();
        Ok(())
    }

    /// A copy is made, on which the node is started later.
    fn restores(&mut self, node: u32, back: Time) -> Judged {
        let Some(place) = self.place(node) else { return Ok(()) };
        let process = &mut self.processes[place];
        if process.copy.is_none() && !process.tampered {
            process.copy = Some(process.disk.fork());
            let (at, node) = (self.now + back, process.id);
            self.queue.push(at, Happening::PutBack { node });
        }
        Ok(())
    }

    /// A node is started on the copy of its disk. Its peers know how long its log was, as long as
    /// they live: that a whole cluster is started anew meanwhile is beyond what they can see.
    pub(super) fn put_back(&mut self, node: NodeId) -> Judged {
        let place = node.0 as usize - 1;
        let Some(copy) = self.processes[place].copy.take() else { return Ok(()) };
        let busy = |process: &super::process::Process<M>| {
            process.up.is_none() || process.paused > self.now || process.armed.is_some()
        };
        let quiet = !self.processes.iter().any(busy) && !self.calm;
        if !quiet || self.processes[place].tampered || !self.is_known_to_others(place) {
            return Ok(());
        }
        self.crash(place, Left::Process, 1)?;
        self.tampers(place)?;
        self.processes[place].disk = copy;
        self.returned = Some(place);
        self.processes.iter_mut().for_each(|process| process.last_words = None);
        Ok(())
    }

    /// Whether a node is back on an old disk and has not been found out.
    fn is_undetected(&self) -> bool {
        self.returned.is_some_and(|place| self.processes[place].dead.is_none())
    }

    fn reconfigures(&mut self, remove: u32, add: u32, twice: bool) -> Judged {
        let operators = if twice { 2 } else { 1 };
        for operator in 0..operators {
            let asked = self.some_node();
            let Some(place) = self.running(asked, 0) else { return Ok(()) };
            let Some(up) = &self.processes[place].up else { return Ok(()) };
            let latest = up.engine.schedule().latest().clone();
            let number = self.callers.len() - 1 - operator;
            if self.callers[number].errand.is_some() || self.processes.len() > 50 {
                continue;
            }
            let Some(members) = self.other_members(&latest.members, remove, add) else { continue };
            let to = Reconfiguration { replaces: latest.epoch, members };
            self.callers[number].errand = Some(Op::Reconfigure(Box::new(to)));
        }
        Ok(())
    }

    /// Nodes that are lost go first; as many come as keep the size.
    fn other_members(&mut self, old: &Members, remove: u32, add: u32) -> Option<Members> {
        let lost = |id: &NodeId| self.left_dead & bit(*id) != 0;
        let mut gone: Vec<NodeId> = old.acceptors.iter().copied().filter(lost).collect();
        let mut others: Vec<NodeId> =
            old.acceptors.iter().copied().filter(|id| !gone.contains(id)).collect();
        self.streams.operator.shuffle(&mut others);
        gone.extend(others.into_iter().take(remove as usize));
        let come = (gone.len() as u32).max(add);
        let new: Vec<NodeId> = (0..come.min(4)).map(|_| self.add()).collect();
        if new.len() < gone.len() {
            gone.truncate(new.len());
        }
        self.marks.add_many("node replaced", gone.len() as u64);
        let change = |role: &[NodeId]| -> Vec<NodeId> {
            let stay = role.iter().copied().filter(|id| !gone.contains(id));
            stay.chain(new.iter().copied()).collect()
        };
        let members =
            Members::new(change(&old.replicas), change(&old.leaders), change(&old.acceptors));
        members.ok()
    }
}
