//! Leads a run: starts the threads of load together, kills leaders, and shows how it goes.

use std::{
    ops::Range,
    panic, process,
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{
    Error,
    cluster::Cluster,
    cores,
    driver::Driver,
    generator::{self, Generator, Pace, Shared},
    progress::Progress,
    record::Record,
    schedule::Schedule,
    target::{Operation, Outcome, Target},
    usage,
    workload::{Mix, Workload},
};

/// How often the conductor looks around.
const TICK: Duration = Duration::from_millis(10);
/// However little patience is left, an answer may take as long.
const ANSWER: Duration = Duration::from_secs(1);
/// How long a killed node stays away.
const AWAY: Duration = Duration::from_secs(1);
/// How long what is in flight at the end may take to be answered.
const DRAIN: Duration = Duration::from_secs(10);
/// How long threads wait to be told the start.
const ASSEMBLY: Duration = Duration::from_secs(3600);

/// The load of a run.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) clients: usize,
    /// No more than there are clients.
    pub(super) threads: usize,
    /// Of each client.
    pub(super) in_flight: usize,
    /// Commands per second in an open loop; without it the loop is closed.
    pub(super) rate: Option<u64>,
    pub(super) mix: Mix,
    pub(super) warm_up: Duration,
    pub(super) duration: Duration,
    pub(super) kill_leader_every: Option<Duration>,
}

/// What a run has come to. Times count from the start of the load.
#[derive(Debug)]
pub(super) struct Measured {
    /// The time that was measured: after the warm-up.
    pub(super) window: Range<Duration>,
    pub(super) record: Record,
    pub(super) kills: Vec<Kill>,
    /// Of all nodes, in seconds, if they are ours and it can be told.
    pub(super) nodes_cpu: Option<f64>,
    /// Of this process, in seconds.
    pub(super) generator_cpu: Option<f64>,
    /// Memory of each node at the end.
    pub(super) resident_bytes: Option<Vec<u64>>,
}

/// A leader's process was killed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kill {
    pub(super) node: usize,
    pub(super) at: Duration,
    pub(super) restarted: Option<Duration>,
}

/// Waits until all nodes of ours listen and the cluster performs a command, but no longer than
/// `patience`.
pub(super) fn reach(
    target: &dyn Target,
    cluster: &mut Option<Cluster>,
    patience: Duration,
    interrupted: &AtomicBool,
) -> Result<(), Error> {
    let start = Instant::now();
    loop {
        let left = patience.saturating_sub(start.elapsed());
        // A command may be performed before all nodes are there, but the load is for all of them.
        let error = match cluster.as_ref().and_then(Cluster::deaf) {
            Some(deaf) => deaf,
            None => match knock(target, left.max(ANSWER), interrupted) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            },
        };
        if interrupted.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        if let Some(deserter) = cluster.as_mut().and_then(|it| it.deserters().into_iter().next()) {
            return Err(Error::Deserted(deserter));
        }
        // Nodes that were started a moment ago may not listen yet; a running cluster does.
        let unreachable = matches!(error, Error::Unreachable { .. });
        let hopeless = cluster.is_none() && unreachable;
        if hopeless || start.elapsed() >= patience {
            return Err(error);
        }
        thread::sleep(TICK);
    }
}

/// Sends one command, and waits for its answer.
fn knock(target: &dyn Target, patience: Duration, interrupted: &AtomicBool) -> Result<(), Error> {
    let start = Instant::now();
    let mut driver = Driver::new(target.connect(0..1)?, 0..1, 1);
    driver.submit(Operation::Write { key: 0, value: &[] }, Duration::ZERO, Duration::ZERO);
    let mut answer = None;
    while answer.is_none() {
        if start.elapsed() >= patience || interrupted.load(Ordering::Relaxed) {
            return Err(Error::Silent("no answer".to_owned()));
        }
        let each = |_, outcome, _| answer = Some(outcome);
        driver.poll(TICK, || start.elapsed(), each)?;
    }
    match answer {
        Some(Outcome::Done) | None => Ok(()),
        Some(other) => Err(Error::Silent(generator::reason(other))),
    }
}

