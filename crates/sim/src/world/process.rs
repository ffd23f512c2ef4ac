//! One process: a node's engine with all that its host has to give.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use synod::{
    Machine, StopReason,
    engine::{Archive, Boot, Engine, Finished, Found, Host, Job, Metrics, Port},
    error::StartError,
    protocol::Tell,
    transport::handshake::{Answer, Hello},
};
use synod_paxos::{ClientId, Message, NodeId, Record, Setup, wire::DecodeError};
use synod_storage::{Identity, Options, SimDisk, Snapshots, Store, Want};

use super::{
    guest::{Guest, Program},
    log::Log,
};
use crate::{plan::Left, queue::Time};

/// What arrives at a process from outside of its machine.
#[derive(Clone)]
pub(crate) enum Parcel {
    Message {
        from: NodeId,
        incarnation: u32,
        sequence: u64,
        message: Letter,
        number: u64,
    },
    /// Another node dials; the number tells the answer where it belongs.
    /// Another life of it will not be answered.
    Hello {
        from: NodeId,
        life: u64,
        dial: u64,
        hello: Box<Hello>,
    },
    /// The answer of this life of a node.
    Answer {
        from: NodeId,
        life: u64,
        dial: u64,
        answer: Box<Answer>,
    },
    /// The connection with a node has broken.
    Closed(NodeId),
    /// A client connects.
    Connect {
        client: usize,
        conn: u64,
    },
    /// A client asks.
    Ask {
        port: Port,
        bytes: Vec<u8>,
        number: u64,
    },
    /// A client is gone.
    Gone {
        port: Port,
    },
}

impl Parcel {
    /// The number of what it carries, if that is more than news of a connection.
    pub(crate) fn number(&self) -> Option<u64> {
        match self {
            Self::Message { number, .. } | Self::Ask { number, .. } => Some(*number),
            Self::Hello { .. }
            | Self::Answer { .. }
            | Self::Closed(_)
            | Self::Connect { .. }
            | Self::Gone { .. } => None,
        }
    }

    /// A copy, with another number.
    pub(crate) fn copy(&self, another: u64) -> Self {
        let mut copy = self.clone();
        if let Self::Message { number, .. } | Self::Ask { number, .. } = &mut copy {
            *number = another;
        }
        copy
    }
}

/// A message, or its bytes.
#[derive(Clone)]
pub(crate) enum Letter {
    Plain(Message),
    Bytes(Vec<u8>),
    /// Bytes that need not be a message.
    Garbled(Vec<u8>),
}

/// What a process has to look at.
pub(crate) enum Input<M> {
    Parcel(Parcel),
    Synced(u64),
    DiskFull(bool),
    Finished(Finished<M>),
    /// An operator wants a snapshot.
    Save,
}

impl<M> Input<M> {
    pub(crate) fn number(&self) -> Option<u64> {
        match self {
            Self::Parcel(parcel) => parcel.number(),
            Self::Synced(_) | Self::DiskFull(_) | Self::Finished(_) | Self::Save => None,
        }
    }
}

/// What leaves a process.
pub(crate) enum Output {
    Message(NodeId, Message),
    Answer { to: NodeId, life: u64, dial: u64, answer: Box<Answer> },
    Tell(Port, Vec<u8>),
    Welcome { client: usize, conn: u64 },
}

/// Who works on snapshots: one thread writes, the other sends and receives meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hand {
    Writes,
    Exchanges,
}

impl Hand {
    pub(crate) fn for_job<M>(job: &Job<M>) -> Self {
        match job {
            Job::Save { .. } => Self::Writes,
            Job::Serve { .. } | Job::Keep { .. } => Self::Exchanges,
        }
    }
}

/// The connection to another node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Line {
    Idle,
    /// Waits for an answer until then.
    Dialing {
        dial: u64,
        until: Time,
    },
    /// With this life of it.
    Connected {
        life: u64,
    },
}

