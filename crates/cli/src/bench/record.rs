//! What was measured: latencies, throughput over time, and how commands ended.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use hdrhistogram::Histogram;

use super::{
    driver::{Command, Kind},
    outage::Outages,
    target::Outcome,
};

/// The grain of throughput over time.
pub(super) const INTERVAL: Duration = Duration::from_millis(100);
/// As many different reasons are kept.
const REASONS: usize = 16;

/// Nothing measured so far, in nanoseconds: up to ten minutes, with three digits.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(600_000_000_000, 3).expect("three digits are few enough")
}

/// What is longer than a histogram reaches is counted at its end.
pub(super) fn note(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
}

/// What one thread has seen, or all of them.
#[derive(Debug)]
pub(super) struct Record {
    /// The time that is measured: after the warm-up.
    window: Range<Duration>,
    pub(super) writes: Series,
    pub(super) reads: Series,
    pub(super) endings: Endings,
    /// Time from when commands were due until they were sent.
    pub(super) sending: Histogram<u64>,
    pub(super) outages: Outages,
}

/// Commands of one kind that were done.
#[derive(Debug)]
pub(super) struct Series {
    /// Of those that were due in the window.
    pub(super) latency: Histogram<u64>,
    /// How many ended in each interval of the window.
    pub(super) timeline: Vec<u64>,
}

/// How the commands that were due in the window ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Endings {
    pub(super) done: u64,
    pub(super) busy: u64,
    pub(super) unknown: u64,
    pub(super) failed: u64,
    /// Neither answered nor given up when the run ended, or not even sent.
    pub(super) unanswered: u64,
    /// Why they failed or are unknown.
    pub(super) reasons: BTreeMap<String, u64>,
}

impl Record {
    pub(super) fn new(window: Range<Duration>) -> Self {
        let intervals = (window.end - window.start).as_nanos().div_ceil(INTERVAL.as_nanos());
        let intervals = usize::try_from(intervals).expect("a day has fewer");
        let series = || Series { latency: histogram(), timeline: vec![0; intervals] };
        let (writes, reads) = (series(), series());
        let outages = Outages::new(window.start);
        Self { window, writes, reads, endings: Endings::default(), sending: histogram(), outages }
    }

    /// A command has ended.
    pub(super) fn ended(&mut self, command: Command, outcome: Outcome, now: Duration) {
        let Command { kind, due, sent, .. } = command;
        let measured = self.window.contains(&due);
        let series = match kind {
            Kind::Write => &mut self.writes,
            Kind::Read => &mut self.reads,
        };
        if outcome == Outcome::Done {
            if self.window.contains(&now) {
                let interval = (now - self.window.start).as_nanos() / INTERVAL.as_nanos();
                let interval = usize::try_from(interval).expect("within the window");
                series.timeline[interval] += 1;
            }
            if kind == Kind::Write {
                self.outages.written(sent, now);
            }
        }
        if !measured {
            return;
        }
        note(&mut self.sending, sent - due);
        match outcome {
            Outcome::Done => {
                note(&mut series.latency, now - due);
                self.endings.done += 1;
            }
            Outcome::Busy => self.endings.busy += 1,
            Outcome::Unknown(reason) => {
                self.endings.unknown += 1;
                self.endings.reason(&reason, 1);
            }
            Outcome::Failed(reason) => {
                self.endings.failed += 1;
                self.endings.reason(&reason, 1);
            }
        }
    }

    /// Adds what another thread has seen in the same window.
    pub(super) fn merge(&mut self, other: &Self) {
        let same = "histograms are all made alike";
        for (mine, theirs) in [(&mut self.writes, &other.writes), (&mut self.reads, &other.reads)] {
            mine.latency.add(&theirs.latency).expect(same);
            mine.timeline.iter_mut().zip(&theirs.timeline).for_each(|(mine, more)| *mine += more);
        }
        self.sending.add(&other.sending).expect(same);
        self.endings.merge(&other.endings);
        self.outages.merge(&other.outages);
    }
}

