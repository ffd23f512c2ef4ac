//! Disks that fail, hang or are full, for real processes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// The variable that tells the preloaded library where its control file is.
const CONTROL: &str = "FSYNC_CONTROL";

/// The library that is preloaded to interfere with `fsync` and `fdatasync`, compiled on first use.
///
/// It interferes with calls of the C library's functions, such as those of `std::fs`, not with
/// system calls that a program makes by itself.
pub(crate) fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        // Under a name of its own first, as another test program may be using the library.
        let draft = folder.join(format!("fsync-{}.so", std::process::id()));
        let source = draft.with_extension("c");
        fs::write(&source, include_str!("shim.c")).expect("a writable folder");
        let shim = folder.join("fsync.so");
        let cc = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .args([&draft, &source])
            .output()
            .expect("these tests need a C compiler under the name of `cc`, as linking does");
        assert!(cc.status.success(), "cc: {}", String::from_utf8_lossy(&cc.stderr));
        fs::rename(&draft, &shim).expect("a writable folder");
        fs::remove_file(source).expect("a writable folder");
        shim
    })
}

/// What becomes of a node's calls of `fsync` and `fdatasync`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Syncs {
    Work,
    /// Every call fails with EIO.
    Fail,
    /// The next `fdatasync` fails with EIO; what comes after it works, as if all had been written.
    FailOnce,
    /// Calls do not return.
    Hang,
    /// Calls take longer by this.
    Slow(Duration),
}

/// The control file of one node.
#[derive(Clone, Debug)]
pub(crate) struct FsyncControl(PathBuf);

impl FsyncControl {
    pub(crate) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Puts a command, not started yet, under this control.
    pub(crate) fn preload(&self, command: &mut Command) {
        command.env("LD_PRELOAD", shim()).env(CONTROL, &self.0);
    }

    /// From now on, for every call that has not returned.
    pub(crate) fn set(&self, syncs: Syncs) {
        let text = match syncs {
            Syncs::Work => return drop(fs::remove_file(&self.0)),
            Syncs::Fail => "fail".to_owned(),
            Syncs::FailOnce => "once".to_owned(),
            Syncs::Hang => "hang".to_owned(),
            Syncs::Slow(by) => format!("slow {}", by.as_millis()),
        };
        let draft = self.0.with_extension("draft");
        fs::write(&draft, text).expect("a writable folder");
        fs::rename(&draft, &self.0).expect("a writable folder");
    }

    /// How many calls were interfered with so far.
    pub(crate) fn seen(&self) -> u64 {
        let mut seen = self.0.clone().into_os_string();
        seen.push(".seen");
        fs::metadata(seen).map_or(0, |file| file.len())
    }

    /// Waits until one more call than `before` was interfered with: without that, a scenario
    /// would show nothing.
    pub(crate) fn must_bite(&self, before: u64) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.seen() <= before {
            assert!(Instant::now() < deadline, "no fsync of the C library was called in 20 s");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A file system of limited size, in memory.
#[derive(Debug)]
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of so many bytes on an empty folder.
    ///
    /// # Errors
    /// Usually because only root may do so, and not in every container.
    pub(crate) fn mount(folder: &Path, bytes: u64) -> io::Result<Self> {
        unmount_leftovers();
        fs::create_dir_all(folder)?;
        let size = std::ffi::CString::new(format!("size={bytes}")).expect("no zero byte in it");
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("tmpfs", folder, "tmpfs", flags, size.as_c_str())?;
        Ok(Self(folder.to_owned()))
    }

    /// Takes all of the room that is left.
    pub(crate) fn fill(&self) {
        let mut ballast = File::create(self.ballast()).expect("room for a name");
        for size in [1 << 20, 1 << 12] {
            while ballast.write_all(&vec![7; size]).is_ok() {}
        }
    }

    /// Gives that room back.
    pub(crate) fn relieve(&self) {
        // A process that is just being started by another thread may hold the file for a moment.
        let ballast = OpenOptions::new().write(true).open(self.ballast());
        let emptied = ballast.and_then(|file| file.set_len(0));
        let removed = emptied.and_then(|()| fs::remove_file(self.ballast()));
        removed.expect("the disk was filled before");
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Detached, it vanishes with the last file that is open in it.
        if let Err(error) = unmount(&self.0, UnmountFlags::DETACH) {
            eprintln!("{} stays mounted: {error}", self.0.display());
        }
    }
}

/// Where the name of a folder says whose it is, for [`unmount_leftovers`].
pub(crate) fn folder_prefix(name: &str) -> String {
    format!("{name}.{}.", std::process::id())
}

/// Unmounts what test programs that were killed have left behind.
fn unmount_leftovers() {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    for place in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        let place = Path::new(place);
        let Ok(inside) = place.strip_prefix(env!("CARGO_TARGET_TMPDIR")) else { continue };
        let program = inside.to_str().and_then(|inside| inside.split('.').nth(1));
        if program.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            // Another test program may be doing the same.
            unmount(place, UnmountFlags::DETACH).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Child;

    /// A program that writes a file and syncs it.
    fn sync(control: &FsyncControl, folder: &Path) -> Child {
        let file = folder.join("synced");
        fs::write(&file, "data").unwrap();
        let mut command = Command::new("sync");
        control.preload(&mut command);
        let quiet = std::process::Stdio::null();
        command.arg("-d").arg(file).stderr(quiet).spawn().expect("coreutils' sync")
    }

    fn control() -> (tempfile::TempDir, FsyncControl) {
        let folder = tempfile::tempdir().unwrap();
        let control = FsyncControl::at(folder.path().join("control"));
        (folder, control)
    }

    #[test]
    fn syncs_fail_as_long_as_they_are_told_to() {
        let (folder, control) = control();
        let succeeds = || sync(&control, folder.path()).wait().unwrap().success();
        assert!(succeeds());
        assert_eq!(control.seen(), 0);
        control.set(Syncs::Fail);
        assert!(!succeeds());
        assert!(!succeeds());
        control.must_bite(1);
        control.set(Syncs::Work);
        assert!(succeeds());
        control.set(Syncs::FailOnce);
        assert!(!succeeds());
        assert!(succeeds());
        assert_eq!(control.seen(), 3);
    }

    #[test]
    fn syncs_hang_until_they_are_released() {
        let (folder, control) = control();
        control.set(Syncs::Hang);
        let mut child = sync(&control, folder.path());
        control.must_bite(0);
        std::thread::sleep(Duration::from_millis(50));
        assert!(child.try_wait().unwrap().is_none());
        control.set(Syncs::Work);
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn syncs_are_slow() {
        let (folder, control) = control();
        control.set(Syncs::Slow(Duration::from_millis(120)));
        let start = Instant::now();
        assert!(sync(&control, folder.path()).wait().unwrap().success());
        assert!(start.elapsed() >= Duration::from_millis(120));
    }

    #[test]
    fn a_small_disk_is_full_and_has_room_again() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("disk");
        let Ok(disk) = SmallDisk::mount(&place, 4 << 20) else {
            return crate::cluster::skipped("a small disk", "no permission to mount one");
        };
        let data = |name: &str| fs::write(place.join(name), [7; 100_000]);
        data("before").unwrap();
        disk.fill();
        assert_eq!(data("full").unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.relieve();
        data("after").unwrap();
        drop(disk);
        assert_eq!(fs::read_dir(place).unwrap().count(), 0, "it is still mounted");
    }
}
