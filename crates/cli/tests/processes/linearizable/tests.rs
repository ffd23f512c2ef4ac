//! The checker accepts what is linearizable and nothing else.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::*;
use crate::history::Clock;

/// An operation on key `x`.
fn op(called: u64, returned: impl Into<Option<u64>>, action: Action) -> Operation {
    Operation { client: 0, key: "x".into(), action, called, returned: returned.into() }
}

fn write(value: u64) -> Action {
    Action::Write(value)
}

fn read(value: u64) -> Action {
    Action::Read(Some(value))
}

fn swap(expect: u64, new: u64, swapped: impl Into<Option<bool>>) -> Action {
    Action::Swap { expect: Some(expect), new, swapped: swapped.into() }
}

fn append(item: u64) -> Action {
    Action::Append(item)
}

fn list(items: &[u64]) -> Action {
    Action::List(items.to_vec())
}

fn verdict(operations: &[Operation]) -> Result<(), String> {
    check(&History { operations: operations.to_vec(), refused: vec![] })
}

#[track_caller]
fn good(operations: &[Operation]) {
    verdict(operations).unwrap();
}

#[track_caller]
fn bad(operations: &[Operation]) {
    let why = verdict(operations).expect_err("this history has no order that explains it");
    assert!(why.starts_with("not linearizable"), "{why}");
}

#[test]
fn one_after_the_other() {
    good(&[]);
    good(&[op(0, 1, Action::Read(None)), op(2, 3, write(1)), op(4, 5, read(1))]);
    bad(&[op(0, 1, write(1)), op(2, 3, Action::Read(None))]);
}

#[test]
fn a_stale_read_is_refused() {
    bad(&[op(0, 1, write(1)), op(2, 3, write(2)), op(4, 5, read(1))]);
    // While the second write lasts, a read may see either value, but not the newer one first.
    let writes = [op(0, 1, write(1)), op(2, 9, write(2))];
    good(&[&writes[..], &[op(3, 4, read(1)), op(5, 6, read(2))]].concat());
    bad(&[&writes[..], &[op(3, 4, read(2)), op(5, 6, read(1))]].concat());
}

#[test]
fn operations_that_do_not_overlap_keep_their_order() {
    bad(&[op(0, 1, append(1)), op(2, 3, append(2)), op(4, 5, list(&[2, 1]))]);
    good(&[op(0, 2, append(1)), op(2, 3, append(2)), op(4, 5, list(&[2, 1]))]);
    bad(&[op(2, 3, write(1)), op(0, 1, read(1))]);
}

#[test]
fn a_value_that_nobody_wrote_is_refused() {
    bad(&[op(0, 1, write(1)), op(2, 3, read(7))]);
    bad(&[op(0, 1, append(1)), op(2, 3, list(&[1, 7]))]);
}

#[test]
fn lost_updates_are_refused() {
    let acknowledged = [op(0, 1, append(1)), op(0, 1, append(2))];
    good(&[&acknowledged[..], &[op(2, 3, list(&[2, 1]))]].concat());
    bad(&[&acknowledged[..], &[op(2, 3, list(&[1]))]].concat());
    // Two clients both believe that they replaced the same value.
    let start = [op(0, 1, write(1))];
    bad(&[&start[..], &[op(2, 5, swap(1, 2, true)), op(2, 5, swap(1, 3, true))]].concat());
    good(&[&start[..], &[op(2, 5, swap(1, 2, true)), op(2, 5, swap(1, 3, false))]].concat());
}

#[test]
fn what_is_done_twice_is_refused() {
    bad(&[op(0, 1, append(1)), op(2, 3, list(&[1, 1]))]);
    bad(&[op(0, None, append(1)), op(2, 3, list(&[1, 1]))]);
    bad(&[op(0, 9, append(1)), op(0, 9, append(2)), op(2, 3, list(&[1, 2, 1]))]);
    // The first write comes back after the second.
    bad(&[op(0, 1, write(1)), op(2, 3, write(2)), op(4, 5, read(2)), op(6, 7, read(1))]);
}

