//! The modules, jobs and input segments a child has been given. Only the thread that
//! reads commands changes them; a piece takes along what it needs.

use super::Shared;
use super::segments::{Buffers, Cut, Held, Part};
use super::slot::{Piece, Task};
use super::wire::{JobLimits, LoadLengths, MergeLengths, Report, WorkHeader};
use crate::compute::Merge;
use crate::runtime::Program;
use bytes::Bytes;
use manyhands_protocol::{BlobHash, JobId, Split};
use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// A time limit beyond a year is a year: deadlines must not overflow.
const LONGEST_MICROS: u64 = 366 * 24 * 3600 * 1_000_000;

/// A job as slots see it.
pub(super) struct Job {
    pub(super) id: JobId,
    pub(super) params: Bytes,
    pub(super) files: Arc<BTreeMap<String, Bytes>>,
    /// The longest one task may take.
    pub(super) task_limit: Duration,
    /// How its input is cut, if it has one.
    split: Option<Split>,
    module: Arc<Compiling>,
}

impl Job {
    /// The compiled program, once it is there; or why there is none.
    pub(super) fn program(&self) -> Result<&Program, &str> {
        let program = self.module.program.wait();
        program.as_ref().map_err(String::as_str)
    }
}

/// A module that is compiled or will be.
struct Compiling {
    /// Set once it is; slots wait for it.
    program: OnceLock<Result<Program, String>>,
    /// Jobs that are to be reported then; `None` once they were.
    waiting: Mutex<Option<Vec<JobId>>>,
}

impl Compiling {
    /// Notes that a job waits; `false` if the outcome is there.
    fn wait(&self, job: JobId) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.as_mut().map(|jobs| jobs.push(job)).is_some()
    }

    fn report(&self, job: JobId) -> Report {
        match self.program.wait() {
            Ok(_) => Report::Loaded { job },
            Err(reason) => Report::LoadFailed {
                job,
                reason: reason.clone(),
            },
        }
    }
}

pub(super) struct Jobs {
    shared: Arc<Shared>,
    modules: HashMap<(BlobHash, u64), Arc<Compiling>>,
    jobs: HashMap<JobId, Arc<Job>>,
    segments: HashMap<BlobHash, Held>,
    buffers: Arc<Buffers>,
}

