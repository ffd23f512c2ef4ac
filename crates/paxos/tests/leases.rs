//! Leases and clocks, by hand: what a leader may still use, and what an acceptor must still keep,
//! to the microsecond (section 4.5, traps E47 and E49 to E52).

use std::time::Duration;

use synod_paxos::{
    Ballot, Decree, Effect, Lease, Level, Members, Message, Node, NodeId, Op, Outbox, PValue,
    Payload, Reconfiguration, Record, Roles, Schedule, Setup, Slot, StateMachine,
    message::{LeaseMessage, P1b, P2b, ReadPoint, Vote},
};

/// No state at all: only what is decided matters here.
struct Nothing;

impl StateMachine for Nothing {
    fn apply(&mut self, _: &[u8]) -> Payload {
        Payload::EMPTY
    }
}

const LENGTH: Duration = Duration::from_millis(100);

/// One process, and what its clock shows of the true time.
struct Process {
    node: Node<Nothing>,
    out: Outbox,
    /// The rate of its clock, in millionths.
    rate: u32,
    now: Duration,
    log: Vec<Record>,
}

impl Process {
    fn new(setup: Setup) -> Self {
        let mut out = Outbox::new(setup.id);
        let node = Node::format(setup, Nothing, &mut out);
        let mut this = Self { node, out, rate: 1_000_000, now: Duration::ZERO, log: Vec::new() };
        this.sent();
        this
    }

    /// Its next life.
    fn restart(&mut self, setup: Setup) {
        self.out = Outbox::new(setup.id);
        let log = self.log.clone();
        self.node = Node::recover(setup, None, Nothing, log, &mut self.out).expect("its records");
        self.sent();
    }

    /// The true time is so many microseconds.
    fn at(&mut self, micros: u64) -> &mut Self {
        self.now = Duration::from_micros(micros) * self.rate / 1_000_000;
        self
    }

    fn step(&mut self, from: u32, message: Message) -> Vec<(NodeId, Message)> {
        self.node.step(self.now, NodeId(from), message, &mut self.out);
        self.sent()
    }

    fn tick(&mut self) -> Vec<(NodeId, Message)> {
        self.node.tick(self.now, &mut self.out);
        self.sent()
    }

    /// What it sends, its disk being a fast one.
    fn sent(&mut self) -> Vec<(NodeId, Message)> {
        let mut sent = Vec::new();
        for effect in self.out.drain() {
            match effect {
                Effect::Persist(record) => self.log.push(record),
                Effect::Send(to, message) | Effect::SendWhenDurable(to, message) => {
                    sent.push((to, message));
                }
                Effect::Respond(_)
                | Effect::ReadReady(_)
                | Effect::Retired(_)
                | Effect::ServeSnapshot { .. }
                | Effect::KeepChunk { .. } => {}
            }
        }
        sent
    }

    /// Begins a read; whether it may be served at once.
    fn reads(&mut self, id: u64, level: Level) -> bool {
        assert!(self.node.read(self.now, id, level));
        self.node.flush(&mut self.out);
        self.out.drain().any(|effect| effect == Effect::ReadReady(id))
    }
}

fn schedule() -> Schedule {
    let ids: Vec<NodeId> = (1..=3).map(NodeId).collect();
    Schedule::new(Members::new(ids.clone(), ids.clone(), ids).expect("three nodes"), 4)
}

fn setup(id: u32, drift_ppm: u32) -> Setup {
    let mut setup = Setup::new(NodeId(id), schedule());
    setup.timing.lease = Some(Lease { length: LENGTH, drift_ppm });
    setup
}

fn ballot(round: u64, leader: u32) -> Ballot {
    Ballot { round, leader: NodeId(leader), incarnation: 1 }
}

fn p1a(ballot: Ballot) -> Message {
    Message::P1a { ballot, first: Slot::FIRST }
}

fn promise(ballot: Ballot, accepted: Vec<PValue>) -> Message {
    let (first, gc_slot) = (Slot::FIRST, Slot::FIRST);
    Message::P1b(Box::new(P1b {
        asked: ballot,
        held: ballot,
        first,
        rest: None,
        gc_slot,
        accepted,
    }))
}

