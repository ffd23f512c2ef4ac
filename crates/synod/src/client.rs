//! Asking a cluster: commands, queries, and what an operator wants.

use std::{fmt, io, marker::PhantomData, sync::Arc, thread, time::Duration};

use futures_channel::oneshot;
use mio::Poll;
use synod_paxos::{Op, Payload};

use crate::{
    error::{ConnectError, NotDone, ReadError},
    genesis::Genesis,
    inbox::{Inbox, waker},
    machine::Machine,
    protocol::{Level, Manage, Report},
    runtime::Event,
    status::Status,
    system::machine_op,
    transport::tls::Tls,
};

pub mod calls;
mod pipeline;
mod remote;

use calls::{Outcome, Request};
pub use pipeline::{Completion, Pipeline};
use remote::{Remote, Route};

/// How long a command or a query may take, unless said otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// A session with a cluster: in the process of a node, or over the network.
///
/// Cheap to clone; clones share the session. Commands of a session that do not wait for each other
/// may be performed in any order. Each is performed once, however often it has to be sent: the
/// nodes remember what a session has asked for.
pub struct Client<M> {
    link: Arc<Link<M>>,
    timeout: Duration,
}

impl<M> Clone for Client<M> {
    fn clone(&self) -> Self {
        Self { link: self.link.clone(), timeout: self.timeout }
    }
}

/// The way to whoever runs the session.
enum Link<M> {
    Local { inbox: Arc<Inbox<Event<M>>>, number: u64 },
    Remote { inbox: Arc<Inbox<Errand>>, machine: PhantomData<fn() -> M> },
}

/// What a session's own thread is told.
pub(crate) enum Errand {
    Ask { request: Request, within: Duration, waiter: oneshot::Sender<Outcome> },
    Forget { cid: u64 },
    Stop,
}

impl<M> Link<M> {
    fn ask(&self, request: Request, within: Duration) -> oneshot::Receiver<Outcome> {
        let (waiter, outcome) = oneshot::channel();
        let call = matches!(request, Request::Call(_));
        let taken = match self {
            Self::Local { inbox, number } => {
                inbox.offer(Event::Ask { client: *number, request, within, waiter }).is_none()
            }
            Self::Remote { inbox, .. } => {
                inbox.offer(Errand::Ask { request, within, waiter }).is_none()
            }
        };
        if call && !taken {
            let (waiter, outcome) = oneshot::channel();
            drop(waiter.send(Outcome::NotDone(NotDone::Stopped))); // The receiver is right here.
            return outcome;
        }
        outcome
    }

    fn forget(&self, cid: u64) {
        match self {
            Self::Local { inbox, number } => inbox.push(Event::Forget { client: *number, cid }),
            Self::Remote { inbox, .. } => inbox.push(Errand::Forget { cid }),
        }
    }
}

impl<M> Drop for Link<M> {
    fn drop(&mut self) {
        match self {
            Self::Local { inbox, number } => inbox.push(Event::Left { client: *number }),
            Self::Remote { inbox, .. } => inbox.push(Errand::Stop),
        }
    }
}

/// How to connect to a cluster from another process.
#[derive(Clone)]
pub struct Connect {
    route: Route,
    timeout: Duration,
}

impl Connect {
    /// To the cluster that these nodes belong to. One that answers is enough; the others are
    /// learned from it.
    pub fn to<A: Into<String>>(addresses: impl IntoIterator<Item = A>) -> Self {
        let addresses = addresses.into_iter().map(Into::into).collect();
        Self { route: Route { addresses, tls: None, stay: false }, timeout: TIMEOUT }
    }

    /// With TLS.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.route.tls = Some(Arc::new(tls));
        self
    }

    /// Stays with the given nodes, whoever leads: to read from a node nearby.
    #[must_use]
    pub fn stay(mut self) -> Self {
        self.route.stay = true;
        self
    }

    /// How long each command or query may take. 10 s unless set.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Connects, and starts the thread that keeps the session.
    ///
    /// # Errors
    /// When no node lets us in within 5 s.
    pub async fn connect<M: Machine>(self) -> Result<Client<M>, ConnectError> {
        let (ready, connected) = oneshot::channel();
        let Self { route, timeout } = self;
        let spawned = thread::Builder::new()
            .name("synod-client".to_owned())
            .spawn(move || keep_session(route, ready));
        let system = |error: &dyn fmt::Display| ConnectError::System(error.to_string());
        spawned.map_err(|error| system(&error))?;
        let inbox = connected.await.map_err(|_| system(&"the client's thread has ended"))??;
        Ok(Client { link: Arc::new(Link::Remote { inbox, machine: PhantomData }), timeout })
    }
}

type Ready = oneshot::Sender<Result<Arc<Inbox<Errand>>, ConnectError>>;

