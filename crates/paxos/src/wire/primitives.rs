//! Numbers, lists and options: what everything else is made of.

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};

use super::{DecodeError, Decoded, Wire};
use crate::types::{NodeId, Payload};

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Wire for $number {
            #[inline]
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            #[inline]
            fn take(bytes: &mut &[u8]) -> Decoded<Self> {
                let (head, rest) = bytes.split_first_chunk().ok_or(DecodeError::Short)?;
                *bytes = rest;
                Ok(Self::from_le_bytes(*head))
            }
        }
    )*};
}

numbers!(u8, u32, u64);

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn take(bytes: &mut &[u8]) -> Decoded<Self> {
        match u8::take(bytes)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Value),
        }
    }
}

pub(super) fn put_len(len: usize, out: &mut Vec<u8>) {
    u32::try_from(len).unwrap_or(u32::MAX).put(out);
}

/// The length of a list whose items have at least one byte each.
pub(super) fn take_len(bytes: &mut &[u8]) -> Decoded<usize> {
    let len = usize::try_from(u32::take(bytes)?).map_err(|_| DecodeError::Value)?;
    if len <= bytes.len() { Ok(len) } else { Err(DecodeError::Short) }
}

pub(super) fn put_bytes(data: &[u8], out: &mut Vec<u8>) {
    put_len(data.len(), out);
    out.extend_from_slice(data);
}

pub(super) fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Decoded<&'a [u8]> {
    let len = take_len(bytes)?;
    let (head, rest) = bytes.split_at_checked(len).ok_or(DecodeError::Short)?;
    *bytes = rest;
    Ok(head)
}

pub(super) fn put_list<'a, T: Wire + 'a>(
    items: impl ExactSizeIterator<Item = &'a T>,
    out: &mut Vec<u8>,
) {
    put_len(items.len(), out);
    items.for_each(|item| item.put(out));
}

/// Memory grows with what is really there, whatever the length says.
fn take_list<T: Wire, L: FromIterator<T>>(bytes: &mut &[u8]) -> Decoded<L> {
    let len = take_len(bytes)?;
    (0..len).map(|_| T::take(bytes)).collect()
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(self.iter(), out);
    }
    fn take(bytes: &mut &[u8]) -> Decoded<Self> {
        take_list(bytes)
    }
}

impl Wire for VecDeque<Option<Payload>> {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(self.iter(), out);
    }
    fn take(bytes: &mut &[u8]) -> Decoded<Self> {
        take_list(bytes)
    }
}

impl Wire for Box<[NodeId]> {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(self.iter(), out);
    }
    fn take(bytes: &mut &[u8]) -> Decoded<Self> {
        take_list(bytes)
    }
}

impl Wire for Box<[u8]> {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(self, out);
    }
    fn take(bytes: &mut &[u8]) -> Decoded<Self> {
        take_bytes(bytes).map(Into::into)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        self.iter().for_each(|value| value.put(out));
    }
    fn take(bytes: &mut &[u8]) -> Decoded<Self> {
        bool::take(bytes)?.then(|| T::take(bytes)).transpose()
    }
}
