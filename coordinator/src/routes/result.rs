//! A job's result: whole once it is done, its prefix before.

use super::{Params, job_id, jobs};
use crate::app::App;
use crate::blobs::Place;
use crate::error::ApiError;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use manyhands_coordinator_core::SMALL_RESULT;
use manyhands_protocol::JobId;
use manyhands_protocol::api::{ErrorBody, JobState, JobView};
use serde::Deserialize;
use std::sync::Arc;

#[derive(Deserialize)]
pub(crate) struct From {
    from: Option<u64>,
}

/// The result's bytes. With `from`, those from there on that are there already,
/// also while a `concat` job runs: ask again with the next offset for more.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/result", tag = "jobs",
    params(
        ("id" = u64, Path, description = "the job's number"),
        ("from" = Option<u64>, Query, description = "the offset of the first byte wanted"),
    ),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody, description = "`not_done`: there is none, or not yet"),
    ),
)]
pub(crate) async fn result(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(From { from }): Params<From>,
) -> Result<Response, ApiError> {
    let job = job_id(&id)?;
    let view = jobs::find(&app, job).await?;
    let entry = app.board.get(job).filter(|_| !view.state.is_over());
    let growing = entry.as_ref().and_then(|entry| entry.growing.as_ref());
    let (Some(from), Some(entry), Some(growing)) = (from, &entry, growing) else {
        return stored(&app, &view, from.unwrap_or(0)).await;
    };
    match tokio::fs::File::open(&growing.file).await {
        Ok(file) => {
            let len = growing.len();
            send_open(file, from, len.saturating_sub(from), &view).await
        }
        // It is being moved to where results are: the job is about to end.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let ended = entry.ended().await;
            stored(&app, &ended, from).await
        }
        Err(error) => Err(unreadable(&error)),
    }
}

/// The result of a job that is done.
async fn stored(app: &App, view: &JobView, from: u64) -> Result<Response, ApiError> {
    let JobState::Done { hash, len } = view.state else {
        return Err(none(view));
    };
    if len <= SMALL_RESULT as u64
        && let Some(bytes) = small(app, view.id).await?
    {
        let rest = bytes.slice(from.min(len) as usize..);
        let len = rest.len() as u64;
        return Ok(headers(Body::from(rest), len, view));
    }
    let place = app.blobs.place(hash).await?;
    let lost = || {
        ApiError::NotFound(format!(
            "the result of job {} is not here any more",
            view.id
        ))
    };
    Ok(send(place.ok_or_else(lost)?, from, view))
}

/// A result that is no blob.
async fn small(app: &App, job: JobId) -> Result<Option<Bytes>, ApiError> {
    if let Some(bytes) = app.board.get(job).and_then(|entry| entry.small()) {
        return Ok(Some(bytes));
    }
    let recorded = app.journal.result(job).await;
    recorded.map_err(|error| ApiError::Unavailable(error.to_string()))
}

fn none(view: &JobView) -> ApiError {
    let job = view.id;
    ApiError::NotDone(match &view.state {
        JobState::Failed { task, failure } => {
            let place = task.map_or(String::new(), |task| format!(" at task {task}"));
            format!("job {job} failed{place}: {}", failure.message)
        }
        JobState::Cancelled => format!("job {job} was cancelled"),
        _ => format!(
            "job {job} is not done: {} of {} tasks are",
            view.done, view.tasks
        ),
    })
}

fn unreadable(error: &std::io::Error) -> ApiError {
    ApiError::Unavailable(format!("the growing result cannot be read: {error}"))
}

/// Streams a stored result.
fn send(place: Place, from: u64, view: &JobView) -> Response {
    const CHUNK: u64 = 256 << 10;
    let at = from.min(place.len);
    let len = place.len - at;
    let pieces = stream::try_unfold((place, at), |(place, at)| async move {
        let len = CHUNK.min(place.len - at);
        if len == 0 {
            return Ok(None);
        }
        let piece = place.read(at, len as usize).await?;
        Ok::<_, std::io::Error>(Some((piece, (place, at + len))))
    });
    headers(Body::from_stream(pieces), len, view)
}

/// Streams what is there of a growing one.
async fn send_open(
    mut file: tokio::fs::File,
    from: u64,
    len: u64,
    view: &JobView,
) -> Result<Response, ApiError> {
    use tokio::io::{AsyncReadExt, AsyncSeekExt};
    file.seek(std::io::SeekFrom::Start(from))
        .await
        .map_err(|error| unreadable(&error))?;
    let pieces = tokio_util::io::ReaderStream::with_capacity(file.take(len), 256 << 10);
    Ok(headers(Body::from_stream(pieces), len, view))
}

fn headers(body: Body, len: u64, view: &JobView) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    // Never a guest's own media type: this is the coordinator's origin.
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
    let name = format!("attachment; filename=\"manyhands-{}\"", view.id);
    headers.insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::try_from(name).expect("a number"),
    );
    response
}
