//! How a search goes, on a terminal; elsewhere nothing is drawn.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use synod_sim::{Plan, Summary};

use super::table::{count, rate};

pub(super) struct Progress {
    bar: ProgressBar,
    /// The bar shows the time, not the seeds.
    timed: bool,
}

/// As long as a bar without a known end.
const SPINNER: &str = "{spinner} {msg}";
const BAR: &str = "{bar:40} {percent:>3} % {msg}";

impl Progress {
    /// Of a search that ends after some seeds, or after some time; the bar shows the time if there
    /// is no number of seeds.
    pub(super) fn of_seeds(seeds: Option<u64>, minutes: Option<Duration>) -> Self {
        let length = seeds.unwrap_or_else(|| milliseconds(minutes.unwrap_or_default()));
        Self { bar: bar(BAR, length), timed: seeds.is_none() }
    }

    pub(super) fn of_shrinking() -> Self {
        Self { bar: bar(SPINNER, 0), timed: false }
    }

    /// So far so good.
    pub(super) fn seeds(&self, so_far: &Summary, now: Duration) {
        self.bar.set_position(if self.timed { milliseconds(now) } else { so_far.seeds });
        let (seeds, rate) = (count(so_far.seeds), count(rate(so_far)));
        let failed = match so_far.failed.len() {
            0 => String::new(),
            failed => format!(", {failed} failed"),
        };
        self.bar.set_message(format!("{seeds} seeds, {rate} events/s{failed}"));
    }

    /// The smallest plan after so many runs.
    pub(super) fn shrinking(&self, runs: u64, plan: &Plan) {
        let (faults, requests) = (plan.faults.len(), plan.workload.requests);
        let clients = plan.workload.clients;
        self.bar.tick();
        self.bar.set_message(format!(
            "run {runs}: {faults} faults, {clients} clients with {requests} requests each"
        ));
    }

    /// Leaves no trace on the screen.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn bar(template: &str, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("the template is right");
    ProgressBar::new(length).with_style(style)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
