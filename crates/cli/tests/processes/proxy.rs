//! TCP proxies: what becomes of the bytes between two processes.
//!
//! What a link does to the bytes can be changed at any time. Each direction of a link may be held:
//! its bytes stop, while the connection stays open and its ends learn nothing. That is a black
//! hole; what was on its way arrives late, when the direction is opened again. Connections may also
//! be reset, and new ones refused.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fastrand::Rng;

/// Most bytes that are moved at a time.
const CHUNK: usize = 64 << 10;
/// A write that the other end does not take looks this often whether the connection still is.
const WRITE_PATIENCE: Duration = Duration::from_millis(50);
const DIAL_PATIENCE: Duration = Duration::from_secs(2);
const QUIET: &str = "no thread panics while it holds this";

/// A direction of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    /// From the process that opened the connection.
    Forward,
    /// To it.
    Backward,
}

/// How fast bytes travel, in either direction.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Pace {
    /// Each move of bytes takes this long,
    pub(crate) delay: Duration,
    /// and up to this much longer.
    pub(crate) jitter: Duration,
    /// Bytes per second; `None`: as many as come.
    pub(crate) bandwidth: Option<u32>,
}

impl Pace {
    fn chunk(self) -> usize {
        // At most 20 ms worth, so that a slow link can be changed soon.
        let fitting = self.bandwidth.map_or(CHUNK, |rate| rate as usize / 50);
        fitting.clamp(1, CHUNK)
    }

    fn time(self, bytes: usize, rng: &mut Rng) -> Duration {
        let on_the_wire = self.bandwidth.map_or(0.0, |rate| bytes as f64 / f64::from(rate));
        self.delay + self.jitter.mul_f64(rng.f64()) + Duration::from_secs_f64(on_the_wire)
    }
}

#[derive(Clone, Copy, Default)]
struct Mode {
    /// Raised to reset all connections of earlier epochs.
    epoch: u64,
    refuses: bool,
    holds_forward: bool,
    holds_backward: bool,
    pace: Pace,
}

impl Mode {
    fn holds(self, direction: Direction) -> bool {
        match direction {
            Direction::Forward => self.holds_forward,
            Direction::Backward => self.holds_backward,
        }
    }
}

/// What becomes of the connections that one process opens to another.
pub(crate) struct Link {
    shared: Arc<Shared>,
}

impl Link {
    /// A link to `target`.
    pub(crate) fn to(target: SocketAddr) -> Self {
        Self { shared: Arc::new(Shared::new(target)) }
    }

    /// Connects `dialer`, who believes that it has reached the target.
    pub(crate) fn carry(&self, dialer: TcpStream) {
        let mode = *self.shared.lock();
        if mode.refuses {
            return reset_when_closed(&dialer);
        }
        let shared = Arc::clone(&self.shared);
        thread::spawn(move || join(dialer, &shared, mode.epoch));
    }

    /// Stops the bytes of one direction, or lets them go on.
    pub(crate) fn hold(&self, direction: Direction, hold: bool) {
        self.shared.change(|mode| match direction {
            Direction::Forward => mode.holds_forward = hold,
            Direction::Backward => mode.holds_backward = hold,
        });
    }

    /// Resets all connections. Bytes on their way are lost.
    pub(crate) fn reset(&self) {
        self.shared.change(|mode| mode.epoch += 1);
    }

    /// Resets all connections and every new one, or no longer.
    pub(crate) fn refuse(&self, refuse: bool) {
        self.shared.change(|mode| {
            mode.refuses = refuse;
            mode.epoch += u64::from(refuse);
        });
    }

    /// Changes how fast bytes travel.
    pub(crate) fn pace(&self, pace: Pace) {
        self.shared.change(|mode| mode.pace = pace);
    }

    /// Lets everything pass at full speed again.
    pub(crate) fn heal(&self) {
        self.shared.change(|mode| *mode = Mode { epoch: mode.epoch, ..Mode::default() });
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.refuse(true);
    }
}

/// An address to which links lead: whoever connects is carried by the link that is his.
pub(crate) struct Front {
    address: SocketAddr,
    gone: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Front {
    /// Accepts connections at an address of its own, until it is dropped. `link` is asked, on a
    /// thread for each connection, which link is to carry it; without one it is reset.
    pub(crate) fn open(
        link: impl Fn(&TcpStream) -> Option<Arc<Link>> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let (gone, link) = (Arc::new(AtomicBool::new(false)), Arc::new(link));
        let stop = Arc::clone(&gone);
        let accept = move || {
            for dialer in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(dialer), link) = (dialer, Arc::clone(&link)) else { continue };
                thread::spawn(move || match link(&dialer) {
                    Some(link) => link.carry(dialer),
                    None => reset_when_closed(&dialer),
                });
            }
        };
        Ok(Self { address, gone, acceptor: Some(thread::spawn(accept)) })
    }

    /// Where to connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
        // Wakes the acceptor.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
    }
}

