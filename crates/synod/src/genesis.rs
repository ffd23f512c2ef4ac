//! How a cluster began: what its first nodes must agree on, and its name.

use std::io;

use serde::{Deserialize, Serialize};
use synod_paxos::{Members, NodeId, Schedule, reconfig::InvalidMembers, session::SESSIONS_MAX};
use synod_storage::{Disk, File};

/// A member of a cluster, and what it does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Which node.
    pub id: u32,
    /// Where it is: `host:port`.
    pub address: String,
    /// Keeps the state, and answers reads.
    pub replica: bool,
    /// May lead.
    pub leader: bool,
    /// Votes.
    pub acceptor: bool,
}

impl Member {
    /// A member in all roles.
    pub fn new(id: u32, address: impl Into<String>) -> Self {
        Self { id, address: address.into(), replica: true, leader: true, acceptor: true }
    }

    /// Votes, and does nothing else: cheap, and as good for the safety of what is written.
    #[must_use]
    pub fn witness(mut self) -> Self {
        (self.replica, self.leader, self.acceptor) = (false, false, true);
        self
    }

    /// Keeps the state and answers reads, and does not vote.
    #[must_use]
    pub fn read_copy(mut self) -> Self {
        (self.replica, self.leader, self.acceptor) = (true, false, false);
        self
    }
}

/// WINDOW, unless set.
const WINDOW: u64 = 16;

/// What a cluster begins with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Genesis {
    pub(crate) name: Option<String>,
    pub(crate) members: Vec<Member>,
    pub(crate) window: u64,
    pub(crate) sessions: u64,
}

impl Default for Genesis {
    fn default() -> Self {
        Self { name: None, members: Vec::new(), window: WINDOW, sessions: SESSIONS_MAX as u64 }
    }
}

const FILE: &str = "GENESIS";
const ASIDE: &str = "GENESIS.tmp";

impl Genesis {
    /// The number of the cluster: nodes that began with something else have another.
    pub(crate) fn cluster(&self) -> u64 {
        let mut named = self.clone();
        if named.name.is_some() {
            // Addresses may then differ from node to node, as they do behind proxies.
            named.members.iter_mut().for_each(|member| member.address.clear());
        }
        let bytes = postcard::to_stdvec(&named).unwrap_or_default();
        fnv(&bytes).max(1)
    }

    /// The member of this id.
    pub(crate) fn member(&self, id: u32) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// The first configuration.
    pub(crate) fn schedule(&self) -> Result<Schedule, InvalidMembers> {
        Ok(Schedule::new(members(&self.members)?, self.window))
    }

    /// What an earlier life of the node has kept. `None` if there was none.
    pub(crate) fn read(disk: &impl Disk) -> io::Result<Option<Self>> {
        let file = match disk.open(FILE) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let damaged = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{FILE} is damaged: copy the file from another node of the cluster"),
            )
        };
        let len = usize::try_from(file.len()?.min(1 << 20)).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        let mut read = 0;
        while read < len {
            match file.read_at(&mut bytes[read..], read as u64)? {
                0 => return Err(damaged()),
                n => read += n,
            }
        }
        let (sum, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
        if u32::from_le_bytes(*sum) != crc32c::crc32c(rest) {
            return Err(damaged());
        }
        postcard::from_bytes(rest).map(Some).map_err(|_| damaged())
    }

    /// Keeps it for later lives.
    pub(crate) fn write(&self, disk: &impl Disk) -> io::Result<()> {
        let body = postcard::to_stdvec(self).map_err(io::Error::other)?;
        let mut bytes = crc32c::crc32c(&body).to_le_bytes().to_vec();
        bytes.extend_from_slice(&body);
        let file = disk.create(ASIDE)?;
        file.write_at(&bytes, 0)?;
        file.sync()?;
        disk.rename(ASIDE, FILE)?;
        disk.sync_dir()
    }
}

/// Members by role, with majorities as quorums.
pub(crate) fn members(members: &[Member]) -> Result<Members, InvalidMembers> {
    let of = |role: fn(&Member) -> bool| -> Vec<NodeId> {
        members.iter().filter(|member| role(member)).map(|member| NodeId(member.id)).collect()
    };
    Members::new(of(|m| m.replica), of(|m| m.leader), of(|m| m.acceptor))
}

/// The hash of Fowler, Noll and Vo, 64 bits, variant 1a.
fn fnv(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn genesis(addresses: &[&str]) -> Genesis {
        let members = (1..).zip(addresses).map(|(id, address)| Member::new(id, *address));
        Genesis { members: members.collect(), ..Genesis::default() }
    }

    #[test]
    fn addresses_make_a_cluster_unless_it_has_a_name() {
        let (one, other) = (genesis(&["a:1", "b:1"]), genesis(&["a:1", "b:2"]));
        assert_ne!(one.cluster(), other.cluster());
        let named = |genesis: &Genesis| Genesis { name: Some("x".into()), ..genesis.clone() };
        assert_eq!(named(&one).cluster(), named(&other).cluster());
        assert_ne!(named(&one).cluster(), one.cluster());
        let wide = Genesis { window: 5, ..named(&one) };
        assert_ne!(wide.cluster(), named(&one).cluster());
    }
}
