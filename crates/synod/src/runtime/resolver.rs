//! Finds the addresses of hosts by their names.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    thread,
};

use synod_paxos::NodeId;

use super::Event;
use crate::inbox::Inbox;

/// Finds where `node` is, on a thread of its own: it may take as long as the network pleases, and
/// nobody waits for it when the node stops.
pub(super) fn resolve<M: Send + 'static>(
    node: NodeId,
    address: String,
    inbox: Arc<Inbox<Event<M>>>,
) -> io::Result<()> {
    let work = move || inbox.push(Event::Resolved(node, look_up(&address)));
    thread::Builder::new().name("synod-resolver".to_owned()).spawn(work).map(drop)
}

fn look_up(address: &str) -> io::Result<SocketAddr> {
    let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    address.to_socket_addrs()?.next().ok_or_else(none)
}
