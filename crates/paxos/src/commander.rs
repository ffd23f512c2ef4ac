//! The commander: phase 2 of one ballot and slot (section 2.3, Fig. 6a).
//!
//! What differs from the paper: a commander is a value that its leader owns, not a process, so an
//! answer names the ballot and slot that it answers; it asks again those who have not answered
//! (E2). An acceptor answers every p2a, with the higher ballot if it holds one, so asking again
//! also finds out about a preemption whose news were lost (E3).

use alloc::sync::Arc;

use crate::{
    effect::Outbox,
    message::{Message, Vote},
    quorum::{Verdict, WaitFor},
    reconfig::Config,
    types::{NodeId, PValue},
};

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Commander {
    pub(crate) pvalue: PValue,
    pub(crate) config: Arc<Config>,
    pub(crate) waitfor: WaitFor,
    /// When it was last asked, in rounds of asking again.
    pub(crate) asked: u64,
}

impl Commander {
    /// Sends p2a to all acceptors. It need not wait for this node's own disk: what must be
    /// durable is the acceptors' answers, so all disks work at the same time.
    #[inline]
    pub(crate) fn spawn(pvalue: PValue, config: Arc<Config>, round: u64, out: &mut Outbox) -> Self {
        for &acceptor in &config.members.acceptors {
            out.send(acceptor, Message::P2a(pvalue.clone()));
        }
        Self { pvalue, config, waitfor: WaitFor::default(), asked: round }
    }

    /// Case p2b, to this commander's ballot and slot.
    #[inline]
    pub(crate) fn p2b(&mut self, from: NodeId, vote: Vote) -> Verdict<()> {
        match vote {
            Vote::Preempted(held) => Verdict::Preempted(held),
            Vote::Collected(_) => Verdict::Waiting,
            Vote::Accepted => {
                let answered = self.waitfor.answer(&self.config, from);
                let chosen = answered >= Some(self.config.members.quorums.phase2);
                if chosen { Verdict::Won(()) } else { Verdict::Waiting }
            }
        }
    }

    /// Asks again those who have not answered.
    pub(crate) fn resend(&mut self, round: u64, out: &mut Outbox) {
        self.asked = round;
        for acceptor in self.waitfor.missing(&self.config) {
            out.send(acceptor, Message::P2a(self.pvalue.clone()));
        }
    }
}
