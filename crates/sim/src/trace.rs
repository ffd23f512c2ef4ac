//! What happened: always as one number, and as text when somebody wants to read it.

use std::collections::VecDeque;

use synod_paxos::{NodeId, Variable};

use crate::{
    queue::Time,
    recorder::{Party, Recorder, Recording, Seen},
};

/// The course of a run.
pub(crate) struct Trace<'w> {
    hash: u64,
    /// The last lines, if they are kept.
    lines: Option<VecDeque<String>>,
    longest: usize,
    /// Who is told everything, if anybody is.
    recording: Option<Box<Recording<'w>>>,
}

impl<'w> Trace<'w> {
    /// Keeps the last `longest` lines; none if it is 0.
    pub(crate) fn new(longest: usize, recorder: Option<&'w mut dyn Recorder>) -> Self {
        let recording = recorder.map(|recorder| Box::new(Recording::new(recorder)));
        Self { hash: 0, lines: (longest > 0).then(VecDeque::new), longest, recording }
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

    /// Writes down what happens to somebody, and tells the recorder.
    pub(crate) fn tell(
        &mut self,
        at: Time,
        who: Party,
        what: impl FnOnce() -> String,
        seen: impl for<'t> FnOnce(&'t str) -> Seen<'t>,
    ) {
        if self.lines.is_some() || self.recording.is_some() {
            let what = what();
            self.see(at, seen(&what));
            self.note(at, || format!("{who} {what}"));
        }
    }

    /// Tells the recorder.
    #[inline]
    pub(crate) fn see(&mut self, at: Time, what: Seen<'_>) {
        if let Some(recording) = &mut self.recording {
            recording.see(at, what);
        }
    }

    /// Whether there is a recorder.
    #[inline]
    pub(crate) fn is_recorded(&self) -> bool {
        self.recording.is_some()
    }

    /// Tells the recorder what a node remembers at the end of its turn.
    #[inline]
    pub(crate) fn remembers(
        &mut self,
        at: Time,
        node: NodeId,
        variables: impl FnOnce(&mut dyn FnMut(Variable<'_>)),
    ) {
        if let Some(recording) = &mut self.recording {
            recording.compare(at, node, variables);
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.into_iter().flatten().collect()
    }
}
