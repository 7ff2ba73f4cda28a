//! Carrying out what the scheduler asks for: frames, records, and work for the
//! driver. What is recorded first and said later is seen to here.

use crate::core::{Core, Partial};
use crate::inputs::ConnectionId;
use crate::ledger::is_worth_keeping;
use crate::outputs::Output;
use bytes::Bytes;
use manyhands_protocol::api::JobState;
use manyhands_protocol::message::ToWorker;
use manyhands_protocol::{JobId, Node, WorkerId, codec};
use manyhands_scheduler::{Action, Event, Micros};

impl Core {
    /// Tells the scheduler something and does what it answers.
    pub(crate) fn tell(&mut self, now: Micros, event: Event<Partial>) {
        let mut actions = std::mem::take(&mut self.actions);
        self.scheduler.handle(now, event, &mut actions);
        for action in actions.drain(..) {
            self.act(now, action);
        }
        // Kept for its capacity.
        self.actions = actions;
    }

    /// Hands a partial to the scheduler, which may accept it at once.
    pub(crate) fn tell_of_partial(&mut self, now: Micros, event: Event<Partial>) {
        if let Event::Partial { partial, .. } = &event {
            self.arriving = Some(partial.clone());
        }
        self.tell(now, event);
        self.arriving = None;
    }

    fn act(&mut self, now: Micros, action: Action<Partial>) {
        match action {
            Action::Grant {
                worker,
                lease,
                job,
                node,
            } => self.grant(worker, lease, job, node),
            Action::Revoke { worker, lease } => self.send(worker, &ToWorker::Revoke { lease }),
            Action::Ping { worker } => self.send(worker, &ToWorker::Ping),
            Action::Accepted {
                worker,
                lease,
                node,
                used,
            } => {
                let partial = used.zip(self.arriving.take());
                let recorded = partial.is_some_and(|(job, partial)| {
                    let stays = self
                        .scheduler
                        .worker(worker)
                        .is_some_and(|one| one.slots > 0);
                    self.record(now, job, node, &partial, stays)
                });
                // A copy is of something that may not be durable yet.
                let waits = recorded || used.is_none();
                let about = used.map(|job| (job, node.first()));
                self.receipt(worker, ToWorker::Accepted { lease, node }, waits, about);
                if let Some(job) = used {
                    self.counts.partials += 1;
                    self.changed.insert(job);
                } else {
                    self.counts.duplicates += 1;
                }
            }
            Action::Forget { worker, job } => {
                self.workers.forget(worker, job);
                self.receipt(worker, ToWorker::Forget { job }, true, None);
            }
            Action::Disconnect { worker, reason } => self.dismiss(worker, reason),
            Action::SessionEnded { worker } => drop(self.workers.remove(worker)),
            Action::Merge {
                job,
                node,
                operands,
            } => self.merge(now, job, node, operands),
            Action::Emit { job, node, partial } => {
                let entry = self.jobs.get(&job).expect("a job that emits runs");
                let task = entry.tree.range(node).end;
                let partial = partial.bytes;
                self.outputs
                    .push_back(Output::Append { job, partial, task });
            }
            Action::Root { job, partial } => {
                self.finishing(job);
                let partial = partial.map_or_else(Bytes::new, |partial| partial.bytes);
                self.outputs.push_back(Output::Finish { job, partial });
            }
            Action::Complete { job } => {
                self.finishing(job);
                self.outputs.push_back(Output::Complete { job });
            }
            Action::JobFailed { job, task, failure } => {
                self.end(now, job, JobState::Failed { task, failure });
            }
        }
    }

    /// Records a partial that became part of the result, and says whether it is worth
    /// that. It `may_wait` for its sibling or the result's file, as far as its worker is
    /// concerned.
    pub(crate) fn record(
        &mut self,
        now: Micros,
        job: JobId,
        node: Node,
        partial: &Partial,
        may_wait: bool,
    ) -> bool {
        let Some(entry) = self.jobs.get(&job) else {
            return false;
        };
        let Partial { bytes, cost_us } = partial;
        if !is_worth_keeping(*cost_us, bytes.len(), self.config.keep_us) {
            return false;
        }
        self.counts.recorded += 1;
        let tree = entry.tree;
        let (node, tasks) = (tree.canonical(node), tree.range(node));
        let may_wait = may_wait && !self.draining;
        self.ledger
            .partial(now, (job, node, tasks), (bytes.clone(), *cost_us), may_wait);
        true
    }

    fn finishing(&mut self, job: JobId) {
        let entry = self
            .jobs
            .get_mut(&job)
            .expect("a job that is finished runs");
        entry.view.state = JobState::Finishing;
        self.changed.insert(job);
    }

    pub(crate) fn touch(&mut self, job: JobId) {
        self.changed.insert(job);
    }

    /// Says something once all that was recorded so far is durable.
    pub(crate) fn say_safely(&mut self, output: Output) {
        // Somebody waits for it: siblings do not.
        self.ledger.hurry();
        self.say_when_durable(output, None);
    }

    fn say_when_durable(&mut self, output: Output, about: Option<(JobId, u64)>) {
        if let Some(output) = self.ledger.hold(output, about) {
            self.outputs.push_back(output);
        }
    }

    /// A frame that says the coordinator has something safe, or will not ask; of
    /// which partial, by its job and first task, where it is one.
    fn receipt(
        &mut self,
        worker: WorkerId,
        message: ToWorker,
        wait: bool,
        about: Option<(JobId, u64)>,
    ) {
        let Some(connection) = self.workers.connection(worker) else {
            return;
        };
        let frame = codec::encode(&message).into();
        let output = Output::Send { connection, frame };
        if wait {
            self.say_when_durable(output, about);
        } else {
            self.outputs.push_back(output);
        }
    }

    pub(crate) fn send(&mut self, worker: WorkerId, message: &ToWorker) {
        self.send_frame(worker, codec::encode(message).into());
    }

    pub(crate) fn send_frame(&mut self, worker: WorkerId, frame: Bytes) {
        if let Some(connection) = self.workers.connection(worker) {
            self.outputs.push_back(Output::Send { connection, frame });
        }
    }

    pub(crate) fn close(
        &mut self,
        connection: ConnectionId,
        last: &ToWorker,
        blame: Option<String>,
    ) {
        self.outputs.push_back(Output::Close {
            connection,
            last: codec::encode(last).into(),
            blame,
        });
    }
}
