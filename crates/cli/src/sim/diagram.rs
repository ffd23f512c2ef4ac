//! A simulated run as a space-time diagram: its messages, its faults, and what every node
//! remembered, from turn to turn.

mod index;
mod words;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use synod_paxos::NodeId;
use synod_sim::{
    Plan, Recorder, Violation,
    plan::{Fault, OPERATORS},
    recorder::{Content, Name, Party, Seen},
};

use super::{account::meaning, schedule::details};
use crate::trace::page::{Arrow, Context, Mark, Memory, Process, Trace, Turn};
use index::Index;
use words::Sessions;

/// Most messages in a diagram, and most bytes that they have together: earlier ones are left out,
/// for a run that fails does so at its end.
const MESSAGES_MAX: usize = 50_000;
const MESSAGE_BYTES_MAX: usize = 8_000_000;
/// Most bytes of what nodes remembered: earlier turns are summed up.
const TURN_BYTES_MAX: usize = 8_000_000;
/// Most signs beside the messages.
const MARKS_MAX: usize = 20_000;
/// What a row of the page has about, besides its text.
const WEIGHT: usize = 20;

/// What a node remembers, by variable.
type State = BTreeMap<Name, String>;

/// Takes down a run, as much of its end as a page may hold.
pub(super) struct Diagram {
    /// Clients and operators have the first columns.
    callers: usize,
    nodes: usize,
    sessions: Sessions,
    messages: VecDeque<Sent>,
    message_bytes: usize,
    dropped: usize,
    turns: VecDeque<Looked>,
    turn_bytes: usize,
    /// How many turns have been summed up.
    first: usize,
    /// By node: the state after those of its turns that have been summed up, and when that was.
    states: BTreeMap<NodeId, (u64, State)>,
    /// Whose turn it is, and its place among all turns if anything has come of it.
    turn: Option<(NodeId, Option<usize>)>,
    /// The last turn of each node.
    last: BTreeMap<NodeId, usize>,
    /// The ballot of each node's leader.
    ballots: BTreeMap<NodeId, String>,
    marks: VecDeque<Mark>,
    now: u64,
}

/// A message, with its number and its commands.
struct Sent {
    number: u64,
    arrow: Arrow,
    context: Context,
    commands: Vec<String>,
}

/// A turn in which something came about.
struct Looked {
    node: NodeId,
    at: u64,
    forgets: bool,
    changes: Vec<(Name, Option<String>)>,
}

impl Diagram {
    pub(super) fn new(plan: &Plan) -> Self {
        let cluster = &plan.cluster;
        Self {
            callers: plan.workload.clients as usize + OPERATORS,
            nodes: (cluster.full + cluster.witnesses + cluster.read_copies) as usize,
            sessions: Sessions::default(),
            messages: VecDeque::new(),
            message_bytes: 0,
            dropped: 0,
            turns: VecDeque::new(),
            turn_bytes: 0,
            first: 0,
            states: BTreeMap::new(),
            turn: None,
            last: BTreeMap::new(),
            ballots: BTreeMap::new(),
            marks: VecDeque::new(),
            now: 0,
        }
    }

    /// The page, of a run that came to this.
    pub(super) fn page(self, title: &str, outcome: &Result<(), Violation>) -> String {
        self.trace(title, outcome).to_html()
    }

    fn trace(mut self, title: &str, outcome: &Result<(), Violation>) -> Trace {
        let violation = outcome.as_ref().err().map(|Violation { property, what }| {
            format!("{property} is violated ({}): {what}", meaning(property))
        });
        if let Err(Violation { property, .. }) = outcome {
            self.mark(None, "violation", format!("{property} is violated"), None);
        }
        let mut index = Index::default();
        let turns = self.turns(&mut index);
        let (summed_up, first) = (turns.len() - self.turns.len(), self.first);
        let place = |turn: usize| Some(turn.checked_sub(first)? + summed_up);
        let messages = std::mem::take(&mut self.messages).into_iter().map(|sent| {
            let Sent { mut arrow, context, commands, .. } = sent;
            let commands = commands.into_iter().map(|name| index.commands.number(name)).collect();
            let (sent, received) = (context.sent.and_then(place), context.received.and_then(place));
            arrow.context = Some(Context { sent, received, commands, ..context });
            arrow
        });
        let messages = messages.collect();
        Trace {
            title: title.to_owned(),
            processes: self.processes(),
            messages,
            marks: self.marks.into(),
            dropped: self.dropped,
            violation: violation.map(|text| self.sessions.rename(&text)),
            memory: Some(Memory {
                variables: index.variables.names(),
                values: index.values.names(),
                commands: index.commands.names(),
                turns,
            }),
        }
    }