/// The life of a session's thread.
fn keep_session(route: Route, ready: Ready) {
    match open_session(route) {
        Ok((mut remote, inbox)) => {
            let inbox = Closing(inbox);
            if ready.send(Ok(inbox.0.clone())).is_ok() {
                run_session(&mut remote, &inbox.0);
            }
        }
        Err(error) => drop(ready.send(Err(error))),
    }
}

/// Closes an inbox in the end, also if its owner panics: nobody must wait for ever.
struct Closing(Arc<Inbox<Errand>>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

type Session = Remote<oneshot::Sender<Outcome>>;

fn open_session(route: Route) -> Result<(Session, Arc<Inbox<Errand>>), ConnectError> {
    let system = |error: io::Error| ConnectError::System(error.to_string());
    let poll = Poll::new().map_err(system)?;
    let inbox = Inbox::new(waker(&poll, remote::WAKER).map_err(system)?);
    let mut remote = Remote::new(poll, route);
    remote.connect(CONNECT)?;
    Ok((remote, inbox))
}

fn run_session(remote: &mut Session, inbox: &Inbox<Errand>) {
    let mut errands = Vec::new();
    loop {
        inbox.take(&mut errands);
        for errand in errands.drain(..) {
            match errand {
                Errand::Ask { request, within, waiter } => remote.request(request, within, waiter),
                Errand::Forget { cid } => remote.forget(cid),
                Errand::Stop => {
                    remote.stop();
                    return deliver(remote);
                }
            }
        }
        remote.turn(Duration::from_secs(1), || inbox.may_sleep());
        inbox.awake();
        deliver(remote);
    }
}

fn deliver(remote: &mut Session) {
    for (waiter, outcome) in remote.settled() {
        drop(waiter.send(outcome)); // Whoever does not wait any more need not be told.
    }
}

/// Asks a cluster how it began: what a node that joins has to know.
pub(crate) fn ask_genesis(
    addresses: Vec<String>,
    tls: Option<Tls>,
) -> Result<Genesis, ConnectError> {
    let route = Route { addresses, tls: tls.map(Arc::new), stay: false };
    let poll = Poll::new().map_err(|error| ConnectError::System(error.to_string()))?;
    let mut remote = Remote::new(poll, route);
    remote.connect(CONNECT)?;
    remote.request(Request::Manage(Manage::Genesis), CONNECT, ());
    loop {
        remote.turn(CONNECT, || true);
        let settled = remote.settled().next();
        match settled {
            Some(((), Outcome::Report(Report::Genesis(genesis)))) => return Ok(*genesis),
            Some(_) => return Err(ConnectError::System("no answer".to_owned())),
            None => {}
        }
    }
}

impl<M: Machine> Client<M> {
    /// Connects to the cluster that these nodes belong to. More can be set with [`Connect`].
    ///
    /// # Errors
    /// When no node lets us in within 5 s.
    pub async fn connect<A: Into<String>>(
        addresses: impl IntoIterator<Item = A>,
    ) -> Result<Self, ConnectError> {
        Connect::to(addresses).connect().await
    }

    pub(crate) fn local(inbox: Arc<Inbox<Event<M>>>, number: u64) -> Self {
        Self { link: Arc::new(Link::Local { inbox, number }), timeout: TIMEOUT }
    }

    /// The same session with another time-out for commands and queries.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Has a command performed, once, and returns its reply.
    ///
    /// # Errors
    /// [`CallError::NotDone`] if it was not performed and never will be; [`CallError::Unknown`] if
    /// that cannot be told within the time-out.
    pub async fn call(&self, command: M::Command) -> Result<M::Reply, CallError<M>> {
        let outcome =
            self.link.ask(Request::Call(Op::Apply(machine_op::<M>(&command))), self.timeout);
        self.settle(outcome.await)
    }

    fn settle(
        &self,
        outcome: Result<Outcome, oneshot::Canceled>,
    ) -> Result<M::Reply, CallError<M>> {
        match outcome {
            Ok(Outcome::Done(reply)) => M::decode_reply(&reply).ok_or(CallError::Undecodable),
            Ok(Outcome::NotDone(why)) => Err(CallError::NotDone(why)),
            Ok(Outcome::Unknown(cid)) => {
                let (link, timeout) = (self.link.clone(), self.timeout);
                Err(CallError::Unknown(Ticket {
                    cid,
                    client: Self { link, timeout },
                    spent: false,
                }))
            }
            // A node that has stopped, or a session whose thread has: nobody is left to ask.
            Ok(Outcome::Expired | Outcome::Answer(_) | Outcome::Report(_) | Outcome::Failed(_))
            | Err(oneshot::Canceled) => Err(CallError::Lost),
        }
    }

    /// Answers a query.
    ///
    /// # Errors
    /// When there is no answer within the time-out. Asking again does no harm.
    pub async fn read(&self, level: Level, query: M::Query) -> Result<M::Answer, ReadError> {
        let mut bytes = Vec::new();
        M::encode_query(&query, &mut bytes);
        match self.link.ask(Request::Read(level, bytes), self.timeout).await {
            Ok(Outcome::Answer(answer)) => M::decode_answer(&answer).ok_or(ReadError::Undecodable),
            Ok(Outcome::Failed(error)) => Err(error),
            Ok(_) | Err(oneshot::Canceled) => Err(ReadError::Stopped),
        }
    }

    /// How the node is that this session talks to.
    ///
    /// # Errors
    /// When there is no answer within the time-out.
    pub async fn status(&self) -> Result<Status, ReadError> {
        match self.manage(Manage::Status).await? {
            Report::Status(status) => Ok(*status),
            Report::Refused(why) => Err(why.into()),
            Report::Agreed(_) | Report::Genesis(_) => Err(ReadError::Undecodable),
        }
    }

    /// Lets node `to` lead, or the fittest one. To be asked of the leader, which [`Connect`]
    /// prefers unless told to stay. Returns who was asked to lead.
    ///
    /// # Errors
    /// When this node does not lead, there is nobody else, or no answer.
    pub async fn hand_over(&self, to: Option<u32>) -> Result<Option<u32>, ReadError> {
        self.agreed(Manage::HandOver(to)).await
    }

    /// Has the node that this session talks to write a snapshot now.
    ///
    /// # Errors
    /// When the node keeps no state, or does not answer.
    pub async fn snapshot(&self) -> Result<(), ReadError> {
        self.agreed(Manage::Snapshot).await.map(drop)
    }

    async fn agreed(&self, what: Manage) -> Result<Option<u32>, ReadError> {
        match self.manage(what).await? {
            Report::Agreed(node) => Ok(node),
            Report::Refused(why) => Err(why.into()),
            Report::Status(_) | Report::Genesis(_) => Err(ReadError::Undecodable),
        }
    }

    async fn manage(&self, what: Manage) -> Result<Report, ReadError> {
        match self.link.ask(Request::Manage(what), self.timeout).await {
            Ok(Outcome::Report(report)) => Ok(report),
            Ok(Outcome::Failed(error)) => Err(error),
            Ok(_) | Err(oneshot::Canceled) => Err(ReadError::Stopped),
        }
    }

    /// A command of Synod's own, or a reconfiguration: its reply as bytes.
    pub(crate) async fn perform(&self, op: Op) -> Result<Payload, CallError<M>> {
        match self.link.ask(Request::Call(op), self.timeout).await {
            Ok(Outcome::Done(reply)) => Ok(Payload::from(reply)),
            Ok(Outcome::NotDone(why)) => Err(CallError::NotDone(why)),
            Ok(_) | Err(oneshot::Canceled) => Err(CallError::Lost),
        }
    }

    /// Lets time pass, in whatever async runtime.
    pub(crate) async fn pause(&self, time: Duration) {
        drop(self.link.ask(Request::Pause, time).await);
    }
}

/// What became of a command that has no reply.
pub enum CallError<M> {
    /// It was not performed, and never will be.
    NotDone(NotDone),
    /// It may have been performed, or may be later. [`Ticket::resolve`] tells.
    Unknown(Ticket<M>),
    /// It may have been performed, and nobody will ever be able to tell: the session was not used
    /// for so long that the nodes forgot it, or the node in this process has stopped.
    Lost,
    /// It was performed, and its reply cannot be read: this program and the nodes have different
    /// versions of the state machine.
    Undecodable,
}

impl<M> fmt::Display for CallError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDone(why) => write!(f, "not done: {why}"),
            Self::Unknown(_) => f.write_str("not known whether it was done: resolve the ticket"),
            Self::Lost => f.write_str("not known whether it was done, and never will be"),
            Self::Undecodable => f.write_str("done, but the reply is of another version"),
        }
    }
}

impl<M> fmt::Debug for CallError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl<M> std::error::Error for CallError<M> {}

/// A command of which nobody knows yet whether it was performed. The session goes on asking.
pub struct Ticket<M> {
    cid: u64,
    client: Client<M>,
    spent: bool,
}

impl<M: Machine> Ticket<M> {
    /// What became of the command: waits for that as long as the client's time-out says.
    ///
    /// # Errors
    /// As [`Client::call`]; with a new ticket if it is still not known.
    pub async fn resolve(mut self) -> Result<M::Reply, CallError<M>> {
        self.spent = true;
        let outcome = self.client.link.ask(Request::Resolve(self.cid), self.client.timeout);
        self.client.settle(outcome.await)
    }
}

impl<M> Drop for Ticket<M> {
    fn drop(&mut self) {
        if !self.spent {
            self.client.link.forget(self.cid);
        }
    }
}
