//! Synod's simulator: clusters under seeded faults, and the checks of what they did.

pub mod linearizability;
