//! A replicated counter: three nodes in one process, one of which is killed and comes back.
//!
//! `cargo run -p synod --example counter`
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::{error::Error, net::TcpListener, path::Path};

use serde::{Deserialize, Serialize};
use synod::{Linearizable, Node, StateMachine};

// These are the fifteen lines.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Counter(u64);

impl StateMachine for Counter {
    type Command = u64;
    type Reply = u64;
    type Query = ();
    type Answer = u64;
    fn apply(&mut self, add: u64) -> u64 {
        self.0 += add;
        self.0
    }
    fn query(&self, (): ()) -> u64 {
        self.0
    }
}

async fn start(data: &Path, id: u32, peers: &[String]) -> Result<Node<Counter>, Box<dyn Error>> {
    let directory = data.join(format!("node-{id}"));
    Ok(Node::<Counter>::open(directory)?.id(id).peers(peers).start().await?)
}

async fn run() -> Result<(), Box<dyn Error>> {
    let data = tempfile::tempdir()?;
    let peers = free_addresses(3)?;
    let mut nodes = Vec::new();
    for id in 1..=3 {
        nodes.push(start(data.path(), id, &peers).await?);
    }
    println!("three nodes: {}", peers.join(", "));

    let counter = nodes[0].client();
    for _ in 0..10 {
        counter.call(1).await?;
    }
    println!("node 1 added 10 times 1: {}", counter.read(Linearizable, ()).await?);

    nodes.remove(0).kill();
    println!("node 1 is killed");
    let counter = nodes[0].client();
    println!("node 2 adds 5: {}", counter.call(5).await?);

    let again = start(data.path(), 1, &peers).await?;
    let total = again.client().read(Linearizable, ()).await?;
    println!("node 1 is back, and reads {total}");
    assert_eq!(total, 15, "nothing was lost, nothing was done twice");
    Ok(())
}

/// Addresses on this machine that nobody uses.
fn free_addresses(count: usize) -> std::io::Result<Vec<String>> {
    let free: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    free.iter().map(|listener| Ok(listener.local_addr()?.to_string())).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    pollster::block_on(run())
}
