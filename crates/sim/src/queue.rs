//! What will happen, in the order in which it will: by time, and at one time as it was put in.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Nanoseconds since the run began.
pub(crate) type Time = u64;

/// The place of what happens is kept apart, so that little has to be moved.
pub(crate) struct Queue<E> {
    order: BinaryHeap<Reverse<(Time, u64, u32)>>,
    places: Vec<Option<E>>,
    free: Vec<u32>,
    count: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { order: BinaryHeap::new(), places: Vec::new(), free: Vec::new(), count: 0 }
    }
}

impl<E> Queue<E> {
    pub(crate) fn push(&mut self, at: Time, event: E) {
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.places.push(None);
                u32::try_from(self.places.len() - 1).expect("a run has no billions of events")
            }
        };
        self.places[place as usize] = Some(event);
        self.count += 1;
        self.order.push(Reverse((at, self.count, place)));
    }

    pub(crate) fn pop(&mut self) -> Option<(Time, E)> {
        let Reverse((at, _, place)) = self.order.pop()?;
        self.free.push(place);
        self.places[place as usize].take().map(|event| (at, event))
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_time_and_then_as_it_was_put_in() {
        let mut queue = Queue::default();
        for (at, event) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b')] {
            queue.push(at, event);
        }
        let order: String = std::iter::from_fn(|| queue.pop()).map(|(_, event)| event).collect();
        assert_eq!((order.as_str(), queue.len()), ("abcd", 0));
    }
}
