//! Content-addressed blobs: modules, input files, broadcast files, results.
//!
//! A blob is first written under a scratch name, hashed on the way, and then
//! renamed to its hash: a reader sees all of it or none. What the bytes mean is
//! known elsewhere.

use bytes::Bytes;
use manyhands_protocol::BlobHash;
use manyhands_protocol::api::BlobView;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{GetResult, ObjectStore, ObjectStoreExt};
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::AsyncWriteExt;

/// Why a blob cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The folder of the blobs does not work: full, read-only, gone.
    #[error("the data folder: {0}")]
    Io(#[from] std::io::Error),
    /// The store behind the blobs does not work.
    #[error("the data folder: {0}")]
    Store(#[from] object_store::Error),
    /// Another process has the folder.
    #[error("another coordinator uses it; choose another folder with --data")]
    InUse,
    /// More bytes than may come.
    #[error("more than {0} bytes, which is the most this coordinator takes")]
    TooLarge(u64),
}

/// The folder of all blobs, and of what is on its way to become one.
#[derive(Debug)]
pub(crate) struct Blobs {
    store: Arc<dyn ObjectStore>,
    root: PathBuf,
    names: AtomicU64,
    max_blob: u64,
    /// Held locked: another coordinator would drop what is on its way here.
    _lock: File,
}

/// A range of a local file: a whole blob, a segment of one, or a segment of an
/// input that is read in place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// The file.
    pub(crate) file: Arc<Path>,
    /// Where the range begins, in bytes.
    pub(crate) offset: u64,
    /// Its length in bytes.
    pub(crate) len: u64,
}

impl Place {
    /// Reads `len` bytes from `offset` on within the range, off the async threads.
    pub(crate) async fn read(&self, offset: u64, len: usize) -> std::io::Result<Bytes> {
        assert!(offset + len as u64 <= self.len, "a read past the range");
        let (path, at) = (Arc::clone(&self.file), self.offset + offset);
        let read = move || {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(at))?;
            let mut bytes = vec![0; len];
            file.read_exact(&mut bytes)?;
            Ok(Bytes::from(bytes))
        };
        let joined = tokio::task::spawn_blocking(read).await;
        joined.unwrap_or_else(|gone| Err(std::io::Error::other(gone)))
    }
}

const SCRATCH: &str = "scratch";

impl Blobs {
    /// Opens the folder, creating it if it is not there; what was on its way
    /// when an earlier process died is dropped.
    pub(crate) fn open(root: &Path, max_blob: u64) -> Result<Self, BlobError> {
        std::fs::create_dir_all(root)?;
        let lock = File::create(root.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => BlobError::InUse,
            TryLockError::Error(error) => error.into(),
        })?;
        let scratch = root.join(SCRATCH);
        if scratch.exists() {
            std::fs::remove_dir_all(&scratch)?;
        }
        std::fs::create_dir_all(&scratch)?;
        std::fs::create_dir_all(root.join("blobs"))?;
        let root = root.canonicalize()?;
        let store = LocalFileSystem::new_with_prefix(&root)?;
        Ok(Self {
            store: Arc::new(store),
            root,
            names: AtomicU64::new(0),
            max_blob,
            _lock: lock,
        })
    }

    /// A new scratch file to write a blob into.
    pub(crate) async fn stage(self: &Arc<Self>) -> Result<Staging, BlobError> {
        let name = self.names.fetch_add(1, Ordering::Relaxed).to_string();
        let path = self.root.join(SCRATCH).join(&name);
        let file = tokio::fs::File::create(&path).await?;
        Ok(Staging {
            blobs: Arc::clone(self),
            name,
            path: path.into(),
            file,
            hasher: Box::default(),
            len: 0,
            kept: false,
        })
    }

    /// Stores bytes that are in memory.
    pub(crate) async fn put(self: &Arc<Self>, bytes: &[u8]) -> Result<BlobView, BlobError> {
        let hash = BlobHash::of(bytes);
        if let Some(view) = self.head(hash).await? {
            return Ok(view);
        }
        let mut staging = self.stage().await?;
        staging.write(bytes).await?;
        staging.commit().await
    }

    /// What is known of a blob, if it is here.
    pub(crate) async fn head(&self, hash: BlobHash) -> Result<Option<BlobView>, BlobError> {
        match self.store.head(&key(hash)).await {
            Ok(meta) => Ok(Some(BlobView {
                hash,
                len: meta.size,
            })),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(other) => Err(other.into()),
        }
    }

    /// A blob to be streamed, if it is here.
    pub(crate) async fn get(&self, hash: BlobHash) -> Result<Option<GetResult>, BlobError> {
        match self.store.get(&key(hash)).await {
            Ok(found) => Ok(Some(found)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(other) => Err(other.into()),
        }
    }

    /// Where a blob lies, to read ranges of it, if it is here.
    pub(crate) async fn place(&self, hash: BlobHash) -> Result<Option<Place>, BlobError> {
        let found = self.head(hash).await?;
        Ok(found.map(|view| Place {
            file: self.root.join(key(hash).as_ref()).into(),
            offset: 0,
            len: view.len,
        }))
    }
}

