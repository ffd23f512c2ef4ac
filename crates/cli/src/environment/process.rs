//! A process of the paper: a replica, a leader or an acceptor, in a thread with an inbox.
//!
//! The loop is the one that [`synod_paxos::effect`] asks for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    thread::JoinHandle,
};

use synod_paxos::{
    Ballot, Command, Effect, InvalidSnapshot, Message, Node, NodeId, Outbox, Record, RecoverError,
    Response, Setup,
    message::SnapshotChunk,
    shelf::{self, Shelf},
};

use super::{
    cast::place,
    disk::Disk,
    inbox::Inbox,
    machine::Machine,
    network::{Body, Bundles, Mail, Port},
    stage::{Alarm, Notice, Stage},
    tally::Tally,
};

/// One life of a process.
pub(crate) struct Life {
    id: NodeId,
    orders: Arc<AtomicU8>,
    thread: JoinHandle<Ended>,
}

/// What a process is told to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Order {
    Live,
    /// To lose everything that is not on its disk.
    Crash,
    /// To finish its turn.
    Stop,
}

/// What there is to say about a life that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) machine: Machine,
    pub(crate) slot_out: u64,
    pub(crate) ballots: u64,
    pub(crate) tally: Tally,
}

impl Life {
    /// The first life of a process. With `campaign` it starts a ballot at once.
    pub(crate) fn begin(stage: &Arc<Stage>, id: NodeId, campaign: bool) -> Self {
        let mut out = Outbox::new(id);
        let mut node = Node::format(setup(stage, id), Machine::default(), &mut out);
        let told = write_first(&mut stage.disk(id), &mut out);
        if campaign {
            node.campaign(&mut out);
        }
        Self::spawn(stage, node, out, told)
    }

    /// The next life of a process, from what is on its disk; or from nothing.
    pub(crate) fn resume(
        stage: &Arc<Stage>,
        id: NodeId,
        with_records: bool,
    ) -> Result<Self, RecoverError> {
        let mut out = Outbox::new(id);
        let mut disk = stage.disk(id);
        if !with_records {
            *disk = Disk::default();
        }
        let invalid = RecoverError::Snapshot(InvalidSnapshot);
        let (base, state) = match disk.snapshot() {
            None => (None, Machine::default()),
            Some(bytes) => {
                let (frame, state) = shelf::split(bytes).ok_or(invalid)?;
                (Some(frame), Machine::restore(state).ok_or(invalid)?)
            }
        };
        let node = Node::recover(setup(stage, id), base, state, disk.records(), &mut out)?;
        let told = write_first(&mut disk, &mut out);
        drop(disk);
        Ok(Self::spawn(stage, node, out, told))
    }

    fn spawn(stage: &Arc<Stage>, node: Node<Machine>, out: Outbox, told: Vec<Effect>) -> Self {
        let id = node.id();
        stage.forget(id);
        let orders = Arc::new(AtomicU8::new(Order::Live as u8));
        let mut process = Process::new(stage.clone(), node, out, orders.clone());
        let thread = std::thread::spawn(move || {
            told.into_iter().for_each(|effect| process.effect(effect));
            process.live()
        });
        Self { id, orders, thread }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.id
    }

    /// Gives an order that ends this life.
    pub(crate) fn order(&self, stage: &Stage, order: Order) {
        self.orders.store(order as u8, Relaxed);
        stage.network.close(place(self.id));
        stage.network.wake(place(self.id));
    }

    /// Waits for the end of this life. `None` if it was a violent one.
    pub(crate) fn end(self) -> Option<Ended> {
        self.thread.join().ok()
    }
}

fn setup(stage: &Stage, id: NodeId) -> Setup {
    let plan = &stage.plan;
    let schedule = synod_paxos::Schedule::new(plan.members.clone(), plan.window);
    Setup {
        roles: plan.cast.name(id).role.roles(),
        timing: plan.timing,
        seed: plan.seed ^ (u64::from(id.0) << 40),
        ..Setup::new(id, schedule)
    }
}

