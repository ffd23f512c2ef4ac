//! What is done at random, and then the healing: no more faults, and everything must come to a
//! good end.

use std::time::Duration;

use fastrand::Rng;
use synod_paxos::{Members, Node, NodeId, Op, Reconfiguration, Roles, Slot};

use crate::{
    event::{Event, Violation},
    marks::Marks,
    network::Packet,
    options::{Options, flexible},
    trace::Trace,
    world::{Judged, World},
};

/// More packets in flight are dropped.
const FLYING_MAX: usize = 250;
/// A healthy cluster must come to rest within this time.
const HEALING: Duration = Duration::from_secs(12);
const PACE: Duration = Duration::from_millis(20);

/// Runs one seed.
///
/// # Errors
/// The first property that did not hold.
pub(crate) fn run(seed: u64, trace: &Trace) -> Result<Marks, Violation> {
    let mut rng = Rng::with_seed(seed);
    let options = Options::draw(&mut rng);
    let mut world = World::new(options, rng, trace.clone());
    world.populate()?;
    for _ in 0..world.options.steps {
        world.act()?;
    }
    world.recuperate()?;
    world.marks.noops_chosen += u64::from(world.history.noops);
    world.marks.reconfigurations += world.history.latest().epoch;
    Ok(world.marks)
}

impl World {
    pub(crate) fn populate(&mut self) -> Judged {
        let Members { replicas, leaders, acceptors, .. } = self.options.members.clone();
        for id in replicas.iter().copied() {
            let roles = if self.options.colocated { Roles::ALL } else { Roles::REPLICA };
            self.add(id, roles)?;
        }
        if !self.options.colocated {
            leaders.iter().try_for_each(|id| self.add(*id, Roles::LEADER))?;
            acceptors.iter().try_for_each(|id| self.add(*id, Roles::ACCEPTOR))?;
        }
        for _ in 0..self.options.callers {
            let at = replicas[self.rng.usize(0..replicas.len())];
            let caller = self.new_caller(Slot::FIRST, at, self.options.commands);
            self.callers.push(caller);
        }
        // Two operators, who send no commands but reconfigurations.
        for _ in 0..2 {
            let caller = self.new_caller(Slot::FIRST, replicas[0], 0);
            self.callers.push(caller);
        }
        Ok(())
    }

    fn somebody(&mut self) -> NodeId {
        self.ids[self.rng.usize(0..self.ids.len())]
    }

    /// A replica of the latest configuration, whether it is up or not.
    fn some_replica(&mut self) -> NodeId {
        let replicas = &self.history.latest().members.replicas;
        replicas[self.rng.usize(0..replicas.len())]
    }

    fn act(&mut self) -> Judged {
        let w = self.options.weights;
        type Action = fn(&mut World) -> Judged;
        let actions: [(u32, Action); 21] = [
            (w.deliver, Self::deliver_one),
            (w.tick, Self::tick),
            (w.flush, |world| {
                let id = world.somebody();
                world.call(id, |node, _, out| node.flush(out))
            }),
            (w.sync, |world| {
                let id = world.somebody();
                world.sync(id)
            }),
            (w.request, Self::request),
            (w.retry, Self::retry),
            (w.read, |world| {
                let id = if world.rng.bool() { world.some_replica() } else { world.somebody() };
                world.read(id)
            }),
            (w.reconfigure, Self::reconfigure),
            (w.release, Self::release),
            (w.restore, |world| {
                let id = world.somebody();
                world.restored(id)
            }),
            (w.compact, |world| {
                let id = world.somebody();
                world.compact(id);
                Ok(())
            }),
            (w.stop, |world| {
                let id = world.somebody();
                world.stop(id);
                Ok(())
            }),
            (w.campaign, |world| {
                let id = world.somebody();
                world.note(|| format!("{id} is told to campaign"));
                world.call(id, |node, _, out| node.campaign(out))
            }),
            (w.hand_over, Self::hand_over),
            (w.lost, Self::lose),
            (w.pause, Self::pause),
            (w.usurp, Self::usurp),
            (w.crash, |world| {
                let id = world.somebody();
                world.crash(id)
            }),
            (w.recover, |world| {
                let id = world.somebody();
                world.recover(id)
            }),
            (w.cut, Self::cut),
            (w.heal, |world| {
                world.network.cuts.heal();
                Ok(())
            }),
        ];
        let mut draw = self.rng.u32(0..actions.iter().map(|(weight, _)| weight).sum());
        for (weight, action) in actions {
            if draw < weight {
                return action(self);
            }
            draw -= weight;
        }
        Ok(())
    }

