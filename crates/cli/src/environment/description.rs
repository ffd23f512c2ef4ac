//! An environment as people write it down: a TOML file, every part of which may be left out.
//!
//! What it says is not checked here beyond its form; [`plan`](super::plan) does that.

use serde::Deserialize;
use toml::Spanned;

/// A value, and where in the file it stands.
pub(crate) type At<T> = Spanned<T>;

/// A value that stands in no file: a default, or given on the command line.
pub(crate) fn nowhere<T>(value: T) -> At<T> {
    Spanned::new(0..0, value)
}

/// The whole file.
#[derive(Deserialize, Clone, Default, Debug)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Description {
    /// What there is to see, in a line; printed when the run starts.
    pub(crate) about: String,
    pub(crate) processes: Processes,
    pub(crate) workload: Workload,
    pub(crate) protocol: Protocol,
    pub(crate) network: Network,
    pub(crate) timing: Timing,
    /// They happen in the order in which they stand.
    pub(crate) event: Vec<At<Event>>,
}

/// How many processes of each kind there are at the start.
#[derive(Deserialize, Clone, Debug)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Processes {
    pub(crate) clients: At<u32>,
    pub(crate) replicas: At<u32>,
    pub(crate) leaders: At<u32>,
    pub(crate) acceptors: At<u32>,
    /// Majorities, if left out.
    pub(crate) quorums: Option<At<Quorums>>,
}

/// How many acceptors have to answer.
#[derive(Deserialize, Clone, Copy, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Quorums {
    pub(crate) phase1: u32,
    pub(crate) phase2: u32,
}

/// What the clients do.
#[derive(Deserialize, Clone, Debug)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Workload {
    /// Of each client.
    pub(crate) commands: At<u64>,
    /// Most commands of one client that have not been answered.
    pub(crate) in_flight: At<usize>,
}

/// What all processes have to agree on beforehand.
#[derive(Deserialize, Clone, Debug)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Protocol {
    /// The paper's WINDOW.
    pub(crate) window: At<u64>,
    /// A replica writes a snapshot every so many slots.
    pub(crate) snapshot: At<u64>,
}

/// What the network does to messages.
#[derive(Deserialize, Clone, Debug)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Network {
    /// The part of the messages that are lost.
    pub(crate) loss: At<f64>,
    /// The part of the messages that arrive twice.
    pub(crate) duplication: At<f64>,
    /// The part of the messages that are held back, so that later ones overtake them.
    pub(crate) reordering: At<f64>,
    /// The longest that a message is held back by reordering.
    pub(crate) reordering_ms: At<f64>,
    /// Least and longest delay of every message.
    pub(crate) delay_ms: At<[f64; 2]>,
    /// Of all that is drawn by lot.
    pub(crate) seed: u64,
}

/// How long things may take.
#[derive(Deserialize, Clone, Debug)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Timing {
    /// Between two heartbeats of a leader.
    pub(crate) heartbeat_ms: At<f64>,
    /// Between two rounds of asking again.
    pub(crate) resend_ms: At<f64>,
    /// The least silence after which a leader is replaced.
    pub(crate) patience_min_ms: At<f64>,
    /// The longest silence after which a leader is replaced.
    pub(crate) patience_max_ms: At<f64>,
    /// How long a client waits before it asks all replicas.
    pub(crate) client_ms: At<f64>,
    /// How long a run goes on in which nothing happens.
    pub(crate) give_up_ms: At<f64>,
    /// All leaders start a ballot at once, as in the paper, and not just the first.
    pub(crate) all_campaign: bool,
}

/// Something that happens to the processes: one of the last eight, at one of the first three.
#[derive(Deserialize, Clone, Default, Debug)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Event {
    /// When so many slots are decided.
    pub(crate) slot: Option<u64>,
    /// So long after the start.
    pub(crate) ms: Option<At<f64>>,
    /// So long after the event before.
    pub(crate) after_ms: Option<At<f64>>,
    pub(crate) crash: Option<Names>,
    pub(crate) restart: Option<Names>,
    /// A restart from an empty disk.
    pub(crate) restart_without_records: Option<Names>,
    /// Groups that no longer reach one another; who is in none reaches everyone.
    pub(crate) partition: Option<At<Vec<Names>>>,
    pub(crate) heal: Option<bool>,
    pub(crate) reconfigure: Option<At<Members>>,
    pub(crate) add: Option<Names>,
    pub(crate) remove: Option<Names>,
}

/// Processes by their names: `replica 1`.
pub(crate) type Names = Vec<At<String>>;

/// A new configuration. What is left out stays as it is.
#[derive(Deserialize, Clone, Default, Debug)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Members {
    pub(crate) replicas: Option<Names>,
    pub(crate) leaders: Option<Names>,
    pub(crate) acceptors: Option<Names>,
    pub(crate) quorums: Option<At<Quorums>>,
}

impl Default for Processes {
    fn default() -> Self {
        Self {
            clients: nowhere(5),
            replicas: nowhere(3),
            leaders: nowhere(3),
            acceptors: nowhere(3),
            quorums: None,
        }
    }
}

impl Default for Workload {
    fn default() -> Self {
        Self { commands: nowhere(10), in_flight: nowhere(1) }
    }
}

impl Default for Protocol {
    fn default() -> Self {
        Self { window: nowhere(16), snapshot: nowhere(64) }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self {
            loss: nowhere(0.0),
            duplication: nowhere(0.0),
            reordering: nowhere(0.0),
            reordering_ms: nowhere(5.0),
            delay_ms: nowhere([0.0, 0.0]),
            seed: 1,
        }
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat_ms: nowhere(5.0),
            resend_ms: nowhere(20.0),
            patience_min_ms: nowhere(100.0),
            patience_max_ms: nowhere(2000.0),
            client_ms: nowhere(100.0),
            give_up_ms: nowhere(30_000.0),
            all_campaign: false,
        }
    }
}