/// What a node that starts wants on its disk is there before anything else happens. Returns what
/// it wants besides.
fn write_first(disk: &mut Disk, out: &mut Outbox) -> Vec<Effect> {
    let mut records = Vec::new();
    let rest = out.drain().filter_map(|effect| match effect {
        Effect::Persist(record) => {
            records.push(record);
            None
        }
        effect @ (Effect::Send(..)
        | Effect::SendWhenDurable(..)
        | Effect::Respond(_)
        | Effect::ReadReady(_)
        | Effect::Retired(_)
        | Effect::ServeSnapshot { .. }
        | Effect::KeepChunk { .. }) => Some(effect),
    });
    let rest = rest.collect();
    disk.append(&mut records);
    rest
}

struct Process {
    stage: Arc<Stage>,
    node: Node<Machine>,
    out: Outbox,
    orders: Arc<AtomicU8>,
    inbox: Inbox,
    port: Port,
    /// What arrived in this turn.
    mail: Vec<Mail>,
    /// Records that are not on the disk.
    records: Vec<Record>,
    at_once: Bundles<Message>,
    when_durable: Bundles<Message>,
    responses: Bundles<Response>,
    /// The last snapshot contains everything below this slot.
    saved: u64,
    shelf: Shelf,
    ballots: u64,
    seen: Seen,
}

/// What a trace has shown of a process.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    slot_out: u64,
    leading: bool,
    active: bool,
    ballot: Ballot,
}

impl Seen {
    fn of(node: &Node<Machine>) -> Self {
        Self {
            slot_out: node.replica().slot_out().0,
            leading: node.leader().leading(),
            active: node.leader().active(),
            ballot: node.leader().ballot_num(),
        }
    }
}

impl Process {
    fn new(stage: Arc<Stage>, node: Node<Machine>, out: Outbox, orders: Arc<AtomicU8>) -> Self {
        let (me, places) = (place(node.id()), stage.places());
        let life = u64::from(node.incarnation());
        // Each life draws other faults, or the same message would be lost in all of them.
        let seed = stage.plan.seed ^ (u64::from(node.id().0) << 32) ^ (life << 48);
        Self {
            inbox: stage.network.open(me),
            port: Port::new(me, stage.network.clone(), seed),
            mail: Vec::new(),
            records: Vec::new(),
            at_once: Bundles::new(places),
            when_durable: Bundles::new(places),
            responses: Bundles::new(places),
            saved: node.replica().slot_out().0,
            shelf: Shelf::default(),
            ballots: 0,
            seen: Seen::of(&node),
            stage,
            node,
            out,
            orders,
        }
    }

    fn live(mut self) -> Ended {
        let me = place(self.node.id());
        let _alarm = Alarm { notices: self.stage.notices.clone(), place: me };
        while self.ordered() == Order::Live as u8 {
            self.turn();
            self.inbox.take(self.node.deadline(), &mut self.mail);
        }
        Ended {
            machine: *self.node.replica().state(),
            slot_out: self.node.replica().slot_out().0,
            ballots: self.ballots,
            tally: self.port.tally,
        }
    }

    fn ordered(&self) -> u8 {
        self.orders.load(Relaxed)
    }

    fn turn(&mut self) {
        let now = self.stage.network.now();
        for mail in self.mail.drain(..) {
            match mail.body {
                Body::Messages(messages) => {
                    let from = sender(mail.from);
                    for message in messages {
                        self.node.step(now, from, message, &mut self.out);
                    }
                }
                Body::Requests(commands) => {
                    commands.into_iter().for_each(|c: Command| self.node.request(c, &mut self.out));
                }
                Body::Responses(_) | Body::Wake => {}
            }
        }
        if now >= self.node.deadline() {
            self.node.tick(now, &mut self.out);
        }
        self.node.flush(&mut self.out);
        self.snapshot();
        if self.stage.network.recorder.is_some() {
            self.show();
        }
        self.carry_out();
    }

    /// Writes a snapshot every so many slots, so that what came before can be collected.
    fn snapshot(&mut self) {
        let slot_out = self.node.replica().slot_out();
        if slot_out.0 < self.saved + self.stage.plan.snapshot {
            return;
        }
        self.saved = slot_out.0;
        let replica = self.node.replica();
        let snapshot = shelf::join(&replica.frame(), &replica.state().snapshot());
        self.stage.disk(self.node.id()).save(snapshot);
        self.node.saved(slot_out, &mut self.out);
        let text = format!("snapshot of everything below slot {slot_out}");
        self.stage.mark(Some(place(self.node.id())), "snapshot", text);
    }

