//! A bank on three processes that are killed all the time. No money is lost, and every transfer is
//! done exactly once.
//!
//! `cargo run -p synod --example bank -- --seconds 10`
//!
//! The program starts itself three times more, as the nodes, and kills one of them each second
//! with SIGKILL, while four clients transfer money. At the end, each client's own count of its
//! transfers must be the bank's, on every node.
#![expect(clippy::print_stdout, reason = "a program for people")]
#![expect(clippy::print_stderr, reason = "a program for people")]

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    hash::{BuildHasher, Hasher, RandomState},
    io::{self, Read},
    net::TcpListener,
    path::Path,
    process::{self, Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use pollster::block_on;
use serde::{Deserialize, Serialize};
use synod::{CallError, Client, Connect, Linearizable, Local, Node, StateMachine, Status};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

const ACCOUNTS: usize = 10;
const BALANCE: u64 = 1000;
const CLIENTS: usize = 4;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Bank {
    accounts: Vec<u64>,
    /// How many transfers each client has made.
    transfers: BTreeMap<usize, u64>,
}

impl Default for Bank {
    fn default() -> Self {
        Self { accounts: vec![BALANCE; ACCOUNTS], transfers: BTreeMap::new() }
    }
}

#[derive(Serialize, Deserialize)]
struct Transfer {
    client: usize,
    from: usize,
    to: usize,
    amount: u64,
}

impl StateMachine for Bank {
    type Command = Transfer;
    /// Whether there was enough money.
    type Reply = bool;
    type Query = ();
    type Answer = Self;

    fn apply(&mut self, transfer: Transfer) -> bool {
        let Transfer { client, from, to, amount } = transfer;
        let enough = self.accounts.get(from).is_some_and(|balance| *balance >= amount);
        if !enough || to >= self.accounts.len() {
            return false;
        }
        self.accounts[from] -= amount;
        self.accounts[to] += amount;
        *self.transfers.entry(client).or_default() += 1;
        true
    }

    fn query(&self, (): ()) -> Self {
        self.clone()
    }
}

/// What a client has seen.
#[derive(Default)]
struct Seen {
    done: u64,
    too_poor: u64,
    not_done: u64,
    resolved: u64,
}

/// Transfers money until it is time. Every call comes to a definite end.
fn work(number: usize, peers: &[String], until: Instant) -> Result<Seen> {
    let client: Client<Bank> = block_on(
        // So impatient that calls are `Unknown` whenever a leader has been killed.
        Connect::to(peers).timeout(Duration::from_millis(50)).connect(),
    )?;
    let mut seen = Seen::default();
    while Instant::now() < until {
        let (from, to, amount) = (random(ACCOUNTS), random(ACCOUNTS), random(100) as u64);
        let transfer = Transfer { client: number, from, to, amount };
        let mut outcome = block_on(client.call(transfer));
        let mut asked_again = false;
        loop {
            match outcome {
                Ok(true) => seen.done += 1,
                Ok(false) => seen.too_poor += 1,
                // Certainly not done: it may be tried again, as another command. Here it is not.
                Err(CallError::NotDone(_)) => seen.not_done += 1,
                // It may have been done, or be done yet. To send it as another command might do
                // it twice; the ticket asks what became of this one.
                Err(CallError::Unknown(ticket)) => {
                    asked_again = true;
                    outcome = block_on(ticket.resolve());
                    continue;
                }
                // Nobody can tell any more. That takes a session that was idle for very long.
                Err(error) => return Err(error.to_string().into()),
            }
            break;
        }
        seen.resolved += u64::from(asked_again);
    }
    Ok(seen)
}

/// A node, as a process of its own, which ends with the program that started it.
struct Process {
    id: u32,
    child: Child,
}

impl Process {
    fn start(id: u32, data: &Path, peers: &[String]) -> Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("node").arg(id.to_string()).arg(data.join(format!("node-{id}"))).args(peers);
        Ok(Self { id, child: command.stdin(Stdio::piped()).spawn()? })
    }

    /// SIGKILL: the process is given no time for anything.
    fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.kill()); // It may have ended already.
    }
}

/// What the processes do.
fn node(arguments: &[String]) -> Result<()> {
    let [id, data, peers @ ..] = arguments else { return Err("node ID FOLDER PEERS".into()) };
    let node = block_on(Node::<Bank>::open(data)?.id(id.parse()?).peers(peers).start())?;
    thread::spawn(|| {
        drop(io::stdin().lock().read_to_end(&mut Vec::new()));
        process::exit(0);
    });
    Err(block_on(node.stopped()).into())
}

