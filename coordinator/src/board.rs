//! The board: how each job and the coordinator stand, as the driver last wrote
//! it, for those who ask. Readers never wait for the driver, nor it for them.

use axum::body::Bytes;
use manyhands_protocol::JobId;
use manyhands_protocol::api::{JobView, Status};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::{broadcast, watch};

/// What is kept of a job's log, for those who come late, in bytes.
const TAIL_BYTES: usize = 256 << 10;

/// What a line costs beyond its text, in bytes: also empty ones fill the tail.
const LINE_COST: usize = 64;

/// Lines a watcher may lag behind before it misses some.
const LOG_LAG: usize = 256;

/// Jobs kept on the board after their end; the journal knows all.
const KEPT_OVER: usize = 256;

/// One job on the board.
#[derive(Debug)]
pub(crate) struct Entry {
    view: watch::Sender<Arc<JobView>>,
    log: Mutex<Tail>,
    lines: broadcast::Sender<Arc<str>>,
    /// Set when the job came to a small result, recorded or not.
    result: watch::Sender<Option<Small>>,
    /// The growing result of a `concat` job.
    pub(crate) growing: Option<Growing>,
}

/// A job that came to a small result, and the result.
pub(crate) type Small = (Arc<JobView>, Bytes);

/// Where a small result comes, recorded or not, for someone who waits for it.
pub(crate) type Early = watch::Receiver<Option<Small>>;

/// A result on its way: a file, and how much of it can be read.
#[derive(Clone, Debug)]
pub(crate) struct Growing {
    pub(crate) file: Arc<Path>,
    pub(crate) len: Arc<AtomicU64>,
}

impl Growing {
    /// Bytes that can be read.
    pub(crate) fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }
}

#[derive(Debug, Default)]
struct Tail {
    lines: VecDeque<Arc<str>>,
    bytes: usize,
    /// Lines that were dropped: the number of the first one that is left.
    dropped: u64,
}

/// A watcher's ends: what was logged so far, and what comes.
pub(crate) struct Watching {
    /// The number of the tail's first line, or of the next one that comes.
    pub(crate) first: u64,
    pub(crate) tail: VecDeque<Arc<str>>,
    pub(crate) lines: broadcast::Receiver<Arc<str>>,
    pub(crate) view: watch::Receiver<Arc<JobView>>,
}

impl Entry {
    pub(crate) fn new(view: Arc<JobView>, growing: Option<Growing>) -> Arc<Self> {
        Arc::new(Self {
            view: watch::Sender::new(view),
            log: Mutex::default(),
            lines: broadcast::Sender::new(LOG_LAG),
            result: watch::Sender::new(None),
            growing,
        })
    }

    /// The job as it was last published.
    pub(crate) fn view(&self) -> Arc<JobView> {
        Arc::clone(&self.view.borrow())
    }

    /// Shows how the job stands now.
    pub(crate) fn publish(&self, view: Arc<JobView>) {
        self.view.send_replace(view);
    }

    /// The job came to a small result.
    pub(crate) fn came_to(&self, view: Arc<JobView>, bytes: Bytes) {
        self.result.send_replace(Some((view, bytes)));
    }

    /// Its small result, if it came to one lately.
    pub(crate) fn small(&self) -> Option<Bytes> {
        let result = self.result.borrow();
        result.as_ref().map(|(_, bytes)| bytes.clone())
    }

    /// For someone who need not wait for the record of a small result.
    pub(crate) fn early(&self) -> Early {
        self.result.subscribe()
    }

    /// Whether someone waits who need not wait for the record of a small result,
    /// and nobody who must.
    pub(crate) fn is_told_early(&self) -> bool {
        let early = self.result.receiver_count();
        // Each of these holds both, once it waits.
        early > 0 && self.view.receiver_count() <= early
    }

    /// The job once it came to a small result, or is over.
    pub(crate) async fn came_to_an_end(&self, mut result: Early) -> (Arc<JobView>, Option<Bytes>) {
        let small = async {
            let small = result.wait_for(Option::is_some).await;
            small.expect("the sender is here").clone().expect("some")
        };
        tokio::select! {
            biased;
            (view, bytes) = small => (view, Some(bytes)),
            view = self.ended() => (view, None),
        }
    }

    /// The lines of its guests that are kept.
    pub(crate) fn lines(&self) -> Vec<String> {
        let tail = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        tail.lines.iter().map(ToString::to_string).collect()
    }

    /// The job once it is over.
    pub(crate) async fn ended(&self) -> Arc<JobView> {
        let mut view = self.view.subscribe();
        let over = view.wait_for(|view| view.state.is_over()).await;
        Arc::clone(&over.expect("the sender is here"))
    }

