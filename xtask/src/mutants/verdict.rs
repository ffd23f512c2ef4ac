//! What the run of a test says about a mutant.

use crate::process::Ending;

/// The longest part of a message that is worth a place on the line.
const MESSAGE: usize = 120;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A test failed or hung, as it should.
    Caught { by: String },
    /// All tests passed with the bug in place.
    Survived,
    /// The entry is wrong: the compiler is not a test.
    DoesNotBuild { error: String },
}

impl Verdict {
    pub(crate) fn is_caught(&self) -> bool {
        match self {
            Self::Caught { .. } => true,
            Self::Survived | Self::DoesNotBuild { .. } => false,
        }
    }

    /// The verdict on the mutant `name`, in one line.
    pub(crate) fn line(&self, name: &str) -> String {
        match self {
            Self::Caught { by } => format!("caught {name} (by: {by})"),
            Self::Survived => format!("SURVIVED {name}"),
            Self::DoesNotBuild { error } => format!("DOES NOT BUILD {name} ({error})"),
        }
    }
}

/// Judges by how the test ended and by what it printed.
pub(crate) fn read(ending: Ending, output: &str) -> Verdict {
    if ending == Ending::TimedOut {
        return Verdict::Caught { by: "its time limit".into() };
    }
    if ending.succeeded() {
        return Verdict::Survived;
    }
    let compiler_gave_up = |line: &str| line.starts_with("error: could not compile");
    if output.lines().any(compiler_gave_up) {
        let error = output.lines().find(|line| line.starts_with("error"));
        return Verdict::DoesNotBuild { error: shortened(error.unwrap_or_default()) };
    }
    Verdict::Caught { by: shortened(&first_failure(output)) }
}

/// The first panic as `test: message`; else the last line, or the signal if cargo names one there.
fn first_failure(output: &str) -> String {
    let mut lines = output.lines().map(str::trim).filter(|line| !line.is_empty());
    let last = lines.clone().next_back().unwrap_or("no output");
    // "thread 'replica::tests::name' (123) panicked at src/replica.rs:1:2:", then the message.
    let is_panic = |line: &&str| line.starts_with("thread '") && line.contains(" panicked at ");
    let Some(panic) = lines.find(is_panic) else {
        let signal = last.split_once("(signal: ").map(|(_, signal)| signal.trim_end_matches(')'));
        return signal.map_or_else(|| last.to_owned(), |signal| format!("signal {signal}"));
    };
    let test = panic.split('\'').nth(1).unwrap_or("a thread");
    format!("{test}: {}", lines.next().unwrap_or("panicked"))
}

fn shortened(message: &str) -> String {
    match message.char_indices().nth(MESSAGE) {
        Some((end, _)) => format!("{}...", &message[..end]),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn exit(code: i32) -> Ending {
        Ending::Exited(ExitStatus::from_raw(code << 8))
    }

    fn caught(output: &str) -> String {
        read(exit(101), output).line("m")
    }

    #[test]
    fn a_mutant_that_passes_the_tests_survived() {
        assert_eq!(read(exit(0), "3 passed").line("m"), "SURVIVED m");
        assert!(!read(exit(0), "3 passed").is_caught());
    }

    #[test]
    fn a_failed_test_is_named_with_its_message() {
        let output = "
running 2 tests
F.
---- scout::tests::a_late_p1b stdout ----

thread 'scout::tests::a_late_p1b' (4711) panicked at crates/paxos/src/scout.rs:9:1:
invariant C2 does not hold: slot 5
note: run with `RUST_BACKTRACE=1`
error: test failed, to rerun pass `-p synod-paxos --lib`
";
        let line = "caught m (by: scout::tests::a_late_p1b: invariant C2 does not hold: slot 5)";
        assert_eq!(caught(output), line);
    }

    #[test]
    fn a_test_that_dies_without_a_panic_is_caught_by_its_signal_or_last_line() {
        let output =
            "running 2 tests\n  process didn't exit successfully: `a` (signal: 6, SIGABRT)";
        assert_eq!(caught(output), "caught m (by: signal 6, SIGABRT)");
        assert_eq!(caught("F.\nkilled\n\n"), "caught m (by: killed)");
        assert_eq!(caught(""), "caught m (by: no output)");
    }

    #[test]
    fn a_test_that_hangs_is_caught() {
        assert!(read(Ending::TimedOut, "").is_caught());
    }

    #[test]
    fn a_mutant_that_does_not_compile_is_not_caught() {
        let output = "
warning: unused variable
error[E0308]: mismatched types
 --> crates/paxos/src/scout.rs:9:1
error: could not compile `synod-paxos` (lib) due to 1 previous error
";
        let verdict = read(exit(101), output);
        assert_eq!(verdict.line("m"), "DOES NOT BUILD m (error[E0308]: mismatched types)");
        assert!(!verdict.is_caught());
    }

    #[test]
    fn a_long_message_is_cut() {
        let line = caught(&format!("thread 't' panicked at a.rs:1:2:\n{}", "é".repeat(500)));
        assert!(line.ends_with("é...)"), "{line}");
        assert!(line.chars().count() < 2 * MESSAGE);
    }
}
