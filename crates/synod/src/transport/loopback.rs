//! Tests with two ends on loopback, in one loop: plain and with TLS, as it should be and as it
//! should not.

use std::{
    iter,
    net::{SocketAddr, TcpListener, TcpStream as StdStream},
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};
use rcgen::{
    CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose as Use, IsCa, KeyPair,
    date_time_ymd,
};
use rustls::{
    AlertDescription as Alert, ClientConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use synod_paxos::NodeId;

use super::*;

mod secured;

const DIALER: usize = 0;
const ACCEPTOR: usize = 1;
const BUDGET: usize = 64 << 10;

/// A certificate authority.
struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate and its key, as PEM.
    fn issue(&self, name: &str, with: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![Use::ServerAuth, Use::ClientAuth];
        with(&mut params);
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    /// A certificate of this CA, whose owner trusts `trusted`.
    fn tls_trusting(&self, trusted: &str, name: &str) -> Tls {
        let (cert, key) = self.issue(name, |_| ());
        Tls::from_pem(trusted.as_bytes(), cert.as_bytes(), key.as_bytes()).unwrap()
    }

    fn tls(&self, name: &str) -> Tls {
        self.tls_trusting(&self.pem(), name)
    }

    /// A client as somebody else could have written it, with or without a certificate.
    fn foreign_client(&self, own: Option<(String, String)>) -> rustls::Connection {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match own {
            None => config.with_no_client_auth(),
            Some((cert, key)) => config
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap(),
        };
        let name = "node-1.synod".try_into().unwrap();
        rustls::ClientConnection::new(config.into(), name).unwrap().into()
    }
}

/// One end, and what came of it.
#[derive(Debug)]
struct Side {
    /// Dropped when it is over, as a node would.
    connection: Option<Connection>,
    frames: Vec<Vec<u8>>,
    failure: Option<ConnectionError>,
    closed: bool,
}

impl Side {
    fn new(connection: Connection) -> Self {
        Self { connection: Some(connection), frames: Vec::new(), failure: None, closed: false }
    }

    fn turn(&mut self, ended: bool) {
        let Some(connection) = &mut self.connection else { return };
        if ended {
            connection.ended();
        }
        let read = receive(connection, &mut self.frames);
        let outcome = read.and_then(|closed| connection.send().map(|()| closed));
        match outcome {
            Ok(closed) => self.closed |= closed,
            Err(failure) => {
                self.failure = Some(failure);
                self.connection = None;
            }
        }
    }

    fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("it is open")
    }

    fn put(&mut self, body: &[u8]) {
        put_frame(self.connection().out(), |out| out.extend_from_slice(body)).unwrap();
    }

    fn tls_failure(&self) -> &TlsFailure {
        match &self.failure {
            Some(ConnectionError::Tls(failure)) => failure,
            other => panic!("{other:?}"),
        }
    }
}

fn receive(
    connection: &mut Connection,
    frames: &mut Vec<Vec<u8>>,
) -> Result<bool, ConnectionError> {
    loop {
        let received = connection.receive(BUDGET)?;
        while let Some(body) = connection.next_frame()? {
            frames.push(body.to_vec());
        }
        if !received.more {
            return Ok(received.closed);
        }
    }
}

/// Both ends in one poll loop.
struct Two {
    poll: Poll,
    sides: [Side; 2],
}

fn sockets() -> [TcpStream; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dialed = StdStream::connect(listener.local_addr().unwrap()).unwrap();
    [dialed, listener.accept().unwrap().0].map(|stream| {
        stream.set_nonblocking(true).unwrap();
        TcpStream::from_std(stream)
    })
}

impl Two {
    fn new(connections: [Connection; 2]) -> Self {
        let poll = Poll::new().unwrap();
        let mut sides = connections.map(Side::new);
        for (token, side) in sides.iter_mut().enumerate() {
            let interest = Interest::READABLE | Interest::WRITABLE;
            let stream = side.connection().stream();
            poll.registry().register(stream, Token(token), interest).unwrap();
        }
        Self { poll, sides }
    }

