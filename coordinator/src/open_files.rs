//! How many workers fit, since each connection is an open file.

use manyhands_engine::open_files;

/// What is open besides workers' connections: the journal, blobs, pipes, workers of this
/// machine that are handed files (64 connections and as many files at most), and those
/// who look at the page.
const OTHERS: u64 = 256;

/// How many workers fit, at most `wanted`, once the limit is as high as it may be.
/// Says so where it is less.
pub(crate) fn room_for(wanted: usize) -> usize {
    let Some(limit) = open_files::raise() else {
        return wanted;
    };
    let room = usize::try_from(limit.saturating_sub(OTHERS)).unwrap_or(usize::MAX);
    if room < wanted {
        tracing::info!(
            "this process may have {limit} files open, so at most {room} workers can be connected; \
             the system's limit (`ulimit -Hn`) decides"
        );
    }
    room.clamp(1, wanted)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use rustix::process::{Resource, getrlimit};

    #[test]
    fn the_limit_is_as_high_as_it_may_be_and_bounds_the_workers() {
        assert_eq!(room_for(1), 1);
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        if let Some(limit) = limit.current {
            assert_eq!(room_for(usize::MAX) as u64, limit - OTHERS);
        }
    }
}
