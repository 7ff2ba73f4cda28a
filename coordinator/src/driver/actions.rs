//! Carrying out what the scheduler asks for, in its order.

use super::Driver;
use super::workers::{Sent, closing};
use crate::guests;
use crate::sockets::refused_frame;
use axum::body::Bytes;
use manyhands_protocol::api::JobState;
use manyhands_protocol::message::ToWorker;
use manyhands_protocol::{JobId, LeaseId, Node, WorkerId, codec};
use manyhands_scheduler::{Action, Event, Micros, Reason};

impl Driver {
    /// Tells the scheduler something and does what it answers.
    pub(super) fn handle(&mut self, now: Micros, event: Event<Bytes>) {
        let mut actions = std::mem::take(&mut self.actions);
        self.scheduler.handle(now, event, &mut actions);
        for action in actions.drain(..) {
            self.act(now, action);
        }
        // Kept for its capacity.
        self.actions = actions;
        self.tell_of_lost(now);
    }

    fn act(&mut self, now: Micros, action: Action<Bytes>) {
        match action {
            Action::Grant {
                worker,
                lease,
                job,
                node,
            } => self.grant(worker, lease, job, node),
            Action::Revoke { worker, lease } => self.tell(worker, &ToWorker::Revoke { lease }),
            Action::Accepted {
                worker,
                lease,
                job,
                node,
                used,
            } => self.accepted(worker, lease, job, node, used),
            Action::Forget { worker, job } => {
                self.workers.forget(worker, job);
                let frame = codec::encode(&ToWorker::Forget { job }).into();
                self.held.frames.push((worker, frame));
            }
            Action::Disconnect { worker, reason } => self.disconnect(worker, reason),
            Action::SessionEnded { worker } => self.workers.remove(worker, None),
            Action::Merge {
                job,
                node,
                left,
                right,
            } => guests::merge(&self.app, job, node, left, right),
            Action::Emit { job, partial, .. } => self.emit(job, partial),
            Action::Root { job, partial } => {
                self.finishing(job);
                guests::finish(&self.app, job, partial.unwrap_or_default());
            }
            Action::Complete { job } => self.complete(job),
            Action::JobFailed { job, task, failure } => {
                self.end(now, job, JobState::Failed { task, failure });
            }
        }
    }

    fn grant(&mut self, worker: WorkerId, lease: LeaseId, job: JobId, node: Node) {
        let entry = self
            .jobs
            .get_mut(&job)
            .expect("a job that gives out leases");
        if let Some((name, engine)) = self.workers.who(worker) {
            entry.meet(worker, name, engine);
        }
        let inputs = entry.inputs(node);
        let header = entry.header.clone();
        if self.workers.introduce(worker, job) {
            self.send(worker, header);
        }
        self.app.metrics.grants.inc();
        let grant = ToWorker::Grant {
            lease,
            job,
            node,
            inputs,
        };
        self.tell(worker, &grant);
        self.touch(job);
    }

    fn accepted(&mut self, worker: WorkerId, lease: LeaseId, job: JobId, node: Node, used: bool) {
        let frame = codec::encode(&ToWorker::Accepted { lease, node }).into();
        if used {
            self.app.metrics.partials.inc();
            self.held.frames.push((worker, frame));
        } else {
            self.app.metrics.duplicates.inc();
            self.send(worker, frame);
        }
        self.touch(job);
    }

    fn disconnect(&mut self, worker: WorkerId, reason: Reason) {
        let name = self.workers.who(worker).map_or("", |(name, _)| name);
        tracing::warn!(%worker, name, %reason, "disconnected");
        self.app.metrics.refused.inc();
        if reason.ends_session() {
            let last = refused_frame(reason.to_string());
            self.workers.remove(worker, Some(last));
        } else {
            self.workers.close(worker, closing(0, &reason.to_string()));
        }
    }

    pub(super) fn tell(&mut self, worker: WorkerId, message: &ToWorker) {
        self.send(worker, codec::encode(message).into());
    }

    /// Queues a frame for a worker; one that does not read is disconnected.
    pub(super) fn send(&mut self, worker: WorkerId, frame: Bytes) {
        if self.workers.send(worker, frame) == Sent::Dropped {
            tracing::warn!(%worker, "disconnected: it does not take what it is sent");
            self.lost.push(worker);
        }
    }

    /// The scheduler hears of those that were dropped while its actions were
    /// carried out.
    pub(super) fn tell_of_lost(&mut self, now: Micros) {
        while let Some(worker) = self.lost.pop() {
            self.handle(now, Event::WorkerDisconnected { worker });
        }
    }

    fn touch(&mut self, job: JobId) {
        if let Some(job) = self.jobs.get_mut(&job) {
            job.touch();
        }
    }

    fn emit(&mut self, job: JobId, partial: Bytes) {
        let job = self.jobs.get_mut(&job).expect("a job that emits runs");
        job.output().append(partial);
        job.touch();
    }

    fn complete(&mut self, job: JobId) {
        self.finishing(job);
        let entry = self.jobs.get_mut(&job).expect("a job that completes runs");
        entry.output().complete();
    }

    fn finishing(&mut self, job: JobId) {
        let entry = self
            .jobs
            .get_mut(&job)
            .expect("a job that is finished runs");
        entry.set_state(JobState::Finishing);
    }
}
