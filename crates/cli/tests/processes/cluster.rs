//! Nodes as processes: started, killed, paused, and their directories wiped, kept and put back.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::disks::{FsyncControl, SmallDisk, folder_prefix};
use crate::mesh::Mesh;
use crate::sockets;

/// Lines of a node's log that a failure shows.
const TAIL: usize = 40;
/// Ports that nothing is given by chance: below those of outgoing connections.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// Says what is not tested here, past the test harness, which would hide it.
pub(crate) fn skipped(what: &str, why: &str) {
    let line = format!("\nSKIPPED, NOT TESTED: {what}: {why}\n");
    io::stderr().write_all(line.as_bytes()).expect("standard error is open");
}

/// What a node is started with.
pub(crate) struct Launch<'node> {
    pub(crate) id: u64,
    pub(crate) data: &'node Path,
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    /// Where everybody finds each founder, in the order of their ids, and then this node if it is
    /// no founder. The way there leads through links that may be cut.
    pub(crate) peers: Vec<SocketAddr>,
    /// Whether it is not a founder.
    pub(crate) joins: bool,
}

struct Node {
    listen: SocketAddr,
    data: PathBuf,
    log: PathBuf,
    fsync: FsyncControl,
    disk: Option<SmallDisk>,
    child: Option<Child>,
}

