//! What can go wrong, and what operators do.

use serde::{Deserialize, Serialize};

/// Something at its time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Planned {
    /// When, in microseconds.
    pub at: u64,
    /// What.
    #[serde(flatten)]
    pub fault: Fault,
}

/// What a crash leaves of what was written and not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Left {
    /// Everything, unsynced: the process ended, the machine did not.
    Process,
    /// Nothing.
    Nothing,
    /// Everything.
    All,
    /// The first of it; the last write is torn.
    Prefix,
    /// Any of its sectors.
    Sectors,
}

/// One fault. Nodes that do not exist, or are down already, are left alone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// These nodes hear nobody else, and nobody else hears them; or only one of the two.
    Part {
        /// On one side.
        side: Vec<u32>,
        /// What they say gets lost.
        mute: bool,
        /// What is said to them gets lost.
        deaf: bool,
        /// How long.
        lasts: u64,
    },
    /// The leader is cut off from all other nodes, which notice at once, and does not know.
    Isolate {
        /// How long.
        lasts: u64,
    },
    /// What one node says to another gets lost.
    Cut {
        /// Who says it.
        from: u32,
        /// To whom.
        to: u32,
        /// How long.
        lasts: u64,
    },
    /// Messages of one kind get lost.
    Lose {
        /// Which kind, as the paper calls it.
        kind: String,
        /// How many of a thousand.
        rate: u32,
        /// How long.
        lasts: u64,
    },
    /// Messages of one kind are held back, and arrive when this is over.
    Hold {
        /// Which kind.
        kind: String,
        /// From this node; from all if 0.
        from: u32,
        /// How long.
        lasts: u64,
    },
    /// What one node says takes longer; to all others, if `to` is 0.
    Slow {
        /// Who says it.
        from: u32,
        /// To whom.
        to: u32,
        /// By so much.
        by: u64,
        /// How long.
        lasts: u64,
    },
    /// What a node says arrives as bytes that are no message, though their checksum is right.
    Garble {
        /// From this node; from all if 0.
        from: u32,
        /// How many of a thousand messages.
        rate: u32,
        /// How long.
        lasts: u64,
    },
    /// A node says hello to others under the wrong address.
    Misdirect {
        /// Who.
        from: u32,
        /// To whom, though it means another.
        to: u32,
    },
    /// A node of another cluster knocks.
    Foreign {
        /// At whose door.
        to: u32,
    },
    /// A node crashes and comes back.
    Crash {
        /// Which.
        node: u32,
        /// What is left of what it was writing.
        left: Left,
        /// How long it is down.
        down: u64,
    },
    /// All crash at once.
    PowerCut {
        /// What is left of what they were writing.
        left: Left,
        /// How long they are down.
        down: u64,
    },
    /// A node crashes as soon as it has sent a message of this kind: nothing else leaves.
    LastWords {
        /// Which; the leader if 0.
        node: u32,
        /// The kind.
        kind: String,
        /// How long it is down.
        down: u64,
    },
    /// A node crashes at one of its disk's next calls, perhaps while it recovers.
    CrashInDisk {
        /// Which.
        node: u32,
        /// At which call from now on.
        call: u64,
        /// It crashes first, so that the call is one of its recovery.
        recovery: bool,
        /// What is left.
        left: Left,
        /// How long it is down.
        down: u64,
    },
    /// A node does nothing for a while, and does not notice.
    Pause {
        /// Which; the leader if 0.
        node: u32,
        /// How long.
        lasts: u64,
    },
    /// A node takes longer for everything.
    Sluggish {
        /// Which.
        node: u32,
        /// The length of its turns.
        turn: u64,
        /// How long.
        lasts: u64,
    },
    /// A node's syncs take longer.
    SlowDisk {
        /// Which.
        node: u32,
        /// By so much.
        by: u64,
        /// How long.
        lasts: u64,
    },
    /// A node's syncs do not end.
    HungDisk {
        /// Which; the leader if 0.
        node: u32,
        /// How long.
        lasts: u64,
    },
    /// A node's disk has no more room.
    FullDisk {
        /// Which.
        node: u32,
        /// How many bytes there still are.
        room: u64,
        /// How long.
        lasts: u64,
    },
    /// A write, sync or read of a node fails.
    FailingDisk {
        /// Which.
        node: u32,
        /// `write`, `sync` or `read`.
        call: String,
        /// Only of files whose names begin so: `log-`, `snapshot-`, or nothing for all.
        #[serde(default)]
        of: String,
        /// Which call of this kind from now on.
        nth: u64,
        /// How long until it is started again.
        down: u64,
    },
    /// A bit of a node's disk flips while it is down.
    Rot {
        /// Which.
        node: u32,
        /// How long it is down.
        down: u64,
        /// It is a bit of the first vote in the log that no snapshot makes needless.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        vote: bool,
    },
    /// A sector of a node's disk goes back to what it was, while it is down.
    Stale {
        /// Which.
        node: u32,
        /// How long it is down.
        down: u64,
    },
    /// A node loses its disk, and is started on an empty one.
    Wipe {
        /// Which.
        node: u32,
        /// How long it is down.
        down: u64,
    },
    /// A node is started on a copy of its disk that was made before.
    Restore {
        /// Which.
        node: u32,
        /// How long before.
        back: u64,
    },
    /// A disk says that it syncs, and does not, until the power fails.
    LyingDisk {
        /// Whose.
        node: u32,
        /// How long it lies.
        lasts: u64,
        /// What is left of what it should have synced.
        left: Left,
        /// How long the node is down.
        down: u64,
    },
    /// A sector of a node's disk is written where another one belongs, while it is down.
    WrongPlace {
        /// Which node.
        node: u32,
        /// That one is written where this one belongs.
        swap: bool,
        /// How long it is down.
        down: u64,
    },
    /// A node is restarted, and then started a second time, elsewhere, on an exact copy of the disk
    /// that the first one has found.
    Cloned {
        /// Which.
        node: u32,
        /// How long after the first one.
        after: u64,
    },
    /// A node's state machine panics.
    Panic {
        /// Which node.
        node: u32,
        /// At which command from now on, and then at each one.
        nth: u64,
        /// How long it does.
        lasts: u64,
        /// How long the node is down after each time.
        down: u64,
    },
    /// The state machines of all nodes panic at certain commands, the same ones everywhere.
    Poison {
        /// How long, until they are mended.
        lasts: u64,
        /// How long a node is down after each time.
        down: u64,
    },
    /// A node is restarted with the next version of its state machine. When all have been, an
    /// operator sends the command from which on that version does more than the one before.
    Upgrade {
        /// Which.
        node: u32,
        /// How long it is down.
        down: u64,
    },
    /// A client's former program is still there, and asks a node for something in its session,
    /// which was left behind or has expired.
    FormerSession {
        /// Which client; counted from 0.
        client: u32,
        /// Which node.
        node: u32,
    },
    /// A node's clock stands still.
    StoppedClock {
        /// Which.
        node: u32,
        /// How long.
        lasts: u64,
        /// The node sleeps meanwhile, as a machine that is suspended does.
        asleep: bool,
    },
    /// A node's clock leaps ahead.
    Leap {
        /// Which.
        node: u32,
        /// By how much.
        by: u64,
    },
    /// A connection breaks: both sides notice.
    Reset {
        /// One side.
        one: u32,
        /// The other.
        other: u32,
    },
    /// An operator replaces nodes by new ones; those that are lost first.
    Reconfigure {
        /// How many go.
        remove: u32,
        /// How many come; as many as keep the size, at least.
        add: u32,
        /// Two operators do so at once.
        twice: bool,
    },
    /// An operator asks the leader to hand over.
    HandOver {
        /// To whom; if there is none, to the fittest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<u32>,
    },
    /// An operator asks a node for a snapshot.
    Save {
        /// Which.
        node: u32,
    },
}

