//! Durability.

mod directory;
mod disk;
mod error;
mod identity;
mod layout;
mod log;
mod record;
mod recovery;
mod segment;
pub mod sim;
mod snapshot;
mod spares;
mod store;
mod survey;
mod window;

pub use crate::{
    directory::Directory,
    disk::{Disk, File},
    error::{DamagedSnapshot, OpenError, WriteError},
    identity::Identity,
    recovery::{Replayed, Torn},
    sim::SimDisk,
    snapshot::{Incoming, SnapshotInfo, SnapshotReader, SnapshotWriter, Snapshots},
    store::{Options, Store, Want},
};
