//! What an omniscient observer knows from the votes that are on disk: which decrees are chosen,
//! which configuration governs which slot, and what the replicas' state must be.

use std::collections::BTreeMap;

use synod_paxos::{Ballot, ClientId, Config, Decree, Members, NodeId, Op, PValue, Slot};

/// An acceptor has accepted a pvalue, and it is or was on its disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Vote {
    pub(crate) acceptor: NodeId,
    pub(crate) pvalue: PValue,
}

/// What was accepted for a slot in one ballot, and by whom.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) ballot: Ballot,
    pub(crate) decree: Decree,
    pub(crate) by: Vec<NodeId>,
    pub(crate) chosen: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct History {
    window: u64,
    /// By slot, what was accepted in each ballot, in ascending order.
    slots: BTreeMap<Slot, Vec<Accepted>>,
    /// First slot and configuration.
    pub(crate) schedule: Vec<(Slot, Config)>,
    /// What has been performed before each slot from the first on, as far as all is chosen.
    states: Vec<Vec<u8>>,
    /// In which slot each command is performed.
    pub(crate) performed: Vec<(ClientId, u64, Slot)>,
}

impl History {
    /// The history of these votes.
    ///
    /// # Errors
    /// The rule that they break: A4, A5, or that one decree is chosen for a slot.
    pub(crate) fn of<'a>(
        members: &Members,
        window: u64,
        votes: impl Iterator<Item = &'a Vote>,
    ) -> Result<Self, &'static str> {
        let first = Config { epoch: 0, members: members.clone() };
        let mut history = Self {
            window,
            slots: BTreeMap::new(),
            schedule: vec![(Slot::FIRST, first)],
            states: vec![Vec::new()],
            performed: Vec::new(),
        };
        for Vote { acceptor, pvalue: PValue { ballot, slot, decree } } in votes {
            let ballots = history.slots.entry(*slot).or_default();
            let place = ballots.binary_search_by_key(ballot, |accepted| accepted.ballot);
            let place = place.unwrap_or_else(|place| {
                let (ballot, decree) = (*ballot, decree.clone());
                ballots.insert(place, Accepted { ballot, decree, by: Vec::new(), chosen: false });
                place
            });
            if ballots[place].decree != *decree {
                return Err("A4");
            }
            ballots[place].by.push(*acceptor);
        }
        while history.choose() {}
        history.judge()
    }

    /// Sees what is chosen where the configuration is known; true if that tells about more slots.
    fn choose(&mut self) -> bool {
        for slot in self.slots.keys().copied().collect::<Vec<_>>() {
            let Some(config) = self.config(slot).cloned() else { continue };
            let quorum = config.members.quorums.phase2 as usize;
            let votes = |id: &&NodeId| config.members.acceptors.contains(id);
            for accepted in self.slots.get_mut(&slot).into_iter().flatten() {
                accepted.chosen = accepted.by.iter().filter(votes).count() >= quorum;
            }
        }
        let Some(decree) = self.chosen(self.next()).map(|chosen| chosen.decree.clone()) else {
            return false;
        };
        self.perform(&decree);
        true
    }

    fn perform(&mut self, decree: &Decree) {
        let (slot, mut state) = (self.next(), self.states[self.states.len() - 1].clone());
        for command in decree.commands() {
            let known = (command.client, command.cid);
            if self.performed.iter().any(|(client, cid, _)| (*client, *cid) == known) {
                continue;
            }
            self.performed.push((command.client, command.cid, slot));
            match &command.op {
                Op::Apply(op) => state.extend(op.as_slice()),
                Op::Reconfigure(to) => {
                    let epoch = self.latest().epoch;
                    if to.replaces == epoch {
                        let config = Config { epoch: epoch + 1, members: to.members.clone() };
                        self.schedule.push((slot.plus(self.window), config));
                    }
                }
            }
        }
        self.states.push(state);
    }

    fn judge(self) -> Result<Self, &'static str> {
        for ballots in self.slots.values() {
            let mut chosen = ballots.iter().skip_while(|accepted| !accepted.chosen);
            let Some(first) = chosen.next() else { continue };
            if chosen.any(|later| later.decree != first.decree) {
                return Err("A5");
            }
        }
        Ok(self)
    }

    /// The first slot that is not chosen, or comes after one that is not.
    pub(crate) fn next(&self) -> Slot {
        Slot(self.states.len() as u64)
    }

    pub(crate) fn latest(&self) -> &Config {
        &self.schedule[self.schedule.len() - 1].1
    }

    /// The configuration of a slot; `None` as long as the decrees that determine it are open.
    pub(crate) fn config(&self, slot: Slot) -> Option<&Config> {
        let known = slot < self.next().plus(self.window);
        let mut governing = self.schedule.iter().rev().filter(|(first, _)| *first <= slot);
        governing.next().filter(|_| known).map(|(_, config)| config)
    }

    /// What was accepted in a slot, in ascending order of ballots.
    pub(crate) fn ballots(&self, slot: Slot) -> &[Accepted] {
        self.slots.get(&slot).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = (Slot, &[Accepted])> {
        self.slots.iter().map(|(slot, ballots)| (*slot, ballots.as_slice()))
    }

    pub(crate) fn accepted(&self, slot: Slot, ballot: Ballot) -> Option<&Accepted> {
        self.ballots(slot).iter().find(|accepted| accepted.ballot == ballot)
    }

    pub(crate) fn chosen(&self, slot: Slot) -> Option<&Accepted> {
        self.ballots(slot).iter().find(|accepted| accepted.chosen)
    }

    /// What has been performed before `slot`, if all that is chosen.
    pub(crate) fn state(&self, slot: Slot) -> Option<&[u8]> {
        let place = usize::try_from(slot.0.checked_sub(1)?).ok()?;
        self.states.get(place).map(Vec::as_slice)
    }
}
