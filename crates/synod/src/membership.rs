//! Who takes part: one call that brings the cluster to what is desired, however often it is made.

use std::time::{Duration, Instant};

use synod_paxos::{Op, Reconfiguration, Reconfigured, reconfig::InvalidMembers};

use crate::{
    client::{CallError, Client},
    error::ReadError,
    genesis::{Member, members},
    machine::Machine,
    status::{MemberStatus, Status},
    system::SystemCommand,
};

/// How long new replicas may take to catch up, as long as they come closer.
const STALLED: Duration = Duration::from_secs(20);
/// How often it is looked how far they are.
const LOOK: Duration = Duration::from_millis(50);
/// How many slots behind a replica is still caught up.
const NEAR: u64 = 256;
/// What counts as the lag of a node that is not there.
const ABSENT: u64 = 1 << 32;

/// Why the members are not what is desired. Asking again goes on where this stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// What is desired makes no configuration.
    #[error(transparent)]
    Members(#[from] InvalidMembers),
    /// A new member does not catch up. The others vote as before.
    #[error(
        "node {node} does not catch up: {why}; check that it runs, with join(), and can be reached \
         at {address}; the members that vote are as before"
    )]
    NotCaughtUp {
        /// Which node.
        node: u32,
        /// Where it should be.
        address: String,
        /// What is known.
        why: String,
    },
    /// Others change the members at the same time.
    #[error("others change the members at the same time: look at them, and decide again")]
    Contended,
    /// A command did not go through.
    #[error("the members could not be changed: {0}")]
    Command(String),
    /// The cluster does not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl<M: Machine> Client<M> {
    /// Brings the cluster's members to what is desired, and returns when that is effective and the
    /// new ones have caught up. Does nothing if they are as desired already.
    ///
    /// The order is safe: addresses are made known first; then new members receive the state,
    /// without a vote; when they have caught up, one reconfiguration gives them their roles and
    /// takes those of the old ones. At any time a majority of a configuration that is known to
    /// work decides. A member that is not desired any more may be switched off when this returns.
    ///
    /// # Errors
    /// When a new member does not catch up, others change the members at the same time, or the
    /// cluster does not answer. It can be called again at any time.
    pub async fn ensure_members(
        &self,
        desired: impl IntoIterator<Item = Member>,
    ) -> Result<(), MembershipError> {
        let desired: Vec<Member> = desired.into_iter().collect();
        members(&desired)?;
        let status = self.status().await?;
        let newcomers = newcomers(&status, &desired);
        if !is_as_desired(&status, &desired) {
            self.make_known(&status, &desired).await?;
            self.bring_in(&status, &desired).await?;
            self.wait_until_caught_up(&newcomers, None).await?;
            let status = self.status().await?;
            self.reconfigure(&status, &desired).await?;
        }
        self.wait_until_caught_up(&newcomers, Some(&desired)).await
    }

    /// Tells all where the desired members are.
    async fn make_known(&self, status: &Status, desired: &[Member]) -> Result<(), MembershipError> {
        let known = |member: &Member| {
            status.members.iter().any(|m| m.node == member.id && m.address == member.address)
        };
        let news: Vec<(u32, String)> = desired
            .iter()
            .filter(|member| !known(member))
            .map(|member| (member.id, member.address.clone()))
            .collect();
        if news.is_empty() {
            return Ok(());
        }
        self.perform(Op::Apply(SystemCommand::Book(news).op())).await.map_err(command)?;
        Ok(())
    }

    /// Makes new members receive the state, before they vote.
    async fn bring_in(&self, status: &Status, desired: &[Member]) -> Result<(), MembershipError> {
        let is_replica = |id: u32| status.members.iter().any(|m| m.node == id && m.replica);
        let new = desired.iter().filter(|member| member.replica && !is_replica(member.id));
        let new: Vec<Member> = new.map(|member| member.clone().read_copy()).collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut with_new: Vec<Member> = status.members.iter().map(as_member).collect();
        for member in new {
            match with_new.iter_mut().find(|known| known.id == member.id) {
                Some(known) => known.replica = true,
                None => with_new.push(member),
            }
        }
        self.reconfigure(status, &with_new).await
    }

    async fn reconfigure(
        &self,
        status: &Status,
        desired: &[Member],
    ) -> Result<(), MembershipError> {
        if is_as_desired(status, desired) {
            return Ok(());
        }
        let to = Reconfiguration { replaces: status.epoch, members: members(desired)? };
        let reply = self.perform(Op::Reconfigure(Box::new(to))).await.map_err(command)?;
        match Reconfigured::from_reply(&reply) {
            Some(Reconfigured::Effective { .. }) => Ok(()),
            Some(Reconfigured::Refused { .. }) | None => Err(MembershipError::Contended),
        }
    }

    /// Waits until the newcomers are there and have the state, and until the newest configuration
    /// governs and is what is `desired`.
    async fn wait_until_caught_up(
        &self,
        newcomers: &[Member],
        desired: Option<&[Member]>,
    ) -> Result<(), MembershipError> {
        let mut best = u64::MAX;
        let mut since = Instant::now();
        loop {
            let status = self.status().await?;
            let until = desired.map_or(0, |_| status.effective);
            let ahead = until.saturating_sub(status.slot_out);
            let is_desired = desired.is_none_or(|desired| is_as_desired(&status, desired));
            let governs = ahead == 0 && is_desired;
            let lagging = lagging(&status, newcomers, until);
            let behind = ahead + lagging.iter().map(|(_, lag, _)| *lag).sum::<u64>();
            if governs && lagging.is_empty() {
                return Ok(());
            }
            if behind < best {
                (best, since) = (behind, Instant::now());
            }
            if since.elapsed() >= STALLED {
                // Without a laggard, it is a majority of the new members that does not decide.
                let laggard = lagging.into_iter().next();
                let (member, _, why) = laggard.ok_or(ReadError::TimedOut)?;
                let (node, address) = (member.id, member.address.clone());
                return Err(MembershipError::NotCaughtUp { node, address, why });
            }
            self.pause(LOOK).await;
        }
    }
}