/// Leader 1, which a majority has adopted, and which has heard from acceptors 2 and 3.
fn leader(drift_ppm: u32) -> Process {
    let mut leader = Process::new(setup(1, drift_ppm));
    leader.node.campaign(&mut leader.out);
    let held = leader.node.leader().ballot_num();
    for from in [2, 3] {
        leader.step(from, promise(held, Vec::new()));
        leader.step(from, Message::Pong { round: 0, held });
    }
    assert!(leader.node.leader().active());
    leader
}

/// The question about a lease among what was sent, to whomever.
fn question(sent: &[(NodeId, Message)]) -> Option<Message> {
    let asks = |(_, m): &&(NodeId, Message)| matches!(m, Message::Lease(LeaseMessage::Ask { .. }));
    sent.iter().find(asks).map(|(_, message)| message.clone())
}

/// An acceptor's answer to it.
fn granted(question: &Message, length: Duration) -> Message {
    let Message::Lease(LeaseMessage::Ask { round, ballot, .. }) = *question else { panic!() };
    let length = u64::try_from(length.as_nanos()).expect("less than a second");
    Message::Lease(LeaseMessage::Granted { round, ballot, length })
}

/// Whether an acceptor answers a scout that it adopts its ballot.
fn adopts(sent: &[(NodeId, Message)]) -> bool {
    sent.iter().any(|(_, m)| matches!(m, Message::P1b(p1b) if p1b.held == p1b.asked))
}

/// E49: the time before the question counts, whenever the answer comes, and whatever was asked
/// since.
#[test]
fn a_lease_is_counted_from_before_the_question() {
    let mut n = leader(0);
    let first = question(&n.at(20_000).tick()).expect("it asks");
    let second = question(&n.at(60_000).tick()).expect("it asks again");
    n.at(90_000).step(2, granted(&first, LENGTH));
    n.step(3, granted(&first, LENGTH));
    assert!(n.at(119_999).reads(1, Level::Lease));
    assert!(!n.at(120_000).reads(2, Level::Lease));
    n.step(2, granted(&second, LENGTH));
    n.step(3, granted(&second, LENGTH));
    assert!(n.at(159_999).reads(3, Level::Lease));
    assert!(!n.at(160_000).reads(4, Level::Lease));
}

/// E49: the process pauses between two inputs; the read comes when its clock has gone on.
#[test]
fn a_leader_that_has_paused_knows_that_its_lease_is_over() {
    let mut n = leader(0);
    let asks = question(&n.at(20_000).tick()).unwrap();
    [2, 3].into_iter().for_each(|id| drop(n.step(id, granted(&asks, LENGTH))));
    assert!(n.reads(1, Level::Lease));
    n.at(10_000_000);
    assert!(!n.reads(2, Level::Lease), "no tick has come in between");
}

/// A read that does not want to rely on clocks does not.
#[test]
fn other_reads_ask_a_quorum_lease_or_not() {
    let mut n = leader(0);
    let asks = question(&n.at(20_000).tick()).unwrap();
    [2, 3].into_iter().for_each(|id| drop(n.step(id, granted(&asks, LENGTH))));
    assert!(n.node.holds_lease());
    assert!(!n.reads(1, Level::Linearizable));
}

/// E49: clocks that are off by as much as is allowed, in the worst direction. Between the end of
/// the lease for the leader and for the acceptors there is almost nothing; with clocks that are
/// off by twice as much, both would believe that they may act.
#[test]
fn clocks_may_be_off_by_as_much_as_was_said_and_no_more() {
    const DRIFT: u32 = 50_000;
    let both_act = |drift: u32| {
        let (mut n, mut acceptor) = (leader(DRIFT), Process::new(setup(2, DRIFT)));
        (n.rate, acceptor.rate) = (1_000_000 - drift, 1_000_000 + drift);
        let held = n.node.leader().ballot_num();
        acceptor.step(1, p1a(held));
        let asks = question(&n.at(30_000).tick()).unwrap();
        let grants = acceptor.at(30_000).step(1, asks.clone());
        assert_eq!(grants, [(NodeId(1), granted(&asks, LENGTH))]);
        // Its own acceptor and this one are a majority.
        let asks = granted(&asks, LENGTH);
        n.at(30_001).step(2, asks.clone());
        n.step(1, asks);
        (30_001..140_000).step_by(10).any(|micros| {
            let reads = n.at(micros).node.holds_lease() && n.reads(micros, Level::Lease);
            reads && adopts(&acceptor.at(micros).step(3, p1a(ballot(9, 3))))
        })
    };
    assert!(!both_act(0));
    assert!(!both_act(DRIFT / 10 * 9));
    assert!(!both_act(DRIFT));
    assert!(both_act(DRIFT * 2), "the bound is what makes it safe");
}

