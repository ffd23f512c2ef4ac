//! What the store promises, on a simulated disk and on a real one.
#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test stops at the first surprise, and its numbers are small"
)]

mod crash;
mod faults;
mod golden;
mod laws;
mod mistakes;
mod model;
mod real;
mod rot;
mod simulated;
mod snapshots;
