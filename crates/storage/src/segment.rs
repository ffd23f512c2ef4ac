//! A segment: one file of the log.
//!
//! ```text
//! | title, 4 KiB | the title again, 4 KiB | records, barriers | zeros, or an old segment's |
//! ```
//!
//! The title says whose segment it is, and what was known when it was begun: so a segment can go
//! as soon as its own pvalues are collected. It is written together with the first records, and
//! in two copies, for it holds promises.

use synod_paxos::{Ballot, NodeId, Record, Slot};

use crate::{
    identity::Identity,
    layout::{self, FIELDS, put_u32, put_u64, u32_at, u64_at},
};

const MAGIC: [u8; 8] = *b"SYNODLOG";
/// The length of a title's meaningful part.
pub(crate) const TITLE: usize = 128;
/// The copies are in different pages.
pub(crate) const SECOND: usize = 4096;
/// Where the records begin.
pub(crate) const FIRST_RECORD: u64 = 8192;
/// The length of both copies.
pub(crate) const TITLES: usize = 8192;

/// The name of the file of segment `number`.
pub(crate) fn name(number: u64) -> String {
    format!("log-{number:08}.seg")
}

/// A file's name while it is made.
pub(crate) fn name_aside(number: u64) -> String {
    format!("log-{number:08}.tmp")
}

/// The number of the segment whose file has this name.
pub(crate) fn number(file: &str) -> Option<u64> {
    let number = file.strip_prefix("log-")?.strip_suffix(".seg")?.parse().ok()?;
    (name(number) == file).then_some(number)
}

/// What all records up to some point come to, without the pvalues.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct State {
    /// The highest life that was started.
    pub(crate) started: u32,
    /// The highest ballot that the leader has used.
    pub(crate) campaigned: Ballot,
    /// The highest ballot that the acceptor has adopted.
    pub(crate) adopted: Ballot,
    /// The acceptor has collected everything below.
    pub(crate) collected: Slot,
}

impl State {
    pub(crate) const EMPTY: Self = Self {
        started: 0,
        campaigned: Ballot::BOTTOM,
        adopted: Ballot::BOTTOM,
        collected: Slot(0),
    };

    pub(crate) fn add(&mut self, record: &Record) {
        match record {
            Record::Started(life) => self.started = self.started.max(*life),
            Record::Campaigned(ballot) => self.campaigned = self.campaigned.max(*ballot),
            Record::Adopted(ballot) => self.adopted = self.adopted.max(*ballot),
            // To accept is to adopt.
            Record::Accepted(pvalue) => self.adopted = self.adopted.max(pvalue.ballot),
            Record::Lost { ballot, .. } => self.adopted = self.adopted.max(*ballot),
            Record::Collected(slot) => self.collected = self.collected.max(*slot),
            Record::Learned { .. } | Record::Performed { .. } => {}
        }
    }

    /// The records that make this state.
    pub(crate) fn records(self) -> impl Iterator<Item = Record> {
        let started = (self.started > 0).then_some(Record::Started(self.started));
        let used = |ballot| ballot > Ballot::BOTTOM;
        let campaigned = used(self.campaigned).then_some(Record::Campaigned(self.campaigned));
        let collected = (self.collected > Slot(0)).then_some(Record::Collected(self.collected));
        let adopted = used(self.adopted).then_some(Record::Adopted(self.adopted));
        [started, campaigned, collected, adopted].into_iter().flatten()
    }
}

/// The title of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Title {
    pub(crate) identity: Identity,
    pub(crate) number: u64,
    /// The length of the file in bytes.
    pub(crate) len: u64,
    /// The number of the segment's first record. Everything before it is synced.
    pub(crate) first: u64,
    /// The segments below this number are not needed any more.
    pub(crate) oldest: u64,
    /// The checksum of the last header before the segment.
    pub(crate) chain: u32,
    /// What everything before the segment's first record comes to.
    pub(crate) state: State,
}

/// What the first bytes of a segment's file are.
pub(crate) enum Found {
    Title(Title),
    /// Another version of the format.
    Version(u32),
    /// Nothing that this program has written: a spare, or damage.
    Nothing,
}