/// E49: an acceptor that grants for a shorter time than it is asked for is taken at its word.
#[test]
fn the_shorter_of_two_lengths_counts() {
    let mut short = setup(2, 0);
    short.timing.lease = Some(Lease { length: LENGTH / 2, drift_ppm: 0 });
    let (mut n, mut acceptor) = (leader(0), Process::new(short));
    acceptor.step(1, p1a(n.node.leader().ballot_num()));
    let asks = question(&n.at(20_000).tick()).unwrap();
    let grants = acceptor.at(20_000).step(1, asks.clone());
    assert_eq!(grants, [(NodeId(1), granted(&asks, LENGTH / 2))]);
    n.step(2, granted(&asks, LENGTH / 2));
    n.step(1, granted(&asks, LENGTH));
    assert!(n.at(69_999).reads(1, Level::Lease));
    assert!(!n.at(70_000).reads(2, Level::Lease));
    // Nor may an acceptor give more than was asked for.
    let asks = question(&n.at(80_000).tick()).unwrap();
    [2, 3].into_iter().for_each(|id| drop(n.step(id, granted(&asks, LENGTH * 9))));
    assert!(n.at(179_999).reads(3, Level::Lease));
    assert!(!n.at(180_000).reads(4, Level::Lease));
}

/// E49: what an acceptor granted in an earlier life, it keeps, though it has forgotten it.
#[test]
fn an_acceptor_that_restarts_waits_for_the_longest_lease() {
    let held = ballot(1, 1);
    let mut acceptor = Process::new(setup(2, 0));
    assert!(adopts(&acceptor.at(0).step(3, p1a(ballot(0, 3)))), "nothing was ever granted");
    acceptor.step(1, p1a(held));
    let length = u64::try_from(LENGTH.as_nanos()).unwrap();
    let asks = |round| Message::Lease(LeaseMessage::Ask { round, ballot: held, length });
    assert_eq!(acceptor.at(10_000).step(1, asks(7)).len(), 1);
    acceptor.restart(setup(2, 0));
    acceptor.at(5_000_000).tick(); // Its clock may show anything.
    // That what was asked for before is given up says nothing about what was asked for since.
    let release = |round| Message::Lease(LeaseMessage::Release { ballot: held, round });
    acceptor.step(1, release(6));
    assert_eq!(acceptor.at(5_099_999).step(3, p1a(ballot(9, 3))), []);
    let pvalue = PValue { ballot: ballot(9, 3), slot: Slot(1), decree: Decree::noop() };
    assert_eq!(acceptor.step(3, Message::P2a(pvalue)), []);
    assert!(adopts(&acceptor.at(5_100_000).step(3, p1a(ballot(9, 3)))));

    // Whom it was granted to is not kept out: it has a higher ballot, so it uses no lower one.
    acceptor.restart(setup(2, 0));
    assert!(adopts(&acceptor.at(0).step(3, p1a(ballot(10, 3)))));
    assert!(!adopts(&acceptor.step(1, p1a(ballot(11, 1)))));
}

