//! Schedules made by hand that attack one argument each, against the public API.
//!
//! Random schedules (`tests/schedule`) seldom come to these corners, for each needs several rare
//! things in a row: forgotten configurations, a million slots, a process that talks nonsense.

use std::time::Duration;

use synod_paxos::{
    Ballot, ClientId, Command, Decree, Effect, Level, Members, Message, Node, NodeId, Op, Outbox,
    Outcome, PValue, Payload, Reconfiguration, Record, Response, Roles, Schedule, Setup, Slot,
    StateMachine,
    message::{P1b, P2b, Progress, Propose, SnapshotChunk, Vote},
};

/// Adds up the first bytes of all operations.
#[derive(Clone, Debug)]
struct Counter(u64);

impl StateMachine for Counter {
    fn apply(&mut self, op: &[u8]) -> Payload {
        self.0 += u64::from(op[0]);
        Payload::from(self.0.to_le_bytes().as_slice())
    }
}

/// One process, at a time that the test sets.
struct Process {
    node: Node<Counter>,
    out: Outbox,
    now: Duration,
}

impl Process {
    /// Process `id` in its first life; what it asks for at its start is done.
    fn new(id: u32, roles: Roles, schedule: &Schedule) -> Self {
        let setup = Setup { roles, ..Setup::new(NodeId(id), schedule.clone()) };
        let mut this = Self::format(setup);
        this.effects();
        this
    }

    fn format(setup: Setup) -> Self {
        let mut out = Outbox::new(setup.id);
        let node = Node::format(setup, Counter(0), &mut out);
        Self { node, out, now: Duration::ZERO }
    }

    /// The next life of a process that is to be `setup`, from what is on its disk.
    fn recover(setup: Setup, base: Option<(&[u8], u64)>, log: &[Record]) -> Self {
        let mut out = Outbox::new(setup.id);
        let (frame, state) = (base.map(|(frame, _)| frame), Counter(base.map_or(0, |b| b.1)));
        let node = Node::recover(setup, frame, state, log.iter().cloned(), &mut out);
        Self { node: node.expect("it has lived before"), out, now: Duration::ZERO }
    }

    fn step(&mut self, from: u32, message: Message) {
        self.node.step(self.now, NodeId(from), message, &mut self.out);
    }

    fn tick(&mut self, millis: u64) {
        self.now = Duration::from_millis(millis);
        self.node.tick(self.now, &mut self.out);
    }

    fn request(&mut self, command: Command) {
        self.node.request(command, &mut self.out);
    }

    fn read(&mut self, id: u64) -> bool {
        self.node.read(self.now, id, Level::Linearizable)
    }

    fn flush(&mut self) {
        self.node.flush(&mut self.out);
    }

    fn saved(&mut self, slot: u64) {
        self.node.saved(Slot(slot), &mut self.out);
    }

    /// The records among its effects.
    fn written(&mut self) -> Vec<Record> {
        let record =
            |effect| if let Effect::Persist(record) = effect { Some(record) } else { None };
        self.out.drain().filter_map(record).collect()
    }

    /// What its state and slot_out are.
    fn at(&self) -> (u64, Slot) {
        (self.node.replica().state().0, self.node.replica().slot_out())
    }

    /// What it has asked of its owner since it was looked at last.
    fn effects(&mut self) -> Vec<Effect> {
        self.out.drain().collect()
    }

    /// The messages among its effects that need not wait for the disk.
    fn sent(&mut self) -> Vec<(NodeId, Message)> {
        let sent = |effect| if let Effect::Send(to, m) = effect { Some((to, m)) } else { None };
        self.out.drain().filter_map(sent).collect()
    }

    /// Whether it answers any client that it is busy.
    fn is_busy(&mut self) -> bool {
        let busy = Outcome::Busy;
        let is =
            |e: Effect| matches!(e, Effect::Respond(Response { outcome, .. }) if outcome == busy);
        self.out.drain().any(is)
    }

    /// The round of the read query that it has sent last.
    fn read_round(&mut self) -> u64 {
        let round = |(_, m)| if let Message::ReadQuery { round } = m { Some(round) } else { None };
        self.sent().into_iter().filter_map(round).next_back().expect("it asks acceptors")
    }

    /// Starts a ballot, and lets the other two of three acceptors adopt it.
    fn lead_of_three(&mut self, accepted: &[PValue]) -> Ballot {
        self.node.campaign(&mut self.out);
        let ballot = self.node.leader().ballot_num();
        for from in [2, 3] {
            self.step(from, promise(ballot, 1, accepted));
        }
        ballot
    }
}

fn members(replicas: &[u32], leaders: &[u32], acceptors: &[u32]) -> Members {
    let ids = |ids: &[u32]| ids.iter().map(|&id| NodeId(id)).collect::<Vec<_>>();
    Members::new(ids(replicas), ids(leaders), ids(acceptors)).expect("valid members")
}

