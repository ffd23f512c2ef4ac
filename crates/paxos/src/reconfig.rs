//! Configurations, and which one governs a slot (section 2.1).
//!
//! A reconfiguration is a command like any other. Decided in slot s, it governs the slots from
//! s + WINDOW on; so the configuration of a slot is known to every replica that has performed
//! all slots up to WINDOW before it, and WINDOW bounds the slots in flight (R5).
//!
//! What differs from the paper: a reconfiguration names the epoch that it replaces, and has no
//! effect if another came first (trap E25); the schedule of configurations is a value of its
//! own, so that it survives garbage collection of the decisions it came from (E28); and
//! configurations may share processes (E26).

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::fmt;

use crate::types::{NodeId, Payload, Slot};

/// The most members that one role may have in a configuration: quorums are counted in 64 bits.
pub const MEMBERS_MAX: usize = 64;

/// How many acceptors must answer in each phase.
///
/// Any quorum of phase 1 must intersect any quorum of phase 2, and no more: Flexible Paxos
/// (Howard, Malkhi, Spiegelman 2016). The paper uses majorities for both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quorums {
    /// Acceptors that must answer a scout.
    pub phase1: u32,
    /// Acceptors that must answer a commander.
    pub phase2: u32,
}

/// The processes of a configuration, role by role.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Members {
    /// The replicas that keep the state, and count for garbage collection.
    pub replicas: Box<[NodeId]>,
    /// The leaders that may propose.
    pub leaders: Box<[NodeId]>,
    /// The acceptors that vote.
    pub acceptors: Box<[NodeId]>,
    /// The quorums of these acceptors.
    pub quorums: Quorums,
}

/// Why processes do not make a configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InvalidMembers {
    /// A role has no members; the name of the role.
    Nobody(&'static str),
    /// A role has more than [`MEMBERS_MAX`] members; the name of the role.
    TooMany(&'static str),
    /// A role names one process twice; the name of the role.
    Twice(&'static str, NodeId),
    /// A quorum of phase 1 could miss a quorum of phase 2, or cannot be reached at all.
    Quorums(Quorums, usize),
}

impl Members {
    /// A configuration with majorities as quorums.
    ///
    /// # Errors
    /// When a role is empty, too large or names a process twice.
    pub fn new(
        replicas: impl Into<Box<[NodeId]>>,
        leaders: impl Into<Box<[NodeId]>>,
        acceptors: impl Into<Box<[NodeId]>>,
    ) -> Result<Self, InvalidMembers> {
        let acceptors = acceptors.into();
        let majority = u32::try_from(acceptors.len() / 2 + 1).unwrap_or(u32::MAX);
        Self {
            replicas: replicas.into(),
            leaders: leaders.into(),
            acceptors,
            quorums: Quorums { phase1: majority, phase2: majority },
        }
        .checked()
    }

    /// The same members with other quorums.
    ///
    /// # Errors
    /// When the quorums of the two phases could miss one another.
    pub fn with_quorums(mut self, quorums: Quorums) -> Result<Self, InvalidMembers> {
        self.quorums = quorums;
        self.checked()
    }

    /// These members, if they make a configuration.
    ///
    /// # Errors
    /// The first reason why they do not.
    pub fn checked(self) -> Result<Self, InvalidMembers> {
        self.check().map(|()| self)
    }

    fn check(&self) -> Result<(), InvalidMembers> {
        check_role("replicas", &self.replicas)?;
        check_role("leaders", &self.leaders)?;
        check_role("acceptors", &self.acceptors)?;
        let n = self.acceptors.len();
        let Quorums { phase1, phase2 } = self.quorums;
        let (q1, q2) = (phase1 as usize, phase2 as usize);
        let sound = (1..=n).contains(&q1) && (1..=n).contains(&q2) && q1 + q2 > n;
        if sound { Ok(()) } else { Err(InvalidMembers::Quorums(self.quorums, n)) }
    }

    /// How many acceptors may crash while slots can still be decided: the paper's f.
    #[must_use]
    pub fn tolerates(&self) -> usize {
        self.acceptors.len() - self.quorums.phase1.max(self.quorums.phase2) as usize
    }

    /// The length of these members in bytes; for limits on messages.
    #[must_use]
    pub fn weight(&self) -> usize {
        4 * (self.replicas.len() + self.leaders.len() + self.acceptors.len()) + 32
    }
}

fn check_role(role: &'static str, members: &[NodeId]) -> Result<(), InvalidMembers> {
    if members.is_empty() {
        return Err(InvalidMembers::Nobody(role));
    }
    if members.len() > MEMBERS_MAX {
        return Err(InvalidMembers::TooMany(role));
    }
    match members.iter().enumerate().find(|(i, id)| members[..*i].contains(id)) {
        Some((_, &id)) => Err(InvalidMembers::Twice(role, id)),
        None => Ok(()),
    }
}

impl fmt::Display for InvalidMembers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody(role) => write!(f, "a configuration needs {role}: name at least one"),
            Self::TooMany(role) => write!(f, "more than {MEMBERS_MAX} {role}"),
            Self::Twice(role, NodeId(id)) => write!(f, "process {id} stands twice in {role}"),
            Self::Quorums(Quorums { phase1, phase2 }, n) => write!(
                f,
                "quorums of {phase1} and {phase2} among {n} acceptors need not intersect: \
                 each must be from 1 to {n}, and their sum above {n}"
            ),
        }
    }
}

