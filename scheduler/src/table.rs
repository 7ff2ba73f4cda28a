//! Maps by id. A look-up costs the same however many there are: an ordered map
//! pays a comparison, and often a cache miss, a level, several times an event.
//! Knows nothing of what it holds.

#![expect(
    clippy::disallowed_types,
    reason = "hashed without randomness: the same in every run"
)]

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::ops::Index;

/// What is found by an id that the coordinator has given out.
#[derive(Clone, Debug)]
pub(crate) struct Table<K, V> {
    entries: HashMap<K, V, BuildHasherDefault<IdHasher>>,
}

/// A table that became so much larger than what is in it gives room back.
const SPARSE: usize = 8;
/// One of so little room does not.
const SMALL: usize = 1 << 10;

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        let entries = HashMap::default();
        Self { entries }
    }
}

impl<K: Hash + Ord + Copy + Debug, V> Table<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn contains_key(&self, id: &K) -> bool {
        self.entries.contains_key(id)
    }

    pub(crate) fn get(&self, id: &K) -> Option<&V> {
        self.entries.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: &K) -> Option<&mut V> {
        self.entries.get_mut(id)
    }

    /// Gives what was there before.
    pub(crate) fn insert(&mut self, id: K, value: V) -> Option<V> {
        self.entries.insert(id, value)
    }

    pub(crate) fn get_or_default(&mut self, id: K) -> &mut V
    where
        V: Default,
    {
        self.entries.entry(id).or_default()
    }

    pub(crate) fn remove(&mut self, id: &K) -> Option<V> {
        let removed = self.entries.remove(id);
        let room = self.entries.capacity();
        if room > SMALL && self.entries.len() < room / SPARSE {
            self.entries.shrink_to(room / 2);
        }
        removed
    }

    /// All, in an order that means nothing.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.entries.iter().map(|(id, value)| (*id, value))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values()
    }

    /// All ids, from the least to the greatest. Cost: a sort.
    pub(crate) fn ids(&self) -> Vec<K> {
        let mut ids: Vec<K> = self.entries.keys().copied().collect();
        ids.sort_unstable();
        ids
    }
}

impl<K: Hash + Ord + Copy + Debug, V> Index<&K> for Table<K, V> {
    type Output = V;
    fn index(&self, id: &K) -> &V {
        let value = self.entries.get(id);
        value.unwrap_or_else(|| panic!("{id:?} is not here"))
    }
}

/// For numbers that were counted up: nobody chooses them to collide.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IdHasher(u64);

/// 2^64 by the golden ratio, odd.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// So many that follow each other stay side by side: who asks for one asks for
/// the next soon.
const TOGETHER: u32 = 4;

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = self.0.wrapping_mul(SPREAD).rotate_left(32) ^ word;
    }

    fn finish(&self) -> u64 {
        let row = (self.0 >> TOGETHER).wrapping_mul(SPREAD);
        let at = (self.0 ^ row >> 36) & ((1 << TOGETHER) - 1);
        // The lowest bits choose the place, the highest seven tell neighbours apart.
        let place = (row >> 40) << TOGETHER | at;
        let tag = self.0.wrapping_mul(SPREAD) & !(u64::MAX >> 7);
        tag | place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use manyhands_protocol::{Incarnation, LeaseId, WorkerId};
    use std::collections::BTreeSet;

    #[test]
    fn it_gives_room_back() {
        let mut table = Table::default();
        for id in 0..100_000 {
            assert_eq!(table.insert(WorkerId(id), id), None);
        }
        for id in 1..100_000 {
            assert_eq!(table.remove(&WorkerId(id)), Some(id));
        }
        assert!(table.entries.capacity() <= SMALL * 2);
        assert_eq!((table.len(), table[&WorkerId(0)]), (1, 0));
    }

    #[test]
    fn ids_come_in_order() {
        let mut table = Table::default();
        for id in [3, 1, 2] {
            table.insert(WorkerId(id), ());
        }
        assert_eq!(table.ids(), [1, 2, 3].map(WorkerId));
    }

    /// Bits as a table of 2^12 places would use them.
    #[test]
    fn ids_spread() {
        let hash = |incarnation, counter| {
            let mut hasher = IdHasher::default();
            let id = LeaseId {
                incarnation: Incarnation(incarnation),
                counter,
            };
            id.hash(&mut hasher);
            hasher.finish()
        };
        let places = |step: u64| {
            let hashes = (0..1000).map(|at| hash(1, at * step) & 0xfff);
            hashes.collect::<BTreeSet<_>>().len()
        };
        for step in [1, 2, 16, 1 << 10, 1 << 20, 1 << 32] {
            assert!(places(step) > 500, "{step}: {}", places(step));
        }
        let tags: BTreeSet<u64> = (0..16).map(|at| hash(1, at) >> 57).collect();
        assert!(tags.len() > 12, "{}", tags.len());
        assert_ne!(hash(1, 7), hash(2, 7));
    }
}
