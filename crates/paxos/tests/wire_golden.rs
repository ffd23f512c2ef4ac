//! The bytes of format version 1, for ever: what one release has written, every later one reads.
//!
//! `wire_golden/v1.txt` has an example of every message, record and command, and of the frame of a
//! snapshot.
//! What stands there is never changed. `UPDATE_GOLDENFILES=1` appends examples that are new.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf, sync::Arc};

use synod_paxos::{
    Ballot, ClientId, Command, Decree, InvalidSnapshot, Members, Message, NodeId, Op, Outbox,
    PValue, Payload, Quorums, Reconfiguration, Record, Schedule, Slot, StateMachine,
    message::{LeaseMessage, P1b, P2b, Progress, Propose, ReadPoint, SnapshotChunk, Vote},
    replica::Replica,
    wire::{self, DecodeError},
};

const BALLOT: Ballot = Ballot { round: 3, leader: NodeId(2), incarnation: 1 };
const HIGHER: Ballot = Ballot { round: 0x0102_0304_0506, leader: NodeId(9), incarnation: 7 };
const CLIENT: ClientId = ClientId { born: Slot(1), number: 1 };

/// The state machine behind the frame: a sum.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Sum(u64);

impl StateMachine for Sum {
    fn apply(&mut self, op: &[u8]) -> Payload {
        self.0 += op.len() as u64;
        Payload::from(self.0.to_string().into_bytes())
    }
}

fn command(cid: u64, op: &str) -> Command {
    Command { client: CLIENT, cid, acked: 1, op: Op::Apply(Payload::from(op.as_bytes())) }
}

fn reconfiguration(replaces: u64) -> Command {
    let ids = |ids: &[u32]| ids.iter().map(|&id| NodeId(id)).collect::<Box<[NodeId]>>();
    let quorums = Quorums { phase1: 3, phase2: 2 };
    let (replicas, leaders) = (ids(&[1, 2]), ids(&[11]));
    let members = Members { replicas, leaders, acceptors: ids(&[21, 22, 23, 24]), quorums };
    let client = ClientId { born: Slot(77), number: 5 };
    let op = Op::Reconfigure(Box::new(Reconfiguration { replaces, members }));
    Command { client, cid: 1, acked: 1, op }
}

fn pvalue(slot: u64, commands: &[Command]) -> PValue {
    PValue { ballot: BALLOT, slot: Slot(slot), decree: Decree::from(commands.to_vec()) }
}

fn members() -> Members {
    let nodes: Box<[NodeId]> = [NodeId(1), NodeId(2), NodeId(3)].into();
    Members::new(nodes.clone(), nodes.clone(), nodes).expect("three nodes make a configuration")
}

fn new_replica() -> Replica<Sum> {
    Replica::new(NodeId(1), 1, Sum::default(), Schedule::new(members(), 5), 8)
}

/// A replica with a session whose commands were performed out of order, another one, and a
/// configuration to come.
fn replica() -> Replica<Sum> {
    let mut replica = new_replica();
    let mut out = Outbox::new(NodeId(1));
    let decrees = [
        vec![command(3, "abc"), command(1, "a")],
        vec![Command { client: ClientId { born: Slot(1), number: 9 }, ..command(1, "") }],
        vec![Command { client: ClientId { born: Slot(2), number: 5 }, ..reconfiguration(0) }],
        vec![],
    ];
    for (slot, commands) in (1..).map(Slot).zip(decrees) {
        replica.decision(slot, Some(Decree::from(commands)), &mut out);
    }
    replica
}

