//! When writes stood still, and when they went on after a leader had been killed.

use std::{
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Shorter pauses between two writes are not kept.
const SHORTEST: Duration = Duration::from_millis(1);

/// When leaders were killed: written by one thread, followed by all that generate load.
#[derive(Debug, Default)]
pub(super) struct Kills {
    count: AtomicUsize,
    dead: Mutex<Vec<Duration>>,
}

impl Kills {
    /// At `dead`, the process was gone: what is answered after having been sent later is the work
    /// of others.
    pub(super) fn publish(&self, dead: Duration) {
        let mut all = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(dead);
        self.count.store(all.len(), Ordering::Release);
    }
}

/// What one thread has seen of the writes, or all of them.
#[derive(Debug)]
pub(super) struct Outages {
    /// The last write, or the start of what is measured.
    last: Duration,
    /// In which no write ended, in their order.
    gaps: Vec<Range<Duration>>,
    kills: Vec<Kill>,
}

#[derive(Clone, Copy, Debug)]
struct Kill {
    dead: Duration,
    /// The first end of a write that was sent after it.
    resumed: Option<Duration>,
}

impl Outages {
    pub(super) fn new(start: Duration) -> Self {
        Self { last: start, gaps: Vec::new(), kills: Vec::new() }
    }

    /// Learns of kills. Costs next to nothing if there are no new ones.
    pub(super) fn follow(&mut self, kills: &Kills) {
        if kills.count.load(Ordering::Acquire) > self.kills.len() {
            let all = kills.dead.lock().unwrap_or_else(PoisonError::into_inner);
            let news = &all[self.kills.len()..];
            self.kills.extend(news.iter().map(|dead| Kill { dead: *dead, resumed: None }));
        }
    }

    /// A write that left at `sent` is done.
    pub(super) fn written(&mut self, sent: Duration, now: Duration) {
        self.gap(now);
        for kill in self.kills.iter_mut().rev() {
            if kill.resumed.is_some() {
                break;
            }
            if sent >= kill.dead {
                kill.resumed = Some(now);
            }
        }
    }

    /// The thread has ended.
    pub(super) fn end(&mut self, now: Duration) {
        self.gap(now);
    }

    fn gap(&mut self, now: Duration) {
        if now >= self.last + SHORTEST {
            self.gaps.push(self.last..now);
        }
        self.last = now.max(self.last);
    }

    /// Adds another thread's view: writes stood still when they did for both.
    pub(super) fn merge(&mut self, other: &Self) {
        self.gaps = intersection(&self.gaps, &other.gaps);
        self.last = self.last.max(other.last);
        for (index, theirs) in other.kills.iter().enumerate() {
            match self.kills.get_mut(index) {
                Some(mine) => {
                    mine.resumed = [mine.resumed, theirs.resumed].into_iter().flatten().min();
                }
                None => self.kills.push(*theirs),
            }
        }
    }

    /// When writes went on after kill number `index`, if they did.
    pub(super) fn resumed(&self, index: usize) -> Option<Duration> {
        self.kills.get(index)?.resumed
    }

    /// The longest time without a write that touches `span`.
    pub(super) fn longest(&self, span: &Range<Duration>) -> Duration {
        let touching = |gap: &&Range<Duration>| gap.start < span.end && gap.end > span.start;
        let lengths = self.gaps.iter().filter(touching).map(|gap| gap.end - gap.start);
        lengths.max().unwrap_or_default()
    }
}

/// What is in both. Each list is in order, without overlap.
fn intersection(a: &[Range<Duration>], b: &[Range<Duration>]) -> Vec<Range<Duration>> {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    let mut both = Vec::new();
    while let (Some(one), Some(other)) = (a.peek(), b.peek()) {
        let common = one.start.max(other.start)..one.end.min(other.end);
        if common.end >= common.start + SHORTEST {
            both.push(common);
        }
        if one.end <= other.end {
            a.next()
        } else {
            b.next()
        };
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn writes_resume_with_the_first_that_was_sent_after_the_kill() {
        let kills = Kills::default();
        let mut outages = Outages::new(ms(0));
        (0..100).for_each(|t| outages.written(ms(t), ms(t + 1)));
        kills.publish(ms(100));
        outages.follow(&kills);
        outages.written(ms(99), ms(400)); // Sent before; somebody else has finished it.
        assert_eq!(outages.resumed(0), None);
        outages.written(ms(401), ms(403));
        outages.written(ms(404), ms(405));
        assert_eq!(outages.resumed(0), Some(ms(403)));
        assert_eq!(outages.longest(&(ms(100)..ms(1000))), ms(300));
        assert_eq!(outages.longest(&(ms(402)..ms(1000))), ms(3));

        kills.publish(ms(500));
        outages.follow(&kills);
        outages.written(ms(450), ms(600));
        assert_eq!((outages.resumed(0), outages.resumed(1)), (Some(ms(403)), None));
        outages.written(ms(700), ms(701));
        assert_eq!((outages.resumed(0), outages.resumed(1)), (Some(ms(403)), Some(ms(701))));
    }

    #[test]
    fn of_two_threads_the_first_counts_and_only_common_silence_is_a_gap() {
        let kills = Kills::default();
        kills.publish(ms(100));
        let view = |writes: &[u64]| {
            let mut outages = Outages::new(ms(0));
            outages.follow(&kills);
            writes.iter().for_each(|t| outages.written(ms(t - 1), ms(*t)));
            outages.end(ms(1000));
            outages
        };
        let mut all = view(&[50, 300, 900]);
        all.merge(&view(&[60, 350, 500]));
        assert_eq!(all.resumed(0), Some(ms(300)));
        // 60 to 300, 350 to 500, 500 to 900.
        assert_eq!(all.longest(&(ms(0)..ms(310))), ms(240));
        assert_eq!(all.longest(&(ms(0)..ms(1000))), ms(400));
        assert_eq!(all.longest(&(ms(901)..ms(1000))), ms(100));
    }

    #[test]
    fn who_has_seen_nothing_has_a_gap_as_long_as_the_run() {
        let mut outages = Outages::new(ms(10));
        outages.end(ms(500));
        assert_eq!(outages.longest(&(ms(0)..ms(500))), ms(490));
        assert_eq!(outages.resumed(0), None);
    }
}
