//! The paper's environment: each process is a thread with an inbox.
//!
//! A run reads a [`description`], checks it into a [`plan`], starts every [`process`] and
//! [`client`], lets the [`events`] of its schedule happen, and ends as soon as the work is done
//! with a [`summary`].

mod cast;
mod client;
mod console;
pub(crate) mod description;
mod disk;
mod events;
mod inbox;
mod machine;
pub(crate) mod network;
mod operator;
pub(crate) mod plan;
mod process;
mod schedule;
mod stage;
pub(crate) mod summary;
mod tally;

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::JoinHandle,
    time::Duration,
};

use crossbeam_channel::{Receiver, unbounded};
use indicatif::{ProgressBar, ProgressStyle};
use synod_paxos::{Members, NodeId};

use crate::trace::{self, Recorder};
use cast::place;
use client::Account;
use network::Network;
use operator::Operator;
use plan::Plan;
use process::{Ended, Life, Order};
use schedule::Event;
use stage::{Notice, Stage};
use summary::Summary;

/// How often the environment looks after its processes when nobody calls.
const LOOK: Duration = Duration::from_millis(20);
/// How often it looks whether the replicas have come to the same point.
const SETTLE: Duration = Duration::from_micros(200);

/// What a run is asked for, apart from its plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// A progress bar instead of every result.
    pub(crate) quiet: bool,
    /// A space-time diagram.
    pub(crate) trace: bool,
}

/// A run, while it lasts.
struct Environment {
    stage: Arc<Stage>,
    /// The processes that are running, by place.
    lives: Vec<Option<Life>>,
    clients: Vec<JoinHandle<Account>>,
    operator: Operator,
    notices: Receiver<Notice>,
    /// Events that have not happened.
    schedule: VecDeque<Event>,
    /// When the last event happened.
    last_event: Duration,
    /// The newest configuration is in force when this many slots are decided.
    in_force: u64,
    /// The configurations so far, by epoch.
    configs: Vec<Members>,
    /// How many clients have all their responses.
    finished: u32,
    bar: ProgressBar,
    record: Record,
}

/// What a summary needs to know of the past.
#[derive(Default, Debug)]
struct Record {
    ended: Vec<(NodeId, Ended)>,
    crashes: u64,
    restarts: u64,
    refused: u64,
    /// What went wrong.
    problems: Vec<String>,
}

/// Runs an environment to its end. Returns what there is to say about it, and the page of its
/// trace.
pub(crate) fn run(plan: Plan, options: Options) -> (Summary, Option<String>) {
    let mut environment = Environment::start(plan, options);
    environment.work();
    environment.settle();
    environment.end()
}

impl Environment {
    fn start(mut plan: Plan, options: Options) -> Self {
        let schedule = std::mem::take(&mut plan.events).into();
        let places = plan.cast.names().len() + plan.clients as usize + 1;
        let recorder = options.trace.then(Recorder::default);
        let network = Arc::new(Network::new(places, plan.faults, recorder));
        let (sender, notices) = unbounded();
        let bar = if options.quiet { bar(&plan) } else { ProgressBar::hidden() };
        if !options.quiet && !plan.about.is_empty() {
            console::write(&format!("{}\n", plan.about.trim_end()));
        }
        let members = plan.members.clone();
        let (clients, all_campaign) = (plan.clients, plan.all_campaign);
        let stage = Arc::new(Stage::new(plan, network, options.quiet, sender));
        let mut environment = Self {
            lives: stage.plan.cast.names().iter().map(|_| None).collect(),
            clients: Vec::new(),
            operator: Operator::new(&stage),
            notices,
            schedule,
            last_event: Duration::ZERO,
            in_force: 0,
            configs: vec![members.clone()],
            finished: 0,
            bar,
            record: Record::default(),
            stage,
        };
        for &id in members.acceptors.iter().chain(&members.replicas) {
            environment.begin(id, false);
        }
        for (i, &id) in members.leaders.iter().enumerate() {
            // In the paper every leader starts a ballot at once. One is enough, and does not have
            // to fight the others; they are patient, and watch it.
            environment.begin(id, i == 0 || all_campaign);
        }
        environment.clients = (1..=clients).map(|n| client::spawn(&environment.stage, n)).collect();
        environment
    }

    fn begin(&mut self, id: NodeId, campaign: bool) {
        self.lives[place(id)] = Some(Life::begin(&self.stage, id, campaign));
    }

    /// Lets the clients work and the events happen, until both are through.
    fn work(&mut self) {
        let mut progress = (0, 0);
        let mut since = Duration::ZERO;
        while self.finished < self.stage.plan.clients || !self.schedule.is_empty() {
            if !self.let_events_happen() {
                return;
            }
            if let Ok(notice) = self.notices.recv_timeout(self.patience()) {
                self.note(notice);
            }
            if !self.record.problems.is_empty() {
                return;
            }
            let now = self.stage.network.now();
            let answered = self.stage.answered.load(Relaxed);
            self.bar.set_position(answered);
            if progress != (answered, self.stage.decided()) || self.event_is_timed() {
                progress = (answered, self.stage.decided());
                since = now;
            }
            if now > since + self.stage.plan.give_up {
                let time = self.stage.plan.give_up.as_secs_f64();
                self.record.problems.push(format!("no progress for {time} seconds: given up"));
                return;
            }
        }
    }