fn messages() -> Vec<Message> {
    let decree = Decree::from(vec![command(1, "x"), command(2, "y")]);
    let long = command(4, "an operation that does not fit into the value itself");
    let accepted = vec![pvalue(5, &[command(1, "x")]), pvalue(7, &[])];
    let p1b = |held, rest, accepted| {
        let (first, gc_slot) = (Slot(5), Slot(4));
        Message::P1b(Box::new(P1b { asked: BALLOT, held, first, rest, gc_slot, accepted }))
    };
    let p2b = |vote| Message::P2b(P2b { slot: Slot(5), asked: BALLOT, vote });
    let decision = |decree| Message::Decision { slot: Slot(5), ballot: BALLOT, decree };
    let lease = Message::Lease;
    let point = ReadPoint { highest: Slot(8), epoch: 1 };
    let propose = |replica| Propose { slot: Slot(5), decree: decree.clone(), epoch: 2, replica };
    vec![
        Message::Forward(decree.clone()),
        Message::Propose(propose(None)),
        Message::Propose(propose(Some(NodeId(2)))),
        Message::P1a { ballot: BALLOT, first: Slot(5) },
        p1b(BALLOT, None, accepted.clone()),
        p1b(BALLOT, Some(Slot(8)), accepted),
        p1b(HIGHER, None, vec![]),
        Message::P2a(pvalue(5, &[command(1, "x")])),
        Message::P2a(pvalue(6, &[long])),
        Message::P2a(pvalue(1 << 40, &[reconfiguration(2)])),
        p2b(Vote::Accepted),
        p2b(Vote::Preempted(HIGHER)),
        p2b(Vote::Collected(Slot(6))),
        decision(Some(decree.clone())),
        decision(None),
        Message::SlotOut(Progress { slot_out: Slot(9), durable: Slot(8), epoch: 1 }),
        Message::Collect(Slot(8)),
        Message::AskSchedule,
        Message::Schedule(Arc::new(replica().schedule().clone())),
        Message::Learn(Slot(3)),
        Message::Decisions { first: Slot(3), decrees: vec![decree, Decree::noop()] },
        Message::FetchSnapshot { slot: Slot(9), offset: 4096 },
        Message::SnapshotChunk(Box::new(SnapshotChunk {
            slot: Slot(9),
            checksum: 0x0123_4567_89ab_cdef,
            total: 4100,
            offset: 4096,
            bytes: [1, 2, 3, 4].into(),
        })),
        Message::ReadQuery { round: (2 << 32) + 6 },
        Message::ReadReply { round: (2 << 32) + 6, highest: Slot(8) },
        Message::Ping { round: (1 << 32) + 4 },
        Message::Pong { round: (1 << 32) + 4, held: HIGHER },
        Message::Heartbeat { ballot: BALLOT, leading: true },
        Message::Heartbeat { ballot: HIGHER, leading: false },
        Message::TakeOver { ballot: BALLOT, round: 0 },
        Message::TakeOver { ballot: BALLOT, round: (1 << 32) + 4 },
        lease(LeaseMessage::Ask { round: (1 << 32) + 4, ballot: BALLOT, length: 100_000_000 }),
        lease(LeaseMessage::Granted { round: (1 << 32) + 4, ballot: BALLOT, length: 50_000_000 }),
        lease(LeaseMessage::Release { ballot: BALLOT, round: (1 << 32) + 4 }),
        lease(LeaseMessage::Query { round: (2 << 32) + 7 }),
        lease(LeaseMessage::Reply { round: (2 << 32) + 7, point: None }),
        lease(LeaseMessage::Reply { round: (2 << 32) + 7, point: Some(point) }),
    ]
}

/// The byte that says which kind a message is. A new kind needs a number, and an example above.
fn kind(message: &Message) -> u8 {
    match message {
        Message::Forward(_) => 0,
        Message::Propose(_) => 1,
        Message::P1a { .. } => 2,
        Message::P1b(_) => 3,
        Message::P2a(_) => 4,
        Message::P2b(_) => 5,
        Message::Decision { .. } => 6,
        Message::SlotOut(_) => 7,
        Message::Collect(_) => 8,
        Message::AskSchedule => 9,
        Message::Schedule(_) => 10,
        Message::Learn(_) => 11,
        Message::Decisions { .. } => 12,
        Message::FetchSnapshot { .. } => 13,
        Message::SnapshotChunk(_) => 14,
        Message::ReadQuery { .. } => 15,
        Message::ReadReply { .. } => 16,
        Message::Ping { .. } => 17,
        Message::Pong { .. } => 18,
        Message::Heartbeat { .. } => 19,
        Message::TakeOver { .. } => 20,
        Message::Lease(LeaseMessage::Ask { .. }) => 21,
        Message::Lease(LeaseMessage::Granted { .. }) => 22,
        Message::Lease(LeaseMessage::Release { .. }) => 23,
        Message::Lease(LeaseMessage::Query { .. }) => 24,
        Message::Lease(LeaseMessage::Reply { .. }) => 25,
    }
}

const KINDS: u8 = 26;

fn records() -> Vec<Record> {
    vec![
        Record::Started(3),
        Record::Campaigned(BALLOT),
        Record::Adopted(HIGHER),
        Record::Accepted(pvalue(5, &[command(1, "x"), command(2, "y")])),
        Record::Collected(Slot(8)),
        Record::Learned { slot: Slot(5), decree: Decree::from(vec![command(1, "x")]) },
        Record::Performed { ballot: BALLOT, first: Slot(6), end: Slot(1 << 40) },
        Record::Lost { ballot: HIGHER, slot: Slot(5) },
    ]
}

fn record_kind(record: &Record) -> u8 {
    match record {
        Record::Started(_) => 0,
        Record::Campaigned(_) => 1,
        Record::Adopted(_) => 2,
        Record::Accepted(_) => 3,
        Record::Collected(_) => 4,
        Record::Learned { .. } => 5,
        Record::Performed { .. } => 6,
        Record::Lost { .. } => 7,
    }
}

const RECORD_KINDS: u8 = 8;

