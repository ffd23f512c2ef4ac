//! The commands in flight of one thread: a slot for each that may be, and a ticket that says which.

use std::{collections::VecDeque, ops::Range, time::Duration};

use super::{
    Error,
    target::{Completion, Operation, Outcome, Sessions},
};

/// A command that was refused or has failed gives its place to another only after this time: a
/// cluster that refuses is not to be asked again in a loop.
const PAUSE: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Write,
    Read,
}

/// A command in flight. Times count from the start of the load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Command {
    pub(super) kind: Kind,
    pub(super) key: u64,
    /// From when on its latency counts.
    pub(super) due: Duration,
    pub(super) sent: Duration,
}

struct Slot {
    client: usize,
    /// Which of the commands that this slot has had: an answer to an earlier one does not fit.
    turn: u32,
    command: Option<Command>,
}

pub(super) struct Driver {
    sessions: Box<dyn Sessions>,
    slots: Vec<Slot>,
    free: VecDeque<u32>,
    /// Not free before this time.
    pausing: VecDeque<(Duration, u32)>,
    completions: Vec<Completion>,
}

impl Driver {
    /// With `in_flight` slots for each of the clients, which take turns.
    pub(super) fn new(
        sessions: Box<dyn Sessions>,
        clients: Range<usize>,
        in_flight: usize,
    ) -> Self {
        let turns = (0..in_flight).flat_map(|_| clients.clone());
        let slots: Vec<Slot> =
            turns.map(|client| Slot { client, turn: 0, command: None }).collect();
        let count = u32::try_from(slots.len()).expect("the arguments bound it");
        Self {
            sessions,
            slots,
            free: (0..count).collect(),
            pausing: VecDeque::new(),
            completions: Vec::new(),
        }
    }

    /// Whether another command may be sent now.
    pub(super) fn is_free(&mut self, now: Duration) -> bool {
        while let Some((_, slot)) = self.pausing.pop_front_if(|(until, _)| *until <= now) {
            self.free.push_back(slot);
        }
        !self.free.is_empty()
    }

    /// Whether there was a free slot when it was last asked.
    pub(super) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// When a slot that pauses will be free.
    pub(super) fn free_at(&self) -> Option<Duration> {
        self.pausing.front().map(|(until, _)| *until)
    }

    /// Ends all pauses, for another clock is to be used.
    pub(super) fn rest(&mut self) {
        self.free.extend(self.pausing.drain(..).map(|(_, slot)| slot));
    }

    /// How many commands are in flight.
    pub(super) fn outstanding(&self) -> usize {
        self.slots.len() - self.free.len() - self.pausing.len()
    }

    /// How many of those in flight were due in `window`.
    pub(super) fn unanswered(&self, window: &Range<Duration>) -> u64 {
        let commands = self.slots.iter().filter_map(|slot| slot.command);
        commands.filter(|command| window.contains(&command.due)).map(|_| 1).sum()
    }

    /// Sends a command. There must be a free slot.
    pub(super) fn submit(&mut self, operation: Operation<'_>, due: Duration, sent: Duration) {
        let index = self.free.pop_front().expect("the caller has asked `is_free`");
        let slot = &mut self.slots[index as usize];
        let (kind, key) = match operation {
            Operation::Write { key, .. } => (Kind::Write, key),
            Operation::Read { key, .. } => (Kind::Read, key),
        };
        slot.turn = slot.turn.wrapping_add(1);
        slot.command = Some(Command { kind, key, due, sent });
        let ticket = u64::from(slot.turn) << 32 | u64::from(index);
        self.sessions.submit(slot.client, operation, ticket);
    }

    /// Sends and receives; waits no longer than `timeout`. Each command that has ended is given to
    /// `each`, at the time that `clock` tells after the wait.
    pub(super) fn poll(
        &mut self,
        timeout: Duration,
        clock: impl Fn() -> Duration,
        mut each: impl FnMut(Command, Outcome, Duration),
    ) -> Result<(), Error> {
        self.sessions.poll(timeout, &mut self.completions);
        let now = clock();
        for Completion { ticket, outcome } in self.completions.drain(..) {
            let index = u32::try_from(ticket & u64::from(u32::MAX)).expect("masked");
            let slot = self.slots.get_mut(index as usize);
            let slot = slot.filter(|slot| u64::from(slot.turn) == ticket >> 32);
            let Some(command) = slot.and_then(|slot| slot.command.take()) else {
                return Err(Error::Ticket(ticket));
            };
            match outcome {
                Outcome::Done => self.free.push_back(index),
                Outcome::Busy | Outcome::Unknown(_) | Outcome::Failed(_) => {
                    self.pausing.push_back((now + PAUSE, index));
                }
            }
            each(command, outcome, now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fake::Script, *};

    const ZERO: Duration = Duration::ZERO;

    fn write(key: u64) -> Operation<'static> {
        Operation::Write { key, value: b"value" }
    }

    fn poll(driver: &mut Driver, now: Duration) -> Result<Vec<u64>, Error> {
        let mut keys = Vec::new();
        driver.poll(ZERO, || now, |command, _, _| keys.push(command.key))?;
        Ok(keys)
    }

    #[test]
    fn clients_take_turns_and_have_no_more_in_flight_than_they_may() {
        let script = Script::default();
        let mut driver = Driver::new(Box::new(script.clone()), 4..6, 2);
        for key in 0..4 {
            assert!(driver.is_free(ZERO));
            driver.submit(write(key), ZERO, ZERO);
        }
        assert!(!driver.is_free(ZERO));
        assert_eq!(driver.outstanding(), 4);
        let clients: Vec<usize> = script.taken().iter().map(|(client, _)| *client).collect();
        assert_eq!(clients, [4, 5, 4, 5]);

        script.answer(script.taken()[2].1, Outcome::Done);
        assert_eq!(poll(&mut driver, ZERO).unwrap(), [2]);
        assert!(driver.is_free(ZERO));
        assert_eq!(driver.outstanding(), 3);
    }

    #[test]
    fn whoever_is_refused_pauses() {
        let script = Script::default();
        let mut driver = Driver::new(Box::new(script.clone()), 0..1, 1);
        driver.submit(write(1), ZERO, ZERO);
        script.answer(script.taken()[0].1, Outcome::Busy);
        assert_eq!(poll(&mut driver, ZERO).unwrap(), [1]);
        assert_eq!(driver.outstanding(), 0);
        assert!(!driver.is_free(PAUSE / 2));
        assert_eq!(driver.free_at(), Some(PAUSE));
        assert!(driver.is_free(PAUSE));
    }

    #[test]
    fn an_answer_to_nothing_is_an_error() {
        let script = Script::default();
        let mut driver = Driver::new(Box::new(script.clone()), 0..1, 1);
        driver.submit(write(1), ZERO, ZERO);
        let ticket = script.taken()[0].1;
        script.answer(ticket, Outcome::Done);
        script.answer(ticket, Outcome::Done);
        assert!(matches!(poll(&mut driver, ZERO), Err(Error::Ticket(t)) if t == ticket));
        driver.submit(write(2), ZERO, ZERO);
        script.answer(ticket, Outcome::Done);
        assert!(matches!(poll(&mut driver, ZERO), Err(Error::Ticket(_))), "of an earlier turn");
        script.answer(77, Outcome::Done);
        assert!(matches!(poll(&mut driver, ZERO), Err(Error::Ticket(77))));
    }
}
