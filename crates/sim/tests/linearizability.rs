//! The checker of linearizability accepts what is linearizable and nothing else.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;

use fastrand::Rng;
use porcupine_rs::{Model, Operation as PeerOperation, check_operations};
use synod_sim::linearizability::{
    BUDGET, Counter, History, List, ListOp, ListResult, Operation, Outcome, RegisterOp,
    RegisterResult, Registers, Specification, Verdict, Violation, check,
};

type Register = Operation<RegisterOp, RegisterResult>;

fn put(client: u64, times: (u64, u64), value: u64) -> Register {
    let op = RegisterOp::Put { key: 1, value };
    Operation::returned(client, op, times, RegisterResult::Written)
}

fn get(client: u64, times: (u64, u64), value: impl Into<Option<u64>>) -> Register {
    let result = RegisterResult::Value(value.into());
    Operation::returned(client, RegisterOp::Get { key: 1 }, times, result)
}

fn swap(client: u64, times: (u64, u64), (expected, value): (u64, u64), swapped: bool) -> Register {
    let op = RegisterOp::CompareAndSet { key: 1, expected: Some(expected), value };
    Operation::returned(client, op, times, RegisterResult::Swapped(swapped))
}

/// What a put was, as if its client had not heard of it.
fn lost(client: u64, invoked: u64, value: u64) -> Register {
    Operation::pending(client, RegisterOp::Put { key: 1, value }, invoked)
}

fn failed(client: u64, invoked: u64, value: u64) -> Register {
    Operation::failed(client, RegisterOp::Put { key: 1, value }, invoked)
}

fn add(client: u64, times: (u64, u64), add: u64, sum: u64) -> Operation<u64, u64> {
    Operation::returned(client, add, times, sum)
}

type Append = Operation<ListOp, ListResult>;

fn append(client: u64, times: (u64, u64), item: u64, length: usize) -> Append {
    Operation::returned(client, ListOp::Append(item), times, ListResult::Length(length))
}

fn list(client: u64, times: (u64, u64), items: &[u64]) -> Append {
    Operation::returned(client, ListOp::Read, times, ListResult::Items(items.to_vec()))
}

#[track_caller]
fn accepts<S: Specification>(spec: &S, history: &History<S>) {
    match check(spec, history, BUDGET) {
        Verdict::Linearizable => {}
        Verdict::Violation(violation) => panic!("refused: {violation}"),
        Verdict::Unknown { keys } => panic!("undecided: {keys:?}"),
    }
}

#[track_caller]
fn refuses<S: Specification>(spec: &S, history: &History<S>) -> Violation {
    match check(spec, history, BUDGET) {
        Verdict::Violation(violation) => violation,
        Verdict::Linearizable => panic!("accepted: {history:?}"),
        Verdict::Unknown { keys } => panic!("undecided: {keys:?}"),
    }
}

// What must be refused.

#[test]
fn a_stale_read() {
    let violation = refuses(&Registers, &[put(1, (1, 2), 7), put(1, (3, 4), 8), get(2, (5, 6), 7)]);
    assert_eq!((&violation.order[..], &violation.stuck[..]), (&[0, 1][..], &[2][..]));
    // It began before the second write, but another client has already seen that.
    refuses(
        &Registers,
        &[put(1, (1, 2), 7), put(1, (3, 9), 8), get(2, (4, 5), 8), get(3, (6, 7), 7)],
    );
}

#[test]
fn a_lost_update() {
    refuses(&Registers, &[put(1, (1, 2), 7), get(1, (3, 4), None)]);
    // Both clients have swapped the same 7.
    let swaps = [swap(1, (3, 6), (7, 8), true), swap(2, (4, 5), (7, 9), true)];
    refuses(&Registers, &[&[put(1, (1, 2), 7)], &swaps[..]].concat());
    refuses(&Counter, &[add(1, (1, 4), 1, 1), add(2, (2, 3), 1, 1)]);
}

#[test]
fn a_command_done_twice() {
    refuses(&Counter, &[add(1, (1, 2), 5, 5), add(2, (3, 4), 1, 11)]);
    refuses(&List, &[append(1, (1, 2), 7, 1), list(2, (3, 4), &[7, 7])]);
    // The second time nobody has seen, but the length has.
    refuses(&List, &[append(1, (1, 2), 7, 1), append(2, (3, 4), 8, 3)]);
    let pending = Operation::pending(1, ListOp::Append(7), 1);
    refuses(&List, &[pending, list(2, (3, 4), &[7]), list(2, (5, 6), &[7, 7])]);
}

