//! What goes to disks and comes from them, and what a crash leaves.

use synod::{
    Machine,
    engine::{Finished, Job, save},
    error::StartError,
};
use synod_paxos::{Message, NodeId};
use synod_storage::{OpenError, WriteError, sim::Unsynced};

use super::{
    Happening, World,
    guest::Guest,
    log::Written,
    micros,
    process::{Hand, Input, Line, Parcel, Up},
};
use crate::{
    event::{Event, Judged, Violation},
    plan::Left,
    queue::Time,
    recorder::{Party, Seen},
};

/// How long it takes until it is looked again whether a disk has room.
const FULL_RETRY: Time = 100_000_000;
/// How long a node that could not start is left alone.
const START_RETRY: Time = 50_000_000;

impl<M: Machine> World<'_, M> {
    /// A sync has begun, and ends later.
    pub(super) fn sync_later(&mut self, place: usize) {
        let (least, more) = self.plan.cluster.sync;
        let mut takes = micros(least) + self.streams.disk.u64(0..=micros(more));
        let process = &self.processes[place];
        if process.slow.1 > self.now && !self.calm {
            takes += process.slow.0;
        }
        let (node, life) = (process.id, process.life);
        self.queue.push(self.now + takes, Happening::SyncEnds { node, life });
    }

    pub(super) fn sync_ends(&mut self, node: NodeId, life: u64) -> Judged {
        let Some(place) = self.running(node, life) else { return Ok(()) };
        let process = &mut self.processes[place];
        let Some(up) = &mut process.up else { return Ok(()) };
        // The kernel goes on while a process stands still; that is told when it goes on, too.
        if process.disk.is_hung() || process.paused > self.now {
            up.log.stuck = true;
            return Ok(());
        }
        match up.log.end() {
            Written::Synced { count, more } => {
                if !self.processes[place].is_second() {
                    self.synced(node, more)?;
                }
                self.input(place, Input::Synced(count))?;
                self.goes_on(place, life, None)
            }
            Written::NoRoom => {
                self.marks.add("disk full");
                let at = self.now + FULL_RETRY;
                self.queue.push(at, Happening::SyncEnds { node, life });
                self.room(place, Some(true))
            }
            Written::Failed(why) => self.disk_failed(place, &why),
        }
    }

    /// After a sync: what is to be done for the next one, and perhaps that one itself.
    fn goes_on(&mut self, place: usize, life: u64, full: Option<bool>) -> Judged {
        if self.processes[place].life != life {
            return Ok(());
        }
        let Some(up) = &mut self.processes[place].up else { return Ok(()) };
        match up.log.go_on() {
            Ok(true) => self.sync_later(place),
            Ok(false) => {}
            Err(why) => return self.disk_failed(place, &why),
        }
        self.room(place, full)
    }

    /// Tells the engine if its disk has become full, or has room again.
    fn room(&mut self, place: usize, full: Option<bool>) -> Judged {
        let process = &mut self.processes[place];
        let (node, life) = (process.id, process.life);
        let Some(up) = &mut process.up else { return Ok(()) };
        let news = up.log.room(full);
        if up.log.is_full() && !up.log.busy {
            let at = self.now + FULL_RETRY;
            self.queue.push(at, Happening::Rouse { node, life });
        }
        match news {
            Some(full) => {
                self.marks.add(if full { "disk low" } else { "disk has room again" });
                self.input(place, Input::DiskFull(full))
            }
            None => Ok(()),
        }
    }

    pub(super) fn rouse(&mut self, node: NodeId, life: u64) -> Judged {
        let Some(place) = self.running(node, life) else { return Ok(()) };
        let Some(up) = &self.processes[place].up else { return Ok(()) };
        if up.log.busy || !up.log.is_full() {
            return Ok(());
        }
        self.goes_on(place, life, None)
    }

    /// The disk has failed: the node stops, and is started again; or its machine has crashed.
    fn disk_failed(&mut self, place: usize, why: &str) -> Judged {
        let process = &mut self.processes[place];
        let node = process.id;
        if let Some((left, down)) = process.armed.take() {
            return self.crash(place, left, down);
        }
        let Some(down) = process.has_failed("log-") else {
            return Err(Violation::new("G7", format!("the disk of {node} fails: {why}")));
        };
        self.marks.add("disk failed");
        self.crash(place, Left::Process, down)
    }

    /// A node could not start from what its disk has.
    pub(super) fn not_started(&mut self, place: usize, error: &StartError) -> Judged {
        let process = &mut self.processes[place];
        let (node, tampered) = (process.id, process.tampered);
        process.disk.kill();
        let text = error.to_string();
        if let Some((left, down)) = process.armed.take() {
            self.marks.add("crashed in recovery");
            self.remark(node, || format!("crashes while it starts: {text}"));
            self.after_crash(place, left);
            self.queue.push(self.now + down.max(1), Happening::Start { node });
            return Ok(());
        }
        self.remark(node, || format!("does not start: {text}"));
        let process = &mut self.processes[place];
        if is_full(error) {
            self.queue.push(self.now + START_RETRY, Happening::Start { node });
            return Ok(());
        }
        if let Some(down) = process.has_failed("log-").or_else(|| process.has_failed("snapshot-")) {
            self.after_crash(place, Left::Process);
            self.queue.push(self.now + down, Happening::Start { node });
            return Ok(());
        }
        if tampered {
            self.marks.add("damaged node stopped");
            self.dies(place, text);
            return Ok(());
        }
        Err(Violation::new("G7", format!("node {node} does not start: {text}")))
    }

    /// A process ends, and comes back after a time.
    pub(super) fn crash(&mut self, place: usize, left: Left, down: Time) -> Judged {
        if self.processes[place].up.is_none() {
            return Ok(());
        }
        let node = self.processes[place].id;
        let disk = self.processes[place].disk.clone();
        if let Some(up) = self.processes[place].up.take() {
            self.end_of(place, &up, || format!("crashes: {left:?} is left"));
            let lines: Vec<NodeId> = up.lines.keys().copied().collect();
            up.log.write_only(&disk);
            let notices = matches!(left, Left::Process);
            self.ended(place, notices, lines);
        }
        self.after_crash(place, left);
        self.queue.push(self.now + down.max(1), Happening::Start { node });
        Ok(())
    }

    /// What a process had not looked at is lost with it.
    fn end_of(&mut self, place: usize, up: &Up<M>, what: impl FnOnce() -> String) {
        for number in up.inbox.iter().filter_map(Input::number) {
            self.trace.see(self.now, Seen::Loses(number, "crashed before it looked"));
        }
        let (node, second) = (self.processes[place].id, self.processes[place].is_second());
        if second {
            return self.remark(node, what);
        }
        self.trace.tell(self.now, Party::Node(node), what, |text| Seen::Ends(node, text));
    }

    /// A process ends and nothing else happens.
    pub(super) fn ends(&mut self, place: usize, why: &str) {
        if let Some(up) = self.processes[place].up.take() {
            self.end_of(place, &up, || format!("ends: {why}"));
            let lines: Vec<NodeId> = up.lines.keys().copied().collect();
            self.ended(place, true, lines);
        }
        self.after_crash(place, Left::Process);
    }

    /// Others notice that a process has ended, if its machine has not.
    fn ended(&mut self, place: usize, notices: bool, peers: Vec<NodeId>) {
        let node = self.processes[place].id;
        self.next_life += 1;
        self.processes[place].life = self.next_life;
        if !notices || self.processes[place].is_second() {
            return;
        }
        for peer in peers {
            self.breaks(peer, node);
        }
    }

    /// `one` learns that its connection with `other` has broken.
    pub(super) fn breaks(&mut self, one: NodeId, other: NodeId) {
        if one == other {
            return;
        }
        let at = self.now + self.wires.latency(&mut self.streams);
        let life = self.process(one).map_or(0, |process| process.life);
        let parcel = Parcel::Closed(other);
        self.queue.push(at, Happening::Arrives { to: one, life, parcel });
        if let Some(up) = self.process(one).and_then(|process| process.up.as_mut()) {
            up.lines.insert(other, Line::Idle);
        }
    }

    /// The disk as the next process finds it. What was planned for this one does not happen to it.
    pub(super) fn after_crash(&mut self, place: usize, left: Left) {
        self.honest(place);
        let unsynced = self.unsynced(place, left);
        let process = &mut self.processes[place];
        process.disk = match unsynced {
            Some(unsynced) => process.disk.image(unsynced),
            None => process.disk.fork(),
        };
        (process.armed, process.failing) = (None, Vec::new());
    }

    pub(super) fn unsynced(&mut self, place: usize, left: Left) -> Option<Unsynced> {
        let rng = &mut self.streams.disk;
        let disk = &self.processes[place].disk;
        match left {
            Left::Process => None,
            Left::Nothing => Some(Unsynced::Lost),
            Left::All => Some(Unsynced::Kept),
            Left::Sectors => Some(Unsynced::Sectors { seed: rng.any() }),
            Left::Prefix => {
                let writes = disk.unsynced();
                let whole = rng.usize(0..writes.len() + 1);
                let bytes = writes.get(whole).map_or(0, |len| rng.usize(0..*len + 1));
                Some(Unsynced::Prefix { whole, bytes })
            }
        }
    }

    /// Each hand does one piece of work on snapshots after the other.
    pub(super) fn begin_work(&mut self, place: usize, job: Job<Guest<M>>) {
        let takes = self.streams.disk.u64(0..=micros(self.plan.cluster.work));
        let process = &mut self.processes[place];
        let (node, life) = (process.id, process.life);
        let Some(up) = &mut process.up else { return };
        let hand = Hand::for_job(&job);
        let jobs = &mut up.jobs[hand as usize];
        jobs.push_back(job);
        if jobs.len() == 1 {
            self.queue.push(self.now + takes, Happening::WorkEnds { node, life, hand });
        }
    }

    pub(super) fn work_ends(&mut self, node: NodeId, life: u64, hand: Hand) -> Judged {
        let Some(place) = self.running(node, life) else { return Ok(()) };
        let takes = self.streams.disk.u64(0..=micros(self.plan.cluster.work));
        let process = &mut self.processes[place];
        let Some(up) = &mut process.up else { return Ok(()) };
        if process.paused > self.now || process.disk.is_hung() {
            let at = process.paused.max(self.now + START_RETRY);
            self.queue.push(at, Happening::WorkEnds { node, life, hand });
            return Ok(());
        }
        let Some(job) = up.jobs[hand as usize].pop_front() else { return Ok(()) };
        if !up.jobs[hand as usize].is_empty() {
            self.queue.push(self.now + takes, Happening::WorkEnds { node, life, hand });
        }
        let mut part = None;
        let finished = match job {
            Job::Save { slot, picture } => {
                let given_up = std::sync::atomic::AtomicBool::new(false);
                save(&up.snapshots, slot, picture, &given_up)
            }
            Job::Serve { to, slot, offset, at_least } => {
                let (chunk, served) = up.archive.serve(to, slot, offset, at_least);
                part = chunk.map(|chunk| (to, chunk));
                served
            }
            Job::Keep { chunk, restore } => up.archive.keep(&chunk, restore),
        };
        if self.processes[place].disk.is_stopped() {
            return self.disk_failed(place, "the machine has stopped");
        }
        if let Some((to, chunk)) = part {
            self.serves(place, to, chunk)?;
        }
        if self.processes[place].life != life {
            return Ok(());
        }
        self.worked(place, finished)
    }

    fn serves(&mut self, place: usize, to: NodeId, chunk: Message) -> Judged {
        let Some(up) = &self.processes[place].up else { return Ok(()) };
        let slot_out = up.engine.slot_out();
        self.transmit(place, slot_out, to, chunk)
    }

    fn worked(&mut self, place: usize, finished: Finished<Guest<M>>) -> Judged {
        let node = self.processes[place].id;
        self.remark(node, || match &finished {
            Finished::Saved { slot: Ok(slot), .. } => format!("has a snapshot below {slot}"),
            Finished::Saved { slot: Err(error), .. } => format!("has no snapshot: {error}"),
            Finished::Served { sent: true, .. } => "has sent a part of its snapshot".to_owned(),
            Finished::Served { sent: false, .. } => "has no snapshot to send".to_owned(),
            Finished::Kept => "has kept a part".to_owned(),
            Finished::Restored(_) => "has another's snapshot".to_owned(),
            Finished::NotRestored(error) => format!("cannot take a snapshot over: {error}"),
        });
        let saved = match &finished {
            Finished::Saved { slot: Ok(slot), .. } => {
                self.marks.add("snapshot saved");
                Some(*slot)
            }
            Finished::Saved { slot: Err(error), .. } | Finished::NotRestored(error) => {
                self.marks.add("snapshot not saved");
                if error.kind() != std::io::ErrorKind::StorageFull {
                    self.processes[place].has_failed("snapshot-");
                }
                None
            }
            Finished::Restored(_) => {
                self.marks.add("snapshot installed");
                let up = self.processes[place].up.as_ref();
                let newest = up.and_then(|up| up.snapshots.newest().ok().flatten());
                newest.map(|newest| newest.slot)
            }
            Finished::Served { .. } | Finished::Kept => None,
        };
        let second = self.processes[place].is_second();
        if let Some(slot) = saved.filter(|_| !second) {
            self.judge(&Event::Saved { node, slot })?;
        }
        self.input(place, Input::Finished(finished))
    }
}

/// Whether it is only for want of room that a node does not start.
fn is_full(error: &StartError) -> bool {
    let full = |error: &std::io::Error| error.kind() == std::io::ErrorKind::StorageFull;
    if let StartError::Write(WriteError::Failed { source, .. }) = error {
        return full(source);
    }
    if let StartError::Open(OpenError::Io { source, .. }) | StartError::Snapshot(source) = error {
        return full(source);
    }
    matches!(error, StartError::Write(WriteError::Full))
}
