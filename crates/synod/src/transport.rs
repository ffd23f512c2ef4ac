//! How nodes and clients reach each other: frames on TCP, with TLS if it is configured.
//!
//! Nothing here waits, sleeps or has a thread: a [`Connection`] reads and writes what the socket
//! takes at once, and whoever polls the sockets calls it again.
//!
//! | module | holds |
//! |---|---|
//! | [`frame`] | where a message begins and ends, and whether it is whole |
//! | [`handshake`] | the first frame each way: who is there, and why not |
//! | [`connection`] | a socket, plain or TLS, as frames |
//! | [`tls`] | certificates: who may connect, and who a node really is |
//! | [`backoff`] | how long to wait before connecting again |

pub mod backoff;
pub mod connection;
pub mod frame;
pub mod handshake;
#[cfg(test)]
mod loopback;
pub(crate) mod names;
mod session;
pub mod tls;

pub use backoff::Backoff;
pub use connection::{Connection, ConnectionError};
pub use frame::{FRAME_MAX, FrameError, GREETING_MAX, Inbox, Received, put_frame};
pub use tls::{Tls, TlsError, TlsFailure};
