//! The search for an order, on one key.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};

use super::set::{Packed, Set};
use super::specification::Specification;
use super::{Operation, Outcome};

/// An operation and its place in the whole history.
pub(super) type Numbered<'history, S> =
    (usize, &'history Operation<<S as Specification>::Op, <S as Specification>::Result>);

/// The operations on one key, numbered anew: those that an order must contain, then those that it
/// may contain, both as they were invoked.
pub(super) struct Part<'history, S: Specification> {
    operations: Vec<Numbered<'history, S>>,
    /// How many an order must contain.
    required: usize,
}

impl<'history, S: Specification> Part<'history, S> {
    /// Of `operations`, those that returned are required, and those that `optional` says may come.
    pub(super) fn new(
        mut operations: Vec<Numbered<'history, S>>,
        optional: impl Fn(&Outcome<S::Result>) -> bool,
    ) -> Self {
        let is_required = |outcome: &Outcome<_>| matches!(outcome, Outcome::Returned { .. });
        operations.retain(|(_, op)| is_required(&op.outcome) || optional(&op.outcome));
        operations.sort_by_key(|(_, op)| (!is_required(&op.outcome), op.invoked));
        let required = operations.partition_point(|(_, op)| is_required(&op.outcome));
        Self { operations, required }
    }

    pub(super) fn operation(&self, op: usize) -> Numbered<'history, S> {
        self.operations[op]
    }

    /// The state after `op`, if what it returned is what it returns in `state`.
    pub(super) fn after(&self, spec: &S, state: &S::State, op: usize) -> Option<S::State> {
        let Operation { op, outcome, .. } = self.operations[op].1;
        let mut after = state.clone();
        let expected = spec.apply(&mut after, op);
        match outcome {
            Outcome::Returned { result, .. } => (*result == expected).then_some(after),
            Outcome::Pending | Outcome::Failed => Some(after),
        }
    }

    /// Whether `op` is a read that returns in `state` what it returned.
    fn is_read_of(&self, spec: &S, state: &S::State, op: usize) -> bool {
        let operation = self.operations[op].1;
        let Outcome::Returned { result, .. } = &operation.outcome else { return false };
        let after = spec.is_read(&operation.op, result).then(|| self.after(spec, state, op));
        let Some(after) = after.flatten() else { return false };
        assert!(after == *state, "the specification takes this for a read: {operation}");
        true
    }
}

/// Which operations of a part are in order.
pub(super) struct Placed {
    required: Set,
    optional: Set,
    /// How many that are required are missing.
    missing: usize,
}

impl Placed {
    pub(super) fn none_of<S: Specification>(part: &Part<'_, S>) -> Self {
        let (required, all) = (part.required, part.operations.len());
        Self { required: Set::new(required), optional: Set::new(all - required), missing: required }
    }

    pub(super) fn insert<S: Specification>(&mut self, part: &Part<'_, S>, op: usize) {
        match op.checked_sub(part.required) {
            None => {
                self.required.insert(op);
                self.missing -= 1;
            }
            Some(op) => self.optional.insert(op),
        }
    }

    fn remove<S: Specification>(&mut self, part: &Part<'_, S>, op: usize) {
        match op.checked_sub(part.required) {
            None => {
                self.required.remove(op);
                self.missing += 1;
            }
            Some(op) => self.optional.remove(op),
        }
    }

    /// The operations that may come next: those that were invoked before any that is missing
    /// returned. First those that are required.
    pub(super) fn candidates<S: Specification>(&self, part: &Part<'_, S>) -> Vec<usize> {
        let mut first_return = u64::MAX;
        let mut candidates = Vec::new();
        for op in self.required.missing() {
            let operation = part.operations[op].1;
            // At one instant invocations come before returns. No later one returned earlier.
            if operation.invoked > first_return {
                break;
            }
            first_return = first_return.min(operation.returned_at().unwrap_or(u64::MAX));
            candidates.push(op);
        }
        let optional = self.optional.missing().map(|op| op + part.required);
        candidates.extend(optional.take_while(|op| part.operations[*op].1.invoked <= first_return));
        candidates
    }
}