    /// Waits until the replicas that are left have performed the same slots.
    fn settle(&mut self) {
        let deadline = self.stage.network.now() + self.stage.plan.give_up;
        while self.record.problems.is_empty() && !self.settled() {
            if let Ok(notice) = self.notices.recv_timeout(SETTLE) {
                self.note(notice);
            }
            if self.stage.network.now() > deadline {
                let late = self.late();
                self.record.problems.push(format!("{late} did not catch up: given up"));
            }
        }
    }

    fn settled(&self) -> bool {
        let replicas = self.replicas();
        let slot_out = |id: &NodeId| self.stage.gauge(*id).slot_out.load(Relaxed);
        let performed = |id: &NodeId| self.stage.gauge(*id).performed.load(Relaxed);
        let commands = self.stage.plan.commands * u64::from(self.stage.plan.clients);
        let first = replicas.first().map(slot_out);
        replicas.iter().all(|id| Some(slot_out(id)) == first && performed(id) >= commands)
    }

    /// Which replicas are behind.
    fn late(&self) -> String {
        let replicas = self.replicas();
        let slot_out = |id: &NodeId| self.stage.gauge(*id).slot_out.load(Relaxed);
        let most = replicas.iter().map(slot_out).max();
        let late = replicas.iter().filter(|id| Some(slot_out(id)) != most);
        let names: Vec<String> = late
            .map(|id| format!("{} (slot {})", self.stage.plan.cast.name(*id), slot_out(id)))
            .collect();
        if names.is_empty() { "the replicas".to_owned() } else { names.join(", ") }
    }

    /// The replicas of the newest configuration that are running.
    fn replicas(&self) -> Vec<NodeId> {
        let newest = self.configs.last().map_or(&[][..], |members| &members.replicas);
        newest.iter().copied().filter(|id| self.lives[place(*id)].is_some()).collect()
    }

    fn note(&mut self, notice: Notice) {
        match notice {
            Notice::Finished => self.finished += 1,
            Notice::Slot => {}
            Notice::Retired(config) => self.retire(&config),
            Notice::Died(dead) => {
                let name = self.stage.plan.cast.names().get(dead);
                let name = name.map_or_else(|| "a client".to_owned(), ToString::to_string);
                let what = format!("{name} has stopped: its message above says why");
                self.record.problems.push(what);
            }
        }
    }

    /// Stops everybody, and sums up.
    fn end(mut self) -> (Summary, Option<String>) {
        let running = self.replicas();
        let stage = self.stage.clone();
        stage.over.store(true, Relaxed);
        (1..=stage.plan.clients).for_each(|n| stage.network.wake(stage.client(n)));
        let accounts: Vec<Account> =
            self.clients.drain(..).filter_map(|client| client.join().ok()).collect();
        self.bar.finish_and_clear();
        self.lives.iter().flatten().for_each(|life| life.order(&stage, Order::Stop));
        for place in 0..self.lives.len() {
            self.bury(place);
        }
        let tally = self.operator.tally();
        let page = stage.network.recorder.as_ref().map(|recorder| {
            let title = format!("{}, seed {}", stage.plan.title, stage.plan.seed);
            recorder.page(&title, columns(&stage.plan, !tally.by_kind().is_empty()))
        });
        let reconfigurations = self.configs.len() as u64 - 1;
        let run = summary::Run { plan: &stage.plan, running, accounts, reconfigurations, tally };
        (Summary::new(run, self.record), page)
    }

    /// Waits for the end of a life that has been told to end.
    fn bury(&mut self, place: usize) {
        let Some(life) = self.lives[place].take() else { return };
        let id = life.id();
        if let Some(ended) = life.end() {
            self.record.ended.push((id, ended));
        }
    }
}

/// The columns of the trace; the operator has one if there was something to reconfigure.
fn columns(plan: &Plan, operated: bool) -> Vec<trace::Process> {
    let process = |name: String, role| trace::Process { name, role };
    let names = plan.cast.names().iter();
    let processes = names.map(|name| process(name.to_string(), name.role.name()));
    let clients = (1..=plan.clients).map(|number| process(format!("client {number}"), "client"));
    let operator = operated.then(|| process("operator".to_owned(), "client"));
    processes.chain(clients).chain(operator).collect()
}

fn bar(plan: &Plan) -> ProgressBar {
    let bar = ProgressBar::new(plan.commands * u64::from(plan.clients));
    let style = "{bar:40} {human_pos} of {human_len} commands, {per_sec}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}