/// Three full nodes, WINDOW 16.
fn three() -> Schedule {
    Schedule::new(members(&[1, 2, 3], &[1, 2, 3], &[1, 2, 3]), 16)
}

fn ballot(round: u64, leader: u32) -> Ballot {
    Ballot { round, leader: NodeId(leader), incarnation: 1 }
}

fn command(client: u64, cid: u64, op: Op) -> Command {
    Command { client: ClientId { born: Slot(1), number: client }, cid, acked: 1, op }
}

/// Adds one.
fn add(client: u64, cid: u64) -> Command {
    command(client, cid, Op::Apply(Payload::from([1_u8].as_slice())))
}

/// A decree of one command, which replaces the configuration `replaces`.
fn reconfigure(cid: u64, replaces: u64, members: Members) -> Decree {
    let op = Op::Reconfigure(Box::new(Reconfiguration { replaces, members }));
    Decree::from(vec![command(9, cid, op)])
}

fn promise(ballot: Ballot, first: u64, accepted: &[PValue]) -> Message {
    let (first, accepted) = (Slot(first), accepted.to_vec());
    let (asked, held) = (ballot, ballot);
    Message::P1b(Box::new(P1b { asked, held, first, rest: None, gc_slot: Slot(1), accepted }))
}

/// The report of a replica that has saved all that it has performed.
fn report(slot: u64, epoch: u64) -> Message {
    Message::SlotOut(Progress { slot_out: Slot(slot), durable: Slot(slot), epoch })
}

fn decisions(first: u64, decrees: Vec<Decree>) -> Message {
    Message::Decisions { first: Slot(first), decrees }
}

/// Section 4.5, trap E47: nobody whom the read asked knows slot 6, and of the configurations in
/// between nothing is left to show that others had to be asked.
#[test]
fn a_read_asks_again_after_two_configurations_were_forgotten() {
    let on = |acceptors| members(&[1, 2, 3], &[21], acceptors);
    let mut r = Process::new(1, Roles::REPLICA, &Schedule::new(on(&[11, 12, 13]), 2));
    let first = reconfigure(1, 0, on(&[31, 32, 33]));
    let second = reconfigure(2, 1, on(&[41, 42, 43]));
    let one = |cid| Decree::from(vec![add(7, cid)]);
    let log = vec![first, Decree::noop(), second, Decree::noop(), one(1)];

    // The command of slot 6 has been answered somewhere when the read begins.
    assert!(r.read(77));
    r.flush();
    let round = r.read_round();
    r.step(2, decisions(1, log));
    r.saved(6);
    r.step(2, report(6, 2));
    for acceptor in [11, 12] {
        r.step(acceptor, Message::ReadReply { round, highest: Slot(2) });
    }
    let effects = r.effects();
    assert!(!effects.contains(&Effect::ReadReady(77)), "served without slot 6");

    r.flush();
    let round = r.read_round();
    for acceptor in [41, 42] {
        r.step(acceptor, Message::ReadReply { round, highest: Slot(6) });
    }
    assert!(!r.effects().contains(&Effect::ReadReady(77)), "served before slot 6 is performed");
    r.step(2, decisions(6, vec![one(2)]));
    assert!(r.effects().contains(&Effect::ReadReady(77)));
    assert_eq!(r.node.replica().state().0, 2);
}

/// Section 4.2, trap E41: what the old replicas said last was not enough, and they say no more,
/// for another replica was right to let them stop.
#[test]
fn new_replicas_collect_after_the_old_configuration_has_stopped() {
    let old = members(&[1, 2, 3], &[21], &[11, 12, 13]);
    let new = members(&[4, 5, 6], &[22], &[31, 32, 33]);
    let schedule = Schedule::new(old, 2);
    let mut a = Process::new(1, Roles::REPLICA, &schedule);
    let mut b = Process::new(4, Roles::REPLICA, &schedule);
    let mut log = vec![reconfigure(1, 0, new)];
    log.resize(9, Decree::noop());
    for process in [&mut a, &mut b] {
        process.step(2, decisions(1, log.clone()));
        process.saved(10);
        [5, 6].into_iter().for_each(|id| process.step(id, report(10, 1)));
    }
    [1, 2].into_iter().for_each(|id| b.step(id, report(2, 1)));
    a.step(2, report(10, 1));
    assert!(a.effects().iter().any(|e| matches!(e, Effect::Retired(_))), "the old ones may stop");
    b.effects();

    b.step(5, decisions(10, vec![Decree::noop()]));
    b.saved(11);
    [5, 6].into_iter().for_each(|id| b.step(id, report(11, 1)));
    assert!(b.sent().contains(&(NodeId(31), Message::Collect(Slot(11)))));
}

