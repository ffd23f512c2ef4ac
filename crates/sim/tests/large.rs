//! Commands as large as they may be: whatever is said about many of them fits into a frame (R2).

use serde::{Deserialize, Serialize};
use synod::{StateMachine, protocol::COMMAND_MAX};
use synod_sim::{
    Plan, Workload,
    plan::{Fault, Left, Planned},
    run_with,
};

const MS: u64 = 1000;
/// What stands around the bytes of a command.
const AROUND: usize = 64;

/// Counts bytes.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Scale(u64);

impl StateMachine for Scale {
    type Command = serde_bytes::ByteBuf;
    type Reply = u64;
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, bytes: serde_bytes::ByteBuf) -> u64 {
        self.0 += bytes.len() as u64;
        self.0
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }
}

/// Commands of this length.
struct Weights(usize);

impl Workload<Scale> for Weights {
    fn machine(&self) -> Scale {
        Scale::default()
    }

    fn command(&self, _: &mut fastrand::Rng) -> serde_bytes::ByteBuf {
        serde_bytes::ByteBuf::from(vec![1; self.0])
    }

    fn query(&self, _: &mut fastrand::Rng) {}
}

/// Leaders change, and a node falls behind, while there is much on the way.
fn plan() -> Plan {
    let mut plan = Plan::of_seed(0);
    plan.chaos = 1500 * MS;
    let cluster = &mut plan.cluster;
    (cluster.full, cluster.witnesses, cluster.read_copies, cluster.phase2) = (3, 0, 0, 0);
    (cluster.window, cluster.sessions, cluster.lease, cluster.wire) = (16, 1000, 0, true);
    (cluster.segment_bytes, cluster.snapshot_every) = (1 << 20, 1 << 30);
    let network = &mut plan.network;
    (network.latency, network.late, network.lost, network.doubled) = ((100, 900), 0, 0, 0);
    let load = &mut plan.workload;
    (load.clients, load.requests, load.in_flight, load.think) = (4, 3, 3, 10 * MS);
    (load.reads, load.local, load.retried, load.restarts) = (0, 0, 0, 0);
    load.patience = 500 * MS;
    let faults = [
        (50, Fault::Lose { kind: "p2b".into(), rate: 1000, lasts: 600 * MS }),
        (100, Fault::Crash { node: 3, left: Left::All, down: 500 * MS }),
        (300, Fault::Isolate { lasts: 400 * MS }),
        (900, Fault::HandOver { to: None }),
    ];
    plan.faults = faults.map(|(at, fault)| Planned { at: at * MS, fault }).into();
    plan
}

#[test]
fn whatever_is_said_about_large_commands_fits_into_a_frame() {
    for len in [COMMAND_MAX - AROUND, COMMAND_MAX / 4, 1 << 16] {
        let report = run_with(&plan(), &Weights(len), 20);
        if let Err(violation) = &report.outcome {
            panic!("commands of {len} bytes: {violation}\n{}", report.transcript.join("\n"));
        }
    }
}