impl core::error::Error for InvalidMembers {}

/// A command to replace the configuration: the paper's reconfiguration command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reconfiguration {
    /// The epoch that this one replaces. If another is in force or scheduled when the command is
    /// performed, nothing changes (compare-and-set, trap E25).
    pub replaces: u64,
    /// The new members.
    pub members: Members,
}

/// The result of a reconfiguration command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reconfigured {
    /// The new configuration, of this epoch, governs the slots from this one on.
    Effective {
        /// The epoch of the new configuration.
        epoch: u64,
        /// The first slot that it governs.
        from: Slot,
    },
    /// Nothing changed, for the newest configuration has this epoch, and not the one to replace;
    /// or the members are invalid. Look at the configuration again, and decide again.
    Refused {
        /// The epoch of the newest configuration.
        epoch: u64,
    },
}

impl Reconfigured {
    /// Performs `to` in `slot`, and returns the result in the form of a reply.
    pub(crate) fn perform(schedule: &mut Schedule, slot: Slot, to: &Reconfiguration) -> Payload {
        let effective = schedule.reconfigure(slot, to);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&schedule.latest().epoch.to_le_bytes());
        bytes[8..].copy_from_slice(&effective.map_or(0, |from| from.0).to_le_bytes());
        Payload::from(bytes.as_slice())
    }

    /// Reads the reply to a reconfiguration command. `None` for the reply to another command.
    #[must_use]
    pub fn from_reply(reply: &Payload) -> Option<Self> {
        let (epoch, rest) = reply.as_slice().split_first_chunk::<8>()?;
        let epoch = u64::from_le_bytes(*epoch);
        match u64::from_le_bytes(rest.try_into().ok()?) {
            0 => Some(Self::Refused { epoch }),
            from => Some(Self::Effective { epoch, from: Slot(from) }),
        }
    }
}

/// A configuration in force: members with an epoch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Counts effective reconfigurations; the initial configuration is 0.
    pub epoch: u64,
    /// Who takes part.
    pub members: Members,
}

impl Config {
    /// The place of an acceptor, for counting it once.
    #[inline]
    pub(crate) fn acceptor(&self, id: NodeId) -> Option<usize> {
        self.members.acceptors.iter().position(|&acceptor| acceptor == id)
    }

    /// Whether `id` may lead here.
    #[must_use]
    pub fn leads(&self, id: NodeId) -> bool {
        self.members.leaders.contains(&id)
    }

    /// The replica that proposes while `leader` leads: the one on the same node, or else the one
    /// at the same place in the list.
    #[must_use]
    pub fn beside(&self, leader: NodeId) -> NodeId {
        let replicas = &self.members.replicas;
        let place = self.members.leaders.iter().position(|&id| id == leader).unwrap_or(0);
        let same = replicas.iter().copied().find(|&id| id == leader);
        same.unwrap_or(replicas[place % replicas.len()])
    }
}

