//! Input segments as the parent has given them. What is memory already is only cut;
//! a part of a file is read by the slot that comes to it first, and let go with the
//! last piece that needs it, so that a child holds what it works on and no more. Where
//! too many files are open already it is read at once.

use crate::open_files::Counted;
use crate::runtime::Segment;
use bytes::Bytes;
use manyhands_protocol::{BlobHash, BlobHasher, Split};
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

/// Read at once: little enough to be hashed while it is in the processor's cache.
const CHUNK: usize = 256 << 10;

/// Bytes of buffers that wait to be read into again.
const SPARE: usize = 32 << 20;

/// A part of a file, as it was when it was hashed.
pub(super) struct Part {
    pub(super) file: File,
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) hash: BlobHash,
}

enum Source {
    /// In memory, or not to be had: then its hash.
    Read(Result<Bytes, BlobHash>),
    Part(Part, Counted, Arc<Buffers>),
}

/// A segment, and how it is cut by the jobs that read it.
pub(super) struct Held {
    source: Arc<Source>,
    cut: Vec<(Split, Weak<Cut>)>,
    /// Of what is in memory anyway, the cuts too, as long as there are jobs that read it so.
    kept: Vec<Arc<Cut>>,
}

impl Held {
    pub(super) fn bytes(bytes: Bytes) -> Self {
        Self::new(Source::Read(Ok(bytes)))
    }

    pub(super) fn part(part: Part, buffers: &Arc<Buffers>) -> Self {
        Self::new(match Counted::new() {
            Ok(counted) => Source::Part(part, counted, Arc::clone(buffers)),
            Err(_) => Source::Read(part.bytes(buffers)),
        })
    }

