//! How inputs that were uploaded lately are cut: found while their bytes went by, so
//! that a job begins to work on one without reading it once more.

use manyhands_protocol::{BlobHash, Segment, Split};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// Segments of all that is remembered together: of 64 GiB as a rule, in 4 MB. What has
/// none counts as one.
const MOST: usize = 1 << 16;

/// How one file is cut.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Cuts {
    pub(crate) split: Split,
    /// In order, each with the hash of its bytes.
    pub(crate) segments: Vec<(Segment, BlobHash)>,
}

impl Cuts {
    fn counted(&self) -> usize {
        self.segments.len().max(1)
    }
}

/// The blobs that came last.
#[derive(Debug, Default)]
pub(crate) struct KnownCuts {
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    cuts: HashMap<BlobHash, Arc<Cuts>>,
    /// The oldest first.
    order: VecDeque<BlobHash>,
    segments: usize,
}

impl KnownCuts {
    /// How a blob is cut, if that is remembered.
    pub(crate) fn find(&self, blob: BlobHash) -> Option<Arc<Cuts>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.cuts.get(&blob).map(Arc::clone)
    }

    /// A blob has come. One that is known is cut as it was.
    pub(crate) fn note(&self, blob: BlobHash, cuts: Cuts) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.cuts.contains_key(&blob) {
            return;
        }
        recent.segments += cuts.counted();
        recent.cuts.insert(blob, Arc::new(cuts));
        recent.order.push_back(blob);
        while recent.segments > MOST {
            let oldest = recent.order.pop_front();
            let oldest = oldest.and_then(|blob| recent.cuts.remove(&blob));
            recent.segments -= oldest.expect("what counts is there").counted();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuts(segments: usize) -> Cuts {
        let segment = Segment {
            offset: 0,
            len: 1,
            tasks: 1,
        };
        Cuts {
            split: Split::Lines,
            segments: vec![(segment, BlobHash([0; 32])); segments],
        }
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let known = KnownCuts::default();
        let blob = |number: u8| BlobHash([number; 32]);
        known.note(blob(1), cuts(1));
        known.note(blob(2), cuts(MOST - 1));
        assert_eq!(known.find(blob(1)).as_deref(), Some(&cuts(1)));
        known.note(blob(3), cuts(1));
        assert_eq!(known.find(blob(1)), None);
        assert_eq!(known.find(blob(2)).as_deref(), Some(&cuts(MOST - 1)));
        known.note(blob(3), cuts(1));
        assert!(known.find(blob(2)).is_some(), "the same counts once");
        known.note(blob(4), cuts(MOST + 1));
        assert_eq!(known.find(blob(4)), None, "too many by itself");
        known.note(blob(5), cuts(MOST));
        assert!(known.find(blob(5)).is_some(), "the others do not count");
    }

    #[test]
    fn what_is_empty_is_forgotten_too() {
        let known = KnownCuts::default();
        let numbered = |number: usize| BlobHash::of(&number.to_le_bytes());
        for number in 0..=MOST {
            known.note(numbered(number), cuts(0));
        }
        assert_eq!(known.find(numbered(0)), None);
        assert!(known.find(numbered(1)).is_some());
    }
}