/// Nodes of one system, and the network between them. All are killed when it is dropped; their
/// logs are shown, and their directories kept, if the test has failed.
pub(crate) struct Cluster {
    folder: tempfile::TempDir,
    program: fn(&Launch<'_>) -> Command,
    founders: Vec<u64>,
    nodes: BTreeMap<u64, Node>,
    mesh: Mesh,
}

impl Cluster {
    /// Nodes 1 to `count`, not started yet.
    pub(crate) fn new(name: &str, count: u64, program: fn(&Launch<'_>) -> Command) -> Self {
        let folder = tempfile::Builder::new()
            .prefix(&folder_prefix(name))
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a writable folder");
        let founders: Vec<u64> = (1..=count).collect();
        let (nodes, mesh) = (BTreeMap::new(), Mesh::new());
        let mut cluster = Self { folder, program, founders, nodes, mesh };
        for id in cluster.founders.clone() {
            cluster.add(id);
        }
        cluster
    }

    /// One more node, not started yet.
    pub(crate) fn add(&mut self, id: u64) {
        let place = |name: &str| self.folder.path().join(format!("n{id}{name}"));
        let node = Node {
            listen: free_address(),
            data: place(""),
            log: place(".log"),
            fsync: FsyncControl::at(place(".fsync")),
            disk: None,
            child: None,
        };
        fs::create_dir(&node.data).expect("a writable folder");
        self.mesh.add(id, node.listen).expect("free ports");
        assert!(self.nodes.insert(id, node).is_none(), "there is a node {id} already");
    }

    /// The nodes that there are, running or not.
    pub(crate) fn ids(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    /// The nodes that run, or are paused.
    pub(crate) fn running(&self) -> Vec<u64> {
        let running = self.nodes.iter().filter(|(_, node)| node.child.is_some());
        running.map(|(id, _)| *id).collect()
    }

    /// The links between the processes.
    pub(crate) fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// Where everybody finds a node.
    pub(crate) fn address(&self, id: u64) -> SocketAddr {
        self.mesh.address(id)
    }

    /// Where the node listens, past all links.
    pub(crate) fn listen(&self, id: u64) -> SocketAddr {
        self.nodes[&id].listen
    }

    /// Where clients find the nodes.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.keys().map(|id| self.address(*id)).collect()
    }

    /// Fails if a node has found a way to another past the links: then cutting them shows nothing.
    pub(crate) fn must_use_links(&self) {
        let children = || self.nodes.values().filter_map(|node| node.child.as_ref());
        for (id, node) in &self.nodes {
            let is_reached = sockets::reaches(node.listen, children().map(Child::id));
            assert!(!is_reached, "a node has found a way to node {id} past the links");
        }
    }

    pub(crate) fn data(&self, id: u64) -> &Path {
        &self.nodes[&id].data
    }

    /// What becomes of the node's syncs.
    pub(crate) fn fsync(&self, id: u64) -> &FsyncControl {
        &self.nodes[&id].fsync
    }

    /// Puts the node's directory on a disk of its own, of so many bytes.
    ///
    /// # Errors
    /// When that is not allowed here.
    pub(crate) fn mount(&mut self, id: u64, bytes: u64) -> io::Result<()> {
        let node = self.nodes.get_mut(&id).expect("a node of this cluster");
        node.disk = Some(SmallDisk::mount(&node.data, bytes)?);
        Ok(())
    }

    /// The node's own disk.
    pub(crate) fn disk(&self, id: u64) -> &SmallDisk {
        self.nodes[&id].disk.as_ref().expect("it was mounted")
    }

    pub(crate) fn start(&mut self, id: u64) {
        let mut command = self.command(id);
        let node = self.nodes.get_mut(&id).expect("a node of this cluster");
        assert!(node.child.is_none(), "node {id} runs already");
        let mut log = open_log(&node.log);
        writeln!(log, "---- started ----").expect("a writable log");
        let copy = log.try_clone().expect("a file that is open");
        // The pipe ends with this process, however that ends; the node can notice.
        command.stdin(Stdio::piped()).stdout(copy).stderr(log);
        node.fsync.preload(&mut command);
        let child = command.spawn().expect("the program has been built");
        self.mesh.is(child.id(), id);
        node.child = Some(child);
    }

    fn command(&self, id: u64) -> Command {
        let node = &self.nodes[&id];
        let joins = !self.founders.contains(&id);
        let own = joins.then_some(&id);
        let peers = self.founders.iter().chain(own).map(|peer| self.address(*peer)).collect();
        (self.program)(&Launch { id, data: &node.data, listen: node.listen, peers, joins })
    }

    pub(crate) fn start_all(&mut self) {
        for id in self.ids() {
            if self.nodes[&id].child.is_none() {
                self.start(id);
            }
        }
    }

    /// Kills the node at once (SIGKILL), also if it is paused or has ended.
    pub(crate) fn kill(&mut self, id: u64) {
        if let Some(mut child) = self.nodes.get_mut(&id).and_then(|node| node.child.take()) {
            child.kill().expect("a process of ours");
            child.wait().expect("a process of ours");
        }
    }

    /// Stops the node where it is (SIGSTOP).
    pub(crate) fn pause(&self, id: u64) {
        self.signal(id, Signal::STOP);
    }

    /// Lets a node that was paused go on.
    pub(crate) fn resume(&self, id: u64) {
        self.signal(id, Signal::CONT);
    }

    fn signal(&self, id: u64, signal: Signal) {
        let child = self.nodes[&id].child.as_ref().expect("the node runs");
        kill_process(Pid::from_child(child), signal).expect("a process of ours");
    }

    /// Whether the node has ended by itself, and how.
    pub(crate) fn ended(&mut self, id: u64) -> Option<ExitStatus> {
        let child = self.nodes.get_mut(&id)?.child.as_mut()?;
        child.try_wait().expect("a process of ours")
    }

    /// Waits until the node ends by itself.
    pub(crate) fn must_end(&mut self, id: u64, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.ended(id) {
                self.nodes.get_mut(&id).expect("a node of this cluster").child = None;
                return status;
            }
            assert!(Instant::now() < deadline, "node {id} has not ended within {within:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Everything that the node has said.
    pub(crate) fn log(&self, id: u64) -> String {
        let log = fs::read(&self.nodes[&id].log).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Fails if a node has ended by itself, or has ever panicked.
    pub(crate) fn must_be_well(&mut self) {
        for id in self.running() {
            assert_eq!(self.ended(id), None, "node {id} has ended by itself");
        }
        self.must_not_have_panicked();
    }

    /// Fails if a node has ever panicked.
    pub(crate) fn must_not_have_panicked(&self) {
        for id in self.ids() {
            assert!(!self.log(id).contains("panicked at"), "node {id} has panicked");
        }
    }

    /// Empties the directory of a node that does not run.
    pub(crate) fn wipe(&mut self, id: u64) {
        self.must_not_run(id);
        let data = self.data(id);
        fs::remove_dir_all(data).expect("a folder of ours");
        fs::create_dir(data).expect("a writable folder");
    }

    /// Copies the directory of a node that does not run, for [`Self::put_back`].
    pub(crate) fn keep(&self, id: u64) {
        self.must_not_run(id);
        copy(self.data(id), &self.kept(id)).expect("room for a copy");
    }

    /// Replaces the directory of a node that does not run by the copy that was kept.
    pub(crate) fn put_back(&mut self, id: u64) {
        self.wipe(id);
        copy(&self.kept(id), self.data(id)).expect("room for a copy");
    }

    fn kept(&self, id: u64) -> PathBuf {
        self.folder.path().join(format!("n{id}.kept"))
    }

    fn must_not_run(&self, id: u64) {
        assert!(self.nodes[&id].child.is_none(), "node {id} runs");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in self.nodes.values_mut() {
            if let Some(mut child) = node.child.take() {
                drop(child.kill());
                drop(child.wait());
            }
            node.disk = None;
        }
        if thread::panicking() {
            self.folder.disable_cleanup(true);
            eprintln!("directories and logs are kept in {}", self.folder.path().display());
            for id in self.ids() {
                let log = self.log(id);
                let lines: Vec<&str> = log.lines().collect();
                eprintln!("==== node {id}, the last of {} lines", lines.len());
                lines[lines.len().saturating_sub(TAIL)..]
                    .iter()
                    .for_each(|line| eprintln!("{line}"));
            }
        }
    }
}

/// The log of a node. What it says in its next life is added to it.
fn open_log(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).expect("a writable folder")
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// An address that nobody uses. A node binds it later, and again in each of its lives, so no
/// outgoing connection may be given it by chance.
fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = PORTS.end - PORTS.start;
    // Another test program that runs at the same time starts elsewhere.
    let own = u16::try_from(std::process::id() * 97 % u32::from(count)).expect("less than `count`");
    for _ in 0..count {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start
            + u16::try_from((u32::from(own) + u32::from(step)) % u32::from(count))
                .expect("less than `count`");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port in {PORTS:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node that says what it was given, notes its life on its disk, and waits.
    fn shell(launch: &Launch<'_>) -> Command {
        let mut command = Command::new("sh");
        let script = "echo given \"$@\"; echo life >> lives; exec sleep 600";
        command.args(["-c", script, "node"]).current_dir(launch.data);
        command.args(launch.peers.iter().map(ToString::to_string));
        command.arg(if launch.joins { "joins" } else { "founds" });
        command
    }

    fn said(cluster: &Cluster, id: u64, text: &str) -> bool {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !cluster.log(id).contains(text) {
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }

    fn lives(cluster: &Cluster, id: u64) -> usize {
        fs::read_to_string(cluster.data(id).join("lives")).unwrap_or_default().lines().count()
    }

    fn state(cluster: &Cluster, id: u64) -> char {
        let pid = cluster.nodes[&id].child.as_ref().unwrap().id();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.split_once(") ").unwrap().1.chars().next().unwrap()
    }

    fn live_once(cluster: &mut Cluster, id: u64) {
        let before = lives(cluster, id);
        cluster.start(id);
        let deadline = Instant::now() + Duration::from_secs(10);
        while lives(cluster, id) == before {
            assert!(Instant::now() < deadline);
            thread::sleep(Duration::from_millis(5));
        }
        cluster.kill(id);
    }

    #[test]
    fn directories_are_wiped_kept_and_put_back() {
        let mut cluster = Cluster::new("directories", 1, shell);
        live_once(&mut cluster, 1);
        cluster.keep(1);
        live_once(&mut cluster, 1);
        assert_eq!(lives(&cluster, 1), 2);
        cluster.put_back(1);
        assert_eq!(lives(&cluster, 1), 1);
        cluster.wipe(1);
        assert_eq!(lives(&cluster, 1), 0);
    }

    #[test]
    fn each_node_is_told_where_the_others_are_found() {
        let mut cluster = Cluster::new("addresses", 2, shell);
        cluster.add(3);
        cluster.start_all();
        let address = |id| cluster.address(id);
        let founders = format!("given {} {}", address(1), address(2));
        assert!(said(&cluster, 1, &format!("{founders} founds")));
        assert!(said(&cluster, 2, &format!("{founders} founds")));
        assert!(said(&cluster, 3, &format!("{founders} {} joins", address(3))));
        assert_ne!(address(1), cluster.listen(1));
    }

    #[test]
    fn a_way_past_the_links_is_noticed() {
        fn dials(launch: &Launch<'_>) -> Command {
            let mut command = Command::new("bash");
            let target = fs::read_to_string(launch.data.join("target")).unwrap();
            command.args(["-c", &format!("exec 3<>/dev/tcp/{target} && echo given && read -u 3")]);
            command
        }
        let mut cluster = Cluster::new("past", 2, dials);
        let server = TcpListener::bind(cluster.listen(2)).unwrap();
        let target = |address: SocketAddr| address.to_string().replace(':', "/");
        let file = cluster.data(1).join("target");
        fs::write(&file, target(cluster.address(2))).unwrap();
        cluster.start(1);
        let _through_a_link = server.accept().unwrap();
        cluster.must_use_links();
        cluster.kill(1);
        fs::write(&file, target(cluster.listen(2))).unwrap();
        cluster.start(1);
        let _past_it = server.accept().unwrap();
        let noticed = std::panic::AssertUnwindSafe(|| cluster.must_use_links());
        assert!(std::panic::catch_unwind(noticed).is_err());
    }

    #[test]
    fn a_paused_node_stands_still_and_can_be_killed() {
        let mut cluster = Cluster::new("pause", 1, shell);
        cluster.start(1);
        assert!(said(&cluster, 1, "given"));
        cluster.pause(1);
        let is = |wanted: char| {
            (0..1000).any(|_| {
                thread::sleep(Duration::from_millis(5));
                (state(&cluster, 1) == 'T') == (wanted == 'T')
            })
        };
        assert!(is('T'));
        cluster.resume(1);
        assert!(is('S'));
        cluster.pause(1);
        cluster.kill(1);
        assert_eq!(cluster.running(), [0; 0]);
    }

    #[test]
    fn a_node_that_ends_by_itself_is_noticed() {
        fn fails(_: &Launch<'_>) -> Command {
            let mut command = Command::new("sh");
            command.args(["-c", "echo bad >&2; exit 7"]);
            command
        }
        let mut cluster = Cluster::new("ends", 1, fails);
        cluster.start(1);
        assert_eq!(cluster.must_end(1, Duration::from_secs(10)).code(), Some(7));
        assert!(cluster.log(1).contains("bad"));
    }

    #[test]
    fn nothing_runs_on_when_a_test_fails() {
        let mut cluster = Cluster::new("fails", 1, shell);
        cluster.start(1);
        assert!(said(&cluster, 1, "given"));
        let pid = cluster.nodes[&1].child.as_ref().unwrap().id();
        let folder = cluster.folder.path().to_owned();
        let failed = thread::spawn(move || {
            let _cluster = cluster;
            panic!("as it should");
        });
        failed.join().unwrap_err();
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        assert!(folder.join("n1.log").exists(), "a failure keeps the logs");
        fs::remove_dir_all(folder).unwrap();
    }
}
