//! The schedule of events: what happens to the processes, and when.
//!
//! Events happen in the order in which they stand. So what each may name can be told beforehand,
//! by going through them once: nothing crashes that is down already, and a process that has left
//! the configuration does not come back.

use std::{ops::Range, time::Duration};

use synod_paxos::{Members, NodeId};

use super::{
    cast::{self, Cast, Name, Role, Who, place},
    description::{self, At, Names},
    plan::{Complaint, milliseconds},
};

/// One event.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) when: When,
    pub(crate) what: What,
}

/// When an event happens, but never before the one that stands before it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// When so many slots are decided.
    Slot(u64),
    /// So long after the start.
    Time(Duration),
    /// So long after the event before.
    After(Duration),
}

/// What happens.
#[derive(Debug)]
pub(crate) enum What {
    Crash(Vec<NodeId>),
    Restart(Vec<NodeId>),
    /// A restart from an empty disk.
    RestartWithoutRecords(Vec<NodeId>),
    /// Groups that no longer reach one another.
    Partition(Vec<Vec<Who>>),
    Heal,
    /// The new configuration, and the processes that have to be started for it.
    Reconfigure(Members, Vec<NodeId>),
}

/// What a process is doing, at some point of the schedule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Status {
    Up,
    Down,
    /// In no configuration any more.
    Gone,
}

/// The checks, and what they have to remember from event to event.
struct Check<'a> {
    cast: &'a mut Cast,
    status: Vec<Status>,
    members: Members,
    clients: u32,
}

/// Checks the schedule of an environment that starts with these members. Processes that join
/// later are added to the cast.
pub(crate) fn check(
    events: Vec<At<description::Event>>,
    cast: &mut Cast,
    members: &Members,
    clients: u32,
) -> Result<Vec<Event>, Complaint> {
    let status = vec![Status::Up; cast.names().len()];
    let mut check = Check { cast, status, members: members.clone(), clients };
    events.into_iter().map(|event| check.event(event)).collect()
}

