//! What a run has come to, as a picture: latency by percentile, and throughput over time.

use std::time::Duration;

use svg::{
    Document,
    node::element::{Group, Line, Path, Rectangle, Style, Text, path::Data},
};

use super::{
    conductor::Measured,
    record::Series,
    report::{Report, number},
    table::time,
};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 740.0;
/// Where both panels begin and end.
const LEFT: f64 = 84.0;
const RIGHT: f64 = 928.0;

/// Viewers that know no colour schemes show the light one: it brings its own background.
const STYLE: &str = "
svg { --paper: #fcfbf8; --ink: #2a2a28; --soft: #6b6963; --rule: #e2dfd6; --writes: #0b62a3;
  --reads: #b8651b; --kill: #b3261e; font: 13px system-ui, 'Segoe UI', Roboto, sans-serif; }
@media (prefers-color-scheme: dark) {
  svg { --paper: #15171b; --ink: #dddcd6; --soft: #98978f; --rule: #2c3037; --writes: #76b5ee;
    --reads: #e0a25f; --kill: #f08a80; }
}
.paper { fill: #fcfbf8; fill: var(--paper); }
text { fill: #2a2a28; fill: var(--ink); }
text.soft { fill: #6b6963; fill: var(--soft); }
.title { font-size: 17px; font-weight: 600; }
.name { font-size: 14px; font-weight: 600; }
.rule { stroke: #e2dfd6; stroke: var(--rule); }
.axis { stroke: #6b6963; stroke: var(--soft); }
.curve { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
path.writes { stroke: #0b62a3; stroke: var(--writes); }
path.reads { stroke: #b8651b; stroke: var(--reads); }
text.writes { fill: #0b62a3; fill: var(--writes); }
text.reads { fill: #b8651b; fill: var(--reads); }
line.kill { stroke: #b3261e; stroke: var(--kill); stroke-dasharray: 4 3; }
text.kill { fill: #b3261e; fill: var(--kill); }
.middle { text-anchor: middle; }
.end { text-anchor: end; }
";

/// The picture of a run, as SVG.
pub(super) fn draw(report: &Report, measured: &Measured) -> String {
    let record = &measured.record;
    let all = [("writes", &record.writes), ("reads", &record.reads)];
    let kinds: Vec<_> = all.into_iter().filter(|(_, series)| !series.latency.is_empty()).collect();
    let paper = Rectangle::new().set("class", "paper");
    let document = Document::new()
        .set("viewBox", (0, 0, WIDTH, HEIGHT))
        .set("width", WIDTH)
        .set("height", HEIGHT)
        .add(Style::new(STYLE))
        .add(paper.set("width", WIDTH).set("height", HEIGHT))
        .add(text(LEFT, 34.0, "title", &title(report)))
        .add(text(LEFT, 55.0, "soft", &subtitle(report)))
        .add(latency(&kinds))
        .add(throughput(&kinds, report, measured.window.end - measured.window.start));
    format!("{document}\n")
}

fn title(report: &Report) -> String {
    let asked = &report.configuration;
    let load = match asked.rate_per_s {
        Some(rate) => format!("{rate} commands/s due"),
        None => format!("{} in flight", asked.clients * asked.in_flight_per_client),
    };
    let nodes = asked.nodes.unwrap_or(asked.addresses.len());
    let plural = if nodes == 1 { "" } else { "s" };
    format!("{}, {nodes} node{plural}: {load}, {} bytes", asked.protocol, asked.value_bytes)
}

fn subtitle(report: &Report) -> String {
    let mut parts = vec![format!("{:.0} commands/s", report.commands_per_s)];
    for (name, kind) in [("writes", &report.writes), ("reads", &report.reads)] {
        if let Some(kind) = kind {
            parts.push(format!("{name} p50 {}, p99 {}", time(kind.p50_us), time(kind.p99_us)));
        }
    }
    if let Some(multiple) = report.floor.as_ref().and_then(|floor| floor.writes_p50_multiple) {
        parts.push(format!("p50 of writes = {multiple:.2} floors"));
    }
    parts.join(" · ")
}

/// A panel with its axes. Values are shown between `low` and `high`.
struct Panel {
    top: f64,
    bottom: f64,
    x: (f64, f64),
    y: (f64, f64),
    group: Group,
}

impl Panel {
    fn new(name: &str, top: f64, bottom: f64, x: (f64, f64), y: (f64, f64)) -> Self {
        let group = Group::new().add(text(LEFT, top - 14.0, "name", name));
        Self { top, bottom, x, y, group }
    }

    fn place(&self, x: f64, y: f64) -> (f64, f64) {
        let share = |value: f64, (low, high): (f64, f64)| {
            ((value - low) / (high - low).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0)
        };
        let (x, y) = (share(x, self.x), share(y, self.y));
        let round = |value: f64| (value * 10.0).round() / 10.0;
        let height = self.bottom - self.top;
        (round(LEFT + x * (RIGHT - LEFT)), round(self.bottom - y * height))
    }

    fn add(&mut self, node: impl Into<Box<dyn svg::Node>>) {
        self.group = std::mem::replace(&mut self.group, Group::new()).add(node);
    }

    fn tick_x(&mut self, value: f64, label: &str) {
        let (x, _) = self.place(value, self.y.0);
        self.add(line((x, self.top), (x, self.bottom), "rule"));
        self.add(text(x, self.bottom + 18.0, "soft middle", label));
    }

    fn tick_y(&mut self, value: f64, label: &str) {
        let (_, y) = self.place(self.x.0, value);
        self.add(line((LEFT, y), (RIGHT, y), "rule"));
        self.add(text(LEFT - 8.0, y + 4.5, "soft end", label));
    }

    fn curve(&mut self, class: &str, points: &[(f64, f64)]) {
        let mut data = Data::new();
        for (index, (x, y)) in points.iter().enumerate() {
            let place = self.place(*x, *y);
            data = if index == 0 { data.move_to(place) } else { data.line_to(place) };
        }
        self.add(Path::new().set("class", format!("curve {class}")).set("d", data));
    }

    /// Names of the curves, on the right above the panel.
    fn legend(&mut self, names: &[&str]) {
        for (place, name) in (0_u8..).zip(names.iter().rev()) {
            let x = RIGHT - 60.0 * f64::from(place);
            self.add(text(x, self.top - 14.0, &format!("{name} end"), name));
        }
    }

    /// The finished panel, with the name of its horizontal axis.
    fn finish(mut self, axis: &str) -> Group {
        self.add(line((LEFT, self.bottom), (RIGHT, self.bottom), "axis"));
        let middle = f64::midpoint(LEFT, RIGHT);
        self.add(text(middle, self.bottom + 38.0, "soft middle", axis));
        self.group
    }
}

/// Percentiles on an axis where each step to the right is ten times rarer; times on a logarithmic
/// axis too.
fn latency(kinds: &[(&str, &Series)]) -> Group {
    let most = kinds.iter().map(|(_, series)| series.latency.len()).max().unwrap_or(1);
    // With n samples nothing can be said beyond the percentile that leaves one of them out.
    let nines = number(most).log10().clamp(1.0, 6.0);
    let times = kinds.iter().map(|(_, series)| {
        let at = |quantile| number(series.latency.value_at_quantile(quantile).max(1)) / 1e3;
        (at(0.0), at(1.0))
    });
    let (low, high) = times.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or((1.0, 10.0));
    let (low, high) = ((low * 0.9).log10(), (high * 1.1).log10());
    let mut panel = Panel::new("Latency by percentile", 106.0, 352.0, (0.0, nines), (low, high));
    for (value, label) in decades(low, high) {
        panel.tick_y(value, &label);
    }
    let ticks = [(0.0, "0"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %")];
    let rarer = [(0.9999, "99.99 %"), (0.99999, "99.999 %"), (0.999_999, "99.9999 %")];
    for (quantile, label) in ticks.into_iter().chain(rarer) {
        if rarity(quantile) <= nines + 1e-6 {
            panel.tick_x(rarity(quantile), label);
        }
    }
    for (name, series) in kinds {
        let latency = &series.latency;
        let own = number(latency.len()).log10().clamp(0.0, nines);
        let points: Vec<(f64, f64)> = (0..=200_u8)
            .map(|step| {
                let x = own * f64::from(step) / 200.0;
                let quantile = 1.0 - 10_f64.powf(-x);
                let value = number(latency.value_at_quantile(quantile).max(1)) / 1e3;
                (x, value.log10())
            })
            .collect();
        panel.curve(name, &points);
    }
    panel.legend(&kinds.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    panel.finish("share of commands that took no longer")
}

/// How many nines a quantile has.
fn rarity(quantile: f64) -> f64 {
    -(1.0 - quantile).log10()
}

/// 1, 2 and 5 of each power of ten between two logarithms of microseconds; of a wide span only
/// the powers.
fn decades(low: f64, high: f64) -> Vec<(f64, String)> {
    let steps: &[f64] = if high - low > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let powers = (-3..=9_i32).flat_map(|power| steps.iter().map(move |step| (power, *step)));
    powers
        .map(|(power, step)| step * 10_f64.powi(power))
        .filter(|us| (low..=high).contains(&us.log10()))
        .map(|us| (us.log10(), round_time(us)))
        .collect()
}

/// A time of few digits, in microseconds, without needless ones.
fn round_time(us: f64) -> String {
    match us {
        us if us < 0.9995 => format!("{:.0} ns", us * 1e3),
        us if us < 999.5 => format!("{us:.0} µs"),
        us if us < 999_500.0 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.0} s", us / 1e6),
    }
}

fn throughput(kinds: &[(&str, &Series)], report: &Report, length: Duration) -> Group {
    let rates = |name: &str| match name {
        "writes" => &report.throughput.writes_per_s,
        _ => &report.throughput.reads_per_s,
    };
    let seconds = length.as_secs_f64();
    let all = kinds.iter().flat_map(|(name, _)| rates(name));
    let most = all.fold(0.0_f64, |most, rate| most.max(*rate));
    let step = even_step(most.max(1.0), 5.0);
    let high = (most / step).ceil().max(1.0) * step;
    let mut panel = Panel::new("Throughput", 450.0, 680.0, (0.0, seconds), (0.0, high));
    for tick in ticks(step, high) {
        panel.tick_y(tick, &count(tick));
    }
    for tick in ticks(even_step(seconds, 10.0), seconds) {
        panel.tick_x(tick, &format!("{} s", (tick * 1000.0).round() / 1000.0));
    }
    let interval = Duration::from_millis(report.throughput.interval_ms).as_secs_f64();
    for (name, _) in kinds {
        let mut left = 0.0;
        let mut points = Vec::new();
        // A rate holds for its interval: steps, not slopes.
        for rate in rates(name) {
            let right = (left + interval).min(seconds);
            points.extend([(left, *rate), (right, *rate)]);
            left = right;
        }
        panel.curve(name, &points);
    }
    for kill in &report.kills {
        let (x, _) = panel.place(kill.at_s, 0.0);
        panel.add(line((x, panel.top), (x, panel.bottom), "kill"));
    }
    if let Some(kill) = report.kills.first() {
        let (x, _) = panel.place(kill.at_s, 0.0);
        let label = if report.kills.len() == 1 { "leader killed" } else { "leaders killed" };
        // On the side of the line where there is room.
        let (x, class) = if x < RIGHT - 120.0 { (x + 5.0, "kill") } else { (x - 5.0, "kill end") };
        panel.add(text(x, panel.bottom - 8.0, class, label));
    }
    panel.legend(&kinds.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    panel.finish("commands per second, by time since the warm-up")
}

/// 1, 2 or 5 times a power of ten, so that no more than `parts` of it make up `whole`.
fn even_step(whole: f64, parts: f64) -> f64 {
    let least = whole / parts;
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|step| step * power);
    steps.into_iter().find(|step| *step >= least * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

fn ticks(step: f64, end: f64) -> Vec<f64> {
    let all = (0_u8..100).map(|tick| step * f64::from(tick));
    all.take_while(|tick| *tick <= end * (1.0 + 1e-9)).collect()
}

/// A round number, briefly.
fn count(n: f64) -> String {
    match n {
        n if n >= 1e6 => format!("{} M", (n / 1e4).round() / 100.0),
        n if n >= 1e4 => format!("{} k", (n / 10.0).round() / 100.0),
        n => format!("{}", (n * 100.0).round() / 100.0),
    }
}

fn text(x: f64, y: f64, class: &str, content: &str) -> Text {
    Text::new(content).set("x", x).set("y", y).set("class", class)
}

fn line((x1, y1): (f64, f64), (x2, y2): (f64, f64), class: &str) -> Line {
    Line::new().set("x1", x1).set("y1", y1).set("x2", x2).set("y2", y2).set("class", class)
}

#[cfg(test)]
mod tests {
    use svg::{node::element::tag::Type, parser::Event};

    use super::{
        super::report::tests::{measured, report},
        *,
    };

    /// The names of all elements, if each that is opened is closed.
    fn elements(text: &str) -> Vec<String> {
        let (mut open, mut all) = (Vec::new(), Vec::new());
        for event in svg::read(text).unwrap() {
            match event {
                Event::Tag(name, Type::Start, _) => {
                    open.push(name);
                    all.push(name.to_owned());
                }
                Event::Tag(name, Type::End, _) => assert_eq!(open.pop(), Some(name)),
                Event::Tag(name, Type::Empty, _) => all.push(name.to_owned()),
                Event::Error(error) => panic!("{error}"),
                Event::Text(_) | Event::Comment(_) => {}
                Event::Declaration(_) | Event::Instruction(_) => {}
            }
        }
        assert_eq!(open, Vec::<&str>::new());
        all
    }

    #[test]
    fn the_picture_is_well_formed_and_shows_all() {
        let picture = draw(&report(), &measured());
        let elements = elements(&picture);
        assert_eq!(elements.iter().filter(|name| *name == "path").count(), 4);
        for expected in ["99 %", "leader killed", "\nwrites\n", "\nreads\n", "100 ms", "xmlns"] {
            assert!(picture.contains(expected), "{expected}: {picture}");
        }
        assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
        assert_eq!(picture.matches("class=\"kill\"").count(), 2, "a line and its name");
    }

    #[test]
    fn nothing_to_show_is_shown_as_well() {
        let mut measured = measured();
        measured.record = super::super::record::Record::new(measured.window.clone());
        measured.kills.clear();
        let report = Report::new(report().configuration, &measured, None, Vec::new());
        let picture = draw(&report, &measured);
        assert_eq!(elements(&picture).iter().filter(|name| *name == "path").count(), 0);
        assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
    }

    #[test]
    fn what_is_written_cannot_break_the_picture() {
        let mut report = report();
        report.configuration.protocol = "<a & b>";
        let picture = draw(&report, &measured());
        elements(&picture);
        assert!(picture.contains("&lt;a &amp; b&gt;"), "{picture}");
    }

    #[test]
    fn steps_are_round_and_few() {
        assert_eq!(even_step(10.0, 10.0), 1.0);
        assert_eq!(even_step(153_000.0, 5.0), 50_000.0);
        assert_eq!(even_step(0.3, 10.0), 0.05);
        assert_eq!(ticks(2.0, 6.0), [0.0, 2.0, 4.0, 6.0]);
        assert_eq!([count(150_000.0), count(5_000.0), count(2.5e6)], ["150 k", "5000", "2.5 M"]);
        let labels: Vec<String> = decades(1.9, 3.4).into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["100 µs", "200 µs", "500 µs", "1 ms", "2 ms"]);
    }
}
