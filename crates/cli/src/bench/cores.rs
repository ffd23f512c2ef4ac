//! Which cores a thread may run on. Where two processes run decides what a message between them
//! costs, by a factor of five, and the scheduler moves them as it likes.

#[cfg(target_os = "linux")]
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Gives the thread back its cores in the end, whatever happens in between.
pub(super) struct Cores(Vec<usize>);

impl Cores {
    /// Those of the calling thread, in order; none if that cannot be told.
    pub(super) fn of_this_thread() -> Self {
        Self(allowed())
    }

    /// The two that are farthest from each other in number: siblings are neighbours.
    pub(super) fn apart(&self) -> Option<(usize, usize)> {
        match self.0[..] {
            [first, .., last] => Some((first, last)),
            [] | [_] => None,
        }
    }

    /// Keeps the calling thread on one core from now on, and the processes that it starts.
    pub(super) fn keep_to(&self, core: usize) {
        stay(&[core]);
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        stay(&self.0);
    }
}

#[cfg(target_os = "linux")]
fn allowed() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else { return Vec::new() };
    (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
}

#[cfg(target_os = "linux")]
fn stay(cores: &[usize]) {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    // If it is refused, the thread runs where it may, as it did before.
    sched_setaffinity(None, &set).unwrap_or_default();
}

#[cfg(not(target_os = "linux"))]
fn allowed() -> Vec<usize> {
    Vec::new()
}

#[cfg(not(target_os = "linux"))]
fn stay(_: &[usize]) {}

/// Lets the calling thread wake up when it is due rather than, as is usual, up to 50 µs later.
pub(super) fn wake_on_time() {
    // One nanosecond. If it is refused, commands of an open loop leave a little later.
    #[cfg(target_os = "linux")]
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_thread_keeps_to_a_core_and_gets_the_others_back() {
        let cores = Cores::of_this_thread();
        let before = cores.0.clone();
        assert!(!before.is_empty());
        if let Some((first, last)) = cores.apart() {
            assert!(first < last);
            cores.keep_to(last);
            assert_eq!(allowed(), [last]);
        }
        drop(cores);
        assert_eq!(allowed(), before);
    }
}