#[test]
fn an_effect_of_a_failed_operation() {
    let violation = refuses(&Registers, &[failed(1, 1, 7), lost(3, 1, 8), get(2, (3, 4), 7)]);
    assert_eq!(violation.failed, [0]);
    refuses(&Registers, &[put(1, (1, 2), 7), failed(2, 3, 8), swap(1, (4, 5), (7, 9), false)]);
    let violation = refuses(&Counter, &[Operation::failed(1, 5, 1), add(2, (3, 4), 1, 6)]);
    assert_eq!(violation.failed, [0]);
    // What is wrong is something else.
    let violation = refuses(&Counter, &[Operation::failed(1, 5, 1), add(2, (3, 4), 1, 7)]);
    assert_eq!(violation.failed, [0; 0]);
}

#[test]
fn a_read_of_the_future() {
    refuses(&Registers, &[get(1, (1, 2), 7), put(2, (3, 4), 7)]);
    refuses(&Registers, &[get(1, (1, 2), 7), lost(2, 3, 7)]);
    refuses(&Registers, &[get(1, (1, 2), 7)]);
}

#[test]
fn an_order_of_real_time_that_is_broken() {
    refuses(&List, &[append(1, (1, 2), 7, 2), append(2, (3, 4), 8, 1)]);
    // Two clients see two writes in different orders.
    let writes = [put(1, (1, 20), 7), put(2, (1, 20), 8)];
    let first = [get(3, (2, 3), 7), get(3, (6, 7), 8)];
    let second = [get(4, (4, 5), 8), get(4, (8, 9), 7)];
    accepts(&Registers, &[&writes[..], &first].concat());
    refuses(&Registers, &[&writes[..], &first, &second].concat());
    // An effect that went away again.
    refuses(&Registers, &[lost(1, 1, 7), get(2, (2, 3), 7), get(2, (4, 5), None)]);
}

#[test]
fn a_fault_on_one_key_of_many() {
    let on = |key, times, value| {
        let op = RegisterOp::Get { key };
        Operation::returned(1, op, times, RegisterResult::Value(value))
    };
    accepts(&Registers, &[on(2, (1, 2), None), on(3, (3, 4), None), put(1, (1, 9), 7)]);
    let violation = refuses(&Registers, &[on(2, (1, 2), None), on(3, (3, 4), Some(7))]);
    assert_eq!((&violation.order[..], &violation.stuck[..]), (&[][..], &[1][..]));
    // What is written on one key is not read on another.
    refuses(&Registers, &[put(1, (1, 2), 7), on(2, (3, 4), Some(7))]);
}

// What is odd, but must be accepted.

#[test]
fn nothing_at_all_and_one_after_the_other() {
    accepts(&Registers, &[]);
    accepts(&Registers, &[get(1, (1, 2), None), put(1, (3, 4), 7), get(2, (5, 6), 7)]);
    let swaps = [swap(1, (3, 4), (7, 8), true), swap(1, (5, 6), (7, 9), false)];
    accepts(&Registers, &[&[put(1, (1, 2), 7)], &swaps[..]].concat());
    accepts(&List, &[append(1, (1, 2), 7, 1), append(2, (3, 4), 8, 2), list(1, (5, 6), &[7, 8])]);
}

#[test]
fn operations_that_overlap_come_in_any_order() {
    // The read is over long before the write returns, and another read still misses it.
    accepts(&Registers, &[put(1, (1, 20), 7), get(2, (2, 3), 7)]);
    accepts(&Registers, &[put(1, (1, 20), 7), get(2, (2, 3), None), get(3, (2, 9), 7)]);
    accepts(&Registers, &[put(1, (1, 9), 7), put(2, (1, 9), 8), get(3, (10, 11), 7)]);
    accepts(&Counter, &[add(1, (1, 9), 1, 3), add(2, (2, 8), 2, 2), add(3, (3, 7), 4, 7)]);
    // One that returns when another is invoked overlaps it.
    accepts(&Registers, &[put(1, (1, 5), 7), get(2, (5, 6), None)]);
    refuses(&Registers, &[put(1, (1, 5), 7), get(2, (6, 7), None)]);
}

