//! Sets of operations that cost as much as their ragged end.

/// A set of operations, which are numbered in the order of their invocations. In a search it is
/// all of them up to one that is still going on, and a few after that.
#[derive(Debug)]
pub(super) struct Set {
    words: Vec<u64>,
    /// The operations that could be in it.
    len: usize,
    /// Words that are full, from the first on.
    full: usize,
    /// All words from here on are empty.
    end: usize,
}

impl Set {
    /// The empty set, of `len` operations that could be in it.
    pub(super) fn new(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)], len, full: 0, end: 0 }
    }

    pub(super) fn insert(&mut self, op: usize) {
        self.words[op / 64] |= 1 << (op % 64);
        self.end = self.end.max(op / 64 + 1);
        self.settle();
    }

    pub(super) fn remove(&mut self, op: usize) {
        self.words[op / 64] &= !(1 << (op % 64));
        self.full = self.full.min(op / 64);
        self.settle();
    }

    fn settle(&mut self) {
        while self.words.get(self.full) == Some(&u64::MAX) {
            self.full += 1;
        }
        while self.end > 0 && self.words[self.end - 1] == 0 {
            self.end -= 1;
        }
    }

    /// The operations that are not in it, in order.
    pub(super) fn missing(&self) -> impl Iterator<Item = usize> {
        let words = self.words.iter().enumerate().skip(self.full);
        words
            .flat_map(|(at, word)| Bits(!word).map(move |bit| at * 64 + bit))
            .take_while(|op| *op < self.len)
    }

    /// The same set, to be kept.
    pub(super) fn pack(&self) -> Packed {
        let rest = self.words.get(self.full..self.end).unwrap_or_default();
        Packed { full: self.full, rest: rest.into() }
    }
}

/// The places of the bits of a word.
struct Bits(u64);

impl Iterator for Bits {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let bit = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        (bit < 64).then_some(bit as usize)
    }
}

/// A set as it is remembered: the number of full words, and those that follow.
#[derive(PartialEq, Eq, Hash, Debug)]
pub(super) struct Packed {
    full: usize,
    rest: Box<[u64]>,
}

impl Packed {
    fn word(&self, at: usize) -> u64 {
        match at.checked_sub(self.full) {
            None => u64::MAX,
            Some(at) => self.rest.get(at).copied().unwrap_or(0),
        }
    }

    pub(super) fn is_subset(&self, other: &Self) -> bool {
        let end = self.full + self.rest.len();
        (other.full..end).all(|at| self.word(at) & !other.word(at) == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(len: usize, ops: impl IntoIterator<Item = usize>) -> Set {
        let mut set = Set::new(len);
        ops.into_iter().for_each(|op| set.insert(op));
        set
    }

    #[test]
    fn what_is_missing_comes_in_order() {
        let mut set = set(130, (0..130).filter(|op| op % 50 != 3));
        assert_eq!(set.missing().collect::<Vec<_>>(), [3, 53, 103]);
        set.insert(3);
        set.remove(0);
        set.remove(129);
        assert_eq!(set.missing().collect::<Vec<_>>(), [0, 53, 103, 129]);
        assert_eq!(Set::new(0).missing().count(), 0);
        assert_eq!(Set::new(64).missing().count(), 64);
    }

    #[test]
    fn equal_sets_are_packed_alike_however_they_came_about() {
        let mut other = set(300, (0..280).rev());
        (200..280).for_each(|op| other.remove(op));
        let packed = other.pack();
        assert_eq!(packed, set(300, 0..200).pack());
        assert_eq!((packed.full, packed.rest.len()), (3, 1));
        assert_ne!(packed, set(300, 0..199).pack());
        (0..200).for_each(|op| other.remove(op));
        assert_eq!(other.pack(), Set::new(300).pack());
    }

    #[test]
    fn a_subset_lacks_nothing_that_the_other_has() {
        let sets = [set(200, []), set(200, [5]), set(200, [5, 190]), set(200, 0..130)];
        let packed = sets.each_ref().map(Set::pack);
        let subset = |a: usize, b: usize| packed[a].is_subset(&packed[b]);
        assert!(subset(0, 1) && subset(1, 2) && subset(1, 1) && subset(1, 3));
        assert!(!subset(1, 0) && !subset(2, 1) && !subset(2, 3) && !subset(3, 2));
    }
}
