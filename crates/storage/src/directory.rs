//! A directory of a real disk.

mod reclaim;

use std::{
    fs::{self, OpenOptions, TryLockError},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{fs::FallocateFlags, io::Errno};

use self::reclaim::Reclaimer;
use crate::disk::{Disk, File};

/// The name of the file whose lock is the lock of the directory. It is always empty.
const LOCK: &str = "LOCK";

/// A directory of a real disk.
///
/// The lock is the operating system's (`flock` on Linux): it ends with the process, however the
/// process ends, so nothing is ever left locked. On a network file system, it holds among the
/// processes of one machine only.
#[derive(Clone, Debug)]
pub struct Directory {
    path: Arc<Path>,
    reclaimer: Arc<Reclaimer>,
}

impl Directory {
    /// The directory at `path`. It is made if it is not there.
    ///
    /// # Errors
    /// When the directory cannot be made, or is a file.
    pub fn new(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.is_dir();
        let made: Vec<&Path> = path.ancestors().take_while(missing).collect();
        fs::create_dir_all(&path)?;
        // The names of the new folders must survive, too.
        for parent in made.into_iter().filter_map(Path::parent) {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            fs::File::open(parent)?.sync_all()?;
        }
        Ok(Self { path: path.into(), reclaimer: Arc::default() })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Disk for Directory {
    type File = fs::File;
    type Lock = fs::File;

    fn create(&self, name: &str) -> io::Result<fs::File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).open(self.path.join(name))
    }

    fn open(&self, name: &str) -> io::Result<fs::File> {
        OpenOptions::new().read(true).write(true).open(self.path.join(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // A name that is not Unicode is nobody's that this crate knows.
            if let Ok(name) = entry.file_name().into_string()
                && !entry.file_type()?.is_dir()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn discard(&self, name: &str) -> io::Result<()> {
        let file = self.open(name);
        self.remove(name)?;
        if let Ok(file) = file {
            self.reclaimer.take(file);
        }
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        fs::File::open(&self.path)?.sync_all()
    }

    fn lock(&self) -> io::Result<Option<fs::File>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(self.path.join(LOCK))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl File for fs::File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, FallocateFlags::empty(), 0, len) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
