//! The growing result of a `concat` job: a file that outlives the process, and
//! becomes a blob when it is whole.

use super::{BlobError, Blobs, Durability, OUTPUTS, key, off_async, sync_folder};
use manyhands_protocol::api::BlobView;
use manyhands_protocol::{BlobHash, JobId};
use std::fs::File;
use std::io::{ErrorKind, Read, Result, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Bytes that are gathered before they are written.
const GATHERED: usize = 256 << 10;

/// A growing result. Dropped, its file stays: it is removed by
/// [`Blobs::drop_output`].
///
/// An operation that fails can be tried again, for instance when there is space
/// again: the file then ends where the last good write ended.
pub(crate) struct Output {
    blobs: Arc<Blobs>,
    path: Arc<Path>,
    // Shared with the thread that an operation runs on: if nobody waits for it
    // any more, it still leaves things in order.
    state: Arc<Mutex<State>>,
}

struct State {
    file: File,
    hasher: blake3::Hasher,
    /// The length of the file, of which all is hashed.
    len: u64,
    /// What comes behind it.
    gathered: Vec<u8>,
}

impl Blobs {
    /// Opens the growing result of a job at its first `keep_len` bytes, which
    /// are read and hashed; what comes behind them is dropped. With 0 it begins
    /// anew.
    ///
    /// # Errors
    /// [`BlobError::Short`] if fewer bytes are there.
    pub(crate) async fn output(
        self: &Arc<Self>,
        job: JobId,
        keep_len: u64,
    ) -> std::result::Result<Output, BlobError> {
        let path: Arc<Path> = self.output_path(job).into();
        let (opened_path, synced) = (Arc::clone(&path), self.durability == Durability::Synced);
        let opened = off_async(move || State::open(&opened_path, keep_len, synced)).await;
        let state = match opened.map_err(|error| self.io(error))? {
            Opened::Whole(state) => state,
            Opened::Short(found) => {
                return Err(BlobError::Short {
                    job,
                    found,
                    wanted: keep_len,
                    folder: self.root.clone(),
                });
            }
        };
        Ok(Output {
            blobs: Arc::clone(self),
            path,
            state: Arc::new(Mutex::new(*state)),
        })
    }

    /// Removes the growing result of a job, if there is one: the journal says
    /// that the job is over.
    pub(crate) async fn drop_output(&self, job: JobId) -> std::result::Result<(), BlobError> {
        let path = self.output_path(job);
        let removed = off_async(move || match std::fs::remove_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed,
        });
        removed.await.map_err(|error| self.io(error))
    }

    fn output_path(&self, job: JobId) -> PathBuf {
        self.root.join(OUTPUTS).join(job.to_string())
    }
}

enum Opened {
    Whole(Box<State>),
    /// Only this many bytes are there.
    Short(u64),
}

impl State {
    fn open(path: &Path, keep_len: u64, synced: bool) -> Result<Opened> {
        unshare(path, keep_len)?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path)?;
        let found = file.metadata()?.len();
        if found < keep_len {
            return Ok(Opened::Short(found));
        }
        file.set_len(keep_len)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(&mut file)?;
        if hasher.count() != keep_len {
            return Ok(Opened::Short(hasher.count()));
        }
        if synced {
            sync_folder(path.parent().expect("a result lies in a folder"))?;
        }
        Ok(Opened::Whole(Box::new(Self {
            file,
            hasher,
            len: keep_len,
            gathered: Vec::new(),
        })))
    }

    /// Writes what was gathered, or nothing of it.
    fn flush(&mut self) -> Result<u64> {
        if !self.gathered.is_empty() {
            let at = SeekFrom::Start(self.len);
            let written = (self.file.seek(at)).and_then(|_| self.file.write_all(&self.gathered));
            if let Err(error) = written {
                // If this fails too, the next write begins at the same place.
                let _ = self.file.set_len(self.len);
                return Err(error);
            }
            self.hasher.update(&self.gathered);
            self.len += self.gathered.len() as u64;
            self.gathered.clear();
            // One great part does not keep its memory for the small ones.
            self.gathered.shrink_to(2 * GATHERED);
        }
        Ok(self.len)
    }
}

