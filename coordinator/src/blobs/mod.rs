//! Content-addressed blobs: modules, input files, broadcast files, results.
//!
//! A blob is first written under a scratch name, hashed on the way, and then
//! renamed to its hash: a reader sees all of it or none. It is on disk before
//! anyone is told of it. What the bytes mean is known elsewhere.

mod error;
mod output;
mod staging;
mod sweep;
#[cfg(test)]
pub(crate) mod tests;

pub use error::BlobError;
pub(crate) use output::Output;

use bytes::Bytes;
use manyhands_engine::part::FileRange;
use manyhands_protocol::BlobHash;
use manyhands_protocol::api::BlobView;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{GetResult, ObjectStore, ObjectStoreExt};
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;
use tokio::sync::RwLock;

/// Whether what is stored must outlive the machine's next power cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Durability {
    /// Synced before anyone is told of it.
    Synced,
    /// Left to the system: nobody will ask for it after the process.
    Unsynced,
}

/// The folder of all blobs, and of what is on its way to become one.
#[derive(Debug)]
pub(crate) struct Blobs {
    store: Arc<dyn ObjectStore>,
    root: PathBuf,
    names: AtomicU64,
    max_blob: u64,
    durability: Durability,
    /// Written by who looks at a blob's age and removes it, read by who stores
    /// it or makes it young: neither happens within the other.
    ages: RwLock<()>,
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

impl From<Place> for FileRange {
    fn from(Place { file, offset, len }: Place) -> Self {
        Self { file, offset, len }
    }
}

impl Place {
    /// Reads `len` bytes from `offset` on within the range, off the async threads.
    pub(crate) async fn read(&self, offset: u64, len: usize) -> std::io::Result<Bytes> {
        let room = vec![(Vec::with_capacity(len), len)];
        let mut read = self.read_behind(offset, room).await?;
        let (bytes, _) = read.pop().expect("as many as were given");
        Ok(Bytes::from(bytes))
    }

    /// Reads from `offset` on within the range, off the async threads: appends to each
    /// of the given bytes as many as are asked for, one after the other.
    pub(crate) async fn read_behind(
        &self,
        offset: u64,
        parts: Vec<(Vec<u8>, usize)>,
    ) -> std::io::Result<Vec<(Vec<u8>, usize)>> {
        let len: usize = parts.iter().map(|(_, len)| len).sum();
        assert!(offset + len as u64 <= self.len, "a read past the range");
        let (path, at) = (Arc::clone(&self.file), self.offset + offset);
        let read = move || {
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(at))?;
            let whole = parts.into_iter().map(|(mut bytes, len)| {
                let read = (&mut file).take(len as u64).read_to_end(&mut bytes)?;
                match read < len {
                    true => Err(ErrorKind::UnexpectedEof.into()),
                    false => Ok((bytes, len)),
                }
            });
            whole.collect()
        };
        off_async(read).await
    }

    /// The hash of what is there now, of as much of the range as there is.
    pub(crate) async fn hash(&self) -> std::io::Result<BlobHash> {
        let place = self.clone();
        off_async(move || {
            let mut file = File::open(&place.file)?;
            file.seek(SeekFrom::Start(place.offset))?;
            let mut hasher = blake3::Hasher::new();
            std::io::copy(&mut file.take(place.len), &mut hasher)?;
            Ok(BlobHash(*hasher.finalize().as_bytes()))
        })
        .await
    }
}

/// Runs what blocks on a thread that may.
async fn off_async<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|gone| Err(std::io::Error::other(gone)))
}

const BLOBS: &str = "blobs";
const SCRATCH: &str = "scratch";
const OUTPUTS: &str = "outputs";

