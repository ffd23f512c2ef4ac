//! What a run has come to: a table to look at, an object to compute with, and what went wrong.

use std::{collections::BTreeMap, fmt, time::Duration};

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use serde::Serialize;
use synod_paxos::NodeId;

use super::{
    Record,
    cast::Role,
    client::{self, Account},
    machine::Machine,
    plan::Plan,
    process::Ended,
    tally::Tally,
};

/// The summary of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    commands: u64,
    answered: u64,
    agree: bool,
    /// Of the replicas, if they agree.
    state: Option<i64>,
    /// The hash of all that was performed, if the replicas agree.
    hash: Option<String>,
    slots: u64,
    ballots: u64,
    reconfigurations: u64,
    crashes: u64,
    restarts: u64,
    /// Restarts that were refused, because the records were gone.
    refused: u64,
    commands_per_second: f64,
    seconds: f64,
    latency_p50_us: f64,
    latency_p99_us: f64,
    messages: BTreeMap<&'static str, u64>,
    messages_lost: u64,
    messages_duplicated: u64,
    /// What went wrong, in words; nothing if all is well.
    problems: Vec<String>,
    #[serde(skip)]
    replicas: Vec<Row>,
}

/// A replica at the end of the run.
#[derive(Debug)]
struct Row {
    name: String,
    /// Whether it is in the last configuration, and was running at the end.
    counts: bool,
    machine: Machine,
    slots: u64,
}

/// A run that has ended.
pub(crate) struct Run<'a> {
    pub(crate) plan: &'a Plan,
    /// The replicas of the last configuration that were running at the end.
    pub(crate) running: Vec<NodeId>,
    pub(crate) accounts: Vec<Account>,
    pub(crate) reconfigurations: u64,
    pub(crate) tally: &'a Tally,
}

impl Summary {
    pub(super) fn new(run: Run<'_>, record: Record) -> Self {
        let Record { ended, crashes, restarts, refused, mut problems } = record;
        let Run { plan, running, accounts, reconfigurations, tally: operator } = run;
        let commands = plan.commands * u64::from(plan.clients);
        let answered = accounts.iter().map(|account| account.answered).sum();
        let replicas = rows(plan, &running, &ended);
        problems.extend(unanswered(plan, &accounts));
        let settled = problems.is_empty();
        problems.extend(disagreements(&replicas, commands, settled));

        let mut tally = Tally::default();
        accounts.iter().for_each(|account| tally.add(&account.tally));
        ended.iter().for_each(|(_, ended)| tally.add(&ended.tally));
        tally.add(operator);
        let mut latency = client::latencies();
        accounts.iter().for_each(|account| latency.add(&account.latency).unwrap_or_default());
        let microseconds = |quantile| nanoseconds(latency.value_at_quantile(quantile)) * 1e6;
        let finished = accounts.iter().map(|account| account.finished).max();
        let seconds = finished.unwrap_or_default().as_secs_f64();

        let mut counting = replicas.iter().filter(|row| row.counts);
        let first = counting.next().map(|row| row.machine);
        let agree = first.is_some() && counting.all(|row| Some(row.machine) == first);
        let agreed = first.filter(|_| agree);
        Self {
            commands,
            answered,
            agree,
            state: agreed.map(|machine| machine.value),
            hash: agreed.map(|machine| format!("{:016x}", machine.hash)),
            slots: replicas.iter().map(|row| row.slots).max().unwrap_or_default(),
            ballots: ended.iter().map(|(_, ended)| ended.ballots).sum(),
            reconfigurations,
            crashes,
            restarts,
            refused,
            commands_per_second: rate(answered, seconds),
            seconds,
            latency_p50_us: microseconds(0.5),
            latency_p99_us: microseconds(0.99),
            messages: tally.by_kind(),
            messages_lost: tally.lost,
            messages_duplicated: tally.duplicated,
            problems,
            replicas,
        }
    }

    /// Whether every command was answered exactly once, the replicas agree, and nothing else went
    /// wrong.
    pub(crate) fn is_well(&self) -> bool {
        self.problems.is_empty()
    }

    /// What went wrong.
    pub(crate) fn problems(&self) -> &[String] {
        &self.problems
    }

    /// The summary as one line of JSON.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers always have a JSON form")
    }
}

