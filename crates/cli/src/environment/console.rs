//! What a run prints while it lasts.

use std::io::Write;

/// Writes lines to the standard output. If nobody reads it any more, the run goes on: its exit
/// status still counts.
pub(crate) fn write(lines: &str) {
    if !lines.is_empty() {
        drop(std::io::stdout().lock().write_all(lines.as_bytes()));
    }
}
