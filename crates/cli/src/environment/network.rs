//! The network: an inbox for each process, and what may happen to messages on their way.
//!
//! Waking a thread costs far more than handling a message. So whatever one process has to say to
//! another in one turn goes as one piece of mail; and whoever is woken takes all that is there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, unbounded};
use fastrand::Rng;
use synod_paxos::{Command, Message, Response};

use super::{inbox::Inbox, plan::Faults, tally::Tally};
use crate::trace::Recorder;

/// Where a process, a client or the operator stands in every list of them.
pub(crate) type Place = usize;

/// What connects everybody.
pub(crate) struct Network {
    start: Instant,
    lines: Vec<Line>,
    faults: Option<Faults>,
    /// Only where a trace is wanted.
    pub(crate) recorder: Option<Recorder>,
}

/// What leads to one process.
struct Line {
    sender: Sender<Mail>,
    receiver: Receiver<Mail>,
    up: AtomicBool,
    /// The group of a partition to which it belongs; 0 is none, and reaches everyone.
    group: AtomicUsize,
}

/// What one process has to say to another, in one turn.
pub(crate) struct Mail {
    pub(crate) from: Place,
    pub(crate) body: Body,
    /// When it arrives, if the network holds it back.
    pub(crate) due: Option<Duration>,
    /// Where the recorder has noted the first of its messages.
    pub(crate) recorded: Option<usize>,
}

pub(crate) enum Body {
    Messages(Vec<Message>),
    Requests(Vec<Command>),
    Responses(Vec<Response>),
    /// Look up: you have been given an order.
    Wake,
}

impl Body {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Messages(messages) => messages.len(),
            Self::Requests(commands) => commands.len(),
            Self::Responses(responses) => responses.len(),
            Self::Wake => 0,
        }
    }
}

/// Something that can be sent.
pub(crate) trait Content: Clone {
    fn body(items: Vec<Self>) -> Body;
    fn note(items: &[Self], tally: &mut Tally);
    fn record(&self) -> Recorded;
}

/// What a trace says about a message.
pub(crate) struct Recorded {
    pub(crate) kind: &'static str,
    pub(crate) text: String,
    pub(crate) ballot: Option<String>,
    pub(crate) slot: Option<u64>,
}

impl Content for Message {
    fn body(items: Vec<Self>) -> Body {
        Body::Messages(items)
    }

    fn note(items: &[Self], tally: &mut Tally) {
        items.iter().for_each(|message| tally.sent(message.kind(), 1));
    }

    fn record(&self) -> Recorded {
        Recorded {
            kind: self.kind(),
            text: self.to_string(),
            ballot: self.ballot().map(|ballot| ballot.to_string()),
            slot: self.slot().map(|slot| slot.0),
        }
    }
}

impl Content for Command {
    fn body(items: Vec<Self>) -> Body {
        Body::Requests(items)
    }

    fn note(items: &[Self], tally: &mut Tally) {
        tally.sent("request", items.len() as u64);
    }

    fn record(&self) -> Recorded {
        Recorded { kind: "request", text: format!("request {self}"), ballot: None, slot: None }
    }
}

impl Content for Response {
    fn body(items: Vec<Self>) -> Body {
        Body::Responses(items)
    }

    fn note(items: &[Self], tally: &mut Tally) {
        tally.sent("response", items.len() as u64);
    }

    fn record(&self) -> Recorded {
        Recorded { kind: "response", text: self.to_string(), ballot: None, slot: None }
    }
}

impl Network {
    pub(crate) fn new(places: usize, faults: Option<Faults>, recorder: Option<Recorder>) -> Self {
        let line = || {
            let (sender, receiver) = unbounded();
            Line { sender, receiver, up: AtomicBool::new(false), group: AtomicUsize::new(0) }
        };
        let lines = (0..places).map(|_| line()).collect();
        Self { start: Instant::now(), lines, faults, recorder }
    }

