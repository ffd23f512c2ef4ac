//! What all threads of a run share.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use crossbeam_channel::Sender;
use synod_paxos::{Config, NodeId};

use super::{
    cast::place,
    disk::Disk,
    network::{Network, Place},
    plan::Plan,
};

/// What a thread tells the environment.
#[derive(Debug)]
pub(crate) enum Notice {
    /// A client has all its responses.
    Finished,
    /// The slot for which the environment waits has been decided.
    Slot,
    /// A configuration has done its work (trap E27).
    Retired(Arc<Config>),
    /// A thread has panicked: an invariant does not hold.
    Died(Place),
}

/// How far a replica is.
#[derive(Default, Debug)]
pub(crate) struct Gauge {
    pub(crate) slot_out: AtomicU64,
    pub(crate) performed: AtomicU64,
}

/// The environment, as its processes and clients see it.
pub(crate) struct Stage {
    pub(crate) plan: Plan,
    pub(crate) network: Arc<Network>,
    /// Do the clients say what they are answered?
    pub(crate) quiet: bool,
    disks: Vec<Mutex<Disk>>,
    gauges: Vec<Gauge>,
    /// How many commands have been answered, by all clients together.
    pub(crate) answered: AtomicU64,
    /// All slots below this one have been performed by some replica.
    slot_out: AtomicU64,
    /// When this many slots are decided, the environment wants to know.
    awaited: AtomicU64,
    /// The replicas of the newest configuration.
    replicas: RwLock<Vec<Place>>,
    /// Everybody is to stop.
    pub(crate) over: AtomicBool,
    pub(crate) notices: Sender<Notice>,
}

impl Stage {
    pub(crate) fn new(
        plan: Plan,
        network: Arc<Network>,
        quiet: bool,
        notices: Sender<Notice>,
    ) -> Self {
        let replicas = places(&plan.members.replicas);
        let processes = plan.cast.names().len();
        Self {
            disks: (0..processes).map(|_| Mutex::default()).collect(),
            gauges: (0..processes).map(|_| Gauge::default()).collect(),
            plan,
            network,
            quiet,
            answered: AtomicU64::new(0),
            slot_out: AtomicU64::new(1),
            awaited: AtomicU64::new(u64::MAX),
            replicas: RwLock::new(replicas),
            over: AtomicBool::new(false),
            notices,
        }
    }

    /// Where client `number`, from 1, stands in every list.
    pub(crate) fn client(&self, number: u32) -> Place {
        self.plan.cast.names().len() + number as usize - 1
    }

    /// Where the operator stands, who reconfigures: behind the last client.
    pub(crate) fn operator(&self) -> Place {
        self.client(self.plan.clients + 1)
    }

    /// How many places there are.
    pub(crate) fn places(&self) -> usize {
        self.operator() + 1
    }

    pub(crate) fn disk(&self, id: NodeId) -> MutexGuard<'_, Disk> {
        self.disks[place(id)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process begins another life: how far it was in the last one no longer counts.
    pub(crate) fn forget(&self, id: NodeId) {
        let Gauge { slot_out, performed } = self.gauge(id);
        performed.store(0, Relaxed);
        slot_out.store(0, Relaxed);
    }

    pub(crate) fn gauge(&self, id: NodeId) -> &Gauge {
        &self.gauges[place(id)]
    }

    /// How many slots are decided, as far as some replica knows.
    pub(crate) fn decided(&self) -> u64 {
        self.slot_out.load(Relaxed).saturating_sub(1)
    }

    /// A replica has performed everything below `slot_out`.
    #[inline]
    pub(crate) fn performed(&self, slot_out: u64) {
        self.slot_out.fetch_max(slot_out, Relaxed);
        if slot_out > self.awaited.load(Relaxed) {
            self.awaited.store(u64::MAX, Relaxed);
            drop(self.notices.send(Notice::Slot)); // If nobody listens, the run is over.
        }
    }

    /// Asks for a notice when so many slots are decided.
    pub(crate) fn await_slots(&self, slots: u64) {
        self.awaited.store(slots, Relaxed);
    }

    /// The replicas of the newest configuration, for clients who do not know whom to ask.
    pub(crate) fn replicas(&self) -> Vec<Place> {
        self.replicas.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_replicas(&self, replicas: &[NodeId]) {
        *self.replicas.write().unwrap_or_else(PoisonError::into_inner) = places(replicas);
    }

    /// Notes something in the trace, if there is one.
    pub(crate) fn mark(&self, place: Option<Place>, kind: &'static str, text: String) {
        if let Some(recorder) = &self.network.recorder {
            recorder.mark(self.network.now(), place, kind, text);
        }
    }
}

fn places(ids: &[NodeId]) -> Vec<Place> {
    ids.iter().map(|id| place(*id)).collect()
}

/// Tells the environment when the thread that holds it dies of a violated invariant.
pub(crate) struct Alarm {
    pub(crate) notices: Sender<Notice>,
    pub(crate) place: Place,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            drop(self.notices.send(Notice::Died(self.place)));
        }
    }
}
