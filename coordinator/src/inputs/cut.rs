//! From input files to segments, on all cores: small files are cut and hashed as
//! they are read; in large ones the cuts are found first, which most bytes do not
//! decide and so are not read for, and then segment after segment is hashed. What
//! was cut while it was uploaded is not read again.

use super::{Cuts, Cutting, InputError, InputPart};
use manyhands_protocol::{BlobHash, Segment, Split, SplitError, Splitter};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Read at once.
const BUFFER: usize = 256 << 10;

/// Read at once in search of the end of a task.
const GLIMPSE: usize = 16 << 10;

/// Files beyond this many bytes are hashed on more than one thread.
const LARGE: u64 = 4 << 20;

/// A segment, and its hash once that is known.
type Found = (Segment, Option<BlobHash>);

/// Cuts and hashes all files, in the bytewise order of their names. Blocks:
/// call it on a thread that may.
pub(crate) fn cut(mut parts: Vec<InputPart>, split: Split) -> Result<Cutting, InputError> {
    parts.sort_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
    if let Some(twice) = parts.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(InputError::Twice(twice[0].name.clone()));
    }
    let found = on_all_cores(&parts, |part, buffer| cut_file(part, split, buffer))?;
    let mut all: Vec<(&InputPart, Found)> = Vec::new();
    for (part, found) in parts.iter().zip(found) {
        all.extend(found.into_iter().map(|found| (part, found)));
    }
    let hashed = on_all_cores(&all, |(part, found), buffer| match found {
        (segment, None) => hash_segment(part, *segment, split, buffer),
        (_, Some(hash)) => Ok(*hash),
    })?;
    let mut cutting = Cutting::default();
    for ((part, (segment, _)), hash) in all.into_iter().zip(hashed) {
        cutting.push(&part.file, segment, hash);
    }
    Ok(cutting)
}

/// Does something with each item, in any order, with a buffer a thread; what it
/// came to, in the order of the items, or the first error among them.
fn on_all_cores<I: Sync, T: Send>(
    items: &[I],
    work: impl Fn(&I, &mut [u8]) -> Result<T, InputError> + Sync,
) -> Result<Vec<T>, InputError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            scope.spawn(|| {
                let mut buffer = vec![0; BUFFER];
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { return };
                    let outcome = work(item, &mut buffer);
                    if outcome.is_err() {
                        next.store(items.len(), Ordering::Relaxed);
                    }
                    let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                    outcomes.push((at, outcome));
                }
            });
        }
    });
    let outcomes = outcomes.into_inner();
    let mut outcomes = outcomes.unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|(at, _)| *at);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn cut_file(part: &InputPart, split: Split, buffer: &mut [u8]) -> Result<Vec<Found>, InputError> {
    if let Some(known) = part.known.as_ref().filter(|known| known.split == split) {
        let segments = known.segments.iter();
        return Ok(segments.map(|(at, hash)| (*at, Some(*hash))).collect());
    }
    let read = |source| read_error(part, source);
    let file = File::open(&part.file).map_err(read)?;
    let len = file.metadata().map_err(read)?.len();
    if len > LARGE {
        let found = find_cuts(part, file, len, split, buffer)?;
        return Ok(found.into_iter().map(|segment| (segment, None)).collect());
    }
    // No more than it had: a file that grows is as it was.
    let found = cut_through(part, file.take(len), split, buffer)?;
    let found = found.segments.into_iter();
    Ok(found.map(|(at, hash)| (at, Some(hash))).collect())
}

/// Reads to the end, cutting and hashing what is read.
fn cut_through(
    part: &InputPart,
    mut file: impl Read,
    split: Split,
    buffer: &mut [u8],
) -> Result<Cuts, InputError> {
    let mut cutter = Cutter::new(split);
    loop {
        let read = file.read(buffer);
        let len = read.map_err(|source| read_error(part, source))?;
        if len == 0 {
            return Ok(cutter.finish());
        }
        let cut = cutter.push(&buffer[..len]);
        cut.map_err(|source| split_error(part, source))?;
    }
}

