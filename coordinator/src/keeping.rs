//! What is kept of jobs that are over, and of blobs that nobody needs: looked at
//! now and then. What running jobs need is never touched.

use crate::app::App;
use crate::driver::unix_ms;
use crate::journal::Keep;
use std::sync::Arc;
use std::time::Duration;

/// How often.
const EVERY: Duration = Duration::from_secs(60);

/// A blob that was uploaded, or asked for, so long ago may go if no job has come
/// that needs it.
const UNUSED: Duration = Duration::from_secs(3600);

/// Goes on until the coordinator closes.
pub(crate) async fn keep(app: Arc<App>, keep: Keep) {
    let pause = || app.closing.run_until_cancelled(tokio::time::sleep(EVERY));
    while pause().await.is_some() {
        if let Err(error) = once(&app, keep).await {
            tracing::warn!(error, "old jobs and blobs stay for now");
        }
    }
}

async fn once(app: &Arc<App>, keep: Keep) -> Result<(), String> {
    let dropped = app.journal.retain(keep, unix_ms()).await;
    let dropped = dropped.map_err(|error| error.to_string())?;
    // Asked for before the sweep: what a job began to use meanwhile was touched
    // by its submission and is young.
    let used = app.journal.blobs_in_use().await;
    let used = used.map_err(|error| error.to_string())?;
    let blobs = Arc::clone(&app.blobs);
    let sweep = move || blobs.sweep(|hash| used.contains(&hash), UNUSED);
    let swept = tokio::task::spawn_blocking(sweep).await;
    let swept = swept.map_err(|error| error.to_string())?;
    let swept = swept.map_err(|error| error.to_string())?;
    if dropped > 0 || swept.blobs > 0 {
        let (blobs, bytes) = (swept.blobs, swept.bytes);
        tracing::info!(jobs = dropped, blobs, bytes, "dropped what is old");
    }
    Ok(())
}
