//! Slots in flight: a ring, indexed by slot, that moves forward.

use alloc::vec::Vec;
use core::{fmt, mem};

use crate::types::Slot;

/// The low bits of a number as an index: all of it, if it was checked to be small.
#[expect(clippy::cast_possible_truncation, reason = "only the low bits are wanted")]
#[inline]
pub(crate) const fn low(n: u64) -> usize {
    n as usize
}

/// Values by slot, for the slots from [`Ring::base`] on. Looking up, inserting and dropping cost
/// a few instructions each, whatever the number of slots.
#[derive(Clone)]
pub(crate) struct Ring<T> {
    base: u64,
    /// The slot after the last value.
    end: u64,
    /// The value of slot s is at s modulo the length, which is a power of two, or zero.
    /// `None` wherever there is no value, and outside of base..end.
    places: Vec<Option<T>>,
}

/// How far ahead of its base a ring may reach, in slots. More would let a damaged or hostile
/// process make others allocate without end.
pub(crate) const SPAN_MAX: u64 = 1 << 20;

impl<T> Ring<T> {
    pub(crate) fn new(base: Slot) -> Self {
        Self { base: base.0, end: base.0, places: Vec::new() }
    }

    /// The first slot that the ring can hold; everything below has been dropped.
    #[inline]
    pub(crate) fn base(&self) -> Slot {
        Slot(self.base)
    }

    /// The slot after the last one that is held.
    #[inline]
    pub(crate) fn end(&self) -> Slot {
        Slot(self.end)
    }

    /// Whether `slot` can be held.
    #[inline]
    pub(crate) fn has_room(&self, slot: Slot) -> bool {
        slot.0.wrapping_sub(self.base) < SPAN_MAX
    }

    #[inline]
    fn holds(&self, slot: u64) -> bool {
        slot.wrapping_sub(self.base) < self.end - self.base
    }

    /// Slots wrap around, so only their low bits matter, however wide `usize` is.
    #[inline]
    fn place(&self, slot: u64) -> usize {
        low(slot) & self.places.len().wrapping_sub(1)
    }

    #[inline]
    pub(crate) fn get(&self, slot: Slot) -> Option<&T> {
        if !self.holds(slot.0) {
            return None;
        }
        self.places.get(self.place(slot.0))?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        if !self.holds(slot.0) {
            return None;
        }
        let place = self.place(slot.0);
        self.places.get_mut(place)?.as_mut()
    }

    /// Puts `value` at `slot`, which must have room.
    #[inline(always)]
    pub(crate) fn insert(&mut self, slot: Slot, value: T) {
        debug_assert!(self.has_room(slot), "callers check the room first");
        let end = self.end.max(slot.0 + 1);
        if end - self.base > self.places.len() as u64 {
            self.grow(end);
        }
        self.end = end;
        let place = self.place(slot.0);
        if let Some(place) = self.places.get_mut(place) {
            *place = Some(value);
        }
    }

    #[cold]
    fn grow(&mut self, end: u64) {
        const FEW: u64 = 64;
        let len = low((end - self.base).max(FEW).next_power_of_two());
        let mut grown = Vec::new();
        grown.resize_with(len, || None);
        for slot in self.base..self.end {
            let place = self.place(slot);
            grown[low(slot) & (len - 1)] = self.places[place].take();
        }
        self.places = grown;
    }

    #[inline]
    pub(crate) fn remove(&mut self, slot: Slot) -> Option<T> {
        if !self.holds(slot.0) {
            return None;
        }
        let place = self.place(slot.0);
        let removed = self.places[place].take();
        self.shorten();
        removed
    }

    /// Lets the ring end after its last value.
    #[inline]
    fn shorten(&mut self) {
        while self.end > self.base && self.places[self.place(self.end - 1)].is_none() {
            self.end -= 1;
        }
    }

    /// Drops everything below `base`. The base never moves back.
    #[inline]
    pub(crate) fn advance(&mut self, base: Slot) {
        while self.base < base.0 && self.base < self.end {
            let place = self.place(self.base);
            drop(mem::take(&mut self.places[place]));
            self.base += 1;
        }
        self.base = self.base.max(base.0);
        self.end = self.end.max(self.base);
    }

    /// Keeps the values for which `keep` says so.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        for place in &mut self.places {
            if place.as_ref().is_some_and(|value| !keep(value)) {
                *place = None;
            }
        }
        self.shorten();
    }

    /// The values from `from` on, in the order of their slots.
    pub(crate) fn iter_from(&self, from: Slot) -> impl Iterator<Item = (Slot, &T)> {
        let slots = self.base.max(from.0)..self.end;
        slots.filter_map(|slot| Some((Slot(slot), self.places[self.place(slot)].as_ref()?)))
    }

    /// The values, in the order of their slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        self.iter_from(self.base())
    }
}

impl<T: PartialEq> PartialEq for Ring<T> {
    fn eq(&self, other: &Self) -> bool {
        self.base == other.base && self.iter().eq(other.iter())
    }
}

impl<T: Eq> Eq for Ring<T> {}

/// What it holds, not how: rings that are equal look the same.
impl<T: fmt::Debug> fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.. ", self.base)?;
        f.debug_map().entries(self.iter()).finish()
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
    fn grows_and_wraps_around_without_mixing_slots_up() {
        let mut ring = Ring::new(Slot(1));
        for slot in 1..1000 {
            ring.insert(Slot(slot), slot);
            if slot > 90 {
                ring.advance(Slot(slot - 70));
            }
        }
        let held: Vec<_> = ring.iter().map(|(slot, &value)| (slot.0, value)).collect();
        assert_eq!(held, (929..1000).map(|slot| (slot, slot)).collect::<Vec<_>>());
        assert_eq!(ring.get(Slot(928)), None);
        assert_eq!(ring.get(Slot(1000)), None);
    }

    #[test]
    fn has_a_place_for_each_slot_wherever_it_begins() {
        for base in [1, 1000, 1 << 40] {
            let mut ring = Ring::new(Slot(base));
            (base..base + 300).for_each(|slot| ring.insert(Slot(slot), slot));
            assert!(ring.iter().map(|(_, &slot)| slot).eq(base..base + 300), "from {base} on");
        }
    }

    #[test]
    fn refuses_slots_below_its_base_and_far_ahead() {
        let ring = Ring::<u8>::new(Slot(5));
        assert!(!ring.has_room(Slot(4)) && ring.has_room(Slot(5)));
        assert!(ring.has_room(Slot(4 + SPAN_MAX)) && !ring.has_room(Slot(5 + SPAN_MAX)));
        assert!(!ring.has_room(Slot(u64::MAX)));
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

    #[test]
    fn rings_are_equal_if_they_hold_the_same_from_the_same_base_on() {
        let ring = |base: u64, slots: &[u64]| {
            let mut ring = Ring::new(Slot(base));
            slots.iter().for_each(|slot| ring.insert(Slot(*slot), *slot));
            ring
        };
        let mut grown = ring(1, &[200, 3]);
        grown.remove(Slot(200));
        assert_eq!(grown, ring(1, &[3]), "however much room there is");
        assert_ne!(grown, ring(2, &[3]));
        assert_ne!(grown, ring(1, &[4]));
        assert_ne!(grown, ring(1, &[3, 4]));
    }
}
