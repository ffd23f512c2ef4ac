//! What the standard library cannot set on a socket.

use std::time::Duration;

/// How long sent bytes may go unacknowledged before a connection is given up. The system's own
/// patience is a quarter of an hour, and after a cut it tries again ever more rarely.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(3);

/// Gives up a connection whose other side has vanished without a word.
pub(super) fn give_up_early(stream: &mio::net::TcpStream) {
    #[cfg(target_os = "linux")]
    {
        let millis = u32::try_from(UNACKNOWLEDGED_MAX.as_millis()).unwrap_or(u32::MAX);
        if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(stream, millis) {
            tracing::debug!(%error, "a connection keeps the system's patience");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, UNACKNOWLEDGED_MAX);
}
