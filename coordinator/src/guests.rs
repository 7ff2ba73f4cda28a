//! Guest code on the coordinator's side (`open`, `merge`, `finish`), in the
//! compute child and off the driver's path. The guests of jobs that were taken
//! up again are loaded when they are first needed.

use crate::app::App;
use crate::blobs::BlobError;
use crate::driver::{Input, Trouble};
use axum::body::Bytes;
use manyhands_coordinator_core::Plan;
use manyhands_engine::compute::{Event, Events, JobSpec, Merge, Work, outcomes};
use manyhands_protocol::api::BlobView;
use manyhands_protocol::message::JobHeader;
use manyhands_protocol::{BlobHash, Failure, FailureKind, JobId, Node};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OnceCell, mpsc};
use tokio_util::sync::CancellationToken;

/// Tries of one call whose failure may be the machine's.
const TRIES: u32 = 3;

/// Guests that the compute child does not have yet.
#[derive(Debug, Default)]
pub(crate) struct Guests {
    stored: Mutex<BTreeMap<JobId, Arc<Unloaded>>>,
}

#[derive(Debug)]
struct Unloaded {
    plan: Arc<Plan>,
    loaded: OnceCell<()>,
}

impl Guests {
    /// The guest of a job that was taken up again: loaded when it is needed.
    pub(crate) fn later(&self, job: JobId, plan: Arc<Plan>) {
        let loaded = OnceCell::new();
        self.lock().insert(job, Arc::new(Unloaded { plan, loaded }));
    }

    /// The job is over.
    pub(crate) fn forget(&self, job: JobId) {
        self.lock().remove(&job);
    }