impl Series {
    /// How many ended within the window.
    pub(super) fn ended(&self) -> u64 {
        self.timeline.iter().sum()
    }
}

impl Endings {
    fn reason(&mut self, reason: &str, count: u64) {
        if let Some(counted) = self.reasons.get_mut(reason) {
            *counted += count;
        } else {
            // The last place is for all that remains.
            let full = self.reasons.len() + 1 >= REASONS;
            let reason = if full { "other reasons" } else { reason };
            *self.reasons.entry(reason.to_owned()).or_default() += count;
        }
    }

    fn merge(&mut self, other: &Self) {
        self.done += other.done;
        self.busy += other.busy;
        self.unknown += other.unknown;
        self.failed += other.failed;
        self.unanswered += other.unanswered;
        other.reasons.iter().for_each(|(reason, count)| self.reason(reason, *count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn record() -> Record {
        Record::new(ms(1000)..ms(2000))
    }

    fn write(due: u64, sent: u64) -> Command {
        Command { kind: Kind::Write, key: 0, due: ms(due), sent: ms(sent) }
    }

    #[test]
    fn latency_counts_from_when_a_command_was_due() {
        let mut record = record();
        record.ended(write(1000, 1300), Outcome::Done, ms(1500));
        assert_eq!(record.writes.latency.max() / 1_000_000, 500);
        assert_eq!(record.sending.max() / 1_000_000, 300);
        assert_eq!(record.writes.timeline, [0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn the_warm_up_does_not_count_but_its_answers_are_throughput() {
        let mut record = record();
        record.ended(write(900, 900), Outcome::Done, ms(950));
        record.ended(write(990, 990), Outcome::Done, ms(1010));
        record.ended(write(900, 900), Outcome::Busy, ms(1020));
        record.ended(write(1990, 1990), Outcome::Done, ms(2100));
        record.ended(write(2000, 2000), Outcome::Done, ms(2100));
        assert_eq!(record.writes.ended(), 1);
        assert_eq!(record.endings, Endings { done: 1, ..Endings::default() });
        assert_eq!(record.writes.latency.max() / 1_000_000, 110);
    }

    #[test]
    fn merged_records_are_as_if_one_thread_had_seen_all() {
        let (mut whole, mut parts) = (record(), [record(), record(), record()]);
        for k in 0..999_u64 {
            let kind = if k % 5 == 0 { Kind::Read } else { Kind::Write };
            let command = Command { kind, ..write(1000 + k, 1000 + k) };
            let outcome = match k % 7 {
                0 => Outcome::Busy,
                1 => Outcome::Unknown("cut off".into()),
                2 => Outcome::Failed("full".into()),
                _ => Outcome::Done,
            };
            let now = ms(1000 + k + k % 31);
            whole.ended(command, outcome.clone(), now);
            parts[usize::try_from(k % 3).unwrap()].ended(command, outcome, now);
        }
        let mut merged = record();
        parts.iter().for_each(|part| merged.merge(part));
        assert_eq!(merged.writes.latency, whole.writes.latency);
        assert_eq!(merged.reads.latency, whole.reads.latency);
        assert_eq!(merged.writes.timeline, whole.writes.timeline);
        assert_eq!(merged.reads.timeline, whole.reads.timeline);
        assert_eq!(merged.sending, whole.sending);
        assert_eq!(merged.endings, whole.endings);
        assert_eq!(merged.endings.reasons["cut off"], merged.endings.unknown);
    }

    #[test]
    fn reasons_do_not_grow_without_bound() {
        let mut endings = Endings::default();
        (0..100).for_each(|k| endings.reason(&format!("port {k}"), 1));
        assert_eq!(endings.reasons.len(), REASONS);
        assert_eq!(endings.reasons["other reasons"], 100 - 15);
    }
}
