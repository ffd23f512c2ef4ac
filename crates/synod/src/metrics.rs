//! Counters, named after the paper's events, and the time that an fsync takes.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

use crate::status::Latency;

/// Most kinds of messages.
const KINDS: usize = 32;

/// Counts since the node started. Owned by the event loop: no atomics.
#[derive(Debug)]
pub struct Metrics {
    sent: [Count; KINDS],
    received: [Count; KINDS],
    /// Commands that clients sent to this node.
    pub(crate) requests: u64,
    /// Commands that this node answered.
    pub(crate) responses: u64,
    /// Reads that this node answered.
    pub(crate) reads: u64,
    /// Refusals of commands and reads.
    pub(crate) refused: u64,
    /// Messages that were dropped because there was no connection, or too much waited on it.
    pub(crate) dropped: u64,
    /// Connections that were closed because of what came over them.
    pub(crate) faulty: u64,
    /// Batches of records written and synced.
    pub(crate) syncs: u64,
    /// Records in them.
    pub(crate) records: u64,
    /// Snapshots written.
    pub(crate) snapshots: u64,
    /// Snapshots taken over from peers.
    pub(crate) installed: u64,
    fsync: Histogram<u64>,
}

#[derive(Clone, Copy, Default, Debug)]
struct Count {
    kind: &'static str,
    count: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        // An hour at most, two digits: a few kilobytes.
        let fsync = Histogram::new_with_bounds(1, 3_600_000_000, 2);
        Self {
            sent: [Count::default(); KINDS],
            received: [Count::default(); KINDS],
            requests: 0,
            responses: 0,
            reads: 0,
            refused: 0,
            dropped: 0,
            faulty: 0,
            syncs: 0,
            records: 0,
            snapshots: 0,
            installed: 0,
            fsync: fsync.expect("the bounds are constants and in order"),
        }
    }
}

fn count(counts: &mut [Count; KINDS], kind: &'static str) {
    // Kinds are string constants: the same kind is nearly always the same address.
    for slot in counts {
        if slot.kind.is_empty() {
            slot.kind = kind;
        }
        if slot.kind == kind {
            slot.count += 1;
            return;
        }
    }
}

impl Metrics {
    /// A message of this kind has been sent to another node.
    #[inline]
    pub(crate) fn sent(&mut self, kind: &'static str) {
        count(&mut self.sent, kind);
    }

    /// A message of this kind has come from another node.
    #[inline]
    pub(crate) fn received(&mut self, kind: &'static str) {
        count(&mut self.received, kind);
    }

    /// A sync of the log took this long.
    pub(crate) fn synced(&mut self, records: u64, took: Duration) {
        self.syncs += 1;
        self.records += records;
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.fsync.saturating_record(micros);
    }

    /// The time of a sync.
    pub(crate) fn fsync(&self) -> Latency {
        Latency {
            count: self.fsync.len(),
            p50_us: self.fsync.value_at_quantile(0.5),
            p99_us: self.fsync.value_at_quantile(0.99),
            max_us: self.fsync.max(),
        }
    }

    /// All counters by name.
    pub(crate) fn counters(&self) -> BTreeMap<String, u64> {
        let named = [
            ("requests", self.requests),
            ("responses", self.responses),
            ("reads", self.reads),
            ("refused", self.refused),
            ("dropped", self.dropped),
            ("faulty_connections", self.faulty),
            ("syncs", self.syncs),
            ("records", self.records),
            ("snapshots", self.snapshots),
            ("snapshots_installed", self.installed),
        ];
        let mut counters: BTreeMap<String, u64> =
            named.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        for (way, counts) in [("sent", &self.sent), ("received", &self.received)] {
            let counts = counts.iter().filter(|count| !count.kind.is_empty());
            counters.extend(counts.map(|c| (format!("{}_{way}", c.kind), c.count)));
        }
        counters
    }
}
