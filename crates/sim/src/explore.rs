//! Many seeds, on several threads.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use synod::Machine;

use crate::{
    event::Violation,
    marks::Marks,
    plan::Plan,
    report::{Report, run, run_with},
    workload::Workload,
};

/// What many runs came to.
#[derive(Clone, Default, Debug)]
pub struct Summary {
    /// How many seeds were run.
    pub seeds: u64,
    /// How many things happened in them.
    pub events: u64,
    /// How long that took.
    pub took: Duration,
    /// Rare events.
    pub marks: Marks,
    /// How often each fault came about.
    pub faults: BTreeMap<&'static str, u64>,
    /// The seeds that failed, and why.
    pub failed: BTreeMap<u64, Violation>,
    /// All runs as one number: another one if any of them went otherwise.
    pub trace: u64,
}

impl Summary {
    fn add(&mut self, seed: u64, report: Report) {
        self.seeds += 1;
        self.events += report.events;
        self.marks += &report.marks;
        for (name, count) in report.faults {
            *self.faults.entry(name).or_default() += count;
        }
        self.trace ^= report.trace.rotate_left((seed % 64) as u32).wrapping_add(seed);
        if let Err(violation) = report.outcome {
            self.failed.insert(seed, violation);
        }
    }

    /// Events per second, of all threads together.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.events as f64 / self.took.as_secs_f64().max(1e-9)
    }
}

/// Runs the seeds from `first` on, on `jobs` threads. `progress` is called after each, and ends the
/// exploration by returning false.
pub fn explore(
    first: u64,
    count: u64,
    jobs: usize,
    progress: impl Fn(&Summary) -> bool + Sync,
) -> Summary {
    explore_runs(first, count, jobs, progress, |seed| run(&Plan::of_seed(seed)))
}

/// As [`explore`], with another state machine.
pub fn explore_with<M: Machine>(
    workload: &(dyn Workload<M> + Sync),
    first: u64,
    count: u64,
    jobs: usize,
    progress: impl Fn(&Summary) -> bool + Sync,
) -> Summary {
    let run = |seed| run_with(&Plan::of_seed(seed), workload, 0);
    explore_runs(first, count, jobs, progress, run)
}

pub(crate) fn explore_runs(
    first: u64,
    count: u64,
    jobs: usize,
    progress: impl Fn(&Summary) -> bool + Sync,
    run: impl Fn(u64) -> Report + Sync,
) -> Summary {
    let (began, next) = (Instant::now(), AtomicU64::new(first));
    let (end, summary) = (first.saturating_add(count), Mutex::new(Summary::default()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            let report = run(seed);
            let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
            summary.add(seed, report);
            summary.took = began.elapsed();
            if !progress(&summary) {
                next.store(end, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(work);
        }
    });
    summary.into_inner().unwrap_or_else(PoisonError::into_inner)
}
