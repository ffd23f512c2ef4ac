//! What happened: always as one number, and as text when somebody wants to read it.

use std::collections::VecDeque;

use crate::queue::Time;

/// The course of a run.
pub(crate) struct Trace {
    hash: u64,
    /// The last lines, if they are kept.
    lines: Option<VecDeque<String>>,
    longest: usize,
}

impl Trace {
    /// Keeps the last `longest` lines; none if it is 0.
    pub(crate) fn new(longest: usize) -> Self {
        Self { hash: 0, lines: (longest > 0).then(VecDeque::new), longest }
    }

    /// Something happened.
    #[inline]
    pub(crate) fn mix(&mut self, at: Time, what: u64) {
        let mixed = (self.hash ^ at).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        self.hash = (mixed ^ what).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }

    /// Writes it down, if somebody wants to read it.
    #[inline]
    pub(crate) fn note(&mut self, at: Time, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            if lines.len() == self.longest {
                lines.pop_front();
            }
            lines.push_back(format!("{:>12.3} {}", at as f64 / 1e6, line()));
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.into_iter().flatten().collect()
    }
}
