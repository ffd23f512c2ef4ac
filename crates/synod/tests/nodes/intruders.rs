//! Whatever somebody may send to a node's port does not disturb it.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use synod::{
    Linearizable,
    transport::{
        FRAME_MAX,
        handshake::{Answer, Caller, Hello},
        put_frame,
    },
};
use synod_paxos::{ClientId, Command as RawCommand, NodeId, Op, Payload, Slot, wire};

use crate::cluster::{Cluster, append, numbers, until};

fn connect(cluster: &Cluster) -> TcpStream {
    let stream = TcpStream::connect(&cluster.peers[0]).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn frame(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_frame(&mut out, |out| out.extend_from_slice(body)).unwrap();
    out
}

/// What was said last, before the node closed the connection.
fn last_words(mut stream: TcpStream) -> Vec<u8> {
    let mut words = Vec::new();
    // A reset is an end like any other.
    let _ = stream.read_to_end(&mut words);
    words
}

/// Lets a stranger in as a client or a node.
fn enter(cluster: &Cluster, caller: Caller) -> TcpStream {
    let mut stream = connect(cluster);
    let mut hello = Vec::new();
    let ours = cluster.status(1).cluster;
    Hello { cluster: ours, to: None, caller }.encode(&mut hello);
    stream.write_all(&frame(&hello)).unwrap();
    let mut header = [0; 8];
    stream.read_exact(&mut header).unwrap();
    let len = u32::from_le_bytes(header[..4].try_into().unwrap());
    let mut body = vec![0; usize::try_from(len).unwrap()];
    stream.read_exact(&mut body).unwrap();
    assert!(matches!(Answer::decode(&body), Ok(Answer::Welcome(_))));
    stream
}

fn stranger() -> Caller {
    let (node, birth, incarnation, began) = (NodeId(99), 1, 1, 0);
    let address = "nowhere:1".to_owned();
    Caller::Peer { node, birth, incarnation, process: 7, began, address }
}

/// Numbers that look random.
fn noise(seed: u64) -> impl Iterator<Item = u8> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(seed | 1);
        state.to_be_bytes()[0]
    })
}

#[test]
fn garbage_before_the_handshake_ends_the_connection_and_nothing_else() {
    let cluster = Cluster::new(1);
    append(&cluster.client(1), 1).unwrap();
    let huge = [u32::MAX.to_le_bytes(), [0; 4]].concat();
    let no_body = vec![0; 8];
    let http = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    let random: Vec<u8> = noise(1).take(5000).collect();
    let wrong_sum = {
        let mut frame = frame(b"synod");
        frame[4] ^= 1;
        frame
    };
    let no_hello = frame(b"hello");
    for garbage in [huge, no_body, http, random, wrong_sum, no_hello] {
        let mut stream = connect(&cluster);
        stream.write_all(&garbage).unwrap();
        assert_eq!(last_words(stream), [0; 0]);
    }
    until("all are counted", || cluster.status(1).counters["faulty_connections"] >= 6);
    append(&cluster.client(1), 2).unwrap();
}

#[test]
fn a_hello_of_another_version_is_told_the_right_one() {
    let cluster = Cluster::new(1);
    let mut hello = Vec::new();
    Hello { cluster: 0, to: None, caller: Caller::Client }.encode(&mut hello);
    hello[6..8].copy_from_slice(&77_u16.to_le_bytes());
    let mut stream = connect(&cluster);
    stream.write_all(&frame(&hello)).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let words = last_words(stream);
    let answer = Answer::decode(words.get(8..).unwrap_or_default());
    let version = synod::transport::handshake::VERSION;
    let refusal = synod::transport::handshake::Refusal::Version { min: version, max: version };
    assert_eq!(answer, Ok(Answer::Refusal(refusal)));
}

