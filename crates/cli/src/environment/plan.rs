//! A description that has been checked: whatever runs has come through here.

use std::{fmt, ops::Range, path::Path, time::Duration};

use synod_paxos::{Members, NodeId, Quorums, Timing, reconfig, session};

use super::{
    cast::{Cast, Role},
    description::{At, Description, Network, Processes},
    schedule::{self, Event},
};

/// Most clients: each is a thread.
const CLIENTS_MAX: u32 = 1000;
/// Most members of one role: what a configuration may have.
#[expect(clippy::cast_possible_truncation, reason = "64 is small")]
const MEMBERS_MAX: u32 = reconfig::MEMBERS_MAX as u32;

/// All that a run needs to know.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) title: String,
    pub(crate) about: String,
    /// All processes that there ever are, but for the clients.
    pub(crate) cast: Cast,
    /// Those of the first configuration.
    pub(crate) members: Members,
    pub(crate) clients: u32,
    /// Of each client.
    pub(crate) commands: u64,
    pub(crate) in_flight: usize,
    pub(crate) window: u64,
    /// Slots between two snapshots.
    pub(crate) snapshot: u64,
    pub(crate) faults: Option<Faults>,
    pub(crate) timing: Timing,
    /// How long a client waits before it asks all replicas.
    pub(crate) client_patience: Duration,
    /// How long a run goes on in which nothing happens.
    pub(crate) give_up: Duration,
    pub(crate) all_campaign: bool,
    pub(crate) seed: u64,
    pub(crate) events: Vec<Event>,
}

/// What the network does to each message.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Faults {
    pub(crate) loss: f64,
    pub(crate) duplication: f64,
    pub(crate) reordering: f64,
    /// The longest that a message is held back by reordering.
    pub(crate) held_back: Duration,
    pub(crate) delay: (Duration, Duration),
}

/// Why a description cannot be run, and where it says so.
#[derive(Debug)]
pub(crate) struct Complaint {
    at: Option<Range<usize>>,
    what: String,
}

impl Complaint {
    pub(crate) fn new(at: Range<usize>, what: impl Into<String>) -> Self {
        // What was given on the command line, or by default, has no place.
        Self { at: Some(at).filter(|at| !at.is_empty()), what: what.into() }
    }
}

/// What is wrong with the input, in one line: `FILE:LINE:COLUMN: what, and what to do`.
#[derive(Debug)]
pub(crate) struct BadInput(String);

impl BadInput {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    fn in_file(file: &Path, text: &str, complaint: &Complaint) -> Self {
        let Complaint { at, what } = complaint;
        let file = file.display();
        let Some(before) = at.as_ref().and_then(|at| text.get(..at.start)) else {
            return Self(format!("{file}: {what}"));
        };
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
        Self(format!("{file}:{line}:{column}: {what}"))
    }
}

impl fmt::Display for BadInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads the file, if there is one, and lets `amend` have the last word.
pub(crate) fn read(
    file: Option<&Path>,
    amend: impl FnOnce(&mut Description),
) -> Result<Plan, BadInput> {
    let Some(file) = file else {
        let mut description = Description::default();
        amend(&mut description);
        return check("the paper's environment", description).map_err(|c| BadInput(c.what));
    };
    let text = std::fs::read_to_string(file)
        .map_err(|error| BadInput(format!("{}: cannot be read: {error}", file.display())))?;
    let parsed = toml::from_str::<Description>(&text).map_err(|error| Complaint {
        at: error.span().map(|span| span.start..span.end.max(span.start + 1)),
        what: error.message().trim_end().replace('\n', ", "),
    });
    let title = file.file_stem().unwrap_or(file.as_os_str()).to_string_lossy();
    parsed
        .and_then(|mut description| {
            amend(&mut description);
            check(&title, description)
        })
        .map_err(|complaint| BadInput::in_file(file, &text, &complaint))
}

/// Checks all but the form of the description.
fn check(title: &str, description: Description) -> Result<Plan, Complaint> {
    let Description { about, processes, workload, protocol, network, timing, event } = description;
    let clients = within("clients", &processes.clients, 1, CLIENTS_MAX)?;
    let (mut cast, members) = first_members(&processes)?;
    let client_ms = milliseconds("client_ms", &timing.client_ms, 1.0)?;
    let plan = Plan {
        title: title.to_owned(),
        about,
        clients,
        commands: within("commands", &workload.commands, 1, 1 << 40)?,
        in_flight: within("in_flight", &workload.in_flight, 1, IN_FLIGHT_MAX)?,
        window: within("window", &protocol.window, 1, reconfig::WINDOW_MAX)?,
        snapshot: within("snapshot", &protocol.snapshot, 1, 1 << 20)?,
        faults: faults(&network)?,
        client_patience: client_ms,
        give_up: milliseconds("give_up_ms", &timing.give_up_ms, 1.0)?,
        all_campaign: timing.all_campaign,
        timing: liveness(&timing)?,
        seed: network.seed,
        events: schedule::check(event, &mut cast, &members, clients)?,
        members,
        cast,
    };
    Ok(plan)
}