fn command<M>(error: CallError<M>) -> MembershipError {
    MembershipError::Command(error.to_string())
}

fn as_member(status: &MemberStatus) -> Member {
    let MemberStatus { node, address, replica, leader, acceptor, .. } = status;
    Member {
        id: *node,
        address: address.clone(),
        replica: *replica,
        leader: *leader,
        acceptor: *acceptor,
    }
}

/// Whether the newest configuration is what is desired.
fn is_as_desired(status: &Status, desired: &[Member]) -> bool {
    let roles = |m: &MemberStatus| m.replica || m.leader || m.acceptor;
    let mut now: Vec<Member> = status.members.iter().filter(|m| roles(m)).map(as_member).collect();
    let mut desired = desired.to_vec();
    now.sort_by_key(|member| member.id);
    desired.sort_by_key(|member| member.id);
    now == desired
}

/// The desired members that do not vote yet, or do not keep the state yet.
fn newcomers(status: &Status, desired: &[Member]) -> Vec<Member> {
    let has_roles = |member: &&Member| {
        let known = status.members.iter().find(|m| m.node == member.id);
        known.is_some_and(|m| m.replica >= member.replica && m.acceptor >= member.acceptor)
    };
    desired.iter().filter(|member| !has_roles(member)).cloned().collect()
}

/// The newcomers that are not there, do not have the state, or have not performed the slots below
/// `until`, with how far they are behind and why.
fn lagging<'a>(
    status: &Status,
    newcomers: &'a [Member],
    until: u64,
) -> Vec<(&'a Member, u64, String)> {
    let lag = |member: &'a Member| {
        let known = status.members.iter().find(|m| m.node == member.id);
        let Some(known) = known.filter(|known| known.connected) else {
            let why = known.and_then(|known| known.problem.clone());
            let why = why.unwrap_or_else(|| "it has not been reached".to_owned());
            return Some((member, ABSENT, why));
        };
        if !member.replica {
            return None;
        }
        // A young cluster is not far ahead of a node that has never said anything.
        let silent = known.slot_out == 0;
        let ahead = until.saturating_sub(known.slot_out);
        let lag = if silent { ABSENT } else { known.lag.max(ahead) };
        (lag > NEAR || ahead > 0).then(|| (member, lag, format!("{} slots are missing", known.lag)))
    };
    newcomers.iter().filter_map(lag).collect()
}
