//! The state machine of the scripts: the operations performed, in order.

use std::fmt;

use synod_paxos::{Payload, StateMachine};

/// Which operations have been performed. The result of each is the state that it makes.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Text(pub(crate) Vec<String>);

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A payload shows only the beginning of a long word.
        let shown = self.0.iter().map(|word| Payload::from(word.as_bytes()).to_string());
        let shown: Vec<String> = shown.collect();
        f.write_str(if shown.is_empty() { "-" } else { "" })?;
        f.write_str(&shown.join(" "))
    }
}

impl StateMachine for Text {
    fn apply(&mut self, op: &[u8]) -> Payload {
        self.0.push(String::from_utf8_lossy(op).into_owned());
        Payload::from(self.0.join(" ").into_bytes())
    }
}

impl Text {
    /// The state as bytes.
    pub(crate) fn snapshot(&self) -> Vec<u8> {
        self.0.join(" ").into_bytes()
    }

    /// The state of these bytes, if they are one.
    pub(crate) fn restore(snapshot: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(snapshot).ok()?;
        Some(Self(text.split_whitespace().map(str::to_owned).collect()))
    }
}
