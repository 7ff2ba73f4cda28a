//! Submitting, listing, showing and cancelling jobs.

use super::{Body, Params, job_id, no_job};
use crate::app::App;
use crate::driver::{Accepted, Input};
use crate::error::ApiError;
use crate::inputs::InputPart;
use crate::submit;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use manyhands_protocol::JobId;
use manyhands_protocol::api::{ErrorBody, JobPage, JobView, Submission, Waited};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// The longest that a submission's answer may be waited for, in milliseconds.
const LONGEST_WAIT_MS: u64 = 30_000;

#[derive(Deserialize)]
pub(crate) struct Waiting {
    wait_ms: Option<u64>,
}

/// What a submission is answered with.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Submitted {
    /// Without `wait_ms`.
    AtOnce(JobView),
    /// With it.
    Later(Waited),
}

/// Submits a job. Its module, inputs and files were uploaded before. With
/// `wait_ms` the answer comes when the job is over, or after that time, and says
/// more; a small result is in it.
#[utoipa::path(
    post, path = "/api/v1/jobs", tag = "jobs",
    params(("wait_ms" = Option<u64>, Query, description = "how long the answer may wait for the job's end, at most 30000")),
    request_body = Submission,
    responses(
        (status = 201, body = Submitted, description = "a `JobView`, or with `wait_ms` a `Waited`"),
        (status = 400, body = ErrorBody, description = "`bad_input`"),
        (status = 404, body = ErrorBody, description = "a blob that was not uploaded"),
        (status = 422, body = ErrorBody, description = "`bad_module`, or `bad_params` in the guest's own words"),
    ),
    security(("key" = []), ()),
)]
pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    Params(Waiting { wait_ms }): Params<Waiting>,
    Body(submission): Body<Submission>,
) -> Result<(StatusCode, Json<Submitted>), ApiError> {
    let mut parts = Vec::with_capacity(submission.inputs.len());
    for input in &submission.inputs {
        let place = app.blobs.place_renewed(input.blob).await?;
        let missing =
            || ApiError::NotFound(format!("input {} is not here: upload it first", input.path));
        parts.push(InputPart {
            name: input.path.clone(),
            file: place.ok_or_else(missing)?.file,
            known: app.cuts.find(input.blob),
        });
    }
    let accepted = submit::submit(&app, submission, parts, wait_ms.is_some()).await?;
    let answer = match wait_ms {
        None => Submitted::AtOnce(accepted.view.as_ref().clone()),
        Some(wait_ms) => {
            let wait = Duration::from_millis(wait_ms.min(LONGEST_WAIT_MS));
            Submitted::Later(waited(&app, accepted, wait).await?)
        }
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// The job once it is over, or when so much time has passed.
async fn waited(app: &App, accepted: Accepted, wait: Duration) -> Result<Waited, ApiError> {
    let Accepted { view, early } = accepted;
    let Some(entry) = app.board.get(view.id) else {
        // Submitted before, and over for long.
        let job = find(app, view.id).await?.as_ref().clone();
        return Ok(Waited::new(job, Vec::new(), None));
    };
    let early = early.unwrap_or_else(|| entry.early());
    let ended = tokio::time::timeout(wait, entry.came_to_an_end(early)).await;
    let (view, result) = ended.unwrap_or_else(|_| (entry.view(), None));
    let lines = entry.lines();
    Ok(Waited::new(view.as_ref().clone(), lines, result.as_deref()))
}

#[derive(Deserialize)]
pub(crate) struct Paging {
    limit: Option<usize>,
    before: Option<u64>,
}

/// Jobs, the newest first.
#[utoipa::path(
    get, path = "/api/v1/jobs", tag = "jobs",
    params(
        ("limit" = Option<usize>, Query, description = "at most as many: 1 to 500, 50 if absent"),
        ("before" = Option<u64>, Query, description = "only jobs submitted before this one"),
    ),
    responses((status = 200, body = JobPage)),
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Params(paging): Params<Paging>,
) -> Result<Json<JobPage>, ApiError> {
    let limit = paging.limit.unwrap_or(50).clamp(1, 500);
    let found = app.journal.page(paging.before.map(JobId), limit + 1).await;
    let mut found = found.map_err(|error| ApiError::Unavailable(error.to_string()))?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|last| last.id);
    // Those that run are on the board, as they stand now.
    let jobs = found.into_iter().map(|recorded| {
        let view = app
            .board
            .get(recorded.id)
            .map_or(recorded, |entry| entry.view());
        view.as_ref().clone()
    });
    Ok(Json(JobPage {
        jobs: jobs.collect(),
        next,
    }))
}

/// One job, as it stands.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}", tag = "jobs",
    params(("id" = u64, Path, description = "the job's number")),
    responses((status = 200, body = JobView), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<JobView>, ApiError> {
    let view = find(&app, job_id(&id)?).await?;
    Ok(Json(view.as_ref().clone()))
}

/// Takes a job back. One that is over stays as it is.
#[utoipa::path(
    post, path = "/api/v1/jobs/{id}/cancel", tag = "jobs",
    params(("id" = u64, Path, description = "the job's number")),
    responses((status = 200, body = JobView), (status = 404, body = ErrorBody)),
    security(("key" = []), ()),
)]
pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<JobView>, ApiError> {
    let job = job_id(&id)?;
    let cancelled = app.ask(|reply| Input::Cancel { job, reply }).await?;
    let view = match cancelled {
        Some(view) => view,
        None => find(&app, job).await?,
    };
    Ok(Json(view.as_ref().clone()))
}

/// A job as it was last shown or recorded.
pub(crate) async fn find(app: &App, job: JobId) -> Result<Arc<JobView>, ApiError> {
    if let Some(entry) = app.board.get(job) {
        return Ok(entry.view());
    }
    let recorded = app.journal.job(job).await;
    let recorded = recorded.map_err(|error| ApiError::Unavailable(error.to_string()))?;
    recorded.ok_or_else(|| no_job(job))
}