    fn processes(&self) -> Vec<Process> {
        let clients = self.callers - OPERATORS;
        let caller = |i: usize| match i.checked_sub(clients) {
            None => format!("client {i}"),
            Some(operator) => format!("operator {}", operator + 1),
        };
        let callers = (0..self.callers).map(|i| Process { name: caller(i), role: "client" });
        let nodes = (1..=self.nodes).map(|i| Process { name: format!("node {i}"), role: "node" });
        callers.chain(nodes).collect()
    }

    fn turns(&self, index: &mut Index) -> Vec<Turn> {
        let mut turns = Vec::new();
        for (node, (at, state)) in &self.states {
            let change = |(name, value): (&Name, &String)| index.change(*name, Some(value));
            let changes = state.iter().map(change).collect();
            turns.push(Turn { process: self.node(*node), at: *at, forgets: true, changes });
        }
        for Looked { node, at, forgets, changes } in &self.turns {
            let change =
                |(name, value): &(Name, Option<String>)| index.change(*name, value.as_deref());
            let changes = changes.iter().map(change).collect();
            turns.push(Turn { process: self.node(*node), at: *at, forgets: *forgets, changes });
        }
        turns
    }

    fn column(&mut self, party: Party) -> usize {
        match party {
            Party::Client(client) => client,
            Party::Node(node) => {
                self.nodes = self.nodes.max(node.0 as usize);
                self.node(node)
            }
        }
    }

    fn node(&self, node: NodeId) -> usize {
        self.callers + node.0 as usize - 1
    }

    fn mark(&mut self, who: Option<Party>, kind: &'static str, text: String, until: Option<u64>) {
        if self.marks.len() == MARKS_MAX {
            self.marks.pop_front();
        }
        let process = who.map(|party| self.column(party));
        self.marks.push_back(Mark { at: self.now, process, kind, text, until });
    }

    /// The place of this turn, which is not for nothing.
    fn this_turn(&mut self, of: NodeId) -> Option<usize> {
        let (node, place) = self.turn.filter(|(node, _)| *node == of)?;
        let place = place.unwrap_or_else(|| self.push(node, false));
        self.turn = Some((node, Some(place)));
        Some(place)
    }

    fn push(&mut self, node: NodeId, forgets: bool) -> usize {
        let place = self.first + self.turns.len();
        self.turns.push_back(Looked { node, at: self.now, forgets, changes: Vec::new() });
        self.turn_bytes += WEIGHT;
        self.last.insert(node, place);
        place
    }

    fn remembers(&mut self, node: NodeId, name: Name, value: Option<&str>) {
        match (name, value) {
            (("leader", "ballot_num", None), Some(ballot)) => {
                self.ballots.insert(node, ballot.to_owned());
            }
            (("leader", "active", None), Some(active)) => self.is_active(node, active == "true"),
            _ => {}
        }
        let value = value.map(|value| words::cut(&self.sessions.rename(value)));
        let weight = WEIGHT + value.as_ref().map_or(0, String::len);
        if self.this_turn(node).is_some()
            && let Some(turn) = self.turns.back_mut()
        {
            turn.changes.push((name, value));
            self.turn_bytes += weight;
        }
        while self.turn_bytes > TURN_BYTES_MAX && self.turns.len() > 1 {
            self.sum_up();
        }
    }

    fn remark(&mut self, who: Party, text: &str) {
        let kind = if text.starts_with("has a snapshot") { "snapshot" } else { "remark" };
        self.mark(Some(who), kind, text.to_owned(), None);
    }

    fn is_active(&mut self, node: NodeId, active: bool) {
        let ballot = self.ballots.get(&node).cloned().unwrap_or_default();
        let who = Some(Party::Node(node));
        if active {
            self.mark(who, "adopted", format!("active in ballot {ballot}"), None);
        } else if ballot != "⊥" && self.last.contains_key(&node) {
            self.mark(who, "preempted", "active no more".to_owned(), None);
        }
    }

    /// Leaves the first turn out, but for the state that it led to.
    fn sum_up(&mut self) {
        let Some(Looked { node, at, forgets, changes }) = self.turns.pop_front() else { return };
        self.first += 1;
        let (summed_up, state) = self.states.entry(node).or_default();
        *summed_up = at;
        if forgets {
            state.clear();
        }
        self.turn_bytes -= WEIGHT;
        for (name, value) in changes {
            self.turn_bytes -= WEIGHT + value.as_ref().map_or(0, String::len);
            match value {
                Some(value) => drop(state.insert(name, value)),
                None => drop(state.remove(&name)),
            }
        }
    }

