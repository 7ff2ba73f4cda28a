//! Where the bytes of a blob gather while they come. A driver may have them lie
//! where its slots see them, instead of copying them there once they are whole.

use bytes::Bytes;
use manyhands_protocol::{BlobHash, BlobHasher};
use std::fmt::Debug;

/// Memory taken before any byte has come, at most.
const FIRST_ROOM: u64 = 4 << 20;

/// Where one blob gathers, from its beginning to its end.
pub trait Room: Debug + Send {
    /// Appends bytes.
    fn push(&mut self, bytes: &[u8]);

    /// All that was appended.
    fn whole(self: Box<Self>) -> Bytes;
}

/// Where blobs gather.
pub trait Rooms: Debug + Send {
    /// Room for a blob of `len` bytes, which may never come: nothing should be taken
    /// for more than has come.
    fn room(&mut self, hash: BlobHash, len: u64) -> Box<dyn Room>;
}

/// Ordinary memory.
#[derive(Clone, Copy, Debug)]
pub struct Ordinary;

impl Rooms for Ordinary {
    fn room(&mut self, _hash: BlobHash, len: u64) -> Box<dyn Room> {
        Box::new(Vec::with_capacity(len.min(FIRST_ROOM) as usize))
    }
}

impl Room for Vec<u8> {
    fn push(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn whole(self: Box<Self>) -> Bytes {
        Bytes::from(*self)
    }
}

/// What has come of a blob, hashed as it comes.
#[derive(Debug)]
pub(crate) struct Coming {
    room: Box<dyn Room>,
    len: u64,
    hasher: BlobHasher,
}

impl Coming {
    /// Nothing yet; the rest gathers in `room`.
    pub(crate) fn new(room: Box<dyn Room>) -> Self {
        Self {
            room,
            len: 0,
            hasher: BlobHasher::default(),
        }
    }

    /// The next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        self.hasher.update(bytes);
        self.room.push(bytes);
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// What came, and the hash of it.
    pub(crate) fn whole(self) -> (Bytes, BlobHash) {
        (self.room.whole(), self.hasher.finish())
    }
}