    fn new(source: Source) -> Self {
        Self {
            source: Arc::new(source),
            cut: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// The segment, for a job that cuts it in this way.
    pub(super) fn cut(&mut self, split: Split) -> Arc<Cut> {
        self.cut.retain(|(_, cut)| cut.strong_count() > 0);
        let mut known = self.cut.iter().filter(|(known, _)| *known == split);
        if let Some(cut) = known.find_map(|(_, cut)| cut.upgrade()) {
            return cut;
        }
        let cut = Arc::new(Cut {
            source: Arc::clone(&self.source),
            split,
            segment: OnceLock::new(),
        });
        self.cut.push((split, Arc::downgrade(&cut)));
        if matches!(*self.source, Source::Read(_)) {
            self.kept.push(Arc::clone(&cut));
        }
        cut
    }

    /// No job cuts it in this way any more.
    pub(super) fn forget(&mut self, split: Split) {
        self.kept.retain(|cut| cut.split != split);
    }
}

/// A segment that pieces need, cut in one way.
pub(super) struct Cut {
    source: Arc<Source>,
    split: Split,
    /// Once a slot has come to it.
    segment: OnceLock<Result<Arc<Segment>, BlobHash>>,
}

impl Cut {
    /// The segment, read and cut by whoever is first.
    ///
    /// # Errors
    /// The hash of a part of a file that has gone, or has other bytes now.
    pub(super) fn segment(&self) -> Result<Arc<Segment>, BlobHash> {
        let read = || {
            let bytes = match &*self.source {
                Source::Read(read) => read.clone(),
                Source::Part(part, _, buffers) => part.bytes(buffers),
            }?;
            Ok(Arc::new(Segment::new(bytes, self.split)))
        };
        self.segment.get_or_init(read).clone()
    }
}

impl Part {
    /// What is there; if that is not what was hashed, the hash.
    fn bytes(&self, buffers: &Arc<Buffers>) -> Result<Bytes, BlobHash> {
        self.read(buffers).ok().flatten().ok_or(self.hash)
    }

    /// What is there, if that is what was hashed.
    fn read(&self, buffers: &Arc<Buffers>) -> io::Result<Option<Bytes>> {
        let len = usize::try_from(self.len).map_err(io::Error::other)?;
        let mut buffer = Buffers::take(buffers, len);
        let (mut at, mut hasher) = (self.offset, BlobHasher::default());
        for chunk in buffer.bytes[..len].chunks_mut(CHUNK) {
            read_exact_at(&self.file, chunk, at)?;
            hasher.update(chunk);
            at += chunk.len() as u64;
        }
        Ok((hasher.finish() == self.hash).then(|| Bytes::from_owner(buffer)))
    }
}

/// Reads from a place that no other reader of the file moves.
#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

/// No child is given files here.
#[cfg(not(unix))]
fn read_exact_at(_file: &File, _bytes: &mut [u8], _at: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Memory that was read into and may be again: to have it from the system anew would
/// cost as much as the reading.
#[derive(Default)]
pub(super) struct Buffers {
    spare: Mutex<Spare>,
}

#[derive(Default)]
struct Spare {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

/// A buffer that goes back when nobody reads it any more.
struct Buffer {
    bytes: Vec<u8>,
    len: usize,
    home: Arc<Buffers>,
}

impl Buffers {
    /// One that holds at least `len` bytes, whatever they are.
    fn take(buffers: &Arc<Self>, len: usize) -> Buffer {
        let spare = {
            let mut spare = buffers.spare();
            let taken = spare.buffers.pop();
            spare.bytes -= taken.as_ref().map_or(0, Vec::len);
            taken
        };
        let mut bytes = spare.unwrap_or_default();
        if bytes.len() < len {
            bytes.resize(len, 0);
        }
        Buffer {
            bytes,
            len,
            home: Arc::clone(buffers),
        }
    }

    fn spare(&self) -> std::sync::MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut spare = self.home.spare();
        if spare.bytes + bytes.len() <= SPARE {
            spare.bytes += bytes.len();
            spare.buffers.push(bytes);
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::io::Write;

    fn held(text: &[u8], (offset, len): (u64, u64), hashed: &[u8]) -> (Held, Arc<Buffers>) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        let buffers = Arc::<Buffers>::default();
        let part = Part {
            file,
            offset,
            len,
            hash: BlobHash::of(hashed),
        };
        (Held::part(part, &buffers), buffers)
    }

    #[test]
    fn a_part_is_read_once_while_it_is_needed() {
        let text = b"many\nhands\nmake\n".repeat(100_000);
        let part = &text[5..];
        let (mut held, buffers) = held(&text, (5, part.len() as u64), part);
        let cut = held.cut(Split::Lines);
        let segment = cut.segment().unwrap();
        assert_eq!(segment.tasks(), 299_999);
        assert!(Arc::ptr_eq(&held.cut(Split::Lines), &cut), "it is there");
        let whole = held.cut(Split::File).segment().unwrap();
        assert_eq!(whole.tasks(), 1);
        assert_eq!(buffers.spare().bytes, 0, "both are read");
        drop((cut, segment, whole));
        assert_eq!(buffers.spare().buffers.len(), 2, "to be read into again");
        assert_eq!(held.cut(Split::Lines).segment().unwrap().tasks(), 299_999);
        assert_eq!(buffers.spare().bytes, 2 * part.len());
    }

    #[test]
    fn what_was_changed_or_cut_off_is_named() {
        for (text, len) in [(&b"many hints"[..], 10), (b"many", 10)] {
            let (mut held, _) = held(text, (0, len), b"many hands");
            let read = held.cut(Split::File).segment();
            assert_eq!(read.map(drop), Err(BlobHash::of(b"many hands")));
        }
    }

    #[test]
    fn what_is_in_memory_stays_cut() {
        let mut held = Held::bytes(Bytes::from_static(b"a\nb\n"));
        let first = Arc::downgrade(&held.cut(Split::Lines));
        assert_eq!(held.cut(Split::Lines).segment().unwrap().tasks(), 2);
        held.forget(Split::File);
        assert!(first.upgrade().is_some());
        held.forget(Split::Lines);
        assert!(first.upgrade().is_none(), "nobody needs the cut");
        assert_eq!(held.cut(Split::Lines).segment().unwrap().tasks(), 2);
    }

    #[test]
    fn few_buffers_wait() {
        let buffers = Arc::<Buffers>::default();
        let all: Vec<Buffer> = (0..40).map(|_| Buffers::take(&buffers, 1 << 20)).collect();
        drop(all);
        assert_eq!(buffers.spare().buffers.len(), SPARE >> 20);
    }
}
