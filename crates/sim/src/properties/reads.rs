//! C5, L1 and L2: what reads may rely on, whatever others have been told.

use std::collections::BTreeMap;

use synod::Level;
use synod_paxos::{Message, NodeId, Slot, message::LeaseMessage};

use crate::{
    event::{Event, Judged, Line, hold},
    ghost::Ghost,
    queue::Time,
};

/// What a read must not miss.
#[derive(Clone, Copy, Debug)]
struct Least {
    /// Everything below this slot was decided when it began, as far as its level can know.
    decided: Slot,
    over: Line,
    /// Its client had seen so many operations over the same connection.
    seen: u64,
}

#[derive(Default)]
pub(super) struct Reads {
    begun: BTreeMap<(u64, u64), Least>,
    /// For each client its connection, and how many operations it has seen over that.
    seen: BTreeMap<u64, (u64, u64)>,
    /// When a leader last would have let reads be served, in which epoch, and which leader.
    leases: BTreeMap<u64, (Time, NodeId)>,
    /// When an acceptor last granted a leader a lease, and for how long, whatever their clocks.
    grants: BTreeMap<(NodeId, NodeId), (Time, Time)>,
}

impl Reads {
    pub(super) fn check(&mut self, event: &Event<'_>, ghost: &Ghost) -> Judged {
        match event {
            Event::WouldServe { node, epoch } => return self.would_serve(*node, *epoch, ghost),
            Event::Answered { client, cid, over, .. } => {
                let performed = ghost.performed.get(&(*client, *cid));
                let after = performed.and_then(|first| ghost.point(first.slot.next()));
                self.sees(*over, after.map_or(0, |point| point.applied));
            }
            Event::ReadSeen { over, applied } => self.sees(*over, *applied),
            Event::ReadBegins { over, id, level } => self.begins(*over, *id, *level, ghost),
            Event::ReadAnswered { node, over, id, applied, slot_out } => {
                let Some(least) = self.begun.get(&(over.client, *id)) else { return Ok(()) };
                return least.allows(*node, (*over, *id), *applied, *slot_out, ghost);
            }
            Event::Sent { from, message: Message::Lease(lease), .. } => {
                if let LeaseMessage::Granted { ballot, length, .. } = lease {
                    self.grants.insert((ballot.leader, *from), (ghost.now, *length));
                }
            }
            Event::Started { .. }
            | Event::Forgot { .. }
            | Event::Sent { .. }
            | Event::Durable { .. }
            | Event::Saved { .. }
            | Event::Performed { .. }
            | Event::Requested { .. }
            | Event::Answers { .. }
            | Event::NotDone { .. }
            | Event::Holds { .. }
            | Event::Healed
            | Event::Idle { .. }
            | Event::State { .. } => {}
        }
        Ok(())
    }

    /// L1. Leases of different configurations do not exclude one another: a replica serves no read
    /// by the lease of one in the slots of another.
    fn would_serve(&mut self, node: NodeId, epoch: u64, ghost: &Ghost) -> Judged {
        let now = ghost.now;
        let (at, other) = self.leases.insert(epoch, (now, node)).unwrap_or((now, node));
        let alone = other == node || at != now;
        hold!("L1", alone, "leaders {other} and {node} hold a lease of epoch {epoch} at one time");
        let Some(config) =
            ghost.schedule.iter().map(|(_, config)| config).find(|c| c.epoch == epoch)
        else {
            return Ok(());
        };
        // What an acceptor says to the leader of its own node, nobody sees.
        let grants = |acceptor: NodeId| {
            let granted = self.grants.get(&(node, acceptor));
            acceptor == node || granted.is_some_and(|(at, length)| now - at <= *length)
        };
        let granted = config.members.acceptors.iter().filter(|acceptor| grants(**acceptor)).count();
        let enough = granted >= config.members.quorums.phase2 as usize;
        hold!("L1", enough, "{granted} acceptors of {config} have granted {node} a lease");
        Ok(())
    }

    fn sees(&mut self, Line { client, conn }: Line, applied: u64) {
        if conn == 0 {
            return;
        }
        let seen = self.seen.entry(client).or_insert((conn, applied));
        *seen = if seen.0 == conn { (conn, seen.1.max(applied)) } else { (conn, applied) };
    }

    /// A leader with a lease knows what it has announced and what it has inherited, so all that any
    /// replica has performed; a quorum knows all that is chosen.
    fn begins(&mut self, over: Line, id: u64, level: Level, ghost: &Ghost) {
        let decided = match level {
            Level::Linearizable => ghost.next(),
            Level::Lease => ghost.slot_out,
            Level::Local => Slot::FIRST,
        };
        let same = |(conn, _): &&(u64, u64)| *conn == over.conn;
        let seen = self.seen.get(&over.client).filter(same).map_or(0, |(_, seen)| *seen);
        self.begun.insert((over.client, id), Least { decided, over, seen });
    }
}

impl Least {
    /// L2 and C5.
    fn allows(
        self,
        node: NodeId,
        (over, id): (Line, u64),
        applied: Option<u64>,
        slot_out: Slot,
        ghost: &Ghost,
    ) -> Judged {
        let Self { decided, seen, .. } = self;
        let client = over.client;
        hold!(
            "L2",
            slot_out >= decided,
            "read {id} of client {client} at replica {node} sees the slots below {slot_out}, those \
             below {decided} were decided"
        );
        let Some(applied) = applied else { return Ok(()) };
        let least = ghost.point(decided).map_or(0, |point| point.applied);
        hold!(
            "L2",
            applied >= least,
            "read {id} of client {client} at replica {node} sees {applied} operations, {least} \
             were decided"
        );
        hold!(
            "C5",
            over != self.over || applied >= seen,
            "read {id} of client {client} at replica {node} sees {applied} operations, after the \
             same node had shown {seen}"
        );
        Ok(())
    }
}
