//! Synod's nodes as a target: a session for each client, driven by the thread of load itself.

use std::{
    ops::Range,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde_bytes::ByteBuf;
use synod::{Completion as Answer, Connect, ConnectError, NotDone, Pipeline, ReadError, Refused};

use super::{
    At, Error,
    target::{Completion, Level, Operation, Outcome, Sessions, Target},
};
use crate::registers::{Change, Registers};

/// How long a question who leads may take.
const QUESTION: Duration = Duration::from_secs(1);
/// A session waits in whole milliseconds; what is shorter, or must watch several sessions, looks
/// again after this time.
const NAP: Duration = Duration::from_micros(20);
/// The shortest wait that is left to a session.
const SLEEP: Duration = Duration::from_millis(2);

/// Synod's nodes.
pub(super) struct SynodTarget {
    addresses: Vec<String>,
    at: At,
    /// The session that asks who leads.
    watch: Mutex<Option<Pipeline<Registers>>>,
}

impl SynodTarget {
    pub(super) fn new(addresses: Vec<String>, at: At) -> Self {
        Self { addresses, at, watch: Mutex::new(None) }
    }

    /// How a client of the load connects.
    fn route(&self) -> Connect {
        let follower = |leader: usize| (1..).zip(&self.addresses).find(|(n, _)| *n != leader);
        match self.at {
            At::Leader => Connect::to(self.addresses.iter().cloned()),
            At::Follower => match self.leader().and_then(follower) {
                Some((_, address)) => Connect::to([address.clone()]).stay(),
                None => Connect::to(self.addresses.iter().cloned()),
            },
        }
    }

    fn open(&self, connect: Connect) -> Result<Pipeline<Registers>, Error> {
        Pipeline::connect(connect).map_err(|error: ConnectError| Error::Unreachable {
            address: self.addresses.join(","),
            why: error.to_string(),
        })
    }
}

impl Target for SynodTarget {
    fn connect(&self, clients: Range<usize>) -> Result<Box<dyn Sessions>, Error> {
        let first = clients.start;
        let pipelines = clients.map(|_| self.open(self.route())).collect::<Result<_, Error>>()?;
        Ok(Box::new(SynodSessions { first, pipelines, answers: Vec::new() }))
    }

    fn leader(&self) -> Option<usize> {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let pipeline = match &mut *watch {
            Some(pipeline) => pipeline,
            None => {
                let connect = Connect::to(self.addresses.iter().cloned()).timeout(QUESTION);
                watch.insert(self.open(connect).ok()?)
            }
        };
        pipeline.status(0);
        let (start, mut answers) = (Instant::now(), Vec::new());
        while answers.is_empty() && start.elapsed() < 2 * QUESTION {
            pipeline.poll(QUESTION, &mut answers);
        }
        match answers.pop() {
            // Others may believe in a leader that is gone; only its own word counts.
            Some((_, Answer::Status(status))) if status.leader == Some(status.node) => {
                usize::try_from(status.node).ok()
            }
            Some(_) | None => None,
        }
    }
}

struct SynodSessions {
    /// The client of the first session.
    first: usize,
    pipelines: Vec<Pipeline<Registers>>,
    answers: Vec<(u64, Answer)>,
}

impl Sessions for SynodSessions {
    fn submit(&mut self, client: usize, operation: Operation<'_>, ticket: u64) {
        let pipeline = &mut self.pipelines[client - self.first];
        match operation {
            Operation::Write { key, value } => {
                let (key, value) = (ByteBuf::from(key.to_be_bytes()), ByteBuf::from(value));
                pipeline.call(&Change::Put { key, value }, ticket);
            }
            Operation::Read { key, level } => {
                pipeline.read(sure(level), &ByteBuf::from(key.to_be_bytes()), ticket);
            }
        }
    }

    fn poll(&mut self, timeout: Duration, completions: &mut Vec<Completion>) {
        let start = Instant::now();
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            match &mut self.pipelines[..] {
                [alone] if left >= SLEEP => alone.poll(left - SLEEP / 2, &mut self.answers),
                all => all.iter_mut().for_each(|it| it.poll(Duration::ZERO, &mut self.answers)),
            }
            let left = timeout.saturating_sub(start.elapsed());
            if !self.answers.is_empty() || left.is_zero() {
                break;
            }
            if self.pipelines.len() > 1 || left < SLEEP {
                thread::sleep(left.min(NAP));
            }
        }
        let ended = self.answers.drain(..);
        completions.extend(ended.map(|(ticket, it)| Completion { ticket, outcome: outcome(it) }));
    }
}

fn sure(level: Level) -> synod::Level {
    match level {
        Level::Linearizable => synod::Level::Linearizable,
        Level::Lease => synod::Level::Lease,
        Level::Local => synod::Level::Local,
    }
}

fn outcome(answer: Answer) -> Outcome {
    match answer {
        Answer::Done(_) | Answer::Answer(_) => Outcome::Done,
        Answer::NotDone(NotDone::Refused(Refused::Busy) | NotDone::TooManyInFlight)
        | Answer::Failed(ReadError::Refused(Refused::Busy)) => Outcome::Busy,
        Answer::NotDone(why) => Outcome::Failed(why.to_string().into()),
        Answer::Failed(why) => Outcome::Failed(why.to_string().into()),
        Answer::Unknown => Outcome::Unknown("not answered in time".into()),
        Answer::Status(_) => Outcome::Failed("an answer to another question".into()),
    }
}
