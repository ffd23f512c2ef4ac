//! A source of numbers for each domain, so that what is drawn in one shifts nothing in another.
//!
//! A source draws its numbers from the seed, or it is told them by a plan: then nothing depends on
//! how they were drawn once. Each number counts from the least that is possible, and what a plan
//! does not tell is 0: nothing takes longer than it must, nothing is lost, nothing is chosen but
//! the first.

use std::{
    collections::BTreeMap,
    ops::{Range, RangeInclusive},
};

use fastrand::Rng;

use crate::plan::{Draws, Told};

/// All sources of a run.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    pub(crate) network: Stream,
    pub(crate) disk: Stream,
    pub(crate) process: Stream,
    pub(crate) client: Stream,
    pub(crate) operator: Stream,
}

impl Streams {
    pub(crate) fn new(seed: u64, draws: Option<&Draws>) -> Self {
        let source = |domain, told: fn(&Draws) -> &Told| {
            let source = match draws {
                Some(draws) => Source::Told(told(draws).0.iter().copied().collect()),
                None => Source::Drawn(rng(seed, domain)),
            };
            Stream { source, count: 0, given: Vec::new() }
        };
        Self {
            network: source(1, |draws| &draws.network),
            disk: source(2, |draws| &draws.disk),
            process: source(3, |draws| &draws.process),
            client: source(4, |draws| &draws.client),
            operator: source(5, |draws| &draws.operator),
        }
    }

    /// All that was given, for a plan to tell.
    pub(crate) fn draws(&self) -> Draws {
        let Self { network, disk, process, client, operator } = self;
        Draws {
            network: network.told(),
            disk: disk.told(),
            process: process.told(),
            client: client.told(),
            operator: operator.told(),
        }
    }
}

/// The generator for one domain.
pub(crate) fn rng(seed: u64, domain: u64) -> Rng {
    let mut rng = Rng::with_seed(seed ^ domain.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    Rng::with_seed(rng.u64(..))
}

/// The source of one domain.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    source: Source,
    /// How many numbers it has given.
    count: u64,
    /// Those that were not 0, and which ones they were.
    given: Vec<(u64, u64)>,
}

#[derive(Clone, Debug)]
enum Source {
    Drawn(Rng),
    Told(BTreeMap<u64, u64>),
}

impl Stream {
    /// A number up to `most`.
    pub(crate) fn give(&mut self, most: u64, draw: impl FnOnce(&mut Rng) -> u64) -> u64 {
        let next = self.count;
        let number = match &mut self.source {
            Source::Drawn(rng) => draw(rng),
            Source::Told(told) => told.get(&next).map_or(0, |told| most.min(*told)),
        };
        self.count += 1;
        if number > 0 {
            self.given.push((next, number));
        }
        number
    }

    /// Any number.
    pub(crate) fn any(&mut self) -> u64 {
        self.give(u64::MAX, |rng| rng.u64(..))
    }

    pub(crate) fn u64(&mut self, range: RangeInclusive<u64>) -> u64 {
        let least = *range.start();
        least + self.give(range.end() - least, |rng| rng.u64(range) - least)
    }

    pub(crate) fn u32(&mut self, range: Range<u32>) -> u32 {
        let (least, most) = (range.start, range.end - 1 - range.start);
        let given = self.give(most.into(), |rng| (rng.u32(range) - least).into());
        least + u32::try_from(given).unwrap_or(most)
    }

    pub(crate) fn usize(&mut self, range: Range<usize>) -> usize {
        let (least, most) = (range.start, range.end - 1 - range.start);
        let given = self.give(most as u64, |rng| (rng.usize(range) - least) as u64);
        least + usize::try_from(given).unwrap_or(most)
    }

    /// Whether something happens that does so in `rate` of 1,000 cases.
    pub(crate) fn happens(&mut self, rate: u32) -> bool {
        self.give(1, |rng| u64::from(rng.u32(0..1000) < rate)) == 1
    }

    /// A number that no other of this source is the same as.
    pub(crate) fn name(&mut self, least: u64) -> u64 {
        let next = self.count;
        match self.give(u64::MAX, |rng| rng.u64(least..)) {
            0 => next + 1,
            name => name,
        }
    }

    pub(crate) fn choice<'a, T>(&mut self, among: &'a [T]) -> Option<&'a T> {
        if among.is_empty() { None } else { among.get(self.usize(0..among.len())) }
    }

    pub(crate) fn shuffle<T>(&mut self, all: &mut [T]) {
        for i in 1..all.len() {
            all.swap(i, self.usize(0..i + 1));
        }
    }

    /// For a user's state machine, which draws as it likes: told is only where it begins.
    pub(crate) fn lend<R>(&mut self, draw: impl FnOnce(&mut Rng) -> R) -> R {
        let begins = self.give(u64::MAX, |rng| rng.get_seed());
        match &mut self.source {
            Source::Drawn(rng) => draw(rng),
            Source::Told(_) => draw(&mut Rng::with_seed(begins)),
        }
    }

    /// What was given, but for what is the least.
    fn told(&self) -> Told {
        Told(self.given.clone())
    }
}