/// A result that became a blob, without the journal knowing, is one file with
/// two names: the blob keeps it, and the result goes on with a copy.
#[cfg(unix)]
fn unshare(path: &Path, keep_len: u64) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let shared = match std::fs::metadata(path) {
        Ok(found) => found.nlink() > 1,
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    if shared {
        let copy = path.with_extension("copy");
        let mut to = File::create(&copy)?;
        std::io::copy(&mut File::open(path)?.take(keep_len), &mut to)?;
        to.sync_all()?;
        std::fs::rename(&copy, path)?;
    }
    Ok(())
}

/// Here the blob took the file's name: see [`name`].
#[cfg(not(unix))]
fn unshare(_path: &Path, _keep_len: u64) -> Result<()> {
    Ok(())
}

/// Gives a whole result its name as a blob. Where that can be, it keeps the
/// other name too, until the journal knows of the blob: if the process dies
/// before, the job goes on with it.
fn name(output: &Path, blob: &Path) -> Result<()> {
    if cfg!(unix) {
        match std::fs::hard_link(output, blob) {
            Ok(()) => return Ok(()),
            // The same bytes, from another job.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
            // Not every file system can.
            Err(_) => {}
        }
    }
    std::fs::rename(output, blob)
}

impl Output {
    /// Appends bytes. On an error none of them were taken.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> std::result::Result<(), BlobError> {
        let max_blob = self.blobs.max_blob;
        let before = {
            let mut state = self.state();
            let before = state.gathered.len();
            if state.len + (before + bytes.len()) as u64 > max_blob {
                return Err(BlobError::TooLarge(max_blob));
            }
            state.gathered.extend_from_slice(bytes);
            if state.gathered.len() < GATHERED {
                return Ok(());
            }
            before
        };
        let flushed = self.run(move |state| {
            let flushed = state.flush();
            if flushed.is_err() {
                state.gathered.truncate(before);
            }
            flushed
        });
        flushed.await.map(drop)
    }

    /// Brings what was appended so far to the file, so that others can read it;
    /// answers the file's length in bytes.
    pub(crate) async fn flush(&mut self) -> std::result::Result<u64, BlobError> {
        self.run(State::flush).await
    }

    /// Brings what was appended so far to the disk; answers the length, in
    /// bytes, that a power cut does not take any more.
    pub(crate) async fn sync(&mut self) -> std::result::Result<u64, BlobError> {
        let synced = self.blobs.durability == Durability::Synced;
        self.run(move |state| {
            let len = state.flush()?;
            if synced {
                state.file.sync_data()?;
            }
            Ok(len)
        })
        .await
    }

    /// The file, for those who read it while it grows.
    pub(crate) fn path(&self) -> Arc<Path> {
        Arc::clone(&self.path)
    }

    /// Makes the whole result a blob; nothing may be appended any more. Once the
    /// journal knows of it, [`Blobs::drop_output`] removes the other name.
    pub(crate) async fn commit(&mut self) -> std::result::Result<BlobView, BlobError> {
        let len = self.sync().await?;
        let hash = BlobHash(*self.state().hasher.finalize().as_bytes());
        if let Some(view) = self.blobs.renew(hash).await? {
            return Ok(view);
        }
        let blob = self.blobs.root.join(key(hash).as_ref());
        let (output, blobs) = (self.path(), Arc::clone(&self.blobs));
        let named = self.run(move |state| {
            let _held = blobs.ages.blocking_read();
            state.file.set_modified(SystemTime::now())?;
            let folder = blob.parent().expect("a blob lies in a folder");
            std::fs::create_dir_all(folder)?;
            name(&output, &blob)?;
            if blobs.durability == Durability::Synced {
                sync_folder(folder)?;
            }
            Ok(BlobView { hash, len })
        });
        named.await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut State) -> Result<T> + Send + 'static,
    ) -> std::result::Result<T, BlobError> {
        let state = Arc::clone(&self.state);
        let done =
            off_async(move || work(&mut state.lock().unwrap_or_else(PoisonError::into_inner)));
        done.await.map_err(|error| self.blobs.io(error))
    }
}
