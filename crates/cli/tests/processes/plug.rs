//! How the scenarios reach the system under test: `synod node`, and the library's client.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use pollster::block_on;
use serde_bytes::ByteBuf;
use synod::{CallError, Client, Connect, Linearizable, Member};

use crate::cluster::Launch;
use crate::store::{Operator, Outcome, Status, Store};

#[path = "../../src/registers.rs"]
mod registers;

use registers::{Change, Registers};

/// How long a command or query may take before its outcome is unknown.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How long a node that runs may take to say how it is.
const STATUS: Duration = Duration::from_secs(2);
/// Replacing a member takes the time that the new one needs to catch up.
const RECONFIGURE: Duration = Duration::from_secs(5);
/// How often a session that finds nobody tries again: nodes are still starting.
const ATTEMPTS: usize = 12;

/// Short segments and frequent snapshots: what else happens once in hours happens all the time,
/// and starting a node costs little.
const OPTIONS: [&str; 4] = ["--segment-bytes", "1048576", "--snapshot-every", "65536"];

/// One node, as a process.
pub(crate) fn program(launch: &Launch<'_>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_synod"));
    let peers: Vec<String> = launch.peers.iter().map(ToString::to_string).collect();
    command.args(["node", "--while-stdin", "--data"]).arg(launch.data);
    command.args(["--id", &launch.id.to_string(), "--listen", &launch.listen.to_string()]);
    command.args(["--peers", &peers.join(",")]);
    command.args(OPTIONS);
    if launch.joins {
        command.arg("--join");
    }
    command
}

struct Session(Client<Registers>);

impl Session {
    fn call(&self, change: Change) -> Outcome<bool> {
        match block_on(self.0.call(change)) {
            Ok(changed) => Outcome::Done(changed),
            Err(CallError::NotDone(why)) => Outcome::NotDone(why.to_string()),
            Err(CallError::Unknown(_) | CallError::Lost) => Outcome::Unknown,
            Err(other) => panic!("{other}"),
        }
    }
}

impl Store for Session {
    fn put(&mut self, key: &str, value: &str) -> Outcome<()> {
        self.call(Change::Put { key: bytes(key), value: bytes(value) }).map(drop)
    }

    fn swap(&mut self, key: &str, expect: Option<&str>, value: &str) -> Outcome<bool> {
        let (key, expect, value) = (bytes(key), expect.map(bytes), bytes(value));
        self.call(Change::Swap { key, expect, value })
    }

    fn append(&mut self, key: &str, text: &str) -> Outcome<()> {
        self.call(Change::Append { key: bytes(key), more: bytes(text) }).map(drop)
    }

    fn get(&mut self, key: &str) -> Outcome<Option<String>> {
        match block_on(self.0.read(Linearizable, bytes(key))) {
            Ok(value) => Outcome::Done(value.map(|value| text(value.into_vec()))),
            Err(error) => Outcome::NotDone(error.to_string()),
        }
    }
}

fn bytes(text: &str) -> ByteBuf {
    ByteBuf::from(text)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("only text was written")
}

fn connect(to: &[SocketAddr], timeout: Duration, stays: bool) -> Result<Client<Registers>, String> {
    let connect = Connect::to(to.iter().map(ToString::to_string)).timeout(timeout);
    let connect = if stays { connect.stay() } else { connect };
    block_on(connect.connect()).map_err(|error| error.to_string())
}

/// A session with a system of which these nodes are a part. With one node, it stays with that.
pub(crate) fn session(nodes: &[SocketAddr]) -> Box<dyn Store> {
    let attempt = || connect(nodes, TIMEOUT, nodes.len() == 1);
    let mut session = attempt();
    for _ in 1..ATTEMPTS {
        if session.is_ok() {
            break;
        }
        session = attempt();
    }
    Box::new(Session(session.unwrap_or_else(|why| panic!("no session: {why}"))))
}

struct Administrator;

/// The operator of the system.
pub(crate) fn operator() -> impl Operator {
    Administrator
}

impl Operator for Administrator {
    fn status(&self, node: SocketAddr) -> Option<Status> {
        let client = connect(&[node], STATUS, true).ok()?;
        let status = block_on(client.status()).ok()?;
        Some(Status {
            slot: status.slot_out,
            hash: status.digest,
            leader: status.leader.map(u64::from),
            disk_full: status.disk_full,
        })
    }

    fn ensure_members(
        &self,
        through: &[SocketAddr],
        members: &[(u64, SocketAddr)],
    ) -> Result<(), String> {
        let client = connect(through, RECONFIGURE, false)?;
        let member = |(id, address): &(u64, SocketAddr)| {
            Member::new(u32::try_from(*id).expect("small ids"), address.to_string())
        };
        let members: Vec<Member> = members.iter().map(member).collect();
        block_on(client.ensure_members(members)).map_err(|error| error.to_string())
    }
}
