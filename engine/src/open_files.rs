//! How many files this process may have open at once: sealed memory is one each, a
//! part of a file is one in the child that has it, and so is a connection. The usual
//! limit is a thousand, and the most that a process may set for itself is far more.
//! Of memory and parts together there are half as many at most.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// How many are counted.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// One of the files that may be open, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(());

impl Counted {
    pub(crate) fn new() -> io::Result<Self> {
        let limit = limit();
        let counted = Self(());
        if COUNT.fetch_add(1, Ordering::Relaxed) >= limit / 2 {
            return Err(io::Error::other(format!(
                "half of the {limit} files that this process may have open are inputs"
            )));
        }
        Ok(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        COUNT.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(unix)]
fn limit() -> u64 {
    use rustix::process::{Resource, getrlimit};
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// As above.
#[cfg(not(unix))]
fn limit() -> u64 {
    u64::MAX
}
