//! The error a job returns: a text for the author.

use std::fmt;

/// What went wrong, as text that reaches the author together with the task's index.
///
/// Any [`std::error::Error`] becomes one through `?`, its sources included.
///
/// ```
/// use manyhands_guest_sdk::{Error, Result};
///
/// fn parse(field: &str) -> Result<f64> {
///     Ok(field.parse::<f64>()?)
/// }
/// assert_eq!(parse("x").unwrap_err().to_string(), "invalid float literal");
/// assert_eq!(Error::new("no such column").to_string(), "no such column");
/// ```
pub struct Error {
    text: String,
}

/// A [`std::result::Result`] whose error is [`Error`] unless said otherwise.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with this text.
    pub fn new(text: impl fmt::Display) -> Self {
        // `{:#}` gives the whole chain of the errors that know how to.
        Self {
            text: format!("{text:#}"),
        }
    }

    /// The same error, its text preceded by `context` and a colon.
    pub fn context(self, context: impl fmt::Display) -> Self {
        Self::new(format_args!("{context}: {}", self.text))
    }

    #[cfg(target_arch = "wasm32")]
    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

// Not `std::error::Error` itself: then `From` below could not cover all of them.
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        Self { text }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
