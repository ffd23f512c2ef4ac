//! Counting messages.

use std::collections::BTreeMap;

/// How many messages were sent, by kind, and what became of them.
#[derive(Default, Debug)]
pub(crate) struct Tally {
    /// A process sends few kinds, so a list is faster than a map.
    kinds: Vec<(&'static str, u64)>,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
}

impl Tally {
    #[inline]
    pub(crate) fn sent(&mut self, kind: &'static str, number: u64) {
        match self.kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += number,
            None => self.kinds.push((kind, number)),
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        other.kinds.iter().for_each(|(kind, number)| self.sent(kind, *number));
        self.lost += other.lost;
        self.duplicated += other.duplicated;
    }

    pub(crate) fn by_kind(&self) -> BTreeMap<&'static str, u64> {
        self.kinds.iter().copied().collect()
    }
}
