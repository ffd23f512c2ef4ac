//! C1 to C4, C6, G4 and G7: what clients ask for and are told.

use std::collections::{BTreeMap, BTreeSet};

use synod::Level;
use synod_paxos::{ClientId, Command, NodeId, PValue, Record, Slot};

use crate::{
    event::{Event, Judged, Outcome, hold},
    ghost::Ghost,
};

/// What a client had been shown when it asked for something.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// Everything below this slot had been seen by some client.
    seen: Slot,
    /// The highest fencing token that some client had.
    token: u64,
}

#[derive(Default)]
pub(super) struct Clients {
    /// Everything below this slot has been seen by some client.
    seen: Slot0,
    commands: BTreeMap<(ClientId, u64), (Asked, Command)>,
    /// Fencing tokens, and the commands that they were given to.
    tokens: BTreeMap<u64, (ClientId, u64)>,
    /// As many operations were in a state that a client has read.
    seen_applied: u64,
    reads: BTreeMap<(u64, u64), (Slot, u64)>,
    not_done: BTreeSet<(ClientId, u64)>,
    /// Slots below have been looked at.
    looked_at: Slot0,
}

/// A slot that is the first one by default.
#[derive(Clone, Copy, Debug)]
struct Slot0(Slot);

impl Default for Slot0 {
    fn default() -> Self {
        Self(Slot::FIRST)
    }
}

impl Clients {
    pub(super) fn check(&mut self, event: &Event<'_>, ghost: &Ghost) -> Judged {
        match event {
            Event::Requested { command } => {
                let token = self.tokens.last_key_value().map_or(0, |(token, _)| *token);
                let asked = Asked { seen: self.seen.0, token };
                self.commands.insert((command.client, command.cid), (asked, (*command).clone()));
            }
            Event::Durable { node, record: Record::Accepted(pvalue) } => {
                self.accepted(*node, pvalue)?;
                return self.performed(ghost);
            }
            Event::Answers { node, client, cid, outcome, slot_out } => {
                return answers(*node, (*client, *cid), *outcome, *slot_out, ghost);
            }
            Event::Answered { client, cid, token, .. } => {
                self.answered((*client, *cid), ghost)?;
                return token.map_or(Ok(()), |token| self.given(token, (*client, *cid)));
            }
            Event::NotDone { client, cid } => {
                let performed = ghost.performed.contains_key(&(*client, *cid));
                hold!("C3", !performed, "{client}#{cid} is done, and its client is told it is not");
                self.not_done.insert((*client, *cid));
            }
            Event::ReadBegins { over, id, level: Level::Local } => {
                self.reads.remove(&(over.client, *id)); // An earlier program's, by chance.
            }
            Event::ReadBegins { over, id, .. } => {
                self.reads.insert((over.client, *id), (self.seen.0, self.seen_applied));
            }
            Event::ReadSeen { applied, .. } => self.seen_applied = self.seen_applied.max(*applied),
            Event::ReadAnswered { node, over, id, applied, slot_out } => {
                return self.read(*node, (over.client, *id), *applied, *slot_out, ghost);
            }
            Event::Started { .. }
            | Event::Forgot { .. }
            | Event::Sent { .. }
            | Event::Durable { .. }
            | Event::Saved { .. }
            | Event::Performed { .. }
            | Event::WouldServe { .. }
            | Event::Holds { .. }
            | Event::Healed
            | Event::Idle { .. }
            | Event::State { .. } => {}
        }
        Ok(())
    }

    /// G4. What the nodes say among themselves, that one of them has started, no client asked for.
    fn accepted(&self, node: NodeId, pvalue: &PValue) -> Judged {
        for command in pvalue.decree.commands() {
            if is_of_nodes(command) {
                continue;
            }
            let asked = self.commands.get(&(command.client, command.cid));
            let same = asked.is_some_and(|(_, asked)| asked.op == command.op);
            let slot = pvalue.slot;
            hold!("G4", same, "acceptor {node} accepts in slot {slot} {command}: nobody sent that");
        }
        Ok(())
    }

