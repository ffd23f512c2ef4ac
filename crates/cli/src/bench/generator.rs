//! One thread of load: sends what is due, takes what is answered, and measures.

use std::{
    ops::Range,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use super::{
    Error,
    driver::Driver,
    outage::Kills,
    record::Record,
    schedule::Schedule,
    target::{Operation, Outcome},
    workload::Workload,
};

/// The longest wait between two looks at whether the run is over.
const GLANCE: Duration = Duration::from_millis(50);
/// How long filling may go on without a single success.
const PATIENCE: Duration = Duration::from_secs(10);

/// When commands are sent.
#[derive(Debug)]
pub(super) enum Pace {
    /// The next as soon as one of those in flight has ended.
    Closed,
    /// Each when it is due, or as soon after that as it may be in flight.
    Open(Schedule),
}

/// What all threads and their conductor share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Whether to stop at once.
    pub(super) stop: AtomicBool,
    /// Commands done so far, for whoever watches.
    pub(super) done: AtomicU64,
    pub(super) kills: Kills,
}

/// Writes each of the keys, so that reads find something, as fast as they are taken.
pub(super) fn fill(
    driver: &mut Driver,
    workload: &mut Workload,
    mut keys: impl Iterator<Item = u64>,
    shared: &Shared,
) -> Result<(), Error> {
    let start = Instant::now();
    let mut again: Vec<u64> = Vec::new();
    let mut progress = Duration::ZERO;
    let mut why = "no answer".to_owned();
    while !shared.stop.load(Ordering::Relaxed) {
        let now = start.elapsed();
        let mut more = true;
        while driver.is_free(now) {
            let Some(key) = again.pop().or_else(|| keys.next()) else {
                more = false;
                break;
            };
            driver.submit(workload.write(key), now, now);
        }
        if !more && driver.outstanding() == 0 {
            break;
        }
        driver.poll(
            GLANCE,
            || start.elapsed(),
            |command, outcome, now| {
                if outcome == Outcome::Done {
                    progress = now;
                    shared.done.fetch_add(1, Ordering::Relaxed);
                } else {
                    why = reason(outcome);
                    again.push(command.key);
                }
            },
        )?;
        if start.elapsed() > progress + PATIENCE {
            return Err(Error::Silent(why));
        }
    }
    driver.rest();
    Ok(())
}

/// In words, why a command was not done.
pub(super) fn reason(outcome: Outcome) -> String {
    match outcome {
        Outcome::Done => "done".to_owned(),
        Outcome::Busy => "busy".to_owned(),
        Outcome::Unknown(reason) | Outcome::Failed(reason) => reason.into_owned(),
    }
}

/// The load of one thread.
pub(super) struct Generator<'a> {
    pub(super) driver: Driver,
    pub(super) workload: Workload,
    pub(super) pace: Pace,
    /// What is measured. Load starts at zero and ends with it.
    pub(super) window: Range<Duration>,
    /// How long what is in flight at the end may take.
    pub(super) drain: Duration,
    pub(super) start: Instant,
    pub(super) shared: &'a Shared,
}

