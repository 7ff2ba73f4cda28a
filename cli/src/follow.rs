//! Follows a job to its end: progress and log lines on the way, cancelled by
//! Ctrl-C, its result fetched.

use crate::error::Error;
use crate::human;
use crate::interrupt::interrupted;
use crate::output::{ResultWriter, Target};
use crate::progress::Progress;
use crate::report;
use manyhands_client::{Client, ClientError};
use manyhands_protocol::JobId;
use manyhands_protocol::api::{JobEvent, JobState, JobView};

/// Waits until a job is over.
///
/// # Errors
/// When it failed or was cancelled; on Ctrl-C it is cancelled.
pub(crate) async fn follow(client: &Client, job: JobId, quiet: bool) -> Result<JobView, Error> {
    let mut progress = Progress::new(quiet);
    let mut interrupt = std::pin::pin!(interrupted());
    let mut watch = client.watch(job);
    let mut last = None;
    loop {
        let event = tokio::select! {
            event = watch.next() => event?,
            () = &mut interrupt => return Err(cancel(client, job, &progress).await),
        };
        match event {
            Some(JobEvent::Job(view)) => {
                progress.update(&view);
                last = Some(*view);
            }
            Some(JobEvent::Log { text }) => progress.line(&format!("log: {text}")),
            None => break,
        }
    }
    drop(progress);
    let view = match last {
        Some(view) => view,
        None => client.job(job).await?,
    };
    outcome(view)
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
            Err(error) => error.into(),
        },
        () = interrupted() => Error::Interrupted { cancelled: None },
    }
}

/// Fetches the result of a job that is done.
///
/// # Errors
/// When it cannot be fetched or written.
///
/// # Panics
/// When the job is not done.
pub(crate) async fn save(client: &Client, job: &JobView, target: &Target) -> Result<(), Error> {
    let JobState::Done { len, .. } = job.state else {
        panic!("only a job that is done has a result");
    };
    let mut writer = ResultWriter::open(target, &job.output, len)?;
    let fetched = tokio::select! {
        fetched = client.result(job.id, &mut writer) => fetched,
        () = interrupted() => return Err(Error::Interrupted { cancelled: None }),
    };
    match fetched {
        Ok(_) => {}
        Err(ClientError::Write(source)) => return Err(writer.error(source)),
        Err(other) => return Err(other.into()),
    }
    writer.finish()?;
    if let Some(path) = target.path() {
        let written = path.metadata().map_or(len, |metadata| metadata.len());
        eprintln!("result: {} ({})", path.display(), human::size(written));
    }
    Ok(())
}