#[test]
fn a_pending_operation_comes_late_or_never() {
    accepts(&Registers, &[lost(1, 1, 7), get(2, (2, 3), None), get(2, (4, 5), None)]);
    accepts(&Registers, &[lost(1, 1, 7), get(2, (2, 3), None), get(2, (4, 5), 7)]);
    // A write that returned has come in between.
    accepts(&Registers, &[lost(1, 1, 7), put(2, (2, 3), 8), get(2, (4, 5), 8), get(2, (6, 7), 7)]);
    accepts(&List, &[Operation::pending(1, ListOp::Append(7), 1), append(2, (3, 4), 8, 2)]);
    // Two of three pending ones, the later first.
    let adds = [1, 2, 4].map(|add| Operation::pending(add, add, 1));
    accepts(&Counter, &[&adds[..], &[add(9, (2, 3), 0, 4), add(9, (4, 5), 0, 5)]].concat());
    refuses(&Counter, &[&adds[..], &[add(9, (2, 3), 0, 4), add(9, (4, 5), 0, 2)]].concat());
}

#[test]
fn a_failed_operation_without_effect() {
    accepts(&Registers, &[put(1, (1, 2), 7), failed(2, 1, 8), get(1, (3, 4), 7)]);
    accepts(&Counter, &[Operation::failed(1, 5, 1), add(2, (3, 4), 1, 1)]);
    // The same value has come from another client.
    accepts(&Registers, &[failed(1, 1, 7), lost(2, 1, 7), get(2, (3, 4), 7)]);
}

#[test]
#[should_panic(expected = "returned before it was invoked: [5, 4] client 1")]
fn a_history_that_cannot_be() {
    let _ = check(&Registers, &[put(1, (5, 4), 7)], BUDGET);
}

/// Takes everything for a read.
struct Careless;

impl Specification for Careless {
    type Key = ();
    type State = u64;
    type Op = u64;
    type Result = u64;

    fn initial(&self) -> u64 {
        0
    }

    fn key(&self, _: &u64) {}

    fn apply(&self, sum: &mut u64, add: &u64) -> u64 {
        Counter.apply(sum, add)
    }

    fn is_read(&self, _: &u64, _: &u64) -> bool {
        true
    }
}

#[test]
#[should_panic(expected = "takes this for a read: [3, 4] client 2: 5 -> 5")]
fn a_read_that_changes_something() {
    let _ = check(&Careless, &[add(1, (1, 2), 0, 0), add(2, (3, 4), 5, 5)], BUDGET);
}

#[test]
fn a_report_says_what_was_expected() {
    let history = [put(1, (1, 2), 7), failed(2, 3, 9), get(2, (4, 5), 9), put(1, (6, 7), 8)];
    let report = refuses(&Registers, &history).to_string();
    assert_eq!(
        report,
        "not linearizable, key 1
the longest order that explains its results has 1 operations:
  [1, 2] client 1: Put { key: 1, value: 7 } -> Written
one of these has to come next, and none can:
  [4, 5] client 2: Get { key: 1 } -> Value(Some(9)), would return Value(Some(7))
there would be an order if these had not failed:
  [3, ...) client 2: Put { key: 1, value: 9 }, failed"
    );
}

#[test]
fn a_budget_that_is_too_small_decides_nothing() {
    let history = [put(1, (1, 2), 7), put(1, (3, 4), 8), get(1, (5, 6), 8)];
    let unknown = Verdict::Unknown { keys: vec!["1".into()] };
    assert_eq!(check(&Registers, &history, 2), unknown);
    assert_eq!(check(&Registers, &history, 3), Verdict::Linearizable);
    // What is wrong on another key is found all the same.
    let op = RegisterOp::Get { key: 2 };
    let wrong = Operation::returned(2, op, (1, 2), RegisterResult::Value(Some(7)));
    let verdict = check(&Registers, &[&history[..], &[wrong]].concat(), 2);
    assert!(matches!(verdict, Verdict::Violation(_)), "{verdict:?}");
}

// The comparison with the checker of others.

