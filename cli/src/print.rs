//! The one way to standard output: text for people, one JSON object for programs.

use crate::error::Error;
use serde::Serialize;
use std::io::{self, Write};
use std::path::Path;

/// Prints what a command came to, in one of its two forms.
///
/// # Errors
/// When nobody reads it.
pub(crate) fn answer(
    json: bool,
    value: &impl Serialize,
    text: impl FnOnce() -> String,
) -> Result<(), Error> {
    if json {
        let mut line = serde_json::to_string(value).expect("our own types have text keys");
        line.push('\n');
        stdout(&line)
    } else {
        stdout(&text())
    }
}

fn stdout(text: &str) -> Result<(), Error> {
    // Not `print!`, which panics when the reader has left.
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|source| Error::write(Path::new("standard output"), source))
}
