//! How far the replicas are, as they say themselves (section 4.2).

use alloc::vec::Vec;

use crate::{
    message::Progress,
    reconfig::{Config, Schedule},
    types::{NodeId, Slot},
};

/// Each replica's last report.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Reports {
    last: Vec<(NodeId, Progress)>,
}

impl Reports {
    /// Notes a report. False if it comes from no replica of the configurations known here: nobody
    /// else can make this list grow.
    pub(crate) fn note(&mut self, from: NodeId, progress: Progress, known: &Schedule) -> bool {
        if let Some((_, last)) = self.last.iter_mut().find(|(replica, _)| *replica == from) {
            *last = progress;
            return true;
        }
        let member = known.replicates(from);
        if member {
            self.last.push((from, progress));
        }
        member
    }

    /// What a replica reported last.
    pub(crate) fn of(&self, replica: NodeId) -> Option<Progress> {
        self.last.iter().find(|(id, _)| *id == replica).map(|(_, progress)| *progress)
    }

    /// How far a replica was; the first slot if it has not said.
    pub(crate) fn slot_out(&self, replica: NodeId) -> Slot {
        let report = self.last.iter().find(|(id, _)| *id == replica);
        report.map_or(Slot::FIRST, |(_, progress)| progress.slot_out)
    }

    /// The slot that f + 1 replicas of the configuration have reached, so that one of them outlives
    /// f crashes; all of them, if there are fewer.
    pub(crate) fn reached(&self, config: &Config, of: impl Fn(&Progress) -> Slot) -> Slot {
        let report = |id: &NodeId| self.last.iter().find(|(replica, _)| replica == id);
        let slot = |id: &NodeId| report(id).map_or(Slot::FIRST, |(_, progress)| of(progress));
        let mut slots: Vec<Slot> = config.members.replicas.iter().map(slot).collect();
        slots.sort_unstable_by(|a, b| b.cmp(a));
        slots[config.members.tolerates().min(slots.len() - 1)]
    }

    /// Forgets what they said: it turned out to hold no longer.
    pub(crate) fn clear(&mut self) {
        self.last.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconfig::Members;

    fn at(slot: u64) -> Progress {
        Progress { slot_out: Slot(slot), durable: Slot::FIRST, epoch: 0 }
    }

    #[test]
    fn f_plus_one_replicas_have_to_be_there_and_strangers_do_not_count() {
        let ids = |range: core::ops::Range<u32>| range.map(NodeId).collect::<Vec<_>>();
        let members = Members::new(ids(1..6), ids(1..2), ids(1..6)).unwrap();
        let schedule = Schedule::new(members, 4);
        let reached = |reports: &Reports| reports.reached(schedule.latest(), |p| p.slot_out);
        let mut reports = Reports::default();
        assert!(reports.note(NodeId(1), at(9), &schedule));
        assert!(reports.note(NodeId(2), at(7), &schedule));
        assert!(!reports.note(NodeId(6), at(9), &schedule));
        assert_eq!(reached(&reports), Slot::FIRST);
        assert!(reports.note(NodeId(3), at(5), &schedule));
        assert_eq!(reached(&reports), Slot(5));
        assert!(reports.note(NodeId(3), at(8), &schedule));
        assert_eq!(reached(&reports), Slot(7));
    }
}
