//! Slots in flight: a ring, indexed by slot, that moves forward.

use alloc::collections::VecDeque;

use crate::types::Slot;

/// Values by slot, for the slots from [`Ring::base`] on. Looking up, inserting and dropping cost
/// a few instructions each, whatever the number of slots.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ring<T> {
    base: Slot,
    slots: VecDeque<Option<T>>,
}

/// How far ahead of its base a ring may reach, in slots. More would let a damaged or hostile
/// process make others allocate without end.
pub(crate) const SPAN_MAX: u64 = 1 << 20;

impl<T> Ring<T> {
    pub(crate) fn new(base: Slot) -> Self {
        Self { base, slots: VecDeque::new() }
    }

    /// The first slot that the ring can hold; everything below has been dropped.
    #[inline]
    pub(crate) fn base(&self) -> Slot {
        self.base
    }

    /// The slot after the last one that is held.
    #[inline]
    pub(crate) fn end(&self) -> Slot {
        self.base.plus(self.slots.len() as u64)
    }

    /// Whether `slot` can be held.
    #[inline]
    pub(crate) fn has_room(&self, slot: Slot) -> bool {
        slot >= self.base && slot.0 - self.base.0 < SPAN_MAX
    }

    #[inline]
    fn index(&self, slot: Slot) -> Option<usize> {
        usize::try_from(slot.0.checked_sub(self.base.0)?).ok()
    }

    #[inline]
    pub(crate) fn get(&self, slot: Slot) -> Option<&T> {
        self.slots.get(self.index(slot)?)?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let index = self.index(slot)?;
        self.slots.get_mut(index)?.as_mut()
    }

    /// Puts `value` at `slot`, which must have room.
    #[inline]
    pub(crate) fn insert(&mut self, slot: Slot, value: T) {
        debug_assert!(self.has_room(slot), "callers check the room first");
        let Some(index) = self.index(slot) else { return };
        if index == self.slots.len() {
            self.slots.push_back(Some(value));
            return;
        }
        if index > self.slots.len() {
            self.slots.resize_with(index + 1, || None);
        }
        self.slots[index] = Some(value);
    }

    #[inline]
    pub(crate) fn remove(&mut self, slot: Slot) -> Option<T> {
        let index = self.index(slot)?;
        let removed = self.slots.get_mut(index)?.take();
        while let Some(None) = self.slots.back() {
            self.slots.pop_back();
        }
        removed
    }

    /// Drops everything below `base`. The base never moves back.
    #[inline]
    pub(crate) fn advance(&mut self, base: Slot) {
        while self.base < base && self.slots.pop_front().is_some() {
            self.base = self.base.next();
        }
        self.base = self.base.max(base);
    }

    /// Makes room from `base` on, which may be below the base so far.
    pub(crate) fn retreat(&mut self, base: Slot) {
        while self.base > base {
            self.slots.push_front(None);
            self.base = Slot(self.base.0 - 1);
        }
    }

    /// Keeps the values for which `keep` says so.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        for slot in &mut self.slots {
            if slot.as_ref().is_some_and(|value| !keep(value)) {
                *slot = None;
            }
        }
        while let Some(None) = self.slots.back() {
            self.slots.pop_back();
        }
    }

    /// The values from `from` on, in the order of their slots.
    pub(crate) fn iter_from(&self, from: Slot) -> impl Iterator<Item = (Slot, &T)> {
        let skip = usize::try_from(from.0.saturating_sub(self.base.0)).unwrap_or(usize::MAX);
        let skip = skip.min(self.slots.len());
        let first = self.base.plus(skip as u64);
        let values = self.slots.range(skip..).enumerate();
        values.filter_map(move |(i, value)| Some((first.plus(i as u64), value.as_ref()?)))
    }

    /// The values, in the order of their slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        self.iter_from(self.base)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn holds_what_was_put_and_drops_what_is_below_its_base() {
        let mut ring = Ring::new(Slot(5));
        ring.insert(Slot(7), 'c');
        ring.insert(Slot(5), 'a');
        assert_eq!((ring.get(Slot(5)), ring.get(Slot(6))), (Some(&'a'), None));
        assert_eq!((ring.get(Slot(4)), ring.end()), (None, Slot(8)));
        ring.advance(Slot(6));
        ring.advance(Slot(3));
        assert_eq!(ring.base(), Slot(6));
        assert_eq!(ring.iter().collect::<Vec<_>>(), [(Slot(7), &'c')]);
        ring.advance(Slot(90));
        assert_eq!((ring.base(), ring.end()), (Slot(90), Slot(90)));
    }

    #[test]
    fn refuses_slots_below_its_base_and_far_ahead() {
        let ring = Ring::<u8>::new(Slot(5));
        assert!(!ring.has_room(Slot(4)) && ring.has_room(Slot(5)));
        assert!(!ring.has_room(Slot(u64::MAX)));
    }

    #[test]
    fn retreats_without_losing_what_it_holds() {
        let mut ring = Ring::new(Slot(5));
        ring.insert(Slot(5), 'a');
        ring.retreat(Slot(3));
        ring.insert(Slot(3), 'b');
        assert_eq!(ring.iter().collect::<Vec<_>>(), [(Slot(3), &'b'), (Slot(5), &'a')]);
    }

    #[test]
    fn removing_the_last_values_shortens_the_ring() {
        let mut ring = Ring::new(Slot(1));
        ring.insert(Slot(1), 1);
        ring.insert(Slot(2), 2);
        ring.insert(Slot(3), 3);
        ring.remove(Slot(2));
        assert_eq!(ring.end(), Slot(4));
        ring.remove(Slot(3));
        assert_eq!(ring.end(), Slot(2));
        ring.retain(|_| false);
        assert_eq!(ring.end(), Slot(1));
    }
}
