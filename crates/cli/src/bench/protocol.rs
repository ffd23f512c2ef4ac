//! The protocols that can be put under load.

use std::{
    env, io,
    path::{Path, PathBuf},
    process::Command,
};

use clap::ValueEnum;

use super::{
    At, Error, cluster::Start, echo_target::EchoTarget, synod_target::SynodTarget, target::Target,
};

/// What the nodes speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// Synod's own
    Synod,
    /// None: servers that answer and do nothing else. It shows how much load can be generated
    Echo,
}

impl Protocol {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Synod => "synod",
            Self::Echo => "echo",
        }
    }

    /// Whether its nodes have a leader, and tell who it is.
    pub(super) fn has_leader(self) -> bool {
        match self {
            Self::Synod => true,
            Self::Echo => false,
        }
    }

    /// The nodes at these addresses, for values of `value` bytes.
    pub(super) fn target(
        self,
        addresses: &[String],
        value: usize,
        at: At,
    ) -> Result<Box<dyn Target>, Error> {
        match self {
            Self::Synod => Ok(Box::new(SynodTarget::new(addresses.to_vec(), at))),
            Self::Echo => {
                let value = u32::try_from(value).expect("the arguments bound it");
                Ok(Box::new(EchoTarget::new(addresses.to_vec(), value)))
            }
        }
    }

    /// How one of its nodes is started: this very program, under another command.
    pub(super) fn node(self, more: Vec<String>) -> io::Result<Box<Start>> {
        let program = env::current_exe()?;
        Ok(Box::new(move |number, addresses, data| {
            let mut command = Command::new(&program);
            command.args(self.arguments(number, addresses, data)).args(&more);
            command
        }))
    }

    fn arguments(self, number: usize, addresses: &[String], data: &Path) -> Vec<PathBuf> {
        match self {
            Self::Synod => {
                let (id, peers) = (number.to_string(), addresses.join(","));
                let start = ["node", "--while-stdin", "--id", &id, "--peers", &peers, "--data"];
                start.map(PathBuf::from).into_iter().chain([data.to_owned()]).collect()
            }
            Self::Echo => {
                let address = &addresses[number - 1];
                ["echo", "--while-stdin", "--listen", address].map(PathBuf::from).to_vec()
            }
        }
    }
}
