//! Real nodes in one process: sockets on loopback, directories on disk, threads of their own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::wildcard_enum_match_arm, reason = "whatever else it is, the test fails")]
#![expect(clippy::cast_possible_truncation, reason = "small numbers, made here")]

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
