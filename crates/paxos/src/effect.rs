//! What a process asks of its owner (section 4.3): the whole contract with the outside.
//!
//! The owner carries out effects in the order in which they come:
//!
//! ```text
//! loop {
//!     for everything that has arrived { node.step(...) }       // or request, tick, read
//!     node.flush(...)                                          // propose what has piled up
//!     for effect in outbox.drain() {
//!         Persist(record)          => append the record to the log
//!         Send(to, message)        => send it now
//!         SendWhenDurable(..)      => send it once all that was appended before is on disk
//!         Respond(response)        => answer the client
//!         ReadReady(id)            => evaluate the read now, before the next step
//!         Retired(config)          => its processes that are in no later one may stop
//!         ServeSnapshot { .. }     => send a part of the newest snapshot
//!         KeepChunk { .. }         => keep a part of another's; when it is whole, install it
//!     }
//!     sync the log if anything was appended that cannot wait; then send what waited for it
//! }
//! ```
//!
//! Each input comes with the time, which the owner reads from its clock *after* the input has
//! arrived; one reading does for all inputs that had arrived before it. With leases on, reads
//! rely on that ([`Lease`](crate::Lease)).
//!
//! A `SendWhenDurable` may go to the process itself: its own vote waits for its own disk. What
//! [`Node::format`](crate::Node::format) or [`Node::recover`](crate::Node::recover) asks for must
//! be on disk before anything else happens.
//!
//! A snapshot is the state, in whatever bytes its owner likes, and [`Replica::frame`], both of one
//! moment. From time to time, the owner writes one to disk and says so with
//! [`Node::saved`](crate::Node::saved): that is what lets the others and this node collect what is
//! older. Then it may rewrite the log to [`Node::checkpoint`](crate::Node::checkpoint). Where
//! nothing is ever saved, about a million slots fit; after that, requests are answered with
//! [`Outcome::Busy`]. [`Shelf`](crate::shelf::Shelf) keeps snapshots in memory.
//!
//! [`Replica::frame`]: crate::replica::Replica::frame

use alloc::{boxed::Box, collections::VecDeque, sync::Arc, vec::Vec};

use crate::{
    message::{Message, SnapshotChunk},
    reconfig::Config,
    types::{Ballot, ClientId, Decree, NodeId, PValue, Payload, Slot},
};

/// What must survive a crash. Replayed in order, through the same transitions that made it.
///
/// A disk may lose what it once had. An accepted pvalue whose ballot and slot are known is replayed
/// as [`Record::Lost`]; a record that [can wait](Record::can_wait) may be left out. A node that has
/// lost any other record must not run, unless a later one of the same kind is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// The process starts its life of this number; lives are numbered from 1.
    Started(u32),
    /// The leader uses this ballot, and never again (E13).
    Campaigned(Ballot),
    /// The acceptor has adopted this ballot.
    Adopted(Ballot),
    /// The acceptor has adopted this pvalue's ballot and accepted the pvalue.
    Accepted(PValue),
    /// The acceptor has collected everything below this slot.
    Collected(Slot),
    /// This decree is decided for the slot, and the acceptor here holds another one, or none.
    Learned {
        /// The slot, performed here.
        slot: Slot,
        /// What was performed.
        decree: Decree,
    },
    /// The slots from `first` up to `end` are decided, each as the acceptor here has accepted it in
    /// this ballot.
    Performed {
        /// The ballot of the pvalues; one for each slot is in the log.
        ballot: Ballot,
        /// The first of the slots, performed here.
        first: Slot,
        /// The slot after the last of them.
        end: Slot,
    },
    /// Never asked for: what an owner replays in the place of an [`Record::Accepted`] that its
    /// disk has lost, when it still knows ballot and slot. The acceptor votes on, but answers no
    /// scout about the slot until it has accepted it anew, or collected it.
    Lost {
        /// The ballot of the pvalue.
        ballot: Ballot,
        /// The slot of the pvalue.
        slot: Slot,
    },
}

impl Record {
    /// Whether losing this record costs nothing but time: a restart would have to learn from
    /// others what it says. It needs no sync of its own; the next one will do.
    #[must_use]
    pub fn can_wait(&self) -> bool {
        match self {
            Self::Learned { .. } | Self::Performed { .. } => true,
            Self::Started(_)
            | Self::Campaigned(_)
            | Self::Adopted(_)
            | Self::Accepted(_)
            | Self::Collected(_)
            | Self::Lost { .. } => false,
        }
    }
}

/// What became of a client's command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Performed, with this result. The paper's response(cid, result).
    Done(Payload),
    /// The session is too old to tell whether the command was performed.
    Expired,
    /// Not taken: too much is waiting. This process will not propose it; trying again is safe.
    Busy,
}

