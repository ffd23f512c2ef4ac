//! The event loop without a loop: what a node does with each thing that happens.
//!
//! It has no socket, no thread, no file and no clock. Whoever owns it hands it one event at a time
//! and carries out what it asks of its [`Host`]: in production the loop over sockets, in a
//! simulation one that has all of these made up.
//!
//! ```text
//!  peers ----message----> +--------+ ----send----> peers
//!  clients -----ask-----> | engine | ----tell----> clients
//!  log ------synced-----> |        | ---append---> log
//!  worker ---finished---> +--------+ ---start----> worker (snapshots)
//! ```
//!
//! After everything that has arrived was handed over, [`Engine::flush`] proposes what has piled
//! up, as one batch, and lets the effects out.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use synod_paxos::{
    Client as Session, ClientId, Command, Effect, Level as Confirmed, Message, Node, NodeId, Op,
    Outbox, Outcome, Record, RecoverError, Schedule, Setup, Slot,
};

use crate::{
    error::StopReason,
    machine::{Machine, Restore, Snapshot},
    protocol::{Level, Refused, Tell},
    system::Replicated,
};

mod archive;
mod backlog;
mod effects;
mod found;
mod lives;
mod seen;
mod snapshots;

pub use crate::{
    genesis::Genesis,
    metrics::Metrics,
    system::{Head, arrival, digest, machine_op},
};
pub use archive::{Archive, PART, save};
pub use backlog::BACKLOG;
use backlog::{Backlog, burdens};
use effects::{Reads, Waiting};
pub use found::Found;
use lives::Lives;
pub use lives::Stranger;
use snapshots::Saving;

/// Where an answer goes: a connection, or a client in this process. Numbered by the host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Port(pub u64);

/// The engine's own port: commands that the node itself sends.
const OWN: Port = Port(u64::MAX);

/// How long a leader waits before it says once more who has started.
const ARRIVAL_RETRY: Duration = Duration::from_millis(500);

