//! What routes and sockets share: no job's state, only the ways to it.

use crate::admissions::Admissions;
use crate::blobs::Blobs;
use crate::board::Board;
use crate::config::Limits;
use crate::driver::{Input, Question, Trouble};
use crate::error::ApiError;
use crate::guard::Guard;
use crate::guests::Guests;
use crate::inputs::{KnownCuts, SegmentIndex};
use crate::journal::Journal;
use crate::metrics::Metrics;
use axum::http::HeaderValue;
use manyhands_engine::compute::Compute;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) struct App {
    pub(crate) guard: Guard,
    pub(crate) blobs: Arc<Blobs>,
    pub(crate) admissions: Admissions,
    pub(crate) cuts: KnownCuts,
    pub(crate) segments: Arc<SegmentIndex>,
    /// Where workers of this machine are handed inputs, if they can be.
    pub(crate) door: Option<HeaderValue>,
    pub(crate) compute: Compute,
    pub(crate) guests: Guests,
    pub(crate) driver: mpsc::Sender<Input>,
    pub(crate) questions: mpsc::Sender<Question>,
    /// Where driver and workers' sockets run, and whatever they wait for.
    pub(crate) runtime: Handle,
    pub(crate) board: Board,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) metrics: Metrics,
    pub(crate) limits: Limits,
    pub(crate) www_dir: Option<PathBuf>,
    /// The id of the next job.
    pub(crate) next_job: AtomicU64,
    /// The number of the next worker's connection.
    pub(crate) next_connection: AtomicU64,
    /// Submissions that are being prepared at the same time.
    pub(crate) preparing: Semaphore,
    /// Bytes of partials that have come in part, in KiB.
    pub(crate) partial_kib: Semaphore,
    /// Set when the coordinator closes.
    pub(crate) closing: CancellationToken,
    /// Everything that is waited for then.
    pub(crate) tasks: TaskTracker,
}

/// How long a disk that takes nothing is left alone.
const RETRY: Duration = Duration::from_millis(500);

impl App {
    /// Says why something cannot be kept at present, and waits before the next
    /// try; `None` when the coordinator closes.
    pub(crate) async fn wait_for_disk(&self, source: Trouble, why: String) -> Option<()> {
        let why = Some(why);
        self.driver
            .send(Input::Trouble { source, why })
            .await
            .ok()?;
        let pause = tokio::time::sleep(RETRY);
        self.closing.run_until_cancelled(pause).await
    }

    /// Asks the driver something and waits for its answer.
    pub(crate) async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Input,
    ) -> Result<T, ApiError> {
        answered(&self.driver, question).await
    }

    /// Asks the driver how things stand, past whatever else waits for it.
    pub(crate) async fn look<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Question,
    ) -> Result<T, ApiError> {
        answered(&self.questions, question).await
    }
}

/// Sends something with a place for its answer, and waits for that.
async fn answered<I, T>(
    queue: &mpsc::Sender<I>,
    ask: impl FnOnce(oneshot::Sender<T>) -> I,
) -> Result<T, ApiError> {
    let (reply, answer) = oneshot::channel();
    let sent = queue.send(ask(reply)).await;
    sent.map_err(|_| ApiError::closing())?;
    answer.await.map_err(|_| ApiError::closing())
}
