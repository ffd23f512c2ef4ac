//! Whether a history is linearizable: one order of the operations explains all results, and
//! respects that an operation which returned came before those called later.
//!
//! The search of Wing and Gong with Lowe's memory ("Testing for linearizability", 2017), one key
//! at a time, which is enough because linearizability is local. Three things keep it short, and
//! none changes its answer:
//! - An operation that is possible now and changes nothing is put next without alternatives.
//! - An operation without an answer whose value was read has taken effect by then. It counts as
//!   returned when the first such read returned.
//! - A list is represented by the hash of its items.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::history::{Action, History, Operation};

/// Most configurations of one key that are remembered before the search gives up: about a second.
const MEMORY: usize = 1 << 20;
/// Operations shown before and after the place where no order is found.
const SHOWN: usize = 8;

/// Checks the history of every key.
///
/// # Errors
/// The first key that has no order that explains it, with the operations around the place.
pub(crate) fn check(history: &History) -> Result<(), String> {
    let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in &history.operations {
        keys.entry(&operation.key).or_default().push(operation);
    }
    keys.into_values().try_for_each(check_key)
}

fn check_key(operations: Vec<&Operation>) -> Result<(), String> {
    Search::of(operations).run()
}

/// What a key holds: a register's value, or the hash of a list's items; `None` if nothing.
type State = Option<u64>;

fn pushed(list: State, item: u64) -> u64 {
    // The finalizer of SplitMix64: no two histories of a test collide.
    let mut z = list.unwrap_or(0).rotate_left(17) ^ item.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// An operation as the search needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Set(u64),
    Swap { expect: State, new: u64 },
    Push(u64),
    See(State),
    SeeOther(State),
}

impl Step {
    fn of(action: &Action) -> Self {
        match action {
            Action::Write(value) => Self::Set(*value),
            Action::Swap { expect, swapped: Some(false), .. } => Self::SeeOther(*expect),
            // One that nobody saw fail may have succeeded; failing would change nothing.
            Action::Swap { expect, new, swapped: Some(true) | None } => {
                Self::Swap { expect: *expect, new: *new }
            }
            Action::Read(value) => Self::See(*value),
            Action::Append(item) => Self::Push(*item),
            Action::List(items) => {
                Self::See(items.iter().fold(None, |list, item| Some(pushed(list, *item))))
            }
        }
    }

    fn changes_nothing(self) -> bool {
        match self {
            Self::See(_) | Self::SeeOther(_) => true,
            Self::Set(_) | Self::Swap { .. } | Self::Push(_) => false,
        }
    }

    /// The state after this step, if it is possible in `state`.
    fn after(self, state: State) -> Option<State> {
        match self {
            Self::Set(value) => Some(Some(value)),
            Self::Swap { expect, new } => (state == expect).then_some(Some(new)),
            Self::Push(item) => Some(Some(pushed(state, item))),
            Self::See(value) => (state == value).then_some(state),
            Self::SeeOther(value) => (state != value).then_some(state),
        }
    }
}

/// Calls and returns in the order of time, as a list from which operations can be lifted, and put
/// back in the opposite order. Place 0 is before the first; 0 as a successor is the end.
struct Timeline {
    next: Vec<usize>,
    previous: Vec<usize>,
    /// The operation at each place, and whether the place is its return.
    events: Vec<(usize, bool)>,
    /// The places of the call and of the return of each operation.
    places: Vec<(usize, Option<usize>)>,
}

impl Timeline {
    fn new(times: &[(u64, Option<u64>)]) -> Self {
        let calls = times.iter().enumerate().map(|(op, time)| (time.0, false, op));
        let returns = times.iter().enumerate().filter_map(|(op, time)| Some((time.1?, true, op)));
        // At one instant calls come before returns: such operations overlap.
        let mut sorted: Vec<(u64, bool, usize)> = calls.chain(returns).collect();
        sorted.sort_unstable();
        let mut events = vec![(usize::MAX, false)];
        let mut places = vec![(0, None); times.len()];
        for (_, is_return, op) in sorted {
            if is_return {
                places[op].1 = Some(events.len());
            } else {
                places[op].0 = events.len();
            }
            events.push((op, is_return));
        }
        let count = events.len();
        let next = (0..count).map(|place| (place + 1) % count).collect();
        let previous = (0..count).map(|place| (place + count - 1) % count).collect();
        Self { next, previous, events, places }
    }

    fn lift(&mut self, op: usize) {
        let (call, end) = self.places[op];
        for place in [Some(call), end].into_iter().flatten() {
            let (before, after) = (self.previous[place], self.next[place]);
            self.next[before] = after;
            self.previous[after] = before;
        }
    }

    fn put_back(&mut self, op: usize) {
        let (call, end) = self.places[op];
        for place in [end, Some(call)].into_iter().flatten() {
            let (before, after) = (self.previous[place], self.next[place]);
            self.next[before] = place;
            self.previous[after] = place;
        }
    }

    /// The operations that may come next, from the place after `place` on: those called before the
    /// first return.
    fn candidates(&self, place: usize) -> impl Iterator<Item = usize> {
        let places = std::iter::successors(Some(self.next[place]), |place| Some(self.next[*place]));
        places
            .take_while(|place| *place != 0 && !self.events[*place].1)
            .map(|place| self.events[place].0)
    }
}

struct Search<'history> {
    operations: Vec<&'history Operation>,
    steps: Vec<Step>,
    times: Vec<(u64, Option<u64>)>,
    timeline: Timeline,
    /// The operations put in order so far, each with the state before it.
    order: Vec<(usize, State)>,
    state: State,
    /// The operations in `order`, as a set.
    done: Vec<u64>,
    /// Operations that returned and are not in `order` yet.
    missing: usize,
    seen: HashSet<(Vec<u64>, State)>,
    /// The longest order that was found, for the report.
    longest: Vec<usize>,
}