/// Most commands of one client at one time; its session could hold twice as many.
#[expect(clippy::cast_possible_truncation, reason = "16,384 is small")]
const IN_FLIGHT_MAX: usize = session::IN_FLIGHT_MAX as usize / 2;

fn first_members(processes: &Processes) -> Result<(Cast, Members), Complaint> {
    let mut cast = Cast::default();
    let mut start = |role, name, number| -> Result<Vec<NodeId>, Complaint> {
        let number = within(name, number, 1, MEMBERS_MAX)?;
        Ok((1..=number).map(|number| cast.join(role, number)).collect())
    };
    let replicas = start(Role::Replica, "replicas", &processes.replicas)?;
    let leaders = start(Role::Leader, "leaders", &processes.leaders)?;
    let acceptors = start(Role::Acceptor, "acceptors", &processes.acceptors)?;
    let members = Members::new(replicas, leaders, acceptors);
    let members = members.and_then(|members| match &processes.quorums {
        Some(quorums) => members.with_quorums(quorums.get_ref().into()),
        None => Ok(members),
    });
    let at = processes.quorums.as_ref().map_or(0..0, At::span);
    members.map(|members| (cast, members)).map_err(|error| Complaint::new(at, error.to_string()))
}

fn faults(network: &Network) -> Result<Option<Faults>, Complaint> {
    let [least, longest] = *network.delay_ms.get_ref();
    let at = network.delay_ms.span();
    let delay = |ms| milliseconds("delay_ms", &At::new(at.clone(), ms), 0.0);
    let faults = Faults {
        loss: part("loss", &network.loss)?,
        duplication: part("duplication", &network.duplication)?,
        reordering: part("reordering", &network.reordering)?,
        held_back: milliseconds("reordering_ms", &network.reordering_ms, 0.0)?,
        delay: (delay(least)?, delay(longest)?),
    };
    if least > longest {
        let what = format!("delay_ms is [least, longest], but {least} is more than {longest}");
        return Err(Complaint::new(at, what));
    }
    let parts = [faults.loss, faults.duplication, faults.reordering];
    let some = parts.iter().any(|part| *part > 0.0) || longest > 0.0;
    Ok(some.then_some(faults))
}

fn liveness(timing: &super::description::Timing) -> Result<Timing, Complaint> {
    let checked = Timing {
        heartbeat: milliseconds("heartbeat_ms", &timing.heartbeat_ms, 0.5)?,
        resend: milliseconds("resend_ms", &timing.resend_ms, 0.5)?,
        patience_min: milliseconds("patience_min_ms", &timing.patience_min_ms, 1.0)?,
        patience_max: milliseconds("patience_max_ms", &timing.patience_max_ms, 1.0)?,
        lease: None,
    };
    let least = checked.patience_min;
    if least < 2 * checked.heartbeat {
        let what = "patience_min_ms must be at least twice heartbeat_ms: \
                    a single late heartbeat says nothing";
        return Err(Complaint::new(timing.patience_min_ms.span(), what));
    }
    if least > checked.patience_max {
        let what = "patience_max_ms must be at least patience_min_ms";
        return Err(Complaint::new(timing.patience_max_ms.span(), what));
    }
    Ok(checked)
}

/// The number, if it is in this range.
fn within<N: Copy + PartialOrd + fmt::Display>(
    name: &str,
    number: &At<N>,
    least: N,
    most: N,
) -> Result<N, Complaint> {
    let n = *number.get_ref();
    if (least..=most).contains(&n) {
        return Ok(n);
    }
    let what = format!("{name} must be from {least} to {most}, but is {n}");
    Err(Complaint::new(number.span(), what))
}

fn part(name: &str, part: &At<f64>) -> Result<f64, Complaint> {
    let most = 0.95; // Nothing would ever arrive, or end, with a part of 1.
    within(name, part, 0.0, most)
}

/// A time in milliseconds, as people write it.
pub(crate) fn milliseconds(name: &str, ms: &At<f64>, least: f64) -> Result<Duration, Complaint> {
    let most = 600_000.0;
    Ok(Duration::from_secs_f64(within(name, ms, least, most)? / 1000.0))
}

impl From<&super::description::Quorums> for Quorums {
    fn from(quorums: &super::description::Quorums) -> Self {
        Self { phase1: quorums.phase1, phase2: quorums.phase2 }
    }
}
