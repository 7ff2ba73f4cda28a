//! One slot: takes pieces from its queue, runs each in a fresh instance of its
//! guest, and reports what it came to.

use super::Shared;
use super::jobs::Job;
use super::segments::Cut;
use super::watch::{Ending, Slice};
use super::wire::{Report, add_outcome};
use crate::compute::Merge;
use crate::runtime::{Guest, Inputs, Program, Sink, failure};
use bytes::Bytes;
use manyhands_protocol::{BlobHash, Failure, FailureKind, JobId, evaluate};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long one call of a guest's `run` should take: cancellation waits so long.
const SLICE: Duration = Duration::from_millis(30);

/// A slice holds at most so many times the tasks of the one before.
const GROWTH: u64 = 16;

/// How often progress is told: twice as often as a session asks for it. Each time takes the
/// processor from a slot.
const TELL: Duration = Duration::from_millis(500);

/// The most log lines of one slot in a second; more are dropped.
const LINES: u32 = 100;

/// One thing to do.
pub(super) struct Piece {
    pub(super) ticket: u64,
    pub(super) job: Arc<Job>,
    pub(super) task: Task,
}

/// What to do with an instance.
pub(super) enum Task {
    Open,
    Run {
        tasks: Range<u64>,
        single_step: bool,
        /// What its tasks read, each with its first task.
        segments: Vec<(u64, Arc<Cut>)>,
    },
    Merge(Merge),
    Merges(Vec<Merge>),
    Whole(Merge),
    Finish {
        partial: Bytes,
    },
}

/// Why a piece has no bytes.
enum Stop {
    Failed(Failure, Option<u64>),
    Cancelled,
    /// A segment that was to be read is not what it was.
    Unread(BlobHash),
    /// The child ends: say nothing.
    Ending(Ending),
}

impl From<Ending> for Stop {
    fn from(ending: Ending) -> Self {
        Self::Ending(ending)
    }
}

/// A slot: its queue, and what it has told.
pub(super) struct Slot {
    shared: Arc<Shared>,
    index: usize,
    queue: Mutex<Queue>,
    /// Signalled when something waits and no thread works for the slot.
    left: Condvar,
    teller: Arc<Teller>,
}

#[derive(Default)]
struct Queue {
    /// Whether a thread works for the slot: it takes what waits.
    busy: bool,
    waiting: VecDeque<Piece>,
}

impl Slot {
    /// So many of them, which have nothing to do.
    pub(super) fn each(shared: &Arc<Shared>, slots: usize) -> Vec<Arc<Self>> {
        let slots = (0..slots).map(|index| {
            Arc::new(Self {
                shared: Arc::clone(shared),
                index,
                queue: Mutex::default(),
                left: Condvar::new(),
                teller: Arc::new(Teller::new(Arc::clone(shared), index)),
            })
        });
        slots.collect()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the piece back if it is a call and the slot has nothing to do: the caller
    /// must do it. Else it is left to the slot's thread, or waits for whoever works for the
    /// slot.
    #[must_use]
    pub(super) fn take(&self, piece: Piece, call: bool) -> Option<Piece> {
        let mut queue = self.queue();
        if call && !queue.busy && queue.waiting.is_empty() {
            queue.busy = true;
            return Some(piece);
        }
        queue.waiting.push_back(piece);
        if !queue.busy {
            drop(queue);
            self.left.notify_one();
        }
        None
    }

    /// Does what is left to the slot's own thread, for ever.
    ///
    /// # Errors
    /// The child is about to end.
    pub(super) fn serve(&self) -> Result<Infallible, Ending> {
        loop {
            let idle = |queue: &mut Queue| queue.busy || queue.waiting.is_empty();
            let queue = self.left.wait_while(self.queue(), idle);
            let mut queue = queue.unwrap_or_else(PoisonError::into_inner);
            let piece = queue.waiting.pop_front().expect("just seen");
            queue.busy = true;
            drop(queue);
            self.work(piece)?;
        }
    }

    /// Does the piece, and what waits behind it.
    ///
    /// # Errors
    /// The child is about to end.
    pub(super) fn work(&self, first: Piece) -> Result<(), Ending> {
        let mut next = Some(first);
        while let Some(piece) = next {
            self.shared.watch.begin_piece(self.index)?;
            self.teller.begin(piece.job.id, piece.ticket);
            let worker = Worker {
                shared: &self.shared,
                slot: self.index,
                piece: &piece,
                teller: &self.teller,
            };
            worker.work()?;
            self.shared.watch.end_piece(self.index);
            let mut queue = self.queue();
            next = queue.waiting.pop_front();
            queue.busy = next.is_some();
        }
        Ok(())
    }
}

/// A slot at work on one piece.
struct Worker<'a> {
    shared: &'a Shared,
    slot: usize,
    piece: &'a Piece,
    teller: &'a Arc<Teller>,
}

