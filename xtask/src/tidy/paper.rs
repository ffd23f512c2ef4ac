//! The paper's invariants: each has a place in the map of the paper, and a place that would notice
//! if it did not hold.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use proc_macro2::{TokenStream, TokenTree};

use super::Finding;

const MAP: &str = "docs/paper-map.md";
const SOURCES: &str = "crates/paxos/src/";
const TESTS: &str = "crates/paxos/tests/";
const SCRIPTS: &str = "crates/paxos/tests/scripts/";

/// Who can see that an invariant does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SeenBy {
    /// The role itself, which asserts it with `invariant!`.
    Role,
    /// Only somebody who sees all roles at once: a test.
    Everyone,
}

/// All that the paper has, by its own numbers.
const INVARIANTS: [(&str, SeenBy); 12] = [
    ("A1", SeenBy::Role),
    ("A2", SeenBy::Role),
    ("A3", SeenBy::Role),
    ("A4", SeenBy::Everyone),
    ("A5", SeenBy::Everyone),
    ("C1", SeenBy::Role),
    ("C2", SeenBy::Everyone),
    ("R1", SeenBy::Role),
    ("R2", SeenBy::Role),
    ("R3", SeenBy::Role),
    ("R4", SeenBy::Role),
    ("R5", SeenBy::Role),
];

/// What is wrong with the map, the assertions and the scripts among `files`.
pub(crate) fn check(
    files: &BTreeSet<String>,
    read: impl Fn(&str) -> Result<String>,
) -> Result<Vec<Finding>> {
    let map = if files.contains(MAP) { read(MAP)? } else { String::new() };
    let mut asserted = BTreeSet::new();
    let mut tests = String::new();
    let mut findings = Vec::new();
    for file in files {
        if file.starts_with(SOURCES) && file.ends_with(".rs") {
            asserted.extend(assertions(&read(file)?).with_context(|| file.clone())?);
        }
        if file.starts_with(TESTS) {
            let text = read(file)?;
            if file.starts_with(SCRIPTS) && !text.starts_with('#') {
                findings.push(finding(file, "begin with a `#` comment: what the script teaches"));
            }
            tests.push_str(&text);
        }
    }
    for (name, seen_by) in INVARIANTS {
        if !mentions(&map, name) {
            findings.push(finding(MAP, &format!("{name} is missing")));
        }
        match seen_by {
            SeenBy::Role if !asserted.contains(name) => {
                findings.push(finding(SOURCES, &format!("no invariant!({name}, ..)")));
            }
            SeenBy::Everyone if !mentions(&tests, name) => {
                findings.push(finding(TESTS, &format!("no test names {name}")));
            }
            SeenBy::Role | SeenBy::Everyone => {}
        }
    }
    Ok(findings)
}

fn finding(file: &str, what: &str) -> Finding {
    Finding { file: file.to_owned(), line: 1, what: what.to_owned() }
}

/// Whether `name` occurs as a word.
fn mentions(text: &str, name: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric()).any(|word| word == name)
}

/// The names that `invariant!` is called with.
fn assertions(text: &str) -> Result<BTreeSet<String>> {
    let tokens: TokenStream = text.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut names = BTreeSet::new();
    collect(tokens, &mut names);
    Ok(names)
}

fn collect(tokens: TokenStream, names: &mut BTreeSet<String>) {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    for (place, tree) in trees.iter().enumerate() {
        if let TokenTree::Group(group) = tree {
            collect(group.stream(), names);
        }
        if let [TokenTree::Ident(call), TokenTree::Punct(mark), TokenTree::Group(arguments), ..] =
            &trees[place..]
            && call == "invariant"
            && mark.as_char() == '!'
        {
            names.extend(arguments.stream().into_iter().next().map(|name| name.to_string()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYTHING: [(&str, &str); 4] = [
        (MAP, "A1 A2 A3 A4 A5 C1 C2 R1 R2 R3 R4 R5"),
        ("crates/paxos/src/all.rs", ROLES),
        ("crates/paxos/tests/schedule.rs", "// A4, A5 and C2."),
        ("crates/paxos/tests/scripts/duel", "# Section 2.3: two leaders.\n"),
    ];

    const ROLES: &str = "
        fn f() {
            invariant!(A1, x); invariant!(A2, x); invariant!(A3, x); crate::invariant!(C1, x);
            if x { invariant!(R1, x); }
            invariant!(
                R2, x, \"held {x}\"
            );
            invariant!(R3, x); invariant!(R4, x); invariant!(R5, x);
        }";

    /// The findings after `from` was replaced by `to` everywhere.
    fn after(from: &str, to: &str) -> Vec<String> {
        let files: Vec<(String, String)> =
            EVERYTHING.map(|(file, text)| (file.into(), text.replace(from, to))).into();
        let names = files.iter().map(|(file, _)| file.clone()).collect();
        let read = |wanted: &str| {
            let file = files.iter().find(|(file, _)| file == wanted);
            file.map(|(_, text)| text.clone()).context("no such file")
        };
        check(&names, read).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_mapped_and_asserted_is_in_order() {
        assert_eq!(after("", ""), [""; 0]);
    }

    #[test]
    fn an_invariant_needs_its_place_in_the_map() {
        assert_eq!(after("A3 A4", "A4"), ["docs/paper-map.md:1: A3 is missing"]);
    }

    #[test]
    fn an_invariant_of_one_role_is_asserted_there() {
        assert_eq!(
            after("invariant!(C1, x)", "f()"),
            ["crates/paxos/src/:1: no invariant!(C1, ..)"]
        );
        let comment = after("invariant!(R4, x);", "/* invariant!(R4, x); */");
        assert_eq!(comment, ["crates/paxos/src/:1: no invariant!(R4, ..)"]);
    }

    #[test]
    fn an_invariant_of_all_roles_is_tested() {
        assert_eq!(after("A4, A5", "A4"), ["crates/paxos/tests/:1: no test names A5"]);
    }

    #[test]
    fn a_script_begins_by_saying_what_it_teaches() {
        let bare = after("# Section 2.3", "> propose");
        let place = "crates/paxos/tests/scripts/duel:1";
        assert_eq!(bare, [format!("{place}: begin with a `#` comment: what the script teaches")]);
    }

    #[test]
    fn a_name_is_a_whole_word() {
        assert!(mentions("(A1)", "A1"));
        assert!(!mentions("A10, BA1", "A1"));
    }
}
