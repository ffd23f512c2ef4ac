//! The last events of a run, in the paper's notation; kept only when a failed run is repeated.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

#[derive(Clone, Default)]
pub(crate) struct Trace {
    longest: usize,
    lines: Option<Rc<RefCell<VecDeque<String>>>>,
}

impl Trace {
    /// Keeps the last `longest` lines.
    pub(crate) fn on(longest: usize) -> Self {
        Self { longest, lines: Some(Rc::default()) }
    }

    pub(crate) fn note(&self, line: impl FnOnce() -> String) {
        if let Some(lines) = &self.lines {
            let mut lines = lines.borrow_mut();
            if lines.len() == self.longest {
                lines.pop_front();
            }
            lines.push_back(line());
        }
    }

    pub(crate) fn text(&self) -> String {
        let lines = self.lines.as_ref().map(|lines| lines.borrow().clone());
        lines.into_iter().flatten().map(|line| format!("  {line}\n")).collect()
    }
}
