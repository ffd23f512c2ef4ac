//! A cluster of which hardly anything is asked: what adds up with every heartbeat shows nowhere
//! else. Some minutes of the hour that `hour-at-rest.toml` is; `.ci/run` takes all of it.

use std::time::Duration;

use synod_paxos::Timing;
use synod_sim::{Plan, replay, run};

const MINUTES: u64 = 4;

fn hour() -> Plan {
    Plan::from_text(include_str!("hour-at-rest.toml")).expect("it is a plan")
}

#[test]
fn the_hour_is_set_as_in_production() {
    let cluster = hour().cluster;
    let micros = |time: Duration| u64::try_from(time.as_micros()).expect("it is short");
    let timing = Timing::default();
    assert_eq!(cluster.heartbeat, micros(timing.heartbeat));
    assert_eq!(cluster.resend, micros(timing.resend));
    assert_eq!(cluster.patience, (micros(timing.patience_min), micros(timing.patience_max)));
}

/// All properties hold, everything is answered, and no heartbeat is ever so late that another node
/// would want to lead.
#[test]
fn minutes_at_rest() {
    let mut plan = hour();
    plan.chaos = MINUTES * 60_000_000;
    plan.workload.requests = u32::try_from(plan.chaos / plan.workload.think).expect("they are few");
    let report = run(&plan);
    if let Err(violation) = &report.outcome {
        panic!("{violation}\n{plan}\n{}", replay(&plan, 60));
    }
    let asked = u64::from(plan.workload.clients * plan.workload.requests);
    assert!(report.answered > asked / 2, "{} of {asked} answers", report.answered);
    assert_eq!(report.marks.get("elected"), 1, "whoever leads at first leads to the end");
}
