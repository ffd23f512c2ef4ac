//! The first frame each way: who is there, and why not.
//!
//! Whoever connects sends a [`Hello`] and waits for the [`Answer`]; whoever accepts waits for the
//! hello, sends its answer, and closes if that is a [`Refusal`].
//!
//! Each begins with the magic `synod\0`, the protocol version (u16) and the kind (u8: 0 hello,
//! 1 welcome, 2 refusal), in every version there will ever be. So does this: a refusal of the
//! version is kind 2, reason 0, and the lowest and the highest version (u16 each) that the one who
//! refuses speaks, in whatever version the frame itself is and whatever may follow. All else may
//! change with the version. Numbers are little-endian, a text or a list is its length (u16) and its
//! items, an option is 0, or 1 and the value.

use std::fmt;

use synod_paxos::{NodeId, Slot};

/// The version of the protocol that is spoken here, and the only one.
pub const VERSION: u16 = 1;

/// The longest address or explanation, in bytes; of a longer one the end is not sent.
pub const TEXT_MAX: usize = 512;

/// The most members that a welcome names. With this many, and their addresses as long as can be,
/// it still is a frame that is taken before the handshake is over.
pub const MEMBERS_MAX: usize = 100;

const MAGIC: [u8; 6] = *b"synod\0";
const HELLO: u8 = 0;
const WELCOME: u8 = 1;
const REFUSAL: u8 = 2;

/// No slot is above this, so that counting on from one cannot overflow.
const SLOT_MAX: u64 = 1 << 62;

/// What the one who connects says first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// The cluster that it belongs to.
    pub cluster: u64,
    /// The node that it means, if it knows.
    pub to: Option<NodeId>,
    /// Who it is.
    pub caller: Caller,
}

/// Who connects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Caller {
    /// Another node.
    Peer {
        /// Its id.
        node: NodeId,
        /// The number that its disk drew when it was formatted.
        birth: u64,
        /// How many times it has started.
        incarnation: u32,
        /// Drawn when it started.
        process: u64,
        /// The number of the last record that was on its disk when it started.
        sequence: u64,
        /// Where it can be reached.
        address: String,
    },
    /// A client.
    Client,
}

/// What the one who is connected to says first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Come in.
    Welcome(Welcome),
    /// Stay out.
    Refusal(Refusal),
}

/// Who was reached, and what it knows that a client or a peer wants to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// The cluster that it belongs to.
    pub cluster: u64,
    /// Its id.
    pub node: NodeId,
    /// The number that its disk drew when it was formatted.
    pub birth: u64,
    /// How many times it has started.
    pub incarnation: u32,
    /// The number of the last record on its disk.
    pub sequence: u64,
    /// The first slot that it has not performed.
    pub slot_out: Slot,
    /// The leader that it follows.
    pub leader: Option<NodeId>,
    /// The members and their addresses; at most [`MEMBERS_MAX`] are sent.
    pub members: Vec<(NodeId, String)>,
}

/// Why a connection is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It does not speak our version.
    Version {
        /// The lowest version that it speaks.
        min: u16,
        /// The highest.
        max: u16,
    },
    /// It belongs to another cluster.
    Cluster {
        /// The one that it belongs to.
        theirs: u64,
    },
    /// It is not the node that was meant.
    WrongNode {
        /// The one that it is.
        is: NodeId,
    },
    /// The caller has another disk than the node of that id was known to have.
    Amnesia {
        /// The id.
        node: NodeId,
        /// The number that the known disk drew when it was formatted.
        known_birth: u64,
    },
    /// The caller's disk holds less than it once did.
    Rollback {
        /// The caller.
        node: NodeId,
        /// The highest record that is known to have been on it.
        known: u64,
        /// The last record that is on it now.
        claimed: u64,
    },
    /// Somebody else runs under the caller's id.
    Duplicate {
        /// The id.
        node: NodeId,
        /// The other one's number of starts.
        incarnation: u32,
    },
    /// The caller has not proved who it says it is; and more about that.
    Unauthenticated(String),
    /// It has as many connections as it may have.
    Busy,
    /// It is about to stop.
    Stopping,
}

