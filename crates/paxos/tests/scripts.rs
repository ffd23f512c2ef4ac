//! The paper and its traps as scripts: each file in `tests/scripts` is a lesson, and its
//! transcript is the specification.
//!
//! ```text
//! UPDATE_GOLDENFILES=1 cargo test -p synod-paxos --test scripts     writes the transcripts
//! SCRIPT=gap cargo test -p synod-paxos --test scripts               only those named so
//! ```
//!
//! A line of a transcript is one effect: `1 persist accepted <1.1, 1, c1#1 x>` means that process
//! 1 appends a record to its log, `1->2 p2a <1.1, 1, c1#1 x>` that it sends a message to process
//! 2. A message that waits for the disk shows when it leaves, that is, when the script says
//! `sync`. Messages between the roles of one process do not show, unless they wait for the disk.
//! `( ... )` around a command silences it; `!` before it means that it must fail.

use std::{
    error::Error,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    str::FromStr,
    time::Duration,
};

use goldenscript::{Context, Runner};
use synod_paxos::{
    Lease, Members, NodeId, Op, Payload, Quorums, Reconfiguration, Roles, Schedule, Slot,
};

#[path = "scripts_runner/cluster.rs"]
mod cluster;
#[path = "scripts_runner/selection.rs"]
mod selection;
#[path = "scripts_runner/text.rs"]
mod text;

use cluster::{Cluster, Done};
use selection::Selection;

/// Process numbers separated by slashes.
struct Ids(Vec<NodeId>);

impl FromStr for Ids {
    type Err = std::num::ParseIntError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        s.split('/').map(|id| id.parse().map(NodeId)).collect::<Result<_, _>>().map(Self)
    }
}

