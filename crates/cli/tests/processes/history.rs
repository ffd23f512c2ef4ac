//! What clients saw: each operation with its result, and when it was called and returned.

use std::fmt;
use std::time::{Duration, Instant};

/// The clock that all clients of one history share: monotonic, in nanoseconds from its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).expect("a test lasts less than 500 years")
    }
}

/// An operation on one key, with what it returned.
///
/// Values and items are never used twice in one history, so a value that is read names the
/// operation that wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// The register takes this value.
    Write(u64),
    /// The register takes the value `new` if it holds `expect`.
    Swap {
        expect: Option<u64>,
        new: u64,
        /// Whether it did; `None`: nobody knows.
        swapped: Option<bool>,
    },
    /// The register holds this.
    Read(Option<u64>),
    /// The list gets one more item.
    Append(u64),
    /// The list holds this.
    List(Vec<u64>),
}

impl Action {
    /// The value that it brings into the world, if any.
    pub(crate) fn brings(&self) -> Option<u64> {
        match self {
            Self::Write(value) | Self::Append(value) | Self::Swap { new: value, .. } => {
                Some(*value)
            }
            Self::Read(_) | Self::List(_) => None,
        }
    }
}

/// One operation of one client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Operation {
    pub(crate) client: usize,
    pub(crate) key: String,
    pub(crate) action: Action,
    /// Nanoseconds on the history's clock.
    pub(crate) called: u64,
    /// `None`: the client never learned what became of it; it may take effect at any time from the
    /// call on, or never.
    pub(crate) returned: Option<u64>,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = Duration::from_nanos(self.called);
        write!(f, "{from:>12.6?} .. ")?;
        match self.returned {
            Some(returned) => write!(f, "{:>12.6?}", Duration::from_nanos(returned))?,
            None => write!(f, "{:>12}", "?")?,
        }
        write!(f, "  client {:<2} {} {:?}", self.client, self.key, self.action)
    }
}

/// All that the clients of a run saw, in any order.
#[derive(Clone, Default, Debug)]
pub(crate) struct History {
    pub(crate) operations: Vec<Operation>,
    /// Values of operations that were answered with a definite "not done".
    pub(crate) refused: Vec<u64>,
}

impl History {
    /// Adds what another client saw.
    pub(crate) fn extend(&mut self, other: Self) {
        self.operations.extend(other.operations);
        self.refused.extend(other.refused);
    }
}
