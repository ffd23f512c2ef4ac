//! What a run has come to, as an object to compute with. Names say the unit.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{
    Error,
    conductor::Measured,
    floor::Floor,
    record::{Endings, INTERVAL, Series},
    target::Level,
};

/// Medians that differ by more than this factor are of a machine that has other things to do.
const UNREST: f64 = 1.5;

/// Everything that is known about a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(super) configuration: Configuration,
    /// Commands done within the measured time.
    pub(super) commands_per_s: f64,
    /// None if there were no writes.
    pub(super) writes: Option<Latencies>,
    pub(super) reads: Option<Latencies>,
    pub(super) outcomes: Outcomes,
    /// In an open loop: how long commands waited to be sent. It is part of their latency.
    pub(super) sending: Option<Spread>,
    pub(super) throughput: Throughput,
    pub(super) kills: Vec<Kill>,
    pub(super) failover: Option<Failover>,
    pub(super) floor: Option<Limits>,
    pub(super) usage: Usage,
    /// What whoever compares numbers should know.
    pub(super) notes: Vec<String>,
}

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Configuration {
    pub(super) version: &'static str,
    pub(super) protocol: &'static str,
    /// Nodes that were started for this run; none if the cluster was there already.
    pub(super) nodes: Option<usize>,
    pub(super) addresses: Vec<String>,
    pub(super) clients: usize,
    pub(super) in_flight_per_client: usize,
    pub(super) threads: usize,
    /// None: a closed loop.
    pub(super) rate_per_s: Option<u64>,
    pub(super) value_bytes: usize,
    pub(super) keys: u64,
    pub(super) reads_percent: u8,
    pub(super) level: Level,
    pub(super) duration_s: f64,
    pub(super) warm_up_s: f64,
    pub(super) seed: u64,
    pub(super) kill_leader_every_s: Option<f64>,
    pub(super) cpus: usize,
}

/// Commands of one kind that were done.
#[derive(Debug, Serialize)]
pub(super) struct Latencies {
    /// Of the commands that were due in the measured time.
    pub(super) count: u64,
    pub(super) per_s: f64,
    pub(super) min_us: f64,
    pub(super) mean_us: f64,
    pub(super) p50_us: f64,
    pub(super) p90_us: f64,
    pub(super) p99_us: f64,
    pub(super) p999_us: f64,
    pub(super) p9999_us: f64,
    pub(super) max_us: f64,
}

/// How the commands that were due in the measured time ended.
#[derive(Debug, Serialize)]
pub(super) struct Outcomes {
    pub(super) done: u64,
    pub(super) busy: u64,
    pub(super) unknown: u64,
    pub(super) failed: u64,
    pub(super) unanswered: u64,
    pub(super) reasons: BTreeMap<String, u64>,
}

/// Some times, briefly.
#[derive(Debug, Serialize)]
pub(super) struct Spread {
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) max_us: f64,
}

/// Commands done over time.
#[derive(Debug, Serialize)]
pub(super) struct Throughput {
    pub(super) interval_ms: u64,
    pub(super) writes_per_s: Vec<f64>,
    pub(super) reads_per_s: Vec<f64>,
}

/// A leader's process was killed. Times of day count from the start of the measured time.
#[derive(Debug, Serialize)]
pub(super) struct Kill {
    pub(super) node: usize,
    pub(super) at_s: f64,
    pub(super) restarted_at_s: Option<f64>,
    /// Until the first answer to a write that was sent after it; none if the run ended before.
    pub(super) writes_resumed_after_ms: Option<f64>,
    /// The longest time without an answer to a write, from here to the next kill.
    pub(super) longest_gap_ms: f64,
}

