//! Nodes that do not start, or stop: each with an error of its own.

use std::{fs, io::Write, net::TcpListener};

use synod::{
    Client, ConnectError, Node, StartError, StopReason,
    transport::{
        FrameError,
        handshake::{Answer, Welcome},
        put_frame,
    },
};
use synod_paxos::{NodeId, Slot};

use crate::cluster::{Cluster, Command, Journal, Query, addresses, append, stopped, until, wait};

fn failure(outcome: Result<Node<Journal>, StartError>) -> StartError {
    outcome.map(|node| format!("{node:?} runs")).unwrap_err()
}

#[test]
fn settings_that_make_no_node_are_named() {
    let cluster = Cluster::unstarted(3, |builder| builder);
    let open = || Node::<Journal>::open(cluster.directory(1)).unwrap();
    let cases = [
        (open().peers(&cluster.peers), "needs an id"),
        (open().id(4).peers(&cluster.peers), "none of the first members"),
        (open().id(0).peers(&cluster.peers), "none of the first members"),
        (open().id(1), "needs the cluster's first members"),
    ];
    for (builder, says) in cases {
        let error = failure(wait("a start", builder.start()));
        assert!(matches!(error, StartError::Settings(_)), "{error:?}");
        assert!(error.to_string().contains(says), "{error}");
    }
    // None of them has left anything that is in the way.
    wait("a start", open().id(1).peers(&cluster.peers).start()).unwrap();
}

#[test]
fn a_directory_serves_one_node_at_a_time_and_always_the_same() {
    let mut cluster = Cluster::new(1);
    let locked = failure(cluster.try_start(1));
    assert!(locked.to_string().contains("in use by another process"), "{locked}");
    assert!(matches!(locked, StartError::Open(_)), "{locked:?}");
    append(&cluster.client(1), 1).unwrap();
    cluster.kill(1);
    let builder = Node::<Journal>::open(cluster.directory(1)).unwrap().id(2);
    let other = failure(wait("a start", builder.peers(&cluster.peers).address("a:1").start()));
    assert!(matches!(other, StartError::Open(_)), "{other:?}");
    assert!(other.to_string().contains("belongs to node 1"), "{other}");
    cluster.start(1);
    assert_eq!(cluster.numbers(1), [1]);
}

#[test]
fn a_directory_that_cannot_be_is_named() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("file");
    fs::write(&file, "not a directory").unwrap();
    let error = Node::<Journal>::open(file.join("data")).map(drop).unwrap_err();
    assert!(matches!(error, StartError::Directory { .. }), "{error:?}");
    let error = Node::<Journal>::open(&file).map(drop).unwrap_err();
    assert!(matches!(error, StartError::Directory { .. }), "{error:?}");
}

#[test]
fn an_address_that_is_in_use_or_nonsense_is_named_and_the_directory_is_free_again() {
    let cluster = Cluster::unstarted(1, |builder| builder);
    let taken = TcpListener::bind(&cluster.peers[0]).unwrap();
    for listen in [cluster.peers[0].as_str(), "nonsense", "127.0.0.1:99999", "nowhere.invalid:1"] {
        let builder = cluster.builder(1).peers(&cluster.peers).listen(listen);
        match failure(wait("a start", builder.start())) {
            StartError::Listen { address, .. } => assert_eq!(address, listen),
            other => panic!("{other:?}"),
        }
    }
    drop(taken);
    cluster.try_start(1).unwrap();
}