/// What a script can say. Where a list of processes may be left out, it means all of them.
#[derive(goldenscript::Command)]
enum Command {
    /// `cluster nodes=3`: processes 1, 2, 3, each with all roles (section 4.4).
    /// `cluster replicas=2 leaders=2 acceptors=3`: the paper's separate processes (Fig. 2), with
    /// the numbers 1, 2 and 11, 12 and 21, 22, 23.
    Cluster {
        #[arg(key)]
        nodes: Option<u32>,
        #[arg(key)]
        replicas: Option<u32>,
        #[arg(key)]
        leaders: Option<u32>,
        #[arg(key)]
        acceptors: Option<u32>,
        #[arg(key)]
        window: Option<u64>,
        #[arg(key)]
        sessions: Option<usize>,
        #[arg(key)]
        phase1: Option<u32>,
        #[arg(key)]
        phase2: Option<u32>,
        /// The length of leases in milliseconds; none without it.
        #[arg(key)]
        lease: Option<u64>,
    },
    /// `start 4`: one more process, in no configuration so far. `roles=replica` and so on.
    Start {
        id: u32,
        #[arg(key)]
        roles: Option<String>,
    },
    /// `client c2 born=7`: a new client. Others come into being, born at slot 1, when named.
    Client {
        name: String,
        #[arg(key)]
        born: Option<u64>,
    },
    /// `deaf c1`: responses to c1 get lost, until `hears c1`.
    Deaf(String),
    Hears(String),
    /// `request 1 c1 x y`: the commands x and y of client c1 arrive at process 1 together.
    /// `x@600000` is a command of that many bytes.
    Request {
        id: u32,
        client: String,
        ops: Vec<String>,
    },
    /// `retry 2 c1`: client c1 sends its unanswered commands once more, to process 2.
    Retry {
        id: u32,
        client: String,
    },
    /// `reconfigure 1 c1 nodes=1/2/4 replaces=0`, or the roles one by one.
    Reconfigure {
        id: u32,
        client: String,
        #[arg(key)]
        replaces: u64,
        #[arg(key)]
        nodes: Option<Ids>,
        #[arg(key)]
        replicas: Option<Ids>,
        #[arg(key)]
        leaders: Option<Ids>,
        #[arg(key)]
        acceptors: Option<Ids>,
    },
    /// `read 1 7`: a read-only command, numbered 7, at process 1 (section 4.5); `lease=true`: it
    /// may rely on a lease.
    Read {
        id: u32,
        read: u64,
        #[arg(key)]
        lease: Option<bool>,
    },
    /// `handover 1`: leader 1 asks the fittest, or `to=2`, to take over.
    Handover {
        id: u32,
        #[arg(key)]
        to: Option<u32>,
    },
    /// `lost 2 1`: process 2 is told that its connection to process 1 broke.
    Lost {
        id: u32,
        peer: u32,
    },
    /// `campaign 1`: start a scout for a higher ballot.
    Campaign(u32),
    /// `lead 1`: campaign, then settle; not printed.
    Lead(u32),
    /// `tick 1 ms=50 times=2`: time passes for process 1.
    Tick {
        #[arg(optional)]
        ids: Vec<u32>,
        #[arg(key)]
        ms: u64,
        #[arg(key)]
        times: Option<u32>,
    },
    /// `deliver 1 from=2 kind=p1b slot=1 ballot=1.1 count=1`: to process 1, the messages of
    /// which all this is true, in the order in which they were sent. `as=9` forges the sender.
    Deliver {
        #[arg(optional)]
        to: Vec<u32>,
        #[arg(optional)]
        by: Vec<(String, String)>,
    },
    /// Such messages get lost.
    Drop {
        #[arg(optional)]
        to: Vec<u32>,
        #[arg(optional)]
        by: Vec<(String, String)>,
    },
    /// Such messages will arrive twice.
    Duplicate {
        #[arg(optional)]
        to: Vec<u32>,
        #[arg(optional)]
        by: Vec<(String, String)>,
    },
    /// Such messages stay under way until `release`.
    Hold {
        #[arg(optional)]
        to: Vec<u32>,
        #[arg(optional)]
        by: Vec<(String, String)>,
    },
    Release,
    /// `cut 1 2`: messages between 1 and 2 get lost, until `heal`. `oneway=true`: from 1 to 2.
    Cut {
        one: u32,
        other: u32,
        #[arg(key)]
        oneway: Option<bool>,
    },
    Heal,
    /// `sync 1`: what process 1 has written is on disk, and what waited for that leaves.
    Sync {
        #[arg(optional)]
        ids: Vec<u32>,
    },
    /// `hang 1`: the disk of process 1 does nothing, until `unhang 1`.
    Hang(u32),
    Unhang(u32),
    /// `pause 1`: process 1 does nothing, though its clock goes on, until `resume 1`. What `settle`
    /// would have delivered to it stays under way until `release`.
    Pause(u32),
    Resume(u32),
    /// `crash 1`: process 1 dies with what was not on disk. `synced=1`: the first such record
    /// had got there all the same, though nobody was told.
    Crash {
        id: u32,
        #[arg(key)]
        synced: Option<usize>,
    },
    /// `backup 1`: somebody copies the disk of process 1.
    Backup(u32),
    /// `damage 1 slot=2`: the disk of process 1 loses what was accepted in slot 2, but for slot and
    /// ballot.
    Damage {
        id: u32,
        #[arg(key)]
        slot: u64,
    },
    /// `restart 1`, from its disk; `restart 1 wiped`, from an empty one; `restart 1 backup`, from
    /// the copy.
    Restart {
        id: u32,
        disk: Option<String>,
    },
    /// `snapshot 1`: process 1 saves a snapshot.
    Snapshot {
        #[arg(optional)]
        ids: Vec<u32>,
    },
    /// `compact 1`: process 1 replaces its log by the fewest records that say the same.
    Compact {
        #[arg(optional)]
        ids: Vec<u32>,
    },
    /// Delivers and syncs everything until nothing happens any more; `ms=100`: and lets time pass.
    Settle {
        #[arg(key)]
        ms: Option<u64>,
    },
    /// `hide heartbeat ping`: messages of these kinds are not printed from now on.
    Hide(Vec<String>),
    /// What each process is.
    Status {
        #[arg(optional)]
        ids: Vec<u32>,
    },
    /// What acceptors have accepted.
    Accepted {
        #[arg(optional)]
        ids: Vec<u32>,
    },
    /// Which messages are under way.
    Network,
}

