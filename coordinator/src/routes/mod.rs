//! The HTTP side: one table of routes, and the checks before all of them.

mod blobs;
mod events;
mod jobs;
mod openapi;
mod result;
mod status;
mod workers;

use crate::app::App;
use crate::error::ApiError;
use crate::{page, sockets};
use axum::Router;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use manyhands_protocol::limits::MAX_MODULE;
use manyhands_protocol::{BlobHash, JobId};
use std::sync::Arc;

/// A submission may name many thousand input files.
const MAX_SUBMISSION: usize = 256 << 20;

/// All routes, behind the guard.
pub(crate) fn router(app: Arc<App>) -> Router {
    let modules = post(blobs::module).layer(DefaultBodyLimit::max(MAX_MODULE as usize));
    let jobs = get(jobs::list)
        .post(jobs::submit)
        .layer(DefaultBodyLimit::max(MAX_SUBMISSION));
    let api = Router::new()
        .route("/blobs", post(blobs::upload))
        .route("/blobs/{hash}", get(blobs::download))
        .route("/modules", modules)
        .route("/jobs", jobs)
        .route("/jobs/{id}", get(jobs::show))
        .route("/jobs/{id}/events", get(events::watch))
        .route("/jobs/{id}/result", get(result::result))
        .route("/jobs/{id}/cancel", post(jobs::cancel))
        .route("/workers", get(workers::list))
        .route("/workers/{id}", get(workers::show))
        .route("/status", get(status::status))
        .route("/goodbye", post(status::goodbye))
        .route("/openapi.json", get(openapi::document))
        .fallback(no_route);
    Router::new()
        .nest("/api/v1", api)
        .route("/ws", get(sockets::connect))
        .route("/metrics", get(status::metrics))
        .route("/healthz", get(status::healthz))
        .fallback(pages)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), guard))
        .with_state(app)
}

/// Lets nobody through who has no business here, and puts the headers on that
/// every answer has.
async fn guard(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let checked = app
        .guard
        .check(request.method(), request.uri(), request.headers());
    let mut response = match checked {
        Ok(host) => {
            let policy = page::content_security_policy(&host);
            request.extensions_mut().insert(host);
            let mut response = next.run(request).await;
            response
                .headers_mut()
                .insert(header::CONTENT_SECURITY_POLICY, policy);
            response
        }
        Err(error) => error.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-cache"));
    response
}

async fn pages(
    State(app): State<Arc<App>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    page::serve(uri.path(), &headers, app.www_dir.as_deref()).await
}

async fn no_route(uri: Uri) -> ApiError {
    ApiError::NotFound(format!(
        "there is no {} under /api/v1; /api/v1/openapi.json lists what is",
        uri.path()
    ))
}

/// A JSON body whose errors are ours.
pub(crate) struct Body<T>(pub(crate) T);

impl<S, T> FromRequest<S> for Body<T>
where
    S: Send + Sync,
    T: serde::de::DeserializeOwned,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match axum::Json::from_request(request, state).await {
            Ok(axum::Json(value)) => Ok(Self(value)),
            Err(JsonRejection::BytesRejection(error)) => Err(ApiError::TooLarge(error.body_text())),
            Err(error) => Err(ApiError::BadInput(error.body_text())),
        }
    }
}

/// A query whose errors are ours.
pub(crate) struct Params<T>(pub(crate) T);

impl<S, T> FromRequestParts<S> for Params<T>
where
    S: Send + Sync,
    T: serde::de::DeserializeOwned,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        let Query(params) = query.map_err(|error| ApiError::BadInput(error.body_text()))?;
        Ok(Self(params))
    }
}

pub(crate) fn job_id(text: &str) -> Result<JobId, ApiError> {
    let number = text
        .parse()
        .map_err(|_| ApiError::NotFound(format!("{text:?} is no job's number")))?;
    Ok(JobId(number))
}

pub(crate) fn blob_hash(text: &str) -> Result<BlobHash, ApiError> {
    text.parse()
        .map_err(|error| ApiError::BadInput(format!("{text:?}: {error}")))
}

pub(crate) fn no_job(id: JobId) -> ApiError {
    ApiError::NotFound(format!("there is no job {id}; `manyhands jobs` lists them"))
}
