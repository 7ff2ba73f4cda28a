//! The results of `concat` jobs: appended to a file, and hashed, as the prefix
//! completes, by a task of each job.

use crate::app::App;
use crate::blobs::{BlobError, Staging};
use crate::board::Growing;
use crate::driver::Input;
use axum::body::Bytes;
use manyhands_protocol::api::BlobView;
use manyhands_protocol::{Failure, FailureKind, JobId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// The driver's end of a growing result. Dropped before
/// [`complete`](Self::complete), the result is gone.
pub(crate) struct OutputFile {
    parts: mpsc::UnboundedSender<Part>,
    growing: Growing,
}

enum Part {
    Bytes(Bytes),
    End,
}

impl OutputFile {
    /// A new file and the task that writes it.
    pub(crate) async fn start(app: &Arc<App>, job: JobId) -> Result<Self, BlobError> {
        let staging = app.blobs.stage().await?;
        let growing = Growing {
            file: staging.path(),
            len: Arc::new(AtomicU64::new(0)),
        };
        // Unbounded: the scheduler's window bounds what is ahead of the prefix,
        // and a disk is faster than a network.
        let (parts, queue) = mpsc::unbounded_channel();
        let (task_app, len) = (Arc::clone(app), Arc::clone(&growing.len));
        app.tasks.spawn(async move {
            let outcome = match write(staging, queue, &len).await {
                Ok(Some(view)) => Ok(view),
                Ok(None) => return,
                Err(error) => Err(Failure {
                    kind: FailureKind::Crash,
                    message: format!("the result cannot be written: {error}"),
                }),
            };
            // Without a driver nobody waits for it.
            let _ = task_app.driver.send(Input::Finished { job, outcome }).await;
        });
        Ok(Self { parts, growing })
    }

    /// What readers see of it.
    pub(crate) fn growing(&self) -> Growing {
        self.growing.clone()
    }

    /// Appends to the result; does not wait.
    pub(crate) fn append(&mut self, bytes: Bytes) {
        // A writer that failed has said so.
        let _ = self.parts.send(Part::Bytes(bytes));
    }

    /// The result is whole; `Input::Finished` follows.
    pub(crate) fn complete(&mut self) {
        let _ = self.parts.send(Part::End);
    }
}

/// Writes until the end; `None` if the job was given up.
async fn write(
    mut staging: Staging,
    mut queue: mpsc::UnboundedReceiver<Part>,
    len: &AtomicU64,
) -> Result<Option<BlobView>, BlobError> {
    let mut next = queue.recv().await;
    loop {
        match next {
            Some(Part::Bytes(bytes)) => staging.write(&bytes).await?,
            Some(Part::End) => return staging.commit().await.map(Some),
            None => return Ok(None),
        }
        next = match queue.try_recv() {
            Ok(part) => Some(part),
            Err(_) => {
                len.store(staging.flush().await?, Ordering::Release);
                queue.recv().await
            }
        };
    }
}