impl Runner for Cluster {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        self.output.clear();
        match command {
            Command::Cluster { .. } => lay_out(self, command)?,
            Command::Start { id, roles } => {
                self.start(*id, parse_roles(roles.as_deref())?);
                self.output.clear();
            }
            Command::Client { name, born } => self.client(name, Slot(born.unwrap_or(1)))?,
            Command::Deaf(name) => self.deafen(name, true)?,
            Command::Hears(name) => self.deafen(name, false)?,
            Command::Request { id, client, ops } => {
                let ops = ops.iter().map(|op| operation(op)).collect::<Result<_, _>>()?;
                self.request(*id, client, ops)?;
            }
            Command::Retry { id, client } => self.ask_again(*id, client)?,
            Command::Reconfigure { id, client, .. } => {
                self.request(*id, client, vec![reconfiguration(command)?])?;
            }
            Command::Read { id, read, lease } => self.read(*id, *read, lease.unwrap_or(false))?,
            Command::Handover { id, to } => self.hand_over(*id, *to)?,
            Command::Lost { id, peer } => self.lost(*id, *peer)?,
            Command::Hang(id) => self.hang(*id, true),
            Command::Unhang(id) => self.hang(*id, false),
            Command::Pause(id) => self.pause(*id, true)?,
            Command::Resume(id) => self.pause(*id, false)?,
            Command::Campaign(id) => self.campaign(*id)?,
            Command::Lead(id) => {
                self.campaign(*id)?;
                self.settle(Duration::ZERO)?;
                self.output.clear();
            }
            Command::Tick { ids, ms, times } => {
                for _ in 0..times.unwrap_or(1) {
                    each(self, ids, |this, id| this.tick(id, Duration::from_millis(*ms)))?;
                }
            }
            Command::Deliver { to, by } => self.deliver(to, &Selection::new(by)?)?,
            Command::Drop { to, by } => self.lose(to, &Selection::new(by)?)?,
            Command::Duplicate { to, by } => self.duplicate(to, &Selection::new(by)?)?,
            Command::Hold { to, by } => self.hold(to, &Selection::new(by)?)?,
            Command::Release => self.release(),
            Command::Cut { one, other, oneway } => self.cut(*one, *other, !oneway.unwrap_or(false)),
            Command::Heal => self.heal(),
            Command::Sync { ids } => each(self, ids, |this, id| {
                this.sync(id);
                Ok(())
            })?,
            Command::Crash { id, synced } => self.crash(*id, synced.unwrap_or(0))?,
            Command::Backup(id) => self.backup(*id)?,
            Command::Damage { id, slot } => self.damage(*id, Slot(*slot))?,
            Command::Restart { id, disk } => self.restart(*id, disk.as_deref())?,
            Command::Snapshot { ids } => each(self, ids, Self::snapshot)?,
            Command::Compact { ids } => each(self, ids, Self::compact)?,
            Command::Settle { ms } => self.settle(Duration::from_millis(ms.unwrap_or(0)))?,
            Command::Hide(kinds) => self.hide(kinds.clone()),
            Command::Status { ids } => self.status(ids)?,
            Command::Accepted { ids } => self.accepted(ids)?,
            Command::Network => self.network(),
        }
        self.check()?;
        Ok(std::mem::take(&mut self.output))
    }
}

fn each(this: &mut Cluster, ids: &[u32], mut act: impl FnMut(&mut Cluster, u32) -> Done) -> Done {
    this.ids(ids).into_iter().try_for_each(|id| act(this, id))
}

