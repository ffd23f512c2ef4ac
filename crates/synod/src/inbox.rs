//! A mailbox of a thread that sleeps in a poll loop.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use mio::Waker;

/// Takes messages from any thread. Its owner is woken only if it sleeps, and once for all that
/// arrive before it is awake: waking a thread costs more than the message.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    queue: Mutex<Vec<T>>,
    asleep: AtomicBool,
    waker: Waker,
}

impl<T> Inbox<T> {
    pub(crate) fn new(waker: Waker) -> Arc<Self> {
        Arc::new(Self { queue: Mutex::default(), asleep: AtomicBool::new(false), waker })
    }

    /// Adds a message.
    pub(crate) fn push(&self, message: T) {
        self.lock().push(message);
        if self.asleep.swap(false, Ordering::SeqCst)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "a thread cannot be woken: it will look after its next event");
        }
    }

    /// Takes everything, into an empty `into`.
    pub(crate) fn take(&self, into: &mut Vec<T>) {
        std::mem::swap(&mut *self.lock(), into);
    }

    /// To be called before sleeping. False if there is something to do instead.
    pub(crate) fn may_sleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        let empty = self.lock().is_empty();
        if !empty {
            self.awake();
        }
        empty
    }

    /// To be called after sleeping.
    pub(crate) fn awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The poll loop's own token for being woken.
pub(crate) fn waker(poll: &mio::Poll, token: mio::Token) -> io::Result<Waker> {
    Waker::new(poll.registry(), token)
}
