//! How long to wait before connecting again.

use std::time::Duration;

/// Delays that double from 10 ms to 1 s, each shortened by up to half at random, so that nodes
/// which lost the same peer at the same moment do not come back at the same moment.
///
/// It reads no clock: whoever owns it waits.
#[derive(Clone, Debug)]
pub struct Backoff {
    random: u64,
    longest: Duration,
}

impl Backoff {
    /// The longest that the first delay can be.
    pub const FIRST: Duration = Duration::from_millis(10);
    /// The longest that any delay can be.
    pub const MAX: Duration = Duration::from_secs(1);

    /// Delays drawn from `seed`: the same seed, the same delays.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { random: seed, longest: Self::FIRST }
    }

    /// The time to wait after one more failure.
    pub fn delay(&mut self) -> Duration {
        let longest = self.longest;
        self.longest = (longest * 2).min(Self::MAX);
        longest - (longest / 2).mul_f64(self.fraction())
    }

    /// A connection was made and was good: the next failure is the first again.
    pub const fn reset(&mut self) {
        self.longest = Self::FIRST;
    }

    /// Something in `0.0..1.0`, by SplitMix64.
    fn fraction(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let [a, b, c, d, ..] = (mixed ^ (mixed >> 31)).to_be_bytes();
        f64::from(u32::from_be_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_second_and_start_again_after_success() {
        let mut backoff = Backoff::new(7);
        let mut longest = Backoff::FIRST;
        for _ in 0..20 {
            let delay = backoff.delay();
            assert!(delay <= longest && delay > longest / 2, "{delay:?} of {longest:?}");
            longest = (longest * 2).min(Backoff::MAX);
        }
        assert_eq!(longest, Backoff::MAX);
        backoff.reset();
        assert!(backoff.delay() <= Backoff::FIRST);
    }

    #[test]
    fn seeds_draw_different_delays_and_the_same_seed_the_same() {
        let delays = |seed| {
            let mut backoff = Backoff::new(seed);
            [(); 8].map(|()| backoff.delay())
        };
        assert_eq!(delays(1), delays(1));
        assert!(delays(1).iter().zip(delays(2)).all(|(one, two)| *one != two));
    }
}
