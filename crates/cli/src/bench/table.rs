//! What a run has come to, as tables to look at.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};

use super::report::{Failover, Latencies, Limit, Limits, Report, Usage, number};

impl fmt::Display for Report {
    /// Two tables: latencies, and everything else.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut latencies = table();
        latencies.set_header(["", "done", "per second", "p50", "p90", "p99", "p99.9", "max"]);
        for (name, kind) in [("writes", &self.writes), ("reads", &self.reads)] {
            if let Some(kind) = kind {
                latencies.add_row(row(name, kind));
            }
        }
        align(&mut latencies);
        let mut rest = Lines(table());
        self.problems(&mut rest);
        if let Some(sending) = &self.sending {
            let value = format!("{} ({})", time(sending.p50_us), time(sending.p99_us));
            rest.line("of the latency, waiting to be sent: p50 (p99)", value);
        }
        if let Some(floor) = &self.floor {
            limits(floor, &mut rest);
        }
        if let Some(failover) = &self.failover {
            outages(failover, &mut rest);
        }
        usage(&self.usage, &mut rest);
        align(&mut rest.0);
        writeln!(f, "{latencies}")?;
        if rest.0.row_count() > 0 {
            writeln!(f, "{}", rest.0)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}

struct Lines(Table);

impl Lines {
    fn line(&mut self, name: &str, value: String) {
        self.0.add_row([name, &value]);
    }
}

impl Report {
    /// How commands ended that were not done, if there are any.
    fn problems(&self, lines: &mut Lines) {
        let outcomes = &self.outcomes;
        let counts = [
            ("busy", outcomes.busy),
            ("unknown", outcomes.unknown),
            ("failed", outcomes.failed),
            ("unanswered", outcomes.unanswered),
        ];
        for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            lines.line(name, count.to_string());
        }
        for (reason, count) in &outcomes.reasons {
            lines.line(&format!("  {reason}"), count.to_string());
        }
    }
}

fn row(name: &str, latencies: &Latencies) -> Vec<String> {
    let Latencies { count, per_s, p50_us, p90_us, p99_us, p999_us, max_us, .. } = latencies;
    let times = [p50_us, p90_us, p99_us, p999_us, max_us].map(|us| time(*us));
    let mut row = vec![name.to_owned(), count.to_string(), format!("{per_s:.0}")];
    row.extend(times);
    row
}

/// Both measurements, and their sum in the load's terms.
fn limits(floor: &Limits, lines: &mut Lines) {
    let mut both = |name: &str, times: fn(&Limit) -> Option<(f64, f64)>| {
        let show = |(p50, p99)| format!("{} ({})", time(p50), time(p99));
        let shown = (times(&floor.before).map(show), times(&floor.after).map(show));
        if let (Some(before), Some(after)) = shown {
            lines.line(&format!("{name}: p50 (p99), before"), before);
            lines.line("  after the load", after);
        }
    };
    both("loopback round trip, one core", |it| Some((it.round_trip_p50_us, it.round_trip_p99_us)));
    both("loopback round trip, cores apart", |it| {
        it.round_trip_cores_apart_p50_us.zip(it.round_trip_cores_apart_p99_us)
    });
    both("fdatasync", |it| Some((it.fdatasync_p50_us, it.fdatasync_p99_us)));
    let apart = floor.write_cores_apart_us.map(|us| format!(" ({})", time(us)));
    let name = "floor, 2 round trips + 1 fdatasync (cores apart)";
    lines.line(name, time(floor.write_us) + &apart.unwrap_or_default());
    if let Some(multiple) = floor.writes_p50_multiple {
        let apart = floor.writes_p50_multiple_cores_apart;
        let apart = apart.map(|apart| format!(" ({apart:.2})")).unwrap_or_default();
        lines.line("p50 of writes, in floors", format!("{multiple:.2}{apart}"));
    }
}

fn outages(failover: &Failover, lines: &mut Lines) {
    let Failover { kills, resumed, .. } = failover;
    lines.line("leaders killed", kills.to_string());
    if resumed < kills {
        lines.line("  writes not resumed before the end", (kills - resumed).to_string());
    }
    let mut pair = |name: &str, median: Option<f64>, max: Option<f64>| {
        if let (Some(median), Some(max)) = (median, max) {
            lines.line(name, format!("{median:.0} ms (max {max:.0} ms)"));
        }
    };
    let median = failover.writes_resumed_median_ms;
    pair("  writes resumed after: median", median, failover.writes_resumed_max_ms);
    let median = failover.longest_gap_median_ms;
    pair("  longest gap between writes: median", median, failover.longest_gap_max_ms);
}

fn usage(usage: &Usage, lines: &mut Lines) {
    if let Some(us) = usage.nodes_cpu_per_command_us {
        lines.line("CPU of all nodes per command", time(us));
    }
    if let Some(us) = usage.generator_cpu_per_command_us {
        lines.line("CPU of this program per command", time(us));
    }
    if let Some(nodes) = &usage.nodes_resident_bytes {
        let mib = |bytes: &u64| format!("{:.1}", number(*bytes) / f64::from(1 << 20));
        let nodes: Vec<String> = nodes.iter().map(mib).collect();
        lines.line("memory of the nodes", format!("{} MiB", nodes.join(", ")));
    }
}

/// With as many digits as tell something.
pub(super) fn time(microseconds: f64) -> String {
    match microseconds {
        us if us < 10.0 => format!("{us:.1} µs"),
        us if us < 10_000.0 => format!("{us:.0} µs"),
        us if us < 10_000_000.0 => format!("{:.1} ms", us / 1e3),
        us => format!("{:.1} s", us / 1e6),
    }
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table
}

/// Numbers stand on the right.
fn align(table: &mut Table) {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::report::tests::report, *};

    #[test]
    fn the_tables_say_what_matters() {
        let text = report().to_string();
        for expected in [
            "┆  975 ┆        500 ┆ 1000 µs",
            "failed",
            "  full",
            "200 µs (300 µs)",
            "5.00 (3.33)",
            "leaders killed",
            "301 ms (max 301 ms)",
            "10.0, 0.0, 20.0 MiB",
            "note: a note",
        ] {
            assert!(text.contains(expected), "{expected}:\n{text}");
        }
        assert!(!text.contains("unanswered"), "{text}");
    }

    #[test]
    fn times_have_a_fitting_unit() {
        assert_eq!(time(0.31), "0.3 µs");
        assert_eq!(time(217.4), "217 µs");
        assert_eq!(time(12_345.0), "12.3 ms");
        assert_eq!(time(12_345_678.0), "12.3 s");
    }
}
