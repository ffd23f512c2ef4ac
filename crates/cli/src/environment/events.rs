//! Events happen: crashes, restarts, partitions, reconfigurations.

use std::{fmt::Write, sync::atomic::Ordering::Relaxed, time::Duration};

use synod_paxos::{Config, Members, NodeId};

use super::{
    Environment, LOOK,
    cast::{Who, place},
    console,
    process::{Life, Order},
    schedule::{Event, What, When},
};

impl Environment {
    /// Lets all events happen whose time has come. False if the next one cannot come any more.
    pub(super) fn let_events_happen(&mut self) -> bool {
        while let Some(event) = self.schedule.front() {
            let when = event.when;
            if self.remains(when) > Duration::ZERO || !self.configured() {
                return true;
            }
            if let When::Slot(slot) = when
                && !self.reached(slot)
            {
                let reachable = self.finished < self.stage.plan.clients;
                if !reachable {
                    self.miss(slot);
                }
                return reachable;
            }
            let Some(event) = self.schedule.pop_front() else { return true };
            self.happen(event);
            self.last_event = self.stage.network.now();
            if !self.record.problems.is_empty() {
                return false;
            }
        }
        true
    }

    /// Whether so many slots are decided. If not, a notice will tell.
    fn reached(&self, slot: u64) -> bool {
        // It may be decided while the notice is ordered.
        self.stage.decided() >= slot || {
            self.stage.await_slots(slot);
            self.stage.decided() >= slot
        }
    }

    /// How long the next notice may take before an event is due.
    pub(super) fn patience(&self) -> Duration {
        self.schedule.front().map_or(LOOK, |event| match event.when {
            When::Slot(_) => LOOK,
            When::Time(_) | When::After(_) => self.remains(event.when).min(LOOK),
        })
    }

    /// Whether nothing is missing but time, for the next event to happen.
    pub(super) fn event_is_timed(&self) -> bool {
        self.schedule.front().is_some_and(|event| self.remains(event.when) > Duration::ZERO)
    }

    fn remains(&self, when: When) -> Duration {
        let time = match when {
            When::Slot(_) => Duration::ZERO,
            When::Time(time) => time,
            When::After(time) => self.last_event + time,
        };
        time.saturating_sub(self.stage.network.now())
    }

    /// The slot of an event was never reached.
    fn miss(&mut self, slot: u64) {
        let (decided, left) = (self.stage.decided(), self.schedule.len());
        self.record.problems.push(format!(
            "slot {slot} was not reached, so events did not happen ({left} of them): all commands \
             were answered by slot {decided}; name an earlier slot, or give the clients more to do"
        ));
    }

    fn happen(&mut self, event: Event) {
        match event.what {
            What::Crash(ids) => ids.into_iter().for_each(|id| self.crash(id)),
            What::Restart(ids) => ids.into_iter().for_each(|id| self.restart(id, true)),
            What::RestartWithoutRecords(ids) => {
                ids.into_iter().for_each(|id| self.restart(id, false));
            }
            What::Partition(groups) => self.partition(&groups),
            What::Heal => {
                self.stage.network.heal();
                self.tell("heal", None, "the partition is healed");
            }
            What::Reconfigure(members, starts) => self.reconfigure(members, starts),
        }
    }

    fn crash(&mut self, id: NodeId) {
        let Some(life) = &self.lives[place(id)] else { return };
        life.order(&self.stage, Order::Crash);
        self.bury(place(id));
        self.record.crashes += 1;
        self.tell("crash", Some(id), "crashes");
    }

    fn restart(&mut self, id: NodeId, with_records: bool) {
        match Life::resume(&self.stage, id, with_records) {
            Ok(life) => {
                self.lives[place(id)] = Some(life);
                self.record.restarts += 1;
                self.tell("restart", Some(id), "restarts from its records");
            }
            Err(error) => {
                self.record.refused += 1;
                self.tell("refused", Some(id), &format!("is refused: {error}"));
            }
        }
    }

