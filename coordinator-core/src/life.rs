//! The life of a job: submitted, merged, finished or given up. Blocks are the
//! scheduler's affair.

use crate::core::{Core, Partial};
use crate::inputs::{NewJob, Request};
use crate::jobs::Job;
use crate::keys::Same;
use crate::outputs::Output;
use crate::record::SMALL_RESULT;
use bytes::Bytes;
use manyhands_protocol::api::{BlobView, JobState, JobView};
use manyhands_protocol::{BlobHash, Failure, JobId, Node};
use manyhands_scheduler::{Event, Micros};
use std::sync::Arc;

impl Core {
    pub(crate) fn submit(&mut self, now: Micros, request: Request, new: NewJob) {
        let NewJob { spec, plan, view } = new;
        if let Some(same) = plan.key.as_ref().and_then(|key| self.keys.find(key)) {
            let view = match same {
                Same::Running(job) => Arc::new(self.view(now, job).expect("it runs")),
                Same::Ended(view) => view,
            };
            return self.say_safely(Output::Submitted { request, view });
        }
        let id = view.id;
        let first = Arc::new(view.clone());
        if let Some(key) = &plan.key {
            self.keys.runs(key, id);
        }
        self.counts.submitted += 1;
        let group = self.ledger.submitted(Arc::clone(&first), Arc::clone(&plan));
        let next = self.ids.used(id);
        self.record_ids(next);
        self.jobs.insert(id, Job::new(plan, view, group, now, 0));
        self.changed.insert(id);
        let view = first;
        self.say_safely(Output::Submitted { request, view });
        // Whoever holds a lease of a job that a crash undoes must not find its id to be
        // another's.
        if self.ids.is_set_aside(id) {
            self.tell(now, Event::JobSubmitted { job: id, spec });
        } else {
            self.beginning.push_back((group, id, spec));
        }
    }

    /// Ids before `next` are set aside, if some are to be.
    pub(crate) fn record_ids(&mut self, next: Option<JobId>) {
        if let Some(next) = next {
            let group = self.ledger.ids(next);
            self.ids.recorded_in(group);
        }
    }

    /// A group is durable: what waited for it is said, and jobs begin that did.
    pub(crate) fn committed(&mut self, now: Micros, group: u64) {
        self.ledger.committed(group, &mut self.outputs);
        self.ids.committed(group);
        while let Some((_, job, spec)) = self.beginning.pop_front_if(|(of, ..)| *of <= group) {
            // One may have been taken back meanwhile.
            if self.jobs.contains_key(&job) {
                self.tell(now, Event::JobSubmitted { job, spec });
            }
        }
    }

    pub(crate) fn cancel(&mut self, now: Micros, request: Request, job: JobId) {
        if !self.jobs.contains_key(&job) {
            // Over, or never there: the routes know which.
            let view = None;
            return self.say_safely(Output::Cancelled { request, view });
        }
        self.tell(now, Event::JobCancelled { job });
        let view = self.end(now, job, JobState::Cancelled);
        self.say_safely(Output::Cancelled { request, view });
    }

    pub(crate) fn merged(
        &mut self,
        now: Micros,
        job: JobId,
        node: Node,
        outcome: Result<Bytes, Failure>,
    ) {
        let entry = self.jobs.get_mut(&job);
        let merged = entry.and_then(|entry| entry.merging.remove(&node));
        self.counts.merges += merged.map_or(1, |merged| merged.merges);
        let event = match outcome {
            Ok(bytes) => {
                let cost_us = merged.map_or(0, |merged| merged.cost_us);
                let partial = Partial { bytes, cost_us };
                if self.scheduler.merging(job, node) {
                    self.record(now, job, node, &partial, true);
                }
                Event::Merged {
                    job,
                    node,
                    len: partial.bytes.len() as u64,
                    partial,
                }
            }
            Err(failure) => Event::MergeFailed { job, node, failure },
        };
        self.tell(now, event);
    }

    pub(crate) fn finished(&mut self, now: Micros, job: JobId, outcome: Result<BlobView, Failure>) {
        let state = match outcome {
            Ok(BlobView { hash, len }) => JobState::Done { len, hash },
            Err(failure) => JobState::Failed {
                task: None,
                failure,
            },
        };
        // A result that cannot be had ends a job that still runs; one that was
        // cancelled meanwhile stays so.
        self.tell(now, Event::JobCancelled { job });
        self.end(now, job, state);
    }

    /// A small result: whoever waits may have it at once.
    pub(crate) fn result(&mut self, now: Micros, job: JobId, bytes: Bytes, told: bool) {
        assert!(bytes.len() <= SMALL_RESULT, "a small result");
        let (hash, len) = (BlobHash::of(&bytes), bytes.len() as u64);
        self.tell(now, Event::JobCancelled { job });
        let state = JobState::Done { len, hash };
        self.end_with(now, job, state, Some((bytes, told)));
    }

    pub(crate) fn end(&mut self, now: Micros, id: JobId, state: JobState) -> Option<Arc<JobView>> {
        self.end_with(now, id, state, None)
    }

    /// The job is over: recorded first, shown then. `None` if it was before.
    fn end_with(
        &mut self,
        now: Micros,
        id: JobId,
        state: JobState,
        result: Option<(Bytes, bool)>,
    ) -> Option<Arc<JobView>> {
        let mut job = self.jobs.remove(&id)?;
        job.view.state = state;
        let mut view = job.look(id, &self.scheduler, now);
        view.running = 0;
        view.remaining_ms = None;
        view.waiting = None;
        if let JobState::Done { len, .. } = view.state {
            view.prefix = len;
        }
        self.changed.remove(&id);
        self.merging.forget(id);
        let view = Arc::new(view);
        if let Some(key) = &job.plan.key {
            self.keys.ends(key, Arc::clone(&view));
        }
        let told = result.as_ref().is_some_and(|(_, told)| *told);
        let result = result.map(|(bytes, _)| bytes);
        self.ledger
            .over(now, Arc::clone(&view), (result.clone(), told));
        if let Some(bytes) = result {
            let view = Arc::clone(&view);
            let result = Output::Result { view, bytes };
            self.outputs.extend(self.ledger.hold_for(job.group, result));
        }
        let over = Arc::clone(&view);
        self.say_safely(Output::Over { view: over });
        self.ended.push(id);
        Some(view)
    }
}
