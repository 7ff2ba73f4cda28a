//! The journal: what is committed before it is acknowledged, and the memory of
//! jobs that are over. The scheduler never waits for it; what waits is the
//! acknowledgement. What is recorded, and when, is decided elsewhere.

mod memory;
mod sqlite;

pub use memory::MemoryJournal;
pub use sqlite::{FILE as JOURNAL_FILE, OpenError, SqliteJournal};

use axum::body::Bytes;
use futures_util::future::BoxFuture;
use manyhands_coordinator_core::{Group, Stored};
use manyhands_protocol::api::JobView;
use manyhands_protocol::{BlobHash, Incarnation, JobId};
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Why a journal does not take a group, or does not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk, or what its owner may use of it, is full.
    #[error(
        "no space is left for the journal {}: free some, and the coordinator goes on by itself",
        file.display()
    )]
    Full {
        /// The journal.
        file: Arc<Path>,
    },
    /// The folder or the file system does not let itself be written.
    #[error(
        "the journal {} is read-only ({detail}): make its folder writable, and the coordinator \
         goes on by itself",
        file.display()
    )]
    ReadOnly {
        /// The journal.
        file: Arc<Path>,
        /// In SQLite's words.
        detail: Arc<str>,
    },
    /// The disk failed in another way.
    #[error(
        "the journal {} cannot be read or written ({detail}): check the disk; the coordinator \
         tries again by itself",
        file.display()
    )]
    Io {
        /// The journal.
        file: Arc<Path>,
        /// In SQLite's words.
        detail: Arc<str>,
    },
    /// What is in the file cannot be what was written there.
    #[error(
        "the journal {} is damaged ({detail}): stop the coordinator, keep a copy of the folder, \
         and go on from a backup or with another folder",
        file.display()
    )]
    Corrupt {
        /// The journal.
        file: Arc<Path>,
        /// Where it shows.
        detail: Arc<str>,
    },
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
}

impl JournalError {
    /// Whether the same may succeed later: space returns, a disk comes back.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        !matches!(self, Self::Corrupt { .. } | Self::Closed)
    }
}

/// What sets one start of a coordinator apart from all others on the same
/// journal.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Greater at each start.
    pub incarnation: Incarnation,
    /// What proofs of leases are made with: the same at each start, random
    /// otherwise.
    pub secret: [u8; 32],
    /// Greater than the id of any job ever recorded, also of those that were
    /// dropped since, and of all that were set aside.
    pub next_job: JobId,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Identity");
        shown.field("incarnation", &self.incarnation);
        shown.field("next_job", &self.next_job);
        shown.finish_non_exhaustive()
    }
}

/// How much is kept of jobs that are over. The newest stay; `None` is no bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Keep {
    /// The most jobs.
    pub jobs: Option<u64>,
    /// The longest time since a job's end, in milliseconds.
    pub age_ms: Option<u64>,
    /// The most bytes that their results may have together.
    pub bytes: Option<u64>,
}

impl Keep {
    /// Whether a job stays that ended `age_ms` ago, when with it `jobs` jobs
    /// and `bytes` bytes of results are kept.
    fn allows(&self, jobs: u64, age_ms: u64, bytes: u64) -> bool {
        let within = |bound: Option<u64>, value| bound.is_none_or(|bound| value <= bound);
        within(self.jobs, jobs) && within(self.age_ms, age_ms) && within(self.bytes, bytes)
    }
}

/// Keeps records, and answers for the jobs that it has seen.
///
/// The driver hands over one group at a time and tells nobody of what it holds
/// before [`commit`](Self::commit) has resolved. At the start it asks once for
/// the [`identity`](Self::identity) and for what is [`stored`](Self::stored);
/// at the end it awaits [`close`](Self::close).
pub trait Journal: Send + Sync + 'static {
    /// Commits a group; resolves when it is durable.
    ///
    /// # Errors
    /// Nothing of the group was kept then, and if the error
    /// [may pass](JournalError::may_pass) the same group can be given again.
    /// Groups with a greater number are refused until it was.
    fn commit(&self, group: Arc<Group>) -> BoxFuture<'static, Result<(), JournalError>>;

    /// A job as it was last recorded.
    ///
    /// # Errors
    /// When the journal cannot be read.
    fn job(&self, job: JobId) -> BoxFuture<'_, Result<Option<Arc<JobView>>, JournalError>>;

    /// The result that was recorded with a job's end.
    ///
    /// # Errors
    /// When the journal cannot be read.
    fn result(&self, job: JobId) -> BoxFuture<'_, Result<Option<Bytes>, JournalError>>;

    /// At most `limit` jobs, the newest first, all before `before`.
    ///
    /// # Errors
    /// When the journal cannot be read.
    fn page(
        &self,
        before: Option<JobId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Arc<JobView>>, JournalError>>;

    /// The first job that was submitted with this key.
    ///
    /// # Errors
    /// When the journal cannot be read.
    fn by_key(&self, key: &str) -> BoxFuture<'_, Result<Option<Arc<JobView>>, JournalError>>;

    /// The jobs that are not over, by id, with all that is kept of them.
    ///
    /// # Errors
    /// When the journal cannot be read.
    fn stored(&self) -> BoxFuture<'_, Result<Vec<Stored>, JournalError>>;

    /// What sets this start apart from others.
    fn identity(&self) -> Identity;

    /// Drops the jobs that are over and that `keep` does not cover at
    /// `now_ms`, milliseconds since 1970; answers how many these were.
    ///
    /// # Errors
    /// As [`commit`](Self::commit): nothing was dropped.
    fn retain(&self, keep: Keep, now_ms: u64) -> BoxFuture<'_, Result<u64, JournalError>>;

    /// The blobs that recorded jobs need: what running ones are made of, and
    /// the results of those that are done.
    ///
    /// # Errors
    /// When the journal cannot be read.
    fn blobs_in_use(&self) -> BoxFuture<'_, Result<BTreeSet<BlobHash>, JournalError>>;

    /// Ends the journal after the groups that were given to it. What comes
    /// later is refused with [`JournalError::Closed`].
    fn close(&self) -> BoxFuture<'_, ()>;
}
