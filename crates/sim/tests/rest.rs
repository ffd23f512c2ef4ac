//! A cluster of which hardly anything is asked, for hours of virtual time: what adds up with every
//! heartbeat shows nowhere else. All is set as in production.

use std::{env, time::Duration};

use synod_paxos::Timing;
use synod_sim::{Plan, replay, run};

const SECOND: u64 = 1_000_000;
const HOUR: u64 = 3600 * SECOND;

/// Three nodes and a read copy; each of two clients asks something every few minutes. All three
/// have to accept: then none can be spared, and none is left dead at the end.
fn at_rest(lasts: u64) -> Plan {
    let micros = |time: Duration| u64::try_from(time.as_micros()).expect("it is short");
    let (think, timing) = (120 * SECOND, Timing::default());
    let mut plan = Plan::of_seed(0);
    plan.faults.clear();
    plan.chaos = lasts;
    let cluster = &mut plan.cluster;
    (cluster.full, cluster.witnesses, cluster.read_copies, cluster.phase2) = (3, 0, 1, 3);
    (cluster.window, cluster.sessions, cluster.lease) = (16, 1000, 0);
    (cluster.drift_ppm, cluster.true_drift_ppm) = (500, 100);
    (cluster.heartbeat, cluster.resend) = (micros(timing.heartbeat), micros(timing.resend));
    cluster.patience = (micros(timing.patience_min), micros(timing.patience_max));
    (cluster.batch, cluster.frame, cluster.backlog) = (0, 0, 0);
    (cluster.turn, cluster.sync, cluster.in_phase) = (0, (200, 0), false);
    let network = &mut plan.network;
    (network.latency, network.in_order) = ((100, 0), true);
    (network.late, network.lost, network.doubled) = (0, 0, 0);
    let load = &mut plan.workload;
    (load.clients, load.in_flight, load.think) = (2, 1, think);
    load.requests = u32::try_from(lasts / think).expect("they are few");
    (load.reads, load.leased, load.local, load.retried, load.restarts) = (300, 0, 0, 0, 0);
    load.patience = SECOND / 2;
    plan
}

/// All properties hold, everything is answered, and no heartbeat is ever so late that another node
/// would want to lead.
fn rests(lasts: u64) {
    let plan = at_rest(lasts);
    let report = run(&plan);
    if let Err(violation) = &report.outcome {
        panic!("{violation}\n{plan}\n{}", replay(&plan, 60));
    }
    let asked = u64::from(plan.workload.clients * plan.workload.requests);
    assert!(report.answered > asked / 2, "{} of {asked} answers", report.answered);
    assert_eq!(report.marks.get("elected"), 1, "whoever leads at first leads to the end");
}

#[test]
fn minutes_at_rest() {
    rests(4 * 60 * SECOND);
}

/// `SYNOD_HOURS` says how many, 1 if it is not there; each takes seven seconds with
/// `--profile ci`, ten times as long where nothing is optimised.
#[test]
#[ignore = "takes a minute"]
fn hours_at_rest() {
    let hours = env::var("SYNOD_HOURS").map_or(Ok(1), |text| text.parse());
    rests(hours.expect("SYNOD_HOURS is a number") * HOUR);
}