/// Runs the load.
pub(super) fn conduct(
    load: &Load,
    target: &dyn Target,
    cluster: &mut Option<Cluster>,
    progress: &Progress,
    interrupted: &AtomicBool,
) -> Result<Measured, Error> {
    let shared = Shared::default();
    thread::scope(|scope| {
        // Whichever way this ends, no thread is waited for that waits for its time to be up.
        let _stop = StopOnDrop(&shared.stop);
        let (ready, assembled) = bounded(load.threads);
        let (whistle, start) = bounded(load.threads);
        let mut threads = Vec::with_capacity(load.threads);
        for thread in 0..load.threads {
            let part = Part { load, thread, target, shared: &shared };
            let (ready, start) = (ready.clone(), start.clone());
            let name = thread::Builder::new().name(format!("load {thread}"));
            let run = move || part.run(&ready, &start);
            threads.push(name.spawn_scoped(scope, run).map_err(Error::Thread)?);
        }
        drop(ready);
        let run = Run { load, target, cluster, progress, interrupted, shared: &shared, threads };
        run.lead(&assembled, &whistle)
    })
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What one thread has to do.
struct Part<'a> {
    load: &'a Load,
    thread: usize,
    target: &'a dyn Target,
    shared: &'a Shared,
}

impl Part<'_> {
    fn run(
        self,
        ready: &Sender<Result<(), Error>>,
        start: &Receiver<Instant>,
    ) -> Result<Record, Error> {
        let Self { load, thread, target, shared } = self;
        let number = u64::try_from(thread).expect("bounded by the arguments");
        let threads = u64::try_from(load.threads).expect("bounded by the arguments");
        let mut workload = Workload::new(load.mix, number);
        cores::wake_on_time();
        let mut prepare = || {
            let clients = share(load.clients, load.threads, thread);
            let sessions = target.connect(clients.clone())?;
            let mut driver = Driver::new(sessions, clients, load.in_flight);
            if load.mix.reads > 0 {
                let keys = (number..load.mix.keys).step_by(load.threads);
                generator::fill(&mut driver, &mut workload, keys, shared)?;
            }
            Ok(driver)
        };
        let driver = match prepare() {
            Ok(driver) => driver,
            Err(error) => {
                drop(ready.send(Err(error)));
                return Err(Error::Interrupted);
            }
        };
        drop(ready.send(Ok(())));
        let Ok(start) = start.recv_timeout(ASSEMBLY) else { return Err(Error::Interrupted) };
        let window = load.window();
        let pace = match load.rate {
            Some(rate) => Pace::Open(Schedule::new(rate, number, threads, window.end)),
            None => Pace::Closed,
        };
        Generator { driver, workload, pace, window, drain: DRAIN, start, shared }.run()
    }
}

impl Load {
    fn window(&self) -> Range<Duration> {
        self.warm_up..self.warm_up + self.duration
    }
}

/// The clients of one thread: as many as the others have, or one more.
fn share(clients: usize, threads: usize, thread: usize) -> Range<usize> {
    clients * thread / threads..clients * (thread + 1) / threads
}

struct Run<'scope, 'a> {
    load: &'a Load,
    target: &'a dyn Target,
    cluster: &'a mut Option<Cluster>,
    progress: &'a Progress,
    interrupted: &'a AtomicBool,
    shared: &'a Shared,
    threads: Vec<ScopedJoinHandle<'scope, Result<Record, Error>>>,
}

impl Run<'_, '_> {
    fn lead(
        mut self,
        assembled: &Receiver<Result<(), Error>>,
        whistle: &Sender<Instant>,
    ) -> Result<Measured, Error> {
        self.assemble(assembled)?;
        let start = Instant::now();
        for _ in 0..self.load.threads {
            if whistle.send(start).is_err() {
                break; // All have died meanwhile, which is noticed when they are joined.
            }
        }
        let window = self.load.window();
        let mut killer = Killer::new(self.load.kill_leader_every, window.clone());
        self.go_on(start, window.start, &mut killer)?;
        let before = self.cpu();
        self.go_on(start, window.end, &mut killer)?;
        let after = self.cpu();
        let resident_bytes = self.cluster.as_ref().and_then(Cluster::resident_bytes);
        while !self.threads.iter().all(ScopedJoinHandle::is_finished) {
            self.tick(start.elapsed(), start, &mut killer)?;
        }
        let used = |before: Option<f64>, after: Option<f64>| Some(after? - before?);
        Ok(Measured {
            record: self.join()?,
            window,
            kills: killer.kills,
            nodes_cpu: used(before.0, after.0),
            generator_cpu: used(before.1, after.1),
            resident_bytes,
        })
    }

