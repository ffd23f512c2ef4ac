//! Exhaustive search: every state that a small cluster of the roles that ship can reach, in any
//! order of messages, with losses, repetitions and crashes. What is searched, and how much that
//! is, is in `docs/evidence.md`.
//!
//! A failure prints the shortest way to it.

mod bounds;
#[cfg(test)]
mod canaries;
mod disk;
mod essence;
mod history;
mod machine;
mod models;
mod process;
mod properties;
mod search;
mod table;

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use bounds::{Bounds, Input};
use models::{AGAIN, COLLECTED, COMPETITION, INSTALLED, LOST, READ, SERVED, TOOK_EFFECT};
use search::{Action, Cluster, Sight};

/// Searches everything, and says how much that was. Depth first: that takes less memory.
#[expect(clippy::print_stdout, reason = "only tests call it")]
fn search(name: &str, bounds: Bounds, sights: &[Sight]) {
    let started = Instant::now();
    let cluster = Cluster::new(bounds.clone(), sights.to_vec());
    let checker = cluster.checker().finish_when(HasDiscoveries::AnyFailures).spawn_dfs().join();
    println!(
        "{name}: {} states, {} steps, at most {} from the first; {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth() - 1,
        started.elapsed().as_secs_f64()
    );
    if checker.discovery("safe").is_some() {
        let (rule, steps) = shortest(bounds).expect("it was found before");
        panic!("{name}: {rule} does not hold after {} steps:\n{}", steps.len(), steps.join("\n"));
    }
    let unseen = checker.model().unseen();
    assert!(unseen.is_empty(), "{name}: too little happened to prove anything: {unseen:?}");
}

/// The shortest way to break a rule, and which one it is.
fn shortest(bounds: Bounds) -> Option<(&'static str, Vec<String>)> {
    let cluster = Cluster::new(bounds, Vec::new());
    let checker = cluster.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let path = checker.discovery("safe")?;
    let rule = path.last_state().broken?;
    let actions: Vec<Action> = path.into_actions();
    Some((rule, actions.iter().map(|action| checker.model().format_action(action)).collect()))
}

#[test]
fn ballots() {
    search("two ballots", models::ballots(1, &[4, 5]), &[COMPETITION, AGAIN]);
}

#[test]
fn reconfiguration() {
    search("reconfiguration, WINDOW 1", models::reconfiguration(1), &[TOOK_EFFECT]);
}

#[test]
fn reads() {
    search("reads", models::reads().with_crashes(1, &[3]), &[READ, LOST]);
}

#[test]
fn catching_up() {
    search("catching up", models::catching_up(), &[COLLECTED, INSTALLED]);
}

#[test]
#[ignore = "takes minutes without optimisation; `cargo xtask ci --slow` runs it"]
fn wide_ballots() {
    let seen = [COMPETITION, AGAIN];
    let lossy = [COMPETITION, AGAIN, LOST];
    search("three ballots", models::ballots(1, &[4, 5, 4]), &seen);
    let acceptor = models::ballots(1, &[4, 5]).with_crashes(1, &[1]);
    search("two ballots, an acceptor crashes", acceptor, &lossy);
    let leader = models::ballots(1, &[4, 4]).with_crashes(1, &[4]);
    search("two ballots of a leader that crashes", leader, &lossy);
    let two = models::ballots(2, &[4, 5]).without(models::is_vote);
    search("two slots", two.clone(), &seen);
    search("two slots, an acceptor crashes", two.with_crashes(1, &[1]), &lossy);
}

#[test]
#[ignore = "takes minutes without optimisation; `cargo xtask ci --slow` runs it"]
fn wide_reconfiguration() {
    let contested = |window| models::reconfiguration(window).with(1, Input::Campaign, &[3]);
    let crashes = |window| contested(window).with_crashes(1, &[1, 2, 3]);
    search("reconfiguration, WINDOW 2, 3 leaders", contested(2), &[TOOK_EFFECT, COMPETITION]);
    search("the same, WINDOW 1, a crash", crashes(1), &[TOOK_EFFECT, COMPETITION, LOST]);
    let two = models::reconfiguration(2).with_crashes(1, &[1, 2, 3]);
    search("reconfiguration, WINDOW 2, a crash", two, &[TOOK_EFFECT, LOST]);
}

#[test]
#[ignore = "takes minutes without optimisation; `cargo xtask ci --slow` runs it"]
fn wide_reads() {
    search("reads, a crash", models::reads().with_crashes(1, &[1, 2, 3]), &[READ, LOST]);
    let two = models::reads().with(1, Input::Campaign, &[2]);
    search("reads, two ballots", two.clone(), &[READ, COMPETITION]);
    search("reads, two ballots, a crash", two.with_crashes(1, &[2]), &[READ, COMPETITION, LOST]);
}

#[test]
#[ignore = "takes minutes without optimisation; `cargo xtask ci --slow` runs it"]
fn wide_leases() {
    let crash = models::leases(1, 2, &[2]).with_crashes(1, &[3]);
    search("a lease of 1, an acceptor crashes", crash, &[SERVED, LOST]);
    let seen = [READ, COMPETITION];
    search("a lease of 1", models::leases(1, 2, &[1, 2]), &seen);
    search("a lease of 2", models::leases(2, 3, &[1, 2]), &seen);
}

#[test]
#[ignore = "takes minutes without optimisation; `cargo xtask ci --slow` runs it"]
fn wide_collection() {
    search("collection", models::collection(), &[COLLECTED, COMPETITION]);
}