impl Worker<'_> {
    /// Does the piece and reports.
    fn work(&self) -> Result<(), Ending> {
        let (slot, ticket) = (self.slot as u32, self.piece.ticket);
        let report = match self.done() {
            Ok(()) => return Ok(()),
            Err(Stop::Ending(ending)) => return Err(ending),
            Err(Stop::Cancelled) => Report::Stopped { slot, ticket },
            Err(Stop::Unread(hash)) => Report::Unread { slot, ticket, hash },
            Err(Stop::Failed(failure, at)) => Report::Failed {
                slot,
                ticket,
                failure,
                at,
            },
        };
        self.shared.output.report(&report);
        Ok(())
    }

    fn done(&self) -> Result<(), Stop> {
        self.check_cancelled()?;
        let program = self.piece.job.program();
        let program = program.map_err(|reason| {
            Stop::Failed(failure(FailureKind::Crash, reason), self.only_task())
        })?;
        let started = Instant::now();
        let done = |bytes: &[u8]| {
            let done = Report::Done {
                slot: self.slot as u32,
                ticket: self.piece.ticket,
                busy_micros: started.elapsed().as_micros() as u64,
            };
            self.shared.output.report_with(&done, bytes);
        };
        match &self.piece.task {
            Task::Open => {
                let mut guest = self.instance(program)?;
                done(self.guarded(|| guest.open(&self.piece.job.params))?);
            }
            Task::Run {
                tasks, single_step, ..
            } => {
                let mut guest = self.opened(program)?;
                self.run(&mut guest, tasks.clone(), *single_step)?;
                done(self.guarded(|| guest.take())?);
            }
            Task::Merge(merge) => self.merge(program, merge, done)?,
            Task::Merges(merges) => {
                let mut joined = Vec::new();
                for merge in merges {
                    self.merge(program, merge, |outcome| add_outcome(&mut joined, outcome))?;
                }
                done(&joined);
            }
            Task::Whole(merge) => {
                let (mut joined, mut root) = (Vec::new(), Bytes::new());
                self.merge(program, merge, |outcome| {
                    add_outcome(&mut joined, outcome);
                    root = Bytes::copy_from_slice(outcome);
                })?;
                self.finish(program, &root, |result| add_outcome(&mut joined, result))?;
                done(&joined);
            }
            Task::Finish { partial } => self.finish(program, partial, done)?,
        }
        Ok(())
    }

    fn instance(&self, program: &Program) -> Result<Guest, Stop> {
        let inputs = self.inputs()?;
        self.guarded(|| {
            let files: Arc<BTreeMap<_, _>> = Arc::clone(&self.piece.job.files);
            let sink = Arc::clone(self.teller) as Arc<dyn Sink>;
            Guest::new(program, inputs, files, sink)
        })
    }

    fn opened(&self, program: &Program) -> Result<Guest, Stop> {
        let mut guest = self.instance(program)?;
        self.guarded(|| guest.open(&self.piece.job.params).map(drop))?;
        Ok(guest)
    }

    /// Merges partials to one, each time in an instance of its own. The last outcome is
    /// used where it lies: in the guest's memory.
    fn merge(
        &self,
        program: &Program,
        merge: &Merge,
        use_outcome: impl FnOnce(&[u8]),
    ) -> Result<(), Stop> {
        let mut left_to_do = merge.operands.len() - 1;
        let mut use_outcome = Some(use_outcome);
        evaluate(merge.operands.iter().cloned(), |left, right| {
            self.check_cancelled()?;
            let mut guest = self.opened(program)?;
            let outcome = self.guarded(|| guest.merge(&left, &right))?;
            left_to_do -= 1;
            if left_to_do > 0 {
                return Ok(Bytes::copy_from_slice(outcome));
            }
            let use_outcome = use_outcome.take().expect("there is one last merge");
            use_outcome(outcome);
            Ok::<_, Stop>(Bytes::new())
        })?;
        Ok(())
    }

    /// Finishes the root's partial, in an instance of its own.
    fn finish(
        &self,
        program: &Program,
        root: &[u8],
        use_result: impl FnOnce(&[u8]),
    ) -> Result<(), Stop> {
        let mut guest = self.opened(program)?;
        use_result(self.guarded(|| guest.finish(root))?);
        Ok(())
    }

    /// Runs the block's tasks in slices: one task at first, then as many as
    /// take [`SLICE`].
    fn run(&self, guest: &mut Guest, tasks: Range<u64>, single_step: bool) -> Result<(), Stop> {
        let target = SLICE.min(self.piece.job.task_limit / 4);
        let mut next = tasks.start;
        let mut count = 1;
        while next < tasks.end {
            self.check_cancelled()?;
            count = if single_step {
                1
            } else {
                count.min(tasks.end - next)
            };
            let began = Instant::now();
            self.watched(next, count, || guest.run(next, count))?;
            let elapsed = began.elapsed();
            next += count;
            self.teller.slice_done(next - tasks.start);
            count = grown(count, elapsed, target);
        }
        Ok(())
    }

    /// A call of the guest that belongs to no task in particular.
    fn guarded<T>(&self, call: impl FnOnce() -> Result<T, Failure>) -> Result<T, Stop> {
        match self.only_task() {
            Some(task) => self.watched(task, 1, call),
            None => match &self.piece.task {
                // Run again task by task, unless that is what this is.
                Task::Run {
                    tasks,
                    single_step: false,
                    ..
                } => self.watched(tasks.start, tasks.end - tasks.start, call),
                _ => self.watched(0, 0, call),
            },
        }
    }

    /// A call of the guest, under the job's time limit.
    fn watched<T>(
        &self,
        first: u64,
        count: u64,
        call: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Stop> {
        let limit = self.piece.job.task_limit;
        let slice = Slice::new(self.slot, self.piece.ticket, first, count, limit);
        self.shared.watch.begin_slice(slice);
        let outcome = call();
        self.shared.watch.end_slice(self.slot)?;
        outcome.map_err(|failure| Stop::Failed(failure, (count == 1).then_some(first)))
    }

    fn check_cancelled(&self) -> Result<(), Stop> {
        if self.shared.watch.is_cancelled(self.slot, self.piece.ticket) {
            return Err(Stop::Cancelled);
        }
        Ok(())
    }

    /// What the tasks read, which is read itself where this slot is the first to need it.
    fn inputs(&self) -> Result<Inputs, Stop> {
        let Task::Run {
            tasks, segments, ..
        } = &self.piece.task
        else {
            return Ok(Inputs::default());
        };
        let segments = segments.iter().map(|(first, cut)| {
            let segment = cut.segment().map_err(Stop::Unread)?;
            Ok((*first, segment))
        });
        let segments = segments.collect::<Result<_, Stop>>()?;
        Ok(Inputs::new(tasks.clone(), segments))
    }

    /// The task of a block that has only one: whatever fails, it is guilty.
    fn only_task(&self) -> Option<u64> {
        match &self.piece.task {
            Task::Run { tasks, .. } if tasks.end - tasks.start == 1 => Some(tasks.start),
            _ => None,
        }
    }
}

