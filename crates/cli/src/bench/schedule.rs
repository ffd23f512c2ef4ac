//! When commands are due in an open loop: command k of all is due k/rate seconds after the start,
//! whatever has become of those before it.

use std::time::Duration;

/// The highest rate: one command each nanosecond.
pub(super) const FASTEST: u64 = 1_000_000_000;

/// The part of the schedule that one thread of many has: every `threads`-th command.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Commands per second of all threads, at most `FASTEST`.
    rate: u64,
    next: u64,
    threads: u64,
    end: Duration,
}

impl Schedule {
    /// The part of `thread`, which is less than `threads`. Nothing is due at `end` or later.
    pub(super) fn new(rate: u64, thread: u64, threads: u64, end: Duration) -> Self {
        Self { rate, next: thread, threads, end }
    }

    /// When the next command is due, if one is.
    pub(super) fn due(&self) -> Option<Duration> {
        Some(due(self.next, self.rate)).filter(|due| *due < self.end)
    }

    /// The next command has been sent.
    pub(super) fn advance(&mut self) {
        self.next += self.threads;
    }

    /// How many are due from `from` on, and have not been sent.
    pub(super) fn remaining(&self, from: Duration) -> u64 {
        let start = first(from, self.rate).max(self.next);
        let end = first(self.end, self.rate);
        // Of `next`, `next + threads`, ... those in `start..end`.
        let before = |k: u64| k.saturating_sub(self.next).div_ceil(self.threads);
        before(end).saturating_sub(before(start))
    }
}

/// Rounded down to a nanosecond, each time anew, so errors do not add up.
fn due(k: u64, rate: u64) -> Duration {
    Duration::from_secs(k / rate) + Duration::from_nanos(k % rate * FASTEST / rate)
}

/// The first command that is due at `time` or later.
fn first(time: Duration, rate: u64) -> u64 {
    let k = (time.as_nanos() * u128::from(rate)).div_ceil(u128::from(FASTEST));
    u64::try_from(k).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_due_at_even_distances_without_drift() {
        assert_eq!(due(0, 7), Duration::ZERO);
        assert_eq!(due(1, 3), Duration::from_nanos(333_333_333));
        assert_eq!(due(2, 3), Duration::from_nanos(666_666_666));
        assert_eq!(due(3, 3), Duration::from_secs(1));
        assert_eq!(due(3_000_000_001, 3_000), due(1, 3_000) + Duration::from_secs(1_000_000));
        assert_eq!(due(FASTEST * 100_000 + 1, FASTEST), Duration::new(100_000, 1));
    }

    #[test]
    fn the_parts_of_all_threads_are_the_whole() {
        let end = Duration::from_secs(2);
        let mut all = Vec::new();
        for thread in 0..3 {
            let mut schedule = Schedule::new(1000, thread, 3, end);
            while let Some(due) = schedule.due() {
                all.push(due);
                schedule.advance();
            }
        }
        all.sort_unstable();
        let expected: Vec<Duration> = (0..2000).map(Duration::from_millis).collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn what_has_not_been_sent_is_counted_as_if_one_by_one() {
        for rate in [7, 100, 333] {
            let mut schedule = Schedule::new(rate, 1, 3, Duration::from_secs(2));
            schedule.advance();
            for from in [0, 20, 999, 1000, 1999, 2000] {
                let from = Duration::from_millis(from);
                let mut one_by_one = 0;
                let mut copy = Schedule { ..schedule };
                while let Some(due) = copy.due() {
                    one_by_one += u64::from(due >= from);
                    copy.advance();
                }
                assert_eq!(schedule.remaining(from), one_by_one, "{rate}, {from:?}");
            }
        }
    }
}