    async fn load(&self, app: &App, job: JobId) -> Result<(), BlobError> {
        let found = self.lock().get(&job).cloned();
        let Some(guest) = found else {
            return Ok(());
        };
        let load = || async {
            let spec = stored_guest(app, &guest.plan.header).await?;
            app.compute.load(job, spec);
            Ok(())
        };
        guest.loaded.get_or_try_init(load).await.map(|_| ())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<JobId, Arc<Unloaded>>> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the compute child needs, from the blobs that a job's header names.
async fn stored_guest(app: &App, header: &JobHeader) -> Result<JobSpec, BlobError> {
    let mut files = BTreeMap::new();
    for file in &header.files {
        files.insert(file.name.clone(), blob(app, file.hash).await?);
    }
    Ok(JobSpec {
        wasm: blob(app, header.module).await?,
        module: header.module,
        params: header.params.clone().into(),
        memory_limit: header.memory,
        task_timeout: Duration::from_millis(header.task_timeout_ms),
        split: header.split,
        files,
    })
}

async fn blob(app: &App, hash: BlobHash) -> Result<Bytes, BlobError> {
    let place = app.blobs.needed(hash).await?;
    app.blobs.read(&place).await
}

/// Does one thing in the compute child, again where the machine was to blame.
pub(crate) async fn call(app: &App, job: JobId, work: Work) -> Result<Bytes, Failure> {
    if let Err(error) = app.guests.load(app, job).await {
        return Err(crash(error.to_string()));
    }
    let mut tries = 1;
    loop {
        match app.compute.call(job, work.clone()).await {
            Err(failure) if failure.kind.depends_on_machine() && tries < TRIES => tries += 1,
            outcome => return outcome,
        }
    }
}

pub(crate) fn crash(message: String) -> Failure {
    let kind = FailureKind::Crash;
    Failure { kind, message }
}

/// What came of each of some merges, by the node that it leads to.
pub(crate) type Merged = Vec<(Node, Result<Bytes, Failure>)>;

/// What the root's partial was finished to, before anyone asked.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) root: Bytes,
    pub(crate) result: Bytes,
}

/// Merges partials in the order of the tree, some that have nothing to do with each
/// other in one call; the driver is told what each came to. Where one leads to the
/// `root`, and is alone, that is finished in the same call.
pub(crate) fn merge(app: &Arc<App>, job: JobId, merges: Vec<(Node, Merge)>, root: Option<Node>) {
    let task_app = Arc::clone(app);
    app.tasks.spawn(async move {
        let app = task_app;
        let mut finished = None;
        if let [(node, merge)] = &merges[..]
            && Some(*node) == root
        {
            finished = whole(&app, job, merge.clone()).await;
        }
        let merged = match &finished {
            Some(Finished { root, .. }) => vec![(merges[0].0, Ok(root.clone()))],
            None => merged(&app, job, merges).await,
        };
        let merged = Input::Merged {
            job,
            merged,
            finished,
        };
        // Without a driver nobody waits for it.
        let _ = app.driver.send(merged).await;
    });
}

/// `None` where some of it failed: what did, and whether it is tried again, shows when
/// each is alone.
async fn whole(app: &App, job: JobId, merge: Merge) -> Option<Finished> {
    app.guests.load(app, job).await.ok()?;
    let both = app.compute.call(job, Work::Whole(merge)).await.ok()?;
    let [root, result] = outcomes(both, 2)?.try_into().ok()?;
    Some(Finished { root, result })
}

async fn merged(app: &App, job: JobId, merges: Vec<(Node, Merge)>) -> Merged {
    if merges.len() > 1 {
        let each = merges.iter().map(|(_, merge)| merge.clone());
        let together = Work::Merges(each.collect());
        if let Ok(bytes) = call(app, job, together).await
            && let Some(each) = outcomes(bytes, merges.len())
        {
            let nodes = merges.into_iter().map(|(node, _)| node);
            return nodes.zip(each.into_iter().map(Ok)).collect();
        }
        // Which of them failed shows when each is alone.
    }
    let mut merged = Vec::new();
    for (node, merge) in merges {
        merged.push((node, call(app, job, Work::Merge(merge)).await));
    }
    merged
}

/// Finishes a `reduce` job; the driver is told of its result.
pub(crate) fn finish(app: &Arc<App>, job: JobId, partial: Bytes) {
    let task_app = Arc::clone(app);
    app.tasks.spawn(async move {
        let app = task_app;
        let told = match call(&app, job, Work::Finish { partial }).await {
            Ok(bytes) => Input::Result { job, bytes },
            Err(failure) => Input::Finished {
                job,
                outcome: Err(failure),
            },
        };
        let _ = app.driver.send(told).await;
    });
}

/// Stores the result of a `reduce` job; the driver is told.
pub(crate) fn keep(app: &Arc<App>, job: JobId, result: Bytes) {
    let task_app = Arc::clone(app);
    app.tasks.spawn(async move {
        let app = task_app;
        if let Some(outcome) = store(&app, job, &result).await {
            let _ = app.driver.send(Input::Finished { job, outcome }).await;
        }
    });
}

/// Stores a result, however long the disk takes to take it; `None` when the
/// coordinator closes before.
async fn store(app: &App, job: JobId, result: &[u8]) -> Option<Result<BlobView, Failure>> {
    loop {
        let error = match app.blobs.put(result).await {
            Ok(view) => return Some(Ok(view)),
            Err(error) if error.may_pass() => error,
            Err(error) => return Some(Err(crash(error.to_string()))),
        };
        let why = error.to_string();
        app.wait_for_disk(Trouble::Result(job), why).await?;
    }
}

/// Passes on what guests in the compute child say, until the coordinator closes.
pub(crate) async fn listen(
    driver: mpsc::Sender<Input>,
    mut events: Events,
    closing: CancellationToken,
) {
    while let Some(Some(event)) = closing.run_until_cancelled(events.next()).await {
        match event {
            Event::Log { job, line, .. } => {
                // Without a driver the coordinator closes, which ends this too.
                let _ = driver.send(Input::Log { job, text: line }).await;
            }
            Event::LoadFailed { job, reason } => {
                tracing::warn!(%job, reason, "a module does not load here");
            }
            Event::Restarted { reason } => {
                // The engine has warned of it, where it was not to be expected.
                tracing::debug!(reason, "the compute child was replaced");
            }
            Event::Unavailable { reason } => {
                tracing::error!(reason, "the compute child cannot be started");
            }
            // Answers to `submit`, which is not used here, and news of no use.
            _ => {}
        }
    }
}