/// Kills a node now and then, and starts it again. Returns how often.
fn kill_now_and_then(
    nodes: &mut [Process],
    data: &Path,
    peers: &[String],
    until: Instant,
) -> Result<u32> {
    let mut kills = 0;
    while Instant::now() + Duration::from_secs(1) < until {
        thread::sleep(Duration::from_secs(1));
        let place = random(nodes.len());
        let node = &mut nodes[place];
        if let Some(ended) = node.child.try_wait()? {
            return Err(format!("node {} has ended by itself: {ended}", node.id).into());
        }
        node.kill()?;
        println!("node {} is killed, and started again", node.id);
        *node = Process::start(node.id, data, peers)?;
        kills += 1;
    }
    Ok(kills)
}

/// A client of one node, whoever leads.
fn stay(address: &String) -> Result<Client<Bank>> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        match block_on(Connect::to([address]).stay().connect()) {
            Ok(client) => return Ok(client),
            Err(error) if Instant::now() > until => return Err(error.into()),
            Err(_) => thread::sleep(Duration::from_millis(100)), // It is still starting.
        }
    }
}

/// Waits until all nodes have performed the same: same slot, same digest of all that was done.
fn converge(clients: &[Client<Bank>]) -> Result<Status> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let all: Vec<Status> =
            clients.iter().map(|client| block_on(client.status())).collect::<Result<_, _>>()?;
        let slots = all.iter().all(|status| status.slot_out == all[0].slot_out);
        if slots && all.iter().any(|status| status.digest != all[0].digest) {
            return Err("the nodes differ: the state machine is not deterministic".into());
        }
        match all.into_iter().next() {
            Some(status) if slots => return Ok(status),
            Some(_) if Instant::now() < until => thread::sleep(Duration::from_millis(50)),
            Some(_) | None => return Err("the nodes do not converge".into()),
        }
    }
}

fn run(seconds: u64) -> Result<()> {
    let data = tempfile::tempdir()?;
    let peers = free_addresses(3)?;
    let mut nodes: Vec<Process> =
        (1..=3).map(|id| Process::start(id, data.path(), &peers)).collect::<Result<_>>()?;
    let clients: Vec<Client<Bank>> = peers.iter().map(stay).collect::<Result<_>>()?;
    println!("{CLIENTS} clients, three nodes, {ACCOUNTS} accounts with {BALANCE} each");

    let until = Instant::now() + Duration::from_secs(seconds);
    let (kills, seen) = thread::scope(|scope| {
        let worker = |number| {
            scope.spawn({
                let peers = &peers;
                move || work(number, peers, until)
            })
        };
        let workers: Vec<_> = (0..CLIENTS).map(worker).collect();
        let kills = kill_now_and_then(&mut nodes, data.path(), &peers, until);
        let panicked = |_| Err("a client has panicked".into());
        let seen: Result<Vec<Seen>> =
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(panicked)).collect();
        (kills, seen)
    });
    let (kills, seen) = (kills?, seen?);

    let bank = block_on(clients[0].read(Linearizable, ()))?;
    let sum = |what: fn(&Seen) -> u64| seen.iter().map(what).sum::<u64>();
    println!("kills: {kills}");
    println!("transfers: {} done, {} refused by the bank", sum(|s| s.done), sum(|s| s.too_poor));
    println!("not done: {}; unknown, then resolved: {}", sum(|s| s.not_done), sum(|s| s.resolved));

    let total: u64 = bank.accounts.iter().sum();
    println!("total: {total}");
    assert_eq!(total, BALANCE * ACCOUNTS as u64, "no money is lost or made");
    for (client, seen) in seen.iter().enumerate() {
        let recorded = bank.transfers.get(&client).copied().unwrap_or_default();
        assert_eq!(recorded, seen.done, "client {client}: each transfer is done exactly once");
    }
    let status = converge(&clients)?;
    println!("all nodes at slot {}, digest {:016x}", status.slot_out, status.digest);
    for client in &clients {
        assert_eq!(block_on(client.read(Local, ()))?, bank, "every node has the same accounts");
    }
    Ok(())
}

/// A random number below `end`.
fn random(end: usize) -> usize {
    let number = RandomState::new().build_hasher().finish();
    usize::try_from(number % end as u64).unwrap_or(0)
}

/// Addresses on this machine that nobody uses.
fn free_addresses(count: usize) -> io::Result<Vec<String>> {
    let free: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<_>>()?;
    free.iter().map(|listener| Ok(listener.local_addr()?.to_string())).collect()
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["node", ..] => node(&arguments[1..]),
        ["--seconds", seconds] => run(seconds.parse()?),
        [] => run(5),
        _ => {
            eprintln!("usage: bank [--seconds N]");
            process::exit(2);
        }
    }
}
