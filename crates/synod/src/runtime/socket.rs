//! What the standard library cannot set on a socket.

use std::time::Duration;

/// How long sent bytes may go unacknowledged before a connection is given up. The system's own
/// patience is a quarter of an hour, and after a cut it tries again ever more rarely.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(3);

/// How long a connection that somebody has made may be silent before the system asks whether the
/// other side is still there, and how often, and how many times, it asks in vain.
const SILENT: Duration = Duration::from_secs(10);
const ASK_EVERY: Duration = Duration::from_secs(2);
const ASK_TIMES: u32 = 5;

/// Notices when whoever has connected vanishes without a word: its place is for others.
pub(super) fn keep_alive(stream: &mio::net::TcpStream) {
    use rustix::net::sockopt;
    let set = sockopt::set_socket_keepalive(stream, true)
        .and_then(|()| sockopt::set_tcp_keepidle(stream, SILENT))
        .and_then(|()| sockopt::set_tcp_keepintvl(stream, ASK_EVERY))
        .and_then(|()| sockopt::set_tcp_keepcnt(stream, ASK_TIMES));
    if let Err(error) = set {
        tracing::debug!(%error, "a connection keeps the system's patience");
    }
}

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
