//! What can go wrong between a program and its coordinator.

use manyhands_protocol::JobId;
use manyhands_protocol::api::ErrorBody;

/// Why something asked of a coordinator was not done.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not an address.
    #[error("{0:?} is not the address of a coordinator, such as http://127.0.0.1:7272")]
    Url(
        /// What was given.
        String,
    ),
    /// The HTTP client does not start.
    #[error("the HTTP client: {0}")]
    Setup(reqwest::Error),
    /// Nobody answers, or the connection broke.
    #[error("no coordinator answers at {url}: {reason}; start one with `manyhands coordinator`")]
    Unreachable {
        /// Where.
        url: String,
        /// The innermost cause.
        reason: String,
    },
    /// Something else answers there.
    #[error("what answers at {0} is not a coordinator of this release of manyhands")]
    NotManyhands(
        /// Where.
        String,
    ),
    /// The coordinator refuses; the words are its own.
    #[error("{}", .0.message)]
    Refused(
        /// The answer's body, with a code for programs.
        ErrorBody,
    ),
    /// A local file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The result cannot be written.
    #[error("the result cannot be written: {0}")]
    Write(std::io::Error),
    /// The bytes that came are not the result.
    #[error("the result of job {0} was damaged on the way: fetch it again")]
    Damaged(
        /// Of which job.
        JobId,
    ),
    /// A file changed while it was uploaded.
    #[error("{} changed while it was read: try again", .0.display())]
    Changed(
        /// Which.
        std::path::PathBuf,
    ),
}

impl ClientError {
    /// The coordinator's word for programs (`bad_params`, `not_found`, …), where
    /// it refused.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(body) => Some(&body.code),
            _ => None,
        }
    }

    pub(crate) fn unreachable(url: &str, error: &reqwest::Error) -> Self {
        // The innermost cause says "Connection refused"; the outer ones only
        // say that a request failed.
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Self::Unreachable {
            url: url.to_owned(),
            reason: cause.to_string(),
        }
    }
}

/// An answer that is not a success.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Answer<'_> {
    pub(crate) fn into_error(self, url: &str) -> ClientError {
        match serde_json::from_slice(self.body) {
            Ok(body) => ClientError::Refused(body),
            // A gateway before the coordinator, say.
            Err(_) => ClientError::NotManyhands(format!("{url} (status {})", self.status)),
        }
    }
}
