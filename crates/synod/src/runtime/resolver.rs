//! Finds the addresses of hosts by their names.

use std::{io, sync::Arc, thread};

use synod_paxos::NodeId;

use super::Event;
use crate::{inbox::Inbox, transport::names};

/// Finds where `node` is, after so many `failures`, on a thread of its own: it may take as long as
/// the network pleases, and nobody waits for it when the node stops.
pub(super) fn resolve<M: Send + 'static>(
    node: NodeId,
    name: String,
    failures: usize,
    inbox: Arc<Inbox<Event<M>>>,
) -> io::Result<()> {
    let work = move || inbox.push(Event::Resolved(node, names::after(&name, failures)));
    thread::Builder::new().name("synod-resolver".to_owned()).spawn(work).map(drop)
}
