//! What neither rustfmt nor clippy checks: sizes, headings, leftovers, and that the paper's
//! invariants are written down, asserted and tested.

mod paper;
mod source;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use anyhow::Result;

use crate::tree;

/// Names that say nothing about what a file does.
const NAMELESS: [&str; 5] = ["util", "utils", "common", "helper", "helpers"];

/// Something to put right, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    file: String,
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// Checks every file of the checkout, and says whether all are in order.
pub(crate) fn run() -> Result<bool> {
    let files = tree::files()?;
    let mut findings = names(&files);
    let mut checked = 0;
    for file in files.iter().filter(|file| file.ends_with(".rs")) {
        findings.extend(source::check(file, &tree::read(file)?));
        checked += 1;
    }
    findings.extend(paper::check(&files, tree::read)?);
    for finding in &findings {
        println!("{finding}");
    }
    println!("tidy: {checked} source files, {} to put right", findings.len());
    Ok(findings.is_empty())
}

fn names(files: &BTreeSet<String>) -> Vec<Finding> {
    let nameless = |file: &&String| {
        let name = Path::new(file).with_extension("");
        name.components().any(|part| NAMELESS.iter().any(|bad| part.as_os_str() == *bad))
    };
    let what = "name it after what it does";
    files
        .iter()
        .filter(nameless)
        .map(|file| Finding { file: file.clone(), line: 1, what: what.into() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_or_folder_is_named_after_what_it_does() {
        let names = |file: &str| names(&BTreeSet::from([file.to_owned()])).len();
        assert_eq!(names("crates/paxos/src/scout.rs"), 0);
        assert_eq!(names("crates/paxos/src/common_decree.rs"), 0);
        assert_eq!(names("crates/paxos/src/utils.rs"), 1);
        assert_eq!(names("crates/paxos/tests/common/mod.rs"), 1);
    }
}