#[test]
fn garbage_of_clients_and_nodes_ends_the_connection_and_nothing_else() {
    let cluster = Cluster::new(1);
    for caller in [Caller::Client, stranger()] {
        for seed in 0..60 {
            let mut stream = enter(&cluster, caller.clone());
            let mut body: Vec<u8> = noise(seed).take(40 + seed as usize * 5).collect();
            // Kinds that exist, and a sequence that is none: more of the decoder is reached.
            if caller == Caller::Client {
                body[0] %= 4;
            } else {
                body[8] %= 40;
            }
            // It may have been closed already.
            let _ = stream.write_all(&frame(&body)).and_then(|()| stream.write_all(&frame(&body)));
            drop(stream);
        }
        let mut stream = enter(&cluster, caller);
        stream.write_all(&[(FRAME_MAX as u32 + 1).to_le_bytes(), [0; 4]].concat()).unwrap();
        last_words(stream);
    }
    append(&cluster.client(1), 1).unwrap();
    assert!(cluster.node(1).has_stopped().is_none());
}

#[test]
fn numbers_at_the_end_of_their_range_harm_nobody() {
    let cluster = Cluster::new(1);
    let mut stream = enter(&cluster, Caller::Client);
    let ends = [0, 1, 2, 1 << 14, 1 << 20, 1 << 62, u64::MAX - 1, u64::MAX];
    for born in ends {
        for cid in ends {
            for acked in ends {
                let client = ClientId { born: Slot(born), number: cid ^ acked.rotate_left(7) };
                let op = Op::Apply(Payload::from(vec![0, 0, 1]));
                let mut body = vec![0];
                wire::encode_command(&RawCommand { client, cid, acked, op }, &mut body);
                if stream.write_all(&frame(&body)).is_err() {
                    stream = enter(&cluster, Caller::Client);
                }
            }
        }
    }
    // One after the other, over the same connection: when this has its answer, so have they.
    append(&cluster.client(1), 1).unwrap();
    assert!(cluster.node(1).has_stopped().is_none());
    until("the node still answers", || append(&cluster.connect(), 2).is_ok());
    assert!(cluster.node(1).has_stopped().is_none());
}

#[test]
fn connections_that_say_nothing_and_halves_of_frames_keep_nobody_out() {
    let cluster = Cluster::new(1);
    let mut idle = Vec::new();
    for number in 0..500 {
        let mut stream = connect(&cluster);
        if number % 3 == 1 {
            stream.write_all(&[200, 0, 0, 0, 1, 2, 3, 4, 5]).unwrap();
        } else if number % 3 == 2 {
            stream.write_all(&[9, 0]).unwrap();
        }
        idle.push(stream);
    }
    let mut half = enter(&cluster, Caller::Client);
    half.write_all(&[(20_u32 << 20).to_le_bytes(), [1; 4]].concat()).unwrap();
    half.write_all(&[7; 1000]).unwrap();
    append(&cluster.connect(), 1).unwrap();
    // Those that never say who they are are closed.
    let mut first = idle.remove(0);
    let mut byte = [0];
    let closed = first.read(&mut byte);
    assert!(
        matches!(closed, Ok(0))
            || closed.is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock)
    );
    append(&cluster.connect(), 2).unwrap();
    drop(half);
    assert_eq!(cluster.numbers(1), [1, 2]);
}

#[test]
fn a_client_that_takes_no_answers_gets_them_later_and_others_are_served_meanwhile() {
    const QUERIES: usize = 30_000;
    let cluster = Cluster::new(1);
    let client = cluster.client(1);
    for _ in 0..500 {
        append(&client, 1).unwrap();
    }
    let mut stream = enter(&cluster, Caller::Client);
    // Local reads of everything: more answers than all buffers on the way can hold.
    let query = frame(&[&[1][..], &7_u64.to_le_bytes(), &[2, 0]].concat());
    stream.write_all(&query.repeat(QUERIES)).unwrap();
    assert_eq!(numbers(&client, Linearizable).len(), 500);
    let mut header = [0; 8];
    let mut answer = 0;
    while answer < QUERIES {
        let read = stream.read_exact(&mut header);
        assert!(read.is_ok(), "after {answer} answers: {read:?}");
        let len = u32::from_le_bytes(header[..4].try_into().unwrap());
        let mut body = vec![0; usize::try_from(len).unwrap()];
        stream.read_exact(&mut body).unwrap();
        if matches!(body[0], 6 | 7) {
            continue; // Who leads, and who the members are.
        }
        assert_eq!(body[..9], [3, 7, 0, 0, 0, 0, 0, 0, 0]);
        answer += 1;
    }
}
