//! Tables as all commands print them.

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use synod_sim::Summary;

/// An empty table.
pub(super) fn table() -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table
}

/// Puts the numbers of these columns on the right.
pub(super) fn align(table: &mut Table, columns: impl Iterator<Item = usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// A number that people can read.
pub(super) fn count(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}

/// So much for each of so many, in whole numbers.
pub(super) fn each(much: u128, many: u128) -> u64 {
    u64::try_from(much / many.max(1)).unwrap_or(u64::MAX)
}

/// Events per second.
pub(super) fn rate(summary: &Summary) -> u64 {
    each(u128::from(summary.events) * 1_000_000, summary.took.as_micros())
}
