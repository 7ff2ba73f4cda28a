//! A map and a set in order, on a sorted ring: the part of the standard library's
//! interface that is used here. A browser downloads each type of map as code of its
//! own, and a balanced tree is 4 KiB of it where this is a few hundred bytes. It moves
//! what lies between an entry that comes or goes and the nearer end, which is next to
//! nothing for the numbers that are counted up (they come last, and the oldest go
//! first), and some microseconds for a full cache of blobs.

use std::collections::VecDeque;
use std::ops::RangeFrom;

/// Values by key, in the keys' order.
#[derive(Clone, Debug)]
pub(crate) struct SortedMap<K, V>(VecDeque<(K, V)>);

/// Keys in order, each once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SortedSet<K>(VecDeque<K>);

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<K, V> SortedMap<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.0.iter_mut().map(|(key, value)| (&*key, value))
    }

    pub(crate) fn first_key(&self) -> Option<&K> {
        self.keys().next()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// Keeps the entries that `wanted` says.
    pub(crate) fn retain(&mut self, mut wanted: impl FnMut(&K, &V) -> bool) {
        self.0.retain(|(key, value)| wanted(key, value));
    }
}

impl<K: Ord, V> SortedMap<K, V> {
    /// Where the key is, or would be.
    fn place(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.cmp(key))
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.place(key).is_ok()
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let at = self.place(key).ok()?;
        Some(&self.0[at].1)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = self.place(key).ok()?;
        Some(&mut self.0[at].1)
    }

    /// Adds an entry, in the place of the one with the same key.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        match self.place(&key) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (key, value)),
        }
    }

    /// The entry's value, made now if there is none.
    pub(crate) fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let at = match self.place(&key) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, (key, make()));
                at
            }
        };
        &mut self.0[at].1
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.place(key).ok()?;
        self.0.remove(at).map(|(_, value)| value)
    }

    /// The entries from the first that is not before `range`.
    pub(crate) fn range(&self, range: RangeFrom<K>) -> impl Iterator<Item = (&K, &V)> {
        let (Ok(from) | Err(from)) = self.place(&range.start);
        self.0.range(from..).map(|(key, value)| (key, value))
    }
}

impl<K> Default for SortedSet<K> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<K> SortedSet<K> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl<K: Ord> SortedSet<K> {
    pub(crate) fn contains(&self, key: &K) -> bool {
        self.0.binary_search(key).is_ok()
    }

    /// Whether it is new.
    pub(crate) fn insert(&mut self, key: K) -> bool {
        let place = self.0.binary_search(&key);
        if let Err(at) = place {
            self.0.insert(at, key);
        }
        place.is_err()
    }

    /// Whether it was there.
    pub(crate) fn remove(&mut self, key: &K) -> bool {
        let place = self.0.binary_search(key);
        if let Ok(at) = place {
            self.0.remove(at);
        }
        place.is_ok()
    }

    /// Takes the least.
    pub(crate) fn pop_first(&mut self) -> Option<K> {
        self.0.pop_front()
    }
}

impl<K: Ord> FromIterator<K> for SortedSet<K> {
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        let mut set = Self::default();
        for key in keys {
            set.insert(key);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    proptest! {
        #[test]
        fn maps_are_as_the_standard_ones(steps in prop::collection::vec((0..8_u8, 0..20_u8, any::<u8>()), 0..100)) {
            let (mut ours, mut theirs) = (SortedMap::default(), BTreeMap::new());
            for (step, key, value) in steps {
                match step {
                    0..3 => {
                        ours.insert(key, value);
                        theirs.insert(key, value);
                    }
                    3 => prop_assert_eq!(
                        *ours.get_or_insert_with(key, || value),
                        *theirs.entry(key).or_insert(value)
                    ),
                    4 => prop_assert_eq!(ours.remove(&key), theirs.remove(&key)),
                    5 => {
                        ours.retain(|known, _| known % 3 != key % 3);
                        theirs.retain(|known, _| known % 3 != key % 3);
                    }
                    6 => ours.values_mut().chain(theirs.values_mut()).for_each(|it| *it = it.wrapping_add(1)),
                    _ => for it in [ours.get_mut(&key), theirs.get_mut(&key)].into_iter().flatten() {
                        *it = value;
                    },
                }
                prop_assert!(ours.iter().eq(theirs.iter()));
                prop_assert!(ours.iter_mut().map(|(key, _)| key).eq(theirs.keys()));
                prop_assert!(ours.keys().eq(theirs.keys()) && ours.values().eq(theirs.values()));
                prop_assert!(ours.range(key..).eq(theirs.range(key..)));
                prop_assert_eq!(ours.get(&key), theirs.get(&key));
                prop_assert_eq!(ours.contains_key(&key), theirs.contains_key(&key));
                prop_assert_eq!(ours.first_key(), theirs.keys().next());
                prop_assert_eq!((ours.len(), ours.is_empty()), (theirs.len(), theirs.is_empty()));
            }
        }

        #[test]
        fn sets_are_as_the_standard_ones(first in prop::collection::vec(0..20_u8, 0..20), steps in prop::collection::vec((0..3_u8, 0..20_u8), 0..100)) {
            let mut ours = SortedSet::from_iter(first.iter().copied());
            let mut theirs = BTreeSet::from_iter(first);
            for (step, key) in steps {
                match step {
                    0 => prop_assert_eq!(ours.insert(key), theirs.insert(key)),
                    1 => prop_assert_eq!(ours.remove(&key), theirs.remove(&key)),
                    _ => prop_assert_eq!(ours.pop_first(), theirs.pop_first()),
                }
                prop_assert_eq!(ours.contains(&key), theirs.contains(&key));
                prop_assert_eq!((ours.len(), ours.is_empty()), (theirs.len(), theirs.is_empty()));
            }
        }
    }
}
