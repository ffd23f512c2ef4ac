//! A client, in a thread with an inbox: asks, waits for the responses, asks again when they are
//! late, and keeps account.

use std::{
    collections::VecDeque,
    fmt::Write,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::JoinHandle,
    time::Duration,
};

use hdrhistogram::Histogram;
use synod_paxos::{Client, ClientId, Op, Outcome, Slot, session};

use super::{
    console,
    inbox::Inbox,
    machine,
    network::{Body, Mail, Place, Port},
    stage::{Alarm, Notice, Stage},
    tally::Tally,
};

/// What a client has seen.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) number: u32,
    /// Commands that were answered, each counted once.
    pub(crate) answered: u64,
    /// Commands whose session had expired: nobody knows whether they were performed.
    pub(crate) expired: u64,
    /// In nanoseconds, from the first request to the first response.
    pub(crate) latency: Histogram<u64>,
    /// When the last response came.
    pub(crate) finished: Duration,
    pub(crate) tally: Tally,
}

/// Nothing measured so far: up to ten minutes, with three digits.
pub(crate) fn latencies() -> Histogram<u64> {
    Histogram::new_with_max(600_000_000_000, 3).expect("three digits are few enough")
}

/// Starts a client.
pub(crate) fn spawn(stage: &Arc<Stage>, number: u32) -> JoinHandle<Account> {
    let client = Customer::new(stage.clone(), number);
    std::thread::spawn(move || client.run())
}

struct Customer {
    stage: Arc<Stage>,
    client: Client,
    inbox: Inbox,
    port: Port,
    /// The replica to ask: the one that answered last, if any.
    replica: Place,
    /// Whether all replicas have been asked, and the next response says who is there.
    lost: bool,
    /// How many commands have been made.
    asked: u64,
    /// The first command of `pending`.
    first: u64,
    /// The commands without a response and those between them.
    pending: VecDeque<Pending>,
    in_flight: usize,
    account: Account,
}

struct Pending {
    asked: Duration,
    asked_again: Duration,
    answered: bool,
}

impl Customer {
    fn new(stage: Arc<Stage>, number: u32) -> Self {
        let me = stage.client(number);
        let replicas = stage.replicas();
        let account = Account {
            number,
            answered: 0,
            expired: 0,
            latency: latencies(),
            finished: Duration::ZERO,
            tally: Tally::default(),
        };
        Self {
            client: Client::new(ClientId { born: Slot::FIRST, number: u64::from(number) }),
            inbox: stage.network.open(me),
            port: Port::new(me, stage.network.clone(), stage.plan.seed ^ ((me as u64) << 32)),
            replica: replicas[number as usize % replicas.len()],
            lost: false,
            asked: 0,
            first: 1,
            pending: VecDeque::new(),
            in_flight: 0,
            account,
            stage,
        }
    }

    fn run(mut self) -> Account {
        let me = self.stage.client(self.account.number);
        let _alarm = Alarm { notices: self.stage.notices.clone(), place: me };
        let mut mail = Vec::new();
        let mut look_again = Duration::ZERO;
        while self.account.answered + self.account.expired < self.stage.plan.commands
            && !self.stage.over.load(Relaxed)
        {
            let now = self.stage.network.now();
            self.request(now);
            if now >= look_again {
                look_again = now + self.stage.plan.client_patience / 4;
                self.request_again(now);
            }
            self.inbox.take(look_again, &mut mail);
            self.responses(&mut mail);
        }
        self.account.tally = self.port.tally;
        drop(self.stage.notices.send(Notice::Finished));
        self.account
    }

    /// Asks for as much as may be in flight. A command that is not answered must not be left too
    /// far behind: its session keeps only so many replies.
    fn request(&mut self, now: Duration) {
        let plan = &self.stage.plan;
        let window = usize::try_from(session::IN_FLIGHT_MAX / 2).unwrap_or(usize::MAX);
        let mut commands = Vec::new();
        while self.in_flight < plan.in_flight
            && self.asked < plan.commands
            && self.pending.len() < window
        {
            self.asked += 1;
            let op = machine::Op::of_command(self.account.number, self.asked);
            commands.push(self.client.request(Op::Apply(op.payload())));
            self.pending.push_back(Pending { asked: now, asked_again: now, answered: false });
            self.in_flight += 1;
        }
        if !commands.is_empty() {
            self.port.send(self.replica, commands);
        }
    }

    /// Asks all replicas, as in the paper, for what has not been answered for too long.
    fn request_again(&mut self, now: Duration) {
        let patience = self.stage.plan.client_patience;
        let mut late = Vec::new();
        for command in self.client.retry() {
            let place = usize::try_from(command.cid - self.first).unwrap_or(usize::MAX);
            let Some(pending) = self.pending.get_mut(place) else { break };
            if now >= pending.asked_again + patience {
                pending.asked_again = now;
                late.push(command);
            }
        }
        if late.is_empty() {
            return;
        }
        self.lost = true;
        for replica in self.stage.replicas() {
            self.port.send(replica, late.clone());
        }
    }

    fn responses(&mut self, mail: &mut Vec<Mail>) {
        let now = self.stage.network.now();
        let before = self.account.answered;
        let mut text = String::new();
        for Mail { from, body, .. } in mail.drain(..) {
            let responses = match body {
                Body::Responses(responses) => responses,
                Body::Messages(_) | Body::Requests(_) | Body::Wake => continue,
            };
            if std::mem::replace(&mut self.lost, false) {
                self.replica = from;
            }
            for response in responses {
                match response.outcome {
                    Outcome::Busy => {} // Asked again when it is late.
                    Outcome::Done(reply) => {
                        if self.response(response.cid, now) {
                            self.account.answered += 1;
                            if !self.stage.quiet {
                                let number = self.account.number;
                                let cid = response.cid;
                                // Writing to a string cannot fail.
                                _ = writeln!(text, "client {number}: command {cid} = {reply}");
                            }
                        }
                    }
                    Outcome::Expired => {
                        self.account.expired += u64::from(self.response(response.cid, now));
                    }
                }
            }
        }
        self.stage.answered.fetch_add(self.account.answered - before, Relaxed);
        console::write(&text);
    }

    /// Case response: true for the first one to a command.
    fn response(&mut self, cid: u64, now: Duration) -> bool {
        if !self.client.response(cid) {
            return false;
        }
        let place = usize::try_from(cid - self.first).unwrap_or(usize::MAX);
        if let Some(pending) = self.pending.get_mut(place) {
            pending.answered = true;
            let nanoseconds = u64::try_from((now - pending.asked).as_nanos()).unwrap_or(u64::MAX);
            self.account.latency.saturating_record(nanoseconds);
        }
        while self.pending.front().is_some_and(|pending| pending.answered) {
            self.pending.pop_front();
            self.first += 1;
        }
        self.in_flight -= 1;
        self.account.finished = now;
        true
    }
}
