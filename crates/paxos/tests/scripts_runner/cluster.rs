//! A table-top cluster: real processes, and a network, disks and clients that do nothing unless
//! a script says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fmt::Write as _,
    time::Duration,
};

use synod_paxos::{
    Client, ClientId, Command, Effect, Envelope, Lease, Level, Message, Node, NodeId, Op, Outbox,
    Outcome, Reconfigured, Record, Response, Roles, Schedule, Setup, Slot,
    message::SnapshotChunk,
    shelf::{self, Shelf},
    wire,
};

use crate::{selection::Selection, text::Text};

pub(crate) type Done = Result<(), Box<dyn Error>>;

/// Steps after which [`Cluster::settle`] gives up.
const SETTLE_MAX: usize = 1000;
/// Time between the ticks of [`Cluster::settle`].
const SETTLE_TICK: Duration = Duration::from_millis(10);

/// Everything on the table.
#[derive(Default)]
pub(crate) struct Cluster {
    pub(crate) output: String,
    schedule: Option<Schedule>,
    sessions: Option<usize>,
    lease: Option<Lease>,
    processes: BTreeMap<u32, Process>,
    /// Messages under way, oldest first.
    network: Vec<Envelope>,
    /// Messages that are kept back until they are released.
    aside: Vec<Envelope>,
    /// Links on which messages get lost.
    cut: BTreeSet<(u32, u32)>,
    /// Processes whose disks hang.
    hung: BTreeSet<u32>,
    /// Kinds of messages that are not printed.
    hidden: BTreeSet<String>,
    clients: BTreeMap<String, Person>,
}

/// A client, and whether it hears what is said to it.
struct Person {
    client: Client,
    deaf: bool,
}

/// One process with its disk. It is down if there is no node.
struct Process {
    setup: Setup,
    node: Option<Node<Text>>,
    clock: Duration,
    paused: bool,
    disk: Disk,
    backup: Disk,
    shelf: Shelf,
    written: Vec<Record>,
    /// What is sent when everything written is on disk.
    waiting: Vec<(NodeId, Message)>,
}

/// What survives a crash.
#[derive(Clone, Default)]
struct Disk {
    records: Vec<Record>,
    snapshot: Option<Vec<u8>>,
}

impl Cluster {
    /// Lays out new processes; what was there before is gone.
    pub(crate) fn lay_out(
        &mut self,
        schedule: Schedule,
        sessions: Option<usize>,
        lease: Option<Lease>,
        processes: impl IntoIterator<Item = (u32, Roles)>,
    ) {
        *self = Self { schedule: Some(schedule), sessions, lease, ..Self::default() };
        for (id, roles) in processes {
            self.start(id, roles);
        }
        self.output.clear();
    }

    /// Starts a process that has never run, knowing the cluster's first configuration.
    pub(crate) fn start(&mut self, id: u32, roles: Roles) {
        let Some(schedule) = self.schedule.clone() else { return };
        let mut setup = Setup::new(NodeId(id), schedule);
        setup.roles = roles;
        setup.sessions = self.sessions.unwrap_or(setup.sessions);
        setup.timing.lease = self.lease;
        let mut out = Outbox::new(NodeId(id));
        let node = Node::format(setup.clone(), Text::default(), &mut out);
        let process = Process {
            setup,
            node: Some(node),
            clock: Duration::ZERO,
            paused: false,
            disk: Disk::default(),
            backup: Disk::default(),
            shelf: Shelf::default(),
            written: Vec::new(),
            waiting: Vec::new(),
        };
        self.processes.insert(id, process);
        self.carry_out(id, out.drain().collect());
        self.sync(id);
    }

    pub(crate) fn ids(&self, named: &[u32]) -> Vec<u32> {
        if named.is_empty() { self.processes.keys().copied().collect() } else { named.to_vec() }
    }