#[test]
fn a_failed_swap_saw_something_else() {
    good(&[op(0, 1, write(1)), op(2, 3, swap(7, 2, false)), op(4, 5, read(1))]);
    bad(&[op(0, 1, write(1)), op(2, 3, swap(1, 2, false))]);
    bad(&[op(0, 1, write(1)), op(2, 3, swap(7, 2, true))]);
    good(&[op(0, 1, Action::Swap { expect: None, new: 1, swapped: Some(true) })]);
    bad(&[
        op(0, 1, write(1)),
        op(2, 3, Action::Swap { expect: None, new: 2, swapped: Some(true) }),
    ]);
}

#[test]
fn an_open_operation_may_have_happened_at_any_time_or_not_at_all() {
    let open = [op(0, 1, write(1)), op(2, None, write(2))];
    good(&open);
    good(&[&open[..], &[op(8, 9, read(1))]].concat());
    good(&[&open[..], &[op(8, 9, read(1)), op(10, 11, read(2))]].concat());
    bad(&[&open[..], &[op(8, 9, read(2)), op(10, 11, read(1))]].concat());
    // Only the open write explains why a swap failed; nobody ever reads what it wrote.
    good(&[&open[..], &[op(8, 9, swap(1, 3, false)), op(10, 11, write(4))]].concat());
    bad(&[&open[..1], &[op(8, 9, swap(1, 3, false)), op(10, 11, write(4))]].concat());
    // Not before its call.
    bad(&[op(0, 1, read(2)), op(2, None, write(2))]);
    bad(&[op(0, 1, list(&[2])), op(2, None, append(2))]);
}

#[test]
fn an_open_swap_may_have_happened() {
    let open = [op(0, 1, write(1)), op(2, None, swap(1, 2, None))];
    good(&[&open[..], &[op(3, 4, read(2))]].concat());
    good(&[&open[..], &[op(3, 4, read(1)), op(5, 6, read(2))]].concat());
    good(&[&open[..], &[op(3, 4, swap(1, 3, false))]].concat());
    good(&[&open[..], &[op(3, 4, swap(2, 3, true)), op(5, 6, read(3))]].concat());
    bad(&[&open[..], &[op(3, 4, write(5)), op(5, 6, read(5)), op(7, 8, read(2))]].concat());
}

#[test]
fn a_report_shows_what_does_not_fit() {
    let stale = [op(0, 1, write(1)), op(2, 3, write(2)), op(4_000_000, 5_000_000, read(1))];
    let why = verdict(&stale).unwrap_err();
    let (order, rest) = why.split_once("none of these can follow").unwrap();
    assert!(order.contains("2 operations") && order.contains("Write(2)"), "{why}");
    assert!(rest.contains("Read(Some(1))") && rest.contains("4.000000ms"), "{why}");
    assert!(!rest.contains("Write"), "{why}");
}

#[test]
fn keys_do_not_see_each_other() {
    let elsewhere = |operation: Operation| Operation { key: "y".into(), ..operation };
    good(&[op(0, 1, write(1)), elsewhere(op(2, 3, write(2))), op(4, 5, read(1))]);
    bad(&[op(0, 1, write(1)), elsewhere(op(2, 3, read(1)))]);
}

/// Tries every order of every choice of the open operations. Knows none of the search's ideas.
fn by_exhaustion(operations: &[Operation], state: State, done: u32) -> bool {
    let left = || (0..operations.len()).filter(|op| done & (1 << op) == 0);
    let first_return = left().filter_map(|op| operations[op].returned).min();
    let Some(first_return) = first_return else { return true };
    left().filter(|op| operations[*op].called <= first_return).any(|op| {
        let next = Step::of(&operations[op].action).after(state);
        next.is_some_and(|state| by_exhaustion(operations, state, done | 1 << op))
    })
}

fn random_action(rng: &mut Rng, is_list: bool, fresh: u64) -> Action {
    let any = rng.u64(0..=fresh);
    match rng.u8(0..4) {
        0 | 1 if is_list => append(fresh),
        _ if is_list => {
            let mut items: Vec<u64> = (1..=any).collect();
            rng.shuffle(&mut items);
            items.truncate(3);
            Action::List(items)
        }
        0 => write(fresh),
        1 => swap(any, fresh, [Some(true), Some(false)][rng.usize(0..2)]),
        _ => Action::Read((any > 0).then_some(any)),
    }
}