/// All kills together.
#[derive(Debug, Serialize)]
pub(super) struct Failover {
    pub(super) kills: usize,
    /// After how many of them writes went on before the run ended.
    pub(super) resumed: usize,
    pub(super) writes_resumed_median_ms: Option<f64>,
    pub(super) writes_resumed_max_ms: Option<f64>,
    pub(super) longest_gap_median_ms: Option<f64>,
    pub(super) longest_gap_max_ms: Option<f64>,
}

/// What the machine allows, before and after the load.
#[derive(Debug, Serialize)]
pub(super) struct Limits {
    pub(super) before: Limit,
    pub(super) after: Limit,
    /// Two round trips on one core and one fdatasync, medians of both measurements together.
    pub(super) write_us: f64,
    /// The same with round trips between cores.
    pub(super) write_cores_apart_us: Option<f64>,
    /// The median of the load's writes as a multiple of these.
    pub(super) writes_p50_multiple: Option<f64>,
    pub(super) writes_p50_multiple_cores_apart: Option<f64>,
}

/// One measurement of what the machine allows.
#[derive(Debug, Serialize)]
pub(super) struct Limit {
    /// On one core, where cores can be chosen.
    pub(super) round_trip_p50_us: f64,
    pub(super) round_trip_p99_us: f64,
    pub(super) round_trip_cores_apart_p50_us: Option<f64>,
    pub(super) round_trip_cores_apart_p99_us: Option<f64>,
    pub(super) fdatasync_p50_us: f64,
    pub(super) fdatasync_p99_us: f64,
}

/// What was used of the machine in the measured time, where that can be told.
#[derive(Debug, Serialize)]
pub(super) struct Usage {
    /// All nodes together.
    pub(super) nodes_cpu_s: Option<f64>,
    pub(super) nodes_cpu_per_command_us: Option<f64>,
    pub(super) generator_cpu_s: Option<f64>,
    pub(super) generator_cpu_per_command_us: Option<f64>,
    /// Of each node, at the end.
    pub(super) nodes_resident_bytes: Option<Vec<u64>>,
}

impl Report {
    pub(super) fn new(
        configuration: Configuration,
        measured: &Measured,
        floor: Option<[Floor; 2]>,
        mut notes: Vec<String>,
    ) -> Self {
        let Measured { window, record, .. } = measured;
        let seconds = (window.end - window.start).as_secs_f64();
        let ended = record.writes.ended() + record.reads.ended();
        let writes = latencies(&record.writes, seconds);
        let write_p50_us = writes.as_ref().map(|writes| writes.p50_us);
        let kills = kills(measured);
        let per_command = |cpu: Option<f64>| Some(cpu? / number(ended) * 1e6).filter(|_| ended > 0);
        let floor = floor.map(|[before, after]| limits(before, after, write_p50_us));
        notes.extend(floor.as_ref().and_then(unrest));
        let open = configuration.rate_per_s.is_some();
        Self {
            commands_per_s: number(ended) / seconds,
            writes,
            reads: latencies(&record.reads, seconds),
            outcomes: outcomes(&record.endings),
            sending: open.then(|| spread(&record.sending)),
            throughput: Throughput {
                interval_ms: u64::try_from(INTERVAL.as_millis()).expect("short"),
                writes_per_s: timeline(&record.writes, window.end - window.start),
                reads_per_s: timeline(&record.reads, window.end - window.start),
            },
            failover: failover(&kills),
            kills,
            floor,
            usage: Usage {
                nodes_cpu_s: measured.nodes_cpu,
                nodes_cpu_per_command_us: per_command(measured.nodes_cpu),
                generator_cpu_s: measured.generator_cpu,
                generator_cpu_per_command_us: per_command(measured.generator_cpu),
                nodes_resident_bytes: measured.resident_bytes.clone(),
            },
            configuration,
            notes,
        }
    }