impl Fault {
    /// Whether a process may end by it.
    #[must_use]
    pub fn crashes(&self) -> bool {
        match self {
            Self::Crash { .. }
            | Self::PowerCut { .. }
            | Self::LastWords { .. }
            | Self::CrashInDisk { .. }
            | Self::FailingDisk { .. }
            | Self::Rot { .. }
            | Self::Stale { .. }
            | Self::Wipe { .. }
            | Self::LyingDisk { .. }
            | Self::WrongPlace { .. }
            | Self::Cloned { .. }
            | Self::Panic { .. }
            | Self::Poison { .. }
            | Self::Upgrade { .. } => true,
            Self::Part { .. }
            | Self::Isolate { .. }
            | Self::Cut { .. }
            | Self::Lose { .. }
            | Self::Hold { .. }
            | Self::Slow { .. }
            | Self::Garble { .. }
            | Self::Misdirect { .. }
            | Self::Foreign { .. }
            | Self::Pause { .. }
            | Self::Sluggish { .. }
            | Self::SlowDisk { .. }
            | Self::HungDisk { .. }
            | Self::FullDisk { .. }
            | Self::Restore { .. }
            | Self::FormerSession { .. }
            | Self::StoppedClock { .. }
            | Self::Leap { .. }
            | Self::Reset { .. }
            | Self::Reconfigure { .. }
            | Self::HandOver { .. }
            | Self::Save { .. } => false,
        }
    }

    /// Its name, for counting.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Part { .. } => "part",
            Self::Isolate { .. } => "isolate",
            Self::Cut { .. } => "cut",
            Self::Lose { .. } => "lose",
            Self::Hold { .. } => "hold",
            Self::Slow { .. } => "slow",
            Self::Garble { .. } => "garble",
            Self::Misdirect { .. } => "misdirect",
            Self::Foreign { .. } => "foreign",
            Self::Crash { .. } => "crash",
            Self::PowerCut { .. } => "power_cut",
            Self::LastWords { .. } => "last_words",
            Self::CrashInDisk { .. } => "crash_in_disk",
            Self::Pause { .. } => "pause",
            Self::Sluggish { .. } => "sluggish",
            Self::SlowDisk { .. } => "slow_disk",
            Self::HungDisk { .. } => "hung_disk",
            Self::FullDisk { .. } => "full_disk",
            Self::FailingDisk { .. } => "failing_disk",
            Self::Rot { .. } => "rot",
            Self::Stale { .. } => "stale",
            Self::Wipe { .. } => "wipe",
            Self::Restore { .. } => "restore",
            Self::LyingDisk { .. } => "lying_disk",
            Self::WrongPlace { .. } => "wrong_place",
            Self::Cloned { .. } => "cloned",
            Self::Panic { .. } => "panic",
            Self::Poison { .. } => "poison",
            Self::Upgrade { .. } => "upgrade",
            Self::FormerSession { .. } => "former_session",
            Self::StoppedClock { .. } => "stopped_clock",
            Self::Leap { .. } => "leap",
            Self::Reset { .. } => "reset",
            Self::Reconfigure { .. } => "reconfigure",
            Self::HandOver { .. } => "hand_over",
            Self::Save { .. } => "save",
        }
    }
}
