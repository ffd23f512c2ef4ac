//! The state machine of the environment: one integer.
//!
//! Addition and multiplication do not commute, so replicas that disagree about the order of the
//! commands show it, in the integer or at least in the hash of everything performed.

use std::io::Write;

use synod_paxos::{Payload, StateMachine};

/// What a client may ask for. Arithmetic wraps around.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    Add(i64),
    Subtract(i64),
    Multiply(i64),
}

impl Op {
    /// The operation of command number `k` of a client. The factor is odd: then multiplying loses
    /// nothing, and the integer depends on its whole history.
    pub(crate) fn of_command(client: u32, k: u64) -> Self {
        let client = i64::from(client);
        match k % 4 {
            0 => Self::Add(1),
            1 => Self::Add(client),
            2 => Self::Subtract(2 * client),
            _ => Self::Multiply(3),
        }
    }

    /// As text, such as `*3`: a trace can be read, and it fits into the short form of a payload.
    pub(crate) fn payload(self) -> Payload {
        match self {
            Self::Add(n) => text(format_args!("+{n}")),
            Self::Subtract(n) => text(format_args!("-{n}")),
            Self::Multiply(n) => text(format_args!("*{n}")),
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (sign, digits) = bytes.split_first()?;
        let n = std::str::from_utf8(digits).ok()?.parse().ok()?;
        match sign {
            b'+' => Some(Self::Add(n)),
            b'-' => Some(Self::Subtract(n)),
            b'*' => Some(Self::Multiply(n)),
            _ => None,
        }
    }

    /// The operation as a number, for hashing.
    fn word(self) -> u64 {
        match self {
            Self::Add(n) => n.cast_unsigned().rotate_left(1),
            Self::Subtract(n) => n.cast_unsigned().rotate_left(2) ^ 1,
            Self::Multiply(n) => n.cast_unsigned().rotate_left(3) ^ 2,
        }
    }
}

/// A sign and an integer, as a payload.
fn text(content: std::fmt::Arguments<'_>) -> Payload {
    let mut bytes = [0; 24];
    let mut rest = bytes.as_mut_slice();
    rest.write_fmt(content).expect("a sign and an i64 have at most 21 characters");
    let written = 24 - rest.len();
    Payload::from(&bytes[..written])
}

/// The integer, and what has become of it so far.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Machine {
    pub(crate) value: i64,
    /// Of all operations performed, in their order, and their results.
    pub(crate) hash: u64,
    /// How many operations have been performed.
    pub(crate) performed: u64,
}

impl StateMachine for Machine {
    fn apply(&mut self, op: &[u8]) -> Payload {
        const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
        let Some(op) = Op::parse(op) else { return Payload::EMPTY };
        self.value = match op {
            Op::Add(n) => self.value.wrapping_add(n),
            Op::Subtract(n) => self.value.wrapping_sub(n),
            Op::Multiply(n) => self.value.wrapping_mul(n),
        };
        let word = op.word() ^ self.value.cast_unsigned();
        self.hash = (self.hash.rotate_left(23) ^ word).wrapping_mul(PRIME);
        self.performed += 1;
        text(format_args!("{}", self.value))
    }
}

impl Machine {
    /// The state as bytes.
    pub(crate) fn snapshot(&self) -> Vec<u8> {
        let words = [self.value.cast_unsigned(), self.hash, self.performed];
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// The state of these bytes, if they are one.
    pub(crate) fn restore(snapshot: &[u8]) -> Option<Self> {
        let (words, rest) = snapshot.as_chunks::<8>();
        let ([value, hash, performed], []) = (words, rest) else { return None };
        Some(Self {
            value: i64::from_le_bytes(*value),
            hash: u64::from_le_bytes(*hash),
            performed: u64::from_le_bytes(*performed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(machine: &mut Machine, op: Op) -> String {
        machine.apply(op.payload().as_slice()).to_string()
    }

    #[test]
    fn computes_and_wraps_around() {
        let mut machine = Machine::default();
        assert_eq!(apply(&mut machine, Op::Add(5)), "5");
        assert_eq!(apply(&mut machine, Op::Subtract(7)), "-2");
        assert_eq!(apply(&mut machine, Op::Multiply(3)), "-6");
        assert_eq!(apply(&mut machine, Op::Add(i64::MIN)), (i64::MAX - 5).to_string());
    }

    #[test]
    fn another_order_shows_in_the_state_and_in_the_hash() {
        let (mut a, mut b) = (Machine::default(), Machine::default());
        for (x, y) in [(Op::Add(1), Op::Multiply(3)), (Op::Multiply(3), Op::Add(1))] {
            apply(&mut a, x);
            apply(&mut b, y);
        }
        assert_ne!((a.value, a.hash), (b.value, b.hash));
        assert_eq!(a.performed, b.performed);
    }

    #[test]
    fn every_operation_survives_as_text() {
        for n in [0, 1, -1, i64::MAX, i64::MIN] {
            for op in [Op::Add(n), Op::Subtract(n), Op::Multiply(n)] {
                assert_eq!(Op::parse(op.payload().as_slice()), Some(op));
            }
        }
        assert_eq!(Op::parse(b"/2"), None);
    }

    #[test]
    fn a_snapshot_restores_and_nothing_else_does() {
        let mut machine = Machine::default();
        apply(&mut machine, Op::Subtract(9));
        assert_eq!(Machine::restore(&machine.snapshot()), Some(machine));
        assert_eq!(Machine::restore(b"short"), None);
    }
}
