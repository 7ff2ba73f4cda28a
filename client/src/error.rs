//! What can go wrong between a program and its coordinator.

use manyhands_protocol::JobId;
use manyhands_protocol::api::ErrorBody;
use std::fmt::Display;

/// Why something asked of a coordinator was not done.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not an address.
    #[error("{0:?} is not the address of a coordinator, such as http://127.0.0.1:7272")]
    Url(
        /// What was given.
        String,
    ),
    /// An address of TLS.
    #[error(
        "{0}: encrypted connections are not supported yet; use http:// (a proxy may add TLS for browsers)"
    )]
    Encrypted(
        /// What was given.
        String,
    ),
    /// The HTTP client does not start.
    #[error("the HTTP client: {0}")]
    Setup(reqwest::Error),
    /// Nobody answers.
    #[error("no coordinator answers at {url}: {reason}; start one with `manyhands coordinator`")]
    Unreachable {
        /// Where.
        url: String,
        /// The innermost cause.
        reason: String,
    },
    /// The connection broke before all was said.
    #[error("the connection to the coordinator at {url} broke: {reason}; try again")]
    Cut {
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
    /// The coordinator was started anew without this job.
    #[error(
        "the coordinator does not know job {0} any more: it was started anew, and keeps no jobs \
         (--ephemeral) or has another data folder; run the job again"
    )]
    Forgotten(
        /// Which.
        JobId,
    ),
    /// A local file cannot be read.
    #[error("{}: {}", path.display(), plain(.source))]
    Read {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The result cannot be written.
    #[error("the result cannot be written: {}", plain(.0))]
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

    /// Whether the same may succeed later: the coordinator is started anew, a
    /// connection comes back.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Cut { .. } => true,
            other => other.code() == Some("unavailable"),
        }
    }

    pub(crate) fn broken(url: &str, error: &reqwest::Error) -> Self {
        // The innermost cause says "Connection refused"; the outer ones only
        // say that a request failed.
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        let (url, reason) = (url.to_owned(), plain(cause));
        if error.is_connect() {
            Self::Unreachable { url, reason }
        } else {
            Self::Cut { url, reason }
        }
    }
}

/// The system's words without its error number, as part of a sentence.
pub fn plain(error: &(impl Display + ?Sized)) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    let mut letters = text[..end].chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// An answer that is not a success.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Answer<'_> {
    pub(crate) fn into_error(self, url: &str) -> ClientError {
        match (serde_json::from_slice(self.body), self.status) {
            (Ok(body), _) => ClientError::Refused(body),
            // A gateway before the coordinator, which it does not reach.
            (Err(_), status @ 502..=504) => ClientError::Unreachable {
                url: url.to_owned(),
                reason: format!("a gateway answers with status {status}"),
            },
            (Err(_), status) => ClientError::NotManyhands(format!("{url} (status {status})")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_lose_their_number() {
        let error = std::io::Error::from_raw_os_error(2);
        assert_eq!(plain(&error), "no such file or directory");
        assert_eq!(plain(""), "");
    }

    #[test]
    fn what_may_pass_is_told_from_what_stays() {
        let error = |status, body: &str| {
            let body = body.as_bytes();
            Answer { status, body }.into_error("http://lab/")
        };
        let closing = error(503, r#"{"code":"unavailable","message":"closing"}"#);
        let gateway = error(502, "<h1>Bad Gateway</h1>");
        assert!(closing.may_pass() && gateway.may_pass());
        let full = error(507, r#"{"code":"no_space","message":"no space is left"}"#);
        let foreign = error(404, "<h1>Not Found</h1>");
        assert!(!full.may_pass() && !foreign.may_pass());
        assert_eq!(full.code(), Some("no_space"));
        assert!(matches!(foreign, ClientError::NotManyhands(_)));
    }
}
