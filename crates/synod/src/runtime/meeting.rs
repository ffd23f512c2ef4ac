//! Who is at the other end: letting others in, being let in, and looking after connections.

use std::{io as std_io, time::Duration};

use synod_paxos::NodeId;

use super::{
    Book, LOCAL, Runtime,
    io::{CLIENTS_MAX, Fault, Stage},
    peers::Reach,
    resolver::resolve,
};
use crate::{
    engine::Port,
    error::StopReason,
    machine::Machine,
    protocol::Tell,
    transport::handshake::{Answer, Caller, Hello, Refusal, VERSION, Welcome},
};

/// How long whoever connects may take to say who it is.
const GREETING: Duration = Duration::from_secs(5);

impl<M: Machine> Runtime<M> {
    /// Somebody has said who it is.
    pub(super) fn hello(&mut self, place: usize, hello: &Hello) {
        match self.admit(place, hello) {
            Ok(stage) => {
                let welcome = Answer::Welcome(self.welcome());
                self.io.put(place, |out| welcome.encode(out));
                self.io.establish(place, stage);
                if let Stage::Client(_) = stage {
                    let book = self.book();
                    self.io.put(place, |out| book.tell().put(out));
                }
                if let (Stage::In(node, _), Caller::Peer { address, .. }) = (stage, &hello.caller) {
                    self.io.peers.know(node, address);
                    if let Some(before) = self.io.peers.arrived(node, place) {
                        self.io.remove(before);
                    }
                }
            }
            Err(refusal) => self.refuse(place, refusal),
        }
    }

    /// Whoever has connected speaks another version.
    pub(super) fn hello_of_other_version(&mut self, place: usize) {
        self.refuse(place, Refusal::Version { min: VERSION, max: VERSION });
    }

    fn refuse(&mut self, place: usize, refusal: Refusal) {
        tracing::warn!(%refusal, "a connection is refused");
        let refusal = Answer::Refusal(refusal);
        self.io.put(place, |out| refusal.encode(out));
        self.io.close_when_sent(place);
    }

    fn admit(&mut self, place: usize, hello: &Hello) -> Result<Stage, Refusal> {
        let room = self.io.connections() <= CLIENTS_MAX;
        let conn = self.io.conn(place);
        let proves = |node| conn.is_some_and(|conn| conn.connection.proves(node));
        match self.engine.admit(self.identity.cluster, hello, proves)? {
            Some((node, incarnation)) => Ok(Stage::In(node, incarnation)),
            None if room => Ok(Stage::Client(None)),
            None => Err(Refusal::Busy),
        }
    }

    fn welcome(&self) -> Welcome {
        let members = self.engine.system().book.iter().map(|(&id, at)| (NodeId(id), at.clone()));
        Welcome {
            cluster: self.identity.cluster,
            node: self.engine.id(),
            birth: self.identity.birth,
            incarnation: self.engine.incarnation(),
            sequence: self.engine.sequence(),
            slot_out: self.engine.slot_out(),
            leader: self.engine.leader(),
            members: members.take(crate::transport::handshake::MEMBERS_MAX).collect(),
        }
    }

    /// A node that we have connected to has answered.
    pub(super) fn answered(&mut self, now: Duration, place: usize, answer: Answer) {
        let Some(Stage::Dialing(node)) = self.io.conn(place).map(|conn| conn.stage) else { return };
        match answer {
            Answer::Welcome(welcome) if welcome.node == node => {
                self.io.establish(place, Stage::Out(node));
                self.io.peers.connected(node, place);
                tracing::info!(peer = node.0, "connected");
            }
            Answer::Welcome(Welcome { node: is, .. }) => {
                self.refused(now, place, node, &Refusal::WrongNode { is });
            }
            Answer::Refusal(refusal) => self.refused(now, place, node, &refusal),
        }
    }

