//! The seeds, without libFuzzer: each target gets those that are kept for it.
//!
//! `made-*` are made here, from bytes that are really written. libFuzzer found the others: each
//! leads to code that no other leads to. `UPDATE_GOLDENFILES=1` writes those that are made here.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use synod::{
    Level, Refused,
    protocol::{Ask, Manage, Report, Tell},
    transport::{
        handshake::{Answer, Caller, Hello, Refusal, Welcome},
        put_frame,
    },
};
use synod_fuzz::{TARGETS, memory};
use synod_paxos::{ClientId, Command, NodeId, Op, Payload, Slot};

/// All seeds together, in bytes.
const MOST: usize = 200 << 10;

/// Memory is measured, so only one test may be at work.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn directory(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target)
}

fn files(target: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(directory(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_seed_passes() {
    let _alone = alone();
    let mut length = 0;
    for target in TARGETS {
        let files = files(target.name);
        assert!(files.len() >= 4, "{}: {} seeds", target.name, files.len());
        for file in files {
            let bytes = fs::read(&file).unwrap();
            length += bytes.len();
            let outcome = catch_unwind(|| (target.run)(&bytes));
            assert!(outcome.is_ok(), "it fails with {}", file.display());
        }
    }
    assert!(length <= MOST, "{length} bytes are too many to keep");
}

#[test]
fn no_bytes_are_too_few() {
    let _alone = alone();
    for target in TARGETS {
        (target.run)(&[]);
        for byte in (0..=u8::MAX).step_by(7) {
            (target.run)(&[byte]);
        }
    }
}

#[test]
fn memory_that_nobody_needs_is_noticed() {
    let _alone = alone();
    let ask = |len: usize, most| memory::within(most, || Vec::<u8>::with_capacity(len)).capacity();
    assert!(ask(1000, 1000) >= 1000);
    assert!(catch_unwind(|| ask(1001, 1000)).is_err());
}

#[test]
fn the_seeds_are_what_is_really_written() {
    let _alone = alone();
    for (target, name, bytes) in seeds() {
        let file = directory(target).join(format!("made-{name}"));
        if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
            fs::create_dir_all(directory(target)).unwrap();
            fs::write(&file, &bytes).unwrap();
        }
        assert!(fs::read(&file).ok() == Some(bytes), "{} is not what is written", file.display());
    }
}

type Seed = (&'static str, String, Vec<u8>);

fn seeds() -> Vec<Seed> {
    let mut seeds = frames();
    seeds.extend(messages());
    seeds.extend(recovery());
    seeds.extend(snapshots());
    seeds.extend(node());
    seeds
}

/// A seed of bytes that follow a byte which says what they are.
fn seed(target: &'static str, name: &str, kind: u8, put: impl FnOnce(&mut Vec<u8>)) -> Seed {
    let mut bytes = vec![kind];
    put(&mut bytes);
    (target, name.to_owned(), bytes)
}

fn frames() -> Vec<Seed> {
    let hello = |caller| Hello { cluster: 0xc1, to: Some(NodeId(2)), caller };
    let peer = Caller::Peer {
        node: NodeId(1),
        birth: 3,
        incarnation: 4,
        process: 5,
        began: 6,
        address: "a:1".into(),
    };
    let welcome = Answer::Welcome(Welcome {
        cluster: 0xc1,
        node: NodeId(2),
        birth: 3,
        incarnation: 4,
        sequence: 5,
        slot_out: Slot(6),
        leader: Some(NodeId(2)),
        members: vec![(NodeId(1), "a:1".into()), (NodeId(2), "b:2".into())],
    });
    let refusal = Answer::Refusal(Refusal::Rollback { node: NodeId(1), known: 9, claimed: 8 });
    let client = ClientId { born: Slot(1), number: 7 };
    let op = Op::Apply(Payload::from(b"x".as_slice()));
    let command = Ask::Command(Command { client, cid: 1, acked: 1, op });
    let read = Ask::Read { id: 1, level: Level::Lease, query: b"x" };
    let manage = Ask::Manage { id: 1, what: Manage::HandOver(Some(2)) };
    let report = |report| Tell::Report { id: 1, report };
    let members = Tell::Members { epoch: 2, members: vec![(1, "a:1"), (2, "b:2")] };
    let (cid, why) = (1, Refused::Busy);
    let frames = "frames";
    vec![
        seed(frames, "stream", 0, |out| {
            let mut stream = Vec::new();
            for body in [b"one".as_slice(), b"another one"] {
                put_frame(&mut stream, |out| out.extend_from_slice(body)).unwrap();
            }
            // The second half says how it is cut.
            out.extend_from_slice(&stream);
            out.extend((0..stream.len()).map(|at| u8::try_from(at % 7).unwrap()));
        }),
        seed(frames, "bodies", 1, |out| {
            out.extend(b"\x03\x05hello\x00\x04four\x01\x01x\x02123456");
        }),
        seed(frames, "hello-peer", 2, |out| hello(peer).encode(out)),
        seed(frames, "hello-client", 2, |out| hello(Caller::Client).encode(out)),
        seed(frames, "welcome", 3, |out| welcome.encode(out)),
        seed(frames, "refusal", 3, |out| refusal.encode(out)),
        seed(frames, "ask-command", 4, |out| command.put(out)),
        seed(frames, "ask-read", 4, |out| read.put(out)),
        seed(frames, "ask-manage", 4, |out| manage.put(out)),
        seed(frames, "tell-done", 5, |out| Tell::Done { cid, reply: b"x" }.put(out)),
        seed(frames, "tell-refused", 5, |out| Tell::Refused { cid, why }.put(out)),
        seed(frames, "tell-genesis", 5, |out| report(Report::Genesis(Box::default())).put(out)),
        seed(frames, "tell-agreed", 5, |out| report(Report::Agreed(Some(2))).put(out)),
        seed(frames, "tell-members", 5, |out| members.put(out)),
    ]
}

/// One of each kind of the golden bytes.
fn messages() -> Vec<Seed> {
    let golden = include_str!("../../crates/paxos/tests/wire_golden/v1.txt");
    let mut seeds: Vec<Seed> = Vec::new();
    for example in golden.split("\n\n").filter(|example| !example.starts_with('#')) {
        let (title, hex) = example.trim().split_once('\n').unwrap();
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let digit = |digit: u8| u8::try_from((digit as char).to_digit(16).unwrap()).unwrap();
        let bytes = digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1]));
        let what = title.split(' ').next().unwrap();
        let kind = ["message", "record", "command", "frame"].iter().position(|kind| *kind == what);
        let kind = u8::try_from(kind.unwrap()).unwrap();
        let bytes: Vec<u8> = [kind].into_iter().chain(bytes).collect();
        let words = title.split(' ').take(if kind < 2 { 2 } else { 1 });
        let name: Vec<&str> = words.collect();
        let name = name.join("-").replace(|c: char| !c.is_ascii_alphanumeric() && c != '_', "-");
        if seeds.iter().all(|(_, known, _)| *known != name) {
            seeds.push(("messages", name, bytes));
        }
    }
    seeds
}

