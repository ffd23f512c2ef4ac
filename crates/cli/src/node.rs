//! `synod node`: one node of a cluster that replicates registers.
//!
//! It is what `synod bench` puts under load, and what tests with real processes kill. A program of
//! one's own uses the library instead.

use std::{
    fs,
    io::{self, Read},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use synod::{Member, Node, StartError, StopReason, Timing, Tls, node::LeaseTerms};
use tracing_subscriber::filter::LevelFilter;

use crate::registers::Registers;

/// How often it is looked whether the node should stop, or has.
const LOOK: Duration = Duration::from_millis(50);

/// What `synod node` is told.
#[derive(Args, Debug)]
pub(crate) struct Start {
    /// Which node it is, from 1 on
    #[arg(long, value_name = "N")]
    id: u32,
    /// Where it keeps its data
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,
    /// The first nodes of the cluster, in the order of their ids
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', required = true)]
    peers: Vec<String>,
    /// Join the cluster of these nodes; the last one is where this node can be reached
    #[arg(long)]
    join: bool,
    /// Where to listen, if that is not where the others reach it
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// The cluster's name; the addresses of its nodes if there is none
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Nodes that only vote
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    witnesses: Vec<u32>,
    /// Slots in flight: the paper's WINDOW
    #[arg(long, value_name = "N")]
    window: Option<u64>,
    /// Leases for reads: how long they last, in milliseconds
    #[arg(long, value_name = "MS")]
    lease: Option<u64>,
    /// Bytes of commands after which a snapshot is written
    #[arg(long, value_name = "BYTES")]
    snapshot_every: Option<u64>,
    /// Bytes of a segment of the log
    #[arg(long, value_name = "BYTES")]
    segment_bytes: Option<u64>,
    /// A folder with ca.pem, node.pem and node.key: speak TLS
    #[arg(long, value_name = "FOLDER")]
    tls: Option<PathBuf>,
    /// What to say on standard error: error, warn, info, debug, trace or off
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: LevelFilter,
    /// Stop when standard input ends: with the program that started it
    #[arg(long)]
    while_stdin: bool,
}

/// Why a node does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("{0}")]
    Stopped(StopReason),
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    #[error("signals cannot be caught: {0}")]
    Signals(io::Error),
}

impl Start {
    /// Runs the node until it stops, or is told to.
    pub(crate) fn run(self) -> Result<(), Error> {
        tracing_subscriber::fmt().with_max_level(self.log).with_writer(io::stderr).init();
        let stop = Arc::new(AtomicBool::new(false));
        watch(self.while_stdin, &stop).map_err(Error::Signals)?;
        let node = pollster::block_on(self.start())?;
        while !stop.load(Ordering::Relaxed) {
            if let Some(reason) = node.has_stopped() {
                return Err(Error::Stopped(reason));
            }
            thread::sleep(LOOK);
        }
        let reason = pollster::block_on(node.stop());
        if matches!(reason, StopReason::Asked) { Ok(()) } else { Err(Error::Stopped(reason)) }
    }

    async fn start(self) -> Result<Node<Registers>, Error> {
        let tls = self.tls.as_deref().map(tls).transpose()?;
        let mut builder = Node::<Registers>::open(&self.data)?.id(self.id);
        let mut peers = self.peers;
        if self.join {
            if let Some(address) = peers.pop() {
                builder = builder.address(address);
            }
            builder = builder.join(peers);
        } else {
            let member = |(id, address): (u32, String)| {
                let member = Member::new(id, address);
                if self.witnesses.contains(&id) { member.witness() } else { member }
            };
            builder = builder.members((1..).zip(peers).map(member));
        }
        if let Some(listen) = self.listen {
            builder = builder.listen(listen);
        }
        if let Some(name) = self.cluster {
            builder = builder.cluster(name);
        }
        if let Some(window) = self.window {
            builder = builder.window(window);
        }
        if let Some(bytes) = self.snapshot_every {
            builder = builder.snapshot_every(bytes);
        }
        if let Some(bytes) = self.segment_bytes {
            builder = builder.segment_bytes(bytes);
        }
        if let Some(tls) = tls {
            builder = builder.tls(tls);
        }
        if let Some(millis) = self.lease {
            let lease = Some(LeaseTerms { length: Duration::from_millis(millis), drift_ppm: 1000 });
            builder = builder.timing(Timing { lease, ..Timing::default() });
        }
        Ok(builder.start().await?)
    }
}

fn tls(folder: &std::path::Path) -> Result<Tls, Error> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read(&path).map_err(|error| Error::File(path, error))
    };
    let (ca, cert, key) = (read("ca.pem")?, read("node.pem")?, read("node.key")?);
    Ok(Tls::from_pem(&ca, &cert, &key).map_err(StartError::from)?)
}

/// Says when the node is to stop: at a signal, and at the end of standard input if that is wanted.
fn watch(stdin: bool, stop: &Arc<AtomicBool>) -> io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, stop.clone())?;
    }
    let stop = stop.clone();
    if stdin {
        thread::Builder::new().name("stdin".to_owned()).spawn(move || {
            drop(io::stdin().lock().read_to_end(&mut Vec::new()));
            stop.store(true, Ordering::Relaxed);
        })?;
    }
    Ok(())
}