/// Section 3: the replica beside a leader that was preempted must not wait for it, also if it
/// hears of the higher ballot first from an acceptor, and then only repetitions.
#[test]
fn a_replica_follows_the_new_leader_after_a_preemption() {
    let mut n = Process::new(1, Roles::ALL, &three());
    let own = n.lead_of_three(&[]);
    assert!(n.node.leader().active());
    assert_eq!(n.node.replica().lead(), Some(NodeId(1)));

    let held = ballot(own.round + 1, 2);
    n.step(3, Message::Pong { round: 1, held });
    assert_eq!(n.node.replica().lead(), Some(NodeId(2)));
    n.step(2, Message::Heartbeat { ballot: held, leading: true });
    let decree = Some(Decree::noop());
    n.step(2, Message::Decision { slot: Slot(1), ballot: held, decree });
    n.effects();
    n.request(add(5, 1));
    n.flush();
    let forwarded =
        |(to, m): &(NodeId, Message)| *to == NodeId(2) && matches!(m, Message::Forward(_));
    assert!(n.sent().iter().any(forwarded), "the command goes to the replica beside leader 2");
}

/// Trap E26: a leader of later slots only says nothing when it is adopted, and when its slots
/// come, its own replica must learn that from it like all the others.
#[test]
fn a_replica_follows_its_own_leader_that_was_silent_at_first() {
    let old = members(&[1, 2, 3], &[2], &[2]);
    let new = members(&[1, 2, 3], &[1], &[2]);
    let roles = Roles { replica: true, leader: true, acceptor: false };
    let mut n = Process::new(1, roles, &Schedule::new(old, 2));
    n.step(2, Message::Heartbeat { ballot: ballot(1, 2), leading: true });
    n.step(2, decisions(1, vec![reconfigure(1, 0, new)]));
    n.node.campaign(&mut n.out);
    let own = n.node.leader().ballot_num();
    n.step(2, promise(own, 3, &[]));
    assert!(n.node.leader().active());
    assert_eq!(n.node.replica().lead(), Some(NodeId(2)));

    n.step(2, decisions(2, vec![Decree::noop()]));
    n.effects();
    for round in 1..20 {
        n.step(2, Message::Pong { round, held: own });
        n.tick(20 * round);
        n.flush();
    }
    let leads = Message::Heartbeat { ballot: own, leading: true };
    assert!(n.sent().contains(&(NodeId(2), leads)));
    assert_eq!(n.node.replica().lead(), Some(NodeId(1)));
}

/// Trap E27: the configuration is over, and the snapshot no longer names it; the owner has to be
/// told all the same, or its old processes run for ever.
#[test]
fn a_configuration_that_a_snapshot_has_left_behind_is_retired_too() {
    let old = members(&[1, 2, 3], &[21], &[11]);
    let schedule = Schedule::new(old, 2);
    let mut ahead = Process::new(2, Roles::REPLICA, &schedule);
    let mut log = vec![reconfigure(1, 0, members(&[2, 3, 4], &[22], &[12]))];
    log.resize(4, Decree::noop());
    ahead.step(3, decisions(1, log));
    ahead.saved(5);
    let over = Effect::Retired(schedule.latest().clone());
    assert!(ahead.effects().contains(&over));

    let mut behind = Process::new(1, Roles::REPLICA, &schedule);
    ahead.step(1, Message::Learn(Slot(1)));
    let serve = Effect::ServeSnapshot { to: NodeId(1), slot: Slot(0), offset: 0 };
    assert_eq!(ahead.effects(), [serve]);
    let frame = ahead.node.replica().frame();
    assert_eq!(behind.node.install(&frame, Counter(0), &mut behind.out), Ok(true));
    assert_eq!(behind.node.replica().slot_out(), Slot(5));
    assert!(behind.effects().contains(&over));
}

/// Trap A1: a checkpoint may be taken before its owner has appended all earlier records. They come
/// after it in the log, and must not lead the acceptor back.
#[test]
fn a_log_whose_checkpoint_is_newer_than_its_records_is_replayed() {
    let setup = Setup::new(NodeId(1), three());
    let mut n = Process::format(setup.clone());
    let pvalue = PValue { ballot: ballot(1, 2), slot: Slot(1), decree: Decree::noop() };
    n.step(2, Message::P2a(pvalue));
    n.step(2, Message::P1a { ballot: ballot(2, 2), first: Slot(1) });
    let record = |effect| if let Effect::Persist(record) = effect { Some(record) } else { None };
    let mut log: Vec<Record> = n.node.checkpoint().collect();
    log.extend(n.effects().into_iter().filter_map(record));

    let recovered = Node::recover(setup, None, Counter(0), log, &mut n.out).unwrap();
    assert_eq!(recovered.acceptor(), n.node.acceptor());
}