/// Finds where a large file is cut, reading only what decides that.
fn find_cuts(
    part: &InputPart,
    mut file: File,
    len: u64,
    split: Split,
    buffer: &mut [u8],
) -> Result<Vec<Segment>, InputError> {
    let read = |source| read_error(part, source);
    let cut = |source| split_error(part, source);
    let (mut splitter, mut found) = (Splitter::new(split), Vec::new());
    let mut at = 0;
    while at < len {
        let skip = splitter.undecided().min(len - at);
        splitter.skip(skip).map_err(cut)?;
        at += skip;
        if skip > 0 {
            file.seek(SeekFrom::Start(at)).map_err(read)?;
        }
        let most = if skip > 0 { GLIMPSE } else { BUFFER };
        let most = (len - at).min(most as u64) as usize;
        let came = file.read(&mut buffer[..most]).map_err(read)?;
        if came == 0 && most > 0 {
            return Err(InputError::Changing(part.name.clone()));
        }
        splitter.push(&buffer[..came], &mut found).map_err(cut)?;
        at += came as u64;
    }
    splitter.finish(&mut found);
    Ok(found)
}

/// The hash of a segment whose tasks are as they were found to be: what a worker
/// will cut itself.
fn hash_segment(
    part: &InputPart,
    segment: Segment,
    split: Split,
    buffer: &mut [u8],
) -> Result<BlobHash, InputError> {
    let read = |source| read_error(part, source);
    let mut file = File::open(&part.file).map_err(read)?;
    file.seek(SeekFrom::Start(segment.offset)).map_err(read)?;
    let found = cut_through(part, file.take(segment.len), split, buffer)?;
    match found.segments[..] {
        [(same, hash)] if (same.len, same.tasks) == (segment.len, segment.tasks) => Ok(hash),
        _ => Err(InputError::Changing(part.name.clone())),
    }
}

fn read_error(part: &InputPart, source: io::Error) -> InputError {
    let name = part.name.clone();
    InputError::Read { name, source }
}

fn split_error(part: &InputPart, source: SplitError) -> InputError {
    let name = part.name.clone();
    InputError::Split { name, source }
}

/// Cuts a file and hashes its segments as its bytes go by.
#[derive(Debug)]
pub(crate) struct Cutter {
    split: Split,
    splitter: Splitter,
    /// Of the segment that is not whole. Boxed: 2 KiB, in tasks of which there may be
    /// many.
    hasher: Box<blake3::Hasher>,
    position: u64,
    /// Found in the bytes that go by just now.
    ended: Vec<Segment>,
    segments: Vec<(Segment, BlobHash)>,
}

impl Cutter {
    /// At the start of a file.
    pub(crate) fn new(split: Split) -> Self {
        Self {
            split,
            splitter: Splitter::new(split),
            hasher: Box::default(),
            position: 0,
            ended: Vec::new(),
            segments: Vec::new(),
        }
    }

    /// Takes the file's next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), SplitError> {
        self.splitter.push(bytes, &mut self.ended)?;
        self.hash(bytes);
        Ok(())
    }

    /// The file ends here.
    pub(crate) fn finish(mut self) -> Cuts {
        self.splitter.clone().finish(&mut self.ended);
        self.hash(&[]);
        Cuts {
            split: self.split,
            segments: self.segments,
        }
    }

    /// Hashes the next bytes and names the segments that end within them.
    fn hash(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        for segment in self.ended.drain(..) {
            let to_end = segment.offset + segment.len - self.position;
            let (of_segment, after) = rest.split_at(to_end as usize);
            self.hasher.update(of_segment);
            self.position += to_end;
            let hash = BlobHash(*self.hasher.finalize().as_bytes());
            self.hasher.reset();
            self.segments.push((segment, hash));
            rest = after;
        }
        self.hasher.update(rest);
        self.position += rest.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_that_has_other_tasks_now_is_not_hashed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        let part = InputPart {
            name: "data/a".into(),
            file: file.clone().into(),
            known: None,
        };
        let segment = Segment {
            offset: 4,
            len: 8,
            tasks: 2,
        };
        let hash = |text: &[u8]| {
            std::fs::write(&file, text).unwrap();
            let hash = hash_segment(&part, segment, Split::Lines, &mut [0; 16]);
            hash.map_err(|error| error.to_string())
        };
        assert_eq!(hash(b"one\ntwo\nsix\n"), Ok(BlobHash::of(b"two\nsix\n")));
        let changing = Err("data/a changes while it is read".to_owned());
        assert_eq!(hash(b"one\ntwosixty\n"), changing);
        assert_eq!(hash(b"one\ntwo\n"), changing, "it is shorter");
    }
}