/// What a process's engine has asked for.
pub(crate) struct Io<M> {
    pub(crate) outputs: Vec<Output>,
    /// Appended since that was looked at last.
    pub(crate) appended: Vec<Record>,
    pub(crate) jobs: Vec<Job<M>>,
    pub(crate) stop: Option<StopReason>,
    /// Whose connections are closed, for what they say is no message.
    pub(crate) refused: Vec<(NodeId, DecodeError)>,
    metrics: Metrics,
}

impl<M> Io<M> {
    fn new() -> Self {
        Self {
            outputs: Vec::new(),
            appended: Vec::new(),
            jobs: Vec::new(),
            stop: None,
            refused: Vec::new(),
            metrics: Metrics::default(),
        }
    }
}

impl<M> Host<M> for Io<M> {
    fn send(&mut self, to: NodeId, message: &Message) {
        self.outputs.push(Output::Message(to, message.clone()));
    }

    fn append(&mut self, record: Record) {
        self.appended.push(record);
    }

    fn tell(&mut self, port: Port, tell: &Tell<'_>) {
        let mut bytes = Vec::new();
        tell.put(&mut bytes);
        self.outputs.push(Output::Tell(port, bytes));
    }

    fn start(&mut self, job: Job<M>) {
        self.jobs.push(job);
    }

    fn stop(&mut self, reason: StopReason) {
        self.stop.get_or_insert(reason);
    }

    fn metrics(&mut self) -> &mut Metrics {
        &mut self.metrics
    }
}

/// A process that runs.
pub(crate) struct Up<M: Machine> {
    pub(crate) engine: Engine<Guest<M>>,
    pub(crate) io: Io<Guest<M>>,
    pub(crate) log: Log,
    /// Records that nobody waits for: they go with what comes next.
    pub(crate) batch: Vec<Record>,
    pub(crate) archive: Archive<SimDisk>,
    pub(crate) snapshots: Snapshots<SimDisk>,
    /// What its threads for snapshots have to do: first what writes its own, then what deals with
    /// those of others.
    pub(crate) jobs: [VecDeque<Job<Guest<M>>>; 2],
    pub(crate) identity: Identity,
    pub(crate) inbox: VecDeque<Input<Guest<M>>>,
    /// When the next turn is.
    pub(crate) turn_at: Option<Time>,
    /// When it is looked at the time next.
    pub(crate) tick_at: Option<Time>,
    pub(crate) lines: BTreeMap<NodeId, Line>,
    /// The session of each client's connection, by port.
    pub(crate) sessions: BTreeMap<u64, ClientId>,
    started: Time,
    /// Whom it has let in though its log knows of a later life, or another disk.
    pub(crate) misled: Option<String>,
    /// How far the clock has leapt ahead.
    pub(crate) leapt: u64,
    /// When the clock stood still last, from and until; and how long before that in all.
    still: (Time, Time),
    stood: Time,
}

/// A node's machine: its disk outlives its processes.
pub(crate) struct Process<M: Machine> {
    pub(crate) id: NodeId,
    pub(crate) disk: SimDisk,
    pub(crate) up: Option<Up<M>>,
    /// Counts the processes of the whole run.
    pub(crate) life: u64,
    /// The rate of its clock in millionths of the true one.
    pub(crate) rate: u64,
    pub(crate) paused: Time,
    /// The length of its turns, until when.
    pub(crate) sluggish: (Time, Time),
    /// By how much syncs take longer, until when.
    pub(crate) slow: (Time, Time),
    /// It will not come back, and why.
    pub(crate) dead: Option<String>,
    /// Its disk crashes in one of its calls: what is left then, and for how long it is down.
    pub(crate) armed: Option<(Left, Time)>,
    /// Its disk fails in one of its calls: for how long it is down then.
    pub(crate) failing: Vec<Failing>,
    /// It crashes when it has sent a message of this kind.
    pub(crate) last_words: Option<(String, Time)>,
    /// Somebody has changed what is on its disk.
    pub(crate) tampered: bool,
    /// A copy of its disk.
    pub(crate) copy: Option<SimDisk>,
    /// It runs twice, or will.
    pub(crate) twin: Option<Twin>,
    /// Its disk lies.
    pub(crate) lied: Option<Lie>,
    /// The program of its state machine.
    pub(crate) program: Program,
    /// Until when that panics, and for how long its node is down then.
    pub(crate) panics: (Time, Time),
    /// It is started with the next version.
    pub(crate) next_version: bool,
}

