//! Guests as `check` runs them: one thing at a time, each in a fresh instance in
//! the compute child, which its watchdog ends when a task takes too long. What
//! is run, and what is made of it, is elsewhere.

use bytes::Bytes;
use manyhands_engine::compute::{self, Compute, Event, Events, JobSpec, Merge, Work};
use manyhands_protocol::{BlobHash, Failure, FailureKind, JobId};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use tokio::time::{Instant, timeout_at};

/// The one job of this child.
const JOB: JobId = JobId(1);

/// A compute child with one job.
pub(crate) struct Lab {
    compute: Compute,
    events: Events,
    segments: Vec<Placed>,
    end: Instant,
    next_piece: u64,
}

/// A piece of the input: its tasks, and what it is called.
struct Placed {
    tasks: Range<u64>,
    hash: BlobHash,
}

/// Why something was not done.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The guest failed; at this task, where one is known to be guilty.
    Failed { task: Option<u64>, failure: Failure },
    /// The time for all was up.
    TimeUp,
}

/// How one attempt ended.
enum Ended {
    Done(Bytes),
    Failed {
        task: Option<u64>,
        failure: Failure,
    },
    /// A slice of several tasks took longer than one may.
    Overdue,
    Lost,
}

impl Lab {
    /// Starts a child that has the job and its inputs (each with the number of
    /// its tasks), until `end`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(
        config: compute::Config,
        job: JobSpec,
        inputs: Vec<(Bytes, u64)>,
        end: Instant,
    ) -> io::Result<Self> {
        let (compute, events) = Compute::spawn(config)?;
        compute.load(JOB, job);
        let mut known = BTreeMap::new();
        let mut first = 0;
        let mut segments = Vec::with_capacity(inputs.len());
        for (bytes, count) in inputs {
            let hash = BlobHash::of(&bytes);
            if known.insert(hash, ()).is_none() {
                compute.put_segment(hash, bytes);
            }
            let tasks = first..first + count;
            first = tasks.end;
            segments.push(Placed { tasks, hash });
        }
        Ok(Self {
            compute,
            events,
            segments,
            end,
            next_piece: 0,
        })
    }

    /// How many tasks the input holds.
    pub(crate) fn input_tasks(&self) -> u64 {
        self.segments.last().map_or(0, |last| last.tasks.end)
    }

    /// What `open` answers.
    pub(crate) async fn open(&mut self) -> Result<Bytes, Stopped> {
        self.work(Work::Open).await
    }

    /// The partial of a block, in slices as the clock ends them or of one task.
    pub(crate) async fn run(
        &mut self,
        tasks: Range<u64>,
        single_step: bool,
    ) -> Result<Bytes, Stopped> {
        let read =
            |placed: &&Placed| placed.tasks.start < tasks.end && tasks.start < placed.tasks.end;
        let segments = self.segments.iter().filter(read);
        let segments = segments
            .map(|placed| (placed.tasks.start, placed.hash))
            .collect();
        self.work(Work::Run {
            tasks,
            single_step,
            segments,
        })
        .await
    }

    /// The partial of two siblings.
    pub(crate) async fn merge(&mut self, left: Bytes, right: Bytes) -> Result<Bytes, Stopped> {
        self.work(Work::Merge(Merge::two(left, right))).await
    }

    /// The result.
    pub(crate) async fn finish(&mut self, partial: Bytes) -> Result<Bytes, Stopped> {
        self.work(Work::Finish { partial }).await
    }

    async fn work(&mut self, mut work: Work) -> Result<Bytes, Stopped> {
        loop {
            self.next_piece += 1;
            self.compute.submit(0, self.next_piece, JOB, work.clone());
            match self.ended(self.next_piece).await? {
                Ended::Done(bytes) => return Ok(bytes),
                Ended::Failed { task, failure } => return Err(Stopped::Failed { task, failure }),
                // Task by task, before one is blamed.
                Ended::Overdue => match &mut work {
                    Work::Run { single_step, .. } => *single_step = true,
                    _ => unreachable!("only blocks have several tasks"),
                },
                Ended::Lost => {}
            }
        }
    }

    async fn ended(&mut self, piece: u64) -> Result<Ended, Stopped> {
        loop {
            let event = timeout_at(self.end, self.events.next()).await;
            let event = event.map_err(|_| Stopped::TimeUp)?;
            let crash = |message: String| {
                let kind = FailureKind::Crash;
                let failure = Failure { kind, message };
                Ok(Ended::Failed {
                    task: None,
                    failure,
                })
            };
            match event {
                Some(Event::Log { line, .. }) => eprintln!("log: {line}"),
                Some(Event::Done {
                    piece: done, bytes, ..
                }) if done == piece => return Ok(Ended::Done(bytes)),
                Some(Event::Failed {
                    piece: failed,
                    failure,
                    at: task,
                    ..
                }) if failed == piece => return Ok(Ended::Failed { task, failure }),
                Some(Event::Overdue { piece: late, .. }) if late == piece => {
                    return Ok(Ended::Overdue);
                }
                Some(Event::Lost { piece: lost, .. }) if lost == piece => return Ok(Ended::Lost),
                Some(Event::Crashed {
                    piece: crashed,
                    reason,
                    ..
                }) if crashed == piece => {
                    return crash(format!("the process that ran the guest ended: {reason}"));
                }
                Some(Event::Unavailable { reason }) => {
                    return crash(format!("no process for guests can be started: {reason}"));
                }
                None => return crash("the process for guests is gone".into()),
                // Progress, and what concerns nobody here.
                Some(_) => {}
            }
        }
    }
}
