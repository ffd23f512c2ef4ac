//! Recording a run, for the space-time diagram that `--trace` writes.

pub(crate) mod page;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::environment::network::{Content, Mail, Place};
pub(crate) use page::Process;
use page::{Arrow, Mark, Trace};

/// Most messages in a trace: more cannot be looked at.
const MESSAGES_MAX: usize = 20_000;
/// Most marks in a trace.
const MARKS_MAX: usize = 20_000;

/// Takes down what all processes send, receive and live through.
#[derive(Default)]
pub(crate) struct Recorder(Mutex<Run>);

#[derive(Default)]
struct Run {
    trace: Trace,
    /// By message: whether the network lost it. Others without a time of arrival were on their
    /// way when the run ended.
    lost: Vec<bool>,
}

impl Recorder {
    fn run(&self) -> MutexGuard<'_, Run> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Messages are sent, or lost. Returns the place of the first, if there was room for all.
    pub(crate) fn sent<T: Content>(
        &self,
        (from, to): (Place, Place),
        items: &[T],
        now: Duration,
        lost: bool,
    ) -> Option<usize> {
        let mut run = self.run();
        let first = run.trace.messages.len();
        if first + items.len() > MESSAGES_MAX {
            run.trace.dropped += items.len();
            return None;
        }
        let sent = microseconds(now);
        for item in items {
            let content = item.record();
            run.trace.messages.push(Arrow {
                from,
                to,
                sent,
                received: None,
                kind: content.kind,
                text: content.text,
                ballot: content.ballot,
                slot: content.slot,
                context: None,
            });
            run.lost.push(lost);
        }
        Some(first)
    }

    /// Mail has arrived.
    pub(crate) fn received(&self, mail: &[Mail], now: Duration) {
        let mut run = self.run();
        for Mail { recorded, body, .. } in mail {
            let Some(first) = *recorded else { continue };
            for arrow in &mut run.trace.messages[first..first + body.len()] {
                arrow.received = Some(microseconds(now));
            }
        }
    }

    /// Something happens to a process, or to all.
    pub(crate) fn mark(
        &self,
        now: Duration,
        process: Option<Place>,
        kind: &'static str,
        text: String,
    ) {
        let marks = &mut self.run().trace.marks;
        if marks.len() < MARKS_MAX {
            marks.push(Mark { at: microseconds(now), process, kind, text, until: None });
        }
    }

    /// The diagram, as a page for a browser.
    pub(crate) fn page(&self, title: &str, processes: Vec<Process>) -> String {
        let mut run = self.run();
        let Run { mut trace, lost } = std::mem::take(&mut *run);
        let mut lost = lost.into_iter();
        trace.messages.retain(|arrow| lost.next() == Some(true) || arrow.received.is_some());
        title.clone_into(&mut trace.title);
        trace.processes = processes;
        trace.to_html()
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
