//! The journal: what is committed before it is acknowledged, and the memory of
//! jobs that are over. The scheduler never waits for it; what waits is the
//! acknowledgement.

use futures_util::future::BoxFuture;
use manyhands_protocol::JobId;
use manyhands_protocol::api::JobView;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Something that must not be forgotten once someone was told of it.
#[derive(Clone, Debug)]
pub enum Record {
    /// A job was submitted.
    Submitted(Arc<JobView>),
    /// A job ended: with a result, by failure or by cancelling.
    Over(Arc<JobView>),
}

/// Why a journal does not take records. The coordinator then ends, since it
/// could not keep what it promises.
#[derive(Debug, thiserror::Error)]
#[error("the journal: {0}")]
pub struct JournalError(pub Box<dyn std::error::Error + Send + Sync>);

/// Keeps records, and answers for the jobs that it has seen.
///
/// The driver hands over whatever one round of events came to as one group, and
/// goes on at once; it tells nobody of what a group holds before the group's
/// future has resolved. Groups are durable in the order in which they came.
pub trait Journal: Send + Sync + 'static {
    /// Takes a group of records; resolves when they are durable.
    fn append(&self, group: Vec<Record>) -> BoxFuture<'static, Result<(), JournalError>>;

    /// A job as it was last recorded.
    fn job(&self, job: JobId) -> BoxFuture<'_, Result<Option<Arc<JobView>>, JournalError>>;

    /// At most `limit` jobs, the newest first, all before `before`.
    fn page(
        &self,
        before: Option<JobId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Arc<JobView>>, JournalError>>;
}

/// A journal that lives as long as its process.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    jobs: RwLock<BTreeMap<JobId, Arc<JobView>>>,
}

impl Journal for MemoryJournal {
    fn append(&self, group: Vec<Record>) -> BoxFuture<'static, Result<(), JournalError>> {
        let mut jobs = self.jobs.write().unwrap_or_else(PoisonError::into_inner);
        for record in group {
            let (Record::Submitted(view) | Record::Over(view)) = record;
            jobs.insert(view.id, view);
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn job(&self, job: JobId) -> BoxFuture<'_, Result<Option<Arc<JobView>>, JournalError>> {
        let jobs = self.jobs.read().unwrap_or_else(PoisonError::into_inner);
        let found = jobs.get(&job).cloned();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn page(
        &self,
        before: Option<JobId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Arc<JobView>>, JournalError>> {
        let jobs = self.jobs.read().unwrap_or_else(PoisonError::into_inner);
        let before = before.unwrap_or(JobId(u64::MAX));
        let found = jobs
            .range(..before)
            .rev()
            .take(limit)
            .map(|(_, view)| Arc::clone(view));
        let found = found.collect();
        Box::pin(std::future::ready(Ok(found)))
    }
}