/// What an engine asks of its owner. Nothing here may fail or block: what cannot be sent is
/// dropped, as on any network; what cannot be written is reported later.
pub trait Host<M> {
    /// Sends to another node, at once.
    fn send(&mut self, to: NodeId, message: &Message);
    /// Appends to the log. [`Engine::synced`] says when it is on disk.
    fn append(&mut self, record: Record);
    /// Answers a client.
    fn tell(&mut self, port: Port, tell: &Tell<'_>);
    /// Does something that takes long, elsewhere. [`Engine::finished`] says what became of it.
    fn start(&mut self, job: Job<M>);
    /// Stops the node for good. The engine is not to be used any more.
    fn stop(&mut self, reason: StopReason);
    /// What is counted.
    fn metrics(&mut self) -> &mut Metrics;
}

/// Work on snapshots, which takes long. Each is answered by one [`Finished`].
pub enum Job<M> {
    /// Write a snapshot of everything below `slot`.
    Save {
        /// The snapshot's slot_out.
        slot: Slot,
        /// Writes its bytes.
        picture: Snapshot,
    },
    /// Read a part of the newest snapshot for a peer, and send it.
    Serve {
        /// Who asks.
        to: NodeId,
        /// For which snapshot.
        slot: Slot,
        /// From which byte on.
        offset: u64,
        /// A snapshot below this slot is of no use.
        at_least: Slot,
    },
    /// Keep a part of a peer's snapshot; the last one makes it whole.
    Keep {
        /// The part.
        chunk: Box<synod_paxos::message::SnapshotChunk>,
        /// With the last part: how to read the machine's state.
        restore: Option<Restore<M>>,
    },
}

/// What became of a [`Job`].
pub enum Finished<M> {
    /// A snapshot is on disk, or not: then it is tried again later.
    Saved {
        /// Its slot_out.
        slot: Result<Slot, std::io::Error>,
        /// Its length.
        bytes: u64,
    },
    /// A peer was served, or there is no snapshot that would help it.
    Served {
        /// Whom.
        to: NodeId,
        /// Whether a part was sent.
        sent: bool,
    },
    /// A part was kept; nothing to do.
    Kept,
    /// A peer's snapshot is whole and on disk: its head, and the machine in its state.
    Restored(Box<(Head, M)>),
    /// A peer's snapshot could not be kept or read.
    NotRestored(std::io::Error),
}

/// What an engine starts from.
pub struct Boot<M> {
    /// Who and what it is.
    pub setup: Setup,
    /// Drawn for this life: tells it from another one on a copy of the same disk.
    pub process: u64,
    /// Drawn when its disk was formatted.
    pub birth: u64,
    /// Where it can be reached.
    pub address: String,
    /// The number of the last record in its log.
    pub sequence: u64,
    /// The state, and what came with it if it is from a snapshot.
    pub machine: M,
    /// The head of the snapshot that `machine` was made from.
    pub head: Option<Head>,
    /// The log; `None` if this is the first life.
    pub records: Option<Vec<Record>>,
    /// The snapshot's length in bytes, if there is one.
    pub snapshot_bytes: u64,
    /// Bytes of commands after which a snapshot is made, unless the last one was longer.
    pub snapshot_every: u64,
    /// Most bytes of commands that wait for the disk before no more is taken in; [`BACKLOG`] in
    /// production.
    pub backlog: u64,
}

/// One node.
pub struct Engine<M: Machine> {
    node: Node<Replicated<M>>,
    out: Outbox,
    effects: Vec<Effect>,
    now: Duration,
    /// Records appended in this life, and how many of them are on disk.
    appended: u64,
    synced: u64,
    /// As many records as what is sent now has to wait for.
    awaited: u64,
    /// The number of the last record of earlier lives.
    before: u64,
    /// Messages that wait for as many records to be on disk.
    held: VecDeque<(u64, NodeId, Message)>,
    backlog: Backlog,
    /// Whom to answer.
    ports: HashMap<ClientId, Port>,
    /// The client that was answered last, who is often the next.
    recent: Option<(ClientId, Port)>,
    reads: Reads,
    answer: Vec<u8>,
    /// No room on disk: new commands are refused.
    disk_full: bool,
    saving: Saving,
    /// The machine makes its state durable itself.
    durable_by_itself: bool,
    lives: Lives,
    /// Drawn when this node's disk was formatted.
    birth: u64,
    arrivals: Arrivals,
}

/// The commands by which a leader says which nodes have started.
struct Arrivals {
    session: Session,
    next: Duration,
}

impl<M: Machine> Engine<M> {
    /// Starts a node. Whatever is appended to `host` must be on disk before the first event.
    ///
    /// # Errors
    /// When it must not run from what it was given.
    pub fn start(boot: Boot<M>, host: &mut impl Host<M>) -> Result<Self, RecoverError> {
        let (saving, backlog) = (Saving::new(&boot), Backlog::new(boot.backlog));
        let Boot { setup, process, birth, address, sequence, machine, head, records, .. } = boot;
        let durable_by_itself = machine.committed().is_some();
        let mut out = Outbox::new(setup.id);
        let (frame, preamble) = match head {
            Some(Head { frame, preamble }) => (Some(frame), preamble),
            None => (None, crate::system::Preamble::default()),
        };
        let id = setup.id;
        let state = Replicated::new(machine, preamble);
        let node = match records {
            Some(records) => Node::recover(setup, frame.as_deref(), state, records, &mut out)?,
            None => Node::format(setup, state, &mut out),
        };
        let incarnation = node.incarnation();
        let me = Stranger { node: id, birth, incarnation, process, began: sequence };
        let mut lives = Lives::default();
        lives.met_self(me, address);
        let mut engine = Self {
            out,
            effects: Vec::new(),
            now: Duration::ZERO,
            appended: 0,
            synced: 0,
            awaited: 0,
            before: sequence,
            held: VecDeque::new(),
            backlog,
            ports: HashMap::new(),
            recent: None,
            reads: Reads::default(),
            answer: Vec::new(),
            disk_full: false,
            durable_by_itself,
            saving,
            lives,
            birth,
            arrivals: Arrivals {
                session: Session::new(ClientId {
                    born: node.replica().slot_out(),
                    number: process,
                }),
                next: Duration::ZERO,
            },
            node,
        };
        engine.let_out(host);
        Ok(engine)
    }

