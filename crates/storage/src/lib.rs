//! Synod's durability: what a node must not forget, and how it comes back.
//!
//! A node has one directory. A [`Store`] owns it: it keeps every other process out, knows whose
//! directory it is, writes the log, and hands out the [`Snapshots`].
//!
//! ```text
//! LOCK                       held while a process uses the directory
//! IDENTITY                   cluster, node, and which birth of the directory; in two copies
//! log-00000007.seg           a segment of the log; the older ones are gone
//! log-00000008.seg           the next one, or a spare that will be
//! snapshot-000000041000.snap the state before that slot
//! *.tmp                      unfinished; removed when the directory is opened
//! ```
//!
//! ```
//! use synod_paxos::{Ballot, NodeId, Record};
//! use synod_storage::{Options, SimDisk, Store, Want};
//!
//! let disk = SimDisk::new(); // or Directory::new("data")?
//! let want = Want { cluster: 1, node: NodeId(1) };
//! let random = 0x5eed;
//!
//! let mut store = Store::open(disk.clone(), want, random, Options::default())?;
//! store.replay(&mut |_| ())?;
//! store.append(&[Record::Started(1)]);
//! store.append(&[Record::Adopted(Ballot { round: 7, incarnation: 1, leader: NodeId(2) })]);
//! store.sync()?; // Now, and not before, others may be told.
//!
//! disk.kill(); // kill -9
//! let mut store = Store::open(disk, want, random, Options::default())?;
//! let mut records = Vec::new();
//! store.replay(&mut |record| records.push(record))?;
//! assert_eq!(records.len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The log
//!
//! * Everything that was appended since the last sync goes to the disk in one write and one
//!   `fdatasync`. Segments were written before, with zeros or as an older part of the log, so that
//!   this flushes data alone. They are made ready by [`Store::prepare`], away from that path.
//! * A record's header holds all that it says but the decree, and is there twice. Every checksum
//!   is salted by identity, segment and place: no byte from elsewhere is taken for one from here.
//! * A segment's title holds what all records before it come to, without the pvalues. So a
//!   segment is done with when its own pvalues are collected ([`Record::Collected`]); the newest
//!   title says which is the oldest that is needed, and those before are used again.
//! * A life goes on where the last one ended; if there is something torn behind that, in a new
//!   segment. So nothing is ever written over what might still be read.
//!
//! # Damage and torn writes
//!
//! A write that a crash cut off is dropped: nobody was told of it. What was synced is never
//! dropped. The two look alike, and are told apart by what was written later: each record, each
//! segment's title, and a *barrier* that is written right behind a batch once that is synced say
//! up to where everything is known to be synced. So:
//!
//! | what is found | what happens |
//! |---|---|
//! | one copy of a header, title or identity damaged | nothing; [`Replayed::mended`] counts it |
//! | the decree of an accepted pvalue damaged | [`Record::Lost`] in its place |
//! | what a replica had learned or performed damaged | it is left out; the replica asks others |
//! | anything else that was synced is not there | [`OpenError::Damaged`]: the node must not vote |
//! | a snapshot damaged | an error, when it is read; the log is not concerned |
//! | the unsynced end of the log torn | [`Replayed::torn`] |
//!
//! One case is left: a batch is synced, the power fails before its barrier reaches the disk, and
//! then that very batch rots. It looks like a torn write and is dropped. After [`Store::close`],
//! and after a crash of the process alone, the barrier is there.
//!
//! Other limits: a disk that says that it has synced and has not is found out only if something
//! later did reach it. A directory that was put back to an earlier time as a whole is a valid
//! directory; peers notice by the node's lives. That the newest segments were removed by hand,
//! and nothing else, cannot be seen.
//!
//! # Failures
//!
//! After a write or `fdatasync` that failed, what is on the disk is not known, and another one
//! that succeeds proves nothing. So the store is dead then ([`WriteError::Failed`]), and only a
//! new process that reads everything back may go on; it also writes the unproven end of the log
//! once more before it believes it. A full disk is no failure: while the spare segments last, the
//! log is written ([`Store::is_low`]); then [`WriteError::Full`] says so, nothing is lost, and a
//! later sync goes on.
//!
//! # Other disks
//!
//! The store asks very little of a disk: see [`Disk`] and [`File`]. [`SimDisk`] is one in memory
//! on which everything can go wrong on request, for tests of this crate and of what is built on it.
//!
//! [`Record::Collected`]: synod_paxos::Record::Collected
//! [`Record::Lost`]: synod_paxos::Record::Lost

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
