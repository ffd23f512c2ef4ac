//! Replicate a state machine of your own: durable, networked, exactly-once and linearizable by
//! default.
//!
//! Three ideas: a [`StateMachine`] is what is replicated, a [`Node`] keeps one copy of it, and a
//! [`Client`] asks the nodes.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use synod::{Linearizable, Node, StateMachine};
//!
//! #[derive(Clone, Default, Serialize, Deserialize)]
//! struct Counter(u64);
//!
//! impl StateMachine for Counter {
//!     type Command = u64;
//!     type Reply = u64;
//!     type Query = ();
//!     type Answer = u64;
//!     fn apply(&mut self, add: u64) -> u64 {
//!         self.0 += add;
//!         self.0
//!     }
//!     fn query(&self, (): ()) -> u64 {
//!         self.0
//!     }
//! }
//!
//! # let data = tempfile::tempdir()?;
//! # let data = data.path();
//! # pollster::block_on(async {
//! // A cluster of one. With more, each names all, and its own id.
//! let node = Node::<Counter>::open(data)?.id(1).peers(["127.0.0.1:0"]).start().await?;
//! let counter = node.client();
//! assert_eq!(counter.call(1).await?, 1);
//! assert_eq!(counter.read(Linearizable, ()).await?, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What is under it is public, too: the [`engine`] without sockets, the [`transport`], the
//! [disk](synod_storage) and the [protocol](synod_paxos).

pub mod client;
pub mod engine;
pub mod error;
pub mod machine;
pub mod node;
pub mod protocol;
pub mod status;
pub mod transport;

mod genesis;
mod inbox;
mod membership;
mod metrics;
mod runtime;
mod system;

pub use client::{CallError, Client, Completion, Connect, Pipeline, Ticket};
pub use error::{ConnectError, NotDone, ReadError, StartError, StopReason};
pub use genesis::Member;
pub use machine::{Machine, StateMachine};
pub use membership::MembershipError;
pub use node::{Builder, Node};
pub use protocol::{
    Level::{self, Lease, Linearizable, Local},
    Refused,
};
pub use status::Status;
pub use synod_paxos::Timing;
pub use transport::tls::Tls;
