//! Who lends a hand, page by page.

use super::Params;
use crate::app::App;
use crate::driver::Question;
use crate::error::ApiError;
use axum::Json;
use axum::extract::{Path, State};
use manyhands_protocol::WorkerId;
use manyhands_protocol::api::{ErrorBody, WorkerPage, WorkerView};
use serde::Deserialize;
use std::sync::Arc;

#[derive(Deserialize)]
pub(crate) struct Paging {
    limit: Option<usize>,
    after: Option<u64>,
}

/// Workers, in the order in which they joined, as they stand.
#[utoipa::path(
    get, path = "/api/v1/workers", tag = "workers",
    params(
        ("limit" = Option<usize>, Query, description = "at most as many: 1 to 500, 50 if absent"),
        ("after" = Option<u64>, Query, description = "only workers that joined after this one"),
    ),
    responses((status = 200, body = WorkerPage)),
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Params(paging): Params<Paging>,
) -> Result<Json<WorkerPage>, ApiError> {
    let limit = paging.limit.unwrap_or(50).clamp(1, 500);
    let after = paging.after.map(WorkerId);
    let page = |reply| Question::Workers {
        after,
        limit,
        reply,
    };
    Ok(Json(app.look(page).await?))
}

/// One worker, as it stands.
#[utoipa::path(
    get, path = "/api/v1/workers/{id}", tag = "workers",
    params(("id" = u64, Path, description = "the worker's number")),
    responses((status = 200, body = WorkerView), (status = 404, body = ErrorBody)),
)]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<WorkerView>, ApiError> {
    let number = id.parse();
    let worker = number.map_err(|_| ApiError::NotFound(format!("{id:?} is no worker's number")))?;
    let worker = WorkerId(worker);
    let view = app.look(|reply| Question::Worker { worker, reply }).await?;
    let gone = || {
        ApiError::NotFound(format!(
            "there is no worker {worker} (any more); `manyhands workers` lists them"
        ))
    };
    view.map(Json).ok_or_else(gone)
}
