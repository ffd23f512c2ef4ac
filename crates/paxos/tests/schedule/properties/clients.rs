//! What clients may rely on.

use std::collections::BTreeMap;

use synod_paxos::{ClientId, Command, Op, Outcome, PValue, Record, Slot};

use super::Property;
use crate::{
    event::{Event, hold},
    history::History,
};

/// Validity: nothing is accepted that no client has asked for, or asked for otherwise.
#[derive(Default)]
pub(crate) struct OnlyWhatWasAsked {
    asked: BTreeMap<(ClientId, u64), Op>,
}

impl OnlyWhatWasAsked {
    fn knows(&self, command: &Command) -> bool {
        self.asked.get(&(command.client, command.cid)) == Some(&command.op)
    }
}

impl Property for OnlyWhatWasAsked {
    fn name(&self) -> &'static str {
        "validity"
    }

    fn check(&mut self, event: &Event<'_>, _: &History) -> Result<(), String> {
        if let Event::Requested { command } = event {
            self.asked.insert((command.client, command.cid), command.op.clone());
        }
        let Event::Durable { record: Record::Accepted(pvalue), .. } = event else { return Ok(()) };
        let PValue { slot, decree, .. } = pvalue;
        match decree.commands().iter().find(|command| !self.knows(command)) {
            Some(command) => Err(format!("nobody asked for {command}, in slot {slot}")),
            None => Ok(()),
        }
    }
}

/// Each command is performed at most once, however often it is decided, and whatever became of
/// its client's session.
pub(crate) struct ExactlyOnce;

impl Property for ExactlyOnce {
    fn name(&self) -> &'static str {
        "exactly once"
    }

    fn check(&mut self, event: &Event<'_>, history: &History) -> Result<(), String> {
        match (event, history.twice) {
            (Event::Durable { .. }, Some((client, cid))) => {
                Err(format!("command {client}#{cid} is performed twice"))
            }
            _ => Ok(()),
        }
    }
}

/// Every answer to a command says what its first and only performance gave. A session expires
/// only if it was evicted.
pub(crate) struct AnswersFromTheHistory;

impl Property for AnswersFromTheHistory {
    fn name(&self) -> &'static str {
        "answers"
    }

    fn check(&mut self, event: &Event<'_>, history: &History) -> Result<(), String> {
        let Event::Responds { node, response, at } = event else { return Ok(()) };
        let (client, cid) = (response.client, response.cid);
        match &response.outcome {
            Outcome::Done(reply) => {
                let performed = history.performed.get(&(client, cid));
                let Some(performed) = performed.filter(|p| p.slot < at.slot_out) else {
                    return Err(format!("replica {node}: {response}, which is not performed"));
                };
                hold!(
                    performed.reply == *reply,
                    "replica {node}: {response}, but the result was {}",
                    performed.reply
                );
            }
            Outcome::Expired => {
                let expired = history.may_expire(client);
                hold!(expired, "replica {node}: {response}, but no such session was evicted");
            }
            Outcome::Busy => {}
        }
        Ok(())
    }
}

/// Section 4.5: a read sees every command that was answered, and every state that was read, before
/// it began.
#[derive(Default)]
pub(crate) struct ReadsTheLatest {
    /// Everything below this slot has been seen by some client.
    seen: Option<Slot>,
    begun: BTreeMap<u64, Option<Slot>>,
}

impl Property for ReadsTheLatest {
    fn name(&self) -> &'static str {
        "4.5 read"
    }

    fn check(&mut self, event: &Event<'_>, history: &History) -> Result<(), String> {
        if let Event::Answered { client, cid } = event {
            let performed = history.performed.get(&(*client, *cid));
            self.seen = self.seen.max(performed.map(|performed| performed.slot.next()));
        }
        if let Event::ReadBegins { id } = event {
            self.begun.insert(*id, self.seen);
        }
        if let Event::ReadReady { node, id, at } = event {
            let Some(seen) = self.begun.remove(id) else {
                return Err(format!("replica {node} serves read {id}: unknown, or again"));
            };
            hold!(
                Some(at.slot_out) >= seen,
                "read {id} at replica {node} sees the slots below {}, others saw those below {}",
                at.slot_out,
                seen.unwrap_or(Slot::FIRST)
            );
            self.seen = self.seen.max(Some(at.slot_out));
        }
        Ok(())
    }
}
