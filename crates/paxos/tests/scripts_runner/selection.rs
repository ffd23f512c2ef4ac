//! Which messages of the network a script means.

use std::error::Error;

use synod_paxos::{Envelope, NodeId};

/// Conditions that all have to hold; none at all means everything.
#[derive(Debug)]
pub(crate) struct Selection {
    from: Option<NodeId>,
    kind: Option<String>,
    slot: Option<u64>,
    ballot: Option<String>,
    /// Most messages to take.
    pub(crate) count: usize,
    /// The sender to show instead of the true one.
    pub(crate) forged: Option<NodeId>,
}

impl Selection {
    pub(crate) fn everything() -> Self {
        Self { from: None, kind: None, slot: None, ballot: None, count: usize::MAX, forged: None }
    }

    pub(crate) fn new(conditions: &[(String, String)]) -> Result<Self, Box<dyn Error>> {
        let mut this = Self::everything();
        for (key, value) in conditions {
            match key.as_str() {
                "from" => this.from = Some(NodeId(value.parse()?)),
                "kind" => this.kind = Some(value.clone()),
                "slot" => this.slot = Some(value.parse()?),
                "ballot" => this.ballot = Some(value.clone()),
                "count" => this.count = value.parse()?,
                "as" => this.forged = Some(NodeId(value.parse()?)),
                _ => return Err(format!("messages are not selected by '{key}'").into()),
            }
        }
        Ok(this)
    }

    pub(crate) fn matches(&self, Envelope { from, message, .. }: &Envelope) -> bool {
        let ballot = || message.ballot().map(|ballot| ballot.to_string());
        self.from.is_none_or(|sender| sender == *from)
            && self.kind.as_ref().is_none_or(|kind| kind == message.kind())
            && self.slot.is_none_or(|slot| message.slot().is_some_and(|s| s.0 == slot))
            && self.ballot.as_ref().is_none_or(|wanted| ballot().as_ref() == Some(wanted))
    }
}
