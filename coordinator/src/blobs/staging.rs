//! A blob on its way: written under a scratch name, then renamed to its hash.

use super::{BlobError, Blobs, Durability, SCRATCH, key};
use manyhands_protocol::BlobHash;
use manyhands_protocol::api::BlobView;
use object_store::ObjectStoreExt;
use object_store::path::Path as Key;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::io::AsyncWriteExt;

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

impl Blobs {
    /// A new scratch file to write a blob into.
    pub(crate) async fn stage(self: &Arc<Self>) -> Result<Staging, BlobError> {
        let name = self.names.fetch_add(1, Ordering::Relaxed).to_string();
        let path = self.root.join(SCRATCH).join(&name);
        let created = tokio::fs::File::create(&path).await;
        Ok(Staging {
            blobs: Arc::clone(self),
            name,
            path: path.into(),
            file: created.map_err(|error| self.io(error))?,
            hasher: Box::default(),
            len: 0,
            kept: false,
        })
    }
}

impl Staging {
    /// Appends bytes.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let len = self.len + bytes.len() as u64;
        if len > self.blobs.max_blob {
            return Err(BlobError::TooLarge(self.blobs.max_blob));
        }
        self.hasher.update(bytes);
        let written = self.file.write_all(bytes).await;
        written.map_err(|error| self.blobs.io(error))?;
        self.len = len;
        Ok(())
    }

    /// Brings the blob to the disk and gives it its name.
    pub(crate) async fn commit(mut self) -> Result<BlobView, BlobError> {
        let mut finished = self.file.flush().await;
        if finished.is_ok() && self.blobs.durability == Durability::Synced {
            finished = self.file.sync_all().await;
        }
        finished.map_err(|error| self.blobs.io(error))?;
        let hash = BlobHash(*self.hasher.finalize().as_bytes());
        let scratch = Key::from_iter([SCRATCH, &self.name]);
        let _held = self.blobs.ages.read().await;
        let renamed = self.blobs.store.rename(&scratch, &key(hash)).await;
        renamed.map_err(|error| BlobError::store(&self.blobs.root, error))?;
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
