//! Uploads: blobs and modules.

use super::blob_hash;
use crate::app::App;
use crate::blobs::BlobError;
use crate::error::ApiError;
use crate::inputs::Cutter;
use crate::submit;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use manyhands_protocol::Split;
use manyhands_protocol::api::{BlobView, ErrorBody, ModuleView};
use std::sync::Arc;

/// Uploads a blob: an input, or a broadcast file. The body is its bytes.
#[utoipa::path(
    post, path = "/api/v1/blobs", tag = "blobs",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, body = BlobView), (status = 413, body = ErrorBody)),
    security(("key" = []), ()),
)]
pub(crate) async fn upload(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    let most = app.limits.max_blob;
    let declared = request.headers().get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|len| len.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|len| len > most) {
        return Err(BlobError::TooLarge(most).into());
    }
    let mut body = request.into_body().into_data_stream();
    let mut staging = app.blobs.stage().await?;
    // It may be meant for an input; none that cannot be cut is.
    let mut cutter = Some(Cutter::new(Split::default()));
    while let Some(piece) = body.next().await {
        let piece =
            piece.map_err(|error| ApiError::BadInput(format!("the upload broke off: {error}")))?;
        staging.write(&piece).await?;
        if let Some(cutting) = &mut cutter
            && cutting.push(&piece).is_err()
        {
            cutter = None;
        }
    }
    let view = staging.commit().await?;
    if let Some(cutter) = cutter {
        app.cuts.note(view.hash, cutter.finish());
    }
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// A blob's bytes; `HEAD` tells whether it is here.
#[utoipa::path(
    get, path = "/api/v1/blobs/{hash}", tag = "blobs",
    params(("hash" = String, Path, description = "BLAKE3 of the bytes, 64 hexadecimal digits")),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, body = ErrorBody),
    ),
    security(("key" = []), ()),
)]
pub(crate) async fn download(
    State(app): State<Arc<App>>,
    Path(hash): Path<String>,
) -> Result<Response, ApiError> {
    let hash = blob_hash(&hash)?;
    let found = app.blobs.get(hash).await?;
    let found = found.ok_or_else(|| ApiError::NotFound(format!("blob {hash} is not here")))?;
    let len = HeaderValue::from(found.meta.size);
    let mut response = Body::from_stream(found.into_stream()).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(header::CONTENT_LENGTH, len);
    Ok(response)
}

/// Uploads a guest module. It is checked before it is taken: the answer to a
/// bad one says what is wrong with it, and where.
#[utoipa::path(
    post, path = "/api/v1/modules", tag = "jobs",
    request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses(
        (status = 201, body = ModuleView),
        (status = 413, body = ErrorBody),
        (status = 422, body = ErrorBody, description = "`bad_module`: not admitted"),
    ),
    security(("key" = []), ()),
)]
pub(crate) async fn module(
    State(app): State<Arc<App>>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let bytes =
        bytes.map_err(|error| ApiError::TooLarge(format!("the module: {}", error.body_text())))?;
    let view = submit::module(&app, bytes).await?;
    Ok((StatusCode::CREATED, Json(view)).into_response())
}
