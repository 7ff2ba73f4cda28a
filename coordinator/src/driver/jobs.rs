//! Jobs as the driver keeps them: where their inputs and results are, and how
//! they are shown.

use super::{
    Accepted, Driver, PUBLISH_IDLE_US, PUBLISH_US, Prepared, Reply, Trouble, Waiting, unix_ms,
};
use crate::board::{Entry, Standing};
use crate::guests::{self, Finished};
use crate::inputs::Cutting;
use crate::outputs::OutputFile;
use axum::body::Bytes;
use manyhands_coordinator_core::{Input as Event, Plan, SMALL_RESULT};
use manyhands_protocol::api::JobView;
use manyhands_protocol::{BlobHash, JobId, Node, Tree};
use manyhands_scheduler::Micros;
use prometheus_client::metrics::counter::Counter;
use std::sync::Arc;

/// A job that is not over.
pub(super) struct Running {
    entry: Arc<Entry>,
    plan: Arc<Plan>,
    cutting: Option<Cutting>,
    output: Option<OutputFile>,
    /// What came with the merge to the root.
    finished: Option<Finished>,
}

impl Running {
    /// Whether workers need this blob for the job.
    fn needs(&self, hash: BlobHash) -> bool {
        let Plan {
            header, segments, ..
        } = &*self.plan;
        header.module == hash
            || header.files.iter().any(|file| file.hash == hash)
            || segments.iter().any(|segment| segment.hash == hash)
    }
}

impl Driver {
    pub(super) fn submit(
        &mut self,
        prepared: Prepared,
        waits: bool,
        reply: Reply<Accepted>,
    ) -> Event {
        let Prepared {
            mut job,
            cutting,
            output,
        } = prepared;
        job.view.submitted_ms = unix_ms();
        let view = Arc::new(job.view.clone());
        let entry = self.show(view, Arc::clone(&job.plan), cutting, output);
        let waiting = Waiting::Submitted {
            job: job.view.id,
            early: waits.then(|| entry.early()),
            reply,
        };
        Event::Submit {
            request: self.wait(waiting),
            job: Box::new(job),
        }
    }

    /// Makes a job known to routes and sockets.
    pub(super) fn show(
        &mut self,
        view: Arc<JobView>,
        plan: Arc<Plan>,
        cutting: Option<Cutting>,
        output: Option<OutputFile>,
    ) -> Arc<Entry> {
        let job = view.id;
        let growing = output.as_ref().map(OutputFile::growing);
        let entry = Entry::new(view, growing);
        if let Some(cutting) = &cutting {
            self.app.segments.add(cutting);
        }
        self.app.board.insert(job, Arc::clone(&entry));
        let running = Running {
            entry: Arc::clone(&entry),
            plan,
            cutting,
            output,
            finished: None,
        };
        self.jobs.insert(job, running);
        entry
    }

    /// A blob is not to be had any more: the jobs that need it have no result, and
    /// workers would ask for it for ever.
    pub(super) fn lost(&mut self, now: Micros, hash: BlobHash, why: &str) {
        let needing = self.jobs.iter().filter(|(_, job)| job.needs(hash));
        for job in needing.map(|(job, _)| *job).collect::<Vec<_>>() {
            tracing::error!(%job, why, "this job is given up");
            self.fail(now, job, guests::crash(why.to_owned()));
        }
    }

    /// A submission that was there already: nothing of its copy stays.
    pub(super) fn withdraw(&mut self, job: JobId) {
        self.let_go(job);
        self.app.board.remove(job);
    }

    /// A job's end, which is recorded: shown, and what it needed is let go.
    pub(super) fn over(&mut self, now: Micros, view: Arc<JobView>) {
        let job = view.id;
        self.let_go(job);
        self.app.board.over(view);
        tracing::debug!(%job, "is over");
        // A result that could not be written is no trouble any more.
        let event = self.trouble(Trouble::Result(job), None);
        self.core.handle(now, event);
    }

    /// Of the job's tree, while it runs.
    pub(super) fn root(&self, job: JobId) -> Option<Node> {
        let running = self.jobs.get(&job)?;
        Tree::new(running.plan.header.tasks)?.root()
    }