impl<'history> Search<'history> {
    fn of(mut operations: Vec<&'history Operation>) -> Self {
        let times = effective_times(&mut operations);
        Self {
            steps: operations.iter().map(|operation| Step::of(&operation.action)).collect(),
            timeline: Timeline::new(&times),
            order: Vec::new(),
            state: None,
            done: vec![0; operations.len().div_ceil(64)],
            missing: times.iter().filter(|time| time.1.is_some()).count(),
            seen: HashSet::new(),
            longest: Vec::new(),
            operations,
            times,
        }
    }

    fn run(mut self) -> Result<(), String> {
        // Where to go on looking for the next operation: after this place.
        let mut after = 0;
        while self.missing > 0 {
            if self.seen.len() > MEMORY {
                return Err(format!("undecided after {MEMORY} configurations\n{}", self.report()));
            }
            if let Some(op) = self.next_step(after) {
                self.take(op);
                after = 0;
            } else if let Some(op) = self.give_back() {
                after = self.timeline.places[op].0;
            } else {
                return Err(format!("not linearizable\n{}", self.report()));
            }
        }
        Ok(())
    }

    /// An operation that may come next and leads to a new configuration.
    fn next_step(&mut self, after: usize) -> Option<usize> {
        let is_free = |op: &usize| {
            self.steps[*op].changes_nothing() && self.steps[*op].after(self.state).is_some()
        };
        if after == 0
            && let Some(free) = self.timeline.candidates(0).find(is_free)
        {
            return Some(free);
        }
        let candidates: Vec<usize> = self.timeline.candidates(after).collect();
        candidates.into_iter().find(|op| {
            let Some(state) = self.steps[*op].after(self.state) else { return false };
            let mut done = self.done.clone();
            done[op / 64] |= 1 << (op % 64);
            self.seen.insert((done, state))
        })
    }

    fn take(&mut self, op: usize) {
        self.order.push((op, self.state));
        self.state = self.steps[op].after(self.state).expect("only possible steps are taken");
        self.timeline.lift(op);
        self.done[op / 64] |= 1 << (op % 64);
        self.missing -= usize::from(self.times[op].1.is_some());
        if self.order.len() > self.longest.len() {
            self.longest = self.order.iter().map(|(op, _)| *op).collect();
        }
    }

    /// Takes back the last operation to which there may be an alternative.
    fn give_back(&mut self) -> Option<usize> {
        loop {
            let (op, state) = self.order.pop()?;
            self.state = state;
            self.timeline.put_back(op);
            self.done[op / 64] &= !(1 << (op % 64));
            self.missing += usize::from(self.times[op].1.is_some());
            if !self.steps[op].changes_nothing() {
                return Some(op);
            }
        }
    }

    /// The end of the longest order, and the operations that cannot follow it.
    fn report(&self) -> String {
        let mut lines =
            vec![format!("longest order, of {} operations, ends with", self.longest.len())];
        let tail = self.longest.len().saturating_sub(SHOWN);
        lines.extend(self.longest[tail..].iter().map(|op| self.operations[*op].to_string()));
        lines.push("and none of these can follow".into());
        let mut rest: Vec<usize> =
            (0..self.operations.len()).filter(|op| !self.longest.contains(op)).collect();
        rest.sort_by_key(|op| (self.times[*op].1.unwrap_or(u64::MAX), self.times[*op].0));
        lines.extend(rest.iter().take(SHOWN).map(|op| self.operations[*op].to_string()));
        lines.join("\n")
    }
}

/// When each operation was called and had returned at the latest. Removes those without an answer
/// that nothing in the history depends on.
fn effective_times(operations: &mut Vec<&Operation>) -> Vec<(u64, Option<u64>)> {
    let mut brought = HashSet::new();
    for value in operations.iter().filter_map(|operation| operation.action.brings()) {
        assert!(brought.insert(value), "the harness wrote {value} twice");
    }
    // When each value was first seen to be there. In a list that only grows, all of it counts.
    let mut witnessed: HashMap<u64, u64> = HashMap::new();
    // A failed swap depends on what was there, and does not say what that was.
    let mut is_vague = false;
    for operation in &*operations {
        let values: &[u64] = match &operation.action {
            Action::Read(Some(value)) => std::slice::from_ref(value),
            Action::Swap { expect: Some(expect), swapped: Some(true), .. } => {
                std::slice::from_ref(expect)
            }
            Action::Swap { swapped, .. } => {
                is_vague |= *swapped != Some(true);
                &[]
            }
            Action::List(items) => items,
            Action::Read(None) | Action::Write(_) | Action::Append(_) => &[],
        };
        for value in values {
            let returned = operation.returned.unwrap_or(u64::MAX);
            let first = witnessed.entry(*value).or_insert(returned);
            *first = returned.min(*first);
        }
    }
    let witness = |operation: &Operation| {
        let seen = operation.action.brings().and_then(|value| witnessed.get(&value));
        seen.copied().filter(|seen| *seen < u64::MAX)
    };
    operations.retain(|operation| {
        let is_open = operation.returned.is_none() && witness(operation).is_none();
        let matters = match operation.action {
            Action::Write(_) | Action::Swap { .. } => is_vague,
            Action::Read(_) | Action::Append(_) | Action::List(_) => false,
        };
        !is_open || matters
    });
    operations
        .iter()
        .map(|operation| {
            // A value read before it was written has no order: keep the call before the return.
            let seen = witness(operation).map(|seen| seen.max(operation.called));
            (operation.called, operation.returned.or(seen))
        })
        .collect()
}

#[cfg(test)]
mod tests;
