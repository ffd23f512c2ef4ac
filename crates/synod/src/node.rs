//! A node: what it is told, how it starts, and how its owner speaks to it.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use futures_channel::oneshot;
use synod_paxos::Timing;

pub use synod_paxos::Lease as LeaseTerms;

use crate::{
    client::Client,
    error::{StartError, StopReason},
    genesis::{Genesis, Member},
    inbox::Inbox,
    machine::Machine,
    runtime::{self, Event},
    status::Status,
    transport::tls::Tls,
};

/// A node of a cluster, running on threads of its own. It stops when this is dropped.
pub struct Node<M: Machine> {
    inbox: Arc<Inbox<Event<M>>>,
    end: Arc<End>,
    next_client: AtomicU64,
    thread: Option<JoinHandle<()>>,
    id: u32,
}

/// How a node came to its end.
#[derive(Default)]
pub(crate) struct End {
    state: Mutex<(Option<StopReason>, Vec<oneshot::Sender<StopReason>>)>,
}

impl End {
    pub(crate) fn come(&self, reason: StopReason) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for waiter in state.1.drain(..) {
            drop(waiter.send(reason.clone()));
        }
        state.0.get_or_insert(reason);
    }

    fn wait(&self) -> oneshot::Receiver<StopReason> {
        let (waiter, reason) = oneshot::channel();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &state.0 {
            Some(known) => drop(waiter.send(known.clone())),
            None => state.1.push(waiter),
        }
        reason
    }
}

/// What a node is told before it starts. Everything but its directory, its id and its peers has a
/// default.
#[must_use = "a node runs once it is started"]
pub struct Builder<M> {
    pub(crate) directory: PathBuf,
    pub(crate) machine: M,
    pub(crate) id: Option<u32>,
    pub(crate) genesis: Genesis,
    pub(crate) join: Vec<String>,
    pub(crate) listen: Option<String>,
    pub(crate) advertise: Option<String>,
    pub(crate) tls: Option<Tls>,
    pub(crate) timing: Timing,
    pub(crate) snapshot_every: u64,
    pub(crate) segment_bytes: u64,
}

impl<M: Machine + Default> Node<M> {
    /// A node whose data is in `directory`, which is made if it does not exist. Its state machine
    /// begins with [`Default`].
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(directory: impl AsRef<Path>) -> Result<Builder<M>, StartError> {
        Self::open_with(directory, M::default())
    }
}

impl<M: Machine> Node<M> {
    /// A node whose data is in `directory`, with a state machine in its initial state; or in the
    /// state of its last [commit](Machine::commit), if it is durable by itself.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open_with(directory: impl AsRef<Path>, machine: M) -> Result<Builder<M>, StartError> {
        let directory = directory.as_ref().to_owned();
        std::fs::create_dir_all(&directory).map_err(|source| StartError::Directory {
            path: directory.display().to_string(),
            source,
        })?;
        Ok(Builder {
            directory,
            machine,
            id: None,
            genesis: Genesis::default(),
            join: Vec::new(),
            listen: None,
            advertise: None,
            tls: None,
            timing: Timing::default(),
            snapshot_every: 64 << 20,
            segment_bytes: 16 << 20,
        })
    }

    pub(crate) fn running(
        inbox: Arc<Inbox<Event<M>>>,
        end: Arc<End>,
        thread: JoinHandle<()>,
        id: u32,
    ) -> Self {
        Self { inbox, end, next_client: AtomicU64::new(1), thread: Some(thread), id }
    }

    /// Which node this is.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// A client of this node, with a session of its own.
    #[must_use]
    pub fn client(&self) -> Client<M> {
        let number = self.next_client.fetch_add(1, Ordering::Relaxed);
        Client::local(self.inbox.clone(), number)
    }

    /// How the node is. `None` if it has stopped.
    pub async fn status(&self) -> Option<Status> {
        let (waiter, status) = oneshot::channel();
        self.inbox.push(Event::Status(waiter));
        status.await.ok()
    }

    /// Why the node has stopped; `None` while it runs.
    #[must_use]
    pub fn has_stopped(&self) -> Option<StopReason> {
        self.end.state.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Waits until the node stops, and says why.
    pub async fn stopped(&self) -> StopReason {
        self.end.wait().await.unwrap_or(StopReason::Asked)
    }

    /// Stops the node: lets another lead, if it leads, and closes its log.
    pub async fn stop(mut self) -> StopReason {
        self.inbox.push(Event::Stop { gently: true });
        let reason = self.stopped().await;
        self.join();
        reason
    }

    /// Stops the node as a crash would: without a word to anybody.
    pub fn kill(mut self) {
        self.inbox.push(Event::Kill);
        self.join();
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            drop(thread.join()); // Why it stopped is known from elsewhere.
        }
    }
}

