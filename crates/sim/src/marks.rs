//! Counts of rare events. A run in which nothing rare happens proves little; so a test asks that
//! over many seeds each of them has happened.

use std::collections::BTreeMap;

/// Counts by name.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Marks(BTreeMap<&'static str, u64>);

/// Everything that is counted.
pub const MARKS: [&str; 50] = [
    "elected",
    "preempted",
    "hole filled with a no-op",
    "slot with several ballots",
    "slot with several decrees",
    "command asked for again",
    "session evicted",
    "session expired",
    "snapshot saved",
    "snapshot installed",
    "snapshot not saved",
    "log collected",
    "torn or lost tail",
    "unsynced tail survived",
    "acceptor lost a pvalue",
    "crashed in recovery",
    "disk failed",
    "disk full",
    "disk has room again",
    "read answered",
    "lease granted",
    "lease read",
    "local read",
    "reconfiguration",
    "reconfiguration refused",
    "node replaced",
    "old disk put back",
    "tampered node refused",
    "damaged node stopped",
    "foreign node refused",
    "handed over",
    "unknown outcome resolved",
    "vote held back",
    "disk low",
    "second life refused",
    "machine panicked",
    "machine panicked in recovery",
    "disk lied",
    "stale sector",
    "sector in a wrong place",
    "next version",
    "former session refused",
    "clock stood still",
    "report in parts",
    "snapshot in parts",
    "refused as busy",
    "too much waits for a disk",
    "replica inspected",
    "garbled message refused",
    "snapshot asked for",
];

impl Marks {
    /// It happened.
    pub(crate) fn add(&mut self, name: &'static str) {
        self.add_many(name, 1);
    }

    pub(crate) fn add_many(&mut self, name: &'static str, count: u64) {
        if count > 0 {
            *self.0.entry(name).or_default() += count;
        }
    }

    /// How often it happened.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// All that happened, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(name, count)| (*name, *count))
    }

    /// What never happened.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        MARKS.into_iter().filter(|name| self.get(name) == 0).collect()
    }
}

impl std::ops::AddAssign<&Self> for Marks {
    fn add_assign(&mut self, other: &Self) {
        other.iter().for_each(|(name, count)| self.add_many(name, count));
    }
}