    /// A message from another node.
    #[inline]
    pub fn message(&mut self, now: Duration, from: NodeId, message: Message) {
        self.now = now;
        if self.is_behind() && burdens(&message) {
            return; // As if it had been lost: it will be asked for again.
        }
        self.node.step(now, from, message, &mut self.out);
    }

    /// From now on, answers to `client` go to `port`.
    pub fn bind(&mut self, client: ClientId, port: Port) {
        self.ports.insert(client, port);
        self.recent = Some((client, port));
    }

    /// `client` has left.
    pub fn unbind(&mut self, client: ClientId, port: Port) {
        if self.ports.get(&client) == Some(&port) {
            self.ports.remove(&client);
            self.recent = None;
        }
    }

    /// A client's command.
    #[inline]
    pub fn command(&mut self, port: Port, command: Command, host: &mut impl Host<M>) {
        host.metrics().requests += 1;
        let refused = if !self.replicates() {
            Some(Refused::NoReplica)
        } else if self.disk_full && matches!(command.op, Op::Apply(_)) {
            Some(Refused::DiskFull)
        } else if matches!(&command.op, Op::Apply(op) if arrival(op.as_slice()).is_some()) {
            Some(Refused::NotANode)
        } else if self.is_behind() {
            Some(Refused::Busy)
        } else {
            None
        };
        if let Some(why) = refused {
            host.metrics().refused += 1;
            return host.tell(port, &Tell::Refused { cid: command.cid, why });
        }
        if self.recent != Some((command.client, port)) {
            self.bind(command.client, port);
        }
        self.node.request(command, &mut self.out);
    }

    /// A client's query.
    ///
    /// `now` is read from the clock after the query has arrived: a lease that is over by then must
    /// not answer it.
    pub fn read(
        &mut self,
        now: Duration,
        port: Port,
        id: u64,
        level: Level,
        query: &[u8],
        host: &mut impl Host<M>,
    ) {
        self.now = now;
        let confirmed = match level {
            Level::Local if self.replicates() => {
                return self.answer(Waiting { port, id, query: query.into() }, host);
            }
            Level::Linearizable | Level::Local => Confirmed::Linearizable,
            Level::Lease => Confirmed::Lease,
        };
        let number = self.reads.first + self.reads.waiting.len() as u64;
        let replica = self.replicates();
        if !replica || !self.node.read(self.now, number, confirmed) {
            let why = if replica { Refused::Busy } else { Refused::NoReplica };
            host.metrics().refused += 1;
            return host.tell(port, &Tell::ReadRefused { id, why });
        }
        self.reads.waiting.push_back(Some(Waiting { port, id, query: query.into() }));
    }

    /// As many records of this life as `count` says are on disk.
    pub fn synced(&mut self, now: Duration, count: u64) {
        self.now = now;
        self.synced = self.synced.max(count.min(self.appended));
        self.backlog.synced(self.synced);
    }

    /// Whether a message waits for records to be on disk. What nobody waits for can be written with
    /// what comes next.
    #[must_use]
    pub fn waits_for_disk(&self) -> bool {
        !self.held.is_empty()
    }

    /// How many records of this life have been appended.
    #[must_use]
    pub fn appended(&self) -> u64 {
        self.appended
    }

    /// The disk is full, or not any more.
    pub fn disk_full(&mut self, full: bool) {
        self.disk_full = full;
    }

    /// The connection with a node broke.
    pub fn lost(&mut self, now: Duration, peer: NodeId) {
        self.now = now;
        self.node.lost(peer);
    }