impl Refusal {
    /// Whether a node that is refused so must stop: it is not who it was.
    #[must_use]
    pub fn is_for_good(&self) -> bool {
        match self {
            Self::Amnesia { .. } | Self::Rollback { .. } | Self::Duplicate { .. } => true,
            Self::Version { .. }
            | Self::Cluster { .. }
            | Self::WrongNode { .. }
            | Self::Unauthenticated(_)
            | Self::Busy
            | Self::Stopping => false,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { min, max } => {
                let older = if *max < VERSION { "that node" } else { "this program" };
                write!(f, "it speaks protocol {min} to {max}, and we {VERSION}: upgrade {older}")
            }
            Self::Cluster { theirs } => write!(
                f,
                "it belongs to cluster {theirs:016x}: correct the address, or the cluster's name"
            ),
            Self::WrongNode { is } => {
                write!(f, "it is node {}, and not the one meant: correct the list of peers", is.0)
            }
            Self::Amnesia { node, known_birth } => write!(
                f,
                "node {} is known with the disk born as {known_birth:016x}, and this is another \
                 disk: what was promised on that one is forgotten here. Bring the old disk back, \
                 or replace the node under a new id",
                node.0
            ),
            Self::Rollback { node, known, claimed } => write!(
                f,
                "the disk of node {} ends at record {claimed}, but once had record {known}: it is \
                 an old copy. Bring the newer one back, or replace the node under a new id",
                node.0
            ),
            Self::Duplicate { node, incarnation } => write!(
                f,
                "node {} runs already, in its start number {incarnation}: stop one of the two, and \
                 give each node its own id and disk",
                node.0
            ),
            Self::Unauthenticated(why) => write!(
                f,
                "it does not believe that we are who we say: {why}. Give each node the certificate \
                 made for its id, or configure TLS at both ends alike"
            ),
            Self::Busy => {
                f.write_str("it has no room for another connection: try another node, or later")
            }
            Self::Stopping => f.write_str("it is about to stop: try another node"),
        }
    }
}

impl std::error::Error for Refusal {}

/// Why a frame is not the handshake that was waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// It does not begin as everything of Synod's does.
    #[error("the other side is not Synod: correct the address")]
    Magic,
    /// It is of another version. If it was a hello, answer [`Refusal::Version`].
    #[error("the other side speaks protocol {0}, and we {VERSION}: upgrade the older one")]
    Version(u16),
    /// Of a kind that does not exist or does not belong here.
    #[error("kind {0} does not belong here: the other side is not Synod, or it is damaged")]
    Kind(u8),
    /// The bytes end too early, or a length says more than there is.
    #[error("a handshake that ends too early")]
    Short,
    /// There are bytes after the end.
    #[error("a handshake with bytes after its end")]
    Long,
    /// A value out of its range.
    #[error("a handshake with a value out of its range")]
    Value,
}

impl Hello {
    /// Appends the bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        begin(HELLO, out);
        self.cluster.put(out);
        self.to.put(out);
        match &self.caller {
            Caller::Peer { node, birth, incarnation, process, sequence, address } => {
                out.push(0);
                node.put(out);
                birth.put(out);
                incarnation.put(out);
                process.put(out);
                sequence.put(out);
                address.put(out);
            }
            Caller::Client => out.push(1),
        }
    }

    /// Reads a hello.
    ///
    /// # Errors
    /// When the bytes are not exactly one hello of our version.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, DecodeError> {
        let bytes = &mut bytes;
        let (version, kind) = begun(bytes)?;
        of_ours(version)?;
        if kind != HELLO {
            return Err(DecodeError::Kind(kind));
        }
        let (cluster, to) = (Wire::take(bytes)?, Wire::take(bytes)?);
        let caller = match u8::take(bytes)? {
            0 => Caller::Peer {
                node: Wire::take(bytes)?,
                birth: Wire::take(bytes)?,
                incarnation: Wire::take(bytes)?,
                process: Wire::take(bytes)?,
                sequence: Wire::take(bytes)?,
                address: Wire::take(bytes)?,
            },
            1 => Caller::Client,
            kind => return Err(DecodeError::Kind(kind)),
        };
        ended(bytes).map(|()| Self { cluster, to, caller })
    }
}

