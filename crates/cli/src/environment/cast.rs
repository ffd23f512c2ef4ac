//! Who is who: the names of the processes, and the numbers by which the protocol knows them.

use std::fmt;

use synod_paxos::{NodeId, Roles};

/// What a process of the paper does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Replica,
    Leader,
    Acceptor,
}

impl Role {
    pub(crate) const ALL: [Self; 3] = [Self::Replica, Self::Leader, Self::Acceptor];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Replica => "replica",
            Self::Leader => "leader",
            Self::Acceptor => "acceptor",
        }
    }

    /// What a node hosts that is such a process.
    pub(crate) fn roles(self) -> Roles {
        match self {
            Self::Replica => Roles::REPLICA,
            Self::Leader => Roles::LEADER,
            Self::Acceptor => Roles::ACCEPTOR,
        }
    }
}

/// A process by its name, such as `replica 2`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Name {
    pub(crate) role: Role,
    pub(crate) number: u32,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.role.name(), self.number)
    }
}

/// Who a name in a file speaks of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Who {
    Process(Name),
    Client(u32),
}

/// Reads a name.
pub(crate) fn parse(name: &str) -> Option<Who> {
    let (role, number) = name.split_once(' ')?;
    let number = number.parse().ok().filter(|&number| number > 0)?;
    if role == "client" {
        return Some(Who::Client(number));
    }
    let role = Role::ALL.into_iter().find(|known| known.name() == role)?;
    Some(Who::Process(Name { role, number }))
}

/// All processes that there ever are, but for the clients. A process's id is its place here, from
/// 1 on.
#[derive(Default, Debug)]
pub(crate) struct Cast(Vec<Name>);

impl Cast {
    /// Adds a process, and returns its id.
    pub(crate) fn join(&mut self, role: Role, number: u32) -> NodeId {
        self.0.push(Name { role, number });
        NodeId(u32::try_from(self.0.len()).unwrap_or(u32::MAX))
    }

    pub(crate) fn id(&self, name: Name) -> Option<NodeId> {
        let place = self.0.iter().position(|known| *known == name)?;
        Some(NodeId(u32::try_from(place + 1).ok()?))
    }

    pub(crate) fn name(&self, id: NodeId) -> Name {
        self.0[place(id)]
    }

    pub(crate) fn names(&self) -> &[Name] {
        &self.0
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (1..=self.0.len()).filter_map(|id| u32::try_from(id).ok()).map(NodeId)
    }
}

/// Where a process stands in every list of processes.
pub(crate) fn place(id: NodeId) -> usize {
    id.0 as usize - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_a_role_and_a_number() {
        let leader = Name { role: Role::Leader, number: 12 };
        assert_eq!(parse("leader 12"), Some(Who::Process(leader)));
        assert_eq!(parse(&leader.to_string()), Some(Who::Process(leader)));
        assert_eq!(parse("client 3"), Some(Who::Client(3)));
        for bad in ["leader", "leader 0", "leader  1", "leader x", "boss 1", "Leader 1", ""] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