fn recovery() -> Vec<Seed> {
    // Thirty records: accepted, adopted, learned, performed, in batches of one or two.
    let records: Vec<u8> = (0..30_u8).map(|n| (n % 8) | (n % 3) << 3 | (n % 12) << 4).collect();
    let made = |name: &str, closed: u8, cut: &[u8], changes: &[u8]| {
        let bytes = [&[1, closed, 30][..], &records, cut, changes].concat();
        ("recovery", name.to_owned(), bytes)
    };
    vec![
        made("closed", 0, &[], &[]),
        made("power-cut", 1, &[20, 0], &[]),
        // File 1, a bit; file 2, some bytes; file 1, from some byte on.
        made("flipped", 0, &[], &[1, 0, 0x40, 0x20, 3]),
        made("overwritten", 0, &[], &[2, 2, 0x90, 0x20, 100, 0xee]),
        made("cut-off", 0, &[], &[1, 3, 0x00, 0x21]),
        made("swapped", 0, &[], &[1, 4, 0x00, 0x20, 0x00, 0x22]),
        made("restored", 0, &[], &[1, 6, 0x00, 0x20, 0]),
        made("lost", 0, &[], &[1, 7, 0, 0]),
        ("recovery", "strange".into(), [&[0, 1, 1][..], &[0x5a; 200]].concat()),
    ]
}