impl<M: Machine> Drop for Node<M> {
    fn drop(&mut self) {
        self.inbox.push(Event::Stop { gently: false });
        self.join();
    }
}

impl<M: Machine> fmt::Debug for Node<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<M: Machine> Builder<M> {
    /// Which node it is. Ids are given once: a node whose disk was lost gets another.
    pub fn id(mut self, id: u32) -> Self {
        self.id = Some(id);
        self
    }

    /// The nodes that the cluster begins with, all in all roles: the first has id 1, and so on.
    /// The same on each of them. Later, [`Client::ensure_members`] says who takes part.
    pub fn peers<A: Into<String>>(self, addresses: impl IntoIterator<Item = A>) -> Self {
        let member = |(id, address): (u32, A)| Member::new(id, address);
        self.members((1..).zip(addresses).map(member))
    }

    /// The nodes that the cluster begins with, each with its roles. The same on each of them.
    pub fn members(mut self, members: impl IntoIterator<Item = Member>) -> Self {
        self.genesis.members = members.into_iter().collect();
        self
    }

    /// Joins the cluster of these nodes, of which one has to answer. The node takes part when
    /// [`Client::ensure_members`] names it. Of no effect when it has been part of it before.
    pub fn join<A: Into<String>>(mut self, addresses: impl IntoIterator<Item = A>) -> Self {
        self.join = addresses.into_iter().map(Into::into).collect();
        self
    }

    /// The cluster's name. Nodes of clusters with different names do not talk to each other; the
    /// addresses of the first nodes make the name unless it is set.
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.genesis.name = Some(name.into());
        self
    }

    /// Where to listen, if that is not the address that the others use.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = Some(address.into());
        self
    }

    /// Where the others reach this node. Needed with [`Builder::join`].
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.advertise = Some(address.into());
        self
    }

    /// Mutual TLS, with all nodes and clients.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// WINDOW: how many slots may be in flight. What piles up beyond is proposed as one batch. The
    /// same on all nodes.
    pub fn window(mut self, slots: u64) -> Self {
        self.genesis.window = slots;
        self
    }

    /// The most sessions that are remembered. The same on all nodes.
    pub fn sessions(mut self, sessions: usize) -> Self {
        self.genesis.sessions = sessions as u64;
        self
    }

    /// Time-outs, and leases for reads.
    pub fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// Makes a snapshot after about as many bytes of commands, unless the last snapshot was longer
    /// than that: up to three eighths more, so that not all nodes do it at once. 64 MiB unless set.
    pub fn snapshot_every(mut self, bytes: u64) -> Self {
        self.snapshot_every = bytes;
        self
    }

    /// The length of a segment of the log, in bytes. 16 MiB unless set.
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// Recovers what is in the directory, and starts the node. It is ready to be asked when this
    /// returns; whether it can answer depends on the others.
    ///
    /// # Errors
    /// When the settings are wrong, or what is in the directory does not let the node run.
    pub async fn start(self) -> Result<Node<M>, StartError> {
        runtime::start(self).await
    }
}
