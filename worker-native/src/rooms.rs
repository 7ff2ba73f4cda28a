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

/// Memory by the hash of what it holds, and which of it the compute child has. Clones
/// are the same.
///
/// What the child was lent it keeps for as long as the session does: the next job on the
/// same input finds it mapped, and mappings that end while slots compute would
/// take their time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelf(Arc<Mutex<Shelved>>);

#[derive(Debug, Default)]
struct Shelved {
    memory: BTreeMap<BlobHash, Place>,
    /// Lent, and gone from the session since.
    gone: Vec<BlobHash>,
}

#[derive(Debug)]
struct Place {
    memory: Sealed,
    lent: bool,
}

/// What the child is to be given of a blob.
#[derive(Debug)]
pub(crate) enum Lend {
    /// This memory, which is lent from now on.
    Memory(Sealed),
    /// Nothing: it has it.
    Lent,
    /// Its bytes: they are not in sealed memory.
    Bytes,
}

impl Shelf {
    /// Lends a blob of the session's to the child.
    pub(crate) fn lend(&self, hash: BlobHash) -> Lend {
        match self.shelved().memory.get_mut(&hash) {
            Some(place) if place.lent => Lend::Lent,
            Some(place) => {
                place.lent = true;
                Lend::Memory(place.memory.clone())
            }
            None => Lend::Bytes,
        }
    }

    /// Whether the child keeps it, though the session has no work for it now.
    pub(crate) fn is_lent(&self, hash: BlobHash) -> bool {
        let shelved = self.shelved();
        shelved.memory.get(&hash).is_some_and(|place| place.lent)
    }

    /// What was lent and is to be taken back: the session has forgotten it.
    pub(crate) fn gone(&self) -> Vec<BlobHash> {
        std::mem::take(&mut self.shelved().gone)
    }

    fn keep(&self, hash: BlobHash, memory: Sealed) -> Bytes {
        let bytes = memory.bytes();
        let mut shelved = self.shelved();
        // It may have come before and not be forgotten everywhere: the child has those
        // bytes.
        let before = shelved.memory.remove(&hash);
        let lent = before.is_some_and(|place| place.lent);
        shelved.memory.insert(hash, Place { memory, lent });
        Bytes::from_owner(Kept {
            bytes,
            hash,
            shelf: self.clone(),
        })
    }

    fn shelved(&self) -> MutexGuard<'_, Shelved> {
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
        let mut shelved = self.shelf.shelved();
        // It may have come anew meanwhile.
        let same = |place: &Place| place.memory.bytes().as_ptr() == self.bytes.as_ptr();
        if !shelved.memory.get(&self.hash).is_some_and(same) {
            return;
        }
        let place = shelved.memory.remove(&self.hash);
        if place.is_some_and(|place| place.lent) {
            shelved.gone.push(self.hash);
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn blob(shelf: &mut Shelf, hash: BlobHash) -> Bytes {
        let mut room = shelf.room(hash, LARGE);
        room.push(&vec![7; LARGE as usize]);
        room.whole()
    }

    #[test]
    fn what_was_lent_is_taken_back_when_the_session_forgets_it() {
        let hash = BlobHash([1; 32]);
        let mut shelf = Shelf::default();
        assert!(matches!(shelf.lend(hash), Lend::Bytes));
        let bytes = blob(&mut shelf, hash);
        assert!(!shelf.is_lent(hash));
        let Lend::Memory(memory) = shelf.lend(hash) else {
            panic!("it is in sealed memory");
        };
        assert_eq!(memory.bytes(), bytes);
        assert!(shelf.is_lent(hash) && matches!(shelf.lend(hash), Lend::Lent));
        assert_eq!(shelf.gone(), []);
        drop(bytes);
        assert_eq!(shelf.gone(), [hash]);
        assert_eq!(shelf.gone(), [], "once");
        assert!(!shelf.is_lent(hash));
    }

    #[test]
    fn what_was_not_lent_is_just_forgotten() {
        let hash = BlobHash([1; 32]);
        let mut shelf = Shelf::default();
        drop(blob(&mut shelf, hash));
        assert_eq!(shelf.gone(), []);
        assert!(matches!(shelf.lend(hash), Lend::Bytes));
    }

    #[test]
    fn what_comes_anew_before_it_is_forgotten_is_lent_still() {
        let hash = BlobHash([1; 32]);
        let mut shelf = Shelf::default();
        let first = blob(&mut shelf, hash);
        assert!(matches!(shelf.lend(hash), Lend::Memory(_)));
        let second = blob(&mut shelf, hash);
        drop(first);
        assert!(shelf.is_lent(hash) && shelf.gone().is_empty());
        drop(second);
        assert_eq!(shelf.gone(), [hash]);
    }
}
