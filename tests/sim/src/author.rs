//! Authors: each has one job, submits it until that is acknowledged, and may
//! take it back. What jobs there are is drawn here too.

use crate::coordinator::Waiting;
use crate::guest::Guest;
use crate::rng::{Rng, mix};
use crate::world::{Event, World};
use bytes::Bytes;
use manyhands_coordinator_core::{Input, NewJob, Plan, Request};
use manyhands_protocol::api::JobView;
use manyhands_protocol::message::{JobHeader, MergeMode, SegmentRef};
use manyhands_protocol::{BlobHash, JobId, Split};
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How long an author's request is under way.
const TRIP_US: u64 = 3_000;

#[derive(Debug)]
pub(crate) struct Author {
    pub(crate) guest: Guest,
    expected: OnceCell<Bytes>,
    pub(crate) key: String,
    weight: u32,
    memory: u64,
    simd: bool,
    module: (BlobHash, u64),
    segments: Vec<SegmentRef>,
    /// When it is taken back, after it was acknowledged.
    pub(crate) cancels_after: Option<u64>,
    /// Whether a cancel was sent.
    pub(crate) cancelling: bool,
    cancelled: bool,
    /// As the coordinator said, whether or not that came through.
    pub(crate) acknowledged: Option<JobId>,
    /// What came through.
    answered: bool,
}

/// What kinds of jobs there are.
#[derive(Clone, Debug)]
pub(crate) struct Jobs {
    pub(crate) most_tasks: u64,
    /// Slot time of a whole job at speed 1, in microseconds.
    pub(crate) work_us: (u64, u64),
    pub(crate) cancels: u64,
    pub(crate) poisons: u64,
    pub(crate) concats: u64,
    pub(crate) inputs: u64,
}

/// Whose job a header is of.
pub(crate) fn author_of(header: &JobHeader) -> usize {
    let text = std::str::from_utf8(&header.params).expect("parameters made here");
    text.parse().expect("parameters made here")
}

impl Author {
    pub(crate) fn draw(
        rng: &mut Rng,
        jobs: &Jobs,
        index: usize,
        blobs: &mut BTreeMap<BlobHash, Bytes>,
    ) -> Self {
        let guest = draw_guest(rng, jobs);
        let module = filled(rng.next(), rng.spread(100, 200_000));
        let module = keep(blobs, module);
        let with_inputs = guest.tasks > 0 && guest.tasks < 50_000 && rng.permille(jobs.inputs);
        let segments = match with_inputs {
            true => draw_segments(rng, guest.tasks, blobs),
            false => Vec::new(),
        };
        Self {
            guest,
            expected: OnceCell::new(),
            key: format!("key-{index}"),
            weight: rng.one_of(&[1, 100, 100, 300]),
            memory: rng.one_of(&[1 << 20, 1 << 28]),
            simd: rng.permille(200),
            module,
            segments,
            cancels_after: rng
                .permille(jobs.cancels)
                .then(|| rng.spread(10_000, 60_000_000)),
            cancelling: false,
            cancelled: false,
            acknowledged: None,
            answered: false,
        }
    }

    /// The result as one thread computes it.
    pub(crate) fn expected(&self) -> Bytes {
        self.expected.get_or_init(|| self.guest.expected()).clone()
    }

    fn plan(&self, index: usize, job: JobId) -> Plan {
        let inputs = !self.segments.is_empty();
        Plan {
            header: JobHeader {
                job,
                name: self.key.clone(),
                module: self.module.0,
                module_len: self.module.1,
                params: index.to_string().into(),
                tasks: self.guest.tasks,
                merge: self.guest.merge,
                split: inputs.then_some(Split::Lines),
                files: Vec::new(),
                memory: self.memory,
                task_timeout_ms: 60_000,
            },
            weight: self.weight,
            simd: self.simd,
            segments: self.segments.clone(),
            places: Bytes::new(),
            blobs: Vec::new(),
            key: Some(self.key.clone()),
        }
    }

    fn view(&self, job: JobId, now_ms: u64) -> JobView {
        JobView {
            submitted_ms: now_ms,
            ..JobView::submitted(job, &self.key, self.guest.merge, self.guest.tasks)
        }
    }
}

fn draw_guest(rng: &mut Rng, jobs: &Jobs) -> Guest {
    let concat = rng.permille(jobs.concats);
    let tasks = match rng.below(20) {
        0 => rng.below(3),
        _ if concat => rng.spread(5, jobs.most_tasks.min(20_000)),
        _ => rng.spread(5, jobs.most_tasks),
    };
    let work_us = rng.spread(jobs.work_us.0, jobs.work_us.1);
    // A single task of up to two seconds.
    let task_ns = (work_us * 1000 / tasks.max(1)).clamp(1, 2_000_000_000);
    let poisoned = tasks > 0 && rng.permille(jobs.poisons);
    Guest {
        merge: if concat {
            MergeMode::Concat
        } else {
            MergeMode::Reduce
        },
        tasks,
        salt: rng.next(),
        grain: if tasks > 20_000 {
            14
        } else {
            rng.one_of(&[0, 0, 4])
        },
        most_bytes: match concat {
            true => rng.spread(1, (4_000_000 / tasks.max(1)).clamp(1, 600_000)),
            false => 0,
        },
        task_ns,
        poison: poisoned.then(|| rng.below(tasks)),
    }
}