fn snapshots() -> Vec<Seed> {
    let made = |name: &str, bytes: &[u8]| ("snapshots", name.to_owned(), bytes.to_vec());
    vec![
        made("strange", b"\x00SYNODSNP and what else there may be"),
        made("untouched", b"\x01\x05state\x00"),
        made("flipped", b"\x01\x05state\x07\x00\x80\x02\x03"),
        made("cut-off", b"\x01\x05state\x05\x02\x40\x01"),
        made("announced", b"\x02\x0912345678\x01\x02\x0aSYNODSNP..\x02\x05?????"),
        made("fetched", b"\x03\x05state\x07\x05\x00\xff\x00\x00\xff\x00"),
        made("fetched-damaged", b"\x03\x05state\x05\x05\x00\x10\x07\x00\x05\x00\x01"),
    ]
}

/// What happens, as the target counts it: a kind, and for most of them, to whom.
fn does(kind: u8, whom: u8) -> u8 {
    128 | kind << 2 | whom
}

/// Settings of a cluster, and what happens to it.
fn story(name: &str, flags: u8, sizes: u8, steps: &[&[u8]]) -> Seed {
    ("node", name.to_owned(), [&[flags, sizes, 7, 1], &*steps.concat()].concat())
}

/// The network carries everything, three times, and the disks sync.
fn settle() -> Vec<u8> {
    [[does(0, 0), does(5, 0), does(5, 1), does(5, 2)].repeat(3), vec![does(0, 0)]].concat()
}

/// Both clients ask for something, and everybody does what is to be done.
fn asked(times: usize) -> Vec<u8> {
    let ask = [does(6, 0), does(6, 1), does(0, 0), does(4, 0), does(4, 1), does(4, 2)];
    [&ask[..], &settle()].concat().repeat(times)
}

fn node() -> Vec<Seed> {
    let leads = [&[does(12, 0)][..], &settle()].concat();
    let ticks = [&[does(2, 2)][..], &settle()].concat().repeat(2);
    let takes_over = [&[does(12, 1)][..], &settle(), &[does(8, 1), does(0, 0)]].concat();
    let reads = [does(9, 0), does(9, 1), does(9, 2)];
    vec![
        story("answers", 0, 7, &[&leads, &asked(4)]),
        story("separate-processes", 1, 7, &[&leads, &asked(2), &ticks]),
        story(
            "leader-crashes",
            32,
            7,
            &[
                &leads,
                &asked(2),
                &[does(6, 0), does(0, 0), does(10, 0)],
                &takes_over,
                &asked(1),
                &[does(11, 0)],
                &ticks,
            ],
        ),
        story(
            "falls-behind",
            128,
            1,
            &[
                &leads,
                &[does(10, 2)],
                &asked(12),
                &ticks,
                &[does(11, 2)],
                &ticks,
                &[does(15, 2)],
                &ticks,
            ],
        ),
        story("lease", 2, 7, &[&leads, &ticks, &asked(1), &reads, &ticks, &[does(13, 0)], &ticks]),
        story(
            "members-are-replaced",
            0,
            0x27,
            &[&leads, &asked(1), &[does(17, 0)], &asked(3), &ticks],
        ),
    ]
}