    pub(crate) fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.output, "{line}"); // A String takes everything.
    }

    fn process(&mut self, id: u32) -> Result<&mut Process, Box<dyn Error>> {
        self.processes.get_mut(&id).ok_or_else(|| format!("there is no process {id}").into())
    }

    /// Gives a process its turn, and does what it asks for. A process that panics is down.
    fn turn<T>(
        &mut self,
        id: u32,
        take: impl FnOnce(&mut Node<Text>, Duration, &mut Outbox) -> T,
    ) -> Result<T, Box<dyn Error>> {
        let process = self.process(id)?;
        let mut node = process.node.take().ok_or_else(|| format!("process {id} is down"))?;
        let mut out = Outbox::new(NodeId(id));
        let result = take(&mut node, process.clock, &mut out);
        process.node = Some(node);
        self.carry_out(id, out.drain().collect());
        Ok(result)
    }

    fn carry_out(&mut self, id: u32, effects: Vec<Effect>) {
        for effect in effects {
            let Some(process) = self.processes.get_mut(&id) else { return };
            match effect {
                Effect::Persist(record) => {
                    let mut bytes = Vec::new();
                    wire::encode_record(&record, &mut bytes);
                    assert_eq!(wire::decode_record(&bytes).as_ref(), Ok(&record));
                    self.line(format_args!("{id} persist {record}"));
                    self.processes.entry(id).and_modify(|p| p.written.push(record));
                }
                Effect::SendWhenDurable(to, message) if !process.written.is_empty() => {
                    process.waiting.push((to, message));
                }
                Effect::Send(to, message) | Effect::SendWhenDurable(to, message) => {
                    self.post(id, to, message);
                }
                Effect::Respond(response) => {
                    let known = |p: &&mut Person| p.client.id() == response.client;
                    let heard = match self.clients.values_mut().find(known) {
                        Some(person) if !person.deaf => {
                            if matches!(response.outcome, Outcome::Done(_)) {
                                person.client.response(response.cid);
                            }
                            ""
                        }
                        Some(_) | None => ", which gets lost",
                    };
                    let shown = show(&response);
                    self.line(format_args!("{id} {shown}{heard}"));
                }
                Effect::ReadReady(read) => {
                    let state = process.node.as_ref().map(|node| node.replica().state().clone());
                    let state = state.unwrap_or_default();
                    self.line(format_args!("{id} read {read} = {state}"));
                }
                Effect::Retired(config) => self.line(format_args!("{id} retired {config}")),
                Effect::ServeSnapshot { to, slot, offset } => {
                    let Some(node) = &process.node else { return };
                    let (shelf, replica) = (&mut process.shelf, node.replica());
                    let part = shelf.serve(replica, (slot, offset), Text::snapshot);
                    self.post(id, to, part);
                }
                Effect::KeepChunk { chunk, complete } => self.keep(id, &chunk, complete),
            }
        }
    }

    /// Keeps a part of another process's snapshot, and continues from it when it is whole.
    fn keep(&mut self, id: u32, chunk: &SnapshotChunk, complete: bool) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        let whole = process.shelf.keep(chunk, complete);
        let Some(node) = process.node.as_mut().filter(|_| complete) else { return };
        let mut out = Outbox::new(NodeId(id));
        match whole.and_then(|(frame, state)| Some((frame, Text::restore(&state)?))) {
            Some((frame, state)) => {
                node.install(&frame, state, &mut out).expect("it was whole, so it has a frame");
            }
            None => node.install_failed(),
        }
        self.carry_out(id, out.drain().collect());
    }

    /// Puts a message into the network. What is sent can be encoded, and decoded again.
    fn post(&mut self, id: u32, to: NodeId, message: Message) {
        let mut bytes = Vec::new();
        wire::encode_message(&message, &mut bytes);
        assert_eq!(wire::decode_message(&bytes).as_ref(), Ok(&message));
        let lost = self.cut.contains(&(id, to.0));
        if !self.hidden.contains(message.kind()) {
            let lost = if lost { ", which gets lost" } else { "" };
            self.line(format_args!("{id}->{to} {message}{lost}"));
        }
        if !lost {
            self.network.push(Envelope { from: NodeId(id), to, message });
        }
    }

    /// The client of this name; one that has not been heard of is born at slot 1.
    fn person(&mut self, name: &str) -> Result<&mut Person, Box<dyn Error>> {
        if !self.clients.contains_key(name) {
            self.client(name, Slot::FIRST)?;
        }
        self.clients.get_mut(name).ok_or_else(|| format!("there is no client {name}").into())
    }

    /// Starts a client that knows nothing of an earlier one of its name.
    pub(crate) fn client(&mut self, name: &str, born: Slot) -> Done {
        let number = name.strip_prefix('c').unwrap_or(name).parse()?;
        let client = Client::new(ClientId { born, number });
        self.clients.insert(name.to_owned(), Person { client, deaf: false });
        Ok(())
    }

    pub(crate) fn deafen(&mut self, name: &str, deaf: bool) -> Done {
        self.person(name)?.deaf = deaf;
        Ok(())
    }

    /// New commands of one client, which come together.
    pub(crate) fn request(&mut self, id: u32, name: &str, ops: Vec<Op>) -> Done {
        let person = self.person(name)?;
        let commands = ops.into_iter().map(|op| person.client.request(op)).collect();
        self.commands(id, commands)
    }

    /// The commands of a client that have not been answered, once more.
    pub(crate) fn ask_again(&mut self, id: u32, name: &str) -> Done {
        let commands = self.person(name)?.client.retry().collect();
        self.commands(id, commands)
    }

    fn commands(&mut self, id: u32, commands: Vec<Command>) -> Done {
        self.turn(id, |node, _, out| {
            commands.into_iter().for_each(|command| node.request(command, out));
            node.flush(out);
        })
    }

    pub(crate) fn campaign(&mut self, id: u32) -> Done {
        self.turn(id, |node, _, out| node.campaign(out))
    }

    pub(crate) fn flush(&mut self, id: u32) -> Done {
        self.turn(id, |node, _, out| node.flush(out))
    }

    pub(crate) fn read(&mut self, id: u32, read: u64, lease: bool) -> Done {
        let level = if lease { Level::Lease } else { Level::Linearizable };
        let taken = self.turn(id, |node, now, out| {
            let taken = node.read(now, read, level);
            node.flush(out);
            taken
        })?;
        if taken { Ok(()) } else { Err("not served here".into()) }
    }

    /// One leader asks another one to take over.
    pub(crate) fn hand_over(&mut self, id: u32, to: Option<u32>) -> Done {
        match self.turn(id, |node, _, out| node.hand_over(to.map(NodeId), out))? {
            Some(_) => Ok(()),
            None => Err("it does not lead, or has nobody to hand over to".into()),
        }
    }

    /// A connection broke.
    pub(crate) fn lost(&mut self, id: u32, peer: u32) -> Done {
        self.turn(id, |node, _, _| node.lost(NodeId(peer)))
    }

    /// Whether a disk does nothing from now on.
    pub(crate) fn hang(&mut self, id: u32, hangs: bool) {
        if hangs {
            self.hung.insert(id)
        } else {
            self.hung.remove(&id)
        };
    }

    /// Whether a process does nothing from now on.
    pub(crate) fn pause(&mut self, id: u32, paused: bool) -> Done {
        self.process(id)?.paused = paused;
        Ok(())
    }

    /// Lets time pass for one process.
    pub(crate) fn tick(&mut self, id: u32, time: Duration) -> Done {
        let process = self.process(id)?;
        process.clock += time;
        if process.paused {
            return Ok(());
        }
        self.turn(id, |node, now, out| {
            node.tick(now, out);
            node.flush(out);
        })
    }

    /// Saves a snapshot and reports that.
    pub(crate) fn snapshot(&mut self, id: u32) -> Done {
        let process = self.process(id)?;
        let Some(node) = &process.node else { return Err("it is down".into()) };
        let slot = node.replica().slot_out();
        let replica = node.replica();
        process.disk.snapshot = Some(shelf::join(&replica.frame(), &replica.state().snapshot()));
        self.line(format_args!("{id} snapshot below {slot}"));
        self.turn(id, |node, _, out| node.saved(slot, out))
    }

    /// The log becomes the shortest one from which the process can go on.
    pub(crate) fn compact(&mut self, id: u32) -> Done {
        self.sync(id);
        let process = self.process(id)?;
        let Some(node) = &process.node else { return Err("it is down".into()) };
        process.disk.records = node.checkpoint().collect();
        for record in process.disk.records.clone() {
            self.line(format_args!("{id} keeps {record}"));
        }
        Ok(())
    }

    /// Everything written is on disk; what waited for that is sent.
    pub(crate) fn sync(&mut self, id: u32) {
        if self.hung.contains(&id) {
            return;
        }
        let Some(process) = self.processes.get_mut(&id) else { return };
        process.disk.records.append(&mut process.written);
        for (to, message) in std::mem::take(&mut process.waiting) {
            self.post(id, to, message);
        }
    }

    /// The process dies; of what was written but not synced, the first `kept` records survive.
    pub(crate) fn crash(&mut self, id: u32, kept: usize) -> Done {
        let process = self.process(id)?;
        process.written.truncate(kept);
        process.disk.records.append(&mut process.written);
        process.waiting.clear();
        process.node = None;
        process.clock = Duration::ZERO;
        Ok(())
    }

    /// Somebody copies what is on the disk.
    pub(crate) fn backup(&mut self, id: u32) -> Done {
        let process = self.process(id)?;
        process.backup = process.disk.clone();
        Ok(())
    }

    /// Of each pvalue that was accepted in `slot`, no more than its ballot is left on the disk.
    pub(crate) fn damage(&mut self, id: u32, slot: Slot) -> Done {
        for record in &mut self.process(id)?.disk.records {
            if let Record::Accepted(pvalue) = record
                && pvalue.slot == slot
            {
                let ballot = pvalue.ballot;
                *record = Record::Lost { ballot, slot };
            }
        }
        Ok(())
    }

    /// The process starts again from its disk, or tries to from an empty one, or from the copy.
    pub(crate) fn restart(&mut self, id: u32, disk: Option<&str>) -> Done {
        let process = self.process(id)?;
        if process.node.is_some() {
            return Err(format!("process {id} is not down").into());
        }
        match disk {
            None => {}
            Some("wiped") => process.disk = Disk::default(),
            Some("backup") => process.disk = process.backup.clone(),
            Some(other) => return Err(format!("there is no disk '{other}'").into()),
        }
        let mut out = Outbox::new(NodeId(id));
        let (setup, records) = (process.setup.clone(), process.disk.records.clone());
        let snapshot = process.disk.snapshot.as_deref().and_then(shelf::split);
        let state = snapshot.and_then(|(_, state)| Text::restore(state)).unwrap_or_default();
        let node = Node::recover(setup, snapshot.map(|s| s.0), state, records, &mut out)?;
        process.node = Some(node);
        self.carry_out(id, out.drain().collect());
        Ok(())
    }

    /// Takes the messages out of the network that are selected.
    fn take(&mut self, to: &[u32], selection: &Selection) -> Vec<Envelope> {
        let all = std::mem::take(&mut self.network);
        let mut left = selection.count;
        let (taken, rest) = all.into_iter().partition(|envelope| {
            let take = left > 0
                && (to.is_empty() || to.contains(&envelope.to.0))
                && selection.matches(envelope);
            left -= usize::from(take);
            take
        });
        self.network = rest;
        taken
    }

    /// Hands over the messages that are selected; each receiver then flushes once.
    pub(crate) fn deliver(&mut self, to: &[u32], selection: &Selection) -> Done {
        let mut taken = self.take(to, selection);
        if taken.is_empty() {
            return Err("there is no such message".into());
        }
        taken.iter_mut().for_each(|envelope| {
            envelope.from = selection.forged.unwrap_or(envelope.from);
        });
        let mut receivers: Vec<u32> = taken.iter().map(|envelope| envelope.to.0).collect();
        receivers.sort_unstable();
        receivers.dedup();
        for id in receivers.into_iter().filter(|id| self.is_up(*id)).collect::<Vec<_>>() {
            for Envelope { from, message, .. } in taken.iter().filter(|e| e.to.0 == id).cloned() {
                self.turn(id, |node, now, out| node.step(now, from, message, out))?;
            }
            self.flush(id)?;
        }
        Ok(())
    }

    fn is_up(&self, id: u32) -> bool {
        self.processes.get(&id).is_some_and(|process| process.node.is_some())
    }

    pub(crate) fn lose(&mut self, to: &[u32], selection: &Selection) -> Done {
        let lost = self.take(to, selection);
        if lost.is_empty() { Err("there is no such message".into()) } else { Ok(()) }
    }

    /// Copies of the messages that are selected follow them.
    pub(crate) fn duplicate(&mut self, to: &[u32], selection: &Selection) -> Done {
        let taken = self.take(to, selection);
        if taken.is_empty() {
            return Err("there is no such message".into());
        }
        self.network.extend(taken.iter().cloned().chain(taken.clone()));
        Ok(())
    }

    /// Keeps back the messages that are selected.
    pub(crate) fn hold(&mut self, to: &[u32], selection: &Selection) -> Done {
        let taken = self.take(to, selection);
        if taken.is_empty() {
            return Err("there is no such message".into());
        }
        self.aside.extend(taken);
        Ok(())
    }

    /// What was kept back is under way again, behind everything else.
    pub(crate) fn release(&mut self) {
        self.network.append(&mut self.aside);
    }

    /// Messages between these two get lost from now on, in both directions or only in this one.
    pub(crate) fn cut(&mut self, from: u32, to: u32, both: bool) {
        self.cut.insert((from, to));
        if both {
            self.cut.insert((to, from));
        }
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    pub(crate) fn hide(&mut self, kinds: Vec<String>) {
        self.hidden.extend(kinds);
    }

    /// Delivers and syncs until nothing is left to do, then lets some time pass, and so on.
    pub(crate) fn settle(&mut self, time: Duration) -> Done {
        let mut left = time;
        for _ in 0..SETTLE_MAX {
            for id in self.ids(&[]) {
                self.sync(id);
            }
            let paused = |to: NodeId| self.processes.get(&to.0).is_some_and(|p| p.paused);
            let late = self.network.extract_if(.., |envelope| paused(envelope.to));
            self.aside.extend(late);
            if !self.network.is_empty() {
                self.deliver(&[], &Selection::everything())?;
            } else if left > Duration::ZERO {
                left = left.saturating_sub(SETTLE_TICK);
                for id in self.ids(&[]).into_iter().filter(|id| self.is_up(*id)).collect::<Vec<_>>()
                {
                    self.tick(id, SETTLE_TICK)?;
                }
            } else {
                return Ok(());
            }
        }
        Err("it does not settle".into())
    }

    /// Prints the messages under way.
    pub(crate) fn network(&mut self) {
        for Envelope { from, to, message } in self.network.clone() {
            self.line(format_args!("{from}->{to} {message}"));
        }
    }

    /// Prints what is known of each process.
    pub(crate) fn status(&mut self, ids: &[u32]) -> Done {
        for id in self.ids(ids) {
            let process = self.process(id)?;
            let roles = process.setup.roles;
            let Some(node) = &process.node else {
                self.line(format_args!("{id} down"));
                continue;
            };
            let mut parts = Vec::new();
            if roles.leader {
                let leader = node.leader();
                let mode = match (leader.active(), leader.leading()) {
                    (true, _) => "active",
                    (false, true) => "in phase 1",
                    (false, false) => "passive",
                };
                let lease = if node.holds_lease() { " with a lease" } else { "" };
                parts.push(format!("{mode} {}{lease}", leader.ballot_num()));
            }
            if roles.acceptor {
                let (held, gc_slot) = (node.acceptor().ballot_num(), node.acceptor().gc_slot());
                let below = format!(" collected below {gc_slot}");
                let below = if gc_slot > Slot::FIRST { below.as_str() } else { "" };
                parts.push(format!("holds {held}{below}"));
            }
            if roles.replica {
                let replica = node.replica();
                let (slot_in, slot_out) = (replica.slot_in(), replica.slot_out());
                let epoch = replica.schedule().latest().epoch;
                let epoch = if epoch > 0 { format!(" epoch={epoch}") } else { String::new() };
                let state = replica.state();
                parts.push(format!("slot_in={slot_in} slot_out={slot_out}{epoch} {state}"));
            }
            let status = parts.join(" | ");
            self.line(format_args!("{id} {status}"));
        }
        Ok(())
    }

    /// Prints the pvalues that the acceptors have accepted.
    pub(crate) fn accepted(&mut self, ids: &[u32]) -> Done {
        for id in self.ids(ids) {
            let process = self.process(id)?;
            let Some(node) = process.node.as_ref().filter(|_| process.setup.roles.acceptor) else {
                continue;
            };
            let mut pvalues: Vec<_> = node
                .acceptor()
                .checkpoint()
                .filter_map(|record| match record {
                    Record::Accepted(pvalue) => Some((pvalue.slot, pvalue.to_string())),
                    Record::Started(_)
                    | Record::Campaigned(_)
                    | Record::Adopted(_)
                    | Record::Collected(_)
                    | Record::Learned { .. }
                    | Record::Performed { .. } => None,
                    Record::Lost { slot, .. } => Some((slot, record.to_string())),
                })
                .collect();
            pvalues.sort();
            let pvalues: Vec<String> = pvalues.into_iter().map(|(_, pvalue)| pvalue).collect();
            let pvalues = pvalues.join(", ");
            self.line(format_args!("{id} [{pvalues}]"));
        }
        Ok(())
    }

    /// Of any two states, one must have come about on the way to the other (R1 and R3).
    pub(crate) fn check(&self) -> Done {
        let states = |process: &Process| process.node.as_ref().map(|n| n.replica().state().clone());
        let mut states: Vec<Text> = self.processes.values().filter_map(states).collect();
        states.sort_by_key(|state| state.0.len());
        for pair in states.windows(2) {
            if !pair[1].0.starts_with(&pair[0].0) {
                return Err(format!("R3: {} and {}", pair[0], pair[1]).into());
            }
        }
        Ok(())
    }
}

/// A response; the result of a reconfiguration in words.
fn show(response: &Response) -> String {
    let Response { client, cid, outcome } = response;
    let reconfigured = match outcome {
        Outcome::Done(reply) if reply.as_slice().contains(&0) => Reconfigured::from_reply(reply),
        Outcome::Done(_) | Outcome::Expired | Outcome::Busy => None,
    };
    match reconfigured {
        None => response.to_string(),
        Some(Reconfigured::Effective { epoch, from }) => {
            format!("response {client}#{cid} = configuration {epoch} from slot {from}")
        }
        Some(Reconfigured::Refused { epoch }) => {
            format!("response {client}#{cid} = refused, configuration {epoch} is the newest")
        }
    }
}
