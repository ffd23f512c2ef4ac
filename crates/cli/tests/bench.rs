//! `synod bench`, as its user meets it: the binary, its output and its exit status.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

/// Runs against servers that only answer, briefly.
fn bench(arguments: &[&str]) -> Output {
    let mut synod = Command::new(env!("CARGO_BIN_EXE_synod"));
    synod.args(["bench", "--protocol", "echo", "--duration", "0.5", "--warm-up", "0.1"]);
    synod.args(arguments).output().expect("the binary has been built")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// The JSON object on the last line of a run that went well.
fn report(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    let stdout = String::from_utf8(output.stdout.clone()).expect("UTF-8");
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

#[test]
fn a_closed_loop_is_measured_and_leaves_nothing_behind() {
    let folder = folder("bench-closed");
    let data = folder.display().to_string();
    let arguments = ["--clients", "4", "--threads", "2", "--in-flight", "8", "--data", &data];
    let report = report(&bench(&[&arguments[..], &["--json", "--floor"]].concat()));
    assert_eq!(report["configuration"]["nodes"], 3);
    assert_eq!(report["configuration"]["addresses"].as_array().map(Vec::len), Some(3));
    assert!(report["writes"]["count"].as_u64() > Some(100), "{report}");
    assert!(report["reads"].is_null());
    assert_eq!(report["outcomes"]["done"], report["writes"]["count"]);
    assert!(report["writes"]["p50_us"].as_f64() <= report["writes"]["p99_us"].as_f64());
    assert_eq!(report["throughput"]["writes_per_s"].as_array().map(Vec::len), Some(5));
    for when in ["before", "after"] {
        for what in ["round_trip", "fdatasync"] {
            let p50 = &report["floor"][when][format!("{what}_p50_us")];
            assert!(p50.as_f64() > Some(0.0), "{when}: {what}: {report}");
        }
    }
    assert!(report["floor"]["writes_p50_multiple"].is_f64());
    assert_eq!(fs::read_dir(&folder).expect("it is still there").count(), 0);
}

#[test]
fn an_open_loop_answers_all_that_was_due() {
    let arguments = ["--rate", "1000", "--reads", "50", "--nodes", "1", "--json"];
    let report = report(&bench(&arguments));
    let outcomes = &report["outcomes"];
    let of = |kind: &str| report[kind]["count"].as_u64().expect("there are some");
    assert_eq!((of("writes") + of("reads"), &outcomes["unanswered"]), (500, &0.into()));
    assert!(report["sending"]["p99_us"].is_f64());
}

#[test]
fn a_picture_is_written() {
    let path = folder("bench-plot").join("plot.svg");
    let output = bench(&["--nodes", "1", "--plot", &path.display().to_string()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let picture = fs::read_to_string(path).expect("it has been written");
    assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"), "{picture}");
}

#[test]
fn nobody_there_is_a_failure_in_words() {
    // A port that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
    let address = address.expect("the loopback has free ports").to_string();
    let output = bench(&["--target", &address]);
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    assert!(error.contains(&address) && error.contains("refused"), "{error}");
    assert!(output.stdout.is_empty());
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_started() {
    for (arguments, code, word) in [
        (&["--threads", "2"][..], 2, "fewer clients"),
        (&["--reads", "101"], 2, "--reads"),
        (&["--plot", "/no/such/folder/plot.svg"], 1, "cannot be written"),
        (&["--data", "/no/such/folder"], 1, "/no/such/folder"),
    ] {
        let output = bench(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(stderr(&output).contains(word), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn an_interrupt_takes_the_nodes_along() {
    use std::{thread, time::Duration};

    use rustix::process::{Pid, Signal, kill_process};

    let folder = folder("bench-interrupt");
    let mut synod = Command::new(env!("CARGO_BIN_EXE_synod"))
        .args(["bench", "--protocol", "echo", "--duration", "60", "--data"])
        .arg(&folder)
        .spawn()
        .expect("the binary has been built");
    let children = || {
        let path = format!("/proc/{0}/task/{0}/children", synod.id());
        let children = fs::read_to_string(path).unwrap_or_default();
        children.split_ascii_whitespace().map(str::to_owned).collect::<Vec<String>>()
    };
    let mut nodes = Vec::new();
    for _ in 0..1000 {
        nodes = children();
        if nodes.len() == 3 {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(nodes.len(), 3);
    let pid = Pid::from_child(&synod);
    kill_process(pid, Signal::INT).expect("it runs");
    assert_eq!(synod.wait().expect("it was started").code(), Some(1));
    let gone = |pid: &String| !Path::new("/proc").join(pid).exists();
    assert!(nodes.iter().all(gone), "{nodes:?}");
    assert_eq!(fs::read_dir(&folder).expect("it is still there").count(), 0);
}

/// Runs against Synod's own nodes, briefly.
fn synod(arguments: &[&str]) -> Output {
    let mut synod = Command::new(env!("CARGO_BIN_EXE_synod"));
    synod.args(["bench", "--warm-up", "0.2", "--json"]);
    synod.args(arguments).output().expect("the binary has been built")
}

#[test]
fn three_nodes_perform_and_every_read_level_answers() {
    for level in ["linearizable", "lease", "local"] {
        let arguments = ["--duration", "1", "--in-flight", "64", "--reads", "50", "--level", level];
        let report = report(&synod(&arguments));
        assert_eq!(report["configuration"]["protocol"], "synod");
        for kind in ["writes", "reads"] {
            assert!(report[kind]["count"].as_u64() > Some(10), "{level}: {report}");
        }
        for ending in ["unknown", "failed", "unanswered"] {
            assert_eq!(report["outcomes"][ending], 0, "{level}: {report}");
        }
    }
}

#[test]
fn writes_resume_after_a_leader_has_been_killed() {
    let arguments = ["--in-flight", "16", "--kill-leader-every", "2", "--duration", "6"];
    let report = report(&synod(&arguments));
    // At 2 s and 4 s; later if nobody leads at that moment.
    assert!(report["failover"]["kills"].as_u64() >= Some(1), "{report}");
    assert_eq!(report["failover"]["kills"], report["failover"]["resumed"], "{report}");
}
