//! What takes long and is not the log: snapshots to and from the disk, and names of hosts.

use std::{
    io::{self, Write},
    net::{SocketAddr, ToSocketAddrs},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread,
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

enum Task<M> {
    Job(Job<M>),
    Resolve(NodeId, String),
}

/// Hands work to a thread of its own.
pub(super) struct Worker<M> {
    tasks: mpsc::Sender<Task<M>>,
}

impl<M: Machine> Worker<M> {
    /// Starts the thread. It ends when this is dropped and all is done.
    pub(super) fn start<D: Disk>(
        name: &str,
        snapshots: Snapshots<D>,
        inbox: Arc<Inbox<Event<M>>>,
    ) -> io::Result<Self>
    where
        Snapshots<D>: Send + Clone + 'static,
        Incoming<D>: Send,
    {
        let (tasks, queue) = mpsc::channel();
        let name = format!("{name}-snapshots");
        let hands = Hands { name: name.clone(), snapshots, inbox, incoming: None };
        thread::Builder::new().name(name).spawn(move || hands.run(&queue))?;
        Ok(Self { tasks })
    }

    pub(super) fn job(&self, job: Job<M>) {
        drop(self.tasks.send(Task::Job(job))); // The thread ends only with this.
    }

    /// Finds the address of a host by its name, which may take as long as the network pleases.
    pub(super) fn resolve(&self, node: NodeId, address: String) {
        drop(self.tasks.send(Task::Resolve(node, address)));
    }
}

struct Hands<M, D: Disk> {
    name: String,
    snapshots: Snapshots<D>,
    inbox: Arc<Inbox<Event<M>>>,
    /// A peer's snapshot, as far as it has come.
    incoming: Option<(Slot, u64, Incoming<D>)>,
}

impl<M: Machine, D: Disk> Hands<M, D>
where
    Snapshots<D>: Send + Clone + 'static,
{
    fn run(mut self, queue: &mpsc::Receiver<Task<M>>) {
        while let Ok(task) = queue.recv() {
            match task {
                Task::Job(Job::Save { slot, picture }) => self.save(slot, picture),
                Task::Job(Job::Serve { to, slot, offset, at_least }) => {
                    self.serve(to, slot, offset, at_least);
                }
                Task::Job(Job::Keep { chunk, restore }) => self.keep(&chunk, restore),
                Task::Resolve(node, address) => {
                    self.inbox.push(Event::Resolved(node, resolve(&address)));
                }
            }
        }
    }

    /// Writes a snapshot on another thread: peers want to be served meanwhile.
    fn save(&self, slot: Slot, picture: Snapshot) {
        let (snapshots, inbox) = (self.snapshots.clone(), self.inbox.clone());
        let work = move || {
            let saved = save(&snapshots, slot, picture);
            let (slot, bytes) = match saved {
                Ok(bytes) => (Ok(slot), bytes),
                Err(error) => (Err(error), 0),
            };
            inbox.push(Event::Finished(Finished::Saved { slot, bytes }));
        };
        if let Err(error) = thread::Builder::new().name(format!("{}-save", self.name)).spawn(work) {
            let failed = Finished::Saved { slot: Err(error), bytes: 0 };
            self.inbox.push(Event::Finished(failed));
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

    /// With the last part: makes the snapshot this node's own, and reads it.
    fn whole(&mut self, restore: Option<Restore<M>>) -> io::Result<Option<(Head, M)>> {
        let Some(restore) = restore else { return Ok(None) };
        let nothing = || io::Error::new(io::ErrorKind::NotFound, "no part has been kept");
        let (slot, _, incoming) = self.incoming.take().ok_or_else(nothing)?;
        incoming.finish()?;
        load(&self.snapshots, slot, restore).map(Some)
    }
}

/// Writes a snapshot, and returns its length.
fn save<D: Disk>(snapshots: &Snapshots<D>, slot: Slot, picture: Snapshot) -> io::Result<u64> {
    let mut writer = snapshots.create(slot)?;
    guarded(|| picture(&mut writer))?;
    writer.flush()?;
    writer.finish().map(|info| info.len)
}

/// Reads a snapshot that is whole.
pub(super) fn load<M: Machine, D: Disk>(
    snapshots: &Snapshots<D>,
    slot: Slot,
    restore: Restore<M>,
) -> io::Result<(Head, M)> {
    let mut reader = snapshots.open(slot)?;
    let head = Head::read(&mut reader)?;
    Ok((head, guarded(|| restore(&mut reader))?))
}

/// A state machine that panics here must not take the thread with it.
fn guarded<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let panicked = |_| Err(io::Error::other("the state machine panicked"));
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(panicked)
}

fn resolve(address: &str) -> io::Result<SocketAddr> {
    let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    address.to_socket_addrs()?.next().ok_or_else(none)
}