    fn sends(&mut self, number: u64, from: Party, to: Party, content: Content<'_>) {
        let mut commands = Vec::new();
        let (kind, text) = words::describe(content, &mut self.sessions, &mut commands);
        let (ballot, slot) = match content {
            Content::Message(message) => (message.ballot(), message.slot()),
            Content::Ask(_) | Content::Tell(..) => (None, None),
        };
        let sent = match from {
            Party::Node(node) => self.this_turn(node).or_else(|| self.last.get(&node).copied()),
            Party::Client(_) => None,
        };
        let arrow = Arrow {
            from: self.column(from),
            to: self.column(to),
            sent: self.now,
            received: None,
            kind,
            text: words::cut(&self.sessions.rename(&text)),
            ballot: ballot.map(|ballot| ballot.to_string()),
            slot: slot.map(|slot| slot.0),
            context: None,
        };
        let context = Context { sent, ..Context::default() };
        self.keep(Sent { number, arrow, context, commands });
    }

    fn keep(&mut self, sent: Sent) {
        self.message_bytes += weight(&sent);
        self.messages.push_back(sent);
        while self.messages.len() > MESSAGES_MAX || self.message_bytes > MESSAGE_BYTES_MAX {
            let Some(first) = self.messages.pop_front() else { break };
            self.message_bytes -= weight(&first);
            self.dropped += 1;
        }
    }

    fn find(&mut self, number: u64) -> Option<&mut Sent> {
        let place = self.messages.binary_search_by_key(&number, |sent| sent.number).ok()?;
        self.messages.get_mut(place)
    }

    fn looks(&mut self, number: u64) {
        let (now, callers) = (self.now, self.callers);
        let Some(Sent { arrow, .. }) = self.find(number) else { return };
        arrow.received = Some(now);
        if arrow.to < callers {
            return;
        }
        let turn = self.turn.and_then(|(node, _)| self.this_turn(node));
        if let Some(Sent { context, .. }) = self.find(number) {
            context.received = turn;
        }
    }

    fn doubles(&mut self, number: u64, copy: u64) {
        let Some(Sent { arrow, context, commands, .. }) = self.find(number) else { return };
        let (mut arrow, context) = (arrow.clone(), context.clone());
        arrow.text += " (a copy)";
        let commands = commands.clone();
        self.keep(Sent { number: copy, arrow, context, commands });
    }

    fn fault(&mut self, fault: &Fault) {
        let fields = serde_json::to_value(fault).unwrap_or_default();
        let node = fields["node"].as_u64().filter(|node| (1..=self.nodes as u64).contains(node));
        let who = node.and_then(|node| Some(Party::Node(NodeId(u32::try_from(node).ok()?))));
        let until = fields["lasts"].as_u64().map(|lasts| self.now.saturating_add(lasts));
        let details = details(fault);
        let separator = if details.is_empty() { "" } else { ": " };
        self.mark(who, "fault", format!("{}{separator}{details}", fault.name()), until);
    }
}

impl Recorder for Diagram {
    fn record(&mut self, at: Duration, what: Seen<'_>) {
        self.now = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        match what {
            Seen::Turn(node) => self.turn = Some((node, None)),
            Seen::Looks(number) => self.looks(number),
            Seen::Remembers(node, name, value) => self.remembers(node, name, value),
            Seen::Sends { number, from, to, content } => self.sends(number, from, to, content),
            Seen::Doubles { number, copy } => self.doubles(number, copy),
            Seen::Loses(number, why) => {
                if let Some(sent) = self.find(number) {
                    sent.context.lost = Some(why);
                }
            }
            Seen::Starts(node, text) => {
                self.mark(Some(Party::Node(node)), "restart", text.to_owned(), None);
                self.push(node, true);
            }
            Seen::Ends(node, text) => {
                self.mark(Some(Party::Node(node)), "crash", text.to_owned(), None);
                self.push(node, true);
            }
            Seen::Remark(who, text) => self.remark(who, text),
            Seen::Fault(fault) => self.fault(fault),
            Seen::Heals => self.mark(None, "heal", "no more faults".to_owned(), None),
        }
    }
}

/// What a message adds to the page.
fn weight(sent: &Sent) -> usize {
    2 * WEIGHT + sent.arrow.text.len() + 4 * sent.commands.len()
}

#[cfg(test)]
mod tests;
