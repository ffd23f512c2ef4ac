//! The files of the checkout: those that git knows, and new ones that it does not ignore.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace")
}

/// Every file of the checkout, relative to the root, in order.
pub(crate) fn files() -> Result<BTreeSet<String>> {
    let git = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .context("git does not start")?;
    ensure!(git.status.success(), "git ls-files: {}", String::from_utf8_lossy(&git.stderr).trim());
    let names = String::from_utf8(git.stdout).context("a file name is not UTF-8")?;
    // A file that was deleted but not yet staged is still listed.
    let present = |name: &&str| root().join(name).is_file();
    Ok(names.split_terminator('\0').filter(present).map(str::to_owned).collect())
}

/// The text of one file of the checkout.
pub(crate) fn read(file: &str) -> Result<String> {
    fs::read_to_string(root().join(file)).with_context(|| file.to_owned())
}

/// Makes `to` hold exactly `files` of `from`.
///
/// A file that is the same already keeps its time of modification, so that cargo does not compile
/// it again.
pub(crate) fn mirror(from: &Path, to: &Path, files: &BTreeSet<String>) -> Result<()> {
    let wanted: BTreeSet<PathBuf> = files.iter().map(|file| to.join(file)).collect();
    for stale in files_below(to)?.difference(&wanted) {
        fs::remove_file(stale).with_context(|| stale.display().to_string())?;
    }
    for file in files {
        let (source, copy) = (from.join(file), to.join(file));
        let content = fs::read(&source).with_context(|| source.display().to_string())?;
        if fs::read(&copy).is_ok_and(|old| old == content) {
            continue;
        }
        let folder = copy.parent().expect("a file is in a folder");
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        fs::write(&copy, content).with_context(|| copy.display().to_string())?;
    }
    Ok(())
}

fn files_below(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop().filter(|folder| folder.is_dir()) {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                found.insert(entry.path());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_mirror_holds_the_files_asked_for_and_no_others() {
        let place = std::env::temp_dir().join(format!("xtask-mirror-{}", std::process::id()));
        let (from, to) = (place.join("from"), place.join("to"));
        fs::create_dir_all(from.join("src")).unwrap();
        fs::create_dir_all(to.join("src")).unwrap();
        fs::write(from.join("src/a.rs"), "new").unwrap();
        fs::write(from.join("src/ignored.rs"), "").unwrap();
        fs::write(to.join("src/a.rs"), "left by a mutant").unwrap();
        fs::write(to.join("src/gone.rs"), "").unwrap();

        mirror(&from, &to, &names(&["src/a.rs"])).unwrap();

        assert_eq!(files_below(&to).unwrap(), BTreeSet::from([to.join("src/a.rs")]));
        assert_eq!(fs::read_to_string(to.join("src/a.rs")).unwrap(), "new");

        let written = fs::metadata(to.join("src/a.rs")).unwrap().modified().unwrap();
        mirror(&from, &to, &names(&["src/a.rs"])).unwrap();
        let now = fs::metadata(to.join("src/a.rs")).unwrap().modified().unwrap();
        assert_eq!(written, now, "an unchanged file was written again");
        fs::remove_dir_all(place).unwrap();
    }
}
