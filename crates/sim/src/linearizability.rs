//! Whether a history is linearizable: whether one order of its operations explains all results,
//! and keeps every operation that had returned before those that were invoked later.
//!
//! ```
//! use synod_sim::linearizability::{BUDGET, Counter, Operation, Verdict, check};
//!
//! let history = [
//!     Operation::returned(1, 7, (10, 40), 9), // Client 1 adds 7 ...
//!     Operation::returned(2, 2, (20, 30), 2), // ... after client 2 has added 2.
//!     Operation::pending(2, 5, 50),           // Nobody knows whether 5 was added.
//!     Operation::returned(1, 0, (60, 70), 13),
//! ];
//! let verdict = check(&Counter, &history, BUDGET);
//! let Verdict::Violation(violation) = verdict else { panic!("it is 9 or 14, not 13") };
//! assert_eq!((violation.order, violation.stuck), (vec![1, 0], vec![3]));
//! ```
//!
//! # The search
//!
//! It is that of Wing and Gong ("Testing and verifying concurrent objects", 1993) with Lowe's
//! memory ("Testing for linearizability", 2017): operations are put in order one after the other,
//! always one that was invoked before any of the others returned. What lies ahead depends only on
//! which operations are in order and on the state, so no such configuration is entered twice.
//!
//! * Linearizability is local: operations on different [keys](Specification::Key) are looked at
//!   apart.
//! * A *pending* operation may come at any time after its invocation, or never. It is the last
//!   that is tried. A configuration is also not entered if the same one was with fewer pending
//!   operations used up. So one that changes nothing, such as a pending read, costs nothing.
//! * A *failed* operation must have no effect, so no order may contain it. If a history can be
//!   explained only with it, the [`Violation`] says so.
//!
//! * A [read](Specification::is_read) that is possible comes next, without alternatives.
//!
//! The answer depends on the history alone: the bound is a number of steps, not a time.

mod search;
mod set;
mod specification;
mod violation;

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Display};

use self::search::{Found, Part, search};

pub use self::{
    specification::{
        Counter, List, ListOp, ListResult, RegisterOp, RegisterResult, Registers, Specification,
    },
    violation::Violation,
};

/// A budget for [`check`]: some seconds, and at worst some hundred MB for small states.
pub const BUDGET: usize = 1 << 21;

/// An operation as its client saw it. A client may have several under way.
///
/// Times are those of one clock, which never stands still between two events of one client:
/// operations overlap if one was invoked when the other returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operation<O, R> {
    /// Who asked for it. For reports alone.
    pub client: u64,
    /// What was asked for.
    pub op: O,
    /// When.
    pub invoked: u64,
    /// What came of it.
    pub outcome: Outcome<R>,
}

/// What a client learned about its operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome<R> {
    /// It took effect and returned.
    Returned {
        /// When.
        at: u64,
        /// What it returned.
        result: R,
    },
    /// It may take effect at any time, and may never.
    Pending,
    /// It did not take effect and never will.
    Failed,
}

/// The operations on a [`Specification`], in any order.
pub type History<S> = [Operation<<S as Specification>::Op, <S as Specification>::Result>];

impl<O, R> Operation<O, R> {
    /// An operation that was invoked and returned at these times.
    pub fn returned(client: u64, op: O, (invoked, at): (u64, u64), result: R) -> Self {
        Self { client, op, invoked, outcome: Outcome::Returned { at, result } }
    }

    /// An operation that may have taken effect.
    pub fn pending(client: u64, op: O, invoked: u64) -> Self {
        Self { client, op, invoked, outcome: Outcome::Pending }
    }

    /// An operation that has not taken effect.
    pub fn failed(client: u64, op: O, invoked: u64) -> Self {
        Self { client, op, invoked, outcome: Outcome::Failed }
    }

    /// When it returned, if it did.
    fn returned_at(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Returned { at, .. } => Some(at),
            Outcome::Pending | Outcome::Failed => None,
        }
    }
}

impl<O: Debug, R: Debug> Display for Operation<O, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, op, invoked, outcome } = self;
        match outcome {
            Outcome::Returned { at, result } => {
                write!(f, "[{invoked}, {at}] client {client}: {op:?} -> {result:?}")
            }
            Outcome::Pending => write!(f, "[{invoked}, ...) client {client}: {op:?}, pending"),
            Outcome::Failed => write!(f, "[{invoked}, ...) client {client}: {op:?}, failed"),
        }
    }
}

/// What [`check`] finds.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Verdict {
    /// There is an order that explains the history.
    Linearizable,
    /// There is none.
    Violation(Violation),
    /// The budget did not suffice for these keys. All others are linearizable.
    Unknown {
        /// The keys, as their `Debug` writes them.
        keys: Vec<String>,
    },
}

/// Checks the history of every key. On each, about `budget` operations are tried at most.
///
/// # Panics
/// If an operation returned before it was invoked, or what the specification takes for a read
/// changes the state: then these are wrong, not the system.
pub fn check<S: Specification>(spec: &S, history: &History<S>, budget: usize) -> Verdict {
    let mut keys: BTreeMap<S::Key, Vec<_>> = BTreeMap::new();
    for numbered @ (_, operation) in history.iter().enumerate() {
        let is_ordered = operation.returned_at().is_none_or(|at| operation.invoked <= at);
        assert!(is_ordered, "returned before it was invoked: {operation}");
        keys.entry(spec.key(&operation.op)).or_default().push(numbered);
    }
    let mut undecided = Vec::new();
    for (key, operations) in keys {
        let part = Part::new(operations.clone(), |outcome| matches!(outcome, Outcome::Pending));
        match search(spec, &part, budget) {
            Found::Order(_) => {}
            Found::Undecided => undecided.push(format!("{key:?}")),
            Found::Longest(longest) => {
                let all = Part::new(operations, |_| true);
                let with_failed = search(spec, &all, budget);
                let violation = Violation::new(spec, &key, (&part, &longest), (&all, &with_failed));
                return Verdict::Violation(violation);
            }
        }
    }
    match undecided.is_empty() {
        true => Verdict::Linearizable,
        false => Verdict::Unknown { keys: undecided },
    }
}
