//! `synod sim`, as its user meets it: the binary, its output and its exit status.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

fn sim(arguments: &[&str]) -> Output {
    let mut synod = Command::new(env!("CARGO_BIN_EXE_synod"));
    synod.arg("sim").args(arguments).output().expect("the binary has been built")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// The JSON object on the last line of a run that ended with this status.
fn json(output: &Output, status: i32) -> Value {
    assert_eq!(output.status.code(), Some(status), "{}", stderr(output));
    let stdout = stdout(output);
    let last = stdout.lines().last().unwrap_or_else(|| panic!("no output: {}", stderr(output)));
    serde_json::from_str(last).expect("JSON on the last line")
}

/// An empty folder of this test's own.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    drop(fs::remove_dir_all(&path));
    fs::create_dir(&path).expect("a writable folder");
    path
}

/// A script of a cluster that cannot do anything in time: messages take too long.
fn hopeless(folder: &Path) -> String {
    let path = folder.join("hopeless.toml").display().to_string();
    let output = sim(&["--seed", "0", "--write", &path]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let script = fs::read_to_string(&path).expect("it has been written");
    let slow = |line: &str| match line.split_once(" = ") {
        Some(("latency", _)) => "latency = [90000000, 1]\n".to_owned(),
        Some(("healing", _)) => "healing = 2000000\n".to_owned(),
        Some(_) | None => format!("{line}\n"),
    };
    let script: String = script.lines().map(slow).collect();
    fs::write(&path, script).expect("it is ours");
    path
}

#[test]
fn seeds_are_run_and_summed_up() {
    let output = sim(&["--seeds", "12", "--from", "100", "--jobs", "2", "--json"]);
    let totals = json(&output, 0);
    assert_eq!((&totals["seeds"], &totals["from"]), (&12.into(), &100.into()));
    assert!(totals["events"].as_u64() > Some(12_000), "{totals}");
    assert!(totals["events_per_s_and_core"].as_f64() > Some(0.0), "{totals}");
    assert!(totals["faults"].as_object().is_some_and(|faults| faults.len() > 3), "{totals}");
    assert!(totals["marks"]["elected"].as_u64() > Some(0), "{totals}");
    assert_eq!(totals["failed"], Value::Object(Default::default()));
    let never = totals["never"].as_array().expect("twelve seeds do not see everything");
    let text = stdout(&output);
    assert!(text.contains("12, from 100") && text.contains("per million seeds"), "{text}");
    assert!(text.contains(&format!("never occurred: {}", never[0].as_str().unwrap())), "{text}");
    assert!(stderr(&output).is_empty(), "{}", stderr(&output));

    let again = json(&sim(&["--seeds", "12", "--from", "100", "--jobs", "1", "--json"]), 0);
    assert_eq!(again["trace"], totals["trace"], "however many threads there are");
    let demanding = sim(&["--seeds", "12", "--from", "100", "--all-marks"]);
    assert_eq!(demanding.status.code(), Some(1));
}

#[test]
fn time_ends_a_search_as_well() {
    let totals = json(&sim(&["--minutes", "0.001", "--jobs", "1", "--json"]), 0);
    assert!(totals["seeds"].as_u64() > Some(0), "{totals}");
}

#[test]
fn a_seed_is_replayed_the_same_and_can_be_read() {
    let (one, other) = (sim(&["--seed", "3", "--json"]), sim(&["--seed", "3", "-v", "--json"]));
    let outcome = json(&one, 0);
    assert_eq!(outcome, json(&other, 0), "looking at it changes nothing");
    let text = stdout(&other);
    for expected in ["seed = 3\n", "[cluster]\n", "at (ms)", "p1a", "p2b", "decision"] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    assert!(outcome["marks"]["elected"].as_u64() > Some(0), "{outcome}");
    let trace = outcome["trace"].as_str().expect("a hash");
    assert!(text.contains(&format!("trace {trace}")), "{text}");
    assert!(text.lines().count() > stdout(&one).lines().count() + 100);
    assert_ne!(json(&sim(&["--seed", "4", "--json"]), 0)["trace"], outcome["trace"]);
}

#[test]
fn a_seed_becomes_a_script_with_the_same_course() {
    let path = folder("sim-script").join("plan.toml").display().to_string();
    assert_eq!(sim(&["--seed", "3", "--write", &path]).status.code(), Some(0));
    let (seed, script) = (sim(&["--seed", "3", "--json"]), sim(&["--script", &path, "--json"]));
    assert_eq!(json(&seed, 0), json(&script, 0));
}

#[test]
fn a_diagram_is_drawn_and_changes_nothing() {
    let folder = folder("sim-trace");
    let path = folder.join("run.html").display().to_string();
    let (one, drawn) =
        (sim(&["--seed", "7", "--json"]), sim(&["--seed", "7", "--json", "--trace", &path]));
    assert_eq!(json(&one, 0), json(&drawn, 0), "the same course");
    let page = fs::read_to_string(&path).expect("it has been written");
    assert!(page.starts_with("<!doctype html>") && page.contains("<title>seed 7</title>"));
    let script = hopeless(&folder);
    let output = sim(&["--script", &script, "--shrink", "--trace", &path]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let page = fs::read_to_string(&path).expect("it has been written");
    assert!(page.contains("\"violation\":\"V1 is violated"), "the smaller plan, which fails too");
    assert!(page.contains("hopeless.toml, shrunk</title>"));
}

#[test]
fn what_fails_is_told_and_made_smaller() {
    let folder = folder("sim-shrink");
    let (path, small) = (hopeless(&folder), folder.join("small.toml").display().to_string());
    let output = sim(&["--script", &path]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = stdout(&output);
    for expected in ["V1 is violated after ", "it says: after the faults, everything is", &path] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }

    let output = sim(&["--script", &path, "--shrink", "--write", &small, "--json"]);
    let shrunk = json(&output, 1);
    assert_eq!(shrunk["outcome"]["violated"]["property"], "V1");
    assert_eq!((&shrunk["after"]["faults"], &shrunk["after"]["nodes"]), (&0.into(), &1.into()));
    assert!(shrunk["after"]["requests"].as_u64() < shrunk["before"]["requests"].as_u64());
    assert!(stdout(&output).contains("┆ before ┆"), "{}", stdout(&output));
    let again = json(&sim(&["--script", &small, "--json"]), 1);
    assert_eq!(again, shrunk["outcome"], "the script is the whole story");
    let script = fs::read_to_string(&small).expect("it has been written");
    assert!(script.contains("# V1, after the faults"), "{script}");
}

#[test]
fn what_cannot_be_run_is_refused_with_what_to_do() {
    let folder = folder("sim-refused");
    let path = hopeless(&folder);
    let script = fs::read_to_string(&path).expect("it has been written");
    let keep = |name: &str, script: String| {
        let path = folder.join(name).display().to_string();
        fs::write(&path, script).expect("it is ours");
        path
    };
    let unknown = keep("unknown.toml", script.replace("full = ", "fall = "));
    let empty = keep("empty.toml", script.replace("full = ", "full = 0 # "));
    let misspelt = "[[faults]]\nat = 1\nfault = \"crsh\"\n";
    let misspelt = keep("misspelt.toml", script.replace("faults = []\n", "") + misspelt);
    for (arguments, words) in [
        (&["--trace-text"][..], &["--seed", "--script"][..]),
        (&["--shrink"], &["--seed", "--script"]),
        (&["--trace", "a.html"], &["--seed", "--script"]),
        (&["--seed", "1", "--trace", "/no/such/folder/a.html"], &["cannot be written"]),
        (&["--seed", "1", "--rolls", "2"], &["--shrink"]),
        (&["--seed", "1", "--seeds", "2"], &["--seed <SEED>", "--seeds <N>"]),
        (&["--seed", "1", "--script", "a"], &["--seed", "--script"]),
        (&["--seeds", "0"], &["--seeds", "1.."]),
        (&["--from", "9223372036854775808"], &["--from", "9223372036854775807"]),
        (&["--minutes", "0"], &["more than 0 minutes"]),
        (&["--minutes", "ten"], &["a number of minutes"]),
        (&["--seed", "1", "--shrink"], &["nothing to shrink"]),
        (&["--seed", "1", "--write", "/no/such/folder/a.toml"], &["cannot be written"]),
        (&["--script", "/no/such/file.toml"], &["/no/such/file.toml", "cannot be read"]),
        (&["--script", &unknown], &["unknown.toml", "line ", "fall", "full"]),
        (&["--script", &empty], &["empty.toml", "cluster: full", "all roles"]),
        (&["--script", &misspelt], &["misspelt.toml", "line ", "crsh", "crash"]),
    ] {
        let output = sim(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let error = stderr(&output);
        assert!(words.iter().all(|word| error.contains(word)), "{arguments:?}: {error}");
    }
}