    fn plain() -> Self {
        Self::new(sockets().map(Connection::plain))
    }

    fn tls(dialer: Option<(&Tls, Option<NodeId>)>, acceptor: Option<&Tls>) -> Self {
        let [dialed, accepted] = sockets();
        Self::new([
            Connection::dial(dialed, dialer).unwrap(),
            Connection::accepted(accepted, acceptor).unwrap(),
        ])
    }

    fn foreign(dialer: rustls::Connection, acceptor: &Tls) -> Self {
        let [dialed, accepted] = sockets();
        Self::new([
            Connection::new(dialed, Some(dialer)),
            Connection::accepted(accepted, Some(acceptor)).unwrap(),
        ])
    }

    fn until(&mut self, done: impl Fn(&[Side; 2]) -> bool) {
        let mut events = Events::with_capacity(8);
        let start = Instant::now();
        while !done(&self.sides) {
            assert!(start.elapsed() < Duration::from_secs(20), "stuck: {:?}", self.sides);
            self.poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
            for event in &events {
                self.sides[event.token().0].turn(event.is_read_closed() || event.is_error());
            }
        }
    }

    /// A frame each way, put before anything is set up.
    fn greet(&mut self) {
        self.sides[DIALER].put(b"hello");
        self.sides[ACCEPTOR].put(b"welcome");
        self.until(|sides| sides.iter().all(|side| !side.frames.is_empty()));
        assert_eq!(self.sides[DIALER].frames, [b"welcome"]);
        assert_eq!(self.sides[ACCEPTOR].frames, [b"hello"]);
    }

    /// What the dialer's and the acceptor's connection failed with.
    fn failures(mut self) -> [TlsFailure; 2] {
        self.sides[DIALER].put(b"hello");
        self.until(|sides| sides.iter().all(|side| side.failure.is_some()));
        assert!(self.sides.iter().all(|side| side.frames.is_empty()), "{:?}", self.sides);
        self.sides.map(|side| side.tls_failure().clone())
    }
}

fn tls_pair() -> Two {
    let ca = Ca::new("CA");
    let (one, two) = (ca.tls("node-1.synod"), ca.tls("node-2.synod"));
    Two::tls(Some((&two, Some(NodeId(1)))), Some(&one))
}

fn a_big_frame(mut two: Two) {
    two.greet();
    let big: Vec<u8> = (0..=250).cycle().take(20 << 20).collect();
    for side in &mut two.sides {
        side.connection().set_limit(FRAME_MAX);
        side.put(&big);
        side.put(b"after");
        // Nobody reads: the socket takes some, and what it does not take is kept.
        side.connection().send().unwrap();
        let queued = side.connection().queued();
        assert!(queued > 1 << 20 && queued < big.len(), "{queued} queued");
        assert!(side.connection().wants_write());
    }
    two.until(|sides| sides.iter().all(|side| side.frames.len() == 3));
    for side in &mut two.sides {
        assert!(side.frames[1] == big && side.frames[2] == b"after");
        assert_eq!(side.connection().queued(), 0);
        assert!(!side.connection().wants_write());
    }
}

#[test]
fn a_big_frame_goes_both_ways() {
    a_big_frame(Two::plain());
}

#[test]
fn a_big_frame_goes_both_ways_over_tls() {
    a_big_frame(tls_pair());
}

fn an_end_with_the_last_bytes(mut two: Two) {
    two.greet();
    let [dialer, acceptor] = &mut two.sides;
    dialer.put(b"the last");
    dialer.connection().send().unwrap();
    dialer.connection().shutdown();
    // It is all there in one event.
    std::thread::sleep(Duration::from_millis(20));
    acceptor.put(b"reply");
    two.until(|sides| sides[ACCEPTOR].closed);
    assert_eq!(two.sides[ACCEPTOR].frames, [b"hello".as_slice(), b"the last"]);
    // The other half still works.
    two.sides[ACCEPTOR].connection().shutdown();
    two.until(|sides| sides[DIALER].closed);
    assert_eq!(two.sides[DIALER].frames, [b"welcome".as_slice(), b"reply"]);
}