fn random_history(rng: &mut Rng) -> Vec<Operation> {
    let is_list = rng.bool();
    let length = rng.u64(2..=7);
    let operation = |fresh| {
        let action = random_action(rng, is_list, fresh);
        let called = rng.u64(0..12);
        let returned = called + rng.u64(0..8);
        if action.brings().is_none() || rng.u8(0..3) > 0 {
            return op(called, returned, action);
        }
        match action {
            Action::Swap { expect, new, .. } => {
                op(called, None, Action::Swap { expect, new, swapped: None })
            }
            Action::Write(_) | Action::Append(_) | Action::Read(_) | Action::List(_) => {
                op(called, None, action)
            }
        }
    };
    (1..=length).map(operation).collect()
}

#[test]
fn the_search_agrees_with_exhaustion_on_random_histories() {
    let mut verdicts = [0, 0];
    for seed in 0..30_000 {
        let history = random_history(&mut Rng::with_seed(seed));
        let expected = by_exhaustion(&history, None, 0);
        let found = verdict(&history);
        assert_eq!(found.is_ok(), expected, "seed {seed}: {history:#?}\n{found:?}");
        verdicts[usize::from(expected)] += 1;
    }
    assert!(verdicts.iter().all(|count| *count > 3_000), "one-sided: {verdicts:?}");
}

/// What 8 threads see of a store that is correct: 20,000 operations on 50 keys.
fn real_history() -> History {
    let (clock, keys) = (Clock::start(), 50);
    let cells: Vec<Mutex<State>> = (0..keys).map(|_| Mutex::new(None)).collect();
    let client = |client: u64| {
        let mut rng = Rng::with_seed(client);
        let mut history = History::default();
        for number in 0..2_500 {
            let key = rng.usize(0..keys);
            let fresh = client * 10_000 + number + 1;
            let called = clock.now();
            let mut cell = cells[key].lock().unwrap();
            let action = match rng.u8(0..4) {
                0 => Action::Write(fresh),
                1 => {
                    let expect = if rng.bool() { *cell } else { Some(fresh) };
                    Action::Swap { expect, new: fresh, swapped: Some(*cell == expect) }
                }
                _ => Action::Read(*cell),
            };
            *cell = Step::of(&action).after(*cell).unwrap();
            drop(cell);
            // Some clients are slow to hear, which makes operations overlap.
            if rng.u8(0..10) == 0 {
                thread::sleep(Duration::from_micros(rng.u64(0..200)));
            }
            let returned = (rng.u8(0..100) > 0 || action.brings().is_none()).then(|| clock.now());
            let (key, client) = (format!("r{key}"), usize::try_from(client).unwrap());
            history.operations.push(Operation { client, key, action, called, returned });
        }
        history
    };
    let mut history = History::default();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|number| scope.spawn(move || client(number))).collect();
        clients.into_iter().for_each(|client| history.extend(client.join().unwrap()));
    });
    history
}

#[test]
fn twenty_thousand_operations_are_checked_in_a_moment() {
    let mut history = real_history();
    let start = Instant::now();
    check(&history).unwrap();
    assert!(start.elapsed() < Duration::from_secs(10), "took {:?}", start.elapsed());

    // One read, late in the run, repeats what an early one saw.
    let reads = |history: &History| -> Vec<usize> {
        let is_read = |at: &usize| {
            let operation = &history.operations[*at];
            operation.key == "r7" && matches!(operation.action, Action::Read(Some(_)))
        };
        (0..history.operations.len()).filter(is_read).collect()
    };
    history.operations.sort_by_key(|operation| operation.called);
    let reads = reads(&history);
    let early = history.operations[reads[3]].action.clone();
    history.operations[reads[reads.len() - 3]].action = early;
    assert!(check(&history).unwrap_err().starts_with("not linearizable"));
    assert!(start.elapsed() < Duration::from_secs(20), "took {:?}", start.elapsed());
}