/// Which configuration governs which slot. A deterministic function of the decided prefix.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// The paper's WINDOW: slots that may be in flight, and the delay of a reconfiguration.
    pub(crate) window: u64,
    /// First governed slot and configuration, in order of both. Never empty.
    pub(crate) entries: Vec<(Slot, Arc<Config>)>,
}

/// The longest WINDOW.
pub const WINDOW_MAX: u64 = 1 << 16;

impl Schedule {
    /// The schedule of a new cluster: `members` govern every slot. `window` must be from 1 to
    /// [`WINDOW_MAX`], and the same for all processes of a cluster.
    #[must_use]
    pub fn new(members: Members, window: u64) -> Self {
        let config = Arc::new(Config { epoch: 0, members });
        Self { window: window.clamp(1, WINDOW_MAX), entries: Vec::from([(Slot::FIRST, config)]) }
    }

    /// The paper's WINDOW.
    #[inline]
    #[must_use]
    pub fn window(&self) -> u64 {
        self.window
    }

    /// The configuration that governs `slot`, as far as this schedule knows.
    #[inline]
    #[must_use]
    pub fn at(&self, slot: Slot) -> &Arc<Config> {
        let governs = |&&(first, _): &&(Slot, _)| first <= slot;
        match self.entries.last() {
            Some((first, latest)) if *first <= slot => latest,
            Some(_) | None => {
                &self.entries.iter().rev().find(governs).unwrap_or(&self.entries[0]).1
            }
        }
    }

    /// The newest configuration, in force or not.
    #[inline]
    #[must_use]
    pub fn latest(&self) -> &Arc<Config> {
        &self.entries[self.entries.len() - 1].1
    }