/// A specification that random histories can be made of.
trait Random: Specification<Op: Clone, Result: Clone> + Clone {
    fn op(rng: &mut Rng, number: u64) -> Self::Op;
    /// A result that may be wrong.
    fn wrong(rng: &mut Rng, result: &Self::Result) -> Self::Result;
}

impl Random for Registers {
    fn op(rng: &mut Rng, number: u64) -> RegisterOp {
        let key = rng.u64(0..2);
        match rng.u8(0..5) {
            0 => RegisterOp::Put { key, value: rng.u64(0..6) },
            1 => RegisterOp::Put { key, value: number + 10 },
            2 => {
                let (expected, value) = (Some(rng.u64(0..6)), rng.u64(0..6));
                RegisterOp::CompareAndSet { key, expected, value }
            }
            _ => RegisterOp::Get { key },
        }
    }

    fn wrong(rng: &mut Rng, result: &RegisterResult) -> RegisterResult {
        match result {
            RegisterResult::Value(_) => RegisterResult::Value(Some(rng.u64(0..6))),
            RegisterResult::Written => RegisterResult::Written,
            RegisterResult::Swapped(swapped) => RegisterResult::Swapped(!swapped),
        }
    }
}

impl Random for Counter {
    fn op(rng: &mut Rng, _: u64) -> u64 {
        rng.u64(0..4)
    }

    fn wrong(rng: &mut Rng, sum: &u64) -> u64 {
        sum + rng.u64(0..3)
    }
}

impl Random for List {
    fn op(rng: &mut Rng, number: u64) -> ListOp {
        if rng.bool() { ListOp::Read } else { ListOp::Append(number) }
    }

    fn wrong(rng: &mut Rng, result: &ListResult) -> ListResult {
        match result {
            ListResult::Length(length) => ListResult::Length(length + rng.usize(0..2)),
            ListResult::Items(items) => {
                let mut items = items.clone();
                if items.len() > 1 {
                    let (one, other) = (rng.usize(0..items.len()), rng.usize(0..items.len()));
                    items.swap(one, other);
                }
                ListResult::Items(items)
            }
        }
    }
}

type OperationOf<S> = Operation<<S as Specification>::Op, <S as Specification>::Result>;

/// What a client waits for.
struct Call<S: Specification> {
    op: S::Op,
    invoked: u64,
    /// Its result, once it has taken effect.
    result: Option<S::Result>,
}

/// What the clients of a correct system see. Each invokes an operation, which takes effect at some
/// time before it returns. Some never hear of it, and go on as another client.
fn run<S: Random>(spec: &S, rng: &mut Rng, clients: usize, count: usize) -> Vec<OperationOf<S>> {
    let mut states: BTreeMap<S::Key, S::State> = BTreeMap::new();
    let mut calls: Vec<Option<Call<S>>> = (0..clients).map(|_| None).collect();
    let (mut history, mut now) = (Vec::new(), 0);
    // Every pending operation doubles what the peer has to try.
    let mut unlucky = [0, 5, 20][rng.usize(0..3)];
    while history.len() < count {
        now += rng.u64(0..3);
        let at = rng.usize(0..clients);
        let (client, luck) = (at as u64, rng.u8(0..100));
        calls[at] = match calls[at].take() {
            None => Some(Call { op: S::op(rng, now), invoked: now, result: None }),
            Some(Call { op, invoked, result: _ }) if luck < unlucky => {
                history.push(Operation::pending(client, op, invoked));
                unlucky /= 2;
                None
            }
            Some(Call { op, invoked, result: Some(result) }) => {
                history.push(Operation::returned(client, op, (invoked, now), result));
                None
            }
            Some(Call { op, invoked, result: None }) if luck < 2 * unlucky => {
                history.push(Operation::failed(client, op, invoked));
                None
            }
            Some(Call { op, invoked, result: None }) => {
                let state = states.entry(spec.key(&op)).or_insert_with(|| spec.initial());
                let result = Some(spec.apply(state, &op));
                Some(Call { op, invoked, result })
            }
        };
    }
    for (client, call) in calls.into_iter().enumerate() {
        history.extend(call.map(|call| Operation::pending(client as u64, call.op, call.invoked)));
    }
    history
}