    fn partition(&mut self, groups: &[Vec<Who>]) {
        let mut text = "partition:".to_owned();
        for (i, group) in groups.iter().enumerate() {
            text.push_str(if i == 0 { " " } else { " | " });
            for (j, who) in group.iter().enumerate() {
                let separator = if j == 0 { "" } else { ", " };
                let (place, name) = match *who {
                    Who::Process(name) => {
                        (self.stage.plan.cast.id(name).map(place), name.to_string())
                    }
                    Who::Client(number) => {
                        (Some(self.stage.client(number)), format!("client {number}"))
                    }
                };
                if let Some(place) = place {
                    self.stage.network.assign(place, i + 1);
                }
                // Writing to a string cannot fail.
                _ = write!(text, "{separator}{name}");
            }
        }
        self.tell("partition", None, &text);
    }

    /// Starts the processes that are new, and has the configuration decided.
    fn reconfigure(&mut self, members: Members, starts: Vec<NodeId>) {
        for id in starts {
            self.begin(id, false);
            self.tell("restart", Some(id), "starts for the first time");
        }
        self.tell("reconfigure", None, &format!("reconfiguring to {}", self.names(&members)));
        match self.operator.reconfigure(&self.stage, members.clone()) {
            Ok((epoch, from)) => {
                self.stage.set_replicas(&members.replicas);
                self.configs.push(members);
                self.in_force = from.0 - 1;
                let what = format!("configuration {epoch} governs the slots from {from} on");
                self.tell("effective", None, &what);
            }
            Err(problem) => self.record.problems.push(problem),
        }
    }

    /// Whether the newest configuration is in force, and enough of its replicas have the state that
    /// a crash does not lose it (the paper, section 4.2).
    fn configured(&self) -> bool {
        let Some(members) = self.configs.last().filter(|_| self.reached(self.in_force)) else {
            return false;
        };
        let lives = members.replicas.iter().filter(|id| self.lives[place(**id)].is_some());
        let slot_out = |id: &NodeId| self.stage.gauge(*id).slot_out.load(Relaxed);
        let ready = lives.clone().filter(|id| slot_out(id) > self.in_force).count();
        ready >= lives.count().min(members.tolerates() + 1)
    }

    fn names(&self, members: &Members) -> String {
        let ids = [&members.replicas, &members.leaders, &members.acceptors].into_iter().flatten();
        let names: Vec<String> = ids.map(|id| self.stage.plan.cast.name(*id).to_string()).collect();
        names.join(", ")
    }

    /// A configuration has done its work: its processes that are in no later one stop.
    pub(super) fn retire(&mut self, config: &Config) {
        let later = usize::try_from(config.epoch + 1).unwrap_or(usize::MAX);
        let Some(later) = self.configs.get(later..).filter(|later| !later.is_empty()) else {
            return;
        };
        let of = |members: &Members| {
            let Members { replicas, leaders, acceptors, .. } = members;
            [&**replicas, &**leaders, &**acceptors].concat()
        };
        let stay: Vec<NodeId> = later.iter().flat_map(of).collect();
        for id in of(&config.members).into_iter().filter(|id| !stay.contains(id)) {
            if let Some(life) = &self.lives[place(id)] {
                life.order(&self.stage, Order::Stop);
                self.bury(place(id));
                self.tell("crash", Some(id), "is no longer needed, and stops");
            }
        }
    }

    /// Prints what happens, unless that is unwanted, and puts it into the trace.
    fn tell(&self, kind: &'static str, id: Option<NodeId>, what: &str) {
        let now = self.stage.network.now();
        let what = match id {
            Some(id) => format!("{} {what}", self.stage.plan.cast.name(id)),
            None => what.to_owned(),
        };
        if !self.stage.quiet {
            let (ms, slot) = (now.as_secs_f64() * 1000.0, self.stage.decided());
            console::write(&format!("[{ms:.1} ms, slot {slot}] {what}\n"));
        }
        self.stage.mark(id.map(place), kind, what);
    }
}
