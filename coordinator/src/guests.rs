//! Guest code on the coordinator's side (`open`, `merge`, `finish`), in the
//! compute child and off the driver's path.

use crate::app::App;
use crate::driver::Input;
use axum::body::Bytes;
use manyhands_engine::compute::{Event, Events, Work};
use manyhands_protocol::{Failure, FailureKind, JobId, Node};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Tries of one call whose failure may be the machine's.
const TRIES: u32 = 3;

/// Does one thing in the compute child, again where the machine was to blame.
pub(crate) async fn call(app: &App, job: JobId, work: Work) -> Result<Bytes, Failure> {
    let mut tries = 1;
    loop {
        match app.compute.call(job, work.clone()).await {
            Err(failure) if failure.kind.depends_on_machine() && tries < TRIES => tries += 1,
            outcome => return outcome,
        }
    }
}

/// Merges two partials; the driver is told what they came to.
pub(crate) fn merge(app: &Arc<App>, job: JobId, node: Node, left: Bytes, right: Bytes) {
    let task_app = Arc::clone(app);
    app.tasks.spawn(async move {
        let app = task_app;
        let outcome = call(&app, job, Work::Merge { left, right }).await;
        // Without a driver nobody waits for it.
        let _ = app.driver.send(Input::Merged { job, node, outcome }).await;
    });
}

/// Finishes a `reduce` job and stores its result; the driver is told.
pub(crate) fn finish(app: &Arc<App>, job: JobId, partial: Bytes) {
    let task_app = Arc::clone(app);
    app.tasks.spawn(async move {
        let app = task_app;
        let outcome = match call(&app, job, Work::Finish { partial }).await {
            Ok(result) => app.blobs.put(&result).await.map_err(|error| Failure {
                kind: FailureKind::Crash,
                message: format!("the result cannot be written: {error}"),
            }),
            Err(failure) => Err(failure),
        };
        let _ = app.driver.send(Input::Finished { job, outcome }).await;
    });
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
                tracing::warn!(reason, "the compute child was replaced");
            }
            Event::Unavailable { reason } => {
                tracing::error!(reason, "the compute child cannot be started");
            }
            // Answers to `submit`, which is not used here, and news of no use.
            _ => {}
        }
    }
}
