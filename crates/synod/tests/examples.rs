//! The examples run to their end, and say what their documentation promises.

use std::{
    env,
    path::PathBuf,
    process::{Command, Output},
};

/// Where cargo has put an example: in `examples`, beside the directory of the tests. It builds them
/// for `cargo test`, but not for `cargo test --test examples`.
fn example(name: &str) -> PathBuf {
    let test = env::current_exe().expect("a test knows where it is");
    let profile = test.parent().and_then(|deps| deps.parent()).expect("tests are in deps");
    let path = profile.join("examples").join(name).with_extension(env::consts::EXE_EXTENSION);
    assert!(path.exists(), "{} is not built: cargo build --examples", path.display());
    path
}

/// Runs an example, and returns what it has printed.
fn run(name: &str, arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } =
        Command::new(example(name)).args(arguments).output().expect("it can be run");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{name}: {status}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

/// The lines that are wanted are there, in this order.
#[track_caller]
fn assert_lines(output: &str, wanted: &[&str]) {
    let mut lines = output.lines();
    for text in wanted {
        assert!(lines.any(|line| line.contains(text)), "\"{text}\" is missing in:\n{output}");
    }
}

/// The number before or behind the given text.
fn number(output: &str, before: &str, behind: &str) -> u64 {
    let (_, rest) = output.split_once(before).unwrap_or_else(|| panic!("{before}: {output}"));
    let (number, _) = rest.split_once(behind).unwrap_or_else(|| panic!("{behind}: {output}"));
    number.trim().parse().expect("a number")
}

#[test]
fn counter() {
    let output = run("counter", &[]);
    let wanted = ["added 10 times 1: 10", "node 2 adds 5: 15", "node 1 is back, and reads 15"];
    assert_lines(&output, &wanted);
}

#[test]
fn bank() {
    let output = run("bank", &["--seconds", "4"]);
    assert_lines(&output, &["kills: ", "transfers: ", "total: 10000", "all nodes at slot"]);
    assert!(number(&output, "kills: ", "\n") > 0, "{output}");
    assert!(number(&output, "transfers: ", " done") > 0, "{output}");
}

#[test]
fn lock() {
    let output = run("lock", &[]);
    let wanted = [
        "alice has the lock, token 1",
        "printed with token 1: alice's first page",
        "bob asks for the lock, which another has",
        "bob has the lock, token 2",
        "refused: token 1 is older than 2",
        "alice cannot release a lock that is not hers any more",
        "alice has the lock, token 3",
        "printed with token 3: alice's second page",
    ];
    assert_lines(&output, &wanted);
}

#[test]
fn file_backed() {
    let output = run("file_backed", &[]);
    let wanted = ["3000 texts are written", "node 3 is back", "node 4 is a member: 3000 texts"];
    assert_lines(&output, &wanted);
    let held = number(&output, "node 3 is back: its database held ", " texts");
    assert!(held > 1500, "{output}");
    assert_eq!(number(&output, "and back: its database held ", " texts"), 3001, "{output}");
}
