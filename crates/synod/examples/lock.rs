//! A lock service with fencing tokens, and why a lock without them is not enough.
//!
//! `cargo run -p synod --example lock`
//!
//! Whoever holds a lock may be paused for longer than its lease: by a full disk, by the machine
//! that it runs on, by the network. Nothing tells it. So each time that a lock is given to
//! somebody it comes with a higher token, and what the lock protects refuses lower ones.
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::{collections::BTreeMap, error::Error, net::TcpListener, path::Path};

use serde::{Deserialize, Serialize};
use synod::{Client, Linearizable, Node, StateMachine};

/// All locks, and the time as the log knows it.
///
/// Nodes perform a command at different times, and again after a restart, so `apply` looks at no
/// clock. A command carries what its sender's clock said, and the time is the latest of these. A
/// fast clock ends leases early, which the tokens make harmless.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Locks {
    now: u64,
    last_token: u64,
    held: BTreeMap<String, Held>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Held {
    holder: String,
    token: u64,
    until: u64,
}

/// Times are in milliseconds.
#[derive(Serialize, Deserialize)]
enum Command {
    Acquire { name: String, holder: String, now: u64, lease: u64 },
    Release { name: String, token: u64 },
}

impl StateMachine for Locks {
    type Command = Command;
    /// Whether it was done.
    type Reply = Option<Held>;
    type Query = String;
    type Answer = Option<Held>;

    fn apply(&mut self, command: Command) -> Option<Held> {
        match command {
            Command::Acquire { name, holder, now, lease } => {
                self.now = self.now.max(now);
                if self.held.get(&name).is_some_and(|held| held.until > self.now) {
                    return None;
                }
                self.last_token += 1;
                let until = self.now.saturating_add(lease);
                let held = Held { holder, token: self.last_token, until };
                self.held.insert(name, held.clone());
                Some(held)
            }
            Command::Release { name, token } => {
                self.held.get(&name).filter(|held| held.token == token)?;
                self.held.remove(&name)
            }
        }
    }

    fn query(&self, name: String) -> Option<Held> {
        self.held.get(&name).cloned()
    }
}

/// What the lock protects. It is no part of the cluster; all it has to know is the highest token.
#[derive(Default)]
struct Printer {
    highest: u64,
}

impl Printer {
    fn print(&mut self, token: u64, text: &str) -> Result<(), String> {
        if token < self.highest {
            return Err(format!("token {token} is older than {}", self.highest));
        }
        self.highest = token;
        println!("  printed with token {token}: {text}");
        Ok(())
    }
}

/// One of those who want the lock.
struct Person {
    name: &'static str,
    client: Client<Locks>,
}

impl Person {
    /// Asks for the lock, for a second, when this person's clock says `now`.
    async fn acquire(&self, now: u64) -> Result<Option<Held>, Box<dyn Error>> {
        let (name, holder) = ("printer".to_owned(), self.name.to_owned());
        let command = Command::Acquire { name, holder, now, lease: 1000 };
        let held = self.client.call(command).await?;
        match &held {
            Some(held) => println!("{now:4} ms: {} has the lock, token {}", self.name, held.token),
            None => println!("{now:4} ms: {} asks for the lock, which another has", self.name),
        }
        Ok(held)
    }

    async fn release(&self, token: u64) -> Result<Option<Held>, Box<dyn Error>> {
        let name = "printer".to_owned();
        Ok(self.client.call(Command::Release { name, token }).await?)
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let data = tempfile::tempdir()?;
    let peers = free_addresses(3)?;
    let mut nodes = Vec::new();
    for id in 1..=3 {
        nodes.push(start(data.path(), id, &peers).await?);
    }
    let alice = Person { name: "alice", client: nodes[1].client() };
    let bob = Person { name: "bob", client: nodes[2].client() };
    let mut printer = Printer::default();

    // What their clocks say is written down here, so that nobody has to wait.
    let hers = alice.acquire(0).await?.ok_or("the lock is not free")?;
    printer.print(hers.token, "alice's first page")?;
    assert_eq!(bob.acquire(500).await?, None, "alice has the lock");

    println!("alice pauses, for longer than her lease; and node 1 is killed");
    nodes.remove(0).kill();
    let his = bob.acquire(2000).await?.ok_or("alice's lease does not end")?;
    printer.print(his.token, "bob's page")?;
    assert!(his.token > hers.token, "tokens only rise");

    println!("alice goes on, and believes that she has the lock");
    match printer.print(hers.token, "alice's second page") {
        Ok(()) => return Err("two have printed at the same time".into()),
        Err(why) => println!("  refused: {why}"),
    }
    if alice.release(hers.token).await?.is_none() {
        println!("alice cannot release a lock that is not hers any more");
    }
    let now = bob.client.read(Linearizable, "printer".to_owned()).await?;
    assert_eq!(now.as_ref(), Some(&his), "the lock is bob's");

    bob.release(his.token).await?;
    let again = alice.acquire(2100).await?.ok_or("bob has released the lock")?;
    printer.print(again.token, "alice's second page, at last")?;
    Ok(())
}

async fn start(data: &Path, id: u32, peers: &[String]) -> Result<Node<Locks>, Box<dyn Error>> {
    let directory = data.join(format!("node-{id}"));
    Ok(Node::<Locks>::open(directory)?.id(id).peers(peers).start().await?)
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