impl Generator<'_> {
    /// Runs to the end, and until what was in flight then has been answered, or is given up.
    pub(super) fn run(mut self) -> Result<Record, Error> {
        let mut record = Record::new(self.window.clone());
        loop {
            self.send();
            let now = self.start.elapsed();
            let given_up = now >= self.window.end + self.drain;
            let stopped = self.shared.stop.load(Ordering::Relaxed);
            if self.is_finished(now) || given_up || stopped {
                break;
            }
            let mut done = 0;
            let timeout = self.timeout(now);
            let Self { driver, shared, start, .. } = &mut self;
            record.outages.follow(&shared.kills);
            driver.poll(
                timeout,
                || start.elapsed(),
                |command, outcome, now| {
                    done += u64::from(outcome == Outcome::Done);
                    record.ended(command, outcome, now);
                },
            )?;
            if done > 0 {
                shared.done.fetch_add(done, Ordering::Relaxed);
            }
        }
        record.outages.end(self.start.elapsed());
        record.endings.unanswered = self.driver.unanswered(&self.window);
        if let Pace::Open(schedule) = &self.pace {
            record.endings.unanswered += schedule.remaining(self.window.start);
        }
        Ok(record)
    }

    /// Sends all that may be sent now.
    fn send(&mut self) {
        loop {
            let now = self.start.elapsed();
            if !self.driver.is_free(now) {
                return;
            }
            let due = match &mut self.pace {
                Pace::Closed if now < self.window.end => now,
                Pace::Closed => return,
                Pace::Open(schedule) => match schedule.due() {
                    Some(due) if due <= now => {
                        schedule.advance();
                        due
                    }
                    Some(_) | None => return,
                },
            };
            let operation: Operation<'_> = self.workload.draw();
            self.driver.submit(operation, due, now);
        }
    }

    /// Whether nothing remains to be sent or to be answered.
    fn is_finished(&self, now: Duration) -> bool {
        let all_sent = match &self.pace {
            Pace::Closed => now >= self.window.end,
            Pace::Open(schedule) => schedule.due().is_none(),
        };
        all_sent && self.driver.outstanding() == 0
    }

    /// Until there is something to do beside answers.
    fn timeout(&self, now: Duration) -> Duration {
        let next = match &self.pace {
            Pace::Open(schedule) if self.driver.has_free() => schedule.due(),
            Pace::Open(_) | Pace::Closed => None,
        };
        let events = [next, self.driver.free_at(), Some(now + GLANCE)];
        let first = events.into_iter().flatten().min().unwrap_or(now);
        first.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            fake::Fake,
            target::{Level, Target},
            workload::Mix,
        },
        *,
    };

    const MIX: Mix = Mix { value: 16, keys: 8, reads: 0, level: Level::Local, seed: 1 };

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn load(fake: &Fake, in_flight: usize, pace: Pace, end: Duration) -> Record {
        let shared = Shared::default();
        let generator = Generator {
            driver: Driver::new(fake.connect(0..1).unwrap(), 0..1, in_flight),
            workload: Workload::new(MIX, 0),
            pace,
            window: ms(0)..end,
            drain: ms(2000),
            start: Instant::now(),
            shared: &shared,
        };
        let record = generator.run().unwrap();
        assert_eq!(shared.done.load(Ordering::Relaxed), record.endings.done);
        record
    }

    /// Answers after a millisecond, but nothing between 100 and 300 ms.
    fn stalling() -> Fake {
        Fake::new(|now, _| {
            let stalled = (ms(100)..ms(300)).contains(&now);
            (if stalled { ms(300) } else { now + ms(1) }, Outcome::Done)
        })
    }

    fn quantile(record: &Record, quantile: f64) -> u64 {
        record.writes.latency.value_at_quantile(quantile) / 1_000_000
    }

    #[test]
    fn an_open_loop_shows_a_stall_to_all_who_were_due_in_it() {
        let end = ms(1000);
        let pace = Pace::Open(Schedule::new(1000, 0, 1, end));
        let record = load(&stalling(), 1, pace, end);
        // 200 of 1,000 commands were due while nothing moved; more had to wait behind them. The
        // one that was in flight is not the only one that suffers.
        assert_eq!(record.endings.done + record.endings.unanswered, 1000);
        assert!(quantile(&record, 0.99) >= 150, "{}", quantile(&record, 0.99));
        assert!(quantile(&record, 0.85) >= 20, "{}", quantile(&record, 0.85));
    }

    #[test]
    fn a_closed_loop_hides_it_by_its_nature() {
        let record = load(&stalling(), 1, Pace::Closed, ms(1000));
        assert!(quantile(&record, 0.9) < 100, "{}", quantile(&record, 0.9));
        assert!(record.writes.latency.max() / 1_000_000 >= 150);
        assert_eq!(record.endings.unanswered, 0);
    }

    #[test]
    fn what_waits_behind_the_cap_is_sent_after_the_end_and_counts() {
        // One at a time, 5 ms each, but one due each millisecond: 100 take half a second.
        let end = ms(100);
        let pace = Pace::Open(Schedule::new(1000, 0, 1, end));
        let record = load(&Fake::steady(ms(5)), 1, pace, end);
        assert_eq!((record.endings.done, record.endings.unanswered), (100, 0));
        assert!(quantile(&record, 1.0) >= 400);
        assert!(record.sending.max() / 1_000_000 >= 390);
    }

    #[test]
    fn what_is_never_answered_or_never_sent_is_counted() {
        let hour = ms(3_600_000);
        let end = ms(100);
        let pace = Pace::Open(Schedule::new(1000, 0, 1, end));
        let record = load(&Fake::steady(hour), 3, pace, end);
        assert_eq!((record.endings.done, record.endings.unanswered), (0, 100));
        let record = load(&Fake::steady(hour), 3, Pace::Closed, end);
        assert_eq!((record.endings.done, record.endings.unanswered), (0, 3));
    }

    #[test]
    fn a_closed_loop_keeps_as_many_in_flight_as_it_may() {
        let record = load(&Fake::steady(ms(10)), 4, Pace::Closed, ms(200));
        // 20 rounds of 4 at best; a slow machine makes fewer.
        assert!((20..=84).contains(&record.endings.done), "{}", record.endings.done);
        assert!(quantile(&record, 0.0) >= 9);
    }

    #[test]
    fn who_refuses_is_not_asked_in_a_loop() {
        let fake = Fake::new(|now, _| (now, Outcome::Busy));
        let record = load(&fake, 1, Pace::Closed, ms(100));
        assert!((1..=100).contains(&record.endings.busy), "{}", record.endings.busy);
        assert_eq!(record.endings.done, 0);
    }

    #[test]
    fn filling_writes_each_key_once_and_tries_again() {
        let turn = AtomicU64::new(0);
        let fake = Fake::new(move |now, _| {
            let refuse = turn.fetch_add(1, Ordering::Relaxed).is_multiple_of(3);
            (now, if refuse { Outcome::Failed("moved".into()) } else { Outcome::Done })
        });
        let mut driver = Driver::new(fake.connect(0..1).unwrap(), 0..1, 4);
        let shared = Shared::default();
        fill(&mut driver, &mut Workload::new(MIX, 0), 0..50, &shared).unwrap();
        assert_eq!(shared.done.load(Ordering::Relaxed), 50);
    }
}
