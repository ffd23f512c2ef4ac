//! Gives the space of removed files back little by little.
//!
//! On ext4, freeing 1 GiB at once keeps every sync of the file system waiting for about 100 ms, and
//! with it every command.

use std::{
    collections::VecDeque,
    fs, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// So many bytes are freed at once.
const PIECE: u64 = 4 << 20;
/// Between two pieces. Up to 80 MiB come back in a second, about what a busy log grows by; at five
/// times as many, three nodes on one disk still held each other up for 100 ms and more.
const REST: Duration = Duration::from_millis(50);

/// Shortens files that have no name any more, on a thread that is there as long as it has work.
/// If the process ends before that, the system frees what is left.
#[derive(Default, Debug)]
pub(super) struct Reclaimer {
    queue: Mutex<Queue>,
}

#[derive(Default, Debug)]
struct Queue {
    files: VecDeque<fs::File>,
    /// Whether there is a thread.
    working: bool,
}

impl Reclaimer {
    /// Takes over a file that has no name any more and that nobody else has open.
    pub(super) fn take(self: &Arc<Self>, file: fs::File) {
        if file.metadata().is_ok_and(|metadata| metadata.len() <= PIECE) {
            return;
        }
        let mut queue = self.queue();
        queue.files.push_back(file);
        if queue.working {
            return;
        }
        let reclaimer = self.clone();
        let work = move || while reclaimer.shorten_one() {};
        queue.working = thread::Builder::new().name("synod-reclaim".into()).spawn(work).is_ok();
        if !queue.working {
            queue.files.clear(); // Then all of it is freed at once.
        }
    }

    /// `false` if there was none.
    fn shorten_one(&self) -> bool {
        let mut queue = self.queue();
        let Some(file) = queue.files.pop_front() else {
            queue.working = false;
            return false;
        };
        drop(queue);
        // What an error leaves of it is freed when it is closed.
        drop(shorten(&file));
        true
    }

    /// Nothing in there can be half changed by a panic.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shorten(file: &fs::File) -> io::Result<()> {
    let mut len = file.metadata()?.len();
    while len > PIECE {
        len -= PIECE;
        file.set_len(len)?;
        thread::sleep(REST);
    }
    Ok(())
}