impl Title {
    /// Puts both copies into `block`, which is [`TITLES`] long and zero.
    pub(crate) fn encode(&self, block: &mut [u8]) {
        let title = &mut block[..TITLE];
        put_u64(title, FIELDS, self.identity.cluster);
        put_u64(title, FIELDS + 8, self.identity.birth);
        put_u32(title, FIELDS + 16, self.identity.node.0);
        put_u32(title, FIELDS + 20, self.chain);
        put_u64(title, FIELDS + 24, self.number);
        put_u64(title, FIELDS + 32, self.len);
        put_u64(title, FIELDS + 40, self.first);
        put_u64(title, FIELDS + 48, self.oldest);
        put_u32(title, FIELDS + 56, self.state.started);
        put_ballot(title, FIELDS + 60, self.state.campaigned);
        put_ballot(title, FIELDS + 76, self.state.adopted);
        put_u64(title, FIELDS + 92, self.state.collected.0);
        layout::seal(title, MAGIC);
        block.copy_within(..TITLE, SECOND);
    }

    /// Reads the first [`TITLES`] bytes of a file, or what there is of them.
    pub(crate) fn decode(bytes: &[u8]) -> Found {
        let mut found = Found::Nothing;
        for title in [bytes.get(..TITLE), bytes.get(SECOND..SECOND + TITLE)].into_iter().flatten() {
            match (layout::version(title, MAGIC), &found) {
                (Some(layout::FORMAT), Found::Title(first)) => {
                    // An old segment's title behind a new one's: the new one's write was torn.
                    let second = Self::fields(title);
                    if second.number > first.number {
                        found = Found::Title(second);
                    }
                }
                (Some(layout::FORMAT), Found::Version(_) | Found::Nothing) => {
                    found = Found::Title(Self::fields(title));
                }
                (Some(version), Found::Nothing) => found = Found::Version(version),
                (Some(_), Found::Title(_) | Found::Version(_)) | (None, _) => {}
            }
        }
        found
    }

    fn fields(title: &[u8]) -> Self {
        let identity = Identity {
            cluster: u64_at(title, FIELDS),
            birth: u64_at(title, FIELDS + 8),
            node: NodeId(u32_at(title, FIELDS + 16)),
        };
        let state = State {
            started: u32_at(title, FIELDS + 56),
            campaigned: ballot_at(title, FIELDS + 60),
            adopted: ballot_at(title, FIELDS + 76),
            collected: Slot(u64_at(title, FIELDS + 92)),
        };
        Self {
            identity,
            chain: u32_at(title, FIELDS + 20),
            number: u64_at(title, FIELDS + 24),
            len: u64_at(title, FIELDS + 32),
            first: u64_at(title, FIELDS + 40),
            oldest: u64_at(title, FIELDS + 48),
            state,
        }
    }
}

fn put_ballot(bytes: &mut [u8], at: usize, ballot: Ballot) {
    put_u64(bytes, at, ballot.round);
    put_u32(bytes, at + 8, ballot.incarnation);
    put_u32(bytes, at + 12, ballot.leader.0);
}

fn ballot_at(bytes: &[u8], at: usize) -> Ballot {
    Ballot {
        round: u64_at(bytes, at),
        incarnation: u32_at(bytes, at + 8),
        leader: NodeId(u32_at(bytes, at + 12)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_titles_that_differ_the_newer_one_counts_wherever_it_is() {
        let block = |number| {
            let identity = Identity { cluster: 1, birth: 2, node: NodeId(3) };
            let (len, first, oldest, chain, state) = (16 << 10, 1, 1, 0, State::EMPTY);
            let mut block = vec![0; TITLES];
            Title { identity, number, len, first, oldest, chain, state }.encode(&mut block);
            block
        };
        for (first, second) in [(3, 9), (9, 3), (9, 9)] {
            let bytes = [&block(first)[..SECOND], &block(second)[SECOND..]].concat();
            let Found::Title(title) = Title::decode(&bytes) else { panic!("both are intact") };
            assert_eq!(title.number, 9);
        }
    }
}
