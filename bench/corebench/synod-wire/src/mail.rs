//! What goes to the other nodes: a frame is the sender and as many messages as are at hand.
//!
//! Whoever gets several messages at once syncs once for all of them. A decision is in no hurry: it
//! goes with the next proposal, if that comes in the next turn, and so wakes nobody.

use std::collections::VecDeque;

use harness::{REPLICAS, wire::Io};
use synod_paxos::{Message, NodeId, wire};

/// Bytes after which a frame is not added to.
const FRAME: usize = 1 << 20;

pub(crate) struct Mail {
    me: NodeId,
    boxes: [Outgoing; REPLICAS],
}

/// Messages to one node.
#[derive(Default)]
struct Outgoing {
    messages: VecDeque<Message>,
    /// Whether some are no decisions, or have waited for a turn.
    urgent: bool,
}

impl Mail {
    pub(crate) fn new(me: NodeId) -> Self {
        Self { me, boxes: Default::default() }
    }

    pub(crate) fn put(&mut self, to: usize, message: Message) {
        let outgoing = &mut self.boxes[to];
        outgoing.urgent |= !matches!(message, Message::Decision { .. });
        outgoing.messages.push_back(message);
    }

    /// A turn begins to send: what has waited since the last one waits no longer.
    pub(crate) fn turn(&mut self) {
        for outgoing in &mut self.boxes {
            outgoing.urgent |= !outgoing.messages.is_empty();
        }
    }

    /// Puts what need not wait into frames.
    pub(crate) fn ship(&mut self, io: &mut Io) {
        for (to, outgoing) in self.boxes.iter_mut().enumerate() {
            while outgoing.urgent {
                io.frame(to, |buf| outgoing.fill(self.me, buf));
            }
        }
    }
}

impl Outgoing {
    /// Appends one frame's bytes to `buf`.
    fn fill(&mut self, me: NodeId, buf: &mut Vec<u8>) {
        let start = buf.len();
        buf.extend_from_slice(&me.0.to_le_bytes());
        while let Some(message) = self.messages.pop_front() {
            put(&message, buf);
            if buf.len() - start >= FRAME {
                break;
            }
        }
        self.urgent = !self.messages.is_empty();
    }
}

/// The length of a message, and the message.
fn put(message: &Message, buf: &mut Vec<u8>) {
    let start = buf.len();
    buf.extend_from_slice(&[0; 4]);
    wire::encode_message(message, buf);
    let len = u32::try_from(buf.len() - start - 4).expect("batches are bounded");
    buf[start..start + 4].copy_from_slice(&len.to_le_bytes());
}

/// The sender and the messages of a frame.
pub(crate) fn open(frame: &[u8]) -> (NodeId, impl Iterator<Item = Message>) {
    let (from, mut rest) = take(frame);
    let messages = std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (len, after) = take(rest);
        let len = usize::try_from(len).expect("32 bits fit");
        let (message, after) = after.split_at(len);
        rest = after;
        Some(wire::decode_message(message).expect("a message of this version"))
    });
    (NodeId(from), messages)
}

fn take(bytes: &[u8]) -> (u32, &[u8]) {
    let (head, rest) = bytes.split_first_chunk().expect("written by a peer in this process");
    (u32::from_le_bytes(*head), rest)
}

#[cfg(test)]
mod tests {
    use synod_paxos::{Ballot, Slot};

    use super::*;

    const ME: NodeId = NodeId(7);

    fn decision(slot: u64) -> Message {
        Message::Decision { slot: Slot(slot), ballot: Ballot::BOTTOM, decree: None }
    }

    fn filled(outgoing: &mut Outgoing) -> (NodeId, Vec<Message>) {
        let mut buf = Vec::new();
        outgoing.fill(ME, &mut buf);
        let (from, messages) = open(&buf);
        (from, messages.collect())
    }

    #[test]
    fn a_frame_has_all_messages_in_their_order() {
        let mut mail = Mail::new(ME);
        let sent = [decision(3), Message::Collect(Slot(2)), Message::AskSchedule];
        sent.iter().for_each(|message| mail.put(1, message.clone()));
        assert_eq!(filled(&mut mail.boxes[1]), (ME, sent.into()));
        assert!(!mail.boxes[1].urgent && mail.boxes[1].messages.is_empty());
    }

    #[test]
    fn a_full_frame_leaves_the_rest_to_the_next_one() {
        let bytes: Box<[u8]> = vec![1; FRAME].into();
        let chunk = synod_paxos::message::SnapshotChunk {
            slot: Slot(1),
            checksum: 0,
            total: 0,
            offset: 0,
            bytes,
        };
        let mut mail = Mail::new(ME);
        mail.put(0, Message::SnapshotChunk(Box::new(chunk)));
        mail.put(0, Message::AskSchedule);
        assert_eq!(filled(&mut mail.boxes[0]).1.len(), 1);
        assert!(mail.boxes[0].urgent);
        assert_eq!(filled(&mut mail.boxes[0]).1, [Message::AskSchedule]);
    }

    #[test]
    fn decisions_wait_for_what_follows_them_but_only_for_a_turn() {
        let mut mail = Mail::new(ME);
        mail.turn();
        mail.put(0, decision(1));
        mail.put(2, decision(1));
        assert!(!mail.boxes[0].urgent && !mail.boxes[2].urgent);
        mail.put(2, Message::Collect(Slot(1)));
        assert!(!mail.boxes[0].urgent && mail.boxes[2].urgent);
        mail.turn();
        assert!(mail.boxes[0].urgent && !mail.boxes[1].urgent);
    }
}
