//! Jobs as the driver keeps them: what workers are told of them, where results
//! go, how they are shown, and their ends.

use super::{Driver, NewJob, PUBLISH_IDLE_US, PUBLISH_US, unix_ms};
use crate::board::Entry;
use crate::inputs::Cutting;
use crate::journal::Record;
use crate::outputs::OutputFile;
use axum::body::Bytes;
use manyhands_protocol::api::{BlobView, Contribution, JobState, JobView};
use manyhands_protocol::message::{EngineKind, SegmentRef, ToWorker};
use manyhands_protocol::{Failure, JobId, Node, Tree, WorkerId, codec};
use manyhands_scheduler::{Event, Micros, Scheduler};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Contributors shown of a job, the most first.
const SHOWN: usize = 100;

/// A job that is not over.
pub(super) struct Job {
    /// The frame that goes before its first grant.
    pub(super) header: Bytes,
    tree: Tree,
    entry: Arc<Entry>,
    cutting: Option<Cutting>,
    output: Option<OutputFile>,
    view: JobView,
    start: Micros,
    /// Names of those who worked on it, who may have left.
    known: BTreeMap<WorkerId, (String, EngineKind)>,
    dirty: bool,
}

impl Job {
    pub(super) fn is_dirty(&self) -> bool {
        self.dirty
    }

    pub(super) fn touch(&mut self) {
        self.dirty = true;
    }

    pub(super) fn set_state(&mut self, state: JobState) {
        self.view.state = state;
        self.dirty = true;
    }

    pub(super) fn meet(&mut self, worker: WorkerId, name: &str, engine: EngineKind) {
        let known = self.known.entry(worker);
        known.or_insert_with(|| (name.to_owned(), engine));
    }

    /// Where a `concat` job's result goes.
    pub(super) fn output(&mut self) -> &mut OutputFile {
        self.output.as_mut().expect("a concat job has an output")
    }

    /// The segments that hold the inputs of a node's tasks.
    pub(super) fn inputs(&self, node: Node) -> Vec<SegmentRef> {
        let Some(cutting) = &self.cutting else {
            return Vec::new();
        };
        let tasks = self.tree.range(node);
        let segments = &cutting.segments;
        let from = segments.partition_point(|at| at.first_task + at.tasks <= tasks.start);
        let to = segments.partition_point(|at| at.first_task < tasks.end);
        segments[from..to].to_vec()
    }

    /// The job as it stands.
    fn look(&self, id: JobId, scheduler: &Scheduler<Bytes>, now: Micros) -> JobView {
        let mut view = self.view.clone();
        view.elapsed_ms = now.since(self.start) / 1000;
        if let Some(progress) = scheduler.job(now, id) {
            view.done = progress.done;
            view.running = progress.running;
            view.retries = progress.retries;
            view.remaining_ms = progress.remaining_us.map(|micros| micros.div_ceil(1000));
        }
        view.prefix = self
            .entry
            .growing
            .as_ref()
            .map_or(0, |growing| growing.len());
        view.contributions = self.contributions(id, scheduler);
        view
    }

    fn contributions(&self, id: JobId, scheduler: &Scheduler<Bytes>) -> Vec<Contribution> {
        let counted = scheduler.contributions(id).into_iter().filter_map(|one| {
            let (name, engine) = self.known.get(&one.worker)?;
            Some(Contribution {
                worker: one.worker,
                name: name.clone(),
                engine: *engine,
                blocks: one.blocks,
                tasks: one.tasks,
                busy_ms: one.busy_us / 1000,
            })
        });
        let mut all: Vec<_> = counted.collect();
        all.sort_by_key(|one| (std::cmp::Reverse(one.tasks), one.worker));
        all.truncate(SHOWN);
        all
    }
}

