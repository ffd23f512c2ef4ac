//! The network between clients and nodes: one link from each dialer to each node.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use crate::proxy::{Direction, Front, Link, Pace};
use crate::sockets;

/// The dialer that stands for this process: all clients.
pub(crate) const CLIENTS: u64 = 0;

/// A link for each ordered pair. A pair may talk over connections that either of the two opened,
/// so a cut concerns both of its links.
pub(crate) struct Mesh {
    shared: Arc<Shared>,
    fronts: BTreeMap<u64, Front>,
    listens: BTreeMap<u64, SocketAddr>,
}

#[derive(Default)]
struct Shared {
    links: Mutex<BTreeMap<(u64, u64), Arc<Link>>>,
    /// Which process is which node.
    processes: Mutex<BTreeMap<u32, u64>>,
}

impl Mesh {
    pub(crate) fn new() -> Self {
        let shared = Arc::new(Shared::default());
        shared.processes().insert(std::process::id(), CLIENTS);
        Self { shared, fronts: BTreeMap::new(), listens: BTreeMap::new() }
    }

    /// Adds a node that listens at `listen`. Others are to find it at [`Self::address`].
    pub(crate) fn add(&mut self, node: u64, listen: SocketAddr) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let front = Front::open(move |dialer| shared.link(dialer, node))?;
        self.listens.insert(node, listen);
        let mut links = self.shared.links();
        for dialer in self.listens.keys().copied().chain([CLIENTS]) {
            links.entry((dialer, node)).or_insert_with(|| Arc::new(Link::to(listen)));
        }
        for (other, listen) in &self.listens {
            links.entry((node, *other)).or_insert_with(|| Arc::new(Link::to(*listen)));
        }
        drop(links);
        self.fronts.insert(node, front);
        Ok(())
    }

    /// Where everybody finds a node.
    pub(crate) fn address(&self, node: u64) -> SocketAddr {
        self.fronts[&node].address()
    }

    /// From now on this process is the node, and no other is.
    pub(crate) fn is(&self, process: u32, node: u64) {
        let mut processes = self.shared.processes();
        processes.retain(|_, known| *known != node);
        processes.insert(process, node);
    }

    /// Nothing gets from one to the other any more. The opposite way stays as it is.
    pub(crate) fn cut_one_way(&self, from: u64, to: u64) {
        let links = self.shared.links();
        let ways = [((from, to), Direction::Forward), ((to, from), Direction::Backward)];
        for (pair, direction) in ways {
            links.get(&pair).into_iter().for_each(|link| link.hold(direction, true));
        }
    }

    /// Nothing gets from one to the other any more, nor back.
    pub(crate) fn cut(&self, one: u64, other: u64) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    /// Resets the connections between the two, and refuses new ones.
    pub(crate) fn refuse(&self, one: u64, other: u64) {
        self.each(one, other, |link| link.refuse(true));
    }

    /// Resets the connections between the two.
    pub(crate) fn reset(&self, one: u64, other: u64) {
        self.each(one, other, Link::reset);
    }

    /// Bytes travel at this pace everywhere.
    pub(crate) fn pace(&self, pace: Pace) {
        self.shared.links().values().for_each(|link| link.pace(pace));
    }

    /// Everything passes again, at full speed.
    pub(crate) fn heal(&self) {
        self.shared.links().values().for_each(|link| link.heal());
    }

    fn each(&self, one: u64, other: u64, change: impl Fn(&Link)) {
        let links = self.shared.links();
        for pair in [(one, other), (other, one)] {
            links.get(&pair).into_iter().for_each(|link| change(link));
        }
    }
}

impl Shared {
    fn links(&self) -> MutexGuard<'_, BTreeMap<(u64, u64), Arc<Link>>> {
        self.links.lock().expect("no thread panics while it holds this")
    }

    fn processes(&self) -> MutexGuard<'_, BTreeMap<u32, u64>> {
        self.processes.lock().expect("no thread panics while it holds this")
    }

    /// The link that leads to `node` from the process at the other end of `dialer`.
    fn link(&self, dialer: &TcpStream, node: u64) -> Option<Arc<Link>> {
        let (local, remote) = (dialer.peer_addr().ok()?, dialer.local_addr().ok()?);
        // A process may dial before it is known which one it is.
        for _ in 0..20 {
            let processes = self.processes().clone();
            if let Some(process) = sockets::owner(local, remote, processes.keys().copied()) {
                return self.links().get(&(processes[&process], node)).cloned();
            }
            thread::sleep(Duration::from_millis(10));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicU8, Ordering};

    /// This process is node 1. Both ends of a connection that it opens to node 2.
    fn pair() -> (Mesh, TcpStream, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let mut mesh = Mesh::new();
        mesh.add(1, "127.0.0.1:1".parse().unwrap()).unwrap();
        mesh.add(2, listener.local_addr().unwrap()).unwrap();
        mesh.is(std::process::id(), 1);
        let near = TcpStream::connect(mesh.address(2)).unwrap();
        let far = listener.accept().unwrap().0;
        (mesh, near, far)
    }

    /// Whether a byte comes through that was not sent before. What was held earlier may precede it.
    fn passes(mut from: &TcpStream, mut to: &TcpStream) -> bool {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        let sent = [NEXT.fetch_add(1, Ordering::Relaxed)];
        to.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut got = [0];
        let mut next = || to.read(&mut got).is_ok_and(|length| length == 1).then_some(got);
        from.write_all(&sent).is_ok() && std::iter::from_fn(&mut next).any(|got| got == sent)
    }

    #[test]
    fn a_way_is_cut_whoever_opened_the_connection() {
        let (mesh, near, far) = pair();
        assert!(passes(&near, &far) && passes(&far, &near));
        mesh.cut_one_way(1, 2);
        assert!(!passes(&near, &far) && passes(&far, &near));
        mesh.heal();
        mesh.cut_one_way(2, 1);
        assert!(passes(&near, &far) && !passes(&far, &near));
        mesh.heal();
        mesh.cut(2, 1);
        assert!(!passes(&near, &far) && !passes(&far, &near));
    }

    #[test]
    fn cuts_concern_nobody_else() {
        let (mesh, near, far) = pair();
        for other in [CLIENTS, 2] {
            mesh.cut(other, 1);
        }
        mesh.heal();
        mesh.cut(CLIENTS, 2);
        assert!(passes(&near, &far) && passes(&far, &near));
        mesh.refuse(2, 1);
        assert!(!passes(&near, &far));
        let mut refused = TcpStream::connect(mesh.address(2)).unwrap();
        assert!(refused.read(&mut [0]).is_err());
    }
}
