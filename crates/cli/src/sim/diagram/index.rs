//! Names that rows of the page refer to by number.

use std::collections::BTreeMap;

use synod_sim::recorder::Name;

use crate::trace::page::Change;

/// Everything that has a number.
#[derive(Default)]
pub(super) struct Index {
    pub(super) variables: Numbers<(&'static str, &'static str)>,
    pub(super) values: Numbers<String>,
    pub(super) commands: Numbers<String>,
}

impl Index {
    pub(super) fn change(&mut self, name: Name, value: Option<&str>) -> Change {
        let (role, variable, slot) = name;
        let variable = self.variables.number((role, variable));
        let value = value.map(|value| self.values.number(value.to_owned()));
        (variable, slot.map(|slot| slot.0), value)
    }
}

/// Different things, numbered in the order in which they turned up.
pub(super) struct Numbers<T>(BTreeMap<T, usize>);

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Ord> Numbers<T> {
    pub(super) fn number(&mut self, name: T) -> usize {
        let next = self.0.len();
        *self.0.entry(name).or_insert(next)
    }

    /// All of them, by number.
    pub(super) fn names(self) -> Vec<T> {
        let mut names: Vec<(T, usize)> = self.0.into_iter().collect();
        names.sort_by_key(|(_, number)| *number);
        names.into_iter().map(|(name, _)| name).collect()
    }
}
