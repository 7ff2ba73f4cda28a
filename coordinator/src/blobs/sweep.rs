//! What nobody needs any more is removed: blobs, and the results of jobs that
//! are not there.

use super::{BLOBS, BlobError, Blobs, OUTPUTS};
use manyhands_protocol::{BlobHash, JobId};
use std::collections::BTreeSet;
use std::io::{ErrorKind, Result};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// What a sweep has removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Swept {
    /// Blobs.
    pub(crate) blobs: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

impl Blobs {
    /// Removes the blobs that nobody uses and that were stored, or stored again,
    /// longer than `older_than` ago: what was just uploaded for a submission
    /// that is yet to come stays. Who reads a blob reads on. Blocks: call it on
    /// a thread that may.
    pub(crate) fn sweep(
        &self,
        used: impl Fn(BlobHash) -> bool,
        older_than: Duration,
    ) -> std::result::Result<Swept, BlobError> {
        // A clock so near its beginning says that nothing is old.
        let Some(before) = SystemTime::now().checked_sub(older_than) else {
            return Ok(Swept::default());
        };
        let swept = self.sweep_before(used, before);
        swept.map_err(|error| self.io(error))
    }

    fn sweep_before(&self, used: impl Fn(BlobHash) -> bool, before: SystemTime) -> Result<Swept> {
        let mut swept = Swept::default();
        for folder in std::fs::read_dir(self.root.join(BLOBS))? {
            let folder = folder?;
            if !folder.file_type()?.is_dir() {
                continue;
            }
            for file in std::fs::read_dir(folder.path())? {
                let file = file?;
                // What is not named like a blob is not ours.
                let hash = file.file_name().to_str().and_then(|name| name.parse().ok());
                if hash.is_none_or(&used) {
                    continue;
                }
                if let Some(len) = self.remove_if_old(&file.path(), before)? {
                    swept.blobs += 1;
                    swept.bytes += len;
                }
            }
        }
        Ok(swept)
    }

    fn remove_if_old(&self, path: &Path, before: SystemTime) -> Result<Option<u64>> {
        let _held = self.ages.blocking_write();
        let found = match std::fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            found => found?,
        };
        if found.modified()? >= before {
            return Ok(None);
        }
        std::fs::remove_file(path)?;
        Ok(Some(found.len()))
    }

    /// Removes the growing results of all jobs but these. Blocks.
    pub(crate) fn retain_outputs(
        &self,
        jobs: &BTreeSet<JobId>,
    ) -> std::result::Result<(), BlobError> {
        let retain = || {
            for file in std::fs::read_dir(self.root.join(OUTPUTS))? {
                let file = file?;
                let job = file.file_name().to_str().and_then(|name| name.parse().ok());
                if !job.is_some_and(|job| jobs.contains(&JobId(job))) {
                    std::fs::remove_file(file.path())?;
                }
            }
            Ok(())
        };
        retain().map_err(|error| self.io(error))
    }
}