/// Makes something of the history untrue, which may show or not.
fn spoil<S: Random>(rng: &mut Rng, history: &mut Vec<OperationOf<S>>) {
    let at = rng.usize(0..history.len());
    let operation = &mut history[at];
    match (&mut operation.outcome, rng.u8(0..4)) {
        (_, 0) => drop(history.remove(at)),
        (outcome, 1) => *outcome = Outcome::Failed,
        (Outcome::Returned { at, .. }, 2) => *at = operation.invoked,
        (Outcome::Returned { result, .. }, _) => *result = S::wrong(rng, result),
        (Outcome::Pending | Outcome::Failed, _) => operation.invoked += rng.u64(0..10),
    }
}

/// The specification as the other checker wants it: all keys at once, so that it also tests that
/// they may be looked at apart.
#[derive(Clone)]
struct Peer<S>(PhantomData<S>);

impl<S> Model for Peer<S>
where
    S: Random + Default + Send + Sync,
    S::Key: Clone + std::hash::Hash + Send + Sync,
    S::State: Debug + Send + Sync,
    S::Op: Send + Sync,
    S::Result: Send + Sync,
{
    type State = BTreeMap<S::Key, S::State>;
    type Op = (S::Op, Option<S::Result>);
    type Metadata = ();

    fn init() -> Self::State {
        BTreeMap::new()
    }

    fn step(states: &Self::State, (op, result): &Self::Op) -> (bool, Self::State) {
        let (spec, mut states) = (S::default(), states.clone());
        let state = states.entry(spec.key(op)).or_insert_with(|| spec.initial());
        let expected = spec.apply(state, op);
        (result.as_ref().is_none_or(|result| *result == expected), states)
    }
}

fn peer_accepts<S>(history: &[OperationOf<S>]) -> bool
where
    S: Random,
    Peer<S>: Model<Op = (S::Op, Option<S::Result>)>,
{
    let time = |time: u64| i64::try_from(time).expect("times of a test are small");
    let translated = |operation: &OperationOf<S>| {
        let (return_time, result) = match &operation.outcome {
            Outcome::Returned { at, result } => (time(*at), Some(result.clone())),
            Outcome::Pending => (i64::MAX, None),
            Outcome::Failed => return None,
        };
        Some(PeerOperation::<Peer<S>> {
            client_id: None,
            call_time: time(operation.invoked),
            return_time,
            op: (operation.op.clone(), result),
            metadata: None,
        })
    };
    check_operations(&history.iter().filter_map(translated).collect::<Vec<_>>())
}

/// Random histories of a correct system are accepted, and the others as the peer has it.
fn agrees_with_the_peer<S>(spec: &S, seeds: u64)
where
    S: Random + Debug,
    Peer<S>: Model<Op = (S::Op, Option<S::Result>)>,
{
    let (mut illegal, mut pending) = (0, 0);
    for seed in 0..seeds {
        let rng = &mut Rng::with_seed(seed);
        let (clients, count) = (rng.usize(2..5), rng.usize(5..20));
        let mut history = run(spec, rng, clients, count);
        accepts(spec, &history);
        assert!(peer_accepts::<S>(&history), "seed {seed}: the peer refuses {history:#?}");
        for _ in 0..rng.usize(1..3) {
            spoil::<S>(rng, &mut history);
        }
        let verdict = check(spec, &history, BUDGET);
        let legal = match &verdict {
            Verdict::Linearizable => true,
            Verdict::Violation(_) => false,
            Verdict::Unknown { .. } => panic!("seed {seed}: undecided"),
        };
        assert_eq!(legal, peer_accepts::<S>(&history), "seed {seed}: {history:#?}\n{verdict:#?}");
        illegal += u64::from(!legal);
        pending += u64::from(history.iter().any(|op| matches!(op.outcome, Outcome::Pending)));
    }
    let share = seeds / 6;
    assert!(illegal > share && seeds - illegal > share, "one-sided: {illegal} of {seeds} illegal");
    assert!(pending > share, "only {pending} of {seeds} have pending operations");
}

#[test]
fn registers_as_the_peer_has_it() {
    agrees_with_the_peer(&Registers, 4_000);
}

#[test]
fn counters_as_the_peer_has_it() {
    agrees_with_the_peer(&Counter, 4_000);
}

#[test]
fn lists_as_the_peer_has_it() {
    agrees_with_the_peer(&List, 4_000);
}
