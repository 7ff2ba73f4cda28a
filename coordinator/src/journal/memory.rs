//! The journal that lives as long as its process. Nobody will ask it what to
//! restart, so it keeps no plans and no partials.

use super::{Identity, Journal, JournalError, Keep};
use axum::body::Bytes;
use futures_util::future::{BoxFuture, ready};
use manyhands_coordinator_core::{Group, Plan, Record, Stored};
use manyhands_protocol::api::{JobState, JobView};
use manyhands_protocol::{BlobHash, Incarnation, JobId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A journal in memory.
#[derive(Debug)]
pub struct MemoryJournal {
    identity: Identity,
    jobs: RwLock<BTreeMap<JobId, Entry>>,
}

#[derive(Debug)]
struct Entry {
    view: Arc<JobView>,
    key: Option<String>,
    uses: BTreeSet<BlobHash>,
    result: Option<Bytes>,
}

impl MemoryJournal {
    /// An empty journal, for a start of a coordinator whose number the caller
    /// knows to be new.
    #[must_use]
    pub fn new(incarnation: Incarnation) -> Self {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).expect("the system gives random bytes");
        let next_job = JobId(1);
        Self {
            identity: Identity {
                incarnation,
                secret,
                next_job,
            },
            jobs: RwLock::default(),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<JobId, Entry>> {
        self.jobs.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<JobId, Entry>> {
        self.jobs.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn carry_out(jobs: &mut BTreeMap<JobId, Entry>, record: &Record) {
        match record {
            Record::Submitted { view, plan } => {
                let entry = Entry {
                    view: Arc::clone(view),
                    key: plan.key.clone(),
                    uses: blobs_of(plan),
                    result: None,
                };
                jobs.insert(view.id, entry);
            }
            Record::Over { view, result } => {
                let blob = result_of(view).filter(|_| result.is_none());
                let key = jobs.remove(&view.id).and_then(|entry| entry.key);
                let entry = Entry {
                    view: Arc::clone(view),
                    key,
                    uses: blob.map(|(hash, _)| hash).into_iter().collect(),
                    result: result.clone(),
                };
                jobs.insert(view.id, entry);
            }
            Record::Ids { .. } | Record::Partial { .. } | Record::Prefix { .. } => {}
        }
    }
}

/// The blobs that a running job needs.
pub(super) fn blobs_of(plan: &Plan) -> BTreeSet<BlobHash> {
    let files = plan.header.files.iter().map(|file| file.hash);
    let module = std::iter::once(plan.header.module);
    module
        .chain(files)
        .chain(plan.blobs.iter().copied())
        .collect()
}

/// The result of a job, and its length in bytes, if it has one.
pub(super) fn result_of(view: &JobView) -> Option<(BlobHash, u64)> {
    match view.state {
        JobState::Done { len, hash } => Some((hash, len)),
        _ => None,
    }
}

/// When a job that is over ended, in milliseconds since 1970.
pub(super) fn ended_ms(view: &JobView) -> u64 {
    view.submitted_ms.saturating_add(view.elapsed_ms)
}

fn done<T: Send + 'static>(value: T) -> BoxFuture<'static, Result<T, JournalError>> {
    Box::pin(ready(Ok(value)))
}

impl Journal for MemoryJournal {
    fn commit(&self, group: Arc<Group>) -> BoxFuture<'static, Result<(), JournalError>> {
        let mut jobs = self.write();
        for record in &group.records {
            Self::carry_out(&mut jobs, record);
        }
        done(())
    }

    fn job(&self, job: JobId) -> BoxFuture<'_, Result<Option<Arc<JobView>>, JournalError>> {
        done(self.read().get(&job).map(|entry| Arc::clone(&entry.view)))
    }

    fn result(&self, job: JobId) -> BoxFuture<'_, Result<Option<Bytes>, JournalError>> {
        done(self.read().get(&job).and_then(|entry| entry.result.clone()))
    }

    fn page(
        &self,
        before: Option<JobId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Arc<JobView>>, JournalError>> {
        let jobs = self.read();
        let newest_first = jobs.range(..before.unwrap_or(JobId(u64::MAX))).rev();
        let views = newest_first.map(|(_, entry)| Arc::clone(&entry.view));
        done(views.take(limit).collect())
    }

    fn by_key(&self, key: &str) -> BoxFuture<'_, Result<Option<Arc<JobView>>, JournalError>> {
        let jobs = self.read();
        let found = jobs.values().find(|at| at.key.as_deref() == Some(key));
        done(found.map(|entry| Arc::clone(&entry.view)))
    }

    fn stored(&self) -> BoxFuture<'_, Result<Vec<Stored>, JournalError>> {
        // Asked once, at the start: there is nothing yet.
        done(Vec::new())
    }

    fn identity(&self) -> Identity {
        self.identity.clone()
    }

    fn retain(&self, keep: Keep, now_ms: u64) -> BoxFuture<'_, Result<u64, JournalError>> {
        let mut jobs = self.write();
        let over = jobs.values().filter(|entry| entry.view.state.is_over());
        let mut newest_first: Vec<_> = over
            .map(|entry| {
                let bytes = result_of(&entry.view).map_or(0, |(_, len)| len);
                (ended_ms(&entry.view), entry.view.id, bytes)
            })
            .collect();
        newest_first.sort_unstable_by(|a, b| b.cmp(a));
        let drop = beyond(keep, now_ms, newest_first);
        for job in &drop {
            jobs.remove(job);
        }
        done(drop.len() as u64)
    }

    fn blobs_in_use(&self) -> BoxFuture<'_, Result<BTreeSet<BlobHash>, JournalError>> {
        let jobs = self.read();
        done(
            jobs.values()
                .flat_map(|at| at.uses.iter().copied())
                .collect(),
        )
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(ready(()))
    }
}

/// Which of the jobs that are over are not kept. They come newest first: when
/// each ended, its id, the bytes of its result.
pub(super) fn beyond(
    keep: Keep,
    now_ms: u64,
    newest_first: impl IntoIterator<Item = (u64, JobId, u64)>,
) -> Vec<JobId> {
    let (mut jobs, mut bytes) = (0, 0_u64);
    let mut dropped = Vec::new();
    for (ended_ms, job, len) in newest_first {
        let with_it = bytes.saturating_add(len);
        if keep.allows(jobs + 1, now_ms.saturating_sub(ended_ms), with_it) {
            jobs += 1;
            bytes = with_it;
        } else {
            dropped.push(job);
        }
    }
    dropped
}
