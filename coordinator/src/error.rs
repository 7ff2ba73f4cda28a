//! Answers that are not a success: one enum, one place that gives each its
//! status and its word for programs.

use crate::blobs::BlobError;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use manyhands_protocol::api::ErrorBody;

/// Why a request is refused. The text says what happened, where, and what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ApiError {
    /// The module is not admitted.
    #[error("{0}")]
    BadModule(String),
    /// The guest, or a limit, refuses the parameters.
    #[error("{0}")]
    BadParams(String),
    /// Inputs, files or other fields of the request are wrong.
    #[error("{0}")]
    BadInput(String),
    /// What the request names is not here.
    #[error("{0}")]
    NotFound(String),
    /// A foreign page, a foreign name, or no key.
    #[error("{0}")]
    Forbidden(String),
    /// Past a limit.
    #[error("{0}")]
    TooLarge(String),
    /// There is no result, or not yet.
    #[error("{0}")]
    NotDone(String),
    /// The disk is full.
    #[error("{0}")]
    NoSpace(String),
    /// The coordinator itself has a problem, or closes.
    #[error("{0}")]
    Unavailable(String),
}

impl ApiError {
    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::BadModule(_) => (StatusCode::UNPROCESSABLE_ENTITY, "bad_module"),
            Self::BadParams(_) => (StatusCode::UNPROCESSABLE_ENTITY, "bad_params"),
            Self::BadInput(_) => (StatusCode::BAD_REQUEST, "bad_input"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::NotDone(_) => (StatusCode::CONFLICT, "not_done"),
            Self::NoSpace(_) => (StatusCode::INSUFFICIENT_STORAGE, "no_space"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        }
    }

    /// The coordinator is on its way out.
    pub(crate) fn closing() -> Self {
        Self::Unavailable("the coordinator is closing".into())
    }
}

impl From<BlobError> for ApiError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::TooLarge(_) => Self::TooLarge(error.to_string()),
            BlobError::Full { .. } => Self::NoSpace(error.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code) = self.status_and_code();
        let body = ErrorBody {
            code: code.into(),
            message: self.to_string(),
        };
        (status, Json(body)).into_response()
    }
}