/// The paper's response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// Whose command it was.
    pub client: ClientId,
    /// Which command.
    pub cid: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// One thing to do. See the module's documentation for the loop that does it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Append to the durable log. The owner may sync many at once.
    Persist(Record),
    /// Send now.
    Send(NodeId, Message),
    /// Send once every earlier [`Effect::Persist`] of this process is on disk, and not before; but
    /// for records that [can wait](Record::can_wait).
    SendWhenDurable(NodeId, Message),
    /// Answer a client.
    Respond(Response),
    /// The read of this number may be evaluated on the state as it is now (section 4.5).
    ReadReady(u64),
    /// Every slot of this configuration is decided and durable at enough replicas. Its
    /// processes that belong to no later configuration may stop for good (trap E27).
    Retired(Arc<Config>),
    /// Send to this replica, as [`Message::SnapshotChunk`], a part of the newest snapshot there
    /// is: the part from `offset` on if its slot is `slot`, else the first part.
    ///
    /// A snapshot below [`Replica::collected`] is of no use to anybody who has not begun to
    /// fetch it. If there is no newer one, the owner makes one; meanwhile it need not answer, for
    /// it will be asked again.
    ///
    /// [`Replica::collected`]: crate::replica::Replica::collected
    ServeSnapshot {
        /// Who asks.
        to: NodeId,
        /// Which snapshot it wants; `Slot(0)` if any will do.
        slot: Slot,
        /// The first byte that it has not got.
        offset: u64,
    },
    /// Keep these bytes of another replica's snapshot, at `chunk.offset`. At offset 0, a new
    /// snapshot begins, and what was kept of another one can go.
    KeepChunk {
        /// The bytes, and which snapshot they are of.
        chunk: Box<SnapshotChunk>,
        /// These were the last bytes. The owner verifies the whole, restores the state, and calls
        /// [`Node::install`] or [`Node::install_failed`], now or later; until then, nobody is
        /// asked for another snapshot.
        ///
        /// [`Node::install`]: crate::Node::install
        /// [`Node::install_failed`]: crate::Node::install_failed
        complete: bool,
    },
}

/// Where roles put their effects. A role that is owned alone, without a [`Node`](crate::Node),
/// needs an id that no other role has: what it sends to itself is meant for a role of its node.
#[derive(Debug)]
pub struct Outbox {
    me: NodeId,
    effects: Vec<Effect>,
    /// Messages between roles of one node: they do not leave it.
    local: VecDeque<Message>,
}

impl Outbox {
    /// The outbox of process `me`.
    #[must_use]
    pub fn new(me: NodeId) -> Self {
        Self { me, effects: Vec::new(), local: VecDeque::new() }
    }

    /// The effects so far, in order; the outbox is empty afterwards.
    pub fn drain(&mut self) -> impl Iterator<Item = Effect> {
        self.effects.drain(..)
    }

    /// Swaps the effects so far with `effects`, which is empty: for an owner that has to use the
    /// node while it carries them out.
    pub fn swap(&mut self, effects: &mut Vec<Effect>) {
        debug_assert!(effects.is_empty(), "effects would be lost");
        core::mem::swap(&mut self.effects, effects);
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.effects.is_empty()
    }

    #[inline]
    pub(crate) fn send(&mut self, to: NodeId, message: Message) {
        if to == self.me {
            self.local.push_back(message);
        } else {
            self.effects.push(Effect::Send(to, message));
        }
    }

    #[inline]
    pub(crate) fn send_when_durable(&mut self, to: NodeId, message: Message) {
        self.effects.push(Effect::SendWhenDurable(to, message));
    }

    #[inline]
    pub(crate) fn persist(&mut self, record: Record) {
        self.effects.push(Effect::Persist(record));
    }

    #[inline]
    pub(crate) fn respond(&mut self, client: ClientId, cid: u64, outcome: Outcome) {
        self.effects.push(Effect::Respond(Response { client, cid, outcome }));
    }

    pub(crate) fn serve_snapshot(&mut self, to: NodeId, slot: Slot, offset: u64) {
        self.effects.push(Effect::ServeSnapshot { to, slot, offset });
    }

    #[inline]
    pub(crate) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// The next message from one role of this node to another.
    #[inline]
    pub(crate) fn next_local(&mut self) -> Option<Message> {
        self.local.pop_front()
    }
}

/// An acceptor's answer with the record that backs it. The answer cannot leave before the
/// record is on disk, and neither does a repeated answer, whose record was made earlier: it
/// waits for *all* earlier records of the process (trap E12).
#[must_use = "a ballot paper that is not cast is lost, and so is its record"]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Backed<M> {
    /// What must be on disk first; `None` if nothing changed.
    pub record: Option<Record>,
    /// What is answered then.
    pub answer: M,
}

impl<M> Backed<M> {
    /// Puts the record, then the answer that waits for it, into `out`.
    #[inline]
    pub fn cast(self, to: NodeId, wrap: impl FnOnce(M) -> Message, out: &mut Outbox) {
        if let Some(record) = self.record {
            out.persist(record);
        }
        out.send_when_durable(to, wrap(self.answer));
    }
}
