//! A cluster in one thread, in virtual time: machines with their disks, what is in flight between
//! them, clients and operators. It carries out what the nodes ask for as their host in production
//! does, lets go wrong what the plan says, and shows everything to the properties.

mod caller;
mod callers;
mod disks;
mod faults;
mod guest;
mod healing;
mod inspection;
mod lines;
mod log;
mod network;
mod operators;
mod process;
mod programs;
mod receiving;
mod tampering;
mod turns;
mod twins;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use synod::Machine;
use synod_paxos::{Lease, Members, NodeId, Quorums, Record, Roles, Schedule, Setup, Slot, Timing};

use self::{
    caller::Caller,
    healing::Ending,
    inspection::Inspection,
    network::Wires,
    process::{Birth, Hand, Parcel, Process},
};
use crate::{
    event::{Event, Judged, Known, Position, Violation},
    ghost::Ghost,
    history::History,
    marks::Marks,
    plan::{Fault, Plan},
    properties::{Properties, bounds::is_bounded},
    queue::{Queue, Time},
    recorder::{Party, Seen},
    streams::Streams,
    trace::Trace,
    workload::Workload,
};

/// The cluster's number.
const CLUSTER: u64 = 0x5eed;
/// How long an upgrade is put off while nobody else must restart.
const POSTPONED: Time = 50_000_000;

/// Something that will happen.
pub(crate) enum Happening {
    /// Something arrives at a machine, for its process of this life; for whichever runs, if 0.
    Arrives { to: NodeId, life: u64, parcel: Parcel },
    /// A process looks at what has arrived.
    Turn { node: NodeId, life: u64 },
    /// It is time for something.
    Tick { node: NodeId, life: u64 },
    /// The time of a sync is over.
    SyncEnds { node: NodeId, life: u64 },
    /// It is looked whether there is room.
    Rouse { node: NodeId, life: u64 },
    /// Work on a snapshot comes to an end.
    WorkEnds { node: NodeId, life: u64, hand: Hand },
    /// A pause or a hang may be over.
    Resumes { node: NodeId },
    /// A process is started.
    Start { node: NodeId },
    /// A process is started on an old copy of its disk.
    PutBack { node: NodeId },
    /// A second process is started on a copy of a node's disk.
    Doubles { node: NodeId },
    /// The power of a node fails, whose disk has lied.
    FoundOut { node: NodeId },
    /// Something arrives at a client.
    Told { client: usize, conn: u64, said: Said },
    /// A client looks around.
    Client { client: usize },
    /// Something of the plan.
    Fault(usize),
    /// The faults end.
    Heal,
    /// It is looked whether everything has come to a good end.
    Look,
}

/// What a client is told.
pub(crate) enum Said {
    Welcome {
        to: NodeId,
        life: u64,
        slot_out: Slot,
    },
    Closed,
    /// Perhaps by another node than the one that it is connected to.
    Bytes {
        by: NodeId,
        /// The number of what is sent.
        number: u64,
        bytes: Vec<u8>,
    },
}

/// The world of one run.
pub(crate) struct World<'w, M: Machine> {
    plan: &'w Plan,
    workload: &'w dyn Workload<M>,
    now: Time,
    queue: Queue<Happening>,
    pub(crate) streams: Streams,
    schedule: Schedule,
    processes: Vec<Process<M>>,
    callers: Vec<Caller>,
    wires: Wires,
    next_life: u64,
    next_dial: u64,
    /// Counts what is sent.
    next_parcel: u64,
    ghost: Ghost,
    /// The machine of the observer.
    reference: M,
    properties: Properties,
    pub(crate) marks: Marks,
    pub(crate) trace: Trace<'w>,
    pub(crate) events: u64,
    pub(crate) history: History,
    pub(crate) faults: std::collections::BTreeMap<&'static str, u64>,
    calm: bool,
    ending: Ending,
    inspection: Inspection,
    /// When something was sent last that is not sent all the time.
    busy: Time,
    /// Requests that were answered while there were faults.
    pub(crate) answered: u64,
    /// Nodes that are left dead when all others are healed.
    left_dead: crate::ghost::Set,
    /// The place of a node that must be found out: it is back on an old disk, or a second one.
    returned: Option<usize>,
    /// The place of the last process that ran beside another one of the same node.
    twin: Option<usize>,
    /// The next version was turned on.
    turned_on: bool,
    /// Sessions that are used by programs that should have ended, by port.
    former: std::collections::BTreeMap<u64, synod_paxos::ClientId>,
    sent: Vec<caller::Sent>,
}

