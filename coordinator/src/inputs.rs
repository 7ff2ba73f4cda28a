//! A job's inputs as they are kept: segments and where each lies, and the index by
//! which workers are sent what they ask for. How they come about is in `cut`.

mod cut;
mod cuts;

use crate::blobs::{Blobs, Place};
use bytes::Bytes;
pub(crate) use cut::{Cutter, cut};
pub(crate) use cuts::{Cuts, KnownCuts};
use manyhands_engine::part::FileRange;
use manyhands_protocol::message::SegmentRef;
use manyhands_protocol::{BlobHash, Segment, SplitError};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// One file of a job's inputs.
#[derive(Clone, Debug)]
pub(crate) struct InputPart {
    /// Decides the order, bytewise; for people.
    pub(crate) name: String,
    /// Where its bytes are.
    pub(crate) file: Arc<Path>,
    /// How it is cut, if that was found before: a blob does not change.
    pub(crate) known: Option<Arc<Cuts>>,
}

/// Why inputs cannot be cut.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    #[error("{name}: {source}")]
    Read {
        name: String,
        source: std::io::Error,
    },
    #[error("{name}: {source}")]
    Split { name: String, source: SplitError },
    #[error("two inputs have the path {0}")]
    Twice(String),
    #[error("{0} changes while it is read")]
    Changing(String),
}

/// A job's inputs, cut: segments in task order, and where each lies.
#[derive(Debug, Default)]
pub(crate) struct Cutting {
    pub(crate) segments: Vec<SegmentRef>,
    pub(crate) places: Vec<Place>,
}

impl Cutting {
    /// How many tasks the inputs hold.
    pub(crate) fn tasks(&self) -> u64 {
        self.segments
            .last()
            .map_or(0, |last| last.first_task + last.tasks)
    }

    /// Where the segments lie, for the journal. Files under the data folder are
    /// named relative to it, so that it may be moved.
    pub(crate) fn places(&self, blobs: &Blobs) -> Bytes {
        let mut stored = StoredPlaces::default();
        let mut known = HashMap::new();
        for place in &self.places {
            let file = *known.entry(Arc::clone(&place.file)).or_insert_with(|| {
                let file = blobs.relative(&place.file);
                stored
                    .files
                    .push(file.as_os_str().as_encoded_bytes().to_vec());
                stored.files.len() as u32 - 1
            });
            stored.segments.push((file, place.offset));
        }
        let bytes = postcard::to_stdvec(&stored).expect("lists of bytes and numbers");
        bytes.into()
    }

    /// The inverse: a cutting from what the journal has; `None` where that does
    /// not fit together.
    pub(crate) fn stored(segments: &[SegmentRef], places: &[u8], blobs: &Blobs) -> Option<Self> {
        let stored: StoredPlaces = postcard::from_bytes(places).ok()?;
        if stored.segments.len() != segments.len() {
            return None;
        }
        let names = stored.files.into_iter().map(String::from_utf8);
        let files = names.map(|name| Some(Arc::from(blobs.absolute(Path::new(&name.ok()?)))));
        let files = files.collect::<Option<Vec<Arc<Path>>>>()?;
        let places = stored.segments.iter().zip(segments);
        let places = places.map(|((file, offset), segment)| {
            Some(Place {
                file: Arc::clone(files.get(*file as usize)?),
                offset: *offset,
                len: segment.len,
            })
        });
        Some(Self {
            segments: segments.to_vec(),
            places: places.collect::<Option<_>>()?,
        })
    }

    fn push(&mut self, file: &Arc<Path>, segment: Segment, hash: BlobHash) {
        self.segments.push(SegmentRef {
            hash,
            len: segment.len,
            first_task: self.tasks(),
            tasks: segment.tasks,
        });
        self.places.push(Place {
            file: Arc::clone(file),
            offset: segment.offset,
            len: segment.len,
        });
    }
}

/// Places as the journal keeps them: each file once, and of each segment its
/// file's number and its offset.
#[derive(Default, Serialize, Deserialize)]
struct StoredPlaces {
    files: Vec<Vec<u8>>,
    segments: Vec<(u32, u64)>,
}

/// Where the segments of running jobs lie, by hash. Two jobs, or two places of
/// one input, may share one.
#[derive(Debug, Default)]
pub(crate) struct SegmentIndex {
    places: RwLock<HashMap<BlobHash, (Place, usize)>>,
}

impl SegmentIndex {
    /// Makes a job's segments available.
    pub(crate) fn add(&self, cutting: &Cutting) {
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        for (segment, place) in cutting.segments.iter().zip(&cutting.places) {
            let entry = places.entry(segment.hash);
            entry.or_insert_with(|| (place.clone(), 0)).1 += 1;
        }
    }

    /// The job is over.
    pub(crate) fn remove(&self, cutting: &Cutting) {
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        for segment in &cutting.segments {
            if let Some((_, uses)) = places.get_mut(&segment.hash) {
                *uses -= 1;
                if *uses == 0 {
                    places.remove(&segment.hash);
                }
            }
        }
    }

    /// Where a segment lies.
    pub(crate) fn find(&self, hash: BlobHash) -> Option<Place> {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        places.get(&hash).map(|(place, _)| place.clone())
    }
}

/// Where the inputs of a coordinator's running jobs lie.
#[derive(Clone, Debug)]
pub struct InPlace(Arc<SegmentIndex>);