/// The replicas, as their last lives left them.
fn rows(plan: &Plan, running: &[NodeId], ended: &[(NodeId, Ended)]) -> Vec<Row> {
    let replicas = plan.cast.ids().filter(|id| plan.cast.name(*id).role == Role::Replica);
    let row = |id: NodeId| {
        let (_, last) = ended.iter().rev().find(|(of, _)| *of == id)?;
        Some(Row {
            name: plan.cast.name(id).to_string(),
            counts: running.contains(&id),
            machine: last.machine,
            slots: last.slot_out - 1,
        })
    };
    replicas.filter_map(row).collect()
}

fn unanswered(plan: &Plan, accounts: &[Account]) -> Vec<String> {
    let mut problems = Vec::new();
    for Account { number, answered, expired, .. } in accounts {
        let missing = plan.commands - answered - expired;
        if missing > 0 {
            problems.push(format!("client {number}: {missing} commands were not answered"));
        }
        if *expired > 0 {
            problems.push(format!("client {number}: {expired} commands met an expired session"));
        }
    }
    problems
}

/// Each command was answered, so it was performed at least once. If a replica has performed as
/// many operations as there are commands, each was performed exactly once. In a run that did not
/// settle, because something else went wrong, some may be behind.
fn disagreements(replicas: &[Row], commands: u64, settled: bool) -> Vec<String> {
    let counting: Vec<&Row> = replicas.iter().filter(|row| row.counts).collect();
    let Some(first) = counting.first() else {
        return vec!["no replica of the last configuration is running".to_owned()];
    };
    let mut problems = Vec::new();
    for row in &counting {
        let Machine { value, hash, performed } = row.machine;
        if settled && performed != commands {
            problems.push(format!("{} performed {performed} commands of {commands}", row.name));
        }
        let behind = !settled && performed != first.machine.performed;
        if row.machine != first.machine && !behind {
            let (other, reference) = (first.machine, &first.name);
            problems.push(format!(
                "{} disagrees: {value} (hash {hash:016x}), where {reference} has {} (hash {:016x})",
                row.name, other.value, other.hash
            ));
        }
    }
    problems
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits only")]
fn nanoseconds(n: u64) -> f64 {
    n as f64 / 1e9
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits only")]
fn rate(number: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { number as f64 / seconds } else { 0.0 }
}

impl fmt::Display for Summary {
    /// Three tables: the replicas, the run, the messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut replicas = table(["", "state", "hash", "commands", "slots"]);
        for Row { name, counts, machine, slots } in &self.replicas {
            let Machine { value, hash, performed } = machine;
            let name = if *counts { name.clone() } else { format!("{name} (gone)") };
            let hash = format!("{hash:016x}");
            replicas.add_row([
                name,
                value.to_string(),
                hash,
                performed.to_string(),
                slots.to_string(),
            ]);
        }
        align(&mut replicas);
        let mut run = table(["", ""]);
        let mut line = |name: &str, value: String| {
            run.add_row([name, &value]);
        };
        line("commands answered", format!("{} of {}", self.answered, self.commands));
        line("commands per second", format!("{:.0}", self.commands_per_second));
        line("seconds", format!("{:.3}", self.seconds));
        line("latency p50", latency(self.latency_p50_us));
        line("latency p99", latency(self.latency_p99_us));
        line("slots decided", self.slots.to_string());
        line("ballots used", self.ballots.to_string());
        let rare = [
            ("reconfigurations", self.reconfigurations),
            ("crashes", self.crashes),
            ("restarts", self.restarts),
            ("restarts refused", self.refused),
            ("messages lost", self.messages_lost),
            ("messages duplicated", self.messages_duplicated),
        ];
        for (name, number) in rare.into_iter().filter(|(_, number)| *number > 0) {
            line(name, number.to_string());
        }
        align(&mut run);
        let mut messages = table(["message", "sent"]);
        for (kind, number) in &self.messages {
            messages.add_row([*kind, &number.to_string()]);
        }
        align(&mut messages);
        writeln!(f, "{replicas}\n{run}\n{messages}")
    }
}

fn latency(microseconds: f64) -> String {
    if microseconds < 10_000.0 {
        format!("{microseconds:.0} µs")
    } else {
        format!("{:.1} ms", Duration::from_secs_f64(microseconds / 1e6).as_secs_f64() * 1e3)
    }
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    if header.iter().any(|name| !name.is_empty()) {
        table.set_header(header);
    }
    table
}

/// Numbers stand on the right.
fn align(table: &mut Table) {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}
