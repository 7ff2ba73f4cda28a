//! Follows a job to its end: progress and log lines on the way, over as many
//! starts of the coordinator as it takes; its result fetched.

use crate::connection::in_trouble;
use crate::error::Error;
use crate::human;
use crate::interrupt::interrupted;
use crate::output::{Opened, ResultWriter};
use crate::progress::Progress;
use crate::report;
use manyhands_client::{Client, ClientError, News, PATIENCE, persist};
use manyhands_protocol::JobId;
use manyhands_protocol::api::{JobEvent, JobState, JobView};
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// How often the coordinator is asked how it fares.
const ASK_EVERY: Duration = Duration::from_secs(3);

/// What Ctrl-C means for the job that is followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OnInterrupt {
    /// It is cancelled: it is this command's own.
    Cancel,
    /// It goes on.
    Leave,
}

/// Waits until a job is over: without end where the coordinator goes away, as it
/// may come back.
///
/// # Errors
/// When the coordinator has forgotten the job or refuses; on Ctrl-C.
pub(crate) async fn follow(
    client: &Client,
    job: &JobView,
    on_interrupt: OnInterrupt,
    quiet: bool,
) -> Result<JobView, Error> {
    let mut progress = Progress::new(quiet);
    let mut interrupt = std::pin::pin!(interrupted());
    let mut watch = client.watch(job.id).of(job);
    let mut trouble = Trouble::of(client.clone());
    let mut last = job.clone();
    loop {
        let news = tokio::select! {
            news = watch.next() => news?,
            () = &mut interrupt => {
                return Err(match on_interrupt {
                    OnInterrupt::Cancel => cancel(client, job.id, &progress).await,
                    OnInterrupt::Leave => Error::Interrupted { cancelled: None },
                });
            }
            trouble = trouble.changed() => {
                progress.trouble(trouble);
                continue;
            }
        };
        match news {
            Some(News::Event(JobEvent::Job(view))) => {
                progress.update(&view);
                last = *view;
            }
            Some(News::Event(JobEvent::Log { text })) => progress.line(&format!("log: {text}")),
            Some(News::Away { reason }) => progress.away(&reason),
            Some(News::Back) => progress.back(),
            None => return Ok(last),
        }
    }
}

/// The job, if it is done; else why it has no result.
///
/// # Errors
/// When it failed, was cancelled, or still runs.
pub(crate) fn outcome(job: JobView) -> Result<JobView, Error> {
    let (id, name) = (job.id, job.name.clone());
    match &job.state {
        JobState::Done { .. } => Ok(job),
        JobState::Failed { task, failure } => {
            let text = report::failure(*task, failure);
            Err(Error::JobFailed { id, name, text })
        }
        JobState::Cancelled => Err(Error::JobCancelled { id, name }),
        JobState::Running | JobState::Finishing => {
            let state = report::state(&job);
            Err(Error::NotDone { id, name, state })
        }
    }
}

/// Ctrl-C: the job is cancelled, unless a second one comes first.
async fn cancel(client: &Client, job: JobId, progress: &Progress) -> Error {
    progress.line("cancelling; Ctrl-C again leaves at once");
    tokio::select! {
        cancelled = client.cancel(job) => match cancelled {
            Ok(_) => Error::Interrupted { cancelled: Some(job) },
            Err(source) => Error::NotCancelled { id: job, source },
        },
        () = interrupted() => Error::Interrupted { cancelled: None },
    }
}

/// Why the coordinator hands nothing out, asked now and then beside the job's
/// events.
struct Trouble {
    latest: watch::Receiver<Option<String>>,
    asking: AbortHandle,
}

impl Trouble {
    fn of(client: Client) -> Self {
        let (tell, latest) = watch::channel(None);
        let asking = tokio::spawn(async move {
            loop {
                // One that does not answer is noticed by those who watch.
                if let Ok(status) = client.status().await {
                    tell.send_if_modified(|known| {
                        let news = *known != status.trouble;
                        *known = status.trouble;
                        news
                    });
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
        });
        Self {
            latest,
            asking: asking.abort_handle(),
        }
    }

    /// The next change. Safe to cancel.
    async fn changed(&mut self) -> Option<String> {
        if self.latest.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.latest.borrow_and_update().as_deref().map(in_trouble)
    }
}

impl Drop for Trouble {
    fn drop(&mut self) {
        self.asking.abort();
    }
}

/// Does what may be done twice until it is done, for as long as a coordinator
/// takes to come back, and says once that it waits.
///
/// # Errors
/// The last attempt's.
pub(crate) async fn insist<T>(
    attempt: impl AsyncFnMut() -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let mut told = false;
    let tell = |error: &ClientError| {
        if !std::mem::replace(&mut told, true) {
            let seconds = PATIENCE.as_secs();
            eprintln!("{error}; trying again for up to {seconds} s");
        }
    };
    persist(PATIENCE, tell, attempt).await
}

/// Fetches the result of a job that is done, unless it is here as it is `small`;
/// the file it is in, if it is one.
///
/// # Errors
/// When it cannot be fetched or written.
///
/// # Panics
/// When the job is not done.
pub(crate) async fn save(
    client: &Client,
    job: &JobView,
    small: Option<Vec<u8>>,
    target: Opened,
) -> Result<Option<PathBuf>, Error> {
    let JobState::Done { len, .. } = job.state else {
        panic!("only a job that is done has a result");
    };
    let mut writer = ResultWriter::new(target, &job.output, len)?;
    let mut download = client.download(job.id);
    let fetch = async {
        let Some(bytes) = small else {
            return insist(async || download.write_to(&mut writer).await).await;
        };
        let written = writer.write_all(&bytes).await.and(writer.flush().await);
        written.map(|()| len).map_err(ClientError::Write)
    };
    let fetched = tokio::select! {
        fetched = fetch => fetched,
        () = interrupted() => return Err(Error::Interrupted { cancelled: None }),
    };
    match fetched {
        Ok(_) => {}
        Err(ClientError::Write(source)) => return Err(writer.error(source)),
        Err(other) => return Err(other.into()),
    }
    let path = writer.finish()?;
    if let Some(path) = &path {
        let written = path.metadata().map_or(len, |metadata| metadata.len());
        eprintln!("result: {} ({})", path.display(), human::size(written));
    }
    Ok(path)
}