impl Blobs {
    /// Opens the folder, creating it if it is not there; what was on its way
    /// to be a blob when an earlier process died is dropped.
    pub(crate) fn open(
        root: &Path,
        max_blob: u64,
        durability: Durability,
    ) -> Result<Self, BlobError> {
        let io = |error| BlobError::io(root, error);
        std::fs::create_dir_all(root).map_err(io)?;
        let lock = File::create(root.join("lock")).map_err(io)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => BlobError::InUse {
                folder: root.to_owned(),
            },
            TryLockError::Error(error) => io(error),
        })?;
        make_folders(root, durability).map_err(io)?;
        let root = root.canonicalize().map_err(io)?;
        let store = LocalFileSystem::new_with_prefix(&root)
            .map_err(|error| BlobError::store(&root, error))?;
        Ok(Self {
            // Both folders of a rename are synced by it.
            store: Arc::new(store.with_fsync(durability == Durability::Synced)),
            root,
            names: AtomicU64::new(0),
            max_blob,
            durability,
            ages: RwLock::new(()),
            _lock: lock,
        })
    }

    /// Stores bytes that are in memory. What is here already is as good as new:
    /// it is on disk, and is not swept for a while.
    pub(crate) async fn put(self: &Arc<Self>, bytes: &[u8]) -> Result<BlobView, BlobError> {
        let hash = BlobHash::of(bytes);
        if let Some(view) = self.renew(hash).await? {
            return Ok(view);
        }
        let mut staging = self.stage().await?;
        staging.write(bytes).await?;
        staging.commit().await
    }

    /// What is known of a blob, if it is here; it then stays for a while, as if
    /// it had been stored just now.
    pub(crate) async fn renew(
        self: &Arc<Self>,
        hash: BlobHash,
    ) -> Result<Option<BlobView>, BlobError> {
        self.touch(hash, self.durability).await
    }

    async fn touch(
        self: &Arc<Self>,
        hash: BlobHash,
        durability: Durability,
    ) -> Result<Option<BlobView>, BlobError> {
        let blobs = Arc::clone(self);
        let renewed = off_async(move || {
            let path = blobs.path(hash);
            // Not every system lets a file be synced that was opened to be read.
            let file = match File::options().read(true).write(true).open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            if !blobs.make_young(&file, &path)? {
                return Ok(None);
            }
            if durability == Durability::Synced {
                // Whoever stored it may not have come to this yet.
                file.sync_all()?;
                sync_folder(path.parent().expect("a blob lies in a folder"))?;
            }
            let len = file.metadata()?.len();
            Ok(Some(BlobView { hash, len }))
        });
        renewed.await.map_err(|error| self.io(error))
    }

    /// Whether the file was still there to be made young.
    fn make_young(&self, file: &File, path: &Path) -> std::io::Result<bool> {
        let _held = self.ages.blocking_read();
        if !path.try_exists()? {
            return Ok(false);
        }
        file.set_modified(SystemTime::now())?;
        Ok(true)
    }

    /// What is known of a blob, if it is here.
    pub(crate) async fn head(&self, hash: BlobHash) -> Result<Option<BlobView>, BlobError> {
        match self.store.head(&key(hash)).await {
            Ok(meta) => Ok(Some(BlobView {
                hash,
                len: meta.size,
            })),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(other) => Err(BlobError::store(&self.root, other)),
        }
    }

    /// A blob to be streamed, if it is here.
    pub(crate) async fn get(&self, hash: BlobHash) -> Result<Option<GetResult>, BlobError> {
        match self.store.get(&key(hash)).await {
            Ok(found) => Ok(Some(found)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(other) => Err(BlobError::store(&self.root, other)),
        }
    }

    /// Where a blob lies, to read ranges of it, if it is here.
    pub(crate) async fn place(&self, hash: BlobHash) -> Result<Option<Place>, BlobError> {
        let found = self.head(hash).await?;
        Ok(found.map(|view| self.place_of(view)))
    }

    /// As [`place`](Self::place), for a job that is being submitted: the blob
    /// is not swept before the job is recorded. Its upload was acknowledged, so it
    /// is on disk already.
    pub(crate) async fn place_renewed(
        self: &Arc<Self>,
        hash: BlobHash,
    ) -> Result<Option<Place>, BlobError> {
        let found = self.touch(hash, Durability::Unsynced).await?;
        Ok(found.map(|view| self.place_of(view)))
    }

    fn place_of(&self, view: BlobView) -> Place {
        Place {
            file: self.path(view.hash).into(),
            offset: 0,
            len: view.len,
        }
    }

    /// Where a blob lies that a job of the journal needs.
    ///
    /// # Errors
    /// [`BlobError::Missing`] if it is not there: somebody took it away.
    pub(crate) async fn needed(&self, hash: BlobHash) -> Result<Place, BlobError> {
        let missing = || BlobError::Missing {
            hash,
            folder: self.root.clone(),
        };
        self.place(hash).await?.ok_or_else(missing)
    }

    /// All of a range, for what is known to be small.
    pub(crate) async fn read(&self, place: &Place) -> Result<Bytes, BlobError> {
        let bytes = place.read(0, place.len as usize).await;
        bytes.map_err(|error| self.io(error))
    }

    /// A file's name as it is the same wherever the folder is moved to.
    pub(crate) fn relative<'a>(&self, file: &'a Path) -> &'a Path {
        file.strip_prefix(&self.root).unwrap_or(file)
    }

    /// The inverse.
    pub(crate) fn absolute(&self, file: &Path) -> PathBuf {
        self.root.join(file)
    }

    fn path(&self, hash: BlobHash) -> PathBuf {
        self.root.join(key(hash).as_ref())
    }

    fn io(&self, error: std::io::Error) -> BlobError {
        BlobError::io(&self.root, error)
    }
}

/// Where a blob lies under the root; two digits keep folders small.
fn key(hash: BlobHash) -> Key {
    let hash = hash.to_string();
    Key::from_iter([BLOBS, &hash[..2], &hash])
}

fn make_folders(root: &Path, durability: Durability) -> std::io::Result<()> {
    let scratch = root.join(SCRATCH);
    if scratch.exists() {
        std::fs::remove_dir_all(&scratch)?;
    }
    std::fs::create_dir_all(&scratch)?;
    std::fs::create_dir_all(root.join(OUTPUTS))?;
    let blobs = root.join(BLOBS);
    std::fs::create_dir_all(&blobs)?;
    if durability == Durability::Synced {
        // All of them now: one made for its first blob would have to be synced
        // before every blob that comes into it meanwhile is acknowledged. Where
        // nothing is synced, the first blob makes it: 256 folders take longer than
        // all else that a private run begins and ends with.
        for digits in 0..=255_u8 {
            std::fs::create_dir_all(blobs.join(format!("{digits:02x}")))?;
        }
        sync_folder(&blobs)?;
        sync_folder(root)?;
        if let Some(parent) = root.canonicalize()?.parent() {
            sync_folder(parent)?;
        }
    }
    Ok(())
}

/// Makes durable which files a folder holds.
#[cfg(unix)]
pub(crate) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Other systems do that by themselves, and let no folder be opened.
#[cfg(not(unix))]
pub(crate) fn sync_folder(_folder: &Path) -> std::io::Result<()> {
    Ok(())
}