    fn refused(&mut self, now: Duration, place: usize, node: NodeId, refusal: &Refusal) {
        if refusal.is_for_good() {
            let (by, why) = (format!("node {}", node.0), refusal.clone());
            self.io.stop.get_or_insert(StopReason::Refused { by, why });
        }
        self.io.remove(place);
        self.io.peers.failed(now, node, Some(refusal.to_string()));
    }

    /// What has to be looked after now and then.
    pub(super) fn chores(&mut self, now: Duration) {
        let mut late = std::mem::take(&mut self.turn.late);
        self.io.clients.tick(now, self.engine.slot_out(), &mut late);
        late.drain(..).for_each(|(client, asked)| self.asked(Port(LOCAL + client), asked));
        self.turn.late = late;
        self.know_members();
        self.reach_peers(now);
        self.close_silent(now);
        if std::mem::take(&mut self.turn.accept) {
            self.accept(now);
        }
        self.tell_news();
    }

    /// Tells clients who leads and who the members are, if that has changed.
    fn tell_news(&mut self) {
        let book = self.book();
        if self.turn.book != book {
            self.io.tell_clients(&book.tell());
            self.turn.book = book;
        }
        let leader = self.engine.leader();
        if self.turn.leader != leader {
            self.turn.leader = leader;
            self.io.tell_clients(&Tell::Leader { node: leader });
        }
    }

    /// Who serves clients in the newest configuration, as far as it is known where they are.
    fn book(&self) -> Book {
        let (latest, system) = (self.engine.schedule().latest(), self.engine.system());
        let replicas = latest.members.replicas.iter();
        let known = replicas.filter_map(|id| Some((id.0, system.book.get(&id.0)?.clone())));
        Book { epoch: latest.epoch, addresses: known.collect() }
    }

    /// Keeps the list of peers in step with the configurations and the book of addresses.
    fn know_members(&mut self) {
        let me = self.engine.id();
        let system = self.engine.system().clone();
        let schedule = self.engine.schedule();
        for node in schedule.nodes().filter(|node| *node != me) {
            if let Some(address) = system.book.get(&node.0) {
                self.io.peers.know(node, address);
            }
        }
        for place in self.io.peers.forget_unless(|node| schedule.nodes().any(|n| n == node)) {
            self.io.remove(place);
        }
    }

    fn reach_peers(&mut self, now: Duration) {
        for reach in self.io.peers.due(now) {
            match reach {
                Reach::Dial(node, address) => self.dial(now, node, address),
                Reach::Resolve(node, name, failures) => {
                    if let Err(error) = resolve(node, name, failures, self.inbox.clone()) {
                        self.io.peers.failed(now, node, Some(error.to_string()));
                    }
                }
            }
        }
    }

    pub(super) fn resolved(
        &mut self,
        now: Duration,
        node: NodeId,
        address: std_io::Result<std::net::SocketAddr>,
    ) {
        match address {
            Ok(address) => self.dial(now, node, address),
            Err(error) => self.io.peers.failed(now, node, Some(error.to_string())),
        }
    }

    fn dial(&mut self, now: Duration, node: NodeId, address: std::net::SocketAddr) {
        let (cluster, caller) = (self.identity.cluster, self.engine.introduce());
        let hello = Hello { cluster, to: Some(node), caller };
        self.io.dial(now, node, address, &hello);
    }

    /// Closes connections whose other side does not say who it is.
    fn close_silent(&mut self, now: Duration) {
        for place in self.io.places() {
            let silent = self.io.conn(place).is_some_and(|conn| {
                let waits = match conn.stage {
                    Stage::Greeting | Stage::Dialing(_) | Stage::Closing => true,
                    Stage::In(..) | Stage::Out(_) | Stage::Client(_) => false,
                };
                waits && now > conn.since + GREETING
            });
            if silent {
                let late = std_io::Error::from(std_io::ErrorKind::TimedOut);
                self.close(now, place, &Fault::Connection(late.into()));
            }
        }
    }
}
