//! Numbers at fixed places, and blocks that say what they are.
//!
//! A block begins with eight bytes that name its kind, a checksum of all that follows it, and the
//! version of the format. These three are at the same place in every version of the format.

/// The version of the format that is written.
pub(crate) const FORMAT: u32 = 1;

/// Where a block's own fields begin.
pub(crate) const FIELDS: usize = 16;

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes are four bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes are eight bytes"))
}

pub(crate) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// A 64-bit number's lower half.
pub(crate) fn low(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Puts name, checksum and version in front of a block's fields.
pub(crate) fn seal(block: &mut [u8], magic: [u8; 8]) {
    block[..8].copy_from_slice(&magic);
    put_u32(block, 12, FORMAT);
    let crc = crc32c::crc32c(&block[12..]);
    put_u32(block, 8, crc);
}

/// The version of a block's format, if the block is of this kind and undamaged.
pub(crate) fn version(block: &[u8], magic: [u8; 8]) -> Option<u32> {
    let intact = block[..8] == magic && crc32c::crc32c(&block[12..]) == u32_at(block, 8);
    intact.then(|| u32_at(block, 12))
}
