//! How inputs that were uploaded lately are cut: found while their bytes went by, so
//! that a job begins to work on one without reading it once more.

use manyhands_protocol::{BlobHash, Segment, Split};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Segments of all that is remembered together: of 64 GiB as a rule, in 4 MB.
const MOST: usize = 1 << 16;

/// How one file is cut.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Cuts {
    pub(crate) split: Split,
    /// In order, each with the hash of its bytes.
    pub(crate) segments: Vec<(Segment, BlobHash)>,
}

/// The blobs that came last.
#[derive(Debug, Default)]
pub(crate) struct KnownCuts {
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    /// The oldest first.
    cuts: VecDeque<(BlobHash, Arc<Cuts>)>,
    segments: usize,
}

impl KnownCuts {
    /// How a blob is cut in one way, if that is remembered.
    pub(crate) fn find(&self, blob: BlobHash) -> Option<Arc<Cuts>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut latest = recent.cuts.iter().rev();
        latest.find_map(|(hash, cuts)| (*hash == blob).then(|| Arc::clone(cuts)))
    }

    /// A blob has come.
    pub(crate) fn note(&self, blob: BlobHash, cuts: Cuts) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.segments += cuts.segments.len();
        recent.cuts.push_back((blob, Arc::new(cuts)));
        while recent.segments > MOST
            && let Some((_, oldest)) = recent.cuts.pop_front()
        {
            recent.segments -= oldest.segments.len();
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
        known.note(blob(3), cuts(2));
        assert_eq!(known.find(blob(2)), None);
        assert_eq!(known.find(blob(3)).as_deref(), Some(&cuts(2)), "the latest");
        known.note(blob(4), cuts(MOST + 1));
        assert_eq!(known.find(blob(4)), None, "too many by itself");
        known.note(blob(5), cuts(MOST));
        assert!(known.find(blob(5)).is_some(), "the others do not count");
    }
}
