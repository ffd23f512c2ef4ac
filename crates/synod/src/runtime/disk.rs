//! The thread that writes the log: whatever has piled up goes out in one write and one sync.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use synod_paxos::Record;
use synod_storage::{Disk, Store, WriteError};

use super::Event;
use crate::inbox::Inbox;

/// How long to wait before looking again whether the disk has room.
const FULL_RETRY: Duration = Duration::from_millis(100);

/// Hands records to the thread that writes them.
pub(super) struct LogWriter {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Queue {
    pile: Mutex<Pile>,
    arrived: Condvar,
}

#[derive(Default)]
struct Pile {
    records: Vec<Record>,
    end: Option<End>,
}

/// How the thread comes to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// What it was given is written, and the log is closed.
    Orderly,
    /// As a crash would have it: what has not been written is not.
    Abrupt,
}

/// What there is to do.
#[derive(PartialEq, Eq)]
enum Work {
    Batch,
    /// Nothing, for a while.
    Idle,
    End(End),
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Pile> {
        self.pile.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for records and puts them into an empty `batch`; for so long, if a time is given.
    fn take(&self, batch: &mut Vec<Record>, within: Option<Duration>) -> Work {
        let mut pile = self.lock();
        while pile.records.is_empty() && pile.end.is_none() {
            let Some(time) = within else {
                pile = self.arrived.wait(pile).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let waited = self.arrived.wait_timeout(pile, time);
            let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            pile = woken;
            if timeout.timed_out() && pile.records.is_empty() && pile.end.is_none() {
                return Work::Idle;
            }
        }
        match pile.end {
            Some(End::Abrupt) => Work::End(End::Abrupt),
            Some(End::Orderly) if pile.records.is_empty() => Work::End(End::Orderly),
            Some(End::Orderly) | None => {
                std::mem::swap(&mut pile.records, batch);
                Work::Batch
            }
        }
    }

    fn ends(&self) -> bool {
        self.lock().end.is_some()
    }
}

impl LogWriter {
    /// Starts the thread. What becomes of the records is told to `inbox`; `before` of this life
    /// are on disk already.
    pub(super) fn start<M: Send + 'static, D: Disk>(
        name: &str,
        store: Store<D>,
        before: u64,
        inbox: Arc<Inbox<Event<M>>>,
    ) -> std::io::Result<Self>
    where
        Store<D>: Send,
    {
        let queue = Arc::new(Queue::default());
        let writer = Writer { queue: queue.clone(), store, inbox, count: before, full: false };
        let panicked = writer.inbox.clone();
        let work = move || {
            if catch_unwind(AssertUnwindSafe(|| writer.run())).is_err() {
                panicked.push(Event::DiskFailed("the thread that writes the log panicked".into()));
            }
        };
        let thread = thread::Builder::new().name(format!("{name}-log")).spawn(work)?;
        Ok(Self { queue, thread: Some(thread) })
    }

    /// Appends records; `batch` is empty afterwards.
    pub(super) fn append(&self, batch: &mut Vec<Record>) {
        let mut pile = self.queue.lock();
        if pile.records.is_empty() {
            std::mem::swap(&mut pile.records, batch);
        } else {
            pile.records.append(batch);
        }
        drop(pile);
        self.queue.arrived.notify_one();
    }

    /// Lets the thread come to an end, after what it has been given.
    pub(super) fn stop(&mut self) {
        self.end(End::Orderly);
    }

    /// Lets the thread come to an end as a crash would.
    pub(super) fn abandon(&mut self) {
        self.end(End::Abrupt);
    }

    fn end(&mut self, end: End) {
        self.queue.lock().end.get_or_insert(end);
        self.queue.arrived.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the log has panicked");
        }
    }
}

/// Also where its owner has panicked, or never came to run: the thread has the directory's lock.
impl Drop for LogWriter {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Writer<M, D: Disk> {
    queue: Arc<Queue>,
    store: Store<D>,
    inbox: Arc<Inbox<Event<M>>>,
    /// Records of this life that are on disk.
    count: u64,
    full: bool,
}

impl<M, D: Disk> Writer<M, D> {
    fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            // While there is no room, it is looked now and then whether there is some.
            match self.queue.take(&mut batch, self.full.then_some(FULL_RETRY)) {
                Work::Batch => {
                    if !self.write(&mut batch) {
                        return;
                    }
                }
                Work::Idle => {}
                Work::End(End::Abrupt) => return,
                Work::End(End::Orderly) => break,
            }
            if let Err(error) = self.store.prepare() {
                return self.inbox.push(Event::DiskFailed(error.to_string()));
            }
            self.note_room(self.store.is_low());
        }
        if let Err(error) = self.store.close() {
            tracing::warn!(%error, "the log could not be closed");
        }
    }

    /// Writes a batch, which is empty afterwards. False if the node must stop.
    fn write(&mut self, batch: &mut Vec<Record>) -> bool {
        let began = Instant::now();
        self.store.append(batch);
        let records = batch.len() as u64;
        self.count += records;
        let written = self.sync(|inbox, count| {
            inbox.push(Event::Synced { count, records, took: began.elapsed() });
        });
        batch.clear();
        written
    }

    /// Makes everything durable, and tells the loop as soon as it is. False if the node must stop.
    fn sync(&mut self, told: impl Fn(&Inbox<Event<M>>, u64)) -> bool {
        loop {
            let (inbox, count) = (&self.inbox, self.count);
            match self.store.sync_and_tell(|| told(inbox, count)) {
                Ok(()) => return true,
                Err(WriteError::Full) => {
                    self.note_room(true);
                    if self.queue.ends() {
                        return false;
                    }
                    thread::sleep(FULL_RETRY);
                }
                Err(error @ WriteError::Failed { .. }) => {
                    self.inbox.push(Event::DiskFailed(error.to_string()));
                    return false;
                }
            }
        }
    }

    fn note_room(&mut self, full: bool) {
        if self.full != full {
            self.full = full;
            self.inbox.push(Event::DiskFull(full));
        }
    }
}
