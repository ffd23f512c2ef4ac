//! How many seeds of the simulator it takes to find a mutant.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Result, bail};

use super::list::Test;
use super::verdict::{self, Verdict};
use crate::process::Ending;

/// From how many places the search begins, so far apart that no seed is run twice.
const PLACES: u64 = 5;
const APART: u64 = 10_000_000;
/// The place of the median among them.
const MIDDLE: usize = 2;

/// What the searches came to: which property showed the bug, and after how many seeds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Search {
    most: u64,
    found: Vec<(u64, String)>,
}

impl Search {
    /// In most of the searches.
    pub(crate) fn is_found(&self) -> bool {
        self.median().is_some()
    }

    fn median(&self) -> Option<u64> {
        let mut counts: Vec<u64> = self.found.iter().map(|(count, _)| *count).collect();
        counts.sort_unstable();
        counts.into_iter().nth(MIDDLE)
    }
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.median() {
            Some(median) => write!(f, "{median}")?,
            None => write!(f, "> {}", self.most)?,
        }
        let mut properties: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, property) in &self.found {
            *properties.entry(property).or_default() += 1;
        }
        let mut properties: Vec<_> = properties.into_iter().collect();
        properties.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        for (property, count) in properties {
            write!(f, ", {property} ({count} of {PLACES})")?;
        }
        Ok(())
    }
}

/// Runs the simulator's seeds with `run` from each place, at most `most` of them.
pub(crate) fn search(most: u64, run: impl Fn(&Test) -> Result<(Ending, String)>) -> Result<Search> {
    let mut found = Vec::new();
    for from in (0..PLACES).map(|place| place * APART) {
        let command = "cargo test --profile ci -p synod-sim --test seeds seeds".to_owned();
        let env = [("SYNOD_FROM", from), ("SYNOD_SEEDS", most)];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_string())).into();
        let (ending, output) = run(&Test { command, env })?;
        match verdict::read(ending, &output) {
            Verdict::Survived => {}
            Verdict::DoesNotBuild { error } => bail!("does not build: {error}"),
            Verdict::Caught { by } => match failed_seed(&output) {
                Some((seed, property)) => found.push((seed.saturating_sub(from) + 1, property)),
                None => bail!("the simulator failed otherwise: {by}"),
            },
        }
    }
    Ok(Search { most, found })
}

/// "seed 7 violates AC1: what was seen"
fn failed_seed(output: &str) -> Option<(u64, String)> {
    let line = output.lines().find_map(|line| line.strip_prefix("seed "))?;
    let (seed, rest) = line.split_once(" violates ")?;
    let (property, _) = rest.split_once(':')?;
    Some((seed.parse().ok()?, property.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn answer(code: i32, output: &str) -> Result<(Ending, String)> {
        Ok((Ending::Exited(ExitStatus::from_raw(code << 8)), output.to_owned()))
    }

    #[test]
    fn the_median_is_of_five_searches_with_their_properties() {
        let search = search(100, |test| {
            let from: u64 = test.env["SYNOD_FROM"].parse().unwrap();
            match from / APART {
                0 => answer(0, "test seeds ... ok"),
                1 => answer(101, "thread 'seeds'\nseed 10000001 violates AC1: it fell"),
                place => answer(101, &format!("seed {} violates G3: no", from + place * 10)),
            }
        });
        assert_eq!(search.unwrap().to_string(), "31, G3 (3 of 5), AC1 (1 of 5)");
    }

    #[test]
    fn what_two_of_five_find_is_not_found() {
        let search = search(100, |test| match test.env["SYNOD_FROM"].len() {
            1 => answer(101, "seed 3 violates C1: stale"),
            _ => answer(0, ""),
        });
        let search = search.unwrap();
        assert!(!search.is_found());
        assert_eq!(search.to_string(), "> 100, C1 (1 of 5)");
    }

    #[test]
    fn a_simulator_that_fails_otherwise_proves_nothing() {
        assert!(search(1, |_| answer(101, "too little happened")).is_err());
        assert!(search(1, |_| answer(101, "error: could not compile `x`")).is_err());
    }
}
