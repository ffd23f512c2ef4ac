//! Multi-Paxos after *Paxos Made Moderately Complex* (van Renesse and Altinbuken, ACM Computing
//! Surveys 47(3), 2015), called "the paper" throughout.
//!
//! This crate decides; it does not act. It has no clock, no sockets, no disk, no threads and no
//! randomness: `#![no_std]` without dependencies keeps it so. Whoever owns a [`Node`], or a role
//! alone, hands it one input at a time and carries out the [`Effect`]s that come back.
//!
//! The modules are declared in the order in which a command meets them:
//!
//! ```text
//!  client --request--> replica --propose--> leader --spawns--> commander
//!    ^                    ^                   |                    | p2a
//!    | response           | decision          | spawns             v
//!    +----- replica <-----+------ commander <-|--- p2b ------- acceptor --Persist--> disk
//!                                             v                    ^
//!                                           scout ------ p1a ------+
//! ```
//!
//! | the paper | module | invariants it upholds |
//! |---|---|---|
//! | Fig. 1, section 2.1 | [`replica`] | R1 to R5 |
//! | Fig. 7, section 2.4 | [`leader`] | C1, C2 |
//! | Fig. 6b, section 2.4 | `scout` | C2 |
//! | Fig. 6a, section 2.3 | `commander` | C1 |
//! | Fig. 4, section 2.2 | [`acceptor`] | A1 to A5 |
//! | section 2.1, WINDOW | [`reconfig`] | R5 |
//! | section 3 | [`liveness`] | none: it cannot hurt safety |
//! | section 4.2 | `catchup` | R4 |
//! | section 4.4 | [`node`] | |
//! | section 4.5 | `read` | |
//!
//! "Trap E12" and the like are explained in `docs/paper-map.md`: places where the paper is silent
//! or wrong, or where implementations went wrong, and what is done here.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod client;
pub mod replica;
pub mod session;

pub mod leader;
mod scout;

mod commander;

pub mod acceptor;

mod catchup;
pub mod liveness;
mod read;
pub mod reconfig;

pub mod node;
pub mod setup;

pub mod effect;
pub mod message;
pub mod types;
pub mod wire;

mod display;
mod progress;
mod quorum;
mod ring;

pub use client::Client;
pub use effect::{Effect, Outbox, Outcome, Record, Response};
pub use liveness::{Time, Timing};
pub use message::{Envelope, Message};
pub use node::Node;
pub use reconfig::{Config, Members, Quorums, Reconfiguration, Reconfigured, Schedule};
pub use replica::{InvalidSnapshot, StateMachine};
pub use setup::{RecoverError, Roles, Setup};
pub use types::{Ballot, ClientId, Command, Decree, NodeId, Op, PValue, Payload, Slot};

/// Stops the process if one of the paper's invariants does not hold, in release builds too: a
/// replica that has gone wrong must not go on.
#[macro_export]
macro_rules! invariant {
    ($name:ident, $condition:expr, $($why:tt)+) => {
        assert!(
            $condition,
            "invariant {} violated: {}",
            stringify!($name),
            format_args!($($why)+)
        )
    };
}
