//! The nodes that a run starts itself: processes on this machine, which do not outlive it.

use std::{
    fs::{self, File},
    io,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{Error, usage};

/// The longest end of a node's log that is worth quoting.
const QUOTE: usize = 400;

/// What is to be started as node `number` (from 1) of those at `addresses`, with its data in
/// `data`.
pub(super) type Start = dyn Fn(usize, &[String], &Path) -> Command;

/// Nodes that this process has started. Dropping it kills them.
pub(super) struct Cluster {
    start: Box<Start>,
    folder: PathBuf,
    addresses: Vec<String>,
    nodes: Vec<Node>,
}

#[derive(Default)]
struct Node {
    process: Option<Child>,
    /// CPU time of its earlier lives, in seconds.
    earlier: f64,
}

impl Cluster {
    /// Starts `nodes` nodes, whose data and logs go to `folder`.
    pub(super) fn start(nodes: usize, folder: &Path, start: Box<Start>) -> Result<Self, Error> {
        let addresses = free_addresses(nodes).map_err(Error::Ports)?;
        let nodes = (0..nodes).map(|_| Node::default()).collect();
        let mut cluster = Self { start, folder: folder.to_owned(), addresses, nodes };
        for number in 1..=cluster.nodes.len() {
            cluster.revive(number)?;
        }
        Ok(cluster)
    }

    pub(super) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// A node that does not listen yet, if there is one.
    pub(super) fn deaf(&self) -> Option<Error> {
        self.addresses.iter().find_map(|address| {
            let error = TcpStream::connect(address).err()?;
            Some(Error::Unreachable { address: address.clone(), why: error.to_string() })
        })
    }

    /// Whether the process of this node has been started and not been killed.
    pub(super) fn is_up(&self, number: usize) -> bool {
        self.nodes.get(number.wrapping_sub(1)).is_some_and(|node| node.process.is_some())
    }

    /// Starts a node that is not up, on the data that it has.
    pub(super) fn revive(&mut self, number: usize) -> Result<(), Error> {
        let failed = |error| Error::Start { node: number, error };
        let log = self.log(number);
        let log = File::options().create(true).append(true).open(log).map_err(failed)?;
        let data = self.folder.join(format!("node-{number}"));
        fs::create_dir_all(&data).map_err(failed)?;
        let mut command = (self.start)(number, &self.addresses, &data);
        // It holds the other end of a pipe, so it can tell when this process is gone, however
        // that came about.
        command.stdin(Stdio::piped()).stdout(log.try_clone().map_err(failed)?).stderr(log);
        self.nodes[number - 1].process = Some(command.spawn().map_err(failed)?);
        Ok(())
    }

    /// Kills the process of a node, as `kill -9` does. It is gone when this returns.
    pub(super) fn kill(&mut self, number: usize) {
        if let Some(node) = self.nodes.get_mut(number.wrapping_sub(1)) {
            node.kill();
        }
    }

    /// Kills all, and keeps their data.
    pub(super) fn kill_all(&mut self) {
        self.nodes.iter_mut().for_each(Node::kill);
    }

    /// The nodes that have ended by themselves, each with what it said last.
    pub(super) fn deserters(&mut self) -> Vec<String> {
        let mut deserters = Vec::new();
        for number in 1..=self.nodes.len() {
            let process = self.nodes[number - 1].process.as_mut();
            if let Some(Ok(Some(status))) = process.map(Child::try_wait) {
                let words = fs::read(self.log(number)).unwrap_or_default();
                let words = String::from_utf8_lossy(&words);
                deserters.push(format!("node {number} has ended: {status}{}", quote(&words)));
            }
        }
        deserters
    }

    /// CPU time of all nodes in all their lives, in seconds.
    pub(super) fn cpu_seconds(&self) -> Option<f64> {
        self.nodes.iter().map(Node::cpu_seconds).sum()
    }

    /// The memory that each node holds; 0 if it is not up.
    pub(super) fn resident_bytes(&self) -> Option<Vec<u64>> {
        let memory = |node: &Node| match &node.process {
            Some(process) => usage::resident_bytes(process.id()),
            None => Some(0),
        };
        self.nodes.iter().map(memory).collect()
    }

    fn log(&self, number: usize) -> PathBuf {
        self.folder.join(format!("node-{number}.log"))
    }
}

impl Node {
    fn cpu_seconds(&self) -> Option<f64> {
        match &self.process {
            Some(process) => Some(self.earlier + usage::cpu_seconds(process.id())?),
            None => Some(self.earlier),
        }
    }

    fn kill(&mut self) {
        if let Some(cpu) = self.cpu_seconds() {
            self.earlier = cpu;
        }
        if let Some(mut process) = self.process.take() {
            // Both fail only if it is gone already.
            drop(process.kill());
            drop(process.wait());
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last line, if there is one, shortened if need be.
fn quote(log: &str) -> String {
    let last = log.lines().rev().map(str::trim).find(|line| !line.is_empty());
    last.map_or_else(String::new, |last| {
        let last: String = last.chars().take(QUOTE).collect();
        format!(": {last}")
    })
}

/// Ports of this machine that nobody listens at. All are held until all are known, so they differ.
fn free_addresses(count: usize) -> io::Result<Vec<String>> {
    let listen = |_| TcpListener::bind(("127.0.0.1", 0));
    let listeners: Vec<TcpListener> = (0..count).map(listen).collect::<io::Result<_>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, thread, time::Duration};

    use super::*;

    fn shell(script: &'static str) -> Box<Start> {
        Box::new(move |number, addresses, data| {
            let mut command = Command::new("sh");
            command.args(["-c", script, "sh", &number.to_string(), &addresses.join(",")]);
            command.current_dir(data);
            command
        })
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
        for _ in 0..1000 {
            if condition() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("{what} did not happen");
    }

    #[test]
    fn nodes_have_numbers_addresses_and_folders_of_their_own() {
        let folder = folder();
        let script = "echo \"$1 $2\" > said.part; mv said.part said; exec sleep 600";
        let cluster = Cluster::start(3, folder.path(), shell(script)).unwrap();
        let distinct: BTreeSet<&String> = cluster.addresses().iter().collect();
        assert_eq!(distinct.len(), 3);
        for number in 1..=3 {
            let said = folder.path().join(format!("node-{number}/said"));
            wait_for("a node's word", || said.exists());
            let expected = format!("{number} {}\n", cluster.addresses().join(","));
            assert_eq!(fs::read_to_string(said).unwrap(), expected);
        }
    }

    #[test]
    fn a_killed_node_is_gone_and_can_be_started_again_on_its_data() {
        let folder = folder();
        let script = "echo life >> lives; exec sleep 600";
        let mut cluster = Cluster::start(2, folder.path(), shell(script)).unwrap();
        let lives = folder.path().join("node-2/lives");
        let said = |what: &str| fs::read_to_string(&lives).is_ok_and(|text| text == what);
        wait_for("a life", || said("life\n"));
        let pid = cluster.nodes[1].process.as_ref().unwrap().id();
        cluster.kill(2);
        assert_eq!(usage::cpu_seconds(pid), None);
        assert_eq!((cluster.is_up(1), cluster.is_up(2), cluster.is_up(0)), (true, false, false));
        assert!(cluster.deserters().is_empty(), "it has been killed");
        cluster.revive(2).unwrap();
        wait_for("another life", || said("life\nlife\n"));
        assert!(cluster.cpu_seconds().is_some());
        assert_eq!(cluster.resident_bytes().unwrap().len(), 2);
    }

    #[test]
    fn nobody_outlives_the_cluster_even_if_there_is_a_panic() {
        let folder = folder();
        let cluster = Cluster::start(3, folder.path(), shell("exec sleep 600")).unwrap();
        let pids: Vec<u32> =
            cluster.nodes.iter().map(|node| node.process.as_ref().unwrap().id()).collect();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _cluster = cluster;
            panic!("on purpose");
        }));
        assert!(panicked.is_err());
        assert!(pids.iter().all(|pid| usage::cpu_seconds(*pid).is_none()));
    }

    #[test]
    fn whoever_ends_by_itself_is_reported_with_its_last_words() {
        let folder = folder();
        let mut cluster =
            Cluster::start(1, folder.path(), shell("echo 'no space left' >&2; exit 3")).unwrap();
        wait_for("the end", || !cluster.deserters().is_empty());
        let report = cluster.deserters().remove(0);
        assert!(report.contains("node 1") && report.ends_with("3: no space left"), "{report}");
    }

    #[test]
    fn who_does_not_listen_yet_is_named() {
        let folder = folder();
        let cluster = Cluster::start(2, folder.path(), shell("exec sleep 600")).unwrap();
        let [first, second] = cluster.addresses() else { panic!("two nodes") };
        assert!(cluster.deaf().unwrap().to_string().contains(first));
        let _first = TcpListener::bind(first).unwrap();
        assert!(cluster.deaf().unwrap().to_string().contains(second));
        let _second = TcpListener::bind(second).unwrap();
        assert!(cluster.deaf().is_none());
    }

    #[test]
    fn a_program_that_does_not_exist_is_an_error() {
        let start = Box::new(|_: usize, _: &[String], _: &Path| Command::new("/no/such/program"));
        let error = Cluster::start(1, folder().path(), start).err().unwrap();
        assert!(error.to_string().contains("node 1"), "{error}");
    }
}