/// Where a blob lies under the root; two digits keep folders small.
fn key(hash: BlobHash) -> Key {
    let hash = hash.to_string();
    Key::from_iter(["blobs", &hash[..2], &hash])
}

/// A blob being written. Dropped before [`commit`](Self::commit), it is gone.
pub(crate) struct Staging {
    blobs: Arc<Blobs>,
    name: String,
    path: Arc<Path>,
    file: tokio::fs::File,
    // Boxed: 2 KiB, in tasks of which there may be many.
    hasher: Box<blake3::Hasher>,
    len: u64,
    kept: bool,
}

impl Staging {
    /// Appends bytes.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let len = self.len + bytes.len() as u64;
        if len > self.blobs.max_blob {
            return Err(BlobError::TooLarge(self.blobs.max_blob));
        }
        self.hasher.update(bytes);
        self.file.write_all(bytes).await?;
        self.len = len;
        Ok(())
    }

    /// Brings what was written so far to the file, so that others can read it.
    pub(crate) async fn flush(&mut self) -> Result<u64, BlobError> {
        self.file.flush().await?;
        Ok(self.len)
    }

    /// The scratch file, for those who read it while it grows.
    pub(crate) fn path(&self) -> Arc<Path> {
        Arc::clone(&self.path)
    }

    /// Gives the blob its name.
    pub(crate) async fn commit(mut self) -> Result<BlobView, BlobError> {
        self.file.flush().await?;
        let hash = BlobHash(*self.hasher.finalize().as_bytes());
        let scratch = Key::from_iter([SCRATCH, &self.name]);
        self.blobs.store.rename(&scratch, &key(hash)).await?;
        self.kept = true;
        Ok(BlobView {
            hash,
            len: self.len,
        })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.kept {
            // Nobody misses it, and the next start removes what stays.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files_under(folder: &Path) -> usize {
        let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
        entries
            .map(|entry| match entry.file_type().unwrap().is_dir() {
                true => files_under(&entry.path()),
                false => 1,
            })
            .sum()
    }

    #[tokio::test]
    async fn a_blob_is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Arc::new(Blobs::open(folder.path(), 8).unwrap());
        let hash = BlobHash::of(b"abcdef");
        let mut staging = blobs.stage().await.unwrap();
        staging.write(b"abc").await.unwrap();
        staging.write(b"def").await.unwrap();
        assert_eq!(blobs.head(hash).await.unwrap(), None);
        let view = staging.commit().await.unwrap();
        assert_eq!(view, BlobView { hash, len: 6 });
        let place = blobs.place(hash).await.unwrap().unwrap();
        assert_eq!(place.read(2, 3).await.unwrap(), "cde");
        assert_eq!(blobs.put(b"abcdef").await.unwrap(), view);
        // Beside the blob there is the lock.
        assert_eq!(files_under(folder.path()), 2);
    }

    #[tokio::test]
    async fn what_is_given_up_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Arc::new(Blobs::open(folder.path(), 8).unwrap());
        let mut staging = blobs.stage().await.unwrap();
        staging.write(b"12345678").await.unwrap();
        let refused = staging.write(b"9").await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "more than 8 bytes, which is the most this coordinator takes"
        );
        drop(staging);
        assert_eq!(files_under(folder.path()), 1, "the lock");
    }
}