    /// C1, C2 and C3, of what the newly chosen decrees do.
    fn performed(&mut self, ghost: &Ghost) -> Judged {
        if let Some((client, cid)) = ghost.twice {
            hold!("C2", false, "command {client}#{cid} is performed twice");
        }
        while self.looked_at.0 < ghost.next() {
            let slot = self.looked_at.0;
            self.looked_at.0 = slot.next();
            let Some(chosen) = ghost.chosen(slot) else { continue };
            for command in chosen.decree.commands() {
                let key = (command.client, command.cid);
                let first = ghost.performed.get(&key).is_some_and(|first| first.slot == slot);
                let Some((asked, _)) = self.commands.get(&key).filter(|_| first) else { continue };
                let (client, cid) = key;
                hold!(
                    "C1",
                    slot >= asked.seen,
                    "{client}#{cid} is performed in slot {slot}, and was asked for when others \
                     had seen the slots below {}",
                    asked.seen
                );
                let refused = self.not_done.contains(&key);
                hold!("C3", !refused, "{client}#{cid} is done after its client was told it is not");
            }
        }
        Ok(())
    }

    fn answered(&mut self, key: (ClientId, u64), ghost: &Ghost) -> Judged {
        let performed = ghost.performed.get(&key);
        let (client, cid) = key;
        hold!("G7", performed.is_some(), "{client}#{cid} is acknowledged and not chosen");
        if let Some(performed) = performed {
            self.seen.0 = self.seen.0.max(performed.slot.next());
        }
        Ok(())
    }

    /// C6: whoever asks after others have had their tokens gets a higher one.
    fn given(&mut self, token: u64, key: (ClientId, u64)) -> Judged {
        let (client, cid) = key;
        let before = self.commands.get(&key).map_or(0, |(asked, _)| asked.token);
        hold!("C6", token > before, "{client}#{cid} gets token {token} after {before} was given");
        let (other, number) = *self.tokens.entry(token).or_insert(key);
        let alone = (other, number) == key;
        hold!("C6", alone, "{client}#{cid} gets token {token}, which {other}#{number} has");
        Ok(())
    }

    fn read(
        &mut self,
        node: NodeId,
        key: (u64, u64),
        applied: Option<u64>,
        slot_out: Slot,
        ghost: &Ghost,
    ) -> Judged {
        let Some(&(seen, seen_applied)) = self.reads.get(&key) else { return Ok(()) };
        let (client, id) = key;
        hold!(
            "C1",
            slot_out >= seen,
            "read {id} of client {client} at replica {node} sees the slots below {slot_out}, \
             others had seen those below {seen}"
        );
        let Some(applied) = applied else { return Ok(()) };
        let least = ghost.point(seen).map_or(0, |point| point.applied).max(seen_applied);
        hold!(
            "C1",
            applied >= least,
            "read {id} of client {client} at replica {node} sees {applied} operations, others had \
             seen {least}"
        );
        Ok(())
    }
}

/// Whether a node says that it has started.
fn is_of_nodes(command: &Command) -> bool {
    let synod_paxos::Op::Apply(op) = &command.op else { return false };
    op.as_slice().first() == Some(&1)
}

/// C2 and C4.
fn answers(
    node: NodeId,
    (client, cid): (ClientId, u64),
    outcome: Outcome<'_>,
    slot_out: Slot,
    ghost: &Ghost,
) -> Judged {
    match outcome {
        Outcome::Done(reply) => {
            let performed = ghost.performed.get(&(client, cid));
            let performed = performed.filter(|performed| performed.slot < slot_out);
            hold!(
                "G2",
                performed.is_some(),
                "replica {node} answers {client}#{cid}: not performed"
            );
            let first = performed.is_some_and(|performed| performed.reply.as_slice() == reply);
            hold!(
                "C2",
                first,
                "replica {node} answers {client}#{cid} with {reply:?}, and the result was {:?}",
                performed.map(|performed| performed.reply.as_slice())
            );
        }
        Outcome::Expired => {
            let expired = ghost.may_expire(client);
            hold!("C4", expired, "replica {node} says that {client} expired, and the log does not");
        }
    }
    Ok(())
}