    /// Waits until all threads are connected and have filled in their keys.
    fn assemble(&self, assembled: &Receiver<Result<(), Error>>) -> Result<(), Error> {
        let mut missing = self.load.threads;
        while missing > 0 {
            match assembled.recv_timeout(TICK) {
                Ok(ready) => {
                    ready?;
                    missing -= 1;
                }
                Err(error) if error.is_disconnected() => break,
                Err(_) => {}
            }
            self.check_interrupt()?;
            let (done, keys) = (self.shared.done.load(Ordering::Relaxed), self.load.mix.keys);
            self.progress.filling(done, keys);
        }
        Ok(())
    }

    fn go_on(&mut self, start: Instant, until: Duration, killer: &mut Killer) -> Result<(), Error> {
        loop {
            let now = start.elapsed();
            if now >= until {
                return Ok(());
            }
            self.tick(now, start, killer)?;
        }
    }

    fn tick(&mut self, now: Duration, start: Instant, killer: &mut Killer) -> Result<(), Error> {
        self.check_interrupt()?;
        if let Some(cluster) = self.cluster {
            killer.look(now, start, self.target, cluster, self.shared)?;
        }
        let done = self.shared.done.load(Ordering::Relaxed);
        self.progress.running(now, &self.load.window(), done);
        thread::sleep(TICK);
        Ok(())
    }

    fn check_interrupt(&self) -> Result<(), Error> {
        if self.interrupted.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }

    fn cpu(&self) -> (Option<f64>, Option<f64>) {
        let nodes = self.cluster.as_ref().and_then(Cluster::cpu_seconds);
        (nodes, usage::cpu_seconds(process::id()))
    }

    fn join(self) -> Result<Record, Error> {
        let mut whole: Option<Record> = None;
        for thread in self.threads {
            let record = thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic))?;
            match &mut whole {
                Some(whole) => whole.merge(&record),
                None => whole = Some(record),
            }
        }
        whole.ok_or(Error::Interrupted)
    }
}

/// Kills the leader again and again, and starts it again a while later.
struct Killer {
    every: Option<Duration>,
    next: Duration,
    end: Duration,
    kills: Vec<Kill>,
}

impl Killer {
    fn new(every: Option<Duration>, window: Range<Duration>) -> Self {
        let next = window.start + every.unwrap_or_default();
        Self { every, next, end: window.end, kills: Vec::new() }
    }

