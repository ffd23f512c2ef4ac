//! The store does what a list of records does, whatever is asked of it in whatever order.

use proptest::prelude::*;
use synod_paxos::{Record, Slot};
use synod_storage::{Options, SimDisk, Store, sim::Unsynced};

use crate::model::{self, BIRTH, Sum, WANT, accepted, ballot};

#[derive(Clone, Debug)]
enum Step {
    Accept { slot: u64, len: usize },
    Adopt(u64),
    Collect(u64),
    Perform(u64, u64),
    Sync,
    Prepare,
    Close,
    Kill,
    Cut(Unsynced),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let cut = prop_oneof![
        Just(Unsynced::Lost),
        Just(Unsynced::Kept),
        any::<u64>().prop_map(|seed| Unsynced::Sectors { seed }),
        (0..6_usize, 0..9000_usize).prop_map(|(whole, bytes)| Unsynced::Prefix { whole, bytes }),
    ];
    let step = prop_oneof![
        12 => (1..60_u64, 0..900_usize).prop_map(|(slot, len)| Step::Accept { slot, len }),
        1 => (1..60_u64, 4000..20_000_usize).prop_map(|(slot, len)| Step::Accept { slot, len }),
        2 => (1..40_u64).prop_map(Step::Adopt),
        2 => (1..60_u64).prop_map(Step::Collect),
        1 => (1..60_u64, 1..9_u64).prop_map(|(first, n)| Step::Perform(first, first + n)),
        6 => Just(Step::Sync),
        3 => Just(Step::Prepare),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
        2 => cut.prop_map(Step::Cut),
    ];
    prop::collection::vec(step, 1..120)
}

struct Run {
    disk: SimDisk,
    options: Options,
    store: Option<Store<SimDisk>>,
    records: Vec<Record>,
    durable: usize,
    round: u64,
}

impl Run {
    fn open(&mut self) {
        let mut found = Vec::new();
        let options = self.options.clone();
        let mut store = Store::open(self.disk.clone(), WANT, BIRTH, options).unwrap();
        let replayed = store.replay(&mut |record| found.push(record)).unwrap();
        let n = usize::try_from(store.sequence()).unwrap();
        assert!((self.durable..=self.records.len()).contains(&n), "{n} of {}", self.durable);
        self.records.truncate(n);
        self.durable = n;
        assert_eq!(Sum::of(&found), Sum::of(&self.records));
        assert_eq!((replayed.lost.len(), replayed.forgotten, replayed.mended), (0, 0, 0));
        self.store = Some(store);
    }

    fn append(&mut self, record: Record) {
        self.store.as_mut().unwrap().append(std::slice::from_ref(&record));
        self.records.push(record);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Accept { slot, len } => self.append(accepted(self.round, slot, len)),
            Step::Adopt(round) => {
                self.round = self.round.max(round);
                // To accept is to adopt, so there need not be a record of it.
                if round % 2 == 0 {
                    self.append(Record::Adopted(ballot(round)));
                }
            }
            Step::Collect(slot) => self.append(Record::Collected(Slot(slot))),
            Step::Perform(first, end) => {
                self.append(model::performed(self.round, first, end));
            }
            Step::Sync => {
                self.store.as_mut().unwrap().sync().unwrap();
                self.durable = self.records.len();
            }
            Step::Prepare => drop(self.store.as_mut().unwrap().prepare().unwrap()),
            Step::Close => {
                self.store.take().unwrap().close().unwrap();
                self.durable = self.records.len();
                self.open();
            }
            Step::Kill => {
                self.store = None;
                self.disk.kill();
                self.open();
            }
            Step::Cut(unsynced) => {
                self.store = None;
                self.disk.power_cut(unsynced);
                self.open();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn a_store_is_a_list_of_records(
        steps in steps(),
        pages in 4..7_u64,
        spares in 0..3_usize,
    ) {
        let options = Options {
            segment_bytes: pages * 4096,
            spare_segments: spares,
            spare_segments_max: spares + 1,
        };
        let (records, disk) = (Vec::new(), SimDisk::new());
        let mut run = Run { disk, options, store: None, records, durable: 0, round: 1 };
        run.open();
        steps.iter().for_each(|step| run.step(step));
        run.step(&Step::Sync);
        run.step(&Step::Cut(Unsynced::Lost));
        prop_assert_eq!(run.durable, run.records.len());
    }
}
