//! Real nodes in one process: sockets on loopback, directories on disk, threads of their own.

mod calls;
mod common;
mod errors;
mod intruders;
mod membership;
mod mistakes;
mod recovery;
mod snapshots;
mod status;
mod tls;
