//! Snapshots, to and from the disk: what takes long and is not the log.

use std::{
    io::{self, Read, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

use synod_paxos::{Message, NodeId, Slot, message::SnapshotChunk};
use synod_storage::{Disk, Incoming, Snapshots};

use super::Event;
use crate::{
    engine::{Finished, Job},
    inbox::Inbox,
    machine::{Machine, Restore, Snapshot},
    system::Head,
};

/// Bytes of a snapshot in one message.
const CHUNK: usize = 1 << 18;

/// Hands work to a thread of its own. When it is dropped, what is under way is given up: nothing
/// of this life may write into the directory when the next one begins.
pub(super) struct Worker<M> {
    jobs: Option<mpsc::Sender<Job<M>>>,
    thread: Option<JoinHandle<()>>,
    given_up: Arc<AtomicBool>,
}

impl<M: Machine> Worker<M> {
    /// Starts the thread.
    pub(super) fn start<D: Disk>(
        name: &str,
        snapshots: Snapshots<D>,
        inbox: Arc<Inbox<Event<M>>>,
    ) -> io::Result<Self>
    where
        Snapshots<D>: Send + Clone + 'static,
        Incoming<D>: Send,
    {
        let (jobs, queue) = mpsc::channel();
        let name = format!("{name}-snapshots");
        let given_up = Arc::new(AtomicBool::new(false));
        let mut hands = Hands {
            name: name.clone(),
            snapshots,
            inbox,
            incoming: None,
            saving: None,
            given_up: given_up.clone(),
        };
        let thread = thread::Builder::new().name(name).spawn(move || hands.run(&queue))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), given_up })
    }

    pub(super) fn job(&self, job: Job<M>) {
        if let Some(jobs) = &self.jobs {
            drop(jobs.send(job)); // The thread ends only with this.
        }
    }
}

impl<M> Drop for Worker<M> {
    fn drop(&mut self) {
        self.given_up.store(true, Ordering::Relaxed);
        self.jobs = None;
        join(self.thread.take());
    }
}

struct Hands<M, D: Disk> {
    name: String,
    snapshots: Snapshots<D>,
    inbox: Arc<Inbox<Event<M>>>,
    /// A peer's snapshot, as far as it has come.
    incoming: Option<(Slot, u64, Incoming<D>)>,
    /// The thread that writes a snapshot.
    saving: Option<JoinHandle<()>>,
    given_up: Arc<AtomicBool>,
}