    /// Adds a guest's line.
    pub(crate) fn log(&self, line: &str) {
        let line: Arc<str> = line.into();
        let mut tail = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        tail.bytes += line.len() + LINE_COST;
        tail.lines.push_back(Arc::clone(&line));
        while tail.bytes > TAIL_BYTES {
            let dropped = tail.lines.pop_front().expect("bytes are of lines");
            tail.bytes -= dropped.len() + LINE_COST;
            tail.dropped += 1;
        }
        // Sent under the lock, so that a watcher gets each line once.
        let _ = self.lines.send(line);
    }

    /// Watches from now on, with what was logged before.
    pub(crate) fn watch(&self) -> Watching {
        let tail = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        Watching {
            first: tail.dropped,
            tail: tail.lines.clone(),
            lines: self.lines.subscribe(),
            view: self.view.subscribe(),
        }
    }
}

/// All jobs that run, and some that ran lately; and the figures of the page. Who is
/// shown that a job is over finds it counted, and who finds it counted, it over. (One who is
/// told of a small result before its record is ahead of both.)
#[derive(Debug, Default)]
pub(crate) struct Board {
    jobs: RwLock<Jobs>,
    standing: RwLock<Standing>,
}

/// How the coordinator stands, beside its jobs: see [`Status`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    pub(crate) workers: u64,
    pub(crate) slots: u64,
    pub(crate) trouble: Option<String>,
}

#[derive(Debug, Default)]
struct Jobs {
    entries: BTreeMap<JobId, Arc<Entry>>,
    /// Those of them that are over, the first that was so first.
    over: VecDeque<JobId>,
}

impl Board {
    pub(crate) fn insert(&self, job: JobId, entry: Arc<Entry>) {
        let mut jobs = self.jobs.write().unwrap_or_else(PoisonError::into_inner);
        jobs.entries.insert(job, entry);
    }

    /// The job is over: it stays until others have taken its place.
    pub(crate) fn over(&self, view: Arc<JobView>) {
        let mut jobs = self.jobs.write().unwrap_or_else(PoisonError::into_inner);
        let job = view.id;
        jobs.entries[&job].publish(view);
        jobs.over.push_back(job);
        if jobs.over.len() > KEPT_OVER {
            let oldest = jobs.over.pop_front().expect("more than none");
            jobs.entries.remove(&oldest);
        }
    }

    /// The job was never there.
    pub(crate) fn remove(&self, job: JobId) {
        let mut jobs = self.jobs.write().unwrap_or_else(PoisonError::into_inner);
        jobs.entries.remove(&job);
    }

    /// Shows how the coordinator stands now.
    pub(crate) fn show(&self, now: Standing) {
        let standing = self.standing.write();
        *standing.unwrap_or_else(PoisonError::into_inner) = now;
    }

    pub(crate) fn status(&self) -> Status {
        let standing = self.standing.read();
        let standing = standing.unwrap_or_else(PoisonError::into_inner).clone();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            workers: standing.workers,
            slots: standing.slots,
            running: self.running(),
            trouble: standing.trouble,
        }
    }

    /// Jobs of which nobody was told that they are over.
    pub(crate) fn running(&self) -> u64 {
        let jobs = self.jobs.read().unwrap_or_else(PoisonError::into_inner);
        (jobs.entries.len() - jobs.over.len()) as u64
    }

    pub(crate) fn get(&self, job: JobId) -> Option<Arc<Entry>> {
        let jobs = self.jobs.read().unwrap_or_else(PoisonError::into_inner);
        jobs.entries.get(&job).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use manyhands_protocol::MergeMode;
    use manyhands_protocol::api::JobState;

    fn job(id: u64) -> JobView {
        JobView::submitted(JobId(id), "pi", MergeMode::Reduce, 1)
    }

    #[test]
    fn a_job_runs_until_it_is_shown_to_be_over() {
        let board = Board::default();
        for id in 1..=2 * KEPT_OVER as u64 {
            let view = Arc::new(job(id));
            board.insert(view.id, Entry::new(view, None));
        }
        board.remove(JobId(1));
        for id in 2..=2 * KEPT_OVER as u64 {
            assert_eq!(board.status().running, 2 * KEPT_OVER as u64 - id + 1);
            let entry = board.get(JobId(id)).expect("it runs");
            let state = JobState::Cancelled;
            board.over(Arc::new(JobView { state, ..job(id) }));
            assert!(entry.view().state.is_over());
        }
        assert_eq!(board.running(), 0);
        let kept = board.jobs.read().unwrap().entries.len();
        assert_eq!(kept, KEPT_OVER);
    }
}