    /// The report as one line of JSON.
    pub(crate) fn json(&self) -> Result<String, Error> {
        serde_json::to_string(self).map_err(Error::Json)
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits only")]
pub(super) fn number(n: u64) -> f64 {
    n as f64
}

/// At this quantile, in microseconds.
pub(super) fn microseconds(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    number(histogram.value_at_quantile(quantile)) / 1e3
}

fn latencies(series: &Series, seconds: f64) -> Option<Latencies> {
    let Series { latency, .. } = series;
    let at = |quantile| microseconds(latency, quantile);
    let latencies = Latencies {
        count: latency.len(),
        per_s: number(series.ended()) / seconds,
        min_us: number(latency.min()) / 1e3,
        mean_us: latency.mean() / 1e3,
        p50_us: at(0.5),
        p90_us: at(0.9),
        p99_us: at(0.99),
        p999_us: at(0.999),
        p9999_us: at(0.9999),
        max_us: number(latency.max()) / 1e3,
    };
    Some(latencies).filter(|latencies| latencies.count > 0)
}

fn outcomes(endings: &Endings) -> Outcomes {
    let Endings { done, busy, unknown, failed, unanswered, reasons } = endings.clone();
    Outcomes { done, busy, unknown, failed, unanswered, reasons }
}

fn spread(times: &Histogram<u64>) -> Spread {
    Spread {
        p50_us: microseconds(times, 0.5),
        p99_us: microseconds(times, 0.99),
        max_us: number(times.max()) / 1e3,
    }
}

/// Per second; the last interval may be shorter than the others.
fn timeline(series: &Series, length: Duration) -> Vec<f64> {
    let mut left = length;
    let rate = |count: &u64| {
        let interval = left.min(INTERVAL);
        left -= interval;
        number(*count) / interval.as_secs_f64()
    };
    series.timeline.iter().map(rate).collect()
}

fn kills(measured: &Measured) -> Vec<Kill> {
    let Measured { window, record, kills, .. } = measured;
    let since = |time: Duration| (time - window.start).as_secs_f64();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let kill = |index: usize| {
        let kill = kills[index];
        let next = kills.get(index + 1).map_or(window.end, |next| next.at);
        let resumed = record.outages.resumed(index);
        Kill {
            node: kill.node,
            at_s: since(kill.at),
            restarted_at_s: kill.restarted.map(since),
            writes_resumed_after_ms: resumed.map(|resumed| ms(resumed.saturating_sub(kill.at))),
            longest_gap_ms: ms(record.outages.longest(&(kill.at..next))),
        }
    };
    (0..kills.len()).map(kill).collect()
}

fn failover(kills: &[Kill]) -> Option<Failover> {
    let mut resumed: Vec<f64> = kills.iter().filter_map(|it| it.writes_resumed_after_ms).collect();
    let mut gaps: Vec<f64> = kills.iter().map(|kill| kill.longest_gap_ms).collect();
    resumed.sort_by(f64::total_cmp);
    gaps.sort_by(f64::total_cmp);
    let failover = Failover {
        kills: kills.len(),
        resumed: resumed.len(),
        writes_resumed_median_ms: median(&resumed),
        writes_resumed_max_ms: resumed.last().copied(),
        longest_gap_median_ms: median(&gaps),
        longest_gap_max_ms: gaps.last().copied(),
    };
    Some(failover).filter(|failover| failover.kills > 0)
}

/// Of numbers in their order.
fn median(sorted: &[f64]) -> Option<f64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

fn limits(before: Floor, after: Floor, write_p50_us: Option<f64>) -> Limits {
    let limit = |floor: &Floor| {
        let apart = |quantile| Some(microseconds(floor.apart.as_ref()?, quantile));
        Limit {
            round_trip_p50_us: microseconds(&floor.round_trip, 0.5),
            round_trip_p99_us: microseconds(&floor.round_trip, 0.99),
            round_trip_cores_apart_p50_us: apart(0.5),
            round_trip_cores_apart_p99_us: apart(0.99),
            fdatasync_p50_us: microseconds(&floor.sync, 0.5),
            fdatasync_p99_us: microseconds(&floor.sync, 0.99),
        }
    };
    let limits = (limit(&before), limit(&after));
    let both = limit(&before.and(&after));
    let write = |round_trip| 2.0 * round_trip + both.fdatasync_p50_us;
    let multiple = |floor| write_p50_us.filter(|_| floor > 0.0).map(|p50| p50 / floor);
    let write_us = write(both.round_trip_p50_us);
    let write_cores_apart_us = both.round_trip_cores_apart_p50_us.map(write);
    Limits {
        before: limits.0,
        after: limits.1,
        write_us,
        write_cores_apart_us,
        writes_p50_multiple: multiple(write_us),
        writes_p50_multiple_cores_apart: write_cores_apart_us.and_then(multiple),
    }
}

/// A machine that was another before the load than after it is not one to compare numbers on.
fn unrest(limits: &Limits) -> Option<String> {
    let Limits { before, after, .. } = limits;
    let pairs = [
        (before.round_trip_p50_us, after.round_trip_p50_us),
        (before.fdatasync_p50_us, after.fdatasync_p50_us),
    ];
    let changed = |(a, b): (f64, f64)| a.max(b) > UNREST * a.min(b);
    pairs.into_iter().any(changed).then(|| {
        "the machine was not quiet: before the load it was another than after it".to_owned()
    })
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::Value;

    use super::{
        super::{
            conductor,
            driver::{Command, Kind},
            outage::Kills,
            record::{self, Record},
            target::Outcome,
        },
        *,
    };

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn configuration() -> Configuration {
        Configuration {
            version: "0.0.0",
            protocol: "fake",
            nodes: Some(3),
            addresses: vec!["127.0.0.1:1".to_owned()],
            clients: 1,
            in_flight_per_client: 1,
            threads: 1,
            rate_per_s: Some(1000),
            value_bytes: 256,
            keys: 1,
            reads_percent: 50,
            level: Level::Linearizable,
            duration_s: 1.95,
            warm_up_s: 1.0,
            seed: 1,
            kill_leader_every_s: Some(1.0),
            cpus: 2,
        }
    }

    /// A command each millisecond, answered after one, except for 300 ms after a kill at 1.0 s.
    pub(in super::super) fn measured() -> Measured {
        let window = ms(1000)..ms(2950);
        let mut record = Record::new(window.clone());
        let kills = Kills::default();
        for t in 1000..2950 {
            if t == 2000 {
                kills.publish(ms(2000));
                record.outages.follow(&kills);
            }
            let kind = if t % 2 == 0 { Kind::Write } else { Kind::Read };
            let now = if (2000..2300).contains(&t) { ms(2301) } else { ms(t + 1) };
            let command = Command { kind, key: 0, due: ms(t), sent: ms(t) };
            record.ended(command, Outcome::Done, now);
        }
        let busy = Command { kind: Kind::Write, key: 0, due: ms(1500), sent: ms(1500) };
        record.ended(busy, Outcome::Failed("full".into()), ms(1501));
        record.outages.end(ms(2950));
        Measured {
            window,
            record,
            kills: vec![conductor::Kill { node: 2, at: ms(2000), restarted: Some(ms(2900)) }],
            nodes_cpu: Some(1.95),
            generator_cpu: None,
            resident_bytes: Some(vec![10 << 20, 0, 20 << 20]),
        }
    }

    /// Round trips of 20 µs on one core and 70 µs between two, a fdatasync of 160 µs.
    fn floor() -> Floor {
        let at = |ns| {
            let mut histogram = record::histogram();
            histogram.record(ns).unwrap();
            histogram
        };
        Floor { round_trip: at(20_000), apart: Some(at(70_000)), sync: at(160_000) }
    }

    pub(in super::super) fn report() -> Report {
        let notes = vec!["a note".to_owned()];
        Report::new(configuration(), &measured(), Some([floor(), floor()]), notes)
    }

    fn near(value: &Value, expected: f64) -> bool {
        value.as_f64().is_some_and(|value| (value / expected - 1.0).abs() < 0.01)
    }

    #[test]
    fn the_object_has_everything_with_units_in_the_names() {
        let json: Value = serde_json::from_str(&report().json().unwrap()).unwrap();
        for configured in ["value_bytes", "reads_percent", "duration_s", "rate_per_s", "seed"] {
            assert!(json["configuration"][configured].is_number(), "{configured}");
        }
        assert_eq!(json["configuration"]["level"], "linearizable");
        for kind in ["writes", "reads"] {
            for time in ["min", "mean", "p50", "p90", "p99", "p999", "p9999", "max"] {
                assert!(json[kind][format!("{time}_us")].is_f64(), "{kind}: {time}");
            }
            assert!(near(&json[kind]["p50_us"], 1000.0), "{}", json[kind]["p50_us"]);
            assert!(near(&json[kind]["max_us"], 300_000.0), "{}", json[kind]["max_us"]);
            assert!(near(&json[kind]["per_s"], 500.0));
        }
        assert_eq!(json["writes"]["count"], 975);
        assert_eq!(json["outcomes"]["done"], 1950);
        assert_eq!(json["outcomes"]["reasons"]["full"], 1);
        assert_eq!(json["throughput"]["interval_ms"], 100);
        let rates = json["throughput"]["writes_per_s"].as_array().unwrap();
        assert_eq!(rates.len(), 20);
        assert!(near(&rates[1], 500.0) && rates[11] == 0.0);
        assert!(near(&rates[19], 500.0), "half an interval: {}", rates[19]);
        assert!(json["sending"]["p99_us"].is_number());
        assert_eq!(json["notes"][0], "a note");
    }

    #[test]
    fn the_pause_after_a_kill_is_told() {
        let json: Value = serde_json::from_str(&report().json().unwrap()).unwrap();
        let kill = &json["kills"][0];
        assert_eq!((&kill["node"], &kill["at_s"]), (&2.into(), &1.0.into()));
        assert!(near(&kill["restarted_at_s"], 1.9));
        assert!(near(&kill["writes_resumed_after_ms"], 301.0), "{kill}");
        assert!(near(&kill["longest_gap_ms"], 302.0), "{kill}");
        assert_eq!(json["failover"]["writes_resumed_median_ms"], kill["writes_resumed_after_ms"]);
        assert_eq!(json["failover"]["longest_gap_max_ms"], kill["longest_gap_ms"]);
    }

    #[test]
    fn latency_is_compared_with_two_round_trips_and_one_fdatasync() {
        let json: Value = serde_json::from_str(&report().json().unwrap()).unwrap();
        assert!(near(&json["floor"]["write_us"], 200.0));
        assert!(near(&json["floor"]["writes_p50_multiple"], 5.0));
        assert!(near(&json["floor"]["writes_p50_multiple_cores_apart"], 1000.0 / 300.0));
        assert!(near(&json["floor"]["after"]["round_trip_cores_apart_p50_us"], 70.0));
        assert!(near(&json["usage"]["nodes_cpu_per_command_us"], 1000.0));
        assert!(json["usage"]["generator_cpu_per_command_us"].is_null());
    }

    #[test]
    fn a_machine_that_has_changed_meanwhile_is_noted() {
        let mut slow = floor();
        slow.sync = record::histogram();
        slow.sync.record(300_000).unwrap();
        let notes = |floor| Report::new(configuration(), &measured(), floor, Vec::new()).notes;
        assert!(notes(None).is_empty());
        assert!(notes(Some([floor(), floor()])).is_empty());
        let [note] = &notes(Some([floor(), slow]))[..] else { panic!("one note") };
        assert!(note.contains("not quiet"), "{note}");
    }

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[1.0, 2.0, 4.0, 8.0]), Some(3.0));
    }
}