#[test]
fn a_client_that_reaches_nobody_is_told_whom_it_tried() {
    let nobody = addresses(1);
    let connect = |addresses: &[String]| {
        wait("connect", Client::<Journal>::connect(addresses)).map(drop).unwrap_err()
    };
    assert!(matches!(connect(&[]), ConnectError::NoAddress));
    match connect(&nobody) {
        ConnectError::Unreachable { addresses, last } => {
            assert_eq!(addresses, nobody[0]);
            assert!(last.contains(&nobody[0]), "{last}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_that_reaches_something_else_is_told_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let error = wait("connect", Client::<Journal>::connect([address])).map(drop).unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    // "HTTP" is the length of the frame.
    let len = u32::from_le_bytes(*b"HTTP") as usize;
    let says = FrameError::TooLong { len, max: 64 << 10 }.to_string();
    assert!(error.to_string().contains(&says), "{error}");
}

/// Somebody lets a client in, names a leader that is dead, and is gone, too.
#[test]
fn a_client_whose_leader_is_dead_asks_others() {
    let cluster = Cluster::new(1);
    let last = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = last.local_addr().unwrap().to_string();
    let members = vec![(NodeId(1), cluster.peers[0].clone()), (NodeId(9), addresses(1).remove(0))];
    let (node, leader, slot_out) = (NodeId(8), Some(NodeId(9)), Slot::FIRST);
    let (cluster_id, birth, incarnation, sequence) = (1, 1, 1, 1);
    let welcome = Welcome {
        cluster: cluster_id,
        node,
        birth,
        incarnation,
        sequence,
        slot_out,
        leader,
        members,
    };
    let mut frame = Vec::new();
    put_frame(&mut frame, |out| Answer::Welcome(welcome).encode(out)).unwrap();
    let says = std::thread::spawn(move || last.accept().unwrap().0.write_all(&frame).unwrap());
    let client: Client<Journal> = wait("connect", Client::connect([address])).unwrap();
    says.join().unwrap();
    append(&client, 1).unwrap();
}

#[test]
fn one_good_address_is_enough() {
    let cluster = Cluster::new(1);
    let mut all = addresses(3);
    all.insert(2, cluster.peers[0].clone());
    let client: Client<Journal> = wait("connect", Client::connect(all)).unwrap();
    append(&client, 1).unwrap();
}

/// The files of a node's directory that begin with this.
fn files(cluster: &Cluster, id: u32, with: &str) -> Vec<std::path::PathBuf> {
    let names = fs::read_dir(cluster.directory(id)).unwrap();
    let paths = names.map(|entry| entry.unwrap().path());
    let is = |path: &std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().contains(with);
    let mut paths: Vec<_> = paths.filter(is).collect();
    paths.sort();
    paths
}

fn flip(path: &std::path::Path, at: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[usize::try_from(at).unwrap()] ^= 0x40;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_log_with_a_byte_flipped_anywhere_is_an_error_or_is_repaired_and_never_wrong() {
    let mut cluster = Cluster::with(3, |builder| builder.segment_bytes(16 << 10));
    let expected: Vec<u64> = (0..200).collect();
    let client = cluster.connect();
    for number in &expected {
        append(&client, *number).unwrap();
    }
    cluster.converge();
    cluster.kill(3);
    let backup = cluster.data.path().join("backup");
    copy(&cluster.directory(3), &backup);
    let logs = files(&cluster, 3, "log");
    assert!(!logs.is_empty(), "{:?}", files(&cluster, 3, ""));
    let (mut errors, mut repaired) = (0, 0);
    for (nth, log) in logs.iter().enumerate() {
        let len = fs::metadata(log).unwrap().len();
        for at in [0, 30, 100, 1000, 3000, len / 2, len - 1] {
            if at >= len || (nth > 1 && at != 1000) {
                continue;
            }
            flip(log, at);
            match cluster.try_start(3) {
                Ok(node) => {
                    let client = node.client();
                    match wait("a read", client.read(synod::Linearizable, Query::Numbers)) {
                        Ok(numbers) => {
                            assert_eq!(numbers, expected, "{log:?} at {at}");
                            repaired += 1;
                        }
                        // The others knew more of its log than there is.
                        Err(_) => {
                            let reason = stopped(&node);
                            assert!(matches!(reason, StopReason::Refused { .. }), "{reason}");
                            errors += 1;
                        }
                    }
                    node.kill();
                }
                Err(error) => {
                    assert!(matches!(error, StartError::Open(_)), "{error:?}");
                    errors += 1;
                }
            }
            fs::remove_dir_all(cluster.directory(3)).unwrap();
            copy(&backup, &cluster.directory(3));
        }
    }
    assert!(errors + repaired > 20, "{errors} errors, {repaired} repaired");
    assert_eq!(cluster.numbers(1), expected);
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_damaged_snapshot_is_named_and_its_removal_is_the_cure() {
    let mut cluster = Cluster::new(3);
    let client = cluster.connect();
    for number in 0..50 {
        append(&client, number).unwrap();
    }
    cluster.converge();
    (1..=3).for_each(|id| wait("a snapshot", cluster.client(id).snapshot()).unwrap());
    until("all have one", || (1..=3).all(|id| !files(&cluster, id, ".snap").is_empty()));
    until("all know", || (1..=3).all(|id| cluster.status(id).durable > 50));
    append(&client, 50).unwrap();
    let expected: Vec<u64> = (0..=50).collect();
    cluster.converge();
    cluster.kill(2);
    let snapshot = files(&cluster, 2, ".snap").remove(0);
    let len = fs::metadata(&snapshot).unwrap().len();
    for at in [0, 70, len / 2, len - 1] {
        flip(&snapshot, at);
        let error = failure(cluster.try_start(2));
        assert!(matches!(error, StartError::Snapshot(_) | StartError::Open(_)), "{error:?}");
        assert!(error.to_string().contains("snapshot-"), "{error}");
        flip(&snapshot, at);
    }
    flip(&snapshot, 70);
    fs::remove_file(&snapshot).unwrap();
    cluster.start(2);
    assert_eq!(cluster.numbers(2), expected);
    cluster.converge();
}

#[test]
fn a_damaged_genesis_is_named() {
    let mut cluster = Cluster::new(1);
    append(&cluster.client(1), 1).unwrap();
    cluster.kill(1);
    let file = files(&cluster, 1, "GENESIS").remove(0);
    for at in 0..fs::metadata(&file).unwrap().len() {
        flip(&file, at);
        let error = failure(cluster.try_start(1));
        assert!(error.to_string().contains("GENESIS is damaged"), "{error}");
        flip(&file, at);
    }
    fs::write(&file, []).unwrap();
    let error = failure(cluster.try_start(1));
    assert!(error.to_string().contains("GENESIS is damaged"), "{error}");
    // What the peers say is what it was: without the file, it is made again.
    fs::remove_file(&file).unwrap();
    cluster.start(1);
    assert_eq!(cluster.numbers(1), [1]);
}

#[test]
fn a_state_machine_that_panics_stops_its_node_and_no_other() {
    let fragile = Journal::fragile();
    let mut cluster = Cluster::unstarted(3, |builder| builder);
    (1..=2).for_each(|id| cluster.start(id));
    let builder = cluster.builder_with(3, fragile.clone()).peers(&cluster.peers);
    let weak = wait("a start", builder.start()).unwrap();
    let (client, at_weak) = (cluster.client(1), weak.client());
    append(&client, 1).unwrap();
    append(&at_weak, 2).unwrap();
    wait("a call", client.call(Command::Explode)).unwrap();
    let reason = stopped(&weak);
    assert!(matches!(&reason, StopReason::Panicked(why) if why == "told to explode"), "{reason}");
    assert!(append(&at_weak, 3).is_err());
    assert!(wait("a status", weak.status()).is_none(), "it has stopped");
    assert!(weak.has_stopped().is_some());
    append(&client, 4).unwrap();
    assert_eq!(cluster.numbers(2), [1, 2, 4]);
    // The command is in its log. It cannot start, until its machine takes it.
    let builder = cluster.builder_with(3, fragile).peers(&cluster.peers);
    if let Ok(again) = wait("a start", builder.start()) {
        assert!(matches!(stopped(&again), StopReason::Panicked(_)));
    }
    drop(weak);
    cluster.start(3);
    assert_eq!(cluster.numbers(3), [1, 2, 4]);
}

#[test]
fn a_node_cannot_join_where_nobody_is() {
    let cluster = Cluster::unstarted(1, |builder| builder);
    let builder = cluster.builder(4).join(&cluster.peers).address(&cluster.peers[0]);
    match failure(wait("a start", builder.start())) {
        StartError::Join(ConnectError::Unreachable { addresses, .. }) => {
            assert_eq!(addresses, cluster.peers[0]);
        }
        other => panic!("{other:?}"),
    }
    let joins = Cluster::new(1);
    let builder = joins.builder(4).join(&joins.peers);
    let error = failure(wait("a start", builder.start()));
    assert!(error.to_string().contains("Set it with address()"), "{error}");
}

#[test]
fn a_node_that_joins_under_an_id_that_is_taken_is_refused() {
    let cluster = Cluster::new(1);
    append(&cluster.client(1), 1).unwrap();
    let taken = Cluster::unstarted(1, |builder| builder);
    let builder = taken.builder(1).join(&cluster.peers).address(&taken.peers[0]);
    let error = failure(wait("a start", builder.start()));
    assert!(error.to_string().contains("needs a new id"), "{error}");
}
