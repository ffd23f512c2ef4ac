//! Snapshots, to and from the disk: what takes long and is not the log.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use synod_paxos::Slot;
use synod_storage::{Disk, Incoming, Snapshots};

use super::Event;
use crate::{
    engine::{Archive, Finished, Job, save},
    inbox::Inbox,
    machine::{Machine, Snapshot},
};

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
            archive: Archive::new(snapshots.clone(), given_up.clone()),
            snapshots,
            inbox,
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
    archive: Archive<D>,
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
                    let (part, served) = self.archive.serve(to, slot, offset, at_least);
                    if let Some(part) = part {
                        self.inbox.push(Event::Send(to, part));
                    }
                    self.inbox.push(Event::Finished(served));
                }
                Job::Keep { chunk, restore } => {
                    let kept = self.archive.keep(&chunk, restore);
                    self.inbox.push(Event::Finished(kept));
                }
            }
        }
        join(self.saving.take());
    }

    /// Writes a snapshot on another thread: peers want to be served meanwhile.
    fn save(&mut self, slot: Slot, picture: Snapshot) {
        let (snapshots, inbox) = (self.snapshots.clone(), self.inbox.clone());
        let given_up = self.given_up.clone();
        let picture: Snapshot = Box::new(|out| picture(&mut Paced::new(out)));
        let work = move || {
            let saved = save(&snapshots, slot, picture, &given_up);
            inbox.push(Event::Finished(saved));
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
}

/// After so many bytes of a snapshot, it rests.
const PART: usize = 256 << 10;
/// How many times as long as it has worked it rests.
const REST: u32 = 3;
/// The longest rest: whoever stops the node waits for it.
const REST_MAX: Duration = Duration::from_millis(50);

/// Leaves most of the disk's and the processor's time to commands: nobody waits for a snapshot.
struct Paced<'a> {
    out: &'a mut dyn Write,
    bytes: usize,
    since: Instant,
}

impl<'a> Paced<'a> {
    fn new(out: &'a mut dyn Write) -> Self {
        Self { out, bytes: 0, since: Instant::now() }
    }
}

impl Write for Paced<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes >= PART {
            thread::sleep((REST * self.since.elapsed()).min(REST_MAX));
            (self.bytes, self.since) = (0, Instant::now());
        }
        let taken = self.out.write(bytes)?;
        self.bytes += taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn join(thread: Option<JoinHandle<()>>) {
    if thread.is_some_and(|thread| thread.join().is_err()) {
        tracing::error!("a thread that handles snapshots has panicked");
    }
}