impl Check<'_> {
    fn event(&mut self, event: At<description::Event>) -> Result<Event, Complaint> {
        let at = event.span();
        let event = event.into_inner();
        Ok(Event { when: when(&event, &at)?, what: self.what(event, &at)? })
    }

    fn what(&mut self, event: description::Event, at: &Range<usize>) -> Result<What, Complaint> {
        let description::Event { crash, restart, restart_without_records, .. } = event;
        let description::Event { partition, heal, reconfigure, add, remove, .. } = event;
        let change = (add.is_some() || remove.is_some()).then_some((add, remove));
        let given = [
            crash.is_some(),
            restart.is_some(),
            restart_without_records.is_some(),
            partition.is_some(),
            heal.is_some(),
            reconfigure.is_some(),
            change.is_some(),
        ];
        if given.iter().filter(|given| **given).count() != 1 {
            let what = "an event is one of: crash, restart, restart_without_records, partition, \
                        heal, reconfigure, or add and remove";
            return Err(Complaint::new(at.clone(), what));
        }
        if let Some(names) = crash {
            return Ok(What::Crash(self.turn(&names, Status::Up, Status::Down)?));
        }
        if let Some(names) = restart {
            return Ok(What::Restart(self.turn(&names, Status::Down, Status::Up)?));
        }
        if let Some(names) = restart_without_records {
            // It will be refused, so it stays down.
            let ids = self.turn(&names, Status::Down, Status::Down)?;
            return Ok(What::RestartWithoutRecords(ids));
        }
        if let Some(groups) = partition {
            return self.partition(&groups);
        }
        if heal == Some(false) {
            return Err(Complaint::new(at.clone(), "heal = true ends a partition; leave it out"));
        }
        if let Some(members) = reconfigure {
            return self.reconfigure(members.get_ref(), members.span());
        }
        match change {
            Some((add, remove)) => {
                self.change(&add.unwrap_or_default(), &remove.unwrap_or_default(), at)
            }
            None => Ok(What::Heal),
        }
    }

    /// The processes of these names, all of which must be `from`, and then are `to`.
    fn turn(&mut self, names: &Names, from: Status, to: Status) -> Result<Vec<NodeId>, Complaint> {
        let mut ids = Vec::new();
        for name in names {
            let id = self.member(name)?;
            let status = self.status[place(id)];
            if status != from || ids.contains(&id) {
                let why = match (from, status) {
                    (_, Status::Gone) => "has left the configuration: name one that has not",
                    (Status::Up, Status::Down) => "is down already: restart it first",
                    (Status::Down, Status::Up) => "is running: crash it first",
                    (..) => "stands twice in this event",
                };
                return Err(Complaint::new(name.span(), format!("{} {why}", name.get_ref())));
            }
            ids.push(id);
        }
        ids.iter().for_each(|id| self.status[place(*id)] = to);
        Ok(ids)
    }

    /// A replica, leader or acceptor that there is.
    fn member(&self, name: &At<String>) -> Result<NodeId, Complaint> {
        let name_of_member = process(name)?;
        self.cast.id(name_of_member).ok_or_else(|| self.unknown(name, name_of_member.role.name()))
    }

    fn unknown(&self, name: &At<String>, role: &str) -> Complaint {
        let names = self.cast.names().iter();
        let known = names.filter(|known| known.role.name() == role).map(|known| known.number);
        let most = if role == "client" { Some(self.clients) } else { known.max() };
        let what = format!(
            "there is no {}: the last {role} at this point is {role} {}",
            name.get_ref(),
            most.unwrap_or(0)
        );
        Complaint::new(name.span(), what)
    }

    fn partition(&self, groups: &At<Vec<Names>>) -> Result<What, Complaint> {
        let mut seen = Vec::new();
        let mut partition = Vec::new();
        for group in groups.get_ref() {
            let mut members = Vec::new();
            for name in group {
                let who = cast::parse(name.get_ref()).ok_or_else(|| no_name(name))?;
                match who {
                    Who::Client(number) if number > self.clients => {
                        return Err(self.unknown(name, "client"));
                    }
                    Who::Client(_) => {}
                    Who::Process(_) => drop(self.member(name)?),
                }
                if seen.contains(&who) {
                    let what = format!("{} stands twice in this partition", name.get_ref());
                    return Err(Complaint::new(name.span(), what));
                }
                seen.push(who);
                members.push(who);
            }
            partition.push(members);
        }
        if partition.len() < 2 || partition.iter().any(Vec::is_empty) {
            let what = "a partition has at least two groups, with somebody in each: \
                        [[\"leader 1\"], [\"leader 2\"]]";
            return Err(Complaint::new(groups.span(), what));
        }
        Ok(What::Partition(partition))
    }

    /// A configuration of these members; roles that are left out stay as they are.
    fn reconfigure(
        &mut self,
        to: &description::Members,
        at: Range<usize>,
    ) -> Result<What, Complaint> {
        let mut starts = Vec::new();
        let old = self.members.clone();
        let mut role = |role, names: &Option<Names>, old: &[NodeId]| match names {
            Some(names) => self.enlist(Some(role), names, &mut starts),
            None => Ok(old.to_vec()),
        };
        let replicas = role(Role::Replica, &to.replicas, &old.replicas)?;
        let leaders = role(Role::Leader, &to.leaders, &old.leaders)?;
        let acceptors = role(Role::Acceptor, &to.acceptors, &old.acceptors)?;
        let quorums = to.quorums.as_ref().map(|quorums| quorums.get_ref().into());
        let members =
            Members::new(replicas, leaders, acceptors).and_then(|members| match quorums {
                Some(quorums) => members.with_quorums(quorums),
                None => Ok(members),
            });
        self.adopt(members.map_err(|error| Complaint::new(at, error.to_string()))?, starts)
    }

    /// The configuration with some processes more, and some less.
    fn change(
        &mut self,
        add: &Names,
        remove: &Names,
        at: &Range<usize>,
    ) -> Result<What, Complaint> {
        let mut removed = Vec::new();
        for name in remove {
            let id = self.member(name)?;
            if self.status[place(id)] == Status::Gone {
                let what = format!("{} has left the configuration already", name.get_ref());
                return Err(Complaint::new(name.span(), what));
            }
            removed.push(id);
        }
        let mut starts = Vec::new();
        let added = self.enlist(None, add, &mut starts)?;
        let old = self.members.clone();
        let role = |role: Role, old: &[NodeId]| -> Vec<NodeId> {
            let stay = old.iter().copied().filter(|id| !removed.contains(id));
            let join = added.iter().copied().filter(|id| self.cast.name(*id).role == role);
            stay.chain(join).collect()
        };
        let members = Members::new(
            role(Role::Replica, &old.replicas),
            role(Role::Leader, &old.leaders),
            role(Role::Acceptor, &old.acceptors),
        );
        let invalid = |error: synod_paxos::reconfig::InvalidMembers| {
            Complaint::new(at.clone(), error.to_string())
        };
        self.adopt(members.map_err(invalid)?, starts)
    }

    /// The processes of these names, for a new configuration. Those that are new join the cast.
    fn enlist(
        &mut self,
        role: Option<Role>,
        names: &Names,
        starts: &mut Vec<NodeId>,
    ) -> Result<Vec<NodeId>, Complaint> {
        let mut ids = Vec::new();
        for name in names {
            let Name { role: its, number } = process(name)?;
            if let Some(role) = role.filter(|role| *role != its) {
                let what = format!("{} cannot stand among the {}s", name.get_ref(), role.name());
                return Err(Complaint::new(name.span(), what));
            }
            let id = match self.cast.id(Name { role: its, number }) {
                None => {
                    let id = self.cast.join(its, number);
                    self.status.push(Status::Up);
                    starts.push(id);
                    id
                }
                Some(id) if self.status[place(id)] == Status::Gone || role.is_none() => {
                    let what = format!(
                        "{} is not new: whoever joins needs a number that was never used",
                        name.get_ref()
                    );
                    return Err(Complaint::new(name.span(), what));
                }
                Some(id) => id,
            };
            ids.push(id);
        }
        Ok(ids)
    }

    fn adopt(&mut self, members: Members, starts: Vec<NodeId>) -> Result<What, Complaint> {
        let inside = |id: &NodeId| {
            let Members { replicas, leaders, acceptors, .. } = &members;
            [replicas, leaders, acceptors].iter().any(|role| role.contains(id))
        };
        for id in self.cast.ids().filter(|id| !inside(id)) {
            self.status[place(id)] = Status::Gone;
        }
        self.members = members.clone();
        Ok(What::Reconfigure(members, starts))
    }
}

fn when(event: &description::Event, at: &Range<usize>) -> Result<When, Complaint> {
    match (event.slot, &event.ms, &event.after_ms) {
        (Some(slot), None, None) => Ok(When::Slot(slot)),
        (None, Some(ms), None) => Ok(When::Time(milliseconds("ms", ms, 0.0)?)),
        (None, None, Some(ms)) => Ok(When::After(milliseconds("after_ms", ms, 0.0)?)),
        (..) => {
            let what = "an event needs one of: slot, ms, after_ms (after the event before)";
            Err(Complaint::new(at.clone(), what))
        }
    }
}

/// The name of a replica, leader or acceptor.
fn process(name: &At<String>) -> Result<Name, Complaint> {
    match cast::parse(name.get_ref()) {
        Some(Who::Process(process)) => Ok(process),
        Some(Who::Client(_)) => {
            let what = "a client cannot crash, nor be a member: name a replica, leader or acceptor";
            Err(Complaint::new(name.span(), what))
        }
        None => Err(no_name(name)),
    }
}

fn no_name(name: &At<String>) -> Complaint {
    let what = format!(
        "\"{}\" names no process: write a role and a number, such as \"leader 1\"",
        name.get_ref()
    );
    Complaint::new(name.span(), what)
}