impl Answer {
    /// Appends the bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Welcome(welcome) => {
                begin(WELCOME, out);
                welcome.put(out);
            }
            Self::Refusal(refusal) => {
                begin(REFUSAL, out);
                refusal.put(out);
            }
        }
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// When the bytes are neither exactly one answer of our version, nor the refusal of our version
    /// by whatever other.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, DecodeError> {
        let bytes = &mut bytes;
        let (version, kind) = begun(bytes)?;
        if kind == REFUSAL && version != VERSION && bytes.first() == Some(&0) {
            return Refusal::take(bytes).map(Self::Refusal);
        }
        of_ours(version)?;
        let answer = match kind {
            WELCOME => Self::Welcome(Welcome::take(bytes)?),
            REFUSAL => Self::Refusal(Refusal::take(bytes)?),
            kind => return Err(DecodeError::Kind(kind)),
        };
        ended(bytes).map(|()| answer)
    }
}

fn begin(kind: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC);
    VERSION.put(out);
    out.push(kind);
}

/// The version and the kind.
fn begun(bytes: &mut &[u8]) -> Result<(u16, u8), DecodeError> {
    *bytes = bytes.strip_prefix(&MAGIC).ok_or(DecodeError::Magic)?;
    Ok((Wire::take(bytes)?, Wire::take(bytes)?))
}

const fn of_ours(version: u16) -> Result<(), DecodeError> {
    if version == VERSION { Ok(()) } else { Err(DecodeError::Version(version)) }
}

const fn ended(bytes: &[u8]) -> Result<(), DecodeError> {
    if bytes.is_empty() { Ok(()) } else { Err(DecodeError::Long) }
}

/// A value with bytes.
trait Wire: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn take(bytes: &mut &[u8]) -> Result<Self, DecodeError>;
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Wire for $number {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn take(bytes: &mut &[u8]) -> Result<Self, DecodeError> {
                let (head, rest) = bytes.split_first_chunk().ok_or(DecodeError::Short)?;
                *bytes = rest;
                Ok(Self::from_le_bytes(*head))
            }
        }
    )*};
}

numbers!(u8, u16, u32, u64);

impl Wire for NodeId {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn take(bytes: &mut &[u8]) -> Result<Self, DecodeError> {
        Wire::take(bytes).map(Self)
    }
}

impl Wire for Slot {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn take(bytes: &mut &[u8]) -> Result<Self, DecodeError> {
        let slot = Wire::take(bytes)?;
        if slot <= SLOT_MAX { Ok(Self(slot)) } else { Err(DecodeError::Value) }
    }
}

impl Wire for Option<NodeId> {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_some()));
        self.iter().for_each(|node| node.put(out));
    }
    fn take(bytes: &mut &[u8]) -> Result<Self, DecodeError> {
        match u8::take(bytes)? {
            0 => Ok(None),
            1 => Wire::take(bytes).map(Some),
            _ => Err(DecodeError::Value),
        }
    }
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        let text = self.get(..self.floor_char_boundary(TEXT_MAX)).unwrap_or(self);
        u16::try_from(text.len()).unwrap_or(0).put(out);
        out.extend_from_slice(text.as_bytes());
    }
    fn take(bytes: &mut &[u8]) -> Result<Self, DecodeError> {
        let len = usize::from(u16::take(bytes)?);
        if len > TEXT_MAX {
            return Err(DecodeError::Value);
        }
        let (text, rest) = bytes.split_at_checked(len).ok_or(DecodeError::Short)?;
        *bytes = rest;
        std::str::from_utf8(text).map(Self::from).map_err(|_| DecodeError::Value)
    }
}

