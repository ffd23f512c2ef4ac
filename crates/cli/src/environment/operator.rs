//! The operator: the client who reconfigures.

use std::sync::Arc;

use synod_paxos::{Client, ClientId, Members, Op, Outcome, Reconfiguration, Reconfigured, Slot};

use super::{
    inbox::Inbox,
    network::{Body, Mail, Port},
    stage::Stage,
    tally::Tally,
};

/// Proposes one configuration after the other.
pub(crate) struct Operator {
    client: Client,
    inbox: Inbox,
    port: Port,
    /// The newest configuration.
    epoch: u64,
}

impl Operator {
    pub(crate) fn new(stage: &Arc<Stage>) -> Self {
        let me = stage.operator();
        Self {
            client: Client::new(ClientId { born: Slot::FIRST, number: 0 }),
            inbox: stage.network.open(me),
            port: Port::new(me, stage.network.clone(), stage.plan.seed ^ ((me as u64) << 32)),
            epoch: 0,
        }
    }

    /// Has a configuration decided. Returns its epoch and the first slot that it governs, or why
    /// there is none.
    pub(crate) fn reconfigure(
        &mut self,
        stage: &Stage,
        members: Members,
    ) -> Result<(u64, Slot), String> {
        let to = Reconfiguration { replaces: self.epoch, members };
        let command = self.client.request(Op::Reconfigure(Box::new(to)));
        let give_up = stage.network.now() + stage.plan.give_up;
        let mut mail = Vec::new();
        loop {
            let now = stage.network.now();
            if now >= give_up {
                return Err(format!("no answer to a reconfiguration for {:?}", stage.plan.give_up));
            }
            for replica in stage.replicas() {
                self.port.send(replica, vec![command.clone()]);
            }
            let patience = now + stage.plan.client_patience;
            while stage.network.now() < patience {
                self.inbox.take(patience, &mut mail);
                match self.answer(&mut mail) {
                    None => {}
                    Some(Reconfigured::Effective { epoch, from }) => {
                        self.epoch = epoch;
                        return Ok((epoch, from));
                    }
                    Some(Reconfigured::Refused { epoch }) => {
                        return Err(format!(
                            "a reconfiguration of configuration {} was refused: \
                             configuration {epoch} is in force",
                            self.epoch
                        ));
                    }
                }
            }
        }
    }

    fn answer(&mut self, mail: &mut Vec<Mail>) -> Option<Reconfigured> {
        for Mail { body, .. } in mail.drain(..) {
            let responses = match body {
                Body::Responses(responses) => responses,
                Body::Messages(_) | Body::Requests(_) | Body::Wake => continue,
            };
            for response in responses {
                match response.outcome {
                    Outcome::Done(reply) if self.client.response(response.cid) => {
                        return Reconfigured::from_reply(&reply);
                    }
                    Outcome::Done(_) | Outcome::Busy | Outcome::Expired => {}
                }
            }
        }
        None
    }

    /// Messages sent so far.
    pub(crate) fn tally(&self) -> &Tally {
        &self.port.tally
    }
}
