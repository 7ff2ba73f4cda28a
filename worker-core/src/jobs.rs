//! What the session knows of each job: its header once checked, whether it can
//! run, how fast it runs here, and the rate of its log lines.

use crate::Micros;
use crate::sorted::SortedSet;
use manyhands_protocol::message::JobHeader;
use manyhands_protocol::{BlobHash, Failure, Tree, limits};

/// The largest broadcast files of one job together, in bytes.
const MAX_FILES_LEN: u64 = 1 << 30;

/// The admitted module is a little larger than what its author sent.
const MAX_ADMITTED: u64 = 2 * limits::MAX_MODULE;

/// Log lines of one job a second.
const LINES: u32 = 20;
const LINES_SPAN: Micros = Micros::from_millis(1000);

/// Weight of the latest measurement in a moving average.
const LATEST: f64 = 0.3;

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum JobState {
    /// These blobs are on their way.
    Fetching(SortedSet<BlobHash>),
    /// The driver compiles the module.
    Loading,
    /// Its blocks can run.
    Ready,
    /// It cannot run here.
    Unusable(Failure),
}

#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) header: JobHeader,
    pub(crate) tree: Tree,
    pub(crate) state: JobState,
    /// Whether the driver has it.
    pub(crate) given: bool,
    pub(crate) speed: Speed,
    pub(crate) lines: LineLimit,
}

impl Job {
    /// Checks a header.
    ///
    /// # Errors
    /// The name of the field that cannot be.
    pub(crate) fn new(header: JobHeader) -> Result<Self, &'static str> {
        let tree = Tree::new(header.tasks).ok_or("number of tasks")?;
        if header.module_len > MAX_ADMITTED {
            return Err("length of the module");
        }
        if header.files.len() > limits::MAX_FILES {
            return Err("number of files");
        }
        let mut room = MAX_FILES_LEN;
        for file in &header.files {
            room = room.checked_sub(file.len).ok_or("length of the files")?;
        }
        Ok(Self {
            header,
            tree,
            state: JobState::Fetching(SortedSet::default()),
            given: false,
            speed: Speed::default(),
            lines: LineLimit::default(),
        })
    }

    /// The blobs it needs before it is loaded, with their lengths, each once.
    pub(crate) fn blobs(&self) -> Vec<(BlobHash, u64)> {
        let module = (self.header.module, self.header.module_len);
        let files = self.header.files.iter().map(|file| (file.hash, file.len));
        let mut seen = SortedSet::default();
        let all = std::iter::once(module).chain(files);
        all.filter(|(hash, _)| seen.insert(*hash)).collect()
    }
}

/// What a merge takes whatever its halves are, as so many bytes more of them.
const MERGE_BYTES: f64 = 4096.0;

/// Moving averages of what work takes, in microseconds, and of its bytes.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Speed {
    task_us: Option<f64>,
    merge_us: Option<f64>,
    /// Of both halves of a merge.
    merge_bytes: Option<f64>,
    /// Of a piece's partial.
    piece_bytes: Option<f64>,
}

impl Speed {
    /// A piece of so many tasks came to a partial of so many bytes.
    pub(crate) fn ran(&mut self, tasks: u64, bytes: u64, busy_us: u64) {
        let each = busy_us.max(1) as f64 / tasks.max(1) as f64;
        average(&mut self.task_us, each);
        average(&mut self.piece_bytes, bytes as f64);
    }

    /// Two halves, of so many bytes together, were merged.
    pub(crate) fn merged(&mut self, bytes: u64, busy_us: u64) {
        average(&mut self.merge_us, busy_us.max(1) as f64);
        average(&mut self.merge_bytes, bytes as f64);
    }

    /// One task's time, once one was measured.
    pub(crate) fn task_us(self) -> Option<f64> {
        self.task_us
    }

    /// One merge's time; 0 while none was measured.
    pub(crate) fn merge_us(self) -> f64 {
        self.merge_us.unwrap_or(0.0)
    }

    /// The time of a merge of two pieces' partials, which may be much smaller than those
    /// that are merged above them; never more than that of any merge.
    pub(crate) fn least_merge_us(self) -> f64 {
        let (Some(all), Some(piece)) = (self.merge_bytes, self.piece_bytes) else {
            return self.merge_us();
        };
        let part = (2.0 * piece + MERGE_BYTES) / (all + MERGE_BYTES);
        self.merge_us() * part.min(1.0)
    }
}

fn average(mean: &mut Option<f64>, latest: f64) {
    *mean = Some(match *mean {
        Some(mean) => mean + LATEST * (latest - mean),
        None => latest,
    });
}

/// Lets some lines a second pass and counts the rest.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct LineLimit {
    /// When the current second began.
    since: Micros,
    passed: u32,
    dropped: u64,
}

impl LineLimit {
    /// Whether a line may pass now.
    pub(crate) fn pass(&mut self, now: Micros) -> bool {
        if now.since(self.since) >= LINES_SPAN {
            self.since = now;
            self.passed = 0;
        }
        let passes = self.passed < LINES;
        self.passed += u32::from(passes);
        self.dropped += u64::from(!passes);
        passes
    }

    /// When to say how many were dropped, if any were.
    pub(crate) fn deadline(&self) -> Option<Micros> {
        (self.dropped > 0).then(|| self.since.after(LINES_SPAN))
    }

    /// How many were dropped, once the second is over.
    pub(crate) fn take_dropped(&mut self, now: Micros) -> Option<u64> {
        let due = self.deadline().is_some_and(|deadline| now >= deadline);
        due.then(|| std::mem::take(&mut self.dropped))
    }
}
