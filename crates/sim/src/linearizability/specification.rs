//! What operations do when they come one after the other.

use std::fmt::Debug;
use std::hash::Hash;

/// A sequential specification: what one operation after the other does, and what it returns.
pub trait Specification {
    /// What operations on different keys do not share. `()` if they share everything.
    type Key: Ord + Debug;
    /// The state of one key.
    type State: Clone + Eq + Hash;
    /// What a client asks for.
    type Op: Debug;
    /// What it is told.
    type Result: PartialEq + Debug;

    /// The state of every key before the first operation.
    fn initial(&self) -> Self::State;

    /// The key that an operation reads or changes.
    fn key(&self, op: &Self::Op) -> Self::Key;

    /// Performs an operation. It must depend on nothing but the state and the operation.
    fn apply(&self, state: &mut Self::State, op: &Self::Op) -> Self::Result;

    /// Whether an operation changes nothing in any state in which it returns `result`. To say so
    /// is never needed, and makes the search much shorter.
    fn is_read(&self, op: &Self::Op, result: &Self::Result) -> bool {
        let _ = (op, result);
        false
    }
}

/// Registers, each with a value or none.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Registers;

/// An operation on one of the [`Registers`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegisterOp {
    /// Reads a register.
    Get {
        /// The register.
        key: u64,
    },
    /// Writes a register.
    Put {
        /// The register.
        key: u64,
        /// What it holds from then on.
        value: u64,
    },
    /// Writes a register if it holds what is expected.
    CompareAndSet {
        /// The register.
        key: u64,
        /// What it has to hold.
        expected: Option<u64>,
        /// What it holds from then on.
        value: u64,
    },
}

/// What an operation on one of the [`Registers`] returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegisterResult {
    /// What a get read.
    Value(Option<u64>),
    /// A put was done.
    Written,
    /// Whether a compare-and-set found what it expected.
    Swapped(bool),
}

impl Specification for Registers {
    type Key = u64;
    type State = Option<u64>;
    type Op = RegisterOp;
    type Result = RegisterResult;

    fn initial(&self) -> Option<u64> {
        None
    }

    fn key(&self, op: &RegisterOp) -> u64 {
        match op {
            RegisterOp::Get { key }
            | RegisterOp::Put { key, .. }
            | RegisterOp::CompareAndSet { key, .. } => *key,
        }
    }

    fn apply(&self, state: &mut Option<u64>, op: &RegisterOp) -> RegisterResult {
        match op {
            RegisterOp::Get { .. } => RegisterResult::Value(*state),
            RegisterOp::Put { value, .. } => {
                *state = Some(*value);
                RegisterResult::Written
            }
            RegisterOp::CompareAndSet { expected, value, .. } => {
                let found = state == expected;
                if found {
                    *state = Some(*value);
                }
                RegisterResult::Swapped(found)
            }
        }
    }

    fn is_read(&self, _: &RegisterOp, result: &RegisterResult) -> bool {
        match result {
            RegisterResult::Value(_) | RegisterResult::Swapped(false) => true,
            RegisterResult::Written | RegisterResult::Swapped(true) => false,
        }
    }
}

/// A counter. An operation is a number to add; it returns the sum, itself included.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counter;

impl Specification for Counter {
    type Key = ();
    type State = u64;
    type Op = u64;
    type Result = u64;

    fn initial(&self) -> u64 {
        0
    }

    fn key(&self, _: &u64) {}

    fn apply(&self, sum: &mut u64, add: &u64) -> u64 {
        *sum = sum.wrapping_add(*add);
        *sum
    }

    fn is_read(&self, add: &u64, _: &u64) -> bool {
        *add == 0
    }
}

/// A list that grows. It shows whether every append was done exactly once: no order explains an
/// item that is there twice or is missing, or a length that skips one.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct List;

/// An operation on a [`List`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListOp {
    /// Appends an item.
    Append(u64),
    /// Reads the whole list.
    Read,
}

/// What an operation on a [`List`] returns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListResult {
    /// The length of the list after an append.
    Length(usize),
    /// All items, the oldest first.
    Items(Vec<u64>),
}

impl Specification for List {
    type Key = ();
    type State = Vec<u64>;
    type Op = ListOp;
    type Result = ListResult;

    fn initial(&self) -> Vec<u64> {
        Vec::new()
    }

    fn key(&self, _: &ListOp) {}

    fn apply(&self, items: &mut Vec<u64>, op: &ListOp) -> ListResult {
        match op {
            ListOp::Append(item) => {
                items.push(*item);
                ListResult::Length(items.len())
            }
            ListOp::Read => ListResult::Items(items.clone()),
        }
    }

    fn is_read(&self, op: &ListOp, _: &ListResult) -> bool {
        matches!(op, ListOp::Read)
    }
}
