//! Where blobs gather: large ones in sealed memory, which the compute child is
//! given without a copy, small ones and what finds no such memory in ordinary.

use bytes::Bytes;
use manyhands_engine::sealed::{Growing, Sealed};
use manyhands_protocol::BlobHash;
use manyhands_worker_core::{Ordinary, Room, Rooms};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Below this, in bytes, a copy costs less than the memory's own file.
pub(crate) const LARGE: u64 = 64 << 10;

/// Memory by the hash of what it holds. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelf(Arc<Mutex<BTreeMap<BlobHash, Sealed>>>);

impl Shelf {
    /// The memory that holds the session's blob of this hash, if it is sealed.
    pub(crate) fn find(&self, hash: BlobHash) -> Option<Sealed> {
        self.sealed().get(&hash).cloned()
    }

    fn keep(&self, hash: BlobHash, memory: Sealed) -> Bytes {
        let bytes = memory.bytes();
        self.sealed().insert(hash, memory);
        Bytes::from_owner(Kept {
            bytes,
            hash,
            shelf: self.clone(),
        })
    }

    fn sealed(&self) -> MutexGuard<'_, BTreeMap<BlobHash, Sealed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rooms for Shelf {
    fn room(&mut self, hash: BlobHash, len: u64) -> Box<dyn Room> {
        if len < LARGE {
            return Ordinary.room(hash, len);
        }
        match Growing::new() {
            Ok(growing) => Box::new(Gathering {
                memory: Memory::Growing(growing),
                hash,
                shelf: self.clone(),
            }),
            Err(error) => {
                tracing::debug!(%error, "a blob in ordinary memory");
                Ordinary.room(hash, len)
            }
        }
    }
}

/// A blob of the session's; when it has gone, so has its memory.
struct Kept {
    bytes: Bytes,
    hash: BlobHash,
    shelf: Shelf,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut sealed = self.shelf.sealed();
        // It may have come anew meanwhile.
        let same = |memory: &Sealed| memory.bytes().as_ptr() == self.bytes.as_ptr();
        if sealed.get(&self.hash).is_some_and(same) {
            sealed.remove(&self.hash);
        }
    }
}

/// A blob on its way.
#[derive(Debug)]
struct Gathering {
    memory: Memory,
    hash: BlobHash,
    shelf: Shelf,
}

#[derive(Debug)]
enum Memory {
    Growing(Growing),
    Ordinary(Vec<u8>),
}

impl Memory {
    /// What it holds so far, as ordinary memory from now on.
    fn ordinary(self) -> Vec<u8> {
        match self {
            Self::Growing(growing) => growing.take().expect("memory can be read"),
            Self::Ordinary(bytes) => bytes,
        }
    }
}

impl Room for Gathering {
    fn push(&mut self, bytes: &[u8]) {
        if let Memory::Growing(growing) = &mut self.memory {
            match growing.push(bytes) {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, "a blob goes on in ordinary memory"),
            }
        }
        let memory = std::mem::replace(&mut self.memory, Memory::Ordinary(Vec::new()));
        let mut so_far = memory.ordinary();
        so_far.extend_from_slice(bytes);
        self.memory = Memory::Ordinary(so_far);
    }

    fn whole(self: Box<Self>) -> Bytes {
        let Self {
            memory,
            hash,
            shelf,
        } = *self;
        let growing = match memory {
            Memory::Growing(growing) => growing,
            Memory::Ordinary(bytes) => return bytes.into(),
        };
        match growing.seal() {
            Ok(memory) => shelf.keep(hash, memory),
            Err((growing, error)) => {
                tracing::debug!(%error, "a blob in ordinary memory");
                Memory::Growing(growing).ordinary().into()
            }
        }
    }
}
