//! How a node starts: what is on its disk, then its sockets, then its loop.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Instant,
};

use futures_channel::oneshot;
use mio::{Poll, net::TcpListener};
use synod_paxos::{NodeId, Setup, Timing};
use synod_storage::{Directory, Options, Store, Want};

use crate::{
    engine::{BACKLOG, Boot, Engine, Found},
    error::{StartError, StopReason},
    genesis::Genesis,
    inbox::{Inbox, waker},
    machine::Machine,
    node::{Builder, End, Node},
    transport::names,
};

use super::{Event, Identity, Io, LogWriter, Runtime, Turn, WAKER, Worker, clients, peers::Peers};

/// Starts a node on a thread of its own.
pub(crate) async fn start<M: Machine>(builder: Builder<M>) -> Result<Node<M>, StartError> {
    let id = builder.id.ok_or_else(|| {
        StartError::Settings("a node needs an id: set it with id(), from 1 on".to_owned())
    })?;
    let (ready, started) = oneshot::channel();
    let end = Arc::new(End::default());
    let ending = end.clone();
    let life = move || live(builder, id, ready, &ending);
    let thread = thread::Builder::new().name(format!("synod-{id}")).spawn(life)?;
    match started.await {
        Ok(Ok(inbox)) => Ok(Node::running(inbox, end, thread, id)),
        Ok(Err(error)) => Err(error),
        Err(oneshot::Canceled) => Err(StartError::Settings(
            "the node panicked while it started: does its state machine?".to_owned(),
        )),
    }
}

type Ready<M> = oneshot::Sender<Result<Arc<Inbox<Event<M>>>, StartError>>;

/// The life of a node's thread.
fn live<M: Machine>(builder: Builder<M>, id: u32, ready: Ready<M>, end: &End) {
    let prepared = genesis(&builder, id).and_then(|genesis| prepare(builder, id, genesis));
    let runtime: Runtime<M> = match prepared {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(error))),
    };
    if ready.send(Ok(runtime.inbox.clone())).is_err() {
        return;
    }
    let inbox = runtime.inbox.clone();
    let reason = catch_unwind(AssertUnwindSafe(|| runtime.run())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        StopReason::Panicked(text.unwrap_or("without a text").to_owned())
    });
    if matches!(reason, StopReason::Asked) {
        tracing::info!(node = id, "stopped");
    } else {
        tracing::error!(node = id, "stopped: {reason}");
    }
    inbox.close();
    end.come(reason);
}

/// What the cluster began with: what is in the directory, or in the settings, or what the cluster
/// to join says.
fn genesis<M: Machine>(builder: &Builder<M>, id: u32) -> Result<Genesis, StartError> {
    let disk = directory(builder)?;
    if let Some(kept) = Genesis::read(&disk)? {
        return Ok(kept);
    }
    if !builder.join.is_empty() {
        let told = crate::client::ask_genesis(builder.join.clone(), builder.tls.clone());
        return match told.map_err(StartError::Join)? {
            told if told.member(id).is_none() => Ok(told),
            _ => Err(StartError::Settings(format!(
                "node {id} is one of the cluster's first members, and its directory is empty: a \
                 node that joins, or takes the place of one whose disk was lost, needs a new id"
            ))),
        };
    }
    if builder.genesis.members.is_empty() {
        return Err(StartError::Settings(
            "a new node needs the cluster's first members, with peers() or members(), or a node \
             to join, with join()"
                .to_owned(),
        ));
    }
    if builder.genesis.member(id).is_none() {
        return Err(StartError::Settings(format!(
            "node {id} is none of the first members: correct its id, or let it join()"
        )));
    }
    Ok(builder.genesis.clone())
}

fn directory<M>(builder: &Builder<M>) -> Result<Directory, StartError> {
    Directory::new(&builder.directory).map_err(|source| StartError::Directory {
        path: builder.directory.display().to_string(),
        source,
    })
}