impl InPlace {
    pub(crate) fn new(index: Arc<SegmentIndex>) -> Self {
        Self(index)
    }

    /// Where the segment with this hash lies. Its file may have changed since it was
    /// hashed.
    #[must_use]
    pub fn find(&self, hash: BlobHash) -> Option<FileRange> {
        self.0.find(hash).map(FileRange::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::Durability;
    use manyhands_protocol::{Split, segments_of};

    fn part(folder: &Path, name: &str, bytes: &[u8]) -> InputPart {
        let file = folder.join(name);
        std::fs::write(&file, bytes).unwrap();
        InputPart {
            name: name.into(),
            file: file.into(),
            known: None,
        }
    }

    #[test]
    fn segments_are_those_of_the_protocol_with_the_hashes_of_their_bytes() {
        let folder = tempfile::tempdir().unwrap();
        // One file is hashed as it is read, the other's cuts are found first.
        let long = b"a line of some text\n".repeat(150_000);
        let longest = b"a line of some other text\n".repeat(400_000);
        let parts = vec![
            part(folder.path(), "b", &long),
            part(folder.path(), "a", b"short"),
            part(folder.path(), "c", b""),
            part(folder.path(), "d", &longest),
        ];
        let cutting = cut(parts, Split::Size(1000)).unwrap();
        let mut task = 0;
        let mut expected = Vec::new();
        for bytes in [&b"short"[..], &long, b"", &longest] {
            for segment in segments_of(bytes, Split::Size(1000)).unwrap() {
                let range = segment.offset as usize..(segment.offset + segment.len) as usize;
                expected.push(SegmentRef {
                    hash: BlobHash::of(&bytes[range]),
                    len: segment.len,
                    first_task: task,
                    tasks: segment.tasks,
                });
                task += segment.tasks;
            }
        }
        assert!(expected.len() > 3, "several segments a file");
        assert_eq!(cutting.segments, expected);
        assert_eq!(cutting.tasks(), task);
    }

    #[test]
    fn what_was_cut_while_it_came_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let text = b"a line of some text\n".repeat(150_000);
        let whole = || part(folder.path(), "a", &text);
        let expected = cut(vec![whole()], Split::default()).unwrap();
        for piece in [1000, 1 << 20, text.len()] {
            let mut cutter = Cutter::new(Split::default());
            for piece in text.chunks(piece) {
                cutter.push(piece).unwrap();
            }
            let gone = InputPart {
                file: folder.path().join("gone").into(),
                known: Some(Arc::new(cutter.finish())),
                ..whole()
            };
            let known = cut(vec![gone.clone()], Split::default()).unwrap();
            assert_eq!(known.segments, expected.segments);
            assert!(cut(vec![gone], Split::Lines).is_err(), "cut otherwise");
        }
    }

    #[test]
    fn a_cutting_survives_the_journal_in_a_folder_that_was_moved() {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let outside = tempfile::tempdir().unwrap();
        let before = Blobs::open(old.path(), 1 << 20, Durability::Unsynced).unwrap();
        let parts = vec![
            part(old.path(), "a", b"one\ntwo\n"),
            part(outside.path(), "b", b"three\n"),
        ];
        let cutting = cut(parts, Split::Lines).unwrap();
        let places = cutting.places(&before);
        let after = Blobs::open(new.path(), 1 << 20, Durability::Unsynced).unwrap();
        let found = Cutting::stored(&cutting.segments, &places, &after).unwrap();
        assert_eq!(found.segments, cutting.segments);
        let files: Vec<&Path> = found.places.iter().map(|place| &*place.file).collect();
        let root = new.path().canonicalize().unwrap();
        assert_eq!(files, [&*root.join("a"), &*outside.path().join("b")]);
        assert!(Cutting::stored(&cutting.segments[1..], &places, &after).is_none());
        assert!(Cutting::stored(&cutting.segments, b"", &after).is_none());
    }

    #[test]
    fn empty_files_count_where_a_file_is_a_task() {
        let folder = tempfile::tempdir().unwrap();
        let parts = vec![part(folder.path(), "x", b""), part(folder.path(), "y", b"")];
        let cutting = cut(parts, Split::File).unwrap();
        assert_eq!(cutting.tasks(), 2);
        assert_eq!(cutting.segments[1].hash, BlobHash::of(b""));
    }

    #[test]
    fn errors_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let missing = InputPart {
            name: "data/missing.txt".into(),
            file: folder.path().join("missing.txt").into(),
            known: None,
        };
        let error = cut(vec![missing], Split::Lines).unwrap_err().to_string();
        assert!(
            error.starts_with("data/missing.txt: No such file"),
            "{error}"
        );
        let twice = vec![part(folder.path(), "a", b""), part(folder.path(), "a", b"")];
        let error = cut(twice, Split::Lines).unwrap_err().to_string();
        assert_eq!(error, "two inputs have the path a");
    }

    #[test]
    fn a_shared_segment_stays_until_its_last_job_ends() {
        let folder = tempfile::tempdir().unwrap();
        let cutting = cut(vec![part(folder.path(), "a", b"one\n")], Split::Lines).unwrap();
        let index = SegmentIndex::default();
        index.add(&cutting);
        index.add(&cutting);
        index.remove(&cutting);
        assert_eq!(
            index.find(BlobHash::of(b"one\n")),
            Some(cutting.places[0].clone())
        );
        index.remove(&cutting);
        assert_eq!(index.find(BlobHash::of(b"one\n")), None);
    }
}
