//! Members are replaced while clients are served.

use std::time::Instant;

use super::for_a_while;
use crate::load::Plan;
use crate::plug;
use crate::store::Operator;
use crate::trial::{BOUND, Trial};

/// Asks until the system agrees; a leader may be lost while it is asked.
fn ensure(trial: &Trial, members: &[u64]) {
    let running = trial.cluster.running();
    let through: Vec<_> = running.iter().map(|id| trial.cluster.address(*id)).collect();
    let members: Vec<_> = members.iter().map(|id| (*id, trial.cluster.address(*id))).collect();
    let deadline = Instant::now() + BOUND;
    while let Err(why) = plug::operator().ensure_members(&through, &members) {
        assert!(Instant::now() < deadline, "not reconfigured within {BOUND:?}: {why}");
    }
}

#[test]
fn a_lost_node_is_replaced_by_a_new_one() {
    let mut trial = Trial::begin("replaced", 3, Plan { seed: 41, ..Plan::default() });
    trial.cluster.kill(3);
    trial.cluster.wipe(3);
    trial.must_progress("while node 3 is lost");
    trial.cluster.add(4);
    trial.cluster.start(4);
    ensure(&trial, &[1, 2, 4]);
    trial.must_progress("with node 4");
    // Now it is needed.
    trial.cluster.kill(1);
    trial.must_progress("with nodes 2 and 4");
    trial.cluster.start(1);
    trial.cluster.must_use_links();
    trial.cluster.must_be_well();
    trial.finish(&[1, 2, 4]);
}

#[test]
fn every_node_is_replaced_one_after_the_other() {
    let mut trial = Trial::begin("rolling", 3, Plan { seed: 42, ..Plan::default() });
    for (old, new) in [(1, 4), (2, 5), (3, 6)] {
        trial.cluster.add(new);
        trial.cluster.start(new);
        let members: Vec<u64> = (old + 1..=new).collect();
        ensure(&trial, &members);
        trial.must_progress(&format!("with {members:?}"));
        // Whoever was replaced is needed no longer.
        trial.cluster.kill(old);
        trial.must_progress(&format!("without node {old}"));
    }
    for_a_while();
    trial.cluster.must_use_links();
    trial.finish(&[4, 5, 6]);
}
