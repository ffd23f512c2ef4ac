//! Synod's core with loopback TCP and a durable log.
//!
//! A record is appended when something waits for it, so a turn syncs only what it has to: what the
//! core asks to persist, and nobody answers for, goes to disk with the next record that counts.

mod mail;
mod node;

use harness::{Args, wire::run_wire};

fn main() {
    let args = Args::parse();
    run_wire("synod", &args, |index| node::Peer::new(index, &args));
}
