//! Modules that were admitted lately: what a job costs that is the next of many
//! of the same module. Admission itself is the engine's.

use manyhands_engine::admit::Admitted;
use manyhands_protocol::BlobHash;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What is remembered at most: modules, and their bytes together.
const MOST: usize = 16;
const MOST_BYTES: usize = 32 << 20;

/// For so long the blobs of a module are known to be here and young: less than
/// it takes until what nobody needs is swept.
const YOUNG: Duration = Duration::from_secs(600);

/// An author's module, and the most memory its guests may have, in bytes.
pub(crate) type Key = (BlobHash, u64);

/// Those that were used last.
#[derive(Debug, Default)]
pub(crate) struct Admissions {
    recent: Mutex<VecDeque<Entry>>,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    admitted: Arc<Admitted>,
    /// When both blobs, the author's and the admitted one, were made young.
    renewed: Instant,
}

impl Admissions {
    /// What a module was admitted as, if its blobs are surely here.
    pub(crate) fn find(&self, key: Key, now: Instant) -> Option<Arc<Admitted>> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let at = recent.iter().position(|entry| entry.key == key)?;
        let entry = recent.remove(at)?;
        if now.duration_since(entry.renewed) > YOUNG {
            return None;
        }
        let admitted = Arc::clone(&entry.admitted);
        recent.push_back(entry);
        Some(admitted)
    }

    /// A module was admitted; its blobs were made young after `renewed`.
    pub(crate) fn note(&self, key: Key, admitted: Arc<Admitted>, renewed: Instant) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|entry| entry.key != key);
        recent.push_back(Entry {
            key,
            admitted,
            renewed,
        });
        let bytes = |recent: &VecDeque<Entry>| -> usize {
            let all = recent.iter().map(|entry| entry.admitted.wasm.len());
            all.sum()
        };
        while recent.len() > MOST || bytes(&recent) > MOST_BYTES {
            recent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use manyhands_protocol::MergeMode;

    fn admitted(len: usize) -> Arc<Admitted> {
        Arc::new(Admitted {
            wasm: vec![0; len].into(),
            hash: BlobHash([0; 32]),
            merge: MergeMode::Reduce,
            takes_inputs: false,
            simd: false,
        })
    }

    fn key(number: u8) -> Key {
        (BlobHash([number; 32]), 1)
    }

    #[test]
    fn what_was_used_last_is_remembered_for_a_while() {
        let (admissions, start) = (Admissions::default(), Instant::now());
        for number in 0..MOST as u8 {
            admissions.note(key(number), admitted(1), start);
        }
        assert!(admissions.find(key(0), start).is_some());
        admissions.note(key(100), admitted(1), start);
        assert!(admissions.find(key(0), start).is_some(), "used lately");
        assert!(admissions.find(key(1), start).is_none(), "the oldest");
        assert!(
            admissions.find((key(0).0, 2), start).is_none(),
            "another limit"
        );
        let late = start + YOUNG + Duration::from_secs(1);
        assert!(admissions.find(key(0), late).is_none(), "may be swept");
        admissions.note(key(200), admitted(MOST_BYTES), start);
        assert!(admissions.find(key(100), start).is_none(), "too many bytes");
        assert!(admissions.find(key(200), start).is_some());
    }
}
