//! How a run goes, on a terminal; elsewhere nothing is drawn.

use std::{cell::Cell, ops::Range, time::Duration};

#[cfg(test)]
use indicatif::ProgressDrawTarget;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};

pub(super) struct Progress {
    bar: ProgressBar,
    /// When the rate was last told, and how many commands were done then.
    last: Cell<(Duration, u64)>,
}

/// How often the rate is told anew.
const EVERY: Duration = Duration::from_millis(500);

impl Progress {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("{prefix:12} {bar:40} {msg}");
        bar.set_style(style.expect("the template is right"));
        Self { bar, last: Cell::default() }
    }

    #[cfg(test)]
    pub(super) fn hidden() -> Self {
        let progress = Self::new();
        progress.bar.set_draw_target(ProgressDrawTarget::hidden());
        progress
    }

    /// Something that is over soon.
    pub(super) fn stage(&self, name: &'static str) {
        self.bar.set_prefix(name);
        self.bar.set_message("");
        self.bar.tick();
    }

    /// So many of the keys have been written.
    pub(super) fn filling(&self, done: u64, keys: u64) {
        self.bar.set_prefix("filling");
        self.bar.set_length(keys);
        self.bar.set_position(done);
    }

    /// The load has been running for this time.
    pub(super) fn running(&self, now: Duration, window: &Range<Duration>, done: u64) {
        let stage = if now < window.start {
            "warming up"
        } else if now < window.end {
            "measuring"
        } else {
            "finishing"
        };
        self.bar.set_prefix(stage);
        self.bar.set_length(milliseconds(window.end));
        self.bar.set_position(milliseconds(now.min(window.end)));
        let (then, before) = self.last.get();
        let since = now.saturating_sub(then);
        if since >= EVERY || done < before {
            let rate = u128::from(done.saturating_sub(before)) * 1_000 / since.as_millis().max(1);
            let rate = HumanCount(u64::try_from(rate).unwrap_or(u64::MAX));
            self.bar.set_message(format!("{rate} commands/s"));
            self.last.set((now, done));
        }
    }

    /// Leaves no trace on the screen.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