    /// The processes of all configurations known here. Some come more than once.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        let members = self.entries.iter().map(|(_, config)| &config.members);
        let roles = members.flat_map(|m| [&m.replicas, &m.leaders, &m.acceptors]);
        roles.flat_map(|role| role.iter().copied())
    }

    /// The first slot of the newest configuration.
    #[must_use]
    pub fn newest_from(&self) -> Slot {
        self.boundary()
    }

    /// Whether `id` is a replica of a configuration known here.
    #[must_use]
    pub fn replicates(&self, id: NodeId) -> bool {
        self.entries.iter().any(|(_, config)| config.members.replicas.contains(&id))
    }

    /// The first slot of the newest configuration.
    #[inline]
    pub(crate) fn boundary(&self) -> Slot {
        self.entries[self.entries.len() - 1].0
    }

    /// The first slot after those that the configuration of `epoch` governs; `None` if there is
    /// no newer one.
    pub(crate) fn end(&self, epoch: u64) -> Option<Slot> {
        let newer = self.entries.iter().find(|(_, config)| config.epoch > epoch);
        newer.map(|&(first, _)| first)
    }

    /// The ranges of slots from `from` on, each with its configuration; the last has no end.
    pub(crate) fn ranges(
        &self,
        from: Slot,
    ) -> impl Iterator<Item = (Slot, Option<Slot>, &Arc<Config>)> {
        let ends = self.entries.iter().skip(1).map(|&(first, _)| Some(first)).chain([None]);
        self.entries
            .iter()
            .zip(ends)
            .filter(move |(_, end)| end.is_none_or(|end| end > from))
            .map(move |((first, config), end)| ((*first).max(from), end, config))
    }

    /// Case reconfiguration, performed in `slot`: it governs the slots from `slot` + WINDOW on if
    /// it replaces the newest configuration. Returns the slot from which it does.
    pub(crate) fn reconfigure(&mut self, slot: Slot, to: &Reconfiguration) -> Option<Slot> {
        let epoch = self.latest().epoch;
        if to.replaces != epoch || to.members.check().is_err() {
            return None;
        }
        let effective = slot.plus(self.window);
        let config = Arc::new(Config { epoch: epoch + 1, members: to.members.clone() });
        match self.entries.last_mut() {
            // Two in one decree: the second governs at once.
            Some(last) if last.0 == effective => last.1 = config,
            _ => self.entries.push((effective, config)),
        }
        Some(effective)
    }

    /// Takes over what `other` knows beyond this schedule.
    pub(crate) fn extend(&mut self, other: &Self) {
        let latest = self.latest().epoch;
        let newer = other.entries.iter().filter(|(_, config)| config.epoch > latest);
        for entry in newer {
            match self.entries.last_mut() {
                Some(last) if last.0 == entry.0 => last.1 = entry.1.clone(),
                _ => self.entries.push(entry.clone()),
            }
        }
    }

    /// Forgets the configurations that govern only slots below `slot`, and returns them.
    pub(crate) fn forget(&mut self, slot: Slot) -> impl Iterator<Item = Arc<Config>> {
        let old = self.entries.iter().skip(1).take_while(|(first, _)| *first <= slot).count();
        self.entries.drain(..old).map(|(_, config)| config).collect::<Vec<_>>().into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u32]) -> Vec<NodeId> {
        ids.iter().map(|&id| NodeId(id)).collect()
    }

    fn members(nodes: &[u32]) -> Members {
        Members::new(ids(nodes), ids(nodes), ids(nodes)).unwrap()
    }

    fn replace(epoch: u64, nodes: &[u32]) -> Reconfiguration {
        Reconfiguration { replaces: epoch, members: members(nodes) }
    }

    #[test]
    fn quorums_that_need_not_intersect_are_refused() {
        let four = members(&[1, 2, 3, 4]);
        assert_eq!(four.quorums, Quorums { phase1: 3, phase2: 3 });
        assert!(four.clone().with_quorums(Quorums { phase1: 3, phase2: 2 }).is_ok());
        assert!(four.clone().with_quorums(Quorums { phase1: 2, phase2: 2 }).is_err());
        assert!(four.clone().with_quorums(Quorums { phase1: 5, phase2: 2 }).is_err());
        assert!(four.with_quorums(Quorums { phase1: 4, phase2: 0 }).is_err());
    }

    #[test]
    fn members_are_checked() {
        let nobody = Members::new(ids(&[1]), ids(&[1]), ids(&[]));
        assert_eq!(nobody, Err(InvalidMembers::Nobody("acceptors")));
        let twice = Members::new(ids(&[1]), ids(&[2, 2]), ids(&[1]));
        assert_eq!(twice, Err(InvalidMembers::Twice("leaders", NodeId(2))));
    }

    #[test]
    fn a_reconfiguration_governs_from_window_slots_later() {
        let mut schedule = Schedule::new(members(&[1, 2, 3]), 5);
        assert_eq!(schedule.reconfigure(Slot(7), &replace(0, &[4, 5, 6])), Some(Slot(12)));
        assert_eq!(schedule.at(Slot(11)).epoch, 0);
        assert_eq!(schedule.at(Slot(12)).epoch, 1);
    }

    #[test]
    fn the_second_of_two_reconfigurations_from_one_base_has_no_effect() {
        let mut schedule = Schedule::new(members(&[1, 2, 3]), 5);
        assert!(schedule.reconfigure(Slot(1), &replace(0, &[4, 5, 6])).is_some());
        assert!(schedule.reconfigure(Slot(2), &replace(0, &[7, 8, 9])).is_none());
        assert_eq!(schedule.latest().epoch, 1);
    }

    #[test]
    fn forgetting_keeps_what_still_governs() {
        let mut schedule = Schedule::new(members(&[1]), 2);
        schedule.reconfigure(Slot(1), &replace(0, &[2]));
        schedule.reconfigure(Slot(2), &replace(1, &[3]));
        assert_eq!(schedule.forget(Slot(3)).map(|c| c.epoch).collect::<Vec<_>>(), [0]);
        assert_eq!(schedule.at(Slot(3)).epoch, 1);
        assert_eq!(schedule.ranges(Slot(3)).count(), 2);
        assert_eq!(schedule.forget(Slot(100)).map(|c| c.epoch).collect::<Vec<_>>(), [1]);
        assert_eq!(schedule.latest().epoch, 2);
    }
}
