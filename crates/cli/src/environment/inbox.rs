//! The inbox of one process: what has arrived, and what is still on its way.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc, time::Duration};

use crossbeam_channel::Receiver;

use super::network::{Mail, Network};

/// Most pieces of mail in one turn, so that a process gets round to its other duties.
const TURN_MAX: usize = 1024;

/// The receiving end of a process's line.
pub(crate) struct Inbox {
    network: Arc<Network>,
    receiver: Receiver<Mail>,
    /// What the network holds back, by the time when it arrives.
    late: BinaryHeap<Reverse<Late>>,
    /// Counts what was held back, so that mail due at one time keeps its order.
    number: u64,
}

struct Late {
    due: Duration,
    number: u64,
    mail: Mail,
}

impl Inbox {
    pub(crate) fn new(network: Arc<Network>, receiver: Receiver<Mail>) -> Self {
        Self { network, receiver, late: BinaryHeap::new(), number: 0 }
    }

    /// Waits for mail, at most until `deadline`, and takes all that is there into `taken`.
    pub(crate) fn take(&mut self, deadline: Duration, taken: &mut Vec<Mail>) {
        let arrives = self.late.peek().map(|Reverse(late)| late.due);
        let until = arrives.map_or(deadline, |due| due.min(deadline));
        if let Ok(mail) = self.receiver.recv_deadline(self.network.instant(until)) {
            let more = self.receiver.try_iter().take(TURN_MAX);
            for mail in std::iter::once(mail).chain(more) {
                match mail.due {
                    None => taken.push(mail),
                    Some(due) => {
                        self.number += 1;
                        self.late.push(Reverse(Late { due, number: self.number, mail }));
                    }
                }
            }
        }
        if !self.late.is_empty() {
            let now = self.network.now();
            while self.late.peek().is_some_and(|Reverse(late)| late.due <= now) {
                taken.extend(self.late.pop().map(|Reverse(late)| late.mail));
            }
        }
        if let Some(recorder) = &self.network.recorder {
            recorder.received(taken, self.network.now());
        }
    }
}

impl PartialEq for Late {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Late {}

impl PartialOrd for Late {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Late {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}
