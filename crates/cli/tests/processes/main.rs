//! Real processes, on real disks and sockets, while things break.
#![cfg(target_os = "linux")]

mod cluster;
mod disks;
mod exactly_once;
mod history;
mod linearizable;
mod load;
mod mesh;
mod plug;
mod proxy;
mod scenarios;
mod sockets;
mod store;
mod trial;
