//! The arguments of `synod`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::bench::{Bench, echo::Echo};
use crate::environment::description::{Description, nowhere};
use crate::node::Start;
use crate::sim::Sim;

/// Multi-Paxos made real.
#[derive(Parser, Debug)]
#[command(name = "synod", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    /// Without a command: `run`.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) flags: Flags,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run the paper's environment: each process is a thread with an inbox
    Run(Run),
    /// Run one node of a cluster that replicates registers
    Node(Box<Start>),
    /// Run simulated clusters in which everything goes wrong, and look whether all properties hold
    Sim(Box<Sim>),
    /// Put a cluster under load, and measure how well it carries it
    Bench(Box<Bench>),
    /// Answer, and do nothing else: what `bench` compares with
    #[command(hide = true)]
    Echo(Echo),
}

#[derive(Args, Debug)]
pub(crate) struct Run {
    /// A description of the environment, such as environments/lossy.toml
    #[arg(value_name = "FILE.toml")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) flags: Flags,
}

/// What may be said about a run on the command line. It overrules the file.
#[derive(Args, Debug)]
pub(crate) struct Flags {
    /// Clients [default: 5]
    #[arg(long, value_name = "N")]
    clients: Option<u32>,
    /// Replicas [default: 3]
    #[arg(long, value_name = "N")]
    replicas: Option<u32>,
    /// Leaders [default: 3]
    #[arg(long, value_name = "N")]
    leaders: Option<u32>,
    /// Acceptors [default: 3]
    #[arg(long, value_name = "N")]
    acceptors: Option<u32>,
    /// Commands of each client [default: 10]
    #[arg(long, value_name = "N")]
    commands: Option<u64>,
    /// Commands of each client that wait for an answer at one time [default: 1]
    #[arg(long, value_name = "N")]
    in_flight: Option<usize>,
    /// Slots in flight: the paper's WINDOW [default: 16]
    #[arg(long, value_name = "N")]
    window: Option<u64>,
    /// Seed of the network's faults and of all jitter [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// A progress bar instead of every result
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Print the summary as a JSON object, on the last line
    #[arg(long)]
    pub(crate) json: bool,
    /// Write a space-time diagram of the run, to open in a browser
    #[arg(long, value_name = "FILE.html")]
    pub(crate) trace: Option<PathBuf>,
}

impl Flags {
    /// Overrules what the description says.
    pub(crate) fn amend(&self, description: &mut Description) {
        let Description { processes, workload, protocol, network, .. } = description;
        let counts = [
            (self.clients, &mut processes.clients),
            (self.replicas, &mut processes.replicas),
            (self.leaders, &mut processes.leaders),
            (self.acceptors, &mut processes.acceptors),
        ];
        for (flag, count) in counts {
            if let Some(flag) = flag {
                *count = nowhere(flag);
            }
        }
        if let Some(commands) = self.commands {
            workload.commands = nowhere(commands);
        }
        if let Some(in_flight) = self.in_flight {
            workload.in_flight = nowhere(in_flight);
        }
        if let Some(window) = self.window {
            protocol.window = nowhere(window);
        }
        if let Some(seed) = self.seed {
            network.seed = seed;
        }
    }
}