    /// A result that came with the root's partial: the core will ask for it.
    pub(super) fn keep_finished(&mut self, job: JobId, finished: Finished) {
        if let Some(running) = self.jobs.get_mut(&job) {
            running.finished = Some(finished);
        }
    }

    /// Brings a `reduce` job's result about, of its root's partial.
    pub(super) fn finish(&mut self, now: Micros, job: JobId, partial: Bytes) {
        let kept = self.jobs.get_mut(&job).and_then(|job| job.finished.take());
        match kept {
            Some(Finished { root, result }) if root == partial => {
                self.has_result(now, job, result);
                self.core.flush(now);
            }
            _ => guests::finish(&self.app, job, partial),
        }
    }

    /// A `reduce` job has a result: stored first, unless it is small.
    pub(super) fn has_result(&mut self, now: Micros, job: JobId, bytes: Bytes) {
        if bytes.len() > SMALL_RESULT {
            return guests::keep(&self.app, job, bytes);
        }
        let told = self.is_told_early(job);
        self.core.handle(now, Event::Result { job, bytes, told });
    }

    /// Whether nobody waits for the record of the job's end.
    fn is_told_early(&self, job: JobId) -> bool {
        let running = self.jobs.get(&job);
        running.is_some_and(|running| running.entry.is_told_early())
    }

    /// A small result, which is not recorded yet.
    pub(super) fn came_to(&mut self, view: Arc<JobView>, bytes: Bytes) {
        let job = view.id;
        if let Some(running) = self.jobs.get(&job) {
            // Before whoever waits for it has the processor.
            tracing::debug!(%job, "has its result");
            running.entry.came_to(view, bytes);
        }
    }

    fn let_go(&mut self, job: JobId) {
        let running = self.jobs.remove(&job).expect("a job ends once");
        self.merges.forget(job);
        if let Some(cutting) = &running.cutting {
            self.app.segments.remove(cutting);
        }
        if running.output.is_some() {
            let app = Arc::clone(&self.app);
            self.app.tasks.spawn(async move {
                if let Err(error) = app.blobs.drop_output(job).await {
                    tracing::warn!(%job, %error, "what was written of a result stays");
                }
            });
        }
        self.app.guests.forget(job);
        self.app.compute.unload(job);
    }

    /// Where a `concat` job's result goes.
    pub(super) fn output(&mut self, job: JobId) -> &mut OutputFile {
        let running = self
            .jobs
            .get_mut(&job)
            .expect("a job that gives output runs");
        running.output.as_mut().expect("a concat job has an output")
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
        let mut changed = self.core.take_changed();
        if all {
            changed.extend(self.core.running());
            self.publish_all = now + PUBLISH_IDLE_US;
        }
        if !changed.is_empty() {
            self.publish = now + PUBLISH_US;
        }
        for id in changed {
            if let Some((mut view, job)) = self.core.view(now, id).zip(self.jobs.get(&id)) {
                let growing = job.entry.growing.as_ref();
                view.prefix = growing.map_or(0, |growing| growing.len());
                job.entry.publish(Arc::new(view));
            }
        }
    }

    /// Brings status and metrics up to date.
    pub(super) fn count(&mut self) {
        let ((workers, slots), metrics) = (self.core.crew(), &self.app.metrics);
        for (gauge, value) in [(&metrics.workers, workers), (&metrics.slots, slots)] {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        let (now, before) = (self.core.counts(), self.counted);
        let add = |counter: &Counter, now: u64, before: u64| {
            counter.inc_by(now - before);
        };
        add(&metrics.jobs_submitted, now.submitted, before.submitted);
        add(&metrics.grants, now.grants, before.grants);
        add(&metrics.partials, now.partials, before.partials);
        add(&metrics.duplicates, now.duplicates, before.duplicates);
        add(&metrics.failures, now.failures, before.failures);
        add(&metrics.merges, now.merges, before.merges);
        add(
            &metrics.leased_merges,
            now.leased_merges,
            before.leased_merges,
        );
        add(&metrics.recorded, now.recorded, before.recorded);
        add(
            &metrics.journaled_bytes,
            now.journaled_bytes,
            before.journaled_bytes,
        );
        add(&metrics.refused, now.refused, before.refused);
        self.counted = now;
        let trouble = self.core.trouble().map(str::to_owned);
        self.app.board.show(Standing {
            workers,
            slots,
            trouble,
        });
    }
}