/// Everything up to the loop.
fn prepare<M: Machine>(
    builder: Builder<M>,
    id: u32,
    genesis: Genesis,
) -> Result<Runtime<M>, StartError> {
    let began = Instant::now();
    let disk = directory(&builder)?;
    let want = Want { cluster: genesis.cluster(), node: NodeId(id) };
    let options = Options { segment_bytes: builder.segment_bytes, ..Options::default() };
    let mut store = Store::open(disk.clone(), want, clients::random(), options)?;
    let (listener, address) = listen(&builder, &genesis, id)?;
    if Genesis::read(&disk)?.is_none() {
        genesis.write(&disk)?;
    }
    let identity = store.identity();
    let Found { machine, head, snapshot_bytes, records } =
        Found::read(&mut store, builder.machine)?;

    let poll = Poll::new()?;
    let inbox = Inbox::new(waker(&poll, WAKER)?);
    let name = format!("synod-{id}");
    let worker = Worker::start(&name, store.snapshots(), inbox.clone())?;

    let mut peers = Peers::new(identity.birth);
    let members = genesis.members.iter().chain(&builder.genesis.members);
    members.filter(|m| m.id != id).for_each(|m| peers.know(NodeId(m.id), &m.address));
    let registry = poll.registry().try_clone()?;
    let mut io = Io::new(registry, builder.tls, peers, clients::Clients::new(), worker);

    let boot = Boot {
        setup: setup(NodeId(id), &genesis, builder.timing)?,
        process: clients::random(),
        birth: identity.birth,
        address: address.clone(),
        sequence: store.sequence(),
        machine,
        head,
        records,
        snapshot_bytes,
        snapshot_every: builder.snapshot_every,
        backlog: BACKLOG,
    };
    let mut engine = Engine::start(boot, &mut io)?;
    store.append(&io.take_batch());
    store.sync()?;
    let on_disk = engine.appended();
    engine.synced(began.elapsed(), on_disk);
    let log = LogWriter::start(&name, store, on_disk, inbox.clone())?;

    let mut runtime = Runtime {
        poll,
        listener,
        inbox,
        engine,
        io,
        log,
        identity: Identity { cluster: want.cluster, birth: identity.birth, address, genesis },
        began,
        turn: Turn::default(),
    };
    runtime.watch()?;
    tracing::info!(node = id, address = runtime.identity.address, "started");
    Ok(runtime)
}

fn setup(id: NodeId, genesis: &Genesis, timing: Timing) -> Result<Setup, StartError> {
    let (schedule, seed) = (genesis.schedule()?, clients::random());
    let sessions = usize::try_from(genesis.sessions).unwrap_or(usize::MAX);
    Ok(Setup { timing, seed, sessions, ..Setup::new(id, schedule) })
}

/// Listens on the first address of `name` that is this machine's.
fn bind(name: &str) -> std::io::Result<TcpListener> {
    let mut bound = Err(std::io::ErrorKind::AddrNotAvailable.into());
    for address in names::all(name)? {
        bound = TcpListener::bind(address);
        if bound.is_ok() {
            break;
        }
    }
    bound
}

/// Listens, and says where the others reach the node.
fn listen<M>(
    builder: &Builder<M>,
    genesis: &Genesis,
    id: u32,
) -> Result<(TcpListener, String), StartError> {
    let member = builder.genesis.member(id).or_else(|| genesis.member(id));
    let address = builder.advertise.as_ref().or_else(|| member.map(|member| &member.address));
    let address = address.ok_or_else(|| {
        StartError::Settings(format!("where is node {id} reached? Set it with address()"))
    })?;
    let here = builder.listen.as_ref().unwrap_or(address);
    let failed = |source| StartError::Listen { address: here.clone(), source };
    let listener = bind(here).map_err(failed)?;
    let local = listener.local_addr().map_err(failed)?;
    let address = if address.ends_with(":0") { local.to_string() } else { address.clone() };
    Ok((listener, address))
}
