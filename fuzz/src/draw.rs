//! Choices, drawn from the bytes of an input. Where there are no bytes left, each is the first.

use arbitrary::Unstructured;

/// A number below `n`, or 0.
pub(crate) fn below(input: &mut Unstructured<'_>, n: usize) -> usize {
    let draw = match u8::try_from(n.saturating_sub(1)) {
        Ok(_) => usize::from(input.arbitrary::<u8>().unwrap_or(0)),
        Err(_) => usize::from(input.arbitrary::<u16>().unwrap_or(0)),
    };
    draw % n.max(1)
}

/// One byte.
pub(crate) fn byte(input: &mut Unstructured<'_>) -> u8 {
    input.arbitrary().unwrap_or(0)
}

/// Up to `most` of the next bytes.
pub(crate) fn bytes<'a>(input: &mut Unstructured<'a>, most: usize) -> &'a [u8] {
    let len = below(input, most + 1).min(input.len());
    input.bytes(len).unwrap_or(&[])
}
