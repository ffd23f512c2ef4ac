//! A link to a server that sends everything back.

use std::time::Instant;

use super::*;

const SOON: Duration = Duration::from_millis(150);
const LATE: Duration = Duration::from_secs(10);

/// A link with an address of its own.
struct Alone {
    link: Arc<Link>,
    front: Front,
}

impl std::ops::Deref for Alone {
    type Target = Link;

    fn deref(&self) -> &Link {
        &self.link
    }
}

fn alone(target: SocketAddr) -> Alone {
    let link = Arc::new(Link::to(target));
    let same = Arc::clone(&link);
    Alone { link, front: Front::open(move |_| Some(Arc::clone(&same))).unwrap() }
}

/// A server on a free port that echoes each connection, until the test program ends.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            thread::spawn(move || io::copy(&mut &stream, &mut &stream));
        }
    });
    address
}

fn connect(link: &Alone) -> TcpStream {
    let stream = TcpStream::connect(link.front.address()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// What comes back within `patience`: `Some` bytes, or `None` if nothing does.
fn answer(mut stream: &TcpStream, patience: Duration) -> io::Result<Option<Vec<u8>>> {
    stream.set_read_timeout(Some(patience)).unwrap();
    let mut bytes = [0; 16];
    match stream.read(&mut bytes) {
        Ok(length) => Ok(Some(bytes[..length].to_vec())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

fn comes_back(mut stream: &TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    assert_eq!(answer(stream, LATE).unwrap().as_deref(), Some(bytes));
}

#[test]
fn bytes_pass_both_ways_and_so_does_their_end() {
    let link = alone(echo());
    let stream = connect(&link);
    comes_back(&stream, b"one");
    comes_back(&stream, b"two");
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(answer(&stream, LATE).unwrap(), Some(vec![]));
}

#[test]
fn held_bytes_arrive_late_on_the_same_connection() {
    for direction in [Direction::Forward, Direction::Backward] {
        let link = alone(echo());
        let mut stream = connect(&link);
        comes_back(&stream, b"before");
        link.hold(direction, true);
        stream.write_all(b"late").unwrap();
        assert_eq!(answer(&stream, SOON).unwrap(), None, "{direction:?}");
        link.hold(direction, false);
        assert_eq!(answer(&stream, LATE).unwrap().as_deref(), Some(&b"late"[..]));
        comes_back(&stream, b"after");
    }
}

/// A server that says when it is connected to, and when that connection has come to its end.
fn witness() -> (SocketAddr, std::sync::mpsc::Receiver<&'static str>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (says, hears) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        says.send("open").unwrap();
        drop(stream.read_to_end(&mut vec![]));
        says.send("end").unwrap();
    });
    (address, hears)
}

#[test]
fn a_hole_hides_new_connections_and_ends() {
    let (address, hears) = witness();
    let link = alone(address);
    link.hold(Direction::Forward, true);
    let stream = connect(&link);
    assert!(hears.recv_timeout(SOON).is_err());
    link.heal();
    assert_eq!(hears.recv_timeout(LATE).unwrap(), "open");
    link.hold(Direction::Forward, true);
    drop(stream);
    assert!(hears.recv_timeout(SOON).is_err());
    link.heal();
    assert_eq!(hears.recv_timeout(LATE).unwrap(), "end");
}

#[test]
fn a_reset_ends_all_connections_also_held_ones_and_the_next_one_works() {
    let link = alone(echo());
    let (free, held) = (connect(&link), connect(&link));
    comes_back(&free, b"free");
    comes_back(&held, b"held");
    link.hold(Direction::Backward, true);
    (&held).write_all(b"lost").unwrap();
    link.reset();
    for stream in [free, held] {
        let error = answer(&stream, LATE).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    link.heal();
    comes_back(&connect(&link), b"new");
}

#[test]
fn a_link_that_refuses_lets_nobody_in() {
    let link = alone(echo());
    link.refuse(true);
    let end = answer(&connect(&link), LATE);
    assert!(
        matches!(&end, Err(error) if error.kind() == io::ErrorKind::ConnectionReset),
        "{end:?}"
    );
    link.heal();
    comes_back(&connect(&link), b"new");
}

#[test]
fn whoever_has_no_link_is_reset() {
    let front = Front::open(|_| None).unwrap();
    let stream = TcpStream::connect(front.address()).unwrap();
    assert!(answer(&stream, LATE).is_err());
}

#[test]
fn nobody_listens_at_the_other_end() {
    let unused = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let link = alone(unused);
    assert!(!matches!(answer(&connect(&link), LATE), Ok(None | Some(_))));
}

#[test]
fn a_link_that_is_dropped_ends_its_connections() {
    let link = alone(echo());
    let stream = connect(&link);
    comes_back(&stream, b"before");
    let address = link.front.address();
    drop(link);
    assert!(answer(&stream, LATE).is_err());
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn delay_and_bandwidth_take_their_time() {
    let link = alone(echo());
    let stream = connect(&link);
    comes_back(&stream, b"before");
    let (delay, jitter) = (Duration::from_millis(30), Duration::from_millis(20));
    link.pace(Pace { delay, jitter, bandwidth: None });
    let start = Instant::now();
    comes_back(&stream, b"slow");
    assert!(start.elapsed() >= 2 * delay, "{:?}", start.elapsed());

    link.pace(Pace { bandwidth: Some(100_000), ..Pace::default() });
    let start = Instant::now();
    let mut writer = stream.try_clone().unwrap();
    let writing = thread::spawn(move || writer.write_all(&[7; 20_000]));
    stream.set_read_timeout(Some(LATE)).unwrap();
    (&stream).read_exact(&mut [0; 20_000]).unwrap();
    writing.join().unwrap().unwrap();
    // The first chunk may have been read before the pace was set.
    assert!(start.elapsed() >= Duration::from_millis(150), "{:?}", start.elapsed());
}
