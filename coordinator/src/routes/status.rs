//! Status, farewells of pages, and what machines ask for.

use crate::app::App;
use crate::driver::{Input, Question};
use crate::error::ApiError;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use manyhands_protocol::SessionToken;
use manyhands_protocol::api::{ErrorBody, Status};
use std::sync::Arc;

/// The coordinator at a glance.
#[utoipa::path(
    get, path = "/api/v1/status", tag = "workers",
    responses((status = 200, body = Status)),
)]
pub(crate) async fn status(State(app): State<Arc<App>>) -> Json<Status> {
    Json(app.board.status())
}

/// A page's last word (`navigator.sendBeacon`): the body is the session token
/// of its worker, as 16 bytes or 32 hexadecimal digits. Its leases are free.
#[utoipa::path(
    post, path = "/api/v1/goodbye", tag = "workers",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 204), (status = 400, body = ErrorBody)),
)]
pub(crate) async fn goodbye(
    State(app): State<Arc<App>>,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let wrong =
        || ApiError::BadInput("a session token is 16 bytes or 32 hexadecimal digits".into());
    let session = token(&body).ok_or_else(wrong)?;
    let told = app.driver.send(Input::Goodbye { session }).await;
    told.map_err(|_| ApiError::closing())?;
    Ok(StatusCode::NO_CONTENT)
}

fn token(body: &[u8]) -> Option<SessionToken> {
    if let Ok(token) = <[u8; 16]>::try_from(body) {
        return Some(SessionToken(token));
    }
    let digits = std::str::from_utf8(body)
        .ok()
        .filter(|text| text.len() == 32)?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = plain.then(|| u128::from_str_radix(digits, 16).ok())??;
    Some(SessionToken(number.to_be_bytes()))
}

/// For Prometheus.
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let running = i64::try_from(app.board.running()).unwrap_or(i64::MAX);
    app.metrics.jobs.set(running);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], app.metrics.text()).into_response()
}

/// Whether the driver answers, and can keep what it is given.
pub(crate) async fn healthz(State(app): State<Arc<App>>) -> Result<&'static str, ApiError> {
    let trouble = app.look(|reply| Question::Trouble { reply }).await?;
    match trouble {
        Some(why) => Err(ApiError::Unavailable(why)),
        None => Ok("ok\n"),
    }
}