    fn deliver_one(&mut self) -> Judged {
        let flying = self.network.flying();
        if flying == 0 {
            return Ok(());
        }
        let in_order = self.rng.u32(0..1000) < self.options.in_order;
        let place = if in_order { 0 } else { self.rng.usize(0..flying) };
        let packet = self.network.take(place);
        if packet.to().is_some_and(|to| self.is_paused(to)) {
            self.network.hold(packet);
            return Ok(());
        }
        if !self.network.cuts.passes(&packet) {
            if self.rng.bool() {
                self.network.hold(packet);
            }
            return Ok(());
        }
        let idle = matches!(packet.kind(), "ping" | "pong" | "heartbeat" | "slot_out");
        if flying > if idle { FLYING_MAX / 3 } else { FLYING_MAX }
            || self.rng.u32(0..1000) < self.options.lost
        {
            self.note(|| format!("a {} is lost", packet.kind()));
            return Ok(());
        }
        if self.rng.u32(0..1000) < self.options.doubled {
            match self.rng.bool() {
                true => self.network.send(packet.clone()),
                false => self.network.hold(packet.clone()),
            }
        }
        self.deliver(packet)
    }

    fn hand_over(&mut self) -> Judged {
        let id = self.somebody();
        self.note(|| format!("{id} is told to hand over"));
        self.call(id, |node, _, out| _ = node.hand_over(None, out))
    }

    fn lose(&mut self) -> Judged {
        let (id, peer) = (self.somebody(), self.somebody());
        self.note(|| format!("{id} has lost {peer}"));
        self.call(id, |node, _, _| node.lost(peer))
    }

    /// A process does nothing for a while, and does not notice.
    fn pause(&mut self) -> Judged {
        let id = self.somebody();
        self.pause_one(id);
        Ok(())
    }

    fn pause_one(&mut self, id: NodeId) {
        let time = Duration::from_millis(self.rng.u64(20..=600));
        self.note(|| format!("{id} pauses for {time:?}"));
        if let Some(process) = self.processes.get_mut(&id) {
            process.paused = self.now + time;
        }
    }

    /// The leader is cut off or does nothing for a while, without noticing, and another one takes
    /// over as soon as it can; sometimes after all others have restarted.
    pub(crate) fn usurp(&mut self) -> Judged {
        let leads = |id: &NodeId| self.node(*id).is_some_and(|node| node.leader().active());
        let leaders = self.history.latest().members.leaders.clone();
        let Some(leader) = self.ids.iter().copied().find(leads) else { return Ok(()) };
        let other = leaders[self.rng.usize(0..leaders.len())];
        if other == leader {
            return Ok(());
        }
        self.note(|| format!("{leader} is cut off, and {other} is told to campaign"));
        let (pause, restart) = (self.rng.u32(0..3) == 0, self.rng.u32(0..3) == 0);
        if pause {
            self.pause_one(leader);
        }
        for i in 0..self.ids.len() {
            let id = self.ids[i];
            if !pause {
                self.network.cuts.cut(leader, id);
                self.network.cuts.cut(id, leader);
            }
            if restart && id != leader {
                self.crash(id)?;
                self.recover(id)?;
            }
        }
        self.call(other, |node, _, out| node.campaign(out))
    }

    fn tick(&mut self) -> Judged {
        self.now += self.options.pace.mul_f32(self.rng.f32());
        if self.rng.bool() {
            let id = self.somebody();
            return self.call(id, Node::tick);
        }
        self.tick_all()
    }

    fn tick_all(&mut self) -> Judged {
        for i in 0..self.ids.len() {
            self.call(self.ids[i], Node::tick)?;
        }
        Ok(())
    }

    fn request(&mut self) -> Judged {
        let place = self.rng.usize(0..self.callers.len());
        let caller = &mut self.callers[place];
        if caller.left == 0 || caller.client.in_flight() >= self.options.in_flight {
            return Ok(());
        }
        caller.left -= 1;
        let op = caller.next_op();
        self.ask(place, op)
    }

    pub(crate) fn ask(&mut self, place: usize, op: Op) -> Judged {
        let to = self.callers[place].at;
        let command = self.callers[place].client.request(op);
        self.note(|| format!("client -> {to} request {command}"));
        self.happen(&Event::Requested { command: &command })?;
        self.network.send(Packet::Request { to, command });
        Ok(())
    }

    fn retry(&mut self) -> Judged {
        let place = self.rng.usize(0..self.callers.len());
        let to = if self.rng.bool() { self.some_replica() } else { self.somebody() };
        self.retry_at(place, to);
        Ok(())
    }

    pub(crate) fn retry_at(&mut self, place: usize, to: NodeId) {
        self.callers[place].at = to;
        let commands: Vec<_> = self.callers[place].client.retry().collect();
        for command in commands {
            self.network.send(Packet::Request { to, command });
        }
    }

    fn release(&mut self) -> Judged {
        match self.network.held() {
            0 => {}
            held => {
                let place = self.rng.usize(0..held);
                self.network.release(place);
            }
        }
        Ok(())
    }