    /// Does what it is time for. To be called when [`Engine::deadline`] is reached.
    pub fn tick(&mut self, now: Duration, host: &mut impl Host<M>) {
        self.now = now;
        self.node.tick(now, &mut self.out);
        self.arrive(host);
        self.save_if_due(false, host);
    }

    /// When [`Engine::tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.node.deadline()
    }

    /// Proposes what has piled up, and lets everything out that may leave. To be called when
    /// everything that has arrived was handed over.
    #[inline]
    pub fn flush(&mut self, now: Duration, host: &mut impl Host<M>) {
        self.now = now;
        self.node.flush(&mut self.out);
        self.let_out(host);
    }

    /// Leads no longer: hands over to `to`, or to the fittest. Returns who is asked to lead.
    pub fn hand_over(&mut self, to: Option<NodeId>) -> Option<NodeId> {
        self.node.hand_over(to, &mut self.out)
    }

    /// The number of the last record that is on disk, counted over all lives.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.before + self.synced
    }

    /// The next slot to perform.
    #[must_use]
    pub fn slot_out(&self) -> Slot {
        self.node.replica().slot_out()
    }

    /// Who leads, as far as this node knows.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.node.replica().lead()
    }

    /// Who this is.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.node.id()
    }

    /// Which life this is.
    #[must_use]
    pub fn incarnation(&self) -> u32 {
        self.node.incarnation()
    }

    /// The configurations known here.
    #[must_use]
    pub fn schedule(&self) -> &Schedule {
        self.node.replica().schedule()
    }

    /// The protocol's state.
    pub(crate) fn node(&self) -> &Node<Replicated<M>> {
        &self.node
    }

    /// Whether commands are refused for want of room.
    pub(crate) fn is_disk_full(&self) -> bool {
        self.disk_full
    }

    /// Where nodes are, as the log says.
    pub(crate) fn system(&self) -> &std::sync::Arc<crate::system::System> {
        &self.node.replica().state().system
    }

    /// Says which nodes have started, if this one leads; and stops the node if the log says that
    /// its disk is not the one that it once had.
    fn arrive(&mut self, host: &mut impl Host<M>) {
        let (me, system) = (self.node.id(), self.node.replica().state().system.clone());
        if system.lives.get(&me.0).is_some_and(|known| known.birth != self.birth) {
            return host.stop(StopReason::Wiped { node: me.0 });
        }
        if self.leader() != Some(me) || self.now < self.arrivals.next {
            return;
        }
        let session = &mut self.arrivals.session;
        if session.in_flight() == 0 {
            let known = self.node.replica().schedule();
            let is_known = |node: NodeId| {
                system.book.contains_key(&node.0) || known.nodes().any(|known| known == node)
            };
            for news in self.lives.news(&system, is_known) {
                session.request(Op::Apply(news.op()));
            }
        }
        let commands: Vec<Command> = session.retry().collect();
        if commands.is_empty() {
            return;
        }
        self.arrivals.next = self.now + ARRIVAL_RETRY;
        self.bind(self.arrivals.session.id(), OWN);
        for command in commands {
            self.node.request(command, &mut self.out);
        }
    }

    /// Whether this node keeps the state, in some configuration that it knows.
    fn replicates(&self) -> bool {
        self.node.replica().schedule().replicates(self.node.id())
    }
}

impl Arrivals {
    fn respond(&mut self, cid: u64, outcome: &Outcome, slot_out: Slot) {
        match outcome {
            Outcome::Done(_) => {
                self.session.response(cid);
                self.next = Duration::ZERO; // What has happened meanwhile need not wait.
            }
            Outcome::Busy => {}
            Outcome::Expired => {
                // The replica was behind when it started. Saying it twice does no harm.
                let number = self.session.id().number.wrapping_add(1);
                self.session = Session::new(ClientId { born: slot_out, number });
            }
        }
    }
}
