//! The seam to the disk: one directory and its files, real or simulated.
//!
//! Everything that this crate asks of a disk is here. What it may rely on is little: bytes
//! written are there after a crash if [`File::sync`] returned `Ok` after them, a name made,
//! changed or removed is so after a crash if [`Disk::sync_dir`] returned `Ok` after it, and a
//! rename is never half done. Whatever was not synced may be there, or not, or in parts.

use std::io;

/// One directory. A clone is another handle of the same directory.
pub trait Disk: Clone + Send + 'static {
    /// An open file.
    type File: File;
    /// Held as long as it is not dropped.
    type Lock: Send;

    /// A new, empty file, open for reading and writing. An old one of this name is emptied.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// An existing file, open for reading and writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is none; whatever else the disk says.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// The names of all files, in any order. Folders are left out.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Gives a file another name; an old file of that name is gone. Open handles stay valid.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Handles that are open go on reading it.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Removes a file that nobody has open any more, and gives its space back little by little:
    /// while a disk frees much at once, syncs of other files wait. Until [`Disk::sync_dir`], a
    /// crash may leave the name with any beginning of the file.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn discard(&self, name: &str) -> io::Result<()>;

    /// Makes all that `create`, `rename`, `remove` and `discard` did survive a crash.
    ///
    /// # Errors
    /// Whatever the disk says. What was done to names before is then in doubt.
    fn sync_dir(&self) -> io::Result<()>;

    /// Keeps every other process, and every other owner in this one, out of the directory.
    /// `None` if another one has the lock.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn lock(&self) -> io::Result<Option<Self::Lock>>;
}

/// An open file. Offsets and lengths are in bytes.
#[expect(clippy::len_without_is_empty, reason = "a length that has to be asked of a disk")]
pub trait File: Send + 'static {
    /// The length of the file.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn len(&self) -> io::Result<u64>;

    /// Reads from `offset` on, and says how many bytes; 0 only at the end of the file or for an
    /// empty buffer.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`. The file grows if need be.
    ///
    /// # Errors
    /// Whatever the disk says; some of the bytes may be written then.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes all that was written survive a crash (`fdatasync`).
    ///
    /// # Errors
    /// Whatever the disk says. What was written before is then in doubt for ever: another sync
    /// that succeeds proves nothing about it.
    fn sync(&self) -> io::Result<()>;

    /// Sets space aside for a file of `len` bytes, so that a full disk says so at once.
    /// A disk that cannot do this does nothing.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`], or whatever else the disk says.
    fn allocate(&self, len: u64) -> io::Result<()>;
}

/// Reads as many bytes as there are, up to the length of `buffer`.
pub(crate) fn read_fully(file: &impl File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
