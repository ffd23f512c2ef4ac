//! Whether each command took effect as often as its client was told.

use std::collections::BTreeMap;

use crate::history::{Action, History};

/// Compares the final content of each list with what the clients were told of their appends.
///
/// # Errors
/// Everything that is lost, doubled, done although refused, or from nowhere.
pub(crate) fn check(history: &History, lists: &BTreeMap<String, Vec<u64>>) -> Result<(), String> {
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    for item in lists.values().flatten() {
        *times.entry(*item).or_default() += 1;
    }
    let mut wrong = Vec::new();
    for operation in &history.operations {
        let Action::Append(item) = operation.action else { continue };
        let home = lists.get(&operation.key).is_some_and(|list| list.contains(&item));
        match (operation.returned, times.remove(&item).unwrap_or(0), home) {
            (Some(_), 1, true) | (None, 0, _) | (None, 1, true) => {}
            (Some(_), 0, _) => wrong.push(format!("lost: {operation}")),
            (_, 1, false) => wrong.push(format!("in another list: {operation}")),
            (_, times, _) => wrong.push(format!("{times} times: {operation}")),
        }
    }
    for refused in &history.refused {
        if times.remove(refused).is_some() {
            wrong.push(format!(
                "done, although its client was told that it never would be: {refused}"
            ));
        }
    }
    wrong.extend(times.keys().map(|item| format!("nobody appended {item}")));
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Operation;

    fn told(item: u64, returned: Option<u64>) -> Operation {
        let action = Action::Append(item);
        Operation { client: 1, key: "l0".into(), action, called: 0, returned }
    }

    /// Item 1 is acknowledged, 2 unknown, 3 refused; the list holds `items` at the end.
    fn finally(items: &[u64]) -> Result<(), String> {
        let operations = vec![told(1, Some(1)), told(2, None)];
        let history = History { operations, refused: vec![3] };
        check(&history, &BTreeMap::from([("l0".to_owned(), items.to_vec())]))
    }

    #[test]
    fn what_is_unknown_may_be_done_once_or_not_at_all() {
        assert_eq!(finally(&[1]), Ok(()));
        assert_eq!(finally(&[2, 1]), Ok(()));
    }

    #[test]
    fn every_deviation_is_found() {
        assert!(finally(&[2]).unwrap_err().contains("lost"));
        assert!(finally(&[1, 1]).unwrap_err().contains("2 times"));
        assert!(finally(&[1, 2, 2]).unwrap_err().contains("2 times"));
        assert!(finally(&[1, 3]).unwrap_err().contains("never would be"));
        assert!(finally(&[1, 4]).unwrap_err().contains("nobody"));
    }

    #[test]
    fn an_item_belongs_into_its_own_list() {
        let history = History { operations: vec![told(1, Some(1))], refused: vec![] };
        let lists = BTreeMap::from([("l1".to_owned(), vec![1])]);
        assert!(check(&history, &lists).unwrap_err().contains("another list"));
    }
}
