//! `synod run`, as its user meets it: the binary, its output and its exit status.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

fn synod(arguments: &[&str]) -> Output {
    let synod = Command::new(env!("CARGO_BIN_EXE_synod")).args(arguments).output();
    synod.expect("the binary has been built")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// The JSON object on the last line.
fn summary(output: &Output) -> Value {
    let stdout = stdout(output);
    let last = stdout.lines().last().unwrap_or_else(|| panic!("no output: {}", stderr(output)));
    serde_json::from_str(last).expect("JSON on the last line")
}

/// A file of this test's own.
fn file(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).expect("a writable folder");
    path
}

/// Runs a shipped environment, and checks what every run has to reach.
fn environment(name: &str) -> Value {
    let path = format!("{}/../../environments/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let output = synod(&["run", &path, "--quiet", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{name}: {}", stderr(&output));
    let summary = summary(&output);
    assert_eq!(summary["answered"], summary["commands"], "{name}");
    assert_eq!(summary["agree"], true, "{name}");
    assert!(summary["state"].is_i64(), "{name}");
    summary
}

#[test]
fn without_arguments_fifty_commands_are_answered() {
    let output = synod(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let stdout = stdout(&output);
    let results: Vec<&str> = stdout.lines().filter(|line| line.starts_with("client ")).collect();
    assert_eq!(results.len(), 50);
    for client in 1..=5 {
        for command in 1..=10 {
            let result = format!("client {client}: command {command} = ");
            assert_eq!(results.iter().filter(|line| line.starts_with(&result)).count(), 1);
        }
    }
    assert!(stdout.contains("50 of 50"), "{stdout}");
}

#[test]
fn the_summary_is_one_json_object_on_the_last_line() {
    let output = synod(&["run", "--json", "--quiet", "--clients", "2", "--commands", "3"]);
    let summary = summary(&output);
    assert_eq!((&summary["commands"], &summary["answered"]), (&6.into(), &6.into()));
    for count in ["slots", "ballots", "reconfigurations", "crashes", "restarts"] {
        assert!(summary[count].is_u64(), "{count}");
    }
    for measure in ["commands_per_second", "seconds"] {
        assert!(summary[measure].is_f64(), "{measure}");
    }
    assert!(!stdout(&output).contains("client 1:"), "--quiet is quiet");
}

#[test]
fn many_commands_in_flight_are_answered_exactly_once() {
    let output =
        synod(&["run", "--commands", "2000", "--in-flight", "64", "--window", "3", "--json"]);
    assert_eq!(summary(&output)["answered"], 10_000, "{}", stderr(&output));
}

#[test]
fn nothing_goes_wrong_by_default() {
    let summary = environment("default");
    assert_eq!((&summary["ballots"], &summary["commands"]), (&1.into(), &50.into()));
}

#[test]
fn a_lossy_network_costs_nothing_but_time() {
    let summary = environment("lossy");
    assert!(summary["messages_lost"].as_u64() > Some(100));
    assert!(summary["messages_duplicated"].as_u64() > Some(50));
}

#[test]
fn leaders_duel_and_one_wins_at_last() {
    assert!(environment("duelling-leaders")["ballots"].as_u64() > Some(5));
}

#[test]
fn a_leader_that_crashes_is_replaced() {
    let summary = environment("leader-crash");
    assert_eq!((&summary["crashes"], &summary["restarts"]), (&3.into(), &1.into()));
    assert!(summary["ballots"].as_u64() > Some(1));
}

#[test]
fn a_minority_that_crashes_is_not_missed() {
    assert_eq!(environment("minority-crash")["crashes"], 2);
}

#[test]
fn everything_may_crash_if_the_disks_stay() {
    let summary = environment("restart-all");
    assert_eq!(summary["crashes"], summary["restarts"]);
}

#[test]
fn an_acceptor_without_its_records_is_refused() {
    let summary = environment("amnesia");
    assert_eq!((&summary["refused"], &summary["reconfigurations"]), (&1.into(), &1.into()));
}

#[test]
fn a_partition_is_overcome() {
    assert!(environment("partition")["ballots"].as_u64() > Some(1));
}

#[test]
fn leaders_and_acceptors_are_replaced_while_clients_run() {
    assert_eq!(environment("reconfigure")["reconfigurations"], 2);
}

#[test]
fn every_process_is_replaced_one_after_the_other() {
    assert_eq!(environment("rolling-reconfigure")["reconfigurations"], 10);
}

#[test]
fn every_shipped_environment_has_its_test() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../environments");
    let tests = include_str!("run.rs");
    for entry in fs::read_dir(shipped).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        assert!(tests.contains(&format!("environment(\"{name}\")")), "{name}");
    }
}