    fn look(
        &mut self,
        now: Duration,
        start: Instant,
        target: &dyn Target,
        cluster: &mut Cluster,
        shared: &Shared,
    ) -> Result<(), Error> {
        let Some(every) = self.every else { return Ok(()) };
        if let Some(away) = self.kills.last_mut().filter(|kill| kill.restarted.is_none()) {
            if now >= away.at + AWAY {
                cluster.revive(away.node)?;
                away.restarted = Some(start.elapsed());
            }
        } else if now >= self.next && now < self.end {
            // While nobody leads, there is nobody to kill: ask again at the next look.
            if let Some(node) = target.leader().filter(|node| cluster.is_up(*node)) {
                let at = start.elapsed();
                cluster.kill(node);
                shared.kills.publish(start.elapsed());
                self.kills.push(Kill { node, at, restarted: None });
                self.next += every;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, process::Command};

    use super::{super::fake::Fake, *};
    use crate::bench::target::Level;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn load() -> Load {
        Load {
            clients: 5,
            threads: 2,
            in_flight: 2,
            rate: None,
            mix: Mix { value: 8, keys: 100, reads: 50, level: Level::Local, seed: 1 },
            warm_up: ms(50),
            duration: ms(250),
            kill_leader_every: None,
        }
    }

    fn run(load: &Load, fake: &Fake, cluster: &mut Option<Cluster>) -> Result<Measured, Error> {
        let never = AtomicBool::new(false);
        reach(fake, cluster, ms(1000), &never)?;
        conduct(load, fake, cluster, &Progress::hidden(), &never)
    }

    #[test]
    fn clients_are_shared_out_evenly() {
        let shares: Vec<Range<usize>> = (0..3).map(|thread| share(8, 3, thread)).collect();
        assert_eq!(shares, [0..2, 2..5, 5..8]);
    }

    #[test]
    fn threads_run_together_and_their_records_become_one() {
        let measured = run(&load(), &Fake::steady(ms(2)), &mut None).unwrap();
        let record = &measured.record;
        // 10 in flight, 2 ms each: 1,250 at best.
        assert!((100..1400).contains(&record.endings.done), "{:?}", record.endings);
        let latencies = record.writes.latency.len() + record.reads.latency.len();
        assert_eq!(latencies, record.endings.done);
        assert!(!record.writes.latency.is_empty() && !record.reads.latency.is_empty());
        assert_eq!(record.writes.timeline.len(), 3);
        assert!(measured.nodes_cpu.is_none() && measured.resident_bytes.is_none());
    }

    #[test]
    fn an_open_loop_of_many_threads_keeps_the_rate() {
        let load = Load { rate: Some(400), warm_up: ms(500), ..load() };
        let measured = run(&load, &Fake::steady(ms(1)), &mut None).unwrap();
        let endings = &measured.record.endings;
        assert_eq!((endings.done, endings.unanswered), (100, 0));
    }

    #[test]
    fn a_cluster_that_refuses_or_is_silent_is_an_error_in_words() {
        let full = Fake::new(|now, _| (now, Outcome::Failed("the disk is full".into())));
        let error = run(&load(), &full, &mut None).unwrap_err().to_string();
        assert!(error.contains("the disk is full"), "{error}");
        let silent = Fake::new(|now, _| (now + ms(1_000_000), Outcome::Done));
        let error = run(&load(), &silent, &mut None).unwrap_err().to_string();
        assert!(error.contains("no answer"), "{error}");
    }

    #[test]
    fn an_interrupt_ends_the_run_early() {
        let load = Load { duration: ms(60_000), ..load() };
        let now = AtomicBool::new(true);
        let start = Instant::now();
        let fake = Fake::steady(ms(1));
        let error = conduct(&load, &fake, &mut None, &Progress::hidden(), &now).unwrap_err();
        assert!(matches!(error, Error::Interrupted));
        assert!(start.elapsed() < ms(20_000));
    }

    #[test]
    fn the_leader_is_killed_on_time_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let start = |_: usize, _: &[String], _: &std::path::Path| {
            let mut command = Command::new("sleep");
            command.arg("600");
            command
        };
        let cluster = Cluster::start(2, folder.path(), Box::new(start)).unwrap();
        let listen = |address: &String| TcpListener::bind(address).unwrap();
        let _ears: Vec<TcpListener> = cluster.addresses().iter().map(listen).collect();
        let mut cluster = Some(cluster);
        let every = Some(ms(300));
        let load = Load { duration: ms(1800), kill_leader_every: every, ..load() };
        let fake = Fake::new(|now, asked| {
            // Stands still for a while after the first kill.
            let until = asked.map(|asked| asked + ms(300)).unwrap_or_default();
            ((now + ms(2)).max(until), Outcome::Done)
        });
        let measured = run(&load, &fake, &mut cluster).unwrap();
        // At 350 ms, and once it is back, 1.35 s or later.
        let [first, second] = measured.kills[..] else { panic!("{:?}", measured.kills) };
        assert_eq!((first.node, second.node), (1, 1));
        assert!(first.at >= ms(350) && first.restarted.unwrap() >= first.at + AWAY);
        assert!(second.at >= first.restarted.unwrap());
        let outages = &measured.record.outages;
        let resumed = outages.resumed(0).unwrap() - first.at;
        assert!((ms(200)..ms(900)).contains(&resumed), "{resumed:?}");
        assert!(outages.longest(&(first.at..second.at)) >= ms(150));
        assert!(measured.nodes_cpu.is_some() && measured.resident_bytes.is_some());
    }
}
