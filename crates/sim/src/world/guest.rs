//! The state machine of one node, with the program that it is: it may panic, and it may be of the
//! next version. What the next version does more, it does from a certain command on, which is in
//! the log: so all nodes begin with it at the same place.

use std::{
    any::Any,
    io,
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use synod::machine::{Machine, Restore, Snapshot};

/// The command that ends so turns the next version on. To the machine itself it is a command like
/// any other: what comes after a command is not read.
pub(crate) const SWITCH: [u8; 8] = *b"\0switch\0";

/// What a planned panic says.
struct Planned;

/// Whether a panic was planned.
pub(crate) fn is_planned(panic: &(dyn Any + Send)) -> bool {
    panic.is::<Planned>()
}

/// The program of a node's state machine. A clone is the same one.
#[derive(Clone, Default)]
pub(crate) struct Program(Arc<Code>);

#[derive(Default)]
struct Code {
    next: bool,
    /// It panics at as many commands from now on, and then at each; at none, if 0; at certain ones,
    /// if [`POISONED`].
    panics: AtomicU64,
}

const POISONED: u64 = u64::MAX;
/// One command of so many is poison.
const POISONOUS: u32 = 32;

impl Program {
    /// The next version of it, or the same; it panics as this one does.
    pub(crate) fn restarted(&self, next: bool) -> Self {
        let panics = AtomicU64::new(self.0.panics.load(Ordering::Relaxed));
        Self(Arc::new(Code { next, panics }))
    }

    /// From now on it panics at the nth command, and at all after it.
    pub(crate) fn panics_from(&self, nth: u64) {
        self.0.panics.store(nth.clamp(1, POISONED - 1), Ordering::Relaxed);
    }

    /// From now on it panics at the same commands as all programs of which that is said.
    pub(crate) fn is_poisoned(&self) {
        self.0.panics.store(POISONED, Ordering::Relaxed);
    }

    /// It does not panic.
    pub(crate) fn is_mended(&self) {
        self.0.panics.store(0, Ordering::Relaxed);
    }

    /// Whether it may panic.
    pub(crate) fn may_panic(&self) -> bool {
        self.0.panics.load(Ordering::Relaxed) > 0
    }

    fn performs(&self, command: &[u8]) {
        let panics = match self.0.panics.load(Ordering::Relaxed) {
            0 => false,
            POISONED => crc(command).is_multiple_of(POISONOUS),
            1 => true,
            nth => {
                self.panics_from(nth - 1);
                false
            }
        };
        if panics {
            resume_unwind(Box::new(Planned)); // As a panic, and nothing is printed.
        }
    }
}

fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(7, |sum: u32, byte| sum.wrapping_mul(0x0100_0193) ^ u32::from(*byte))
}

/// A state machine with its program.
pub(crate) struct Guest<M> {
    machine: M,
    program: Program,
    /// How many commands there were since the next version was turned on, and with that one.
    since: u64,
}

impl<M> Guest<M> {
    pub(crate) fn new(machine: M, program: Program) -> Self {
        Self { machine, program, since: 0 }
    }

    /// Whether it does what only the next version does.
    pub(crate) fn has_switched(&self) -> bool {
        self.since > 0
    }
}

impl<M: Machine> Machine for Guest<M> {
    type Command = M::Command;
    type Reply = M::Reply;
    type Query = M::Query;
    type Answer = M::Answer;

    fn apply(&mut self, command: &[u8], reply: &mut Vec<u8>) {
        self.program.performs(command);
        self.machine.apply(command, reply);
        if self.program.0.next {
            self.since += u64::from(self.since > 0 || command.ends_with(&SWITCH));
        }
    }

    fn query(&self, query: &[u8], answer: &mut Vec<u8>) {
        self.machine.query(query, answer);
    }

    fn snapshot(&self) -> Snapshot {
        let (since, machine) = (self.since.to_le_bytes(), self.machine.snapshot());
        Box::new(move |out| {
            out.write_all(&since)?;
            machine(out)
        })
    }

    fn restore(&self) -> Restore<Self> {
        let (program, machine) = (self.program.clone(), self.machine.restore());
        Box::new(move |from| {
            let mut since = [0; 8];
            from.read_exact(&mut since)?;
            let since = u64::from_le_bytes(since);
            Ok(Self { machine: machine(from)?, program, since })
        })
    }

    fn commit(&mut self, frame: &[u8]) -> Option<io::Result<()>> {
        self.machine.commit(frame)
    }

    fn committed(&self) -> Option<Vec<u8>> {
        self.machine.committed()
    }

    fn encode_command(command: &M::Command, out: &mut Vec<u8>) {
        M::encode_command(command, out);
    }

    fn decode_reply(reply: &[u8]) -> Option<M::Reply> {
        M::decode_reply(reply)
    }

    fn encode_query(query: &M::Query, out: &mut Vec<u8>) {
        M::encode_query(query, out);
    }

    fn decode_answer(answer: &[u8]) -> Option<M::Answer> {
        M::decode_answer(answer)
    }
}
