//! What happens to what is sent: when it arrives, if it does, and how often.

use synod_paxos::NodeId;

use crate::{
    ghost::{Set, bit},
    plan::Network,
    queue::Time,
    streams::Streams,
};

/// What a rule does to the messages that it is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Deed {
    /// So many of a thousand are lost.
    Lose(u32),
    /// They arrive when the rule ends.
    Hold,
    /// They take so much longer.
    Slow(Time),
    /// So many of a thousand arrive as bytes that are no message.
    Garble(u32),
}

/// Something that is wrong with the network for a while.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) from: Set,
    pub(crate) to: Set,
    /// Of this kind; of every kind if there is none.
    pub(crate) kind: Option<String>,
    pub(crate) deed: Deed,
    pub(crate) until: Time,
}

/// The network between the nodes.
pub(crate) struct Wires {
    pub(crate) settings: Network,
    pub(crate) rules: Vec<Rule>,
    /// When the last message arrives, by sender and receiver.
    last: Vec<Time>,
    pub(crate) calm: bool,
}

const US: Time = 1000;

impl Wires {
    pub(crate) fn new(settings: Network) -> Self {
        Self { settings, rules: Vec::new(), last: vec![0; 64 * 64], calm: false }
    }

    /// How long something takes.
    pub(crate) fn latency(&self, streams: &mut Streams) -> Time {
        let (least, more) = self.settings.latency;
        let rng = &mut streams.network;
        let mut latency = least * US + rng.u64(0..=more * US);
        if !self.calm && self.settings.late > 0 && rng.happens(self.settings.late) {
            latency *= rng.u64(2..=100);
        }
        latency
    }

    /// When a message arrives; never, if it is lost.
    pub(crate) fn arrival(
        &mut self,
        now: Time,
        (from, to): (NodeId, NodeId),
        kind: &str,
        streams: &mut Streams,
    ) -> Option<Time> {
        let mut at = now + self.latency(streams);
        if !self.calm {
            if self.settings.lost > 0 && streams.network.happens(self.settings.lost) {
                return None;
            }
            let about = |rule: &&Rule| {
                rule.from & bit(from) != 0
                    && rule.to & bit(to) != 0
                    && rule.until > now
                    && rule.kind.as_ref().is_none_or(|of| of == kind)
            };
            for rule in self.rules.iter().filter(about) {
                match rule.deed {
                    Deed::Lose(rate) if streams.network.happens(rate) => return None,
                    Deed::Lose(_) | Deed::Garble(_) => {}
                    Deed::Hold => at = at.max(rule.until + at - now),
                    Deed::Slow(by) => at += by,
                }
            }
        }
        if self.settings.in_order {
            let last = &mut self.last[((from.0 & 63) * 64 + (to.0 & 63)) as usize];
            at = at.max(*last);
            *last = at;
        }
        Some(at)
    }

    /// Whether a message is garbled now.
    pub(crate) fn garbles(&self, from: NodeId, now: Time, streams: &mut Streams) -> bool {
        let rate = |rule: &Rule| match rule.deed {
            Deed::Garble(rate) if rule.from & bit(from) != 0 && rule.until > now => Some(rate),
            Deed::Garble(_) | Deed::Lose(_) | Deed::Hold | Deed::Slow(_) => None,
        };
        let rate = self.rules.iter().find_map(rate);
        rate.is_some_and(|rate| !self.calm && streams.network.happens(rate))
    }

    /// Whether messages of this kind are held back now.
    pub(crate) fn holds(&self, from: NodeId, kind: &str, now: Time) -> bool {
        self.rules.iter().any(|rule| {
            let about = rule.from & bit(from) != 0 && rule.kind.as_deref() == Some(kind);
            about && rule.deed == Deed::Hold && rule.until > now
        })
    }

    /// Whether it arrives twice, and when the second time.
    pub(crate) fn second(&self, at: Time, streams: &mut Streams) -> Option<Time> {
        let doubled = self.settings.doubled;
        if self.calm || doubled == 0 || !streams.network.happens(doubled) {
            return None;
        }
        let late = self.latency(streams);
        Some(at + late * streams.network.u64(1..=200))
    }
}
