//! A state machine that shows every mistake, clusters of it, and waiting with a bound.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::PathBuf,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use synod::{
    Builder, CallError, Client, Level, Member, Node, StartError, StateMachine, Status, StopReason,
};
use tempfile::TempDir;

/// How long anything may take on a machine that is busy. Nothing waits that long if all is well.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Numbers in the order in which they came: shows what was lost, done twice, or done elsewhere.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Journal {
    numbers: Vec<u64>,
    blobs: BTreeMap<u64, Vec<u8>>,
    /// Panics when told to. Not a part of the state: nodes may differ.
    #[serde(skip)]
    fragile: bool,
}

impl Journal {
    /// One that panics when told to.
    pub(crate) fn fragile() -> Self {
        Self { fragile: true, ..Self::default() }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Returns how many there are then.
    Append(u64),
    /// Bytes under a name, to make the state large.
    Put(u64, Vec<u8>),
    Explode,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Query {
    Numbers,
    /// A checksum of all blobs.
    Blobs,
}

impl StateMachine for Journal {
    type Command = Command;
    type Reply = u64;
    type Query = Query;
    type Answer = Vec<u64>;

    fn apply(&mut self, command: Command) -> u64 {
        match command {
            Command::Append(number) => self.numbers.push(number),
            Command::Put(name, bytes) => drop(self.blobs.insert(name, bytes)),
            Command::Explode => assert!(!self.fragile, "told to explode"),
        }
        self.numbers.len() as u64
    }

    fn query(&self, query: Query) -> Vec<u64> {
        match query {
            Query::Numbers => self.numbers.clone(),
            Query::Blobs => self
                .blobs
                .iter()
                .map(|(name, bytes)| name << 32 | u64::from(crc32c::crc32c(bytes)))
                .collect(),
        }
    }
}

/// Runs a future on this thread. Panics if it takes too long: a hang is a failure with a name.
pub(crate) fn wait<F: Future>(what: &str, future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    let start = Instant::now();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        let left = LONG.checked_sub(start.elapsed());
        thread::park_timeout(left.unwrap_or_else(|| panic!("this never came: {what}")));
    }
}

/// Waits until something is the case.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LONG, "this never was the case: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// An address on this machine that nobody else gets: below those that the system gives out.
pub(crate) fn address() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + u16::try_from(std::process::id() % 200).unwrap() * 100;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return format!("127.0.0.1:{port}");
        }
    }
}

pub(crate) fn addresses(count: usize) -> Vec<String> {
    (0..count).map(|_| address()).collect()
}

pub(crate) type Change = Box<dyn Fn(Builder<Journal>) -> Builder<Journal>>;

/// Nodes 1, 2, ... of a cluster, some of which run.
pub(crate) struct Cluster {
    pub(crate) data: TempDir,
    pub(crate) peers: Vec<String>,
    change: Change,
    pub(crate) nodes: BTreeMap<u32, Node<Journal>>,
}

impl Cluster {
    pub(crate) fn new(size: usize) -> Self {
        Self::with(size, |builder| builder)
    }

    /// Each node is changed before it is started.
    pub(crate) fn with(
        size: usize,
        change: impl Fn(Builder<Journal>) -> Builder<Journal> + 'static,
    ) -> Self {
        let mut cluster = Self::unstarted(size, change);
        (1..).take(size).for_each(|id| cluster.start(id));
        cluster
    }

    pub(crate) fn unstarted(
        size: usize,
        change: impl Fn(Builder<Journal>) -> Builder<Journal> + 'static,
    ) -> Self {
        Self {
            data: tempfile::tempdir().unwrap(),
            peers: addresses(size),
            change: Box::new(change),
            nodes: BTreeMap::new(),
        }
    }

    pub(crate) fn directory(&self, id: u32) -> PathBuf {
        self.data.path().join(format!("node-{id}"))
    }

    /// A node as yet unstarted, in its own directory.
    pub(crate) fn builder(&self, id: u32) -> Builder<Journal> {
        self.builder_with(id, Journal::default())
    }

    pub(crate) fn builder_with(&self, id: u32, machine: Journal) -> Builder<Journal> {
        let builder = Node::open_with(self.directory(id), machine).unwrap();
        // Small segments: a test writes little.
        (self.change)(builder.id(id).segment_bytes(1 << 20))
    }

    pub(crate) fn try_start(&self, id: u32) -> Result<Node<Journal>, StartError> {
        wait("a start", self.builder(id).peers(&self.peers).start())
    }

    pub(crate) fn start(&mut self, id: u32) {
        let node = self.try_start(id).unwrap();
        self.nodes.insert(id, node);
    }

    /// Starts a node that is not among the first members.
    pub(crate) fn join(&mut self, id: u32) -> Member {
        let address = address();
        let builder = self.builder(id).join(&self.peers).address(&address);
        self.nodes.insert(id, wait("a start", builder.start()).unwrap());
        Member::new(id, address)
    }

    pub(crate) fn kill(&mut self, id: u32) {
        self.nodes.remove(&id).unwrap().kill();
    }

    pub(crate) fn node(&self, id: u32) -> &Node<Journal> {
        &self.nodes[&id]
    }

    pub(crate) fn client(&self, id: u32) -> Client<Journal> {
        self.node(id).client().with_timeout(LONG)
    }

    /// A client over TCP.
    pub(crate) fn connect(&self) -> Client<Journal> {
        wait("connect", Client::connect(&self.peers)).unwrap().with_timeout(LONG)
    }

    pub(crate) fn status(&self, id: u32) -> Status {
        wait("a status", self.node(id).status()).unwrap()
    }

    /// The node that leads, once all that run agree on it.
    pub(crate) fn leader(&self) -> u32 {
        let mut leader = 0;
        until("all agree on a leader that runs", || {
            let mut said = self.nodes.keys().map(|id| self.status(*id).leader);
            let first = said.next().flatten();
            leader = first.unwrap_or(0);
            self.nodes.contains_key(&leader) && said.all(|other| other == first)
        });
        leader
    }

    pub(crate) fn numbers(&self, id: u32) -> Vec<u64> {
        wait("a read", self.client(id).read(Level::Linearizable, Query::Numbers)).unwrap()
    }

    /// The members as they were at first.
    pub(crate) fn members(&self) -> Vec<Member> {
        (1..).zip(&self.peers).map(|(id, address)| Member::new(id, address)).collect()
    }

    /// Waits until all nodes that run have performed the same, and checks that they agree on it.
    pub(crate) fn converge(&self) {
        until("all nodes are at the same slot", || {
            let mut all = self.nodes.keys().map(|id| self.status(*id));
            let first = all.next().unwrap();
            all.all(|other| {
                if other.slot_out == first.slot_out {
                    assert_eq!(other.digest, first.digest, "the copies have diverged");
                }
                other.slot_out == first.slot_out
            })
        });
    }
}

pub(crate) fn append(client: &Client<Journal>, number: u64) -> Result<u64, CallError<Journal>> {
    wait("a call", client.call(Command::Append(number)))
}

pub(crate) fn numbers(client: &Client<Journal>, level: Level) -> Vec<u64> {
    wait("a read", client.read(level, Query::Numbers)).unwrap()
}

/// Why a node has stopped by itself.
pub(crate) fn stopped(node: &Node<Journal>) -> StopReason {
    wait("a node's end", node.stopped())
}