struct Shared {
    target: SocketAddr,
    mode: Mutex<Mode>,
    changed: Condvar,
    connections: Mutex<Vec<Weak<Connection>>>,
}

impl Shared {
    fn new(target: SocketAddr) -> Self {
        let (mode, connections) = (Mutex::default(), Mutex::default());
        Self { target, mode, changed: Condvar::new(), connections }
    }

    fn lock(&self) -> MutexGuard<'_, Mode> {
        self.mode.lock().expect(QUIET)
    }

    fn change(&self, change: impl FnOnce(&mut Mode)) {
        let epoch = {
            let mut mode = self.lock();
            change(&mut mode);
            mode.epoch
        };
        self.changed.notify_all();
        let mut connections = self.connections.lock().expect(QUIET);
        connections.retain(|connection| {
            let Some(connection) = connection.upgrade() else { return false };
            if connection.epoch < epoch {
                connection.interrupt();
            }
            connection.epoch == epoch
        });
    }

    /// Waits until bytes of this epoch may move; `None` if they never may.
    fn wait(&self, direction: Direction, epoch: u64) -> Option<Pace> {
        let held = |mode: &mut Mode| mode.epoch == epoch && mode.holds(direction);
        let mode = self.changed.wait_while(self.lock(), held).expect(QUIET);
        (mode.epoch == epoch).then_some(mode.pace)
    }
}

/// Two sockets that the link joins.
struct Connection {
    epoch: u64,
    dialer: TcpStream,
    listener: TcpStream,
}

impl Connection {
    /// Wakes the threads that read. When they have let go of it, both ends are told of a reset.
    fn interrupt(&self) {
        for socket in [&self.dialer, &self.listener] {
            reset_when_closed(socket);
            // The other end does not notice. It fails if that one has reset the connection.
            drop(socket.shutdown(Shutdown::Read));
        }
    }
}

fn reset_when_closed(socket: &TcpStream) {
    // It fails for a socket that is closed already.
    rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO)).unwrap_or_default();
}

/// Opens the other half of a connection, and moves bytes until it ends.
fn join(dialer: TcpStream, shared: &Arc<Shared>, epoch: u64) {
    let open = || {
        // Whoever dials into a black hole is heard of at the other end only when it opens.
        shared.wait(Direction::Forward, epoch)?;
        let listener = TcpStream::connect_timeout(&shared.target, DIAL_PATIENCE).ok()?;
        for socket in [&dialer, &listener] {
            socket.set_nodelay(true).ok()?;
            socket.set_write_timeout(Some(WRITE_PATIENCE)).ok()?;
        }
        Some(listener)
    };
    let Some(listener) = open() else { return reset_when_closed(&dialer) };
    let connection = Arc::new(Connection { epoch, dialer, listener });
    shared.connections.lock().expect(QUIET).push(Arc::downgrade(&connection));
    if shared.lock().epoch != epoch {
        // It came too late into the list to be interrupted by whoever raised the epoch.
        connection.interrupt();
    }
    let (same, there) = (Arc::clone(&connection), Arc::clone(shared));
    let backward = thread::spawn(move || pump(Direction::Backward, &same, &there));
    pump(Direction::Forward, &connection, shared);
    drop(backward.join());
}

/// Moves the bytes of one direction, until one end closes it or the connection is reset.
fn pump(direction: Direction, connection: &Connection, shared: &Shared) {
    let (mut from, to) = match direction {
        Direction::Forward => (&connection.dialer, &connection.listener),
        Direction::Backward => (&connection.listener, &connection.dialer),
    };
    let mut rng = Rng::with_seed(u64::from(shared.target.port()));
    let mut buffer = vec![0; CHUNK];
    let mut chunk = CHUNK;
    while let Ok(length) = from.read(&mut buffer[..chunk]) {
        let Some(pace) = shared.wait(direction, connection.epoch) else { break };
        if length == 0 {
            // That one end has closed its direction is news, and waits like any bytes.
            drop(to.shutdown(Shutdown::Write));
            return;
        }
        chunk = pace.chunk();
        let time = pace.time(length, &mut rng);
        if !time.is_zero() {
            thread::sleep(time);
        }
        // The direction may have been held while the bytes travelled.
        let passes = shared.wait(direction, connection.epoch).is_some();
        if !passes || !write_all(to, &buffer[..length], shared, connection.epoch) {
            break;
        }
    }
    connection.interrupt();
}

/// Writes everything, and says whether that was possible in this epoch.
fn write_all(mut to: &TcpStream, mut bytes: &[u8], shared: &Shared, epoch: u64) -> bool {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return false,
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
        if shared.lock().epoch != epoch {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests;