fn parse_roles(roles: Option<&str>) -> Result<Roles, Box<dyn Error>> {
    match roles {
        None => Ok(Roles::ALL),
        Some("replica") => Ok(Roles::REPLICA),
        Some("leader") => Ok(Roles::LEADER),
        Some("acceptor") => Ok(Roles::ACCEPTOR),
        Some(other) => Err(format!("there is no role {other}").into()),
    }
}

fn operation(op: &str) -> Result<Op, Box<dyn Error>> {
    let bytes = match op.split_once('@') {
        Some((word, length)) => {
            let padding = length.parse::<usize>()?.saturating_sub(word.len());
            word.to_owned() + &".".repeat(padding)
        }
        None => op.to_owned(),
    };
    Ok(Op::Apply(Payload::from(bytes.into_bytes())))
}

fn lay_out(this: &mut Cluster, command: &Command) -> Done {
    let Command::Cluster {
        nodes,
        replicas,
        leaders,
        acceptors,
        window,
        sessions,
        phase1,
        phase2,
        lease,
    } = command
    else {
        return Ok(());
    };
    let lease = lease.map(|length| Lease { length: Duration::from_millis(length), drift_ppm: 500 });
    let ids = |first: u32, n: Option<u32>| first..first + n.unwrap_or(0);
    let all = |ids: std::ops::Range<u32>| ids.map(NodeId).collect::<Vec<_>>();
    let (replicas, leaders, acceptors) = match nodes {
        Some(_) => (ids(1, *nodes), ids(1, *nodes), ids(1, *nodes)),
        None => (ids(1, *replicas), ids(11, *leaders), ids(21, *acceptors)),
    };
    let mut members =
        Members::new(all(replicas.clone()), all(leaders.clone()), all(acceptors.clone()))?;
    if let (Some(phase1), Some(phase2)) = (*phase1, *phase2) {
        members = members.with_quorums(Quorums { phase1, phase2 })?;
    }
    let processes: Vec<(u32, Roles)> = if nodes.is_some() {
        replicas.map(|id| (id, Roles::ALL)).collect()
    } else {
        let replicas = replicas.map(|id| (id, Roles::REPLICA));
        let leaders = leaders.map(|id| (id, Roles::LEADER));
        replicas.chain(leaders).chain(acceptors.map(|id| (id, Roles::ACCEPTOR))).collect()
    };
    this.lay_out(Schedule::new(members, window.unwrap_or(5)), *sessions, lease, processes);
    Ok(())
}

fn reconfiguration(command: &Command) -> Result<Op, Box<dyn Error>> {
    let Command::Reconfigure { replaces, nodes, replicas, leaders, acceptors, .. } = command else {
        return Err("this is no reconfiguration".into());
    };
    let role = |ids: &Option<Ids>| ids.as_ref().or(nodes.as_ref()).map(|ids| ids.0.clone());
    let members = Members::new(
        role(replicas).unwrap_or_default(),
        role(leaders).unwrap_or_default(),
        role(acceptors).unwrap_or_default(),
    )?;
    Ok(Op::Reconfigure(Box::new(Reconfiguration { replaces: *replaces, members })))
}

#[test]
fn every_script_goes_as_written() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let wanted = std::env::var("SCRIPT").unwrap_or_default();
    let mut scripts: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.sort();
    let mut failed = Vec::new();
    for script in scripts {
        let name = script.file_name().unwrap().to_string_lossy().into_owned();
        if !name.contains(&wanted) {
            continue;
        }
        let run = || goldenscript::run(&mut Cluster::default(), &script).map_err(|e| e.to_string());
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failed.push(format!("{name}: {error}")),
            Err(_) => failed.push(format!("{name}: see the difference above")),
        }
    }
    assert!(
        failed.is_empty(),
        "{} scripts do not go as written:\n{}",
        failed.len(),
        failed.join("\n")
    );
}