impl<M: Machine, D: Disk> Hands<M, D>
where
    Snapshots<D>: Send + Clone + 'static,
{
    fn run(&mut self, queue: &mpsc::Receiver<Job<M>>) {
        while let Ok(job) = queue.recv() {
            if self.given_up.load(Ordering::Relaxed) {
                break;
            }
            match job {
                Job::Save { slot, picture } => self.save(slot, picture),
                Job::Serve { to, slot, offset, at_least } => {
                    self.serve(to, slot, offset, at_least);
                }
                Job::Keep { chunk, restore } => self.keep(&chunk, restore),
            }
        }
        join(self.saving.take());
    }

    /// Writes a snapshot on another thread: peers want to be served meanwhile.
    fn save(&mut self, slot: Slot, picture: Snapshot) {
        let (snapshots, inbox) = (self.snapshots.clone(), self.inbox.clone());
        let given_up = self.given_up.clone();
        let work = move || {
            let (slot, bytes) = match save(&snapshots, slot, picture, &given_up) {
                Ok(bytes) => (Ok(slot), bytes),
                Err(error) => (Err(error), 0),
            };
            inbox.push(Event::Finished(Finished::Saved { slot, bytes }));
        };
        join(self.saving.take()); // The one before has said that it is done.
        match thread::Builder::new().name(format!("{}-save", self.name)).spawn(work) {
            Ok(saving) => self.saving = Some(saving),
            Err(error) => {
                let failed = Finished::Saved { slot: Err(error), bytes: 0 };
                self.inbox.push(Event::Finished(failed));
            }
        }
    }

    fn serve(&self, to: NodeId, slot: Slot, offset: u64, at_least: Slot) {
        let served = match self.chunk(slot, offset, at_least) {
            Ok(Some(chunk)) => {
                self.inbox.push(Event::Send(to, Message::SnapshotChunk(Box::new(chunk))));
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::warn!(%error, "a snapshot could not be read for a peer");
                false
            }
        };
        self.inbox.push(Event::Finished(Finished::Served(served)));
    }

    fn chunk(&self, slot: Slot, offset: u64, at_least: Slot) -> io::Result<Option<SnapshotChunk>> {
        let newest = self.snapshots.newest()?.filter(|info| info.slot >= at_least);
        let Some(newest) = newest else {
            return Ok(None);
        };
        let offset = if newest.slot == slot && offset <= newest.len { offset } else { 0 };
        let bytes = self.snapshots.read_at(newest.slot, offset, CHUNK)?.into();
        let (slot, checksum, total) = (newest.slot, newest.checksum, newest.len);
        Ok(Some(SnapshotChunk { slot, checksum, total, offset, bytes }))
    }

    fn keep(&mut self, chunk: &SnapshotChunk, restore: Option<Restore<M>>) {
        let last = restore.is_some();
        let finished = match self.keep_part(chunk).and_then(|()| self.whole(restore)) {
            Ok(Some(restored)) => Finished::Restored(Box::new(restored)),
            Ok(None) => Finished::Kept,
            Err(error) if last => Finished::NotRestored(error),
            Err(error) => {
                tracing::warn!(%error, "a part of a peer's snapshot could not be kept");
                self.incoming = None;
                Finished::Kept
            }
        };
        self.inbox.push(Event::Finished(finished));
    }

    fn keep_part(&mut self, chunk: &SnapshotChunk) -> io::Result<()> {
        let same = |(slot, checksum, _): &(Slot, u64, Incoming<D>)| {
            (*slot, *checksum) == (chunk.slot, chunk.checksum)
        };
        if chunk.offset == 0 || !self.incoming.as_ref().is_some_and(same) {
            let incoming = self.snapshots.receive(chunk.slot, chunk.checksum, chunk.total)?;
            self.incoming = Some((chunk.slot, chunk.checksum, incoming));
        }
        match &mut self.incoming {
            Some((.., incoming)) => incoming.write(chunk.offset, &chunk.bytes).map(drop),
            None => Ok(()),
        }
    }

    /// With the last part: reads the snapshot, and makes it this node's own if it can be read.
    fn whole(&mut self, restore: Option<Restore<M>>) -> io::Result<Option<(Head, M)>> {
        let Some(restore) = restore else { return Ok(None) };
        let nothing = || io::Error::new(io::ErrorKind::NotFound, "no part has been kept");
        let (.., incoming) = self.incoming.take().ok_or_else(nothing)?;
        let reader = UnlessGivenUp { inner: incoming.reader()?, given_up: &self.given_up };
        let restored = load(reader, restore)?;
        incoming.finish()?;
        Ok(Some(restored))
    }
}

/// Writes a snapshot, and returns its length.
fn save<D: Disk>(
    snapshots: &Snapshots<D>,
    slot: Slot,
    picture: Snapshot,
    given_up: &AtomicBool,
) -> io::Result<u64> {
    let mut writer = UnlessGivenUp { inner: snapshots.create(slot)?, given_up };
    guarded(|| picture(&mut writer))?;
    writer.flush()?;
    writer.inner.finish().map(|info| info.len)
}

/// Reads a snapshot.
pub(super) fn load<M: Machine>(mut from: impl Read, restore: Restore<M>) -> io::Result<(Head, M)> {
    let head = Head::read(&mut from)?;
    Ok((head, guarded(|| restore(&mut from))?))
}

/// A state machine that panics here must not take the thread with it.
fn guarded<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let panicked = |_| Err(io::Error::other("the state machine panicked"));
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(panicked)
}

/// Reads or writes until the worker is given up.
struct UnlessGivenUp<'a, T> {
    inner: T,
    given_up: &'a AtomicBool,
}

impl<T> UnlessGivenUp<'_, T> {
    fn check(&self) -> io::Result<()> {
        match self.given_up.load(Ordering::Relaxed) {
            true => Err(io::Error::other("the node stops")),
            false => Ok(()),
        }
    }
}

impl<T: Read> Read for UnlessGivenUp<'_, T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.inner.read(bytes)
    }
}

impl<T: Write> Write for UnlessGivenUp<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check()?;
        self.inner.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.check()?;
        self.inner.flush()
    }
}

fn join(thread: Option<JoinHandle<()>>) {
    if thread.is_some_and(|thread| thread.join().is_err()) {
        tracing::error!("a thread that handles snapshots has panicked");
    }
}