fn commands() -> Vec<Command> {
    vec![command(1, "x"), reconfiguration(2)]
}

/// One thing that has bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Value {
    Message(Message),
    Record(Record),
    Command(Command),
    Frame(Vec<u8>),
}

/// How to read bytes of one sort.
type Read = fn(&[u8]) -> Result<Value, DecodeError>;

fn read_message(bytes: &[u8]) -> Result<Value, DecodeError> {
    wire::decode_message(bytes).map(Value::Message)
}

fn read_record(bytes: &[u8]) -> Result<Value, DecodeError> {
    wire::decode_record(bytes).map(Value::Record)
}

fn read_command(bytes: &[u8]) -> Result<Value, DecodeError> {
    wire::decode_command(bytes).map(Value::Command)
}

/// Reads a frame into a replica, and has it say what it has read.
fn read_frame(bytes: &[u8]) -> Result<Value, DecodeError> {
    let (mut replica, mut out) = (new_replica(), Outbox::new(NodeId(1)));
    let installed = replica.install(bytes, Sum::default(), &mut out);
    installed.map_err(|InvalidSnapshot| DecodeError::Value)?;
    Ok(Value::Frame(replica.frame()))
}

impl Value {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Message(message) => wire::encode_message(message, &mut bytes),
            Self::Record(record) => wire::encode_record(record, &mut bytes),
            Self::Command(command) => wire::encode_command(command, &mut bytes),
            Self::Frame(frame) => bytes.clone_from(frame),
        }
        bytes
    }

    fn read(&self) -> Read {
        match self {
            Self::Message(_) => read_message,
            Self::Record(_) => read_record,
            Self::Command(_) => read_command,
            Self::Frame(_) => read_frame,
        }
    }

    /// What it is, in words.
    fn title(&self) -> String {
        match self {
            Self::Message(message) => format!("message {message}"),
            Self::Record(record) => format!("record {record}"),
            Self::Command(command) => format!("command {command}"),
            Self::Frame(_) => "frame below 5, two sessions, configuration 1 from 8".into(),
        }
    }
}

fn examples() -> Vec<Value> {
    let messages = messages().into_iter().map(Value::Message);
    let records = records().into_iter().map(Value::Record);
    let commands = commands().into_iter().map(Value::Command);
    messages.chain(records).chain(commands).chain([Value::Frame(replica().frame())]).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // A String takes everything.
        text
    })
}

/// The frozen file: titles with their bytes in hexadecimal.
fn parse(text: &str) -> BTreeMap<String, String> {
    let mut frozen = BTreeMap::new();
    let mut title = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        match line.strip_prefix("    ") {
            Some(hex) => frozen.entry(title.clone()).or_insert_with(String::new).push_str(hex),
            None => line.clone_into(&mut title),
        }
    }
    frozen
}

/// Numbers that look random, the same at each run (SplitMix64).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

#[test]
fn the_bytes_of_version_1_are_what_they_were() {
    assert_eq!(wire::VERSION, 1, "a new version has a file of its own; this one is still read");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wire_golden/v1.txt");
    let mut text = fs::read_to_string(&path).unwrap();
    let frozen = parse(&text);
    let mut new = Vec::new();
    for example in examples() {
        let (title, bytes) = (example.title(), hex(&example.encode()));
        match frozen.get(&title) {
            Some(frozen) => assert_eq!(&bytes, frozen, "the bytes have changed of: {title}"),
            None => new.push((title, bytes)),
        }
    }
    if std::env::var_os("UPDATE_GOLDENFILES").is_none() {
        assert!(new.is_empty(), "not frozen yet: {new:#?}");
    }
    for (title, bytes) in &new {
        write!(text, "\n{title}\n").unwrap();
        for line in bytes.as_bytes().chunks(64) {
            writeln!(text, "    {}", str::from_utf8(line).unwrap()).unwrap();
        }
    }
    if !new.is_empty() {
        fs::write(path, text).unwrap();
    }
}

#[test]
fn every_kind_has_its_number_and_an_example() {
    let mut kinds: Vec<u8> = messages().iter().map(kind).collect();
    for message in messages() {
        assert_eq!(Value::Message(message.clone()).encode()[..2], [1, kind(&message)]);
    }
    kinds.dedup();
    assert_eq!(kinds, (0..KINDS).collect::<Vec<_>>());
    for (number, record) in (0..RECORD_KINDS).zip(records()) {
        assert_eq!(Value::Record(record.clone()).encode()[..2], [1, number]);
        assert_eq!(record_kind(&record), number);
    }
}

#[test]
fn what_is_encoded_is_decoded_as_it_was() {
    for example in examples() {
        assert_eq!((example.read())(&example.encode()), Ok(example));
    }
}

