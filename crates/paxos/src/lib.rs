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
//! | section 4.3 | [`effect`], `recovery` | |
//! | section 4.4 | [`node`] | |
//! | section 4.5 | `read`, [`lease`] | |
//!
//! Three nodes in one program, with a disk that never fails and a network without delay:
//!
//! ```
//! use std::{collections::VecDeque, time::Duration};
//! use synod_paxos::*;
//!
//! struct Counter(u64);
//!
//! impl StateMachine for Counter {
//!     fn apply(&mut self, op: &[u8]) -> Payload {
//!         self.0 += u64::from(op[0]);
//!         Payload::from(self.0.to_le_bytes().as_slice())
//!     }
//! }
//!
//! let ids = [1, 2, 3].map(NodeId);
//! let window = 16;
//! let schedule = Schedule::new(Members::new(ids, ids, ids)?, window);
//! let mut nodes = ids.map(|id| {
//!     let mut out = Outbox::new(id);
//!     let node = Node::format(Setup::new(id, schedule.clone()), Counter(0), &mut out);
//!     out.drain().for_each(drop); // A real disk: append and sync these records first.
//!     (node, out)
//! });
//!
//! let mut client = Client::new(ClientId { born: Slot::FIRST, number: 1 });
//! let command = client.request(Op::Apply(Payload::from([5].as_slice())));
//! nodes[0].0.campaign(&mut nodes[0].1);
//! nodes[1].0.request(command, &mut nodes[1].1); // Any node will do.
//!
//! let (now, mut network, mut answer) = (Duration::ZERO, VecDeque::new(), None);
//! while answer.is_none() {
//!     for (node, out) in &mut nodes {
//!         node.flush(out);
//!         for effect in out.drain() {
//!             match effect {
//!                 Effect::Persist(_) => {} // A real disk: append, and sync before what waits.
//!                 Effect::Send(to, message) | Effect::SendWhenDurable(to, message) => {
//!                     network.push_back((node.id(), to, message));
//!                 }
//!                 Effect::Respond(response) => answer = Some(response.outcome),
//!                 Effect::ReadReady(_) | Effect::Retired(_) => {}
//!                 // Nobody falls behind here.
//!                 Effect::ServeSnapshot { .. } | Effect::KeepChunk { .. } => {}
//!             }
//!         }
//!     }
//!     for (from, to, message) in network.drain(..) {
//!         let (node, out) = &mut nodes[to.0 as usize - 1];
//!         node.step(now, from, message, out);
//!     }
//! }
//! assert_eq!(answer, Some(Outcome::Done(Payload::from(5_u64.to_le_bytes().as_slice()))));
//! # Ok::<(), reconfig::InvalidMembers>(())
//! ```
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
pub mod lease;
pub mod liveness;
mod read;
pub mod reconfig;

pub mod node;
mod recovery;
pub mod setup;
pub mod shelf;

pub mod effect;
pub mod message;
pub mod types;
pub mod wire;

mod display;
mod progress;
mod quorum;
mod ring;
mod variables;

pub use client::Client;
pub use effect::{Effect, Outbox, Outcome, Record, Response};
pub use lease::Lease;
pub use liveness::{Time, Timing};
pub use message::{Envelope, Message};
pub use node::Node;
pub use read::Level;
pub use reconfig::{Config, Members, Quorums, Reconfiguration, Reconfigured, Schedule};
pub use replica::{InvalidSnapshot, StateMachine};
pub use setup::{Limits, RecoverError, Roles, Setup};
pub use types::{Ballot, ClientId, Command, Decree, NodeId, Op, PValue, Payload, Slot};
pub use variables::Variable;

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
