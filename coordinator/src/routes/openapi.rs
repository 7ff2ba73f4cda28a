//! The OpenAPI document of `/api/v1`.

use super::{blobs, events, jobs, result, status, workers};
use axum::Json;
use manyhands_protocol::api::ErrorBody;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Manyhands",
        description = "Submit a job, watch it, fetch its result. Beyond loopback whatever \
                       changes state needs the coordinator's key."
    ),
    paths(
        blobs::upload,
        blobs::download,
        blobs::module,
        jobs::submit,
        jobs::list,
        jobs::show,
        jobs::cancel,
        events::watch,
        result::result,
        workers::list,
        workers::show,
        status::status,
        status::goodbye,
        document,
    ),
    components(schemas(ErrorBody)),
    modifiers(&Key),
)]
struct Api;

struct Key;

impl Modify for Key {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(bearer));
    }
}

/// This document.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "workers",
    responses((status = 200, description = "OpenAPI", content_type = "application/json")),
)]
pub(crate) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Api::openapi())
}
