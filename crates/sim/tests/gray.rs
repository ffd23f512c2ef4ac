//! Gray failure (V4): a node, a disk or a link is slow and not dead. Each plan is run once healthy
//! and once with the fault, and as much has to be done in the same virtual time, or nearly.

use std::sync::LazyLock;

use synod_sim::{
    Plan,
    plan::{Fault, Planned},
    replay, run,
};

const MS: u64 = 1000;
/// By then there is a leader, and a fault begins.
const BEGINS: u64 = 500 * MS;
/// How long it lasts.
const LASTS: u64 = 1000 * MS;
/// Plans, each with other latencies.
const SEEDS: u64 = 3;

/// Five nodes, and clients that always have something to ask.
fn healthy(seed: u64) -> Plan {
    let mut plan = Plan::of_seed(seed);
    plan.faults.clear();
    plan.chaos = BEGINS + LASTS;
    let cluster = &mut plan.cluster;
    (cluster.full, cluster.witnesses, cluster.read_copies, cluster.phase2) = (5, 0, 0, 0);
    (cluster.window, cluster.sessions, cluster.lease) = (16, 1000, 0);
    (cluster.heartbeat, cluster.resend) = (20 * MS, 40 * MS);
    cluster.patience = (150 * MS, 800 * MS);
    (cluster.true_drift_ppm, cluster.turn, cluster.sync) = (0, 0, (200, 400));
    (cluster.segment_bytes, cluster.snapshot_every) = (64 << 10, 64 << 10);
    let network = &mut plan.network;
    (network.latency, network.late, network.lost, network.doubled) = ((100, 200), 0, 0, 0);
    let load = &mut plan.workload;
    (load.clients, load.requests, load.in_flight, load.think) = (6, 1200, 1, 0);
    (load.reads, load.leased, load.local, load.retried, load.restarts) = (300, 0, 0, 0, 0);
    load.patience = 200 * MS;
    plan
}

fn answered(plan: &Plan) -> u64 {
    let report = run(plan);
    if let Err(violation) = report.outcome {
        panic!("{violation}\n{plan}\n{}", replay(plan, 40));
    }
    report.answered
}

/// What is done without a fault over all plans, before it would begin and in all.
static WITHOUT: LazyLock<(u64, u64)> = LazyLock::new(|| {
    let plans = || (0..SEEDS).map(healthy);
    let before = plans().map(|plan| answered(&Plan { chaos: BEGINS, ..plan })).sum();
    (before, plans().map(|plan| answered(&plan)).sum())
});

/// What is done with a fault, in hundredths of what is done without, over all plans.
fn share(fault: &Fault) -> u64 {
    let with = |mut plan: Plan| {
        plan.faults.push(Planned { at: BEGINS, fault: fault.clone() });
        answered(&plan)
    };
    let with: u64 = (0..SEEDS).map(healthy).map(with).sum();
    let (before, without) = *WITHOUT;
    assert!(without - before > 500 * SEEDS, "{without} answers prove nothing");
    (with - before) * 100 / (without - before)
}

#[test]
fn a_slow_disk_slows_nobody_else_down() {
    let share = share(&Fault::SlowDisk { node: 2, by: 50 * MS, lasts: LASTS });
    assert!(share >= 90, "V4: {share} %");
}

#[test]
fn a_slow_node_slows_down_its_own_clients() {
    // A fifth of the nodes, so about as many of the clients; more, where it leads.
    let share = share(&Fault::Sluggish { node: 2, turn: 20 * MS, lasts: LASTS });
    assert!(share >= 65, "V4: {share} %");
}

#[test]
fn a_slow_link_slows_nobody_else_down() {
    let share = share(&Fault::Slow { from: 2, to: 3, by: 50 * MS, lasts: LASTS });
    assert!(share >= 90, "V4: {share} %");
}

#[test]
fn a_disk_that_hangs_costs_a_change_of_leaders_at_most() {
    let share = share(&Fault::HungDisk { node: 0, lasts: LASTS });
    assert!(share >= 90, "V4: {share} %");
}

/// The measure is one: what the cluster cannot do without does slow it down.
#[test]
fn a_slow_network_is_noticed() {
    let share = share(&Fault::Lose { kind: "p2b".into(), rate: 1000, lasts: LASTS });
    assert!(share < 65, "{share} %");
}