/// How many tasks the next slice has when `count` took `elapsed`.
fn grown(count: u64, elapsed: Duration, target: Duration) -> u64 {
    let most = count.saturating_mul(GROWTH);
    let ideal = u128::from(count) * target.as_nanos() / elapsed.as_nanos().max(1);
    u64::try_from(ideal).unwrap_or(u64::MAX).clamp(1, most)
}

/// Passes a guest's lines and progress to the parent, not too often.
struct Teller {
    shared: Arc<Shared>,
    slot: usize,
    state: Mutex<Telling>,
}

struct Telling {
    job: JobId,
    ticket: u64,
    /// Tasks of the piece that are done.
    done: u64,
    told: Instant,
    second: Instant,
    lines: u32,
}

impl Teller {
    fn new(shared: Arc<Shared>, slot: usize) -> Self {
        let now = Instant::now();
        let state = Telling {
            job: JobId(0),
            ticket: 0,
            done: 0,
            told: now,
            second: now,
            lines: 0,
        };
        Self {
            shared,
            slot,
            state: Mutex::new(state),
        }
    }

    fn begin(&self, job: JobId, ticket: u64) {
        let mut state = self.state();
        (state.job, state.ticket, state.done) = (job, ticket, 0);
    }

    fn slice_done(&self, done: u64) {
        self.state().done = done;
        self.progress(0.0);
    }

    fn state(&self) -> MutexGuard<'_, Telling> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Teller {
    fn log(&self, line: &str) {
        let mut state = self.state();
        if state.second.elapsed() >= Duration::from_secs(1) {
            (state.second, state.lines) = (Instant::now(), 0);
        }
        state.lines = state.lines.saturating_add(1);
        let line = match state.lines {
            0..=LINES => line.to_owned(),
            n if n == LINES + 1 => format!("(more than {LINES} lines a second are dropped)"),
            _ => return,
        };
        let report = Report::Log {
            slot: self.slot as u32,
            job: state.job,
            line,
        };
        self.shared.output.report(&report);
    }

    fn progress(&self, fraction: f64) {
        let mut state = self.state();
        if state.told.elapsed() < TELL {
            return;
        }
        state.told = Instant::now();
        let tasks = state.done as f64 + fraction;
        let report = Report::Progress {
            slot: self.slot as u32,
            ticket: state.ticket,
            tasks,
        };
        self.shared.output.report(&report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_grow_to_the_target_and_shrink_past_it() {
        let target = Duration::from_millis(30);
        assert_eq!(grown(1, Duration::ZERO, target), 16);
        assert_eq!(grown(100, Duration::from_millis(10), target), 300);
        assert_eq!(grown(100, Duration::from_millis(300), target), 10);
        assert_eq!(grown(1, Duration::from_secs(9), target), 1);
        assert_eq!(grown(u64::MAX, Duration::ZERO, target), u64::MAX);
    }
}