impl Wire for Vec<(NodeId, String)> {
    fn put(&self, out: &mut Vec<u8>) {
        let members = self.get(..MEMBERS_MAX).unwrap_or(self);
        u16::try_from(members.len()).unwrap_or(0).put(out);
        for (node, address) in members {
            node.put(out);
            address.put(out);
        }
    }
    fn take(bytes: &mut &[u8]) -> Result<Self, DecodeError> {
        let len = u16::take(bytes)?;
        if usize::from(len) > MEMBERS_MAX {
            return Err(DecodeError::Value);
        }
        (0..len).map(|_| Ok((Wire::take(bytes)?, Wire::take(bytes)?))).collect()
    }
}

impl Wire for Welcome {
    fn put(&self, out: &mut Vec<u8>) {
        self.cluster.put(out);
        self.node.put(out);
        self.birth.put(out);
        self.incarnation.put(out);
        self.sequence.put(out);
        self.slot_out.put(out);
        self.leader.put(out);
        self.members.put(out);
    }
    fn take(bytes: &mut &[u8]) -> Result<Self, DecodeError> {
        Ok(Self {
            cluster: Wire::take(bytes)?,
            node: Wire::take(bytes)?,
            birth: Wire::take(bytes)?,
            incarnation: Wire::take(bytes)?,
            sequence: Wire::take(bytes)?,
            slot_out: Wire::take(bytes)?,
            leader: Wire::take(bytes)?,
            members: Wire::take(bytes)?,
        })
    }
}

/// A refusal is the number of its reason and the fields of that, in order. The numbers are for
/// ever.
macro_rules! reasons {
    ($($reason:literal => $variant:pat, [$($field:ident),*], $build:expr;)*) => {
        impl Wire for Refusal {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $($variant => {
                        out.push($reason);
                        $($field.put(out);)*
                    })*
                }
            }
            fn take(bytes: &mut &[u8]) -> Result<Self, DecodeError> {
                match u8::take(bytes)? {
                    $($reason => {
                        $(let $field = Wire::take(bytes)?;)*
                        Ok($build)
                    })*
                    reason => Err(DecodeError::Kind(reason)),
                }
            }
        }
    };
}

reasons! {
    0 => Self::Version { min, max }, [min, max], Self::Version { min, max };
    1 => Self::Cluster { theirs }, [theirs], Self::Cluster { theirs };
    2 => Self::WrongNode { is }, [is], Self::WrongNode { is };
    3 => Self::Amnesia { node, known_birth }, [node, known_birth],
        Self::Amnesia { node, known_birth };
    4 => Self::Rollback { node, known, claimed }, [node, known, claimed],
        Self::Rollback { node, known, claimed };
    5 => Self::Duplicate { node, incarnation }, [node, incarnation],
        Self::Duplicate { node, incarnation };
    6 => Self::Unauthenticated(why), [why], Self::Unauthenticated(why);
    7 => Self::Busy, [], Self::Busy;
    8 => Self::Stopping, [], Self::Stopping;
}

#[cfg(test)]
mod tests {
    use super::{super::GREETING_MAX, *};

    fn hellos() -> Vec<Hello> {
        let caller = Caller::Peer {
            node: NodeId(2),
            birth: 0x1112_1314_1516_1718,
            incarnation: 3,
            process: 0x2122_2324_2526_2728,
            sequence: 0x99,
            address: "b:7000".to_owned(),
        };
        let cluster = 0x0102_0304_0506_0708;
        vec![
            Hello { cluster, to: Some(NodeId(1)), caller },
            Hello { cluster, to: None, caller: Caller::Client },
        ]
    }

