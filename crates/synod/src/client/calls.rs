//! One session: commands on their way, and who waits for them.
//!
//! Used by a client in the node's process and by one far away alike. It has no socket and no
//! clock: whoever owns it sends what it gives, hands it what comes back, says what time it is, and
//! tells those who wait.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use synod_paxos::{Client as Session, ClientId, Op, session::IN_FLIGHT_MAX};

use crate::{
    error::{NotDone, ReadError},
    protocol::{Ask, COMMAND_MAX, Level, Manage, Refused, Report, Tell},
};

/// What a program asks of its client.
#[derive(Debug)]
pub enum Request {
    /// Perform this.
    Call(Op),
    /// What became of the command of this number, which was given up?
    Resolve(u64),
    /// Answer this query.
    Read(Level, Vec<u8>),
    /// Do this.
    Manage(Manage),
    /// Nothing: is over when its time is.
    Pause,
}

/// What became of a request.
#[derive(Debug)]
pub enum Outcome {
    /// The command was performed, with this reply.
    Done(Vec<u8>),
    /// The command was not performed, and never will be.
    NotDone(NotDone),
    /// Nobody knows yet. The session goes on asking; the number is the command's.
    Unknown(u64),
    /// Nobody will ever know: the session has expired.
    Expired,
    /// The answer to a query.
    Answer(Vec<u8>),
    /// The answer to an operator.
    Report(Report),
    /// No answer to a query or an operator.
    Failed(ReadError),
}

/// A command on its way.
#[derive(Debug)]
struct Call<W> {
    /// Who waits; nobody, once it was given up.
    waiter: Option<W>,
    /// When to give up.
    deadline: Duration,
    /// Since when whoever is asked now has not answered.
    since: Duration,
    /// When to send it once more.
    again: Duration,
    /// Copies sent that have not been refused. While there is one, it may yet be performed.
    copies: u32,
}

/// A query, or a request of an operator.
#[derive(Debug)]
struct Question<W> {
    what: Asked,
    waiter: W,
    deadline: Duration,
    since: Duration,
    again: Duration,
}

#[derive(Debug)]
enum Asked {
    Read(Level, Vec<u8>),
    Manage(Manage),
    Nothing,
}

/// The session of one client. `W` is whoever waits for an outcome.
#[derive(Debug)]
pub struct Calls<W> {
    session: Session,
    /// The number of the first of `calls`.
    first: u64,
    calls: VecDeque<Option<Call<W>>>,
    /// What became of commands that were given up.
    late: HashMap<u64, Outcome>,
    questions: BTreeMap<u64, Question<W>>,
    next_question: u64,
    /// How long to wait for an answer before asking once more.
    patience: Duration,
    /// Who need not wait any more.
    settled: Vec<(W, Outcome)>,
}

/// The most outcomes that are kept for tickets.
const LATE_MAX: usize = 1 << 14;

impl<W> Calls<W> {
    /// A new session. `patience` is how long it waits for an answer before it asks once more.
    #[must_use]
    pub fn new(id: ClientId, patience: Duration) -> Self {
        Self {
            session: Session::new(id),
            first: 1,
            calls: VecDeque::new(),
            late: HashMap::new(),
            questions: BTreeMap::new(),
            next_question: 1,
            patience,
            settled: Vec::new(),
        }
    }

    /// The session.
    #[must_use]
    pub fn id(&self) -> ClientId {
        self.session.id()
    }