    fn cut(&mut self) -> Judged {
        let one = self.somebody();
        for i in 0..self.ids.len() {
            let other = self.ids[i];
            match self.rng.u32(0..4) {
                0 => self.network.cuts.cut(one, other),
                1 => self.network.cuts.cut(other, one),
                2 => {
                    self.network.cuts.cut(one, other);
                    self.network.cuts.cut(other, one);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// An operator replaces some processes, going by what some replica says; at times, two
    /// operators do so at once.
    pub(crate) fn reconfigure(&mut self) -> Judged {
        if self.options.reconfigurations == 0 {
            return Ok(());
        }
        let id = self.some_replica();
        let Some(node) = self.node(id) else { return Ok(()) };
        let latest = node.replica().schedule().latest().clone();
        self.options.reconfigurations -= 1;
        let operators = if self.rng.u32(0..4) == 0 { 2 } else { 1 };
        for operator in 0..operators {
            let members = self.other_members(&latest.members)?;
            let place = self.callers.len() - 1 - operator;
            self.callers[place].at = id;
            let to = Reconfiguration { replaces: latest.epoch, members };
            self.ask(place, Op::Reconfigure(Box::new(to)))?;
        }
        Ok(())
    }

    fn other_members(&mut self, old: &Members) -> Result<Members, Violation> {
        let members = if self.options.colocated {
            let all = self.replace(&old.replicas, 1, 3, Roles::ALL)?;
            Members::new(all.clone(), all.clone(), all)
        } else {
            let replicas = self.replace(&old.replicas, 1, 2, Roles::REPLICA)?;
            let leaders = self.replace(&old.leaders, 11, 2, Roles::LEADER)?;
            Members::new(replicas, leaders, self.replace(&old.acceptors, 21, 3, Roles::ACCEPTOR)?)
        };
        Ok(flexible(&mut self.rng, members.expect("every role has members, each once")))
    }

    /// Some of `old` go, and processes that never ran before come.
    fn replace(
        &mut self,
        old: &[NodeId],
        first: u32,
        least: usize,
        roles: Roles,
    ) -> Result<Vec<NodeId>, Violation> {
        let mut members = old.to_vec();
        self.rng.shuffle(&mut members);
        members.truncate(self.rng.usize(0..=old.len()));
        let more = self.rng.usize(0..=2);
        while members.len() < least || (members.len() < 5 && members.len() < least + more) {
            // Ids of the first ten of a role, then from 31 on.
            let fresh = (first..first + 10).chain(31..64).map(NodeId);
            let Some(id) = fresh.into_iter().find(|id| !self.processes.contains_key(id)) else {
                return Ok(old.to_vec());
            };
            self.add(id, roles)?;
            members.push(id);
        }
        Ok(members)
    }

    /// No more faults: everything that waits gets done, and all replicas agree in the end.
    pub(crate) fn recuperate(&mut self) -> Judged {
        self.note(|| "no more faults".into());
        self.calm = true;
        self.network.cuts.heal();
        self.network.release_all();
        let stop = self.rng.bool();
        let end = self.now + HEALING;
        let (mut round, mut last_asked) = (0, false);
        while self.now < end {
            for i in 0..self.ids.len() {
                let id = self.ids[i];
                if stop {
                    self.stop(id);
                }
                self.recover(id)?;
                self.restored(id)?;
                self.sync(id)?;
            }
            for packet in self.network.take_all() {
                self.deliver(packet)?;
            }
            if self.all_answered() {
                if last_asked && self.all_up_to_date() {
                    return Ok(());
                }
                if !last_asked {
                    // What was decided last, nobody may have heard of; asking for more tells.
                    last_asked = true;
                    let op = self.callers[0].next_op();
                    self.callers[0].at = self.some_replica();
                    self.ask(0, op)?;
                }
            }
            if round % 5 == 0 {
                for place in 0..self.callers.len() {
                    let to = self.some_replica();
                    self.retry_at(place, to);
                }
            }
            round += 1;
            self.now += PACE;
            self.tick_all()?;
        }
        Err(Violation { property: "liveness", what: self.unfinished() })
    }

    fn all_answered(&self) -> bool {
        self.callers.iter().all(|caller| caller.client.in_flight() == 0)
    }

    fn all_up_to_date(&self) -> bool {
        let next = self.history.next();
        let up_to_date =
            |id: &NodeId| self.node(*id).is_some_and(|node| node.replica().slot_out() == next);
        self.history.latest().members.replicas.iter().all(up_to_date)
    }

    fn unfinished(&self) -> String {
        let mut what = format!("decided below {}; {}", self.history.next(), self.history.latest());
        for (id, process) in &self.processes {
            match &process.node {
                Some(node) => {
                    what += &format!(
                        "\n  {id}: slot_out={} ballot={} leading={} active={} held={} gc={}",
                        node.replica().slot_out(),
                        node.leader().ballot_num(),
                        node.leader().leading(),
                        node.leader().active(),
                        node.acceptor().ballot_num(),
                        node.acceptor().gc_slot()
                    );
                }
                None => {
                    let why = if process.stopped { "stopped" } else { "down" };
                    what += &format!("\n  {id}: {why}");
                }
            }
        }
        for caller in self.callers.iter().filter(|caller| caller.client.in_flight() > 0) {
            let open: Vec<_> = caller.client.retry().map(|command| command.to_string()).collect();
            what += &format!("\n  unanswered: {}", open.join(", "));
        }
        what
    }
}
