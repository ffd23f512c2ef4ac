//! The connections between nodes: dialing, being let in, being refused.

use synod::{
    Machine,
    transport::handshake::{Answer, Caller as Who, Hello, Welcome},
};
use synod_paxos::NodeId;

use super::{
    CLUSTER, World,
    process::{Line, Output, Parcel, Up},
};
use crate::{
    event::{Judged, Violation},
    queue::Time,
};

/// How long a node waits for an answer to its hello.
const GREETING: Time = 200_000_000;

impl<M: Machine> World<'_, M> {
    /// Dials the nodes that there is no connection with.
    pub(super) fn look_after_lines(&mut self, place: usize) -> Judged {
        let now = self.now;
        let first: Vec<NodeId> = self.schedule.nodes().collect();
        let process = &mut self.processes[place];
        let (me, life) = (process.id, process.life);
        let Some(up) = &mut process.up else { return Ok(()) };
        let known: Vec<NodeId> = up.engine.schedule().nodes().collect();
        for node in first.into_iter().chain(known).filter(|node| *node != me) {
            up.lines.entry(node).or_insert(Line::Idle);
        }
        let hello = up.hello(None);
        let mut dial = Vec::new();
        for (peer, line) in &mut up.lines {
            let due = match line {
                Line::Idle => true,
                Line::Dialing { until, .. } => *until <= now,
                Line::Connected { .. } => false,
            };
            if due {
                self.next_dial += 1;
                *line = Line::Dialing { dial: self.next_dial, until: now + GREETING };
                dial.push((*peer, self.next_dial));
            }
        }
        for (to, dial) in dial {
            let hello = Box::new(Hello { to: Some(to), ..hello.clone() });
            let parcel = Parcel::Hello { from: me, life, dial, hello };
            let peer = self.process(to).map_or(0, |process| process.life);
            self.carry(me, to, "hello", peer, parcel);
        }
        Ok(())
    }
}

/// Whether somebody who was let in is not who the log knows: it has another disk, or an earlier
/// life.
fn misled(hello: &Hello, (known_birth, known): (u64, u32)) -> Option<String> {
    let Who::Peer { node, birth, incarnation, .. } = hello.caller else { return None };
    let wrong = birth != known_birth || incarnation < known;
    wrong.then(|| format!("life {incarnation} of {node} is let in; the log knows life {known}"))
}

impl<M: Machine> Up<M> {
    fn hello(&self, to: Option<NodeId>) -> Hello {
        Hello { cluster: CLUSTER, to, caller: self.engine.introduce() }
    }

    /// Somebody says who it is.
    pub(super) fn greeted(&mut self, from: (NodeId, u64), dial: u64, hello: &Hello) {
        let (from, life) = from;
        let answer = match self.engine.admit(CLUSTER, hello, |_| true) {
            Ok(admitted) => {
                let known = admitted.and_then(|(node, _)| self.engine.life_of(node));
                self.misled = known.and_then(|known| misled(hello, known));
                self.lines.entry(from).or_insert(Line::Idle);
                Answer::Welcome(Welcome {
                    cluster: CLUSTER,
                    node: self.engine.id(),
                    birth: self.identity.birth,
                    incarnation: self.engine.incarnation(),
                    sequence: self.engine.sequence(),
                    slot_out: self.engine.slot_out(),
                    leader: self.engine.leader(),
                    members: Vec::new(),
                })
            }
            Err(refusal) => Answer::Refusal(refusal),
        };
        let answer = Box::new(answer);
        self.io.outputs.push(Output::Answer { to: from, life, dial, answer });
    }

    /// M4: nobody was let in who is not who the log knows.
    pub(super) fn is_not_misled(&mut self) -> Judged {
        self.misled.take().map_or(Ok(()), |what| Err(Violation::new("M4", what)))
    }

    /// A node that was dialed has answered.
    pub(super) fn answered(&mut self, from: (NodeId, u64), dial: u64, answer: &Answer) {
        let (from, life) = from;
        let Some(line) = self.lines.get_mut(&from) else { return };
        if !matches!(line, Line::Dialing { dial: current, .. } if *current == dial) {
            return;
        }
        match answer {
            Answer::Welcome(welcome) => {
                *line = match welcome.node == from {
                    true => Line::Connected { life },
                    false => Line::Idle,
                };
            }
            Answer::Refusal(refusal) => {
                *line = Line::Idle;
                if refusal.is_for_good() {
                    let (by, why) = (format!("node {}", from.0), refusal.clone());
                    let reason = synod::StopReason::Refused { by, why };
                    self.io.stop.get_or_insert(reason);
                }
            }
        }
    }
}
