//! Commands with a time limit, which leave nothing running behind them.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGINT, SIGTERM};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By itself.
    Exited(ExitStatus),
    /// It was killed, because its time was up.
    TimedOut,
}

impl Ending {
    /// Whether it came to its end and reported success.
    pub(crate) fn succeeded(self) -> bool {
        match self {
            Self::Exited(status) => status.success(),
            Self::TimedOut => false,
        }
    }
}

/// Runs `command`, for no longer than `limit`.
///
/// It gets a process group of its own, because `cargo test` does not take its test programs along
/// when it is killed. The terminal then no longer interrupts that group, so this does.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<Ending> {
    let interrupted = interrupted()?;
    let name = command.get_program().to_owned();
    let mut child = command
        .process_group(0)
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("{} does not start", name.display()))?;
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Ending::Exited(status));
        }
        let stop = interrupted.load(Ordering::Relaxed);
        if stop || Instant::now() >= deadline {
            kill_process_group(Pid::from_child(&child), Signal::KILL)?;
            child.wait()?;
            if stop {
                bail!("interrupted");
            }
            return Ok(Ending::TimedOut);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Set as soon as somebody asks this program to stop.
fn interrupted() -> Result<&'static AtomicBool> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    if let Some(flag) = FLAG.get() {
        return Ok(flag);
    }
    let flag = FLAG.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(flag))?;
    }
    Ok(flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_command_that_ends_in_time_reports_its_status() {
        let minute = Duration::from_secs(60);
        assert!(run_within(&mut shell("exit 0"), minute).unwrap().succeeded());
        assert!(!run_within(&mut shell("exit 3"), minute).unwrap().succeeded());
    }

    #[test]
    fn a_command_that_hangs_is_killed_with_what_it_started() {
        // The grandchild holds the pipe open: reading it to its end proves that it is gone.
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut command = shell("sleep 600 & sleep 600");
        let ending = run_within(command.stdout(writer), Duration::from_millis(100)).unwrap();
        assert_eq!(ending, Ending::TimedOut);
        drop(command);
        assert_eq!(std::io::Read::read_to_end(&mut reader, &mut Vec::new()).unwrap(), 0);
    }
}