fn draw_segments(
    rng: &mut Rng,
    tasks: u64,
    blobs: &mut BTreeMap<BlobHash, Bytes>,
) -> Vec<SegmentRef> {
    let mut segments = Vec::new();
    let mut first_task = 0;
    while first_task < tasks {
        let count = rng.spread(1, tasks).min(tasks - first_task);
        let (hash, len) = keep(blobs, filled(rng.next(), rng.spread(1, 400_000)));
        segments.push(SegmentRef {
            hash,
            len,
            first_task,
            tasks: count,
        });
        first_task += count;
    }
    segments
}

fn filled(salt: u64, len: u64) -> Bytes {
    let words = (0..len.div_ceil(8)).flat_map(|word| mix(salt ^ word).to_le_bytes());
    words.take(len as usize).collect::<Vec<u8>>().into()
}

fn keep(blobs: &mut BTreeMap<BlobHash, Bytes>, blob: Bytes) -> (BlobHash, u64) {
    let named = (BlobHash::of(&blob), blob.len() as u64);
    blobs.insert(named.0, blob);
    named
}

impl World {
    /// An author does what is next: submit, or cancel.
    pub(crate) fn author_wakes(&mut self, author: usize) {
        let at = self.now + TRIP_US;
        let who = &mut self.authors[author];
        if !who.answered {
            self.schedule(at, Event::Submission { author });
        } else if who.cancels_after.is_some() && !who.cancelled {
            who.cancelling = true;
            self.schedule(at, Event::Cancellation { author });
        } else {
            return;
        }
        // Asked again if no answer comes.
        let patience = self.rng.spread(500_000, 30_000_000);
        self.schedule(self.now + patience, Event::Author { author });
    }

    /// A submission comes in: prepared, unless it came before.
    pub(crate) fn submission(&mut self, author: usize) {
        if self.coordinator.core.is_none() || self.coordinator.is_draining() {
            return;
        }
        if let Some(job) = self.disk.keys.get(&self.authors[author].key).copied() {
            return self.acknowledge(author, job);
        }
        let (epoch, job) = (self.coordinator.epoch, self.next_job());
        let takes = self.rng.spread(500, 300_000);
        self.schedule(self.now + takes, Event::Prepared { epoch, author, job });
    }

    pub(crate) fn prepared(&mut self, author: usize, job: JobId) {
        if self.coordinator.is_draining() {
            return;
        }
        self.check_new(job);
        let who = &self.authors[author];
        let plan = Arc::new(who.plan(author, job));
        let view = who.view(job, crate::coordinator::UNIX_MS + self.now / 1000);
        if plan.header.merge == MergeMode::Concat {
            self.new_file(job);
        }
        self.plans.insert(job, Arc::clone(&plan));
        let spec = plan.spec().expect("a job made here");
        let request = self.wait(Waiting::Submitted { author, job });
        let job = Box::new(NewJob { spec, plan, view });
        self.trace
            .note(self.now, "submit", &[author as u64, job.view.id.0]);
        self.tell_core(Input::Submit { request, job });
    }

    pub(crate) fn submitted(&mut self, request: Request, view: &JobView) {
        let Some(Waiting::Submitted { author, job }) = self.coordinator.waiting.remove(&request)
        else {
            return self.fail(format!("nobody waits for {request:?}"));
        };
        if view.id != job {
            self.tally.add("submission that came twice");
            self.let_go(job);
        }
        self.acknowledge(author, view.id);
    }

    /// The coordinator answers a submission.
    fn acknowledge(&mut self, author: usize, job: JobId) {
        self.trace
            .note(self.now, "acknowledged", &[author as u64, job.0]);
        self.check_acknowledged(author, job);
        self.yardstick.began(self.now);
        self.authors[author].acknowledged = Some(job);
        if self.rng.permille(self.setup.lost_answers) {
            self.tally.add("answer lost");
        } else {
            self.schedule(self.now + TRIP_US, Event::Answer { author });
        }
    }

    pub(crate) fn answer(&mut self, author: usize) {
        let who = &mut self.authors[author];
        if std::mem::replace(&mut who.answered, true) {
            return;
        }
        if let Some(after) = who.cancels_after {
            self.schedule(self.now + after, Event::Author { author });
        }
    }

    pub(crate) fn cancellation(&mut self, author: usize) {
        if self.coordinator.core.is_none() || self.coordinator.is_draining() {
            return;
        }
        let job = self.authors[author]
            .acknowledged
            .expect("cancelled once it is known");
        let request = self.wait(Waiting::Cancelled { author, job });
        self.trace.note(self.now, "cancel", &[author as u64, job.0]);
        self.tell_core(Input::Cancel { request, job });
    }

    pub(crate) fn cancelled(&mut self, request: Request, view: Option<&JobView>) {
        let Some(Waiting::Cancelled { author, job }) = self.coordinator.waiting.remove(&request)
        else {
            return self.fail(format!("nobody waits for {request:?}"));
        };
        self.check_cancelled(job, view);
        if !self.rng.permille(self.setup.lost_answers) {
            self.authors[author].cancelled = true;
        }
    }
}
