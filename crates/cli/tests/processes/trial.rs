//! A scenario from its beginning to its verdict: nodes, clients, trouble, healing, checks.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::history::{Action, Clock, History, Operation};
use crate::load::{self, Habit, Load, Plan};
use crate::store::{Operator, Outcome, Status, Store};
use crate::{exactly_once, linearizable, plug};

/// Within this time the system has to do what it should, once it can. That usually takes less than
/// a second, and the test goes on at once; but a busy machine may leave a node without time.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// A running scenario.
pub(crate) struct Trial {
    pub(crate) cluster: Cluster,
    pub(crate) load: Load,
    plan: Plan,
}

impl Trial {
    /// Starts the nodes of a new cluster, and clients, and waits until these are served.
    pub(crate) fn begin(name: &str, nodes: u64, plan: Plan) -> Self {
        let mut cluster = Cluster::new(name, nodes, plug::program);
        cluster.start_all();
        Self::with(cluster, plan)
    }

    /// Starts clients of nodes that run already.
    pub(crate) fn with(cluster: Cluster, plan: Plan) -> Self {
        let addresses = cluster.addresses();
        // The others stay with one node each, and read what it tells: if everybody left a node
        // as soon as it does not serve them, nobody would notice that its answers are old.
        let load = Load::start(plan, |number| {
            let node = std::slice::from_ref(&addresses[number / 2 % addresses.len()]);
            match number % 2 {
                0 => (plug::session(&addresses), Habit::ReadsAndWrites),
                _ => (plug::session(node), Habit::Reads),
            }
        });
        let mut trial = Self { cluster, load, plan };
        trial.must_progress("at the start");
        trial.cluster.must_be_well();
        trial
    }

    /// Waits until writes succeed, and fails if they do not.
    pub(crate) fn must_progress(&self, when: &str) {
        if let Err(why) = self.load.progress(BOUND) {
            let running = self.cluster.running();
            let statuses: Vec<_> = running.iter().map(|id| (id, self.status(*id))).collect();
            panic!("{when}: {why}\nthe nodes that run: {statuses:#?}");
        }
    }

    /// How a node is, as it says itself, past all links.
    pub(crate) fn status(&self, id: u64) -> Option<Status> {
        plug::operator().status(self.cluster.listen(id))
    }

    /// The node that leads, as most of `among` say.
    pub(crate) fn leader(&self, among: &[u64]) -> u64 {
        let deadline = Instant::now() + BOUND;
        loop {
            let mut votes: BTreeMap<u64, usize> = BTreeMap::new();
            for leader in among.iter().filter_map(|id| self.status(*id)?.leader) {
                *votes.entry(leader).or_default() += 1;
            }
            if let Some((leader, _)) = votes.iter().find(|(_, votes)| **votes > among.len() / 2) {
                return *leader;
            }
            assert!(Instant::now() < deadline, "no leader among {among:?} within {BOUND:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops the clients and gives the verdict. All of `members` run by now and can reach each
    /// other.
    pub(crate) fn finish(mut self, members: &[u64]) {
        self.must_progress("when all is well again");
        let clock = self.load.clock();
        let mut history = self.load.finish();
        let nodes = members.iter().map(|id| (*id, self.cluster.listen(*id)));
        let nodes: Vec<_> = nodes.collect();
        converge(members, BOUND, |id| plug::operator().status(self.cluster.listen(id)));
        let mut lists = BTreeMap::new();
        for (id, address) in nodes {
            let client = 100 + usize::try_from(id).expect("few nodes");
            let mut session = plug::session(&[address]);
            let end = read_all(session.as_mut(), self.plan, clock, client);
            lists = lists_of(&end);
            history.extend(end);
        }
        self.cluster.must_not_have_panicked();
        verdict(&history, &lists).unwrap_or_else(|why| panic!("{why}"));
        for id in members {
            assert_eq!(self.cluster.ended(*id), None, "node {id} has ended by itself");
        }
    }
}

/// Checks all that clients can see.
///
/// # Errors
/// What is wrong. What is lost or doubled is said plainly first.
fn verdict(history: &History, lists: &BTreeMap<String, Vec<u64>>) -> Result<(), String> {
    exactly_once::check(history, lists).map_err(|why| format!("not exactly once\n{why}"))?;
    linearizable::check(history)
}

/// Waits until all nodes have performed the same slots and have the same state.
fn converge(nodes: &[u64], within: Duration, status: impl Fn(u64) -> Option<Status>) -> Status {
    let deadline = Instant::now() + within;
    loop {
        let all: Vec<Option<Status>> = nodes.iter().map(|id| status(*id)).collect();
        let mut known = all.iter().flatten();
        let first = known.next();
        let same = |other: &Status| {
            first.is_some_and(|first| (first.slot, first.hash) == (other.slot, other.hash))
        };
        if let Some(first) = first
            && all.iter().all(Option::is_some)
            && known.clone().all(same)
        {
            return first.clone();
        }
        for other in known {
            let alike =
                first.is_none_or(|first| first.slot != other.slot || first.hash == other.hash);
            assert!(alike, "at one slot the states differ: {nodes:?} {all:#?}");
        }
        assert!(Instant::now() < deadline, "not the same within {within:?}: {nodes:?} {all:#?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Reads every key, until there is an answer.
fn read_all(store: &mut dyn Store, plan: Plan, clock: Clock, client: usize) -> History {
    let mut history = History::default();
    let mut read = |key: String, read: &mut dyn FnMut(&str) -> Outcome<Action>| {
        let deadline = Instant::now() + BOUND;
        loop {
            let called = clock.now();
            if let Outcome::Done(action) = read(&key) {
                let returned = Some(clock.now());
                history.operations.push(Operation { client, key, action, called, returned });
                return;
            }
            assert!(Instant::now() < deadline, "{key} cannot be read, when all is well again");
        }
    };
    for key in plan.register_keys() {
        read(key, &mut |key| load::register(store, key).map(Action::Read));
    }
    for key in plan.list_keys() {
        read(key, &mut |key| load::list(store, key).map(Action::List));
    }
    history
}

/// What the lists held, as a history of single reads says.
fn lists_of(history: &History) -> BTreeMap<String, Vec<u64>> {
    let list = |operation: &Operation| match &operation.action {
        Action::List(items) => Some((operation.key.clone(), items.clone())),
        Action::Read(_) | Action::Write(_) | Action::Append(_) | Action::Swap { .. } => None,
    };
    history.operations.iter().filter_map(list).collect()
}

#[cfg(test)]
mod tests;