/// Busy says that this process will not propose the command. Of one that it took before, that
/// would be a lie, and the client might believe that it may give up.
#[test]
fn busy_is_never_answered_for_a_command_that_is_under_way() {
    let mut n = Process::new(1, Roles::ALL, &three());
    n.request(add(1, 1));
    for client in 2..=10 {
        (1..=8000).for_each(|cid| n.request(add(client, cid)));
    }
    assert!(n.is_busy(), "more than can wait");
    n.request(add(1, 1));
    assert_eq!(n.effects(), []);
}

/// Section 4.2: where no snapshot is ever saved, nothing is collected, and memory is bounded. A
/// client must be told, rather than wait for a slot that cannot be had.
#[test]
fn requests_are_answered_busy_once_a_million_slots_are_not_saved() {
    const WINDOW: u64 = 1 << 16;
    let full = (1 << 20) - WINDOW;
    let mut n = Process::new(1, Roles::ALL, &Schedule::new(members(&[1], &[1], &[1]), WINDOW));
    let noops = usize::try_from(full - 1).unwrap();
    n.step(2, decisions(1, vec![Decree::noop(); noops]));
    n.request(add(1, 1));
    assert!(!n.is_busy());

    n.step(2, decisions(full, vec![Decree::noop()]));
    n.request(add(1, 2));
    assert!(n.is_busy());
    n.saved(full + 1);
    n.request(add(1, 2));
    assert!(!n.is_busy());
}

/// Section 3: with heartbeats rarer than the least patience, a leader would give up its acceptors,
/// and the others would give up the leader, between two of them.
#[test]
fn heartbeats_that_are_slower_than_patience_still_keep_a_leader() {
    let mut setup = Setup::new(NodeId(1), three());
    setup.timing.heartbeat = Duration::from_millis(200);
    setup.timing.patience_min = Duration::from_millis(150);
    let mut n = Process::format(setup);
    let held = n.lead_of_three(&[]);
    n.effects();
    let mut beats = 0;
    for millis in (0..5000).step_by(5) {
        if Duration::from_millis(millis) < n.node.deadline() {
            continue;
        }
        n.tick(millis);
        n.step(1, Message::Pong { round: 0, held }); // Its own disk works.
        for (NodeId(to), message) in n.sent() {
            if let Message::Ping { round } = message {
                n.step(to, Message::Pong { round, held });
            } else if message == (Message::Heartbeat { ballot: held, leading: true }) {
                beats += 1;
            }
        }
    }
    assert!(beats > 10, "{beats} heartbeats in five seconds");
}

/// An acceptor that says it has accepted what no acceptor can hold is not believed; least of all
/// may it bring the leader down.
#[test]
fn a_promise_with_an_absurd_slot_adopts_nothing_and_stops_nobody() {
    let mut n = Process::new(1, Roles::ALL, &three());
    let far = PValue { ballot: ballot(0, 3), slot: Slot(1 << 62), decree: Decree::noop() };
    let own = n.lead_of_three(&[far]);
    assert!(n.node.leader().leading() && !n.node.leader().active());
    [2, 3].into_iter().for_each(|id| n.step(id, promise(own, 1, &[])));
    assert!(n.node.leader().active());
}

/// Trap E11: holes below a slot in use become no-ops, but one proposal far ahead must not turn
/// into millions of messages at once.
#[test]
fn a_proposal_far_ahead_fills_holes_a_few_at_a_time() {
    let mut n = Process::new(1, Roles::LEADER, &three());
    n.lead_of_three(&[]);
    let (slot, decree) = (Slot(1 << 20), Decree::noop());
    n.step(2, Message::Propose(Propose { slot, decree, epoch: 0, replica: None }));
    n.effects();
    let mut filled = 0;
    for round in 1..4 {
        n.tick(60 * round);
        let asks = n.sent().iter().filter(|(_, m)| matches!(m, Message::P2a(_))).count();
        assert!(asks < 1000, "{asks} messages in one tick");
        filled += asks;
    }
    assert!(filled > 0);
}

/// Reads wait in three places: for a round, for its answers, for slots. Together they are bounded.
#[test]
fn reads_that_wait_are_bounded_wherever_they_wait() {
    let schedule = Schedule::new(members(&[1, 2, 3], &[21], &[11]), 2);
    let mut r = Process::new(1, Roles::REPLICA, &schedule);
    assert!((0..30_000).all(|id| r.read(id)));
    r.flush();
    let round = r.read_round();
    r.step(11, Message::ReadReply { round, highest: Slot(5) });
    assert!((30_000..60_000).all(|id| r.read(id)));
    r.flush();
    assert!(!(60_000..90_000).all(|id| r.read(id)));
    assert!(!r.effects().iter().any(|e| matches!(e, Effect::ReadReady(_))));
}

fn pvalue(round: u64, slot: u64, decree: Decree) -> PValue {
    PValue { ballot: ballot(round, 2), slot: Slot(slot), decree }
}

/// A decree that adds one.
fn one(cid: u64) -> Decree {
    Decree::from(vec![add(7, cid)])
}