/// A node that runs twice.
pub(crate) enum Twin {
    /// It has a copy of the disk on which this life of it has begun.
    Copied { disk: SimDisk, incarnation: u32 },
    /// It is the one that must be found out.
    Second,
}

/// What is left when the power fails of a node whose disk has lied, and how long it is down.
#[derive(Clone, Copy)]
pub(crate) struct Lie {
    pub(crate) left: Left,
    pub(crate) down: Time,
}

/// What a life begins with, besides the disk.
pub(crate) struct Birth<M> {
    pub(crate) cluster: u64,
    pub(crate) setup: Setup,
    pub(crate) process: u64,
    pub(crate) fresh: u64,
    pub(crate) machine: M,
    pub(crate) segment_bytes: u64,
    pub(crate) snapshot_every: u64,
    pub(crate) backlog: u64,
    /// Bytes of a snapshot in one message.
    pub(crate) part: usize,
}

/// A call that will fail on a disk.
pub(crate) struct Failing {
    /// With what the file's name begins.
    pub(crate) of: String,
    /// How long until the process is started again.
    pub(crate) down: Time,
}

const PPM: u64 = 1_000_000;

impl<M: Machine> Process<M> {
    pub(crate) fn new(id: NodeId, rate: u64) -> Self {
        Self {
            id,
            disk: SimDisk::new(),
            up: None,
            life: 0,
            rate,
            paused: 0,
            sluggish: (0, 0),
            slow: (0, 0),
            dead: None,
            armed: None,
            failing: Vec::new(),
            last_words: None,
            tampered: false,
            copy: None,
            twin: None,
            lied: None,
            program: Program::default(),
            panics: (0, 0),
            next_version: false,
        }
    }

    /// Starts it on what is on its disk, as a node is started in production. `known` records have
    /// been synced, as far as the observer knows.
    pub(crate) fn start(
        &mut self,
        now: Time,
        birth: Birth<M>,
        known: u64,
    ) -> Result<Started, StartError> {
        let Birth { cluster, setup, process, fresh, machine, .. } = birth;
        let want = Want { cluster, node: self.id };
        let options = Options { segment_bytes: birth.segment_bytes, ..Options::default() };
        let mut store = Store::open(self.disk.clone(), want, fresh, options)?;
        let identity = store.identity();
        self.program = self.program.restarted(self.next_version);
        let machine = Guest::new(machine, self.program.clone());
        let Found { machine, head, snapshot_bytes, records } = Found::read(&mut store, machine)?;
        let snapshots = store.snapshots();
        let given_up = Arc::new(AtomicBool::new(false));
        let archive = Archive::new(snapshots.clone(), given_up).in_parts_of(birth.part);
        let mut io = Io::new();
        let survived = usize::try_from(store.sequence().saturating_sub(known)).unwrap_or(0);
        let all = records.as_deref().unwrap_or_default();
        let survived = all[all.len().saturating_sub(survived)..].to_vec();
        let lost = records.iter().flatten().filter(|r| matches!(r, Record::Lost { .. })).count();
        let saved = snapshots.newest().ok().flatten().map(|info| info.slot);
        let boot = Boot {
            setup,
            process,
            birth: identity.birth,
            address: address(self.id),
            sequence: store.sequence(),
            machine,
            head,
            records,
            snapshot_bytes,
            snapshot_every: birth.snapshot_every,
            backlog: birth.backlog,
        };
        let before = store.sequence();
        let mut engine = Engine::start(boot, &mut io)?;
        store.append(&io.appended);
        store.sync()?;
        let on_disk = engine.appended();
        engine.synced(Duration::ZERO, on_disk);
        let first = std::mem::take(&mut io.appended);
        self.up = Some(Up {
            engine,
            io,
            log: Log::new(store, on_disk),
            batch: Vec::new(),
            archive,
            snapshots,
            jobs: Default::default(),
            identity,
            inbox: VecDeque::new(),
            turn_at: None,
            tick_at: None,
            lines: BTreeMap::new(),
            sessions: BTreeMap::new(),
            started: now,
            misled: None,
            leapt: 0,
            still: (0, 0),
            stood: 0,
        });
        Ok(Started { before, survived, first, saved, lost })
    }