impl Driver {
    pub(super) fn submit(
        &mut self,
        now: Micros,
        new: NewJob,
        reply: oneshot::Sender<Arc<JobView>>,
    ) {
        let id = new.header.job;
        let mut view = new.view;
        view.submitted_ms = unix_ms();
        let first = Arc::new(view.clone());
        let growing = new.output.as_ref().map(OutputFile::growing);
        let entry = Entry::new(Arc::clone(&first), growing);
        if let Some(cutting) = &new.cutting {
            self.app.segments.add(cutting);
        }
        self.app.board.insert(id, Arc::clone(&entry));
        self.app.metrics.jobs_submitted.inc();
        let job = Job {
            header: codec::encode(&ToWorker::Job(new.header)).into(),
            tree: new.spec.tree,
            entry,
            cutting: new.cutting,
            output: new.output,
            view,
            start: now,
            known: BTreeMap::new(),
            dirty: true,
        };
        self.jobs.insert(id, job);
        self.records.push(Record::Submitted(Arc::clone(&first)));
        self.held.submitted.push((reply, first));
        let spec = new.spec;
        self.handle(now, Event::JobSubmitted { job: id, spec });
    }

    pub(super) fn cancel(
        &mut self,
        now: Micros,
        job: JobId,
        reply: oneshot::Sender<Option<Arc<JobView>>>,
    ) {
        if !self.jobs.contains_key(&job) {
            // Over, or never there: the routes know which.
            return drop(reply.send(None));
        }
        self.handle(now, Event::JobCancelled { job });
        if let Some(view) = self.end(now, job, JobState::Cancelled) {
            self.held.cancelled.push((reply, view));
        }
    }

    pub(super) fn finished(&mut self, now: Micros, job: JobId, outcome: Result<BlobView, Failure>) {
        let state = match outcome {
            Ok(BlobView { hash, len }) => JobState::Done { len, hash },
            Err(failure) => JobState::Failed {
                task: None,
                failure,
            },
        };
        // A result that cannot be written ends a job that still runs; one that
        // was cancelled meanwhile stays so.
        self.handle(now, Event::JobCancelled { job });
        self.end(now, job, state);
    }

    /// The job is over: recorded first, shown then. `None` if it was before.
    pub(super) fn end(&mut self, now: Micros, id: JobId, state: JobState) -> Option<Arc<JobView>> {
        let mut job = self.jobs.remove(&id)?;
        job.view.state = state;
        let mut view = job.look(id, &self.scheduler, now);
        view.running = 0;
        view.remaining_ms = None;
        if let JobState::Done { len, .. } = view.state {
            view.prefix = len;
        }
        let view = Arc::new(view);
        self.records.push(Record::Over(Arc::clone(&view)));
        self.held.published.push((job.entry, Arc::clone(&view)));
        if let Some(cutting) = &job.cutting {
            self.app.segments.remove(cutting);
        }
        self.app.compute.unload(id);
        self.ended.push(id);
        Some(view)
    }

    pub(super) fn log(&mut self, job: JobId, text: &str) {
        if let Some(job) = self.jobs.get(&job) {
            // What would move a terminal's cursor is not text.
            let plain = |c: &char| !c.is_control() || *c == '\t' || *c == '\n';
            let text: String = text.chars().filter(plain).collect();
            job.entry.log(&text);
        }
    }

    /// Shows jobs as they stand, those that changed up to ten times a second.
    pub(super) fn publish(&mut self, now: Micros) {
        let all = now >= self.publish_all;
        if now < self.publish && !all {
            return;
        }
        for (id, job) in &mut self.jobs {
            if job.dirty || all {
                job.dirty = false;
                let view = job.look(*id, &self.scheduler, now);
                job.entry.publish(Arc::new(view));
                self.publish = now + PUBLISH_US;
            }
        }
        if all {
            self.publish_all = now + PUBLISH_IDLE_US;
        }
        self.count();
    }

    fn count(&self) {
        let status = self.status();
        let metrics = &self.app.metrics;
        metrics
            .workers
            .set(i64::try_from(status.workers).unwrap_or(i64::MAX));
        metrics
            .slots
            .set(i64::try_from(status.slots).unwrap_or(i64::MAX));
        metrics
            .jobs
            .set(i64::try_from(status.running).unwrap_or(i64::MAX));
    }
}