fn chosen(round: u64, slot: u64) -> Message {
    Message::Decision { slot: Slot(slot), ballot: ballot(round, 2), decree: None }
}

fn performed(round: u64, first: u64, end: u64) -> Record {
    Record::Performed { ballot: ballot(round, 2), first: Slot(first), end: Slot(end) }
}

fn lost(round: u64, slot: u64) -> Record {
    Record::Lost { ballot: ballot(round, 2), slot: Slot(slot) }
}

fn chunk(slot: u64, checksum: u64, offset: u64, len: usize) -> Message {
    let bytes = vec![0; len].into_boxed_slice();
    let slot = Slot(slot);
    Message::SnapshotChunk(Box::new(SnapshotChunk { slot, checksum, total: 9, offset, bytes }))
}

/// Section 4.3: what was performed is performed again by a restart, from the acceptor's log; what
/// the acceptor has only accepted is not.
#[test]
fn a_restart_performs_what_is_noted_and_nothing_else() {
    let setup = Setup::new(NodeId(1), three());
    let mut n = Process::format(setup.clone());
    (1..=4).for_each(|slot| n.step(2, Message::P2a(pvalue(1, slot, one(slot)))));
    (1..=3).for_each(|slot| n.step(2, chosen(1, slot)));
    n.tick(20);
    let log = n.written();
    assert_eq!(log.last(), Some(&performed(1, 1, 4)));
    n.tick(40);
    assert_eq!(n.written(), [], "nothing is noted twice");

    let mut again = Process::recover(setup.clone(), None, &log);
    assert_eq!(again.at(), (3, Slot(4)));
    assert_eq!(again.effects(), [Effect::Persist(Record::Started(2))]);
    // It teaches others what it performed, and notes only what is new.
    again.step(3, Message::Learn(Slot(2)));
    assert_eq!(again.sent(), [(NodeId(3), decisions(2, vec![one(2), one(3)]))]);
    again.step(2, chosen(1, 4));
    again.tick(20);
    assert!(again.written().contains(&performed(1, 4, 5)));

    let checkpoint: Vec<Record> = n.node.checkpoint().collect();
    assert_eq!(Process::recover(setup, None, &checkpoint).at(), (3, Slot(4)));
}

/// Section 4.3: a note speaks of what was accepted in one ballot. Between that and the ballot in
/// which it is chosen the acceptor may accept something else, and that may have come into the log
/// before the note, if the log was rewritten.
#[test]
fn a_note_does_not_speak_of_what_is_accepted_in_another_ballot() {
    let setup = Setup::new(NodeId(1), three());
    let other = Decree::from(vec![add(8, 1), add(8, 2)]);
    let mut n = Process::format(setup.clone());
    n.step(2, Message::P2a(pvalue(1, 1, one(1))));
    n.step(2, decisions(1, vec![one(1)]));
    n.tick(20);
    let written = n.written();
    assert_eq!(written.last(), Some(&performed(1, 1, 2)));
    n.step(2, Message::P2a(pvalue(2, 1, other)));
    let log = [written, n.written()].concat();
    assert_eq!(Process::recover(setup.clone(), None, &log).at(), (1, Slot(2)));
    let rewritten: Vec<Record> = n.node.checkpoint().filter(|record| !record.can_wait()).collect();
    let log = [rewritten, log].concat();
    assert_eq!(Process::recover(setup, None, &log).at(), (0, Slot(1)));
}

/// Section 4.3: each note is true by itself. Whichever of them are left, and in however many lives
/// they were written, a restart performs a part of what was decided, from the beginning.
#[test]
fn a_restart_performs_no_decree_that_lost_whatever_notes_are_left() {
    let setup = Setup::new(NodeId(1), three());
    let mut n = Process::format(setup.clone());
    // The acceptor holds decrees that add two for slots 2 and 5, and nothing for slot 4; decided
    // are decrees that add one.
    let two = |cid| Decree::from(vec![add(8, cid), add(8, cid + 1)]);
    for (slot, decree) in [(1, one(1)), (2, two(1)), (3, one(3)), (5, two(3)), (6, one(6))] {
        n.step(2, Message::P2a(pvalue(1, slot, decree)));
    }
    let mut log = n.written();
    n.step(2, decisions(1, (1..=4).map(one).collect()));
    n.tick(20);
    log.extend(n.written());
    let mut n = Process::recover(setup.clone(), None, &log);
    assert_eq!(n.at(), (4, Slot(5)));
    n.step(2, decisions(5, (5..=6).map(one).collect()));
    n.tick(20);
    log.extend(n.written());
    assert_eq!(Process::recover(setup.clone(), None, &log).at(), (6, Slot(7)));

    let notes: Vec<usize> = (0..log.len()).filter(|i| log[*i].can_wait()).collect();
    assert_eq!(notes.len(), 6, "{log:?}");
    for left in 0..1 << notes.len() {
        let gone =
            |i: &usize| notes.iter().position(|n| n == i).is_some_and(|n| left & 1 << n == 0);
        let log: Vec<Record> =
            (0..log.len()).filter(|i| !gone(i)).map(|i| log[i].clone()).collect();
        let (state, slot_out) = Process::recover(setup.clone(), None, &log).at();
        assert_eq!(state, slot_out.0 - 1, "from {log:?}");
    }
}