    fn refusals() -> Vec<Refusal> {
        vec![
            Refusal::Version { min: 1, max: 2 },
            Refusal::Cluster { theirs: 5 },
            Refusal::WrongNode { is: NodeId(3) },
            Refusal::Amnesia { node: NodeId(3), known_birth: 9 },
            Refusal::Rollback { node: NodeId(3), known: 8, claimed: 7 },
            Refusal::Duplicate { node: NodeId(3), incarnation: 4 },
            Refusal::Unauthenticated("why".to_owned()),
            Refusal::Busy,
            Refusal::Stopping,
        ]
    }

    fn welcome() -> Welcome {
        Welcome {
            cluster: 1,
            node: NodeId(2),
            birth: 3,
            incarnation: 4,
            sequence: 5,
            slot_out: Slot(6),
            leader: Some(NodeId(7)),
            members: vec![(NodeId(1), "a:1".to_owned()), (NodeId(2), String::new())],
        }
    }

    fn answers() -> Vec<Answer> {
        let refusals = refusals().into_iter().map(Answer::Refusal);
        refusals.chain([Answer::Welcome(welcome())]).collect()
    }

    fn bytes(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&mut out);
        out
    }

    #[test]
    fn what_is_written_is_read() {
        for hello in hellos() {
            assert_eq!(Hello::decode(&bytes(|out| hello.encode(out))), Ok(hello));
        }
        for answer in answers() {
            assert_eq!(Answer::decode(&bytes(|out| answer.encode(out))), Ok(answer));
        }
    }

    #[test]
    fn the_bytes_are_for_ever() {
        let golden: [(Vec<u8>, &[&[u8]]); 5] = [
            (
                bytes(|out| hellos()[0].encode(out)),
                &[
                    b"synod\0\x01\0\0",
                    &[8, 7, 6, 5, 4, 3, 2, 1, 1, 1, 0, 0, 0],
                    &[0, 2, 0, 0, 0, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11],
                    &[3, 0, 0, 0, 0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21],
                    &[0x99, 0, 0, 0, 0, 0, 0, 0],
                    b"\x06\0b:7000",
                ],
            ),
            (
                bytes(|out| hellos()[1].encode(out)),
                &[b"synod\0\x01\0\0", &[8, 7, 6, 5, 4, 3, 2, 1, 0, 1]],
            ),
            (
                bytes(|out| Answer::Welcome(welcome()).encode(out)),
                &[
                    b"synod\0\x01\0\x01",
                    &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0],
                    &[4, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0],
                    &[1, 7, 0, 0, 0, 2, 0, 1, 0, 0, 0, 3, 0, b'a', b':', b'1', 2, 0, 0, 0, 0, 0],
                ],
            ),
            (
                bytes(|out| Answer::Refusal(refusals().remove(0)).encode(out)),
                &[b"synod\0\x01\0\x02", &[0, 1, 0, 2, 0]],
            ),
            (
                bytes(|out| Answer::Refusal(refusals().remove(4)).encode(out)),
                &[
                    b"synod\0\x01\0\x02",
                    &[4, 3, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0],
                ],
            ),
        ];
        for (written, expected) in golden {
            assert_eq!(written, expected.concat());
        }
        for (number, refusal) in refusals().into_iter().enumerate() {
            let written = bytes(|out| Answer::Refusal(refusal).encode(out));
            assert_eq!(usize::from(written[9]), number);
        }
    }

    #[test]
    fn versions_to_come_are_understood_as_far_as_they_must_be() {
        let mut hello = bytes(|out| hellos()[1].encode(out));
        hello[6..8].copy_from_slice(&[9, 1]);
        hello.truncate(9);
        assert_eq!(Hello::decode(&hello), Err(DecodeError::Version(0x109)));
        let refusal = b"synod\0\x09\x01\x02\0\x07\0\x09\x01and what else they may say then";
        assert_eq!(
            Answer::decode(refusal),
            Ok(Answer::Refusal(Refusal::Version { min: 7, max: 0x109 }))
        );
        let other = b"synod\0\x09\x01\x02\x01\x07\0\x09\x01";
        assert_eq!(Answer::decode(other), Err(DecodeError::Version(0x109)));
    }

    #[test]
    fn what_does_not_belong_here_is_told_apart() {
        let hello = bytes(|out| hellos()[0].encode(out));
        assert_eq!(Answer::decode(&hello), Err(DecodeError::Kind(HELLO)));
        let busy = bytes(|out| Answer::Refusal(Refusal::Busy).encode(out));
        assert_eq!(Hello::decode(&busy), Err(DecodeError::Kind(REFUSAL)));
        assert_eq!(Hello::decode(b"GET / HTTP/1.1"), Err(DecodeError::Magic));
        for len in MAGIC.len()..hello.len() {
            assert_eq!(Hello::decode(&hello[..len]), Err(DecodeError::Short), "{len}");
        }
        assert_eq!(Hello::decode(&[&hello[..], b"x"].concat()), Err(DecodeError::Long));
        assert_eq!(Answer::decode(&[&busy[..], b"x"].concat()), Err(DecodeError::Long));
        let mut far = welcome();
        far.slot_out = Slot(SLOT_MAX + 1);
        let far = bytes(|out| Answer::Welcome(far).encode(out));
        assert_eq!(Answer::decode(&far), Err(DecodeError::Value));
    }

    #[test]
    fn the_largest_welcome_fits_into_what_a_stranger_may_send() {
        let mut largest = welcome();
        largest.members = vec![(NodeId(1), "é".repeat(TEXT_MAX)); MEMBERS_MAX + 1];
        let written = bytes(|out| Answer::Welcome(largest).encode(out));
        assert!(written.len() <= GREETING_MAX);
        let Ok(Answer::Welcome(read)) = Answer::decode(&written) else { panic!("unreadable") };
        assert_eq!(read.members.len(), MEMBERS_MAX);
        assert_eq!(read.members[0].1, "é".repeat(TEXT_MAX / 2));
        let odd = Refusal::Unauthenticated("é".repeat(TEXT_MAX / 2) + "x");
        let odd = bytes(|out| Answer::Refusal(odd).encode(out));
        assert!(Answer::decode(&odd).is_ok());
        // A count or a length beyond what is written is refused before it is believed.
        let end = b"synod\0\x01\0\x02\x06\xff\xff";
        assert_eq!(Answer::decode(end), Err(DecodeError::Value));
    }

    #[test]
    fn no_bytes_are_too_strange() {
        let mut random = 1_u64;
        let mut draw = |below: usize| {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            usize::try_from(random >> 33).unwrap() % below
        };
        let mut good: Vec<_> = answers().iter().map(|it| bytes(|out| it.encode(out))).collect();
        good.extend(hellos().iter().map(|it| bytes(|out| it.encode(out))));
        let mut read = 0;
        for _ in 0..200_000 {
            let mut bytes = good[draw(good.len())].clone();
            for _ in 0..=draw(3) {
                let place = draw(bytes.len());
                match draw(3) {
                    0 => bytes[place] = u8::try_from(draw(256)).unwrap(),
                    1 => bytes.truncate(place.max(1)),
                    _ => bytes.insert(place, u8::try_from(draw(256)).unwrap()),
                }
            }
            read += usize::from(Hello::decode(&bytes).is_ok());
            read += usize::from(Answer::decode(&bytes).is_ok());
        }
        assert!(read > 1000, "the mutations are too wild to test anything: {read}");
    }

    #[test]
    fn every_refusal_names_its_cure() {
        let texts: Vec<_> = refusals().iter().map(ToString::to_string).collect();
        let cures = [
            "upgrade",
            "correct",
            "correct",
            "replace",
            "replace",
            "stop one",
            "certificate",
            "try",
            "try",
        ];
        for (text, cure) in texts.iter().zip(cures) {
            assert!(text.contains(cure), "{text}");
        }
        assert_eq!(texts.len(), cures.len());
    }
}