impl<'w, M: Machine> World<'w, M> {
    pub(crate) fn new(plan: &'w Plan, workload: &'w dyn Workload<M>, trace: Trace<'w>) -> Self {
        let members = members(plan);
        let window = plan.cluster.window.max(1);
        let sessions = usize::try_from(plan.cluster.sessions).unwrap_or(usize::MAX);
        Self {
            plan,
            workload,
            now: 0,
            queue: Queue::default(),
            streams: Streams::new(plan.seed, plan.draws.as_ref()),
            schedule: Schedule::new(members.clone(), window),
            processes: Vec::new(),
            callers: Vec::new(),
            wires: Wires::new(plan.network.clone()),
            next_life: 0,
            next_dial: 0,
            next_parcel: 0,
            ghost: Ghost::new(members, window, sessions),
            reference: workload.upgraded(),
            properties: Properties::default(),
            marks: Marks::default(),
            trace,
            events: 0,
            history: History::default(),
            faults: std::collections::BTreeMap::new(),
            calm: false,
            ending: Ending::Answers,
            inspection: Inspection::new(),
            busy: 0,
            answered: 0,
            left_dead: 0,
            returned: None,
            twin: None,
            turned_on: false,
            former: std::collections::BTreeMap::new(),
            sent: Vec::new(),
        }
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// The first property that does not hold.
    pub(crate) fn run(&mut self) -> Judged {
        let cluster = &self.plan.cluster;
        for _ in 0..cluster.full + cluster.witnesses + cluster.read_copies {
            self.add();
        }
        self.add_callers();
        for (place, planned) in self.plan.faults.iter().enumerate() {
            self.queue.push(micros(planned.at), Happening::Fault(place));
        }
        self.queue.push(micros(self.plan.chaos), Happening::Heal);
        while self.ending != Ending::Over {
            let Some((at, happening)) = self.queue.pop() else {
                return Err(Violation::new("V1", "nothing happens any more"));
            };
            (self.now, self.ghost.now) = (at, at);
            self.events += 1;
            self.happens(happening)?;
            is_bounded(self.events, self.queue.len(), at)?;
        }
        self.marks.add_many("session evicted", self.ghost.evictions);
        self.marks.add_many("hole filled with a no-op", self.ghost.noops);
        self.marks.add_many("reconfiguration", self.ghost.latest().epoch);
        self.count_ballots();
        self.count_switched();
        Ok(())
    }

    fn happens(&mut self, happening: Happening) -> Judged {
        match happening {
            Happening::Arrives { to, life, parcel } => self.arrives(to, life, parcel),
            Happening::Turn { node, life } => self.turn_of(node, life),
            Happening::Tick { node, life } => self.tick(node, life),
            Happening::SyncEnds { node, life } => self.sync_ends(node, life),
            Happening::Rouse { node, life } => self.rouse(node, life),
            Happening::WorkEnds { node, life, hand } => self.work_ends(node, life, hand),
            Happening::Resumes { node } => self.resumes(node),
            Happening::Start { node } => self.start(node),
            Happening::PutBack { node } => self.put_back(node),
            Happening::Doubles { node } => self.doubles(node),
            Happening::FoundOut { node } => self.lie_ends(node),
            Happening::Told { client, conn, said } => self.told(client, conn, said),
            Happening::Client { client } => self.client(client),
            Happening::Fault(place) => {
                let fault = self.plan.faults[place].fault.clone();
                if matches!(fault, Fault::Upgrade { .. }) && self.is_undetected() && !self.calm {
                    self.queue.push(self.now + POSTPONED, Happening::Fault(place));
                    return Ok(());
                }
                self.goes_wrong(&fault)
            }
            Happening::Heal => self.heal(),
            Happening::Look => self.look(),
        }
    }

    /// A machine that has never run. It is started at once.
    fn add(&mut self) -> NodeId {
        let id = NodeId(u32::try_from(self.processes.len() + 1).unwrap_or(u32::MAX));
        let drift = u64::from(self.plan.cluster.true_drift_ppm);
        let rate = match self.streams.process.u32(0..3) {
            0 => 1_000_000 - drift,
            1 => 1_000_000 + drift,
            _ => self.streams.process.u64(1_000_000 - drift..=1_000_000 + drift),
        };
        let rate = if self.plan.cluster.in_phase { 1_000_000 } else { rate };
        let mut process = Process::new(id, rate);
        let mut faults = self.plan.faults.iter().map(|planned| &planned.fault);
        if faults.clone().any(|fault| matches!(fault, Fault::Stale { node, .. } if *node == id.0)) {
            process.disk.keep_history();
        }
        // Whoever comes later comes as the next version, if there will be one.
        process.next_version =
            self.now > 0 && faults.any(|fault| matches!(fault, Fault::Upgrade { .. }));
        self.processes.push(process);
        self.queue.push(self.now, Happening::Start { node: id });
        id
    }

    fn process(&mut self, node: NodeId) -> Option<&mut Process<M>> {
        self.processes.get_mut(node.0.checked_sub(1)? as usize)
    }

    /// The place of a process of this life that runs.
    fn running(&self, node: NodeId, life: u64) -> Option<usize> {
        let place = node.0.checked_sub(1)? as usize;
        let process = self.processes.get(place)?;
        if process.up.is_some() && (life == 0 || process.life == life) {
            return Some(place);
        }
        self.twin.filter(|place| {
            let twin = &self.processes[*place];
            life > 0 && twin.id == node && twin.life == life && twin.up.is_some()
        })
    }

    fn judge(&mut self, event: &Event<'_>) -> Judged {
        self.ghost.notice(event, &mut self.reference);
        self.properties.judge(event, &mut self.ghost)
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        self.trace.note(self.now, line);
    }

    /// Something is to be said of a node.
    fn remark(&mut self, node: NodeId, what: impl FnOnce() -> String) {
        let who = Party::Node(node);
        self.trace.tell(self.now, who, what, |text| Seen::Remark(who, text));
    }

    /// Where the replica of a process is.
    fn position(&self, place: usize) -> Option<Position> {
        let engine = &self.processes[place].up.as_ref()?.engine;
        Some(Position { slot_out: engine.slot_out(), digest: engine.digest() })
    }

    /// A process starts on what its disk has.
    fn start(&mut self, node: NodeId) -> Judged {
        self.start_at(node.0 as usize - 1)
    }

    fn start_at(&mut self, place: usize) -> Judged {
        let process = &self.processes[place];
        let node = process.id;
        if process.up.is_some() || process.dead.is_some() {
            return Ok(());
        }
        if process.paused > self.now {
            self.queue.push(process.paused, Happening::Start { node });
            return Ok(());
        }
        self.mend(place);
        self.next_life += 1;
        let next = self.processes[place].next_version;
        let birth = Birth {
            cluster: CLUSTER,
            setup: self.setup(node),
            process: self.streams.process.name(0),
            fresh: self.streams.disk.name(1),
            machine: if next { self.workload.upgraded() } else { self.workload.machine() },
            segment_bytes: self.plan.cluster.segment_bytes,
            snapshot_every: self.plan.cluster.snapshot_every,
            backlog: self.plan.cluster.backlog(),
            part: self.plan.cluster.part(),
        };
        let (now, life) = (self.now, self.next_life);
        let process = &mut self.processes[place];
        process.life = life;
        let known = self.ghost.durable.get(&node).copied().unwrap_or(0);
        match catch_unwind(AssertUnwindSafe(|| process.start(now, birth, known))) {
            Ok(Ok(started)) => self.started(place, started),
            Ok(Err(error)) => self.not_started(place, &error),
            Err(panic) => self.panicked_in_recovery(place, panic),
        }
    }

    fn setup(&mut self, id: NodeId) -> Setup {
        let cluster = &self.plan.cluster;
        let lease = (cluster.lease > 0).then(|| Lease {
            length: Duration::from_micros(cluster.lease),
            drift_ppm: cluster.drift_ppm,
        });
        let timing = Timing {
            heartbeat: Duration::from_micros(cluster.heartbeat),
            resend: Duration::from_micros(cluster.resend),
            patience_min: Duration::from_micros(cluster.patience.0),
            patience_max: Duration::from_micros(cluster.patience.1),
            lease,
        };
        Setup {
            id,
            roles: Roles::ALL,
            schedule: self.schedule.clone(),
            timing,
            seed: if cluster.in_phase { self.plan.seed } else { self.streams.process.any() },
            sessions: usize::try_from(cluster.sessions).unwrap_or(usize::MAX),
            limits: cluster.limits(),
        }
    }

    fn started(&mut self, place: usize, started: process::Started) -> Judged {
        let node = self.processes[place].id;
        if self.processes[place].is_second() {
            self.remark(node, || "a second one starts".into());
            return self.turn(place);
        }
        let found = || format!("starts, with {} records", started.before);
        self.trace.tell(self.now, Party::Node(node), found, |text| Seen::Starts(node, text));
        self.remembers(place, &started)?;
        for record in &started.first {
            self.ghost.append(node, record.clone());
        }
        self.synced(node, started.first.len())?;
        self.marks.add_many("acceptor lost a pvalue", started.lost as u64);
        let Some(at) = self.position(place) else { return Ok(()) };
        let Some(up) = &mut self.processes[place].up else { return Ok(()) };
        let incarnation = up.engine.incarnation();
        let saved = started.saved.unwrap_or(Slot::FIRST);
        let schedule = up.engine.schedule().clone();
        let latest = Known { first: schedule.newest_from(), config: schedule.latest() };
        self.judge(&Event::Started { node, incarnation, saved, at, latest })?;
        if let Some(slot) = started.saved {
            self.judge(&Event::Saved { node, slot })?;
        }
        self.turn(place)
    }

    /// What a restart finds of what was being written: it is on disk now, or nowhere.
    fn remembers(&mut self, place: usize, started: &process::Started) -> Judged {
        let (node, tampered) = (self.processes[place].id, self.processes[place].tampered);
        let (found, known) = (started.before, self.ghost.durable.get(&node).copied().unwrap_or(0));
        if found < known && !tampered {
            let what = format!("the log of {node} has {found} records, {known} had been synced");
            return Err(Violation::new("G7", what));
        }
        if found > known {
            self.marks.add("unsynced tail survived");
            for record in &started.survived {
                let Some(written) = self.ghost.survives(node, record) else { continue };
                // What was written before it was on disk as well, in segments that are gone; but
                // if the disk has lost something, it may be that.
                let from = if started.lost == 0 { 0 } else { written.len() - 1 };
                for record in &written[from..] {
                    self.judge(&Event::Durable { node, record })?;
                }
            }
        }
        if self.ghost.forget_unsynced(node) {
            self.marks.add("torn or lost tail");
        }
        self.ghost.durable.insert(node, found);
        Ok(())
    }

    /// So many more of a node's records are on disk.
    fn synced(&mut self, node: NodeId, count: usize) -> Judged {
        for _ in 0..count {
            let Some(record) = self.ghost.sync_one(node) else { break };
            if matches!(record, Record::Collected(_)) {
                self.marks.add("log collected");
            }
            self.judge(&Event::Durable { node, record: &record })?;
        }
        Ok(())
    }

    /// Tells the properties where a replica is now, if it has moved.
    fn performed(&mut self, place: usize, before: Slot) -> Judged {
        let Some(at) = self.position(place).filter(|at| at.slot_out != before) else {
            return Ok(());
        };
        if self.processes[place].is_second() {
            return Ok(());
        }
        let Process { id: node, up: Some(up), .. } = &self.processes[place] else { return Ok(()) };
        let (first, config) = (up.engine.schedule().newest_from(), up.engine.schedule().latest());
        let latest = Known { first, config };
        let event = Event::Performed { node: *node, at, latest };
        self.ghost.notice(&event, &mut self.reference);
        self.properties.judge(&event, &mut self.ghost)
    }
}

/// Microseconds as time.
fn micros(time: u64) -> Time {
    time.saturating_mul(1000)
}

fn members(plan: &Plan) -> Members {
    let cluster = &plan.cluster;
    let ids = |ranges: &[(u32, u32)]| -> Vec<NodeId> {
        ranges.iter().flat_map(|(first, end)| (*first..*end).map(NodeId)).collect()
    };
    let full = (1, cluster.full + 1);
    let witnesses = (full.1, full.1 + cluster.witnesses);
    let copies = (witnesses.1, witnesses.1 + cluster.read_copies);
    let (replicas, acceptors) = (ids(&[full, copies]), ids(&[full, witnesses]));
    let n = u32::try_from(acceptors.len()).unwrap_or(u32::MAX);
    let members = Members::new(replicas, ids(&[full]), acceptors);
    let members = members.expect("a plan has a node in every role");
    match cluster.phase2 {
        0 => members,
        phase2 => {
            let quorums = Quorums { phase1: n + 1 - phase2, phase2 };
            members.with_quorums(quorums).expect("such quorums intersect")
        }
    }
}