impl Jobs {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            modules: HashMap::new(),
            jobs: HashMap::new(),
            segments: HashMap::new(),
            buffers: Arc::default(),
        }
    }

    /// Takes a module in, which is compiled on a thread of its own.
    pub(super) fn put_module(&mut self, module: BlobHash, memory: u64, wasm: Bytes) {
        let compiling = Arc::new(Compiling {
            program: OnceLock::new(),
            waiting: Mutex::new(Some(Vec::new())),
        });
        let kept = Arc::clone(&compiling);
        self.modules.insert((module, memory), kept);
        let shared = Arc::clone(&self.shared);
        std::thread::spawn(move || compile(&shared, &compiling, &wasm, module, memory));
    }

    /// Forgets a module; jobs that were loaded with it go on.
    pub(super) fn drop_module(&mut self, module: BlobHash, memory: u64) {
        self.modules.remove(&(module, memory));
    }

    /// Takes a job in.
    ///
    /// # Panics
    /// When the parent has not put its module.
    pub(super) fn load(
        &mut self,
        id: JobId,
        module: BlobHash,
        limits: JobLimits,
        split: Option<Split>,
        lengths: &LoadLengths,
        mut bulk: Bytes,
    ) {
        let mut part =
            |len: u64| bulk.split_to(usize::try_from(len).expect("lengths within the bulk"));
        let compiling = self.modules.get(&(module, limits.memory));
        let compiling = compiling.expect("the parent puts a module before its jobs");
        let params = part(lengths.params);
        let files = lengths
            .files
            .iter()
            .map(|(name, len)| (name.clone(), part(*len)))
            .collect();
        let job = Arc::new(Job {
            id,
            params,
            files: Arc::new(files),
            task_limit: Duration::from_micros(limits.task_micros.min(LONGEST_MICROS)),
            split,
            module: Arc::clone(compiling),
        });
        if !compiling.wait(id) {
            self.shared.output.report(&compiling.report(id));
        }
        self.jobs.insert(id, job);
    }

    /// Forgets a job, and how segments were cut for it alone: that may take as much
    /// memory as what was cut.
    pub(super) fn unload(&mut self, id: JobId) {
        let job = self.jobs.remove(&id);
        let Some(split) = job.and_then(|job| job.split) else {
            return;
        };
        if !self.jobs.values().any(|job| job.split == Some(split)) {
            let segments = self.segments.values_mut();
            segments.for_each(|held| held.forget(split));
        }
    }

    pub(super) fn put_segment(&mut self, hash: BlobHash, bytes: Bytes) {
        self.segments.insert(hash, Held::bytes(bytes));
    }

    /// Keeps a segment that slots are to read.
    pub(super) fn put_part(&mut self, part: Part) {
        let hash = part.hash;
        self.segments.insert(hash, Held::part(part, &self.buffers));
    }

    pub(super) fn drop_segment(&mut self, hash: BlobHash) {
        self.segments.remove(&hash);
    }

    /// A piece of work with all it needs.
    ///
    /// # Panics
    /// When the parent names a job or a segment that it has not sent.
    pub(super) fn piece(
        &mut self,
        ticket: u64,
        job: JobId,
        work: WorkHeader,
        mut bulk: Bytes,
    ) -> Piece {
        let job = Arc::clone(
            self.jobs
                .get(&job)
                .expect("the parent loads a job before its work"),
        );
        let task = match work {
            WorkHeader::Open => Task::Open,
            WorkHeader::Run {
                first,
                count,
                single_step,
                segments,
            } => {
                let segments = segments.into_iter().map(|(first, hash)| {
                    (first, self.segment(hash, job.split.unwrap_or_default()))
                });
                Task::Run {
                    tasks: first..first + count,
                    single_step,
                    segments: segments.collect(),
                }
            }
            WorkHeader::Merge(lengths) => Task::Merge(merge(&lengths, &mut bulk)),
            WorkHeader::Merges(each) => {
                let merges = each.iter().map(|lengths| merge(lengths, &mut bulk));
                Task::Merges(merges.collect())
            }
            WorkHeader::Whole(lengths) => Task::Whole(merge(&lengths, &mut bulk)),
            WorkHeader::Finish => Task::Finish { partial: bulk },
        };
        Piece { ticket, job, task }
    }

    fn segment(&mut self, hash: BlobHash, split: Split) -> Arc<Cut> {
        let held = self.segments.get_mut(&hash);
        let held = held.expect("the parent sends a segment before its work");
        held.cut(split)
    }
}

/// Its partials, which are next in the bulk.
fn merge(lengths: &MergeLengths, bulk: &mut Bytes) -> Merge {
    let mut part = |len: u64| bulk.split_to(usize::try_from(len).expect("within the bulk"));
    let operands = lengths.0.iter().map(|of| of.map(&mut part));
    Merge {
        operands: operands.collect(),
    }
}

fn compile(shared: &Shared, at: &Compiling, wasm: &[u8], module: BlobHash, memory: u64) {
    // Slots wait for the outcome, so there must be one even if the compiler
    // trips over a module.
    let load = AssertUnwindSafe(|| shared.runtime.load_admitted(wasm, module, memory));
    let program = match catch_unwind(load) {
        Ok(loaded) => loaded.map_err(|error| error.to_string()),
        Err(_) => Err("the compiler failed on this module".to_owned()),
    };
    let outcome = at.program.set(program);
    assert!(outcome.is_ok(), "a module is compiled once");
    let mut waiting = at.waiting.lock().unwrap_or_else(PoisonError::into_inner);
    for job in waiting.take().into_iter().flatten() {
        shared.output.report(&at.report(job));
    }
}