    /// The time since the start.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) fn instant(&self, time: Duration) -> Instant {
        self.start + time
    }

    /// The inbox of a process that starts now. What was sent to an earlier life is lost.
    pub(crate) fn open(self: &Arc<Self>, place: Place) -> Inbox {
        let receiver = self.lines[place].receiver.clone();
        drop(receiver.try_iter().collect::<Vec<_>>());
        self.lines[place].up.store(true, Relaxed);
        Inbox::new(self.clone(), receiver)
    }

    /// Nothing reaches this process any more.
    pub(crate) fn close(&self, place: Place) {
        self.lines[place].up.store(false, Relaxed);
    }

    /// Wakes a process that waits for mail.
    pub(crate) fn wake(&self, place: Place) {
        self.post(place, Mail { from: place, body: Body::Wake, due: None, recorded: None });
    }

    /// Puts a process into a group, which reaches only itself and those that are in none.
    pub(crate) fn assign(&self, place: Place, group: usize) {
        self.lines[place].group.store(group, Relaxed);
    }

    /// Ends every partition.
    pub(crate) fn heal(&self) {
        self.lines.iter().for_each(|line| line.group.store(0, Relaxed));
    }

    fn reaches(&self, from: Place, to: Place) -> bool {
        let (from, to) = (&self.lines[from], &self.lines[to]);
        let (a, b) = (from.group.load(Relaxed), to.group.load(Relaxed));
        to.up.load(Relaxed) && (a == b || a == 0 || b == 0)
    }

    fn post(&self, to: Place, mail: Mail) {
        // It cannot fail, for the network keeps a receiver of every line.
        drop(self.lines[to].sender.send(mail));
    }
}

/// One sender's access to the network.
pub(crate) struct Port {
    place: Place,
    network: Arc<Network>,
    rng: Rng,
    pub(crate) tally: Tally,
}

impl Port {
    /// `seed` decides about the faults of what is sent here.
    pub(crate) fn new(place: Place, network: Arc<Network>, seed: u64) -> Self {
        Self { place, network, rng: Rng::with_seed(seed), tally: Tally::default() }
    }

    /// Sends all items to one process.
    pub(crate) fn send<T: Content>(&mut self, to: Place, items: Vec<T>) {
        T::note(&items, &mut self.tally);
        match self.network.faults {
            None => self.hand_over(to, items, None, false),
            Some(faults) => {
                for item in items {
                    if self.rng.f64() < faults.duplication {
                        self.tally.duplicated += 1;
                        self.risk(to, item.clone(), &faults);
                    }
                    self.risk(to, item, &faults);
                }
            }
        }
    }

    /// Sends one copy of a message, if it is lucky.
    fn risk<T: Content>(&mut self, to: Place, item: T, faults: &Faults) {
        let lost = self.rng.f64() < faults.loss;
        self.tally.lost += u64::from(lost);
        let (least, longest) = faults.delay;
        let mut delay = least + (longest - least).mul_f64(self.rng.f64());
        if self.rng.f64() < faults.reordering {
            delay += faults.held_back.mul_f64(self.rng.f64());
        }
        let due = (delay > Duration::ZERO).then(|| self.network.now() + delay);
        self.hand_over(to, vec![item], due, lost);
    }

    fn hand_over<T: Content>(
        &mut self,
        to: Place,
        items: Vec<T>,
        due: Option<Duration>,
        lost: bool,
    ) {
        let lost = lost || !self.network.reaches(self.place, to);
        let recorder = self.network.recorder.as_ref();
        let recorded = recorder
            .and_then(|recorder| recorder.sent((self.place, to), &items, self.network.now(), lost));
        if !lost {
            let mail = Mail { from: self.place, body: T::body(items), due, recorded };
            self.network.post(to, mail);
        }
    }
}

/// What is to be sent at the end of a turn, by addressee.
pub(crate) struct Bundles<T> {
    items: Vec<Vec<T>>,
    /// The addressees, in the order in which they were thought of.
    to: Vec<Place>,
}

impl<T: Content> Bundles<T> {
    pub(crate) fn new(places: usize) -> Self {
        Self { items: (0..places).map(|_| Vec::new()).collect(), to: Vec::new() }
    }

    #[inline]
    pub(crate) fn add(&mut self, to: Place, item: T) {
        if self.items[to].is_empty() {
            self.to.push(to);
        }
        self.items[to].push(item);
    }

    pub(crate) fn send(&mut self, port: &mut Port) {
        for to in self.to.drain(..) {
            port.send(to, std::mem::take(&mut self.items[to]));
        }
    }

    /// Forgets everything: the process has died before it could send it.
    pub(crate) fn clear(&mut self) {
        self.to.drain(..).for_each(|to| self.items[to].clear());
    }
}