    /// Those who need not wait any more, with the reason.
    pub fn settled(&mut self) -> std::vec::Drain<'_, (W, Outcome)> {
        self.settled.drain(..)
    }

    /// Takes a request on, and gives `send` what is to be sent for it. `send` says whether that
    /// has left.
    pub fn request(
        &mut self,
        now: Duration,
        request: Request,
        within: Duration,
        waiter: W,
        send: impl FnOnce(Ask<'_>) -> bool,
    ) {
        let (deadline, again) = (now.saturating_add(within), now + self.patience);
        let since = now;
        match request {
            Request::Call(Op::Apply(op)) if op.as_slice().len() > COMMAND_MAX => {
                let too_long = Outcome::NotDone(Refused::TooLong.into());
                self.settled.push((waiter, too_long));
            }
            Request::Read(_, query) if query.len() > COMMAND_MAX => {
                self.settled.push((waiter, Outcome::Failed(Refused::TooLong.into())));
            }
            Request::Call(_) if self.session.window() as u64 >= IN_FLIGHT_MAX => {
                self.settled.push((waiter, Outcome::NotDone(NotDone::TooManyInFlight)));
            }
            Request::Call(op) => {
                let command = self.session.request(op);
                let copies = u32::from(send(Ask::Command(command)));
                let waiter = Some(waiter);
                self.calls.push_back(Some(Call { waiter, deadline, since, again, copies }));
            }
            Request::Resolve(cid) => {
                if let Some(outcome) = self.late.remove(&cid) {
                    self.settled.push((waiter, outcome));
                } else if let Some(call) = self.call(cid) {
                    (call.waiter, call.deadline) = (Some(waiter), deadline);
                } else {
                    self.settled.push((waiter, Outcome::Expired));
                }
            }
            Request::Read(level, query) => {
                let what = Asked::Read(level, query);
                self.ask(Question { what, waiter, deadline, since, again }, send);
            }
            Request::Manage(what) => {
                let what = Asked::Manage(what);
                self.ask(Question { what, waiter, deadline, since, again }, send);
            }
            Request::Pause => {
                let what = Asked::Nothing;
                self.ask(Question { what, waiter, deadline, since, again: deadline }, send);
            }
        }
    }

    /// Nobody will ask what became of a command that was given up.
    pub fn forget(&mut self, cid: u64) {
        self.late.remove(&cid);
    }

    fn ask(&mut self, question: Question<W>, send: impl FnOnce(Ask<'_>) -> bool) {
        let id = self.next_question;
        self.next_question += 1;
        if let Some(ask) = question.what.put(id) {
            send(ask);
        }
        self.questions.insert(id, question);
    }

    fn call(&mut self, cid: u64) -> Option<&mut Call<W>> {
        let place = usize::try_from(cid.checked_sub(self.first)?).ok()?;
        self.calls.get_mut(place)?.as_mut()
    }

    fn take_call(&mut self, cid: u64) -> Option<Call<W>> {
        let place = usize::try_from(cid.checked_sub(self.first)?).ok()?;
        let call = self.calls.get_mut(place)?.take();
        while let Some(None) = self.calls.front() {
            self.calls.pop_front();
            self.first += 1;
        }
        call
    }

    /// Something came back. An expired session, and who leads, are the owner's affair.
    pub fn told(&mut self, tell: &Tell<'_>) {
        match *tell {
            Tell::Done { cid, reply } => self.settle(cid, || Outcome::Done(reply.into())),
            Tell::Refused { cid, why } => {
                let Some(call) = self.call(cid) else { return };
                call.copies = call.copies.saturating_sub(1);
                if call.copies == 0 {
                    self.settle(cid, || Outcome::NotDone(why.into()));
                }
            }
            Tell::Answer { id, answer } => self.answered(id, || Outcome::Answer(answer.into())),
            Tell::ReadRefused { id, why } => self.answered(id, || Outcome::Failed(why.into())),
            Tell::Report { id, ref report } => {
                self.answered(id, || Outcome::Report(report.clone()));
            }
            Tell::Expired { .. } | Tell::Leader { .. } | Tell::Members { .. } => {}
        }
    }

    /// Whether whoever is asked now says that it keeps no state: a witness, or a node that was
    /// removed. Others do, so nothing is settled by that; they are to be asked.
    pub fn is_turned_away(&mut self, tell: &Tell<'_>) -> bool {
        match *tell {
            Tell::Refused { cid, why: Refused::NoReplica } => {
                if let Some(call) = self.call(cid) {
                    call.copies = call.copies.saturating_sub(1);
                }
                true
            }
            Tell::ReadRefused { why: Refused::NoReplica, .. } => true,
            Tell::Done { .. }
            | Tell::Refused { .. }
            | Tell::Expired { .. }
            | Tell::Answer { .. }
            | Tell::ReadRefused { .. }
            | Tell::Report { .. }
            | Tell::Leader { .. }
            | Tell::Members { .. } => false,
        }
    }

    fn answered(&mut self, id: u64, outcome: impl FnOnce() -> Outcome) {
        if let Some(question) = self.questions.remove(&id) {
            self.settled.push((question.waiter, outcome()));
        }
    }

    fn settle(&mut self, cid: u64, outcome: impl FnOnce() -> Outcome) {
        let Some(call) = self.take_call(cid) else { return };
        self.session.response(cid);
        match call.waiter {
            Some(waiter) => self.settled.push((waiter, outcome())),
            None if self.late.len() < LATE_MAX => drop(self.late.insert(cid, outcome())),
            None => {}
        }
    }

    /// Whether this command is on its way, in the session that there is now.
    pub fn has(&mut self, cid: u64) -> bool {
        self.call(cid).is_some()
    }

    /// The session has expired: what was in flight in it will never be known. Begins a new one,
    /// which goes on counting: what is still said of the old one's commands, and the tickets for
    /// them, must not be taken for the new one's.
    pub fn expired(&mut self, id: ClientId) {
        let calls = std::mem::take(&mut self.calls);
        let next = self.first + calls.len() as u64;
        for (cid, call) in (self.first..).zip(calls) {
            self.session.response(cid);
            if let Some(Call { waiter: Some(waiter), .. }) = call {
                self.settled.push((waiter, Outcome::Expired));
            }
        }
        self.late.clear();
        self.session.rename(id);
        self.first = next;
    }

    /// Gives up what has waited too long, and gives `send` what is to be sent once more.
    pub fn tick(&mut self, now: Duration, mut send: impl FnMut(Ask<'_>) -> bool) {
        self.give_up(now);
        let patience = self.patience;
        let due = |call: &Call<W>| now >= call.again;
        if self.calls.iter().flatten().any(due) {
            for command in self.session.retry() {
                let place = usize::try_from(command.cid - self.first).ok();
                let call = place.and_then(|place| self.calls.get_mut(place)?.as_mut());
                if let Some(call) = call.filter(|call| now >= call.again) {
                    call.again = now + patience;
                    call.copies += u32::from(send(Ask::Command(command)));
                }
            }
        }
        for (id, question) in &mut self.questions {
            if now >= question.again {
                question.again = now + patience;
                if let Some(ask) = question.what.put(*id) {
                    send(ask);
                }
            }
        }
    }

    fn give_up(&mut self, now: Duration) {
        let mut never_sent = Vec::new();
        for (cid, call) in (self.first..).zip(&mut self.calls) {
            let Some(call) = call.as_mut().filter(|call| now >= call.deadline) else { continue };
            if call.copies == 0 {
                never_sent.push(cid);
            } else if let Some(waiter) = call.waiter.take() {
                self.settled.push((waiter, Outcome::Unknown(cid)));
            }
        }
        for cid in never_sent {
            self.settle(cid, || Outcome::NotDone(NotDone::Unreachable));
        }
        let late = |_: &u64, question: &mut Question<W>| now >= question.deadline;
        for (_, question) in self.questions.extract_if(.., late) {
            self.settled.push((question.waiter, Outcome::Failed(ReadError::TimedOut)));
        }
    }

    /// Gives `send` everything that is on its way, to be sent over another connection.
    pub fn resend(&mut self, now: Duration, send: impl FnMut(Ask<'_>) -> bool) {
        for call in self.calls.iter_mut().flatten() {
            (call.since, call.again) = (now, now);
        }
        for question in self.questions.values_mut() {
            (question.since, question.again) = (now, now);
        }
        self.tick(now, send);
    }

    /// Gives the session its name, before anything has been sent.
    pub fn rename(&mut self, id: ClientId) {
        self.session.rename(id);
    }

    /// When the oldest thing that waits was asked first of whoever is asked now. Asking once more
    /// does not make it younger: who does not answer at all is to be left.
    #[must_use]
    pub fn oldest(&self) -> Option<Duration> {
        let call = self.calls.iter().flatten().map(|call| call.since).min();
        let question = self.questions.values().map(|question| question.since).min();
        call.into_iter().chain(question).min()
    }

    /// Whether nothing is on its way.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.calls.is_empty() && self.questions.is_empty()
    }

    /// Answers everything: nothing more will come.
    pub fn stop(&mut self) {
        for (cid, call) in (self.first..).zip(std::mem::take(&mut self.calls)) {
            let Some(Call { waiter: Some(waiter), copies, .. }) = call else { continue };
            let outcome = match copies {
                0 => Outcome::NotDone(NotDone::Stopped),
                1.. => Outcome::Unknown(cid),
            };
            self.settled.push((waiter, outcome));
        }
        for (_, question) in std::mem::take(&mut self.questions) {
            self.settled.push((question.waiter, Outcome::Failed(ReadError::Stopped)));
        }
    }
}

impl Asked {
    fn put(&self, id: u64) -> Option<Ask<'_>> {
        match self {
            Self::Read(level, query) => Some(Ask::Read { id, level: *level, query }),
            Self::Manage(what) => Some(Ask::Manage { id, what: *what }),
            Self::Nothing => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use synod_paxos::{Payload, Slot};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn calls() -> Calls<u32> {
        Calls::new(ClientId { born: Slot(1), number: 1 }, SECOND)
    }

    fn call(calls: &mut Calls<u32>, waiter: u32, leaves: bool) {
        let op = Op::Apply(Payload::EMPTY);
        calls.request(Duration::ZERO, Request::Call(op), 5 * SECOND, waiter, |_| leaves);
    }

    fn outcomes(calls: &mut Calls<u32>) -> Vec<String> {
        calls.settled().map(|(waiter, outcome)| format!("{waiter} {outcome:?}")).collect()
    }

    #[test]
    fn a_refusal_counts_only_if_no_other_copy_is_on_its_way() {
        let mut calls = calls();
        call(&mut calls, 7, true);
        calls.tick(SECOND, |_| true);
        calls.told(&Tell::Refused { cid: 1, why: Refused::Busy });
        assert!(calls.settled().next().is_none());
        calls.told(&Tell::Refused { cid: 1, why: Refused::Busy });
        assert_eq!(outcomes(&mut calls), ["7 NotDone(Refused(Busy))"]);
    }

    #[test]
    fn what_was_given_up_can_be_resolved() {
        let mut calls = calls();
        call(&mut calls, 1, true);
        calls.tick(5 * SECOND, |_| true);
        assert_eq!(outcomes(&mut calls), ["1 Unknown(1)"]);
        calls.told(&Tell::Done { cid: 1, reply: &[9] });
        calls.request(6 * SECOND, Request::Resolve(1), SECOND, 2, |_| true);
        assert_eq!(outcomes(&mut calls), ["2 Done([9])"]);
        assert!(calls.idle());
    }

    #[test]
    fn asking_again_does_not_make_what_waits_younger() {
        let mut calls = calls();
        call(&mut calls, 1, true);
        calls.tick(SECOND, |_| true);
        calls.tick(2 * SECOND, |_| true);
        assert_eq!(calls.oldest(), Some(Duration::ZERO));
        calls.resend(3 * SECOND, |_| true);
        assert_eq!(calls.oldest(), Some(3 * SECOND));
        calls.told(&Tell::Done { cid: 1, reply: &[] });
        assert_eq!(calls.oldest(), None);
    }

    #[test]
    fn what_never_left_is_not_done_and_is_never_sent_later() {
        let mut calls = calls();
        call(&mut calls, 1, false);
        calls.tick(5 * SECOND, |_| false);
        assert_eq!(outcomes(&mut calls), ["1 NotDone(Unreachable)"]);
        let mut sent = 0;
        calls.resend(6 * SECOND, |_| {
            sent += 1;
            true
        });
        assert_eq!(sent, 0);
    }
}