/// What a search found.
pub(super) enum Found {
    /// An order that explains everything.
    Order(Vec<usize>),
    /// There is none. This is the one with the most operations that returned.
    Longest(Vec<usize>),
    /// The budget was used up.
    Undecided,
}

/// A configuration that was entered, and the operations that are still to be tried next, the last
/// one first.
struct Node<State> {
    state: State,
    untried: Vec<usize>,
}

/// The configurations that were entered: which required operations are in order and the state, and
/// with which optional ones this was reached. The hasher is not a random one, as nothing here is.
type Seen<State> = HashMap<(Packed, State), Vec<Packed>, BuildHasherDefault<DefaultHasher>>;

struct Search<'part, 'history, S: Specification> {
    spec: &'part S,
    part: &'part Part<'history, S>,
    placed: Placed,
    /// The operations that are in order.
    order: Vec<usize>,
    /// The configuration before each of them, and the present one.
    nodes: Vec<Node<S::State>>,
    seen: Seen<S::State>,
    /// Operations tried so far, and comparisons that took as long.
    steps: usize,
    longest: Vec<usize>,
    /// How many that are required are missing in `longest`, and its length: of two with the same,
    /// the one with fewer optional ones says more.
    longest_lacks: (usize, usize),
}

/// Looks for an order of the operations of `part`, in about `budget` steps.
pub(super) fn search<S: Specification>(spec: &S, part: &Part<'_, S>, budget: usize) -> Found {
    let mut search = Search {
        spec,
        part,
        placed: Placed::none_of(part),
        order: Vec::new(),
        nodes: Vec::new(),
        seen: Seen::default(),
        steps: 0,
        longest: Vec::new(),
        longest_lacks: (part.required, 0),
    };
    search.enter(spec.initial());
    while let Some(node) = search.nodes.last_mut() {
        if search.placed.missing == 0 {
            return Found::Order(search.order);
        }
        let Some(op) = node.untried.pop() else {
            search.leave();
            continue;
        };
        if search.steps >= budget {
            return Found::Undecided;
        }
        search.steps += 1;
        let Some(state) = part.after(spec, &node.state, op) else { continue };
        search.placed.insert(part, op);
        if !search.is_new(&state) {
            search.placed.remove(part, op);
            continue;
        }
        search.order.push(op);
        search.enter(state);
    }
    Found::Longest(search.longest)
}

impl<S: Specification> Search<'_, '_, S> {
    fn enter(&mut self, state: S::State) {
        let mut untried = self.placed.candidates(self.part);
        // Whatever order there is, a read that is possible now may as well come first in it.
        let is_read = |op: &&usize| self.part.is_read_of(self.spec, &state, **op);
        if let Some(read) = untried.iter().find(is_read).copied() {
            untried = vec![read];
        }
        untried.reverse();
        self.nodes.push(Node { state, untried });
    }

    /// Goes back to the configuration before this one.
    fn leave(&mut self) {
        let lacks = (self.placed.missing, self.order.len());
        if lacks < self.longest_lacks {
            self.longest_lacks = lacks;
            self.longest.clone_from(&self.order);
        }
        self.nodes.pop();
        if let Some(op) = self.order.pop() {
            self.placed.remove(self.part, op);
        }
    }

    /// Whether more could come of this configuration than of one that was entered. It could not
    /// if that one is the same and has no optional operation used up that is still free in this.
    fn is_new(&mut self, state: &S::State) -> bool {
        let key = (self.placed.required.pack(), state.clone());
        let optional = self.placed.optional.pack();
        let earlier = self.seen.entry(key).or_default();
        // To compare with sixteen takes about as long as to try an operation.
        self.steps += earlier.len() / 16;
        let is_new = !earlier.iter().any(|earlier| earlier.is_subset(&optional));
        if is_new {
            earlier.push(optional);
        }
        is_new
    }
}
