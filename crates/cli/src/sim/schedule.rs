//! A plan, to be read: the settings as a script has them, and the faults as a table.

use std::fmt;

use synod_sim::{Plan, plan::Fault};

use super::table::{align, table};

pub(super) struct Schedule<'a>(pub(super) &'a Plan);

impl fmt::Display for Schedule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = Plan { faults: Vec::new(), ..self.0.clone() };
        let text = settings.to_text();
        // Without faults, a script says that there are none.
        let lines = text.lines().filter(|line| !line.starts_with("faults"));
        lines.clone().try_for_each(|line| writeln!(f, "{line}"))?;
        if self.0.faults.is_empty() {
            return writeln!(f, "\nno faults");
        }
        let mut faults = table();
        faults.set_header(["at (ms)", "fault", ""]);
        for planned in &self.0.faults {
            let at = milliseconds(planned.at);
            faults.add_row([at, planned.fault.name().to_owned(), details(&planned.fault)]);
        }
        align(&mut faults, 0..1);
        writeln!(f, "\n{faults}")
    }
}

/// What is to be said about a fault, besides its name.
pub(super) fn details(fault: &Fault) -> String {
    let text = toml::to_string(fault).unwrap_or_default();
    let fields = text.lines().filter_map(|line| line.split_once(" = "));
    let fields = fields.filter(|(name, _)| *name != "fault");
    fields.map(|(name, value)| detail(name, value)).collect::<Vec<String>>().join(", ")
}

/// As transcripts have it.
fn milliseconds(microseconds: u64) -> String {
    format!("{:.3}", microseconds as f64 / 1e3)
}

fn detail(name: &str, value: &str) -> String {
    match (name, value, value.parse::<u64>()) {
        ("node", "0", _) => "the leader".into(),
        ("from" | "to", "0", _) => format!("{name} all"),
        ("lasts" | "down" | "back" | "by" | "turn", _, Ok(time)) => {
            format!("{name} {} ms", milliseconds(time))
        }
        (_, "true", _) => name.into(),
        (_, "false", _) => format!("not {name}"),
        _ => format!("{name} {}", value.trim_matches('"')),
    }
}

#[cfg(test)]
mod tests {
    use synod_sim::plan::Planned;

    use super::*;

    #[test]
    fn faults_are_told_in_words() {
        let part = Fault::Part { side: vec![1, 3], mute: true, deaf: false, lasts: 250_000 };
        assert_eq!(details(&part), "side [1, 3], mute, not deaf, lasts 250.000 ms");
        let words = Fault::LastWords { node: 0, kind: "p2a".into(), down: 1_000 };
        assert_eq!(details(&words), "the leader, kind p2a, down 1.000 ms");
        let slow = Fault::Slow { from: 2, to: 0, by: 5_000, lasts: 9_000_000 };
        assert_eq!(details(&slow), "from 2, to all, by 5.000 ms, lasts 9000.000 ms");
        assert_eq!(details(&Fault::HandOver { to: None }), "");
        assert_eq!(details(&Fault::HandOver { to: Some(2) }), "to 2");
    }

    #[test]
    fn the_settings_are_those_of_a_script_and_each_fault_has_a_row() {
        let mut plan = Plan::of_seed(3);
        plan.faults = vec![Planned { at: 1_500_000, fault: Fault::HandOver { to: None } }];
        let text = Schedule(&plan).to_string();
        assert!(text.contains("seed = 3\n") && text.contains("[cluster]\nfull = "), "{text}");
        assert!(text.contains("│ 1500.000 ┆ hand_over ┆"), "{text}");
        assert!(!text.contains("no faults") && !text.contains("faults = []"), "{text}");
        plan.faults.clear();
        assert!(Schedule(&plan).to_string().ends_with("no faults\n"));
    }
}