/// Section 4.3: a snapshot of another replica, which was lost again, left a gap in what was
/// performed here. The acceptor holds something for the gap, but not what was decided.
#[test]
fn a_restart_does_not_fill_the_gap_that_a_snapshot_left() {
    let setup = Setup::new(NodeId(1), three());
    let mut n = Process::format(setup.clone());
    let two = Decree::from(vec![add(8, 1), add(8, 2)]);
    n.step(2, Message::P2a(pvalue(1, 1, one(1))));
    n.step(2, chosen(1, 1));
    n.step(2, Message::P2a(pvalue(1, 2, two)));
    n.tick(20);
    let mut ahead = Process::new(3, Roles::REPLICA, &three());
    ahead.step(2, decisions(1, vec![one(1), one(2)]));
    let frame = ahead.node.replica().frame();
    assert_eq!(n.node.install(&frame, Counter(2), &mut n.out), Ok(true));
    n.step(2, Message::P2a(pvalue(1, 3, one(3))));
    n.step(2, chosen(1, 3));
    n.tick(40);
    let log = n.written();
    assert!(log.contains(&performed(1, 1, 2)) && log.contains(&performed(1, 3, 4)), "{log:?}");

    let mut again = Process::recover(setup.clone(), None, &log);
    assert_eq!(again.at(), (1, Slot(2)));
    // It knows that it is behind, and needs only what is missing.
    (1..4).for_each(|round| again.tick(60 * round));
    assert!(again.sent().iter().any(|(_, m)| *m == Message::Learn(Slot(2))));
    again.step(3, decisions(2, vec![one(2)]));
    assert_eq!(again.at(), (3, Slot(4)));
    // With the snapshot, nothing is missing.
    assert_eq!(Process::recover(setup, Some((&frame, 2)), &log).at(), (3, Slot(4)));
}

/// Section 4.3: notes cost little time in one turn of the process, however much there is to note;
/// and those of slots that the last snapshot covers can go.
#[test]
fn notes_are_made_a_few_at_a_time_and_not_of_what_is_saved() {
    let mut n = Process::new(1, Roles::REPLICA, &three());
    let large = |cid| {
        let op = Op::Apply(Payload::from(vec![1; 100_000]));
        Decree::from(vec![command(7, cid, op)])
    };
    n.step(2, decisions(1, (1..=30).map(large).collect()));
    let mut noted = Vec::new();
    for round in 1..=5 {
        n.tick(20 * round);
        noted.push(n.written().len());
    }
    assert_eq!(noted, [10, 10, 10, 0, 0]);
    n.saved(29);
    let kept: Vec<Record> = n.node.checkpoint().collect();
    let learned = |slot| Record::Learned { slot: Slot(slot), decree: large(slot) };
    assert_eq!(kept, [Record::Started(1), learned(29), learned(30)]);
}

/// Section 4.3: a million slots, as many as can be kept at all.
#[test]
fn a_restart_performs_a_million_slots() {
    const SLOTS: u64 = 1_000_000;
    let add = |cid| Decree::from(vec![Command { acked: cid, ..add(7, cid) }]);
    let pvalue = |slot| Record::Accepted(pvalue(1, slot, add(slot)));
    let log = [Record::Started(1)].into_iter().chain((1..=SLOTS).map(pvalue));
    let log = log.chain([performed(1, 1, SLOTS / 2), performed(1, SLOTS / 2, SLOTS + 1)]);
    let mut out = Outbox::new(NodeId(1));
    let node = Node::recover(Setup::new(NodeId(1), three()), None, Counter(0), log, &mut out);
    assert_eq!(node.unwrap().replica().state().0, SLOTS);
}

/// Trap E27: a node was not there, or died, when it was told that its configuration is over. What
/// it has saved says so, and its owner is told again.
#[test]
fn a_restart_tells_again_which_configuration_is_over() {
    let schedule = Schedule::new(members(&[1, 2, 3], &[21], &[11]), 2);
    let setup = Setup { roles: Roles::REPLICA, ..Setup::new(NodeId(1), schedule.clone()) };
    let mut n = Process::format(setup.clone());
    let mut log = vec![reconfigure(1, 0, members(&[2, 3, 4], &[22], &[12]))];
    log.resize(4, Decree::noop());
    n.step(3, decisions(1, log));
    n.saved(5);
    [2, 3].into_iter().for_each(|id| n.step(id, report(5, 1)));
    let over = Effect::Retired(schedule.latest().clone());
    let effects = n.effects();
    assert!(effects.contains(&over));
    let frame = n.node.replica().frame();
    let mut again = Process::recover(setup, Some((&frame, 0)), &[Record::Started(1)]);
    assert!(again.effects().contains(&over));
}