/// A leader that gives up its lease, and then asks again as nobody has taken over, must be able to
/// rely on what it is granted then.
#[test]
fn a_late_release_does_not_end_a_newer_lease() {
    let held = ballot(1, 1);
    let mut acceptor = Process::new(setup(2, 0));
    acceptor.at(0).step(1, p1a(held));
    let length = u64::try_from(LENGTH.as_nanos()).unwrap();
    let asks = |round| Message::Lease(LeaseMessage::Ask { round, ballot: held, length });
    let release = |round| Message::Lease(LeaseMessage::Release { ballot: held, round });
    assert_eq!(acceptor.step(1, asks(7)).len(), 1);
    acceptor.step(3, release(8));
    assert_eq!(acceptor.step(1, asks(8)), [], "it was given up before it came");
    assert_eq!(acceptor.step(1, asks(9)).len(), 1);
    acceptor.step(3, release(8));
    assert!(!adopts(&acceptor.step(3, p1a(ballot(9, 3)))));
    acceptor.step(3, release(9));
    assert!(adopts(&acceptor.step(3, p1a(ballot(9, 3)))));
}

/// A leader that hands over says that it uses no lease any more; so it must not.
#[test]
fn a_leader_that_hands_over_holds_no_lease() {
    let mut n = leader(0);
    let asks = question(&n.at(20_000).tick()).unwrap();
    [2, 3].into_iter().for_each(|id| drop(n.step(id, granted(&asks, LENGTH))));
    assert!(n.node.holds_lease());
    assert_eq!(n.node.hand_over(Some(NodeId(3)), &mut n.out), Some(NodeId(3)));
    assert!(!n.reads(1, Level::Lease));
    [2, 3].into_iter().for_each(|id| drop(n.step(id, granted(&asks, LENGTH))));
    assert!(!n.reads(2, Level::Lease), "a late answer is about what was given up");
    assert_eq!(question(&n.at(40_000).tick()), None, "another one is about to take over");
}

/// E51: phase 1 is done and the lease is there, but what was inherited has not been decided again.
/// E50: after that, what counts is what has been announced.
#[test]
fn a_leader_that_has_not_performed_what_it_inherited_waits() {
    let mut n = Process::new(setup(1, 0));
    n.node.campaign(&mut n.out);
    let asked = n.node.leader().ballot_num();
    let decree = Decree::noop();
    let old = PValue { ballot: ballot(0, 3), slot: Slot(1), decree: decree.clone() };
    for from in [2, 3] {
        n.step(from, promise(asked, vec![old.clone()]));
        n.step(from, Message::Pong { round: 0, held: asked });
    }
    let asks = question(&n.at(20_000).tick()).unwrap();
    [2, 3].into_iter().for_each(|id| drop(n.step(id, granted(&asks, LENGTH))));
    assert!(n.node.holds_lease() && !n.reads(1, Level::Lease));
    let vote = Message::P2b(P2b { slot: Slot(1), asked, vote: Vote::Accepted });
    n.node.step(n.now, NodeId(2), vote.clone(), &mut n.out);
    n.node.step(n.now, NodeId(3), vote, &mut n.out);
    assert!(n.out.drain().any(|effect| effect == Effect::ReadReady(1)));
    let query = Message::Lease(LeaseMessage::Query { round: 5 });
    let point = Some(ReadPoint { highest: Slot(1), epoch: 0 });
    let reply = Message::Lease(LeaseMessage::Reply { round: 5, point });
    assert_eq!(n.step(3, query), [(NodeId(3), reply)]);
}

