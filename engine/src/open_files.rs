//! How many files this process may have open at once: sealed memory is one each, and
//! so is a connection. The usual limit is a thousand, and the most that a process may
//! set for itself is far more.

/// Raises the limit as far as the process may. What it is then; `None` where there is
/// none.
#[cfg(unix)]
pub fn raise() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let before = getrlimit(Resource::Nofile);
    let highest = Rlimit {
        current: before.maximum,
        ..before
    };
    // Some systems say that there is no limit and take none: then it stays.
    match setrlimit(Resource::Nofile, highest) {
        Ok(()) => before.maximum,
        Err(error) => {
            tracing::info!(%error, "the number of files that may be open stays as it is");
            before.current
        }
    }
}

/// Elsewhere nothing is known of such a limit.
#[cfg(not(unix))]
pub fn raise() -> Option<u64> {
    None
}
