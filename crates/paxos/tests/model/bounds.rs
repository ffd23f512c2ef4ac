//! What may happen, and how often: the bounds of a search.

use synod_paxos::{
    ClientId, Command, Envelope, Level, Members, Message, NodeId, Op, Roles, Schedule, Setup, Slot,
    Timing,
};

use crate::{models::ids, process::Owner, table::Id};

/// What can be done to a process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Input {
    Deliver(Id),
    /// Start a new ballot.
    Campaign,
    /// Take the command of this number from a client.
    Request(u8),
    /// Take the read of this number from a client.
    Read(u64, Reads),
    /// Ask again.
    Retry,
    /// Do what it is time for.
    Beat,
    /// Look at the clock.
    Look,
    /// Write a snapshot.
    Save,
    /// From now on nothing reaches the disk.
    Hang,
    /// If the disk hangs: die, and start again.
    Crash,
}

/// What a read relies on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Reads {
    Quorum,
    Lease,
}

impl From<Reads> for Level {
    fn from(reads: Reads) -> Self {
        match reads {
            Reads::Quorum => Self::Linearizable,
            Reads::Lease => Self::Lease,
        }
    }
}

/// Something that may happen to any of these processes, so many times in all.
#[derive(Clone, Debug)]
pub(crate) struct Chore {
    pub(crate) input: Input,
    pub(crate) to: Vec<NodeId>,
    pub(crate) times: u8,
}

/// A cluster, and what may happen in it besides the delivery of messages.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) processes: Vec<(NodeId, Roles)>,
    /// The first configuration.
    pub(crate) members: Members,
    /// What the processes take it for, if that is something else.
    pub(crate) told: Option<Members>,
    pub(crate) window: u64,
    pub(crate) timing: Timing,
    pub(crate) owner: Owner,
    /// What clients may ask for.
    pub(crate) ops: Vec<Op>,
    pub(crate) chores: Vec<Chore>,
    /// Until when all clocks may advance.
    pub(crate) clock: u64,
    /// What has been done before the search begins, at which time; every message has arrived.
    pub(crate) before: Vec<(u64, NodeId, Input)>,
    /// In flight from the beginning.
    pub(crate) sent: Vec<Envelope>,
    /// Messages that are judged, and then lost.
    pub(crate) left_out: Vec<fn(&Message) -> bool>,
}

/// Who is there, and who leads: that concerns liveness, which is not checked here.
fn is_about_liveness(message: &Message) -> bool {
    ["ping", "pong", "heartbeat", "take_over"].contains(&message.kind())
}

impl Bounds {
    /// These processes, in which nothing happens so far.
    pub(crate) fn new(processes: Vec<(NodeId, Roles)>, members: Members, window: u64) -> Self {
        Self {
            processes,
            members,
            told: None,
            window,
            timing: Timing::default(),
            owner: Owner::Careful,
            ops: Vec::new(),
            chores: Vec::new(),
            clock: 0,
            before: Vec::new(),
            sent: Vec::new(),
            left_out: vec![is_about_liveness],
        }
    }

    /// The same, by this owner.
    pub(crate) fn owned_by(self, owner: Owner) -> Self {
        Self { owner, ..self }
    }

    /// The same, and this may happen too.
    pub(crate) fn with(mut self, times: u8, input: Input, to: &[u32]) -> Self {
        self.chores.push(Chore { input, to: ids(to), times });
        self
    }

    /// The same, and one of these processes may lose in a crash whatever it wrote lately.
    pub(crate) fn with_crashes(self, times: u8, of: &[u32]) -> Self {
        self.with(times, Input::Hang, of).with(times, Input::Crash, of)
    }

    /// The same, and clients may ask for this too, once, at one of these processes.
    pub(crate) fn with_request(mut self, op: Op, at: &[u32]) -> Self {
        let number = self.ask_for(op);
        self.with(1, Input::Request(number), at)
    }

    /// The number of a new command.
    pub(crate) fn ask_for(&mut self, op: Op) -> u8 {
        self.ops.push(op);
        u8::try_from(self.ops.len() - 1).expect("a few requests")
    }

    /// The same without these messages, which get lost.
    pub(crate) fn without(mut self, lost: fn(&Message) -> bool) -> Self {
        self.left_out.push(lost);
        self
    }

    /// Each command is a client's first and last.
    pub(crate) fn command(&self, number: u8) -> Command {
        let client = ClientId { born: Slot::FIRST, number: number.into() };
        Command { client, cid: 1, acked: 1, op: self.ops[usize::from(number)].clone() }
    }

    pub(crate) fn setup(&self, id: NodeId) -> Setup {
        let roles = self.processes.iter().find(|(process, _)| *process == id);
        let (_, roles) = roles.expect("only processes of the cluster start");
        let members = self.told.as_ref().unwrap_or(&self.members).clone();
        let schedule = Schedule::new(members, self.window);
        Setup { roles: *roles, timing: self.timing, sessions: 8, ..Setup::new(id, schedule) }
    }

    /// Whether there is somebody to receive it.
    pub(crate) fn arrives(&self, envelope: &Envelope) -> bool {
        self.processes.iter().any(|(id, _)| *id == envelope.to)
    }

    pub(crate) fn carries(&self, envelope: &Envelope) -> bool {
        self.arrives(envelope) && !self.left_out.iter().any(|lost| lost(&envelope.message))
    }
}
