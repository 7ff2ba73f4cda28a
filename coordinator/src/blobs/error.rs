//! Why a blob cannot be stored or read, in words that say what to do.

use manyhands_protocol::{BlobHash, JobId};
use std::error::Error;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Why a blob cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The disk, or what its owner may use of it, is full.
    #[error("no space is left in the data folder {}: free some and try again", folder.display())]
    Full {
        /// The folder of all blobs.
        folder: PathBuf,
    },
    /// The folder does not let itself be written.
    #[error(
        "the data folder {} cannot be written ({source}): make it writable",
        folder.display()
    )]
    ReadOnly {
        /// The folder of all blobs.
        folder: PathBuf,
        /// In the words of the system.
        source: std::io::Error,
    },
    /// The folder does not work in another way.
    #[error("the data folder {}: {source}", folder.display())]
    Io {
        /// The folder of all blobs.
        folder: PathBuf,
        /// In the words of the system.
        source: std::io::Error,
    },
    /// A blob that should be there is not.
    #[error("blob {hash} is missing from the data folder {}", folder.display())]
    Missing {
        /// The blob.
        hash: BlobHash,
        /// The folder of all blobs.
        folder: PathBuf,
    },
    /// Of a job's result less is there than was synced.
    #[error(
        "the data folder {} has {found} bytes of job {job}'s result; {wanted} were there",
        folder.display()
    )]
    Short {
        /// The job.
        job: JobId,
        /// Bytes that are there.
        found: u64,
        /// Bytes that should be.
        wanted: u64,
        /// The folder of all blobs.
        folder: PathBuf,
    },
    /// Another process has the folder.
    #[error("another coordinator uses the folder {}", folder.display())]
    InUse {
        /// The folder of all blobs.
        folder: PathBuf,
    },
    /// More bytes than may come.
    #[error("more than {0} bytes, which is the most this coordinator takes")]
    TooLarge(u64),
}

impl BlobError {
    /// Whether the same may succeed later: space returns, a disk comes back.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Full { .. } | Self::ReadOnly { .. } | Self::Io { .. }
        )
    }

    pub(super) fn io(folder: &Path, source: std::io::Error) -> Self {
        let folder = folder.to_owned();
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full { folder },
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { folder, source }
            }
            _ => Self::Io { folder, source },
        }
    }

    pub(super) fn store(folder: &Path, error: object_store::Error) -> Self {
        let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
        while let Some(at) = cause {
            if let Some(system) = at.downcast_ref::<std::io::Error>() {
                let source = std::io::Error::new(system.kind(), error.to_string());
                return Self::io(folder, source);
            }
            cause = at.source();
        }
        Self::io(folder, std::io::Error::other(error))
    }
}