#[test]
fn a_run_that_fails_says_why_and_exits_with_1() {
    let late = file("late.toml", "[[event]]\nslot = 1000\ncrash = [\"leader 1\"]\n");
    let output = synod(&["run", late.to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("slot 1000 was not reached"), "{}", stderr(&output));
    assert!(summary(&output)["problems"].as_array().is_some_and(|list| list.len() == 1));

    let dead = "[timing]\ngive_up_ms = 300\n[[event]]\nslot = 2\n\
                crash = [\"acceptor 1\", \"acceptor 2\"]\n";
    let output = synod(&["run", file("dead.toml", dead).to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no progress for 0.3 seconds"), "{}", stderr(&output));
    assert!(stderr(&output).contains("commands were not answered"), "{}", stderr(&output));
}

/// Runs a bad description, and checks that it is refused with a message that begins like this.
fn refused(name: &str, text: &str, begins: &str) {
    let path = file(&format!("{name}.toml"), text);
    let output = synod(&["run", path.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(2), "{name}");
    assert!(output.stdout.is_empty(), "{name}: something was started");
    let message = stderr(&output);
    let begins = format!("error: {}:{begins}", path.display());
    assert!(message.starts_with(&begins), "{name}: {message:?} does not begin with {begins:?}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn bad_input_is_refused_with_its_place() {
    refused("key", "[processes]\nleader = 3\n", "2:1: unknown field `leader`");
    refused("table", "\n[procesess]\n", "2:2: unknown field `procesess`");
    refused("syntax", "[network]\nloss = = 1\n", "2:");
    refused("type", "[workload]\ncommands = \"ten\"\n", "2:12: invalid type");
    refused("negative", "[workload]\ncommands = -1\n", "2:12: invalid value");
    refused("zero", "[processes]\nacceptors = 0\n", "2:13: acceptors must be from 1 to 64");
    let quorums = "[processes]\nacceptors = 4\nquorums = { phase1 = 2, phase2 = 2 }\n";
    refused("quorums", quorums, "3:11: quorums of 2 and 2 among 4 acceptors need not intersect");
    let quorums = "[processes]\nquorums = { phase1 = 4, phase2 = 1 }\n";
    refused("too_many", quorums, "2:11: quorums of 4 and 1 among 3 acceptors");
    refused("loss", "[network]\nloss = 1.0\n", "2:8: loss must be from 0 to 0.95");
    refused("delay", "[network]\ndelay_ms = [5, 1]\n", "2:12: delay_ms is [least, longest]");
    let patience = "[timing]\nheartbeat_ms = 100\npatience_min_ms = 101\n";
    refused("patience", patience, "3:19: patience_min_ms must be at least twice heartbeat_ms");
}

#[test]
fn bad_events_are_refused_with_their_place() {
    let refused = |name: &str, event: &str, begins: &str| {
        refused(name, &format!("[[event]]\nslot = 9\n{event}\n"), begins);
    };
    refused("unknown", "crash = [\"leader 7\"]", "3:10: there is no leader 7: the last leader");
    refused("nobody", "crash = [\"boss\"]", "3:10: \"boss\" names no process");
    refused("client", "crash = [\"client 1\"]", "3:10: a client cannot crash");
    refused("nothing", "", "1:1: an event is one of: crash");
    refused("two", "heal = true\ncrash = [\"leader 1\"]", "1:1: an event is one of: crash");
    refused("when", "ms = 3\nheal = true", "1:1: an event needs one of: slot");
    refused("running", "restart = [\"leader 1\"]", "3:12: leader 1 is running: crash it first");
    refused("one_side", "partition = [[\"leader 1\"]]", "3:13: a partition has at least two");
    let partition = "partition = [[\"leader 1\"], [\"leader 1\"]]";
    refused("both_sides", partition, "3:29: leader 1 stands twice in this partition");
    refused(
        "stranger",
        "partition = [[\"client 6\"], [\"leader 1\"]]",
        "3:15: there is no client 6",
    );
    let role = "reconfigure = { leaders = [\"acceptor 1\"] }";
    refused("role", role, "3:28: acceptor 1 cannot stand among the leaders");
    refused("empty", "reconfigure = { leaders = [] }", "3:15: a configuration needs leaders");
    refused("old", "add = [\"leader 1\"]", "3:8: leader 1 is not new");
    let twice = "remove = [\"leader 1\"]\n[[event]]\nafter_ms = 1\ncrash = [\"leader 1\"]";
    refused("gone", twice, "6:10: leader 1 has left the configuration");
}

#[test]
fn bad_flags_are_refused() {
    let refused = |arguments: &[&str], says: &str| {
        let output = synod(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}: something was started");
        assert!(stderr(&output).contains(says), "{arguments:?}: {}", stderr(&output));
    };
    refused(&["run", "no-such-file.toml"], "no-such-file.toml: cannot be read");
    refused(&["run", "--acceptors", "0"], "acceptors must be from 1 to 64, but is 0");
    refused(&["run", "--in-flight", "0"], "in_flight must be from 1");
    refused(&["run", "--trace", "no-such-folder/a.html"], "cannot be written");
    refused(&["run", "--no-such-flag"], "--no-such-flag");
    refused(&["no-such-command"], "no-such-command");
}

#[test]
fn a_trace_shows_every_process_and_what_happened() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trace.html");
    let text = "[workload]\ncommands = 20\n[[event]]\nslot = 5\nadd = [\"replica 4\"]\n\
                [[event]]\nslot = 10\ncrash = [\"acceptor 3\"]\n";
    let description = file("traced.toml", text);
    let (description, trace) = (description.to_str().unwrap(), path.to_str().unwrap());
    let output = synod(&["run", description, "--quiet", "--trace", trace]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let page = fs::read_to_string(&path).unwrap();
    let (_, data) = page.split_once("id=\"trace\">").unwrap();
    let (data, _) = data.split_once("</script").unwrap();
    let trace: Value = serde_json::from_str(data).unwrap();
    let names = |list: &Value, place: usize| -> Vec<String> {
        let rows = list.as_array().unwrap().iter();
        rows.map(|row| row[place].as_str().unwrap().to_owned()).collect()
    };
    let processes = names(&trace["processes"], 0);
    for name in ["replica 1", "replica 4", "leader 3", "acceptor 3", "client 5", "operator"] {
        assert!(processes.iter().any(|known| known == name), "{name} is not in {processes:?}");
    }
    let kinds = names(&trace["messages"], 4);
    for kind in ["request", "propose", "p1a", "p1b", "p2a", "p2b", "decision", "response"] {
        assert!(kinds.iter().any(|known| known == kind), "no {kind}");
    }
    let marks = names(&trace["marks"], 2);
    for mark in ["adopted", "decided", "reconfigure", "effective", "crash"] {
        assert!(marks.iter().any(|known| known == mark), "no {mark}");
    }
}
