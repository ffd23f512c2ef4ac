//! What is fuzzed, as ordinary functions: libFuzzer calls them, through `fuzz_targets/`, with bytes
//! of its own making, and a test calls them with those that are kept in `seeds/`. They panic where
//! a promise is broken.
//!
//! | target | what the bytes are |
//! |---|---|
//! | [`frames`] | what a stranger sends: a stream of frames, a handshake, a question or an answer |
//! | [`messages`] | what a member sends, or a disk holds: a message, record, command or frame |
//! | [`recovery`] | what became of a log |
//! | [`snapshots`] | what became of a snapshot, on the disk or on its way here |
//! | [`node`] | what happens to a cluster, and in which order |

pub mod frames;
pub mod memory;
pub mod messages;
pub mod node;
pub mod recovery;
pub mod snapshots;

mod draw;

/// The cluster of the random schedules, its clients, and the properties that judge what happens.
#[path = "../../crates/paxos/tests/schedule"]
mod schedule {
    pub(crate) mod callers;
    #[expect(dead_code, reason = "here, bytes decide what happens next, not chance")]
    pub(crate) mod chaos;
    pub(crate) mod disk;
    pub(crate) mod event;
    pub(crate) mod history;
    pub(crate) mod machine;
    #[expect(dead_code, reason = "what many seeds must show, few inputs need not")]
    pub(crate) mod marks;
    pub(crate) mod network;
    pub(crate) mod options;
    pub(crate) mod properties;
    #[expect(dead_code, reason = "a failed input is short enough to be looked at as a whole")]
    pub(crate) mod trace;
    pub(crate) mod world;
}
// They know each other by these names.
use schedule::{
    callers, disk, event, history, machine, marks, network, options, properties, trace, world,
};

/// Something that is fuzzed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, also that of its seeds' directory.
    pub name: &'static str,
    /// What it does with some bytes.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 5] = [
    Target { name: "frames", run: frames::run },
    Target { name: "messages", run: messages::run },
    Target { name: "recovery", run: recovery::run },
    Target { name: "snapshots", run: snapshots::run },
    Target { name: "node", run: node::run },
];
