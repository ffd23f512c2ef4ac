//! How much memory is asked for: whoever believes a length that a stranger claims is found out.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static MEMORY: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Does `work`, which may ask for `most` bytes of memory, all in all. No other thread may be at
/// work.
///
/// # Panics
/// When it asks for more.
pub fn within<T>(most: usize, work: impl FnOnce() -> T) -> T {
    let region = Region::new(MEMORY);
    let result = work();
    let asked = region.change().bytes_allocated;
    assert!(asked <= most, "{asked} bytes were asked for, where {most} should do");
    result
}