/// E47: the acceptors of one configuration say nothing about the slots of another.
#[test]
fn a_lease_of_one_configuration_is_none_of_another() {
    let ids = |ids: &[u32]| ids.iter().map(|&id| NodeId(id)).collect::<Vec<_>>();
    let old = Members::new(ids(&[1, 2, 3]), ids(&[21, 22]), ids(&[11, 12, 13])).unwrap();
    let new = Members::new(ids(&[1, 2, 3]), ids(&[22]), ids(&[14, 15, 16])).unwrap();
    let to = Reconfiguration { replaces: 0, members: new };
    let op = Op::Reconfigure(Box::new(to));
    let client = synod_paxos::ClientId { born: Slot(1), number: 9 };
    let command = synod_paxos::Command { client, cid: 1, acked: 1, op };
    let decree = Decree::from(vec![command]);
    let lease = Some(Lease { length: LENGTH, drift_ppm: 0 });
    let process = |id, roles| {
        let mut setup = Setup::new(NodeId(id), Schedule::new(old.clone(), 2));
        (setup.timing.lease, setup.roles) = (lease, roles);
        Process::new(setup)
    };

    // The replica knows the configuration of slot 3, and tells the leader.
    let mut r = process(1, Roles::REPLICA);
    let decrees = vec![decree, Decree::noop()];
    r.at(0).step(21, Message::Heartbeat { ballot: ballot(1, 21), leading: true });
    r.step(2, Message::Decisions { first: Slot(1), decrees });
    let schedules = r.step(21, Message::AskSchedule);

    // The leader believes that slots 1 and 2 may be open, and holds a lease for them.
    let mut n = process(21, Roles::LEADER);
    n.node.campaign(&mut n.out);
    let held = n.node.leader().ballot_num();
    for from in [11, 12] {
        n.step(from, promise(held, Vec::new()));
        n.step(from, Message::Pong { round: 0, held });
    }
    let asks = question(&n.at(20_000).tick()).unwrap();
    [11, 12].into_iter().for_each(|id| drop(n.step(id, granted(&asks, LENGTH))));
    schedules.into_iter().for_each(|(_, schedule)| drop(n.step(1, schedule)));
    assert!(n.node.leader().schedule().latest().epoch == 1 && n.node.holds_lease());

    // By the time of the read, leader 22 may have had slot 3 decided.
    assert!(!r.reads(1, Level::Lease));
    let query = Message::Lease(LeaseMessage::Query { round: (1 << 32) + 1 });
    let replies = n.step(1, query);
    assert!(matches!(
        replies[..],
        [(_, Message::Lease(LeaseMessage::Reply { point: Some(_), .. }))]
    ));
    for (_, reply) in replies {
        r.node.step(r.now, NodeId(21), reply, &mut r.out);
    }
    r.node.flush(&mut r.out);
    let effects: Vec<Effect> = r.out.drain().collect();
    assert!(!effects.contains(&Effect::ReadReady(1)));
    let asks =
        |effect: &Effect| matches!(effect, Effect::Send(NodeId(14), Message::ReadQuery { .. }));
    assert!(effects.iter().any(asks), "it asks the new acceptors instead");
}

/// A late answer is about the time at which it was given: a read that began since may have to see
/// more.
#[test]
fn an_answer_about_a_lease_serves_only_the_reads_before_it() {
    let mut r = Process::new(setup(3, 0));
    r.at(0).step(1, Message::Heartbeat { ballot: ballot(1, 1), leading: true });
    let point = Some(ReadPoint { highest: Slot(0), epoch: 0 });
    let reply = |round| Message::Lease(LeaseMessage::Reply { round: (1 << 32) + round, point });
    assert!(!r.reads(1, Level::Lease));
    r.at(60_000).tick();
    r.at(120_000).tick(); // A quorum is asked about read 1.
    assert!(!r.reads(2, Level::Lease));
    let ready = |r: &mut Process, from: u32, round: u64| {
        r.node.step(r.now, NodeId(from), reply(round), &mut r.out);
        r.out.drain().filter(|effect| matches!(effect, Effect::ReadReady(_))).collect::<Vec<_>>()
    };
    assert_eq!(ready(&mut r, 1, 1), []);
    assert_eq!(ready(&mut r, 2, 2), [], "nobody asked node 2");
    assert_eq!(ready(&mut r, 1, 2), [Effect::ReadReady(2)]);
    assert_eq!(ready(&mut r, 1, 2), []);
}

#[test]
fn the_usable_part_of_a_lease_is_what_the_documentation_says() {
    let usable = |drift_ppm| Lease { length: LENGTH, drift_ppm }.usable();
    assert_eq!(usable(0), LENGTH);
    assert_eq!(usable(500), Duration::from_nanos(99_900_049));
    assert_eq!(usable(1_000_000), Duration::ZERO);
    assert_eq!(usable(u32::MAX), Duration::ZERO);
    assert_eq!(
        Lease { length: Duration::MAX, drift_ppm: 0 }.usable(),
        Duration::from_nanos(u64::MAX)
    );
}
