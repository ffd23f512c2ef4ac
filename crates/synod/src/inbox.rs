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
    queue: Mutex<Queue<T>>,
    asleep: AtomicBool,
    waker: Waker,
}

#[derive(Debug)]
struct Queue<T> {
    messages: Vec<T>,
    closed: bool,
}

impl<T> Inbox<T> {
    pub(crate) fn new(waker: Waker) -> Arc<Self> {
        let queue = Mutex::new(Queue { messages: Vec::new(), closed: false });
        Arc::new(Self { queue, asleep: AtomicBool::new(false), waker })
    }

    /// Adds a message. It is dropped if nobody will ever take it.
    pub(crate) fn push(&self, message: T) {
        drop(self.offer(message));
    }

    /// Adds a message, or gives it back if nobody will ever take it.
    pub(crate) fn offer(&self, message: T) -> Option<T> {
        let mut queue = self.lock();
        if queue.closed {
            return Some(message);
        }
        queue.messages.push(message);
        drop(queue);
        if self.asleep.swap(false, Ordering::SeqCst)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "a thread cannot be woken: it will look after its next event");
        }
        None
    }

    /// Nobody takes messages any more: drops those that are there, and whoever waits for an answer
    /// to one learns that there will be none.
    pub(crate) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        let messages = std::mem::take(&mut queue.messages);
        drop(queue);
        drop(messages);
    }

    /// Takes everything, into an empty `into`.
    pub(crate) fn take(&self, into: &mut Vec<T>) {
        std::mem::swap(&mut self.lock().messages, into);
    }

    /// To be called before sleeping. False if there is something to do instead.
    pub(crate) fn may_sleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        let empty = self.lock().messages.is_empty();
        if !empty {
            self.awake();
        }
        empty
    }

    /// To be called after sleeping.
    pub(crate) fn awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The poll loop's own token for being woken.
pub(crate) fn waker(poll: &mio::Poll, token: mio::Token) -> io::Result<Waker> {
    Waker::new(poll.registry(), token)
}
