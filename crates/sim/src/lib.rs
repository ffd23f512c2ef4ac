//! Runs the code that ships on a simulated cluster: one thread, virtual time, and one seed that
//! draws everything. Networks, disks, clocks, processes, clients and operators fail as a [`Plan`]
//! says, and [`PROPERTIES`] are checked on every event, but for D1 and V4, which compare runs.
//!
//! What runs inside is [`synod::engine::Engine`], with the protocol, the log and the snapshots of a
//! node, on a disk in memory; only sockets, threads and the clock are made up.
//!
//! ```
//! let plan = synod_sim::Plan::of_seed(7);
//! let report = synod_sim::run(&plan);
//! assert_eq!(report.outcome, Ok(()));
//! ```

mod check;
mod event;
mod explore;
mod ghost;
mod history;
pub mod linearizability;
mod marks;
pub mod plan;
mod properties;
mod queue;
pub mod recorder;
mod report;
mod shrink;
mod streams;
mod trace;
mod upgrade;
mod validity;
mod workload;
mod world;

pub use crate::{
    check::{Failed, check},
    event::Violation,
    explore::{Summary, explore, explore_with},
    marks::{MARKS, Marks},
    plan::Plan,
    properties::PROPERTIES,
    recorder::Recorder,
    report::{Report, record, replay, run, run_with},
    shrink::{OTHER_SEEDS, Shrunk, Size, shrink},
    upgrade::check_upgrade,
    workload::{Tallies, Tally, Workload},
};
