//! What the commands are: keys, values, and whether to read or to write, all drawn from a seed.

use fastrand::Rng;

use super::target::{Level, Operation};

/// Values are cut from so many bytes more than a value has: cheap to draw, and no two in a row
/// alike.
const SLACK: usize = 4096;

/// What may be said about the commands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mix {
    /// Bytes of each value.
    pub(super) value: usize,
    /// Keys are drawn evenly from `0..keys`.
    pub(super) keys: u64,
    /// Of a hundred commands.
    pub(super) reads: u8,
    pub(super) level: Level,
    pub(super) seed: u64,
}

/// The commands of one thread.
#[derive(Debug)]
pub(super) struct Workload {
    mix: Mix,
    rng: Rng,
    bytes: Vec<u8>,
}

impl Workload {
    pub(super) fn new(mix: Mix, thread: u64) -> Self {
        // Each thread draws from a stream of its own; neighbouring seeds alone give similar ones.
        let mut rng = Rng::with_seed(mix.seed ^ Rng::with_seed(thread).u64(..));
        let mut bytes = vec![0; mix.value + SLACK];
        rng.fill(&mut bytes);
        Self { mix, rng, bytes }
    }

    /// The next command.
    pub(super) fn draw(&mut self) -> Operation<'_> {
        let key = self.rng.u64(..self.mix.keys);
        if self.rng.u8(..100) < self.mix.reads {
            Operation::Read { key, level: self.mix.level }
        } else {
            self.write(key)
        }
    }

    /// A write of `key`.
    pub(super) fn write(&mut self, key: u64) -> Operation<'_> {
        let start = self.rng.usize(..SLACK);
        Operation::Write { key, value: &self.bytes[start..start + self.mix.value] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIX: Mix = Mix { value: 256, keys: 10, reads: 30, level: Level::Lease, seed: 7 };

    #[test]
    fn a_seed_and_a_thread_give_the_same_commands_again() {
        let draw = |mix, thread| {
            let mut workload = Workload::new(mix, thread);
            let text = |_| format!("{:?}", workload.draw());
            (0..20).map(text).collect::<Vec<String>>()
        };
        assert_eq!(draw(MIX, 0), draw(MIX, 0));
        assert_ne!(draw(MIX, 0), draw(MIX, 1));
        assert_ne!(draw(MIX, 0), draw(Mix { seed: 8, ..MIX }, 0));
    }

    #[test]
    fn the_share_of_reads_the_size_and_the_keys_are_as_asked() {
        let mut workload = Workload::new(MIX, 0);
        let mut reads = 0;
        let mut seen = [false; 10];
        for _ in 0..10_000 {
            let key = match workload.draw() {
                Operation::Read { key, level } => {
                    assert_eq!(level, Level::Lease);
                    reads += 1;
                    key
                }
                Operation::Write { key, value } => {
                    assert_eq!(value.len(), 256);
                    key
                }
            };
            seen[usize::try_from(key).unwrap()] = true;
        }
        assert!((2_800..3_200).contains(&reads), "{reads}");
        assert_eq!(seen, [true; 10]);
    }

    #[test]
    fn none_and_all_are_possible_and_so_are_empty_values() {
        let mut none = Workload::new(Mix { reads: 0, value: 0, ..MIX }, 0);
        let mut all = Workload::new(Mix { reads: 100, ..MIX }, 0);
        for _ in 0..1000 {
            assert!(matches!(none.draw(), Operation::Write { value: [], .. }));
            assert!(matches!(all.draw(), Operation::Read { .. }));
        }
    }
}
