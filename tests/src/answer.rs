//! What a call of the system's answers.

use std::io;

/// Whether it could be done.
pub(crate) fn check(answer: libc::c_int) -> io::Result<()> {
    match answer {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