    /// Carries out the effects, in the order that durability asks for.
    fn carry_out(&mut self) {
        while !self.out.is_empty() {
            let effects: Vec<Effect> = self.out.drain().collect();
            effects.into_iter().for_each(|effect| self.effect(effect));
        }
        self.publish();
        self.at_once.send(&mut self.port);
        self.responses.send(&mut self.port);
        if self.ordered() == Order::Crash as u8 {
            // The worst moment: the records are lost, and so is all that waits for them.
            self.when_durable.clear();
            return;
        }
        self.sync();
        self.when_durable.send(&mut self.port);
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Persist(record) => {
                self.ballots += u64::from(matches!(record, Record::Campaigned(_)));
                self.records.push(record);
            }
            Effect::Send(to, message) => self.at_once.add(place(to), message),
            Effect::SendWhenDurable(to, message) => self.when_durable.add(place(to), message),
            Effect::Respond(response) => {
                let client = response.client.number;
                self.responses.add(addressee(&self.stage, client), response);
            }
            Effect::ReadReady(_) => {} // Nobody reads here.
            Effect::Retired(config) => drop(self.stage.notices.send(Notice::Retired(config))),
            Effect::ServeSnapshot { to, slot, offset } => {
                let replica = self.node.replica();
                let part = self.shelf.serve(replica, (slot, offset), Machine::snapshot);
                self.at_once.add(place(to), part);
            }
            Effect::KeepChunk { chunk, complete } => self.keep(&chunk, complete),
        }
    }

    /// Keeps a part of another replica's snapshot, and continues from it when it is whole.
    fn keep(&mut self, chunk: &SnapshotChunk, complete: bool) {
        let whole = self.shelf.keep(chunk, complete);
        if !complete {
            return;
        }
        let restored = whole.and_then(|(frame, state)| Some((frame, Machine::restore(&state)?)));
        match restored {
            // A damaged frame leaves everything as it was, and another snapshot is fetched.
            Some((frame, state)) => drop(self.node.install(&frame, state, &mut self.out)),
            None => self.node.install_failed(),
        }
    }

    fn sync(&mut self) {
        if self.records.is_empty() {
            return;
        }
        let mut disk = self.stage.disk(self.node.id());
        disk.append(&mut self.records);
        if disk.is_long() {
            disk.rewrite(self.node.checkpoint());
        }
    }

    /// Lets the environment know how far a replica is.
    fn publish(&self) {
        let replica = self.node.replica();
        let gauge = self.stage.gauge(self.node.id());
        let slot_out = replica.slot_out().0;
        if gauge.slot_out.swap(slot_out, Relaxed) != slot_out {
            gauge.performed.store(replica.state().performed, Relaxed);
            self.stage.performed(slot_out);
        }
    }

    /// Shows in the trace what has changed.
    fn show(&mut self) {
        let (was, is) = (self.seen, Seen::of(&self.node));
        self.seen = is;
        let mark = |kind, text| self.stage.mark(Some(place(self.node.id())), kind, text);
        if is.slot_out > was.slot_out {
            let (first, last) = (was.slot_out, is.slot_out - 1);
            mark("decided", format!("performed slots {first} to {last}"));
        }
        if is.active && (!was.active || is.ballot != was.ballot) {
            mark("adopted", format!("ballot {} is adopted", is.ballot));
        }
        if was.leading && !is.leading {
            mark("preempted", format!("ballot {} is preempted", was.ballot));
        }
    }
}

/// Who sends from a place of a process.
fn sender(place: usize) -> NodeId {
    NodeId(u32::try_from(place + 1).unwrap_or(u32::MAX))
}

/// Where a client stands; number 0 is the operator.
fn addressee(stage: &Stage, client: u64) -> usize {
    match u32::try_from(client) {
        Ok(0) | Err(_) => stage.operator(),
        Ok(number) => stage.client(number),
    }
}
