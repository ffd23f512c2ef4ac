//! What clients saw of a [`Tally`], for a second opinion: the properties compare with the log, and
//! this does not know that there is one.

use std::collections::BTreeMap;

use synod::Machine;
use synod_paxos::{ClientId, Command, Op};

use crate::{
    event::{Judged, Violation},
    linearizability::{Operation, Outcome, Specification, Verdict, check},
    workload::Tally,
};

/// Some seconds at worst; what is not decided by then is left to the properties.
const BUDGET: usize = 1 << 18;

/// What a client asked for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Asked {
    /// A command, as bytes.
    Command(Vec<u8>),
    Read,
}

/// Which request it was.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Key {
    Command(ClientId, u64),
    Read(usize, u64),
}

/// The requests of a run, in the order in which they were made; none, unless they are kept.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) kept: bool,
    operations: Vec<Operation<Asked, Vec<u8>>>,
    open: BTreeMap<Key, usize>,
}

impl History {
    /// A client asks for a command. Times count events.
    pub(crate) fn command(&mut self, client: usize, at: u64, command: &Command) {
        if let Op::Apply(op) = &command.op {
            let asked = Asked::Command(op.as_slice().to_vec());
            self.begin(Key::Command(command.client, command.cid), client, at, asked);
        }
    }

    /// A client asks for a read.
    pub(crate) fn read(&mut self, client: usize, at: u64, id: u64) {
        self.begin(Key::Read(client, id), client, at, Asked::Read);
    }

    fn begin(&mut self, key: Key, client: usize, at: u64, asked: Asked) {
        if self.kept {
            self.open.insert(key, self.operations.len());
            self.operations.push(Operation::pending(client as u64, asked, at));
        }
    }

    /// A client has the reply to a command.
    pub(crate) fn done(&mut self, client: ClientId, cid: u64, at: u64, reply: &[u8]) {
        self.end(Key::Command(client, cid), Outcome::Returned { at, result: reply.to_vec() });
    }

    /// A client is told that a command was not done.
    pub(crate) fn not_done(&mut self, client: ClientId, cid: u64) {
        self.end(Key::Command(client, cid), Outcome::Failed);
    }

    /// A client has the answer to a read.
    pub(crate) fn answered(&mut self, client: usize, id: u64, at: u64, answer: &[u8]) {
        self.end(Key::Read(client, id), Outcome::Returned { at, result: answer.to_vec() });
    }

    /// A client has ended with all that it waited for; it counts its reads anew.
    pub(crate) fn left(&mut self, client: usize) {
        self.open.retain(|key, _| !matches!(key, Key::Read(of, _) if *of == client));
    }

    fn end(&mut self, key: Key, outcome: Outcome<Vec<u8>>) {
        if let Some(operation) = self.open.remove(&key) {
            self.operations[operation].outcome = outcome;
        }
    }

    /// C1, for everything that was kept.
    pub(crate) fn judge(&self) -> Judged {
        match check(&OneTally, &self.operations, BUDGET) {
            Verdict::Linearizable | Verdict::Unknown { .. } => Ok(()),
            Verdict::Violation(violation) => {
                let stuck = violation.stuck.iter().map(|i| format!("{:?}", self.operations[*i]));
                let stuck: Vec<String> = stuck.collect();
                let placed = violation.order.len();
                let what =
                    format!("after {placed} operations, none of these can be next: {stuck:?}");
                Err(Violation::new("C1", what))
            }
        }
    }
}

/// A [`Tally`] that one client after the other uses.
struct OneTally;

impl Specification for OneTally {
    type Key = ();
    type State = Tally;
    type Op = Asked;
    type Result = Vec<u8>;

    fn initial(&self) -> Tally {
        Tally::default()
    }

    fn key(&self, _: &Asked) {}

    fn apply(&self, tally: &mut Tally, asked: &Asked) -> Vec<u8> {
        let mut result = Vec::new();
        match asked {
            // The first byte says for whom it is.
            Asked::Command(op) => Machine::apply(tally, op.get(1..).unwrap_or(&[]), &mut result),
            Asked::Read => {
                let mut query = Vec::new();
                Tally::encode_query(&(), &mut query);
                Machine::query(tally, &query, &mut result);
            }
        }
        result
    }

    fn is_read(&self, asked: &Asked, _: &Vec<u8>) -> bool {
        *asked == Asked::Read
    }
}

#[cfg(test)]
mod tests {
    use synod::engine::machine_op;
    use synod_paxos::Slot;

    use super::*;

    const CLIENT: ClientId = ClientId { born: Slot(1), number: 1 };

    fn command(cid: u64) -> Command {
        let op = Op::Apply(machine_op::<Tally>(&(cid, Vec::new())));
        Command { client: CLIENT, cid, acked: cid, op }
    }

    /// Two commands one after the other; a read begins in between and ends afterwards.
    fn history(answer_after: usize) -> History {
        let mut history = History { kept: true, ..History::default() };
        let mut tally = Tally::default();
        let mut answers = vec![OneTally.apply(&mut tally, &Asked::Read)];
        for cid in [1, 2] {
            let command = command(cid);
            history.command(1, cid * 10, &command);
            let Op::Apply(op) = &command.op else { unreachable!("a command") };
            let reply = OneTally.apply(&mut tally, &Asked::Command(op.as_slice().to_vec()));
            history.done(CLIENT, cid, cid * 10 + 5, &reply);
            answers.push(OneTally.apply(&mut tally, &Asked::Read));
            if cid == 1 {
                history.read(2, 17, 1);
            }
        }
        history.answered(2, 1, 30, &answers[answer_after]);
        history
    }

    #[test]
    fn a_read_may_see_what_was_there_when_it_began_and_later() {
        assert_eq!(history(1).judge(), Ok(()));
        assert_eq!(history(2).judge(), Ok(()));
    }

    #[test]
    fn a_read_must_not_see_what_was_there_before_it_began() {
        assert_eq!(history(0).judge().unwrap_err().property, "C1");
    }

    #[test]
    fn a_command_that_was_not_done_has_no_effect() {
        let mut history = history(2);
        history.command(3, 40, &command(3));
        history.not_done(CLIENT, 3);
        assert_eq!(history.judge(), Ok(()));
        history.open.insert(Key::Command(CLIENT, 2), 2);
        history.not_done(CLIENT, 2);
        assert_eq!(history.judge().unwrap_err().property, "C1");
    }
}