#[test]
fn an_end_that_comes_with_the_last_bytes_is_seen() {
    an_end_with_the_last_bytes(Two::plain());
}

#[test]
fn an_end_that_comes_with_the_last_bytes_is_seen_over_tls() {
    an_end_with_the_last_bytes(tls_pair());
}

#[test]
fn a_budget_lets_others_have_their_turn() {
    for mut two in [Two::plain(), tls_pair()] {
        two.greet();
        for side in &mut two.sides {
            side.connection().set_limit(FRAME_MAX);
        }
        let [dialer, acceptor] = &mut two.sides;
        for _ in 0..100 {
            dialer.put(&[7; 10_000]);
            dialer.connection().send().unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
        let received = acceptor.connection().receive(1000).unwrap();
        assert!(received.more && received.bytes < 50_000, "{received:?}");
        two.until(|sides| sides[ACCEPTOR].frames.len() == 101);
    }
}

#[test]
fn a_connection_that_nobody_accepts_fails_and_says_so() {
    // A port that was free a moment ago.
    let address: SocketAddr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut poll = Poll::new().unwrap();
    let mut side = Side::new(Connection::plain(TcpStream::connect(address).unwrap()));
    let interest = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(side.connection().stream(), Token(0), interest).unwrap();
    side.put(b"hello");
    let mut events = Events::with_capacity(8);
    while side.failure.is_none() {
        poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
        let event = events.iter().next().expect("the refusal");
        side.turn(event.is_read_closed() || event.is_error());
    }
    assert!(
        matches!(&side.failure, Some(ConnectionError::Io(error))
            if error.kind() == std::io::ErrorKind::ConnectionRefused),
        "{:?}",
        side.failure
    );
}

#[test]
fn what_the_other_side_said_before_it_left_is_kept() {
    let mut two = Two::plain();
    two.greet();
    let [dialer, acceptor] = &mut two.sides;
    acceptor.put(b"why");
    acceptor.connection().send().unwrap();
    acceptor.connection = None;
    // The first one is answered with a reset.
    let gone = iter::repeat_with(|| {
        dialer.put(b"more");
        std::thread::sleep(Duration::from_millis(5));
        dialer.connection().send()
    });
    let failure = gone.take(100).find_map(Result::err).expect("nobody is there");
    assert!(matches!(failure, ConnectionError::Io(_)), "{failure}");
    let last = dialer.connection().next_frame().unwrap().map(<[u8]>::to_vec);
    assert_eq!(last.as_deref(), Some(b"why".as_slice()));
}

/// Frames a second through loopback, both ends on one thread, 64 frames in a send.
/// `cargo test --release -p synod -- --ignored --nocapture frames_a_second`
#[test]
#[ignore = "a measurement"]
fn frames_a_second() {
    for (name, make) in [("plain", Two::plain as fn() -> Two), ("TLS", tls_pair)] {
        for size in [64, 256, 4096] {
            let mut two = make();
            two.greet();
            let [dialer, acceptor] = two.sides.each_mut().map(Side::connection);
            let body = vec![7; size];
            let (mut came, start) = (0_u32, Instant::now());
            while start.elapsed() < Duration::from_secs(1) {
                for _ in 0..64 {
                    put_frame(dialer.out(), |out| out.extend_from_slice(&body)).unwrap();
                }
                let all = came + 64;
                while came < all {
                    dialer.send().unwrap();
                    acceptor.receive(usize::MAX).unwrap();
                    while let Some(frame) = acceptor.next_frame().unwrap() {
                        assert_eq!(frame.len(), size);
                        came += 1;
                    }
                }
            }
            let rate = f64::from(came) / start.elapsed().as_secs_f64() / 1e6;
            println!("{name}, {size} B: {rate:.2} million frames/s");
        }
    }
}
