//! The results of `concat` jobs: appended to a file as the prefix completes, by
//! a task of each job, which also says how much of it is on disk.

use crate::app::App;
use crate::blobs::{BlobError, Output};
use crate::board::Growing;
use crate::driver::{Input, Trouble};
use crate::guests::crash;
use axum::body::Bytes;
use manyhands_protocol::JobId;
use manyhands_protocol::api::BlobView;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// What is written is synced at least so often: with it, stored partials go.
const SYNC_EVERY: Duration = Duration::from_millis(500);

/// Unbounded, since the driver never waits. While the disk takes nothing, nothing
/// is handed out either, which bounds what comes.
type Queue = mpsc::UnboundedReceiver<Part>;

/// The driver's end of a growing result. Dropped before
/// [`complete`](Self::complete), the result is gone, unless the coordinator
/// closes: then its successor goes on with it.
pub(crate) struct OutputFile {
    parts: mpsc::UnboundedSender<Part>,
    growing: Growing,
}

enum Part {
    Bytes(Bytes, u64),
    End,
}

impl OutputFile {
    /// A job's growing result, of which `len` bytes are to be there already,
    /// and the task that writes it.
    ///
    /// # Errors
    /// [`BlobError::Short`] when less is there.
    pub(crate) async fn start(app: &Arc<App>, job: JobId, len: u64) -> Result<Self, BlobError> {
        let output = app.blobs.output(job, len).await?;
        let growing = Growing {
            file: output.path(),
            len: Arc::new(AtomicU64::new(len)),
        };
        let (parts, queue) = mpsc::unbounded_channel();
        let writer = Writer {
            app: Arc::clone(app),
            job,
            output,
            len: Arc::clone(&growing.len),
            written: 0,
            sync_at: None,
            troubled: false,
        };
        app.tasks.spawn_on(writer.run(queue), &app.runtime);
        Ok(Self { parts, growing })
    }

    /// What readers see of it.
    pub(crate) fn growing(&self) -> Growing {
        self.growing.clone()
    }

    /// Appends to the result, which then holds tasks `0..task`; does not wait.
    pub(crate) fn append(&mut self, bytes: Bytes, task: u64) {
        // A writer that failed has said so.
        let _ = self.parts.send(Part::Bytes(bytes, task));
    }

    /// The result is whole; `Input::Finished` follows.
    pub(crate) fn complete(&mut self) {
        let _ = self.parts.send(Part::End);
    }
}

struct Writer {
    app: Arc<App>,
    job: JobId,
    output: Output,
    len: Arc<AtomicU64>,
    /// The first task that is not in the file.
    written: u64,
    /// When what was written since the last sync is to be synced.
    sync_at: Option<Instant>,
    /// Whether the driver was told that the disk takes nothing.
    troubled: bool,
}

/// Why a result is not written to its end.
enum Stop {
    /// The job was given up.
    GivenUp,
    /// The coordinator closes: what is in the file is left to its successor.
    Closing,
    /// It cannot be written.
    Failed(BlobError),
}

impl Writer {
    async fn run(mut self, queue: Queue) {
        let outcome = match self.write(queue).await {
            Ok(view) => Ok(view),
            Err(Stop::Failed(error)) => {
                Err(crash(format!("the result cannot be written: {error}")))
            }
            // The driver removes the file, or leaves it to its successor.
            Err(Stop::GivenUp | Stop::Closing) => return,
        };
        let job = self.job;
        // Without a driver nobody waits for it.
        let _ = self.app.driver.send(Input::Finished { job, outcome }).await;
    }

    async fn write(&mut self, mut queue: Queue) -> Result<BlobView, Stop> {
        loop {
            match self.next(&mut queue).await? {
                Some(Part::Bytes(bytes, task)) => self.append(&bytes, task).await?,
                Some(Part::End) => return self.commit().await,
                None => self.sync().await?,
            }
        }
    }

    /// The next part; `None` when it is time to sync.
    async fn next(&mut self, queue: &mut Queue) -> Result<Option<Part>, Stop> {
        if self.sync_at.is_some_and(|at| at <= Instant::now()) {
            return Ok(None);
        }
        if let Ok(part) = queue.try_recv() {
            return Ok(Some(part));
        }
        self.show().await?;
        let sync_at = self.sync_at;
        tokio::select! {
            part = queue.recv() => match part {
                Some(part) => Ok(Some(part)),
                // Let go by a driver that has ended, or of a job that has.
                None if self.app.closing.is_cancelled() => Err(Stop::Closing),
                None => Err(Stop::GivenUp),
            },
            () = until(sync_at) => Ok(None),
            () = self.app.closing.cancelled() => Err(Stop::Closing),
        }
    }

    async fn append(&mut self, bytes: &[u8], task: u64) -> Result<(), Stop> {
        while let Err(error) = self.output.write(bytes).await {
            self.wait(error).await?;
        }
        self.written = task;
        self.sync_at
            .get_or_insert_with(|| Instant::now() + SYNC_EVERY);
        self.well().await
    }

    /// Lets readers see what was written.
    async fn show(&mut self) -> Result<(), Stop> {
        loop {
            match self.output.flush().await {
                Ok(len) => {
                    self.len.store(len, Ordering::Release);
                    return self.well().await;
                }
                Err(error) => self.wait(error).await?,
            }
        }
    }

    /// Brings what was written to the disk, and says so.
    async fn sync(&mut self) -> Result<(), Stop> {
        loop {
            match self.output.sync().await {
                Ok(len) => {
                    self.len.store(len, Ordering::Release);
                    self.sync_at = None;
                    let (job, task) = (self.job, self.written);
                    self.tell(Input::Synced { job, task, len }).await?;
                    return self.well().await;
                }
                Err(error) => self.wait(error).await?,
            }
        }
    }

    async fn commit(&mut self) -> Result<BlobView, Stop> {
        loop {
            match self.output.commit().await {
                Ok(view) => return Ok(view),
                Err(error) => self.wait(error).await?,
            }
        }
    }

    /// After an error that may pass: waits before the next try.
    async fn wait(&mut self, error: BlobError) -> Result<(), Stop> {
        if !error.may_pass() {
            return Err(Stop::Failed(error));
        }
        self.troubled = true;
        let source = Trouble::Result(self.job);
        let waited = self.app.wait_for_disk(source, error.to_string()).await;
        waited.ok_or(Stop::Closing)
    }

    /// The disk takes what it is given.
    async fn well(&mut self) -> Result<(), Stop> {
        if std::mem::take(&mut self.troubled) {
            let source = Trouble::Result(self.job);
            self.tell(Input::Trouble { source, why: None }).await?;
        }
        Ok(())
    }

    async fn tell(&self, input: Input) -> Result<(), Stop> {
        self.app.driver.send(input).await.map_err(|_| Stop::Closing)
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