/// Invariant R4: while a snapshot was being restored, the replica went on.
#[test]
fn a_snapshot_that_is_no_longer_newer_is_not_installed() {
    let mut ahead = Process::new(2, Roles::REPLICA, &three());
    ahead.step(3, decisions(1, vec![one(1), one(2)]));
    let frame = ahead.node.replica().frame();
    for (more, newer) in [(1, true), (2, false), (3, false)] {
        let mut n = Process::new(1, Roles::REPLICA, &three());
        n.step(2, decisions(1, (1..=more).map(one).collect()));
        assert_eq!(n.node.install(&frame, Counter(2), &mut n.out), Ok(newer));
        assert_eq!(n.at(), (more.max(2), Slot(more.max(2) + 1)));
        let damaged = &frame[..frame.len() - 1];
        let invalid = n.node.install(damaged, Counter(9), &mut n.out);
        assert!(invalid.is_err() || invalid == Ok(false));
        assert_eq!(n.at(), (more.max(2), Slot(more.max(2) + 1)));
    }
}

/// Section 4.2: one snapshot is fetched at a time, and restored. Only when that has failed, another
/// replica is asked.
#[test]
fn nobody_is_asked_for_a_snapshot_while_one_is_being_restored() {
    let mut n = Process::new(1, Roles::REPLICA, &three());
    n.step(2, report(40, 0));
    n.step(2, chunk(40, 1, 0, 4));
    n.step(2, chunk(40, 1, 4, 5));
    let kept = |effect| {
        if let Effect::KeepChunk { complete, .. } = effect { Some(complete) } else { None }
    };
    assert_eq!(n.effects().into_iter().filter_map(kept).collect::<Vec<_>>(), [false, true]);
    let asks = |n: &mut Process, from: u64| {
        (from..from + 4).for_each(|round| n.tick(60 * round));
        let sent = n.sent();
        sent.iter().any(|(_, m)| matches!(m, Message::Learn(_) | Message::FetchSnapshot { .. }))
    };
    n.step(3, chunk(39, 2, 0, 4));
    assert!(!asks(&mut n, 1));
    n.node.install_failed();
    assert!(asks(&mut n, 9));
}

/// Trap E16: an acceptor whose disk has lost what was accepted in slot 2 must not say that nothing
/// was; nor may what it had accepted there before pass for the latest.
#[test]
fn an_acceptor_says_nothing_of_a_slot_that_its_disk_has_lost() {
    let setup = Setup { roles: Roles::ACCEPTOR, ..Setup::new(NodeId(1), three()) };
    let accepted = |round, slot| Record::Accepted(pvalue(round, slot, one(slot)));
    let log = [Record::Started(1), accepted(1, 1), accepted(1, 2), lost(3, 2), accepted(3, 4)];
    let mut a = Process::recover(setup.clone(), None, &log);
    let ballot_num = a.node.acceptor().ballot_num();
    assert_eq!(ballot_num, ballot(3, 2), "it had adopted that ballot");
    a.effects();
    let asked = |a: &mut Process, round, first| {
        a.step(2, Message::P1a { ballot: ballot(round, 2), first: Slot(first) });
        let report = |e| {
            if let Effect::SendWhenDurable(_, Message::P1b(p1b)) = e { Some(p1b) } else { None }
        };
        a.effects().into_iter().find_map(report)
    };
    let slots = |p1b: &P1b| p1b.accepted.iter().map(|p| p.slot.0).collect::<Vec<_>>();

    // A report goes as far as the acceptor knows, and is not complete.
    let report = asked(&mut a, 4, 1).unwrap();
    assert_eq!((slots(&report), report.rest), (vec![1], Some(Slot(2))));
    assert_eq!(asked(&mut a, 4, 2), None);
    assert_eq!(asked(&mut a, 4, 3).unwrap().rest, None);
    // A refusal says nothing of slots.
    assert_eq!(asked(&mut a, 2, 2).unwrap().held, ballot(4, 2));
    a.step(3, Message::ReadQuery { round: 1 });
    assert_eq!(a.sent(), [(NodeId(3), Message::ReadReply { round: 1, highest: Slot(4) })]);
    a.step(2, chosen(3, 2));

    // The loss outlives a rewritten log, until the slot is accepted anew, or collected.
    let checkpoint: Vec<Record> = a.node.checkpoint().collect();
    let mut b = Process::recover(setup.clone(), None, &checkpoint);
    assert_eq!(b.node.acceptor(), a.node.acceptor());
    assert_eq!(b.node.acceptor().lost().collect::<Vec<_>>(), [Slot(2)]);
    assert_eq!(asked(&mut b, 4, 2), None);
    b.step(2, Message::Collect(Slot(3)));
    assert_eq!(slots(&asked(&mut b, 4, 1).unwrap()), [4]);

    a.step(2, Message::P2a(pvalue(4, 2, one(2))));
    let vote = P2b { slot: Slot(2), asked: ballot(4, 2), vote: Vote::Accepted };
    assert!(a.effects().contains(&Effect::SendWhenDurable(NodeId(2), Message::P2b(vote))));
    assert_eq!(slots(&asked(&mut a, 4, 1).unwrap()), [1, 2, 4]);
    assert_eq!(a.node.acceptor().lost().count(), 0);
}