    /// What its clock says at this time.
    pub(crate) fn clock(&self, now: Time) -> Duration {
        let Some(up) = &self.up else { return Duration::ZERO };
        let stood = up.stood + now.clamp(up.still.0, up.still.1) - up.still.0;
        let truly = now - up.started - stood;
        // In two steps: a product of all of it would not fit after five hours.
        let passed = truly / PPM * self.rate + truly % PPM * self.rate / PPM;
        Duration::from_nanos(passed + up.leapt)
    }

    /// When its clock will say so.
    pub(crate) fn when(&self, clock: Duration) -> Time {
        let Some(up) = &self.up else { return 0 };
        let nanos = u64::try_from(clock.as_nanos()).unwrap_or(u64::MAX).saturating_sub(up.leapt);
        let whole = (nanos / self.rate).saturating_mul(PPM);
        let passed = whole.saturating_add((nanos % self.rate * PPM).div_ceil(self.rate));
        let at = up.started.saturating_add(passed).saturating_add(up.stood);
        if at > up.still.0 { at.saturating_add(up.still.1 - up.still.0) } else { at }
    }

    /// Its clock leaps ahead.
    pub(crate) fn leaps(&mut self, by: Time) {
        if let Some(up) = &mut self.up {
            up.leapt += by;
            up.tick_at = None;
        }
    }

    /// Its clock stands still until then. False if it has none, or that stands still already.
    pub(crate) fn stop_clock(&mut self, now: Time, until: Time) -> bool {
        let Some(up) = self.up.as_mut().filter(|up| now >= up.still.1) else { return false };
        up.stood += up.still.1 - up.still.0;
        up.still = (now, until.max(now));
        true
    }

    /// Its clock goes on, if it stood still.
    pub(crate) fn clock_goes_on(&mut self, now: Time) {
        if let Some(up) = &mut self.up {
            up.still.1 = up.still.1.min(now).max(up.still.0);
        }
    }

    /// Whether it is the second of two on copies of one disk.
    pub(crate) fn is_second(&self) -> bool {
        matches!(self.twin, Some(Twin::Second))
    }

    /// A call on a file of this kind has failed. How long the process is down, if that was planned.
    pub(crate) fn has_failed(&mut self, kind: &str) -> Option<Time> {
        let planned = |failing: &Failing| kind.starts_with(&failing.of);
        let place = self.failing.iter().position(planned)?;
        Some(self.failing.remove(place).down)
    }

    /// Whether nothing is about to end it.
    pub(crate) fn is_steady(&self, now: Time) -> bool {
        let threatened = self.armed.is_some() || !self.failing.is_empty() || self.lied.is_some();
        self.up.is_some() && self.paused <= now && !threatened && !self.program.may_panic()
    }
}

/// What a node found when it started.
pub(crate) struct Started {
    /// How many records of earlier lives are on disk.
    pub(crate) before: u64,
    /// The last of them, which were not known to have been synced: some may be of a life that ended
    /// while it began.
    pub(crate) survived: Vec<Record>,
    /// The first records of this life, on disk as well.
    pub(crate) first: Vec<Record>,
    pub(crate) saved: Option<synod_paxos::Slot>,
    /// Pvalues that the disk has lost.
    pub(crate) lost: usize,
}

/// Where a node is.
pub(crate) fn address(id: NodeId) -> String {
    format!("node-{}:1", id.0)
}