#[test]
fn bytes_that_end_too_early_are_refused() {
    for example in examples() {
        let bytes = example.encode();
        for len in 0..bytes.len() {
            assert!((example.read())(&bytes[..len]).is_err(), "{len} of {}", example.title());
        }
    }
}

#[test]
fn bytes_after_the_end_are_refused() {
    for example in examples() {
        let bytes = [example.encode(), vec![0]].concat();
        let error = match example {
            Value::Message(_) | Value::Record(_) | Value::Command(_) => DecodeError::Long,
            Value::Frame(_) => DecodeError::Value, // `InvalidSnapshot` does not say why.
        };
        assert_eq!((example.read())(&bytes), Err(error));
    }
}

/// A damaged byte gives an error or another value, and that one has these very bytes: there is
/// one way to write each value.
#[test]
fn one_wrong_byte_never_panics() {
    for example in examples() {
        let mut bytes = example.encode();
        for place in 0..bytes.len() {
            let right = bytes[place];
            for wrong in (0..=u8::MAX).filter(|wrong| *wrong != right) {
                bytes[place] = wrong;
                let Ok(value) = (example.read())(&bytes) else { continue };
                let shown = value.title();
                assert!(value != example, "byte {place} means nothing: {shown}");
                if !matches!(value, Value::Frame(_)) {
                    assert!(value.encode() == bytes, "{shown} has several forms");
                }
            }
            bytes[place] = right;
        }
    }
}

/// If such a length were believed, memory for it would be asked for, which there is not.
#[test]
fn a_length_beyond_the_end_is_refused() {
    let huge = u32::MAX.to_le_bytes();
    let of = |bytes: &[u8]| [bytes, huge.as_slice(), &[0; 8]].concat();
    let slot = 3u64.to_le_bytes();
    let epoch = [&slot[..], &huge, &[0; 8]].concat();
    assert_eq!(read_message(&of(&[1, 0])), Err(DecodeError::Short));
    assert_eq!(read_message(&of(&[&[1, 12][..], &slot].concat())), Err(DecodeError::Short));
    assert_eq!(read_message(&of(&[&[1, 10][..], &slot].concat())), Err(DecodeError::Short));
    assert_eq!(read_message(&[&[1, 10][..], &slot, &[1, 0, 0, 0], &slot, &epoch].concat()), {
        Err(DecodeError::Short)
    });
    let mut bytes = Value::Command(command(1, "x")).encode();
    let length = bytes.len() - 5;
    bytes[length..length + 4].copy_from_slice(&huge);
    assert_eq!(read_command(&bytes), Err(DecodeError::Short));
    for example in examples() {
        let bytes = example.encode();
        for place in 0..bytes.len().saturating_sub(3) {
            let mut bytes = bytes.clone();
            bytes[place..place + 4].copy_from_slice(&huge);
            drop((example.read())(&bytes));
        }
    }
}

#[test]
fn other_versions_and_unknown_kinds_are_named() {
    for example in examples() {
        let mut bytes = example.encode();
        for version in (0..=u8::MAX).filter(|version| *version != wire::VERSION) {
            bytes[0] = version;
            let error = match example {
                Value::Message(_) | Value::Record(_) | Value::Command(_) => {
                    DecodeError::Version(version)
                }
                Value::Frame(_) => DecodeError::Value,
            };
            assert_eq!((example.read())(&bytes), Err(error));
        }
    }
    for kind in KINDS..=u8::MAX {
        assert_eq!(wire::decode_message(&[1, kind]), Err(DecodeError::Kind(kind)));
    }
    for kind in RECORD_KINDS..=u8::MAX {
        assert_eq!(wire::decode_record(&[1, kind]), Err(DecodeError::Kind(kind)));
    }
}

/// What hostile bytes decode to must be fit to be logged.
#[test]
fn the_highest_numbers_can_be_shown() {
    let message = Message::SnapshotChunk(Box::new(SnapshotChunk {
        slot: Slot(1 << 62),
        checksum: u64::MAX,
        total: u64::MAX,
        offset: u64::MAX,
        bytes: [0].into(),
    }));
    let bytes = Value::Message(message.clone()).encode();
    assert_eq!(read_message(&bytes), Ok(Value::Message(message.clone())));
    assert!(message.to_string().starts_with("snapshot_chunk below"));
}

#[test]
fn noise_never_panics() {
    let mut noise = Noise(7);
    for round in 0..20_000 {
        let mut bytes = noise.bytes(round % 200);
        let reads: [Read; 4] = [read_message, read_record, read_command, read_frame];
        for read in reads {
            if let Some(version) = bytes.first_mut() {
                *version = wire::VERSION;
            }
            if let (Some(kind), true) = (bytes.get_mut(1), round % 2 == 0) {
                *kind %= KINDS; // So that more than one byte is looked at.
            }
            if let Ok(value) = read(&bytes) {
                drop(value.title());
            }
        }
    }
}