/// Trap E16: what was lost does not matter where something later is known.
#[test]
fn a_lost_pvalue_is_forgotten_where_a_later_one_is_known() {
    let setup = Setup { roles: Roles::ACCEPTOR, ..Setup::new(NodeId(1), three()) };
    let later = Record::Accepted(pvalue(3, 2, one(2)));
    for log in [vec![lost(1, 2), later.clone()], vec![later.clone(), lost(1, 2)]] {
        let log = [vec![Record::Started(1)], log].concat();
        let a = Process::recover(setup.clone(), None, &log);
        assert_eq!(a.node.acceptor().lost().count(), 0, "{log:?}");
        assert_eq!(a.node.acceptor().accepted(Slot(2), ballot(3, 2)), Some(&one(2)));
    }
    let log = [Record::Started(1), Record::Collected(Slot(3)), lost(5, 2)];
    let a = Process::recover(setup.clone(), None, &log);
    assert_eq!(a.node.acceptor().lost().count(), 0);
    assert_eq!(a.node.acceptor().ballot_num(), ballot(5, 2));

    // A node performs nothing from a pvalue that was lost.
    let setup = Setup { roles: Roles::ALL, ..setup };
    let first = Record::Accepted(pvalue(3, 1, one(1)));
    let log = [Record::Started(1), first, lost(4, 1), performed(3, 1, 2)];
    assert_eq!(Process::recover(setup, None, &log).at(), (0, Slot(1)));
}

/// Runs a leader for two seconds whose own acceptor never answers, while the other two do. Returns
/// how often it asks another to take over, and how often it says that it leads after half a second.
fn with_a_hung_disk(leaders: &[u32]) -> (usize, usize) {
    let members = members(&[1, 2, 3], leaders, &[1, 2, 3]);
    let mut n = Process::new(1, Roles::ALL, &Schedule::new(members, 16));
    let held = n.lead_of_three(&[]);
    let (mut asks, mut beats) = (0, 0);
    for millis in (0..2000).step_by(10) {
        n.tick(millis);
        for (NodeId(to), message) in n.sent() {
            asks += usize::from(message.kind() == "take_over");
            if let Message::Ping { round } = message {
                n.step(to, Message::Pong { round, held });
            } else if let Message::Heartbeat { leading: true, .. } = message {
                beats += usize::from(millis > 500);
            }
        }
    }
    (asks, beats)
}

/// Section 3: the other one may be dead, or refuse. It is asked again, but not at each heartbeat:
/// each time may cost a ballot.
#[test]
fn a_leader_whose_disk_hangs_asks_others_now_and_then() {
    let (asks, beats) = with_a_hung_disk(&[1, 2, 3]);
    assert!((2..=14).contains(&asks), "{asks} times in two seconds");
    assert_eq!(beats, 0, "it says that it leads");
}

/// Section 3: a leader without an heir is better than none.
#[test]
fn a_leader_whose_disk_hangs_stays_if_nobody_else_may_lead() {
    let (asks, beats) = with_a_hung_disk(&[1]);
    assert!(asks == 0 && beats > 100, "{beats} heartbeats");
}

/// Section 3: who cannot reach a majority is of no use as a leader, and would only bring down the
/// one that there is when it can again. A summons that it cannot heed goes stale.
#[test]
fn a_summons_is_heeded_by_whoever_can_and_not_later() {
    let mut n = Process::new(2, Roles::ALL, &three());
    let led = ballot(1, 1);
    n.step(1, Message::Heartbeat { ballot: led, leading: true });
    n.step(1, Message::TakeOver { ballot: led, round: 0 });
    assert!(!n.node.leader().leading(), "it has heard from no acceptor");
    n.tick(100);
    n.step(2, Message::Pong { round: 1, held: led });
    n.step(3, Message::Pong { round: 1, held: led });
    n.step(1, Message::Heartbeat { ballot: led, leading: true });
    n.tick(200);
    assert!(!n.node.leader().leading(), "that is long ago");
    n.step(3, Message::TakeOver { ballot: led, round: 0 });
    assert!(!n.node.leader().leading(), "it is not for node 3 to say");
    n.step(1, Message::TakeOver { ballot: led, round: 0 });
    assert!(n.node.leader().leading());
}
