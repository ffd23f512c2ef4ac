//! Messages in words, and short names for sessions.

use std::collections::BTreeMap;

use synod::protocol::{Ask, Tell};
use synod_paxos::{ClientId, Command, Decree, Message, Payload};
use synod_sim::recorder::Content;

/// Most characters of a message or a value.
const TEXT_MAX: usize = 300;
/// Most commands that a message can be found by.
const COMMANDS_MAX: usize = 256;

/// Sessions have numbers of 64 bits, which nobody can tell apart. Those of clients are made from
/// the client's number; the others are those of nodes, which say that they have started.
#[derive(Default)]
pub(super) struct Sessions(BTreeMap<u64, String>);

impl Sessions {
    /// `c3#7` is command 7 of client 3, `c3.2#7` that of its second session.
    pub(super) fn command(&mut self, client: ClientId, cid: u64) -> String {
        format!("{}#{cid}", self.name(client.number))
    }

    fn name(&mut self, number: u64) -> &str {
        let (client, session) = (number >> 32, number & u64::from(u32::MAX));
        let others = self.0.values().filter(|name| name.starts_with('s')).count();
        self.0.entry(number).or_insert_with(|| match (client, session) {
            (1..1024, 1) => format!("c{}", client - 1),
            (1..1024, _) => format!("c{}.{session}", client - 1),
            _ => format!("s{}", others + 1),
        })
    }

    /// Commands in the paper's notation, `c4294967297@5#3`, by their short names.
    pub(super) fn rename(&mut self, text: &str) -> String {
        let mut renamed = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find('c') {
            let (before, from) = rest.split_at(start);
            renamed.push_str(before);
            let found = command(from).filter(|_| !before.ends_with(char::is_alphanumeric));
            rest = match found {
                Some((number, after)) => {
                    renamed.push_str(self.name(number));
                    after
                }
                None => {
                    renamed.push('c');
                    &from[1..]
                }
            };
        }
        renamed + rest
    }
}

/// The session's number, if a command begins here, and what follows from `#` on.
fn command(text: &str) -> Option<(u64, &str)> {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let text = text.strip_prefix('c')?;
    let (number, mut rest) = text.split_at(digits(text));
    if let Some(born) = rest.strip_prefix('@') {
        rest = &born[digits(born)..];
    }
    Some((number.parse().ok()?, rest)).filter(|(_, rest)| rest.starts_with('#'))
}

/// Only the beginning of a long text.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// What kind of a message it is, its text, and its commands.
pub(super) fn describe(
    content: Content<'_>,
    sessions: &mut Sessions,
    commands: &mut Vec<String>,
) -> (&'static str, String) {
    match content {
        Content::Message(message) => {
            let carried = decrees(message).into_iter().flat_map(Decree::commands);
            for Command { client, cid, .. } in carried.take(COMMANDS_MAX) {
                commands.push(sessions.command(*client, *cid));
            }
            (message.kind(), message.to_string())
        }
        Content::Ask(Ask::Command(command)) => {
            commands.push(sessions.command(command.client, command.cid));
            ("request", format!("request {command}"))
        }
        Content::Ask(Ask::Read { id, level, .. }) => ("read", format!("read {id}, {level:?}")),
        Content::Ask(Ask::Manage { id, what }) => ("manage", format!("manage {id}, {what:?}")),
        Content::Tell(session, tell) => {
            let name = |cid: u64| match session {
                Some(session) => sessions.command(session, cid),
                None => format!("#{cid}"),
            };
            let (kind, text, command) = told(tell, name);
            commands.extend(command.filter(|_| session.is_some()));
            (kind, text)
        }
    }
}

/// What a client is told, and about which command.
fn told(
    tell: &Tell<'_>,
    name: impl FnOnce(u64) -> String,
) -> (&'static str, String, Option<String>) {
    match tell {
        Tell::Done { cid, reply } => {
            let command = name(*cid);
            let text = format!("response {command} = {}", Payload::from(*reply));
            ("response", text, Some(command))
        }
        Tell::Refused { cid, why } => {
            let command = name(*cid);
            ("refused", format!("refused {command}: {why}"), Some(command))
        }
        Tell::Expired { cid } => {
            let command = name(*cid);
            ("expired", format!("expired {command}"), Some(command))
        }
        Tell::Answer { id, answer } => {
            ("answer", format!("answer {id} = {}", Payload::from(*answer)), None)
        }
        Tell::ReadRefused { id, why } => ("refused", format!("refused read {id}: {why}"), None),
        Tell::Report { id, .. } => ("report", format!("report {id}"), None),
        Tell::Leader { node: Some(node) } => ("leader", format!("leader {node}"), None),
        Tell::Leader { node: None } => ("leader", "leader unknown".to_owned(), None),
        Tell::Members { epoch, members } => {
            let nodes: Vec<String> = members.iter().map(|(node, _)| node.to_string()).collect();
            ("members", format!("members of epoch {epoch}: {}", nodes.join(", ")), None)
        }
    }
}

/// The decrees that a message carries.
fn decrees(message: &Message) -> Vec<&Decree> {
    match message {
        Message::Forward(decree) => vec![decree],
        Message::Propose(propose) => vec![&propose.decree],
        Message::P1b(p1b) => p1b.accepted.iter().map(|pvalue| &pvalue.decree).collect(),
        Message::P2a(pvalue) => vec![&pvalue.decree],
        Message::Decision { decree, .. } => decree.iter().collect(),
        Message::Decisions { decrees, .. } => decrees.iter().collect(),
        Message::P1a { .. }
        | Message::P2b(_)
        | Message::SlotOut(_)
        | Message::Collect(_)
        | Message::AskSchedule
        | Message::Schedule(_)
        | Message::Learn(_)
        | Message::FetchSnapshot { .. }
        | Message::SnapshotChunk(_)
        | Message::ReadQuery { .. }
        | Message::ReadReply { .. }
        | Message::Ping { .. }
        | Message::Pong { .. }
        | Message::Heartbeat { .. }
        | Message::TakeOver { .. }
        | Message::Lease(_) => Vec::new(),
    }
}
