//! Real nodes in one process: sockets on loopback, directories on disk, threads of their own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod calls;
mod cluster;
mod errors;
mod intruders;
mod membership;
mod mistakes;
mod recovery;
mod snapshots;
mod status;
mod tls;
