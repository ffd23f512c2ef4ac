//! The list of mutants, as it is written in `xtask/mutants.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Result, bail, ensure};
use serde::Deserialize;

const DEFAULT_TEST: &str = "cargo test --profile ci -p synod-paxos --quiet";

/// One known bug and how to put it back.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mutant {
    pub(crate) name: String,
    /// What the bug is and what it breaks.
    pub(crate) why: String,
    pub(crate) file: String,
    find: String,
    replace: String,
    #[serde(default = "default_test")]
    test: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// The simulator finds it, too, though another test is quicker.
    #[serde(default)]
    simulated: bool,
}

fn default_test() -> String {
    DEFAULT_TEST.to_owned()
}

/// What has to fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Test {
    pub(crate) command: String,
    pub(crate) env: BTreeMap<String, String>,
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.env {
            write!(f, "{name}={value} ")?;
        }
        f.write_str(&self.command)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default, rename = "mutant")]
    mutants: Vec<Mutant>,
}

/// Reads the list. A name is used once, and is also the name of a file.
pub(crate) fn parse(text: &str) -> Result<Vec<Mutant>> {
    let List { mutants } = toml::from_str(text)?;
    let mut names = BTreeSet::new();
    for Mutant { name, find, replace, .. } in &mutants {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        ensure!(
            !name.is_empty() && name.chars().all(plain),
            "{name:?}: use small letters, digits and hyphens"
        );
        ensure!(names.insert(name), "{name} occurs twice");
        ensure!(find != replace, "{name} changes nothing");
    }
    Ok(mutants)
}

impl Mutant {
    /// The text with the bug in it.
    pub(crate) fn apply(&self, text: &str) -> Result<String> {
        ensure!(!self.find.is_empty(), "`find` is empty");
        match text.matches(&self.find).count() {
            1 => Ok(text.replacen(&self.find, &self.replace, 1)),
            count => bail!("`find` occurs {count} times in {}, not once", self.file),
        }
    }

    /// Whether random schedules have to find it.
    pub(crate) fn is_for_seeds(&self) -> bool {
        self.simulated || self.test.ends_with(" seeds")
    }

    /// The test that has to fail.
    pub(crate) fn test(&self) -> Test {
        Test { command: self.test.clone(), env: self.env.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = r"
[[mutant]]
name = 'accept-any-ballot'
why = 'an acceptor accepts below the ballot that it promised (A2)'
file = 'acceptor.rs'
find = '''
if ballot >= held {
'''
replace = '''
if true {
'''
";

    #[test]
    fn an_entry_has_the_usual_test_unless_it_names_another() {
        let [mutant] = parse(ENTRY).unwrap().try_into().unwrap();
        assert_eq!(mutant.test().to_string(), DEFAULT_TEST);

        let other = format!("{ENTRY}test = 'cargo test'\nenv = {{ SYNOD_SEEDS = '20000' }}");
        let [mutant] = parse(&other).unwrap().try_into().unwrap();
        assert_eq!(mutant.test().to_string(), "SYNOD_SEEDS=20000 cargo test");
    }

    #[test]
    fn a_mutant_replaces_the_one_place_that_it_names() {
        let [mutant] = parse(ENTRY).unwrap().try_into().unwrap();
        let mutated = mutant.apply("{\nif ballot >= held {\n}\n").unwrap();
        assert_eq!(mutated, "{\nif true {\n}\n");
    }

    #[test]
    fn a_list_that_has_rotted_says_how_often_the_place_occurs() {
        let [mutant] = parse(ENTRY).unwrap().try_into().unwrap();
        let error = |text: &str| mutant.apply(text).unwrap_err().to_string();
        assert_eq!(error(""), "`find` occurs 0 times in acceptor.rs, not once");
        let twice = "if ballot >= held {\n".repeat(2);
        assert_eq!(error(&twice), "`find` occurs 2 times in acceptor.rs, not once");
    }

    #[test]
    fn a_careless_list_is_refused() {
        let error = |text: &str| parse(text).unwrap_err().to_string();
        assert_eq!(error(&ENTRY.repeat(2)), "accept-any-ballot occurs twice");
        assert!(error(&ENTRY.replace("accept-any", "../any")).contains("use small letters"));
        assert!(error(&ENTRY.replace("if true {", "if ballot >= held {")).contains("nothing"));
        assert!(error(&ENTRY.replace("why", "reason")).contains("unknown field"));
        assert!(parse("# only comments").unwrap().is_empty());
    }
}
