//! Whose directory this is.

use std::fmt;

use synod_paxos::NodeId;

use crate::layout::{self, FIELDS, put_u32, put_u64, u32_at, u64_at};

/// The name of the file.
pub(crate) const FILE: &str = "IDENTITY";
/// The file is written aside, under this name.
pub(crate) const FILE_ASIDE: &str = "IDENTITY.tmp";

const MAGIC: [u8; 8] = *b"SYNODID\0";
const BLOCK: usize = 64;
/// The second copy is in another sector.
const SECOND: usize = 512;
/// The length of the file.
const LEN: usize = SECOND + BLOCK;

/// Whose directory it is. This is in every file of the log and salts every checksum, so that no
/// byte of another directory is ever taken for one of this.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The cluster.
    pub cluster: u64,
    /// The node.
    pub node: NodeId,
    /// A random number, drawn when the directory was formatted: a directory that was wiped and
    /// made anew is another one.
    pub birth: u64,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, node, birth } = self;
        write!(f, "cluster {cluster:016x}, node {}, birth {birth:016x}", node.0)
    }
}

/// What is in the file.
pub(crate) enum Found {
    Identity(Identity),
    /// Another version of the format.
    Version(u32),
    /// Neither copy is intact.
    Damaged,
}

impl Identity {
    /// The bytes of the file: the same block twice.
    pub(crate) fn encode(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        let block = &mut bytes[..BLOCK];
        put_u64(block, FIELDS, self.cluster);
        put_u64(block, FIELDS + 8, self.birth);
        put_u32(block, FIELDS + 16, self.node.0);
        layout::seal(block, MAGIC);
        bytes.copy_within(..BLOCK, SECOND);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Found {
        let mut found = Found::Damaged;
        for block in [bytes.get(..BLOCK), bytes.get(SECOND..LEN)].into_iter().flatten() {
            match layout::version(block, MAGIC) {
                Some(layout::FORMAT) => return Found::Identity(Self::fields(block)),
                Some(version) => found = Found::Version(version),
                None => {}
            }
        }
        found
    }

    fn fields(block: &[u8]) -> Self {
        Self {
            cluster: u64_at(block, FIELDS),
            birth: u64_at(block, FIELDS + 8),
            node: NodeId(u32_at(block, FIELDS + 16)),
        }
    }
}
