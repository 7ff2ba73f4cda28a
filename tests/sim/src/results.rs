//! Guest code on the coordinator's side, and the results it leads to: merges,
//! finished results, growing files that are synced now and then.

use crate::author::author_of;
use crate::coordinator::Source;
use crate::disk::Lie;
use crate::driving::RETRY_US;
use crate::fleet::{MERGE_AWAKE_US, MERGE_MORE_US, MERGE_US};
use crate::world::{Event, World};
use bytes::Bytes;
use manyhands_coordinator_core::{Input, SMALL_RESULT};
use manyhands_protocol::api::BlobView;
use manyhands_protocol::{BlobHash, Failure, FailureKind, JobId, Node, Operand, evaluate};
use std::collections::VecDeque;

/// What is written is synced at least so often.
const SYNC_EVERY_US: u64 = 500_000;

/// Tries of one call whose failure may be the machine's.
const TRIES: u32 = 3;

/// What writes a growing result.
#[derive(Default, Debug)]
pub(crate) struct Writer {
    queue: VecDeque<(Bytes, u64)>,
    /// The first task that is not in the file.
    written: u64,
    /// Something was written since the last sync, which is due.
    unsynced: bool,
    retrying: bool,
    complete: bool,
}

/// What a writer does when its time has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Retry,
    Sync,
    Synced { task: u64, len: u64 },
    Commit,
}

impl World {
    pub(crate) fn merge(&mut self, job: JobId, node: Node, operands: Vec<Operand<Bytes>>) {
        let (least, most) = match self.setup.fleet {
            Some(_) if self.coordinator.merging_until > self.now => MERGE_AWAKE_US,
            Some(_) => MERGE_US,
            None => (20, 400),
        };
        let mut takes = self.rng.between(least, most);
        for _ in 2..operands.len() {
            self.tally.add("merge along with others");
            takes += self.rng.between(MERGE_MORE_US.0, MERGE_MORE_US.1);
        }
        let merge = |left: Bytes, right: Bytes| self.merged(job, node, &left, &right).ok_or(());
        let Ok(merged) = evaluate(operands, merge) else {
            return;
        };
        let mut outcome = Ok(merged);
        let mut tries = 0;
        while self.rng.permille(self.setup.failing_merges) {
            self.tally.add("coordinator's compute child died");
            takes += self.rng.between(1_000, 200_000);
            tries += 1;
            if tries == TRIES {
                self.checks.may_fail.insert(job);
                let (kind, message) = (FailureKind::Crash, "the compute child died".into());
                outcome = Err(Failure { kind, message });
                break;
            }
        }
        let until = &mut self.coordinator.merging_until;
        *until = (self.now + takes).max(*until);
        let epoch = self.coordinator.epoch;
        let merged = Event::Merged {
            epoch,
            job,
            node,
            outcome,
        };
        self.schedule(self.now + takes, merged);
    }

    /// What two siblings under `node`, or it, come to.
    fn merged(&mut self, job: JobId, node: Node, left: &[u8], right: &[u8]) -> Option<Bytes> {
        let author = author_of(&self.plan_of(job).header);
        let (left, right) = match self.setup.swaps_merges && self.rng.permille(200) {
            true => (right, left),
            false => (left, right),
        };
        match self.authors[author].guest.merge(left, right) {
            Ok(merged) => Some(merged),
            Err(fault) => {
                self.fail(format!("job {job}, {node:?}: {fault}"));
                None
            }
        }
    }

    pub(crate) fn finish(&mut self, job: JobId, partial: &[u8]) {
        let author = author_of(&self.plan_of(job).header);
        let result = self.authors[author].guest.finish(partial);
        if result != self.authors[author].expected() {
            return self.fail(format!(
                "job {job} came to another result than one thread's"
            ));
        }
        let epoch = self.coordinator.epoch;
        let at = self.now + self.rng.between(500, 30_000);
        self.schedule(at, Event::Stores { epoch, job, result });
    }

    /// A result goes to the disk, however long that takes it; or to the journal.
    pub(crate) fn store(&mut self, job: JobId, result: Bytes) {
        if result.len() <= SMALL_RESULT && self.rng.permille(800) {
            let told = self.rng.permille(500);
            let bytes = result;
            return self.tell_core(Input::Result { job, bytes, told });
        }
        if self.disk_fails() {
            self.trouble(Source::Result(job), Some("no space is left".into()));
            let epoch = self.coordinator.epoch;
            return self.schedule(self.now + RETRY_US, Event::Stores { epoch, job, result });
        }
        let hash = BlobHash::of(&result);
        let len = result.len() as u64;
        self.disk.results.insert(hash, result);
        let outcome = Ok(BlobView { hash, len });
        self.tell_core(Input::Finished { job, outcome });
        self.trouble(Source::Result(job), None);
    }

    /// Opens the growing result of a job at what the journal says of it.
    pub(crate) fn take_up_file(&mut self, job: JobId, (task, len): (u64, u64)) {
        let expected = self.authors[author_of(&self.plan_of(job).header)].expected();
        let file = self.disk.files.entry(job).or_default();
        let whole = file.bytes.len() as u64 >= len;
        if !whole || file.bytes[..len as usize] != expected[..len as usize] {
            return self.fail(format!(
                "job {job}: the journal's prefix of {len} bytes is not there"
            ));
        }
        file.bytes.truncate(len as usize);
        file.synced = len;
        let written = task;
        let writer = Writer {
            written,
            ..Writer::default()
        };
        self.coordinator.writers.insert(job, writer);
    }

    /// Opens the growing result of a new job.
    pub(crate) fn new_file(&mut self, job: JobId) {
        self.disk.files.insert(job, Default::default());
        self.coordinator.writers.insert(job, Writer::default());
    }

    pub(crate) fn let_go(&mut self, job: JobId) {
        self.coordinator.writers.remove(&job);
        self.disk.files.remove(&job);
    }

    pub(crate) fn append(&mut self, job: JobId, bytes: &Bytes, task: u64) {
        let Some(writer) = self.coordinator.writers.get_mut(&job) else {
            return self.fail(format!("job {job} has no growing result"));
        };
        writer.queue.push_back((bytes.clone(), task));
        if !writer.retrying {
            self.write(job);
        }
    }

    pub(crate) fn complete(&mut self, job: JobId) {
        let Some(writer) = self.coordinator.writers.get_mut(&job) else {
            return self.fail(format!("job {job} has no growing result"));
        };
        writer.complete = true;
        if !writer.retrying {
            self.write(job);
        }
    }

    /// Writes what waits, as far as the disk takes it.
    fn write(&mut self, job: JobId) {
        if self.disk_fails() {
            self.trouble(Source::Result(job), Some("no space is left".into()));
            let writer = self.coordinator.writers.get_mut(&job).expect("it writes");
            writer.retrying = true;
            return self.writer_later(job, RETRY_US, Step::Retry);
        }
        let author = author_of(&self.plan_of(job).header);
        let expected = self.authors[author].expected();
        let writer = self.coordinator.writers.get_mut(&job).expect("it writes");
        let file = self.disk.files.get_mut(&job).expect("it is written");
        while let Some((bytes, task)) = writer.queue.pop_front() {
            let from = file.bytes.len();
            if expected.get(from..from + bytes.len()) != Some(&bytes[..]) || task < writer.written {
                return self.fail(format!(
                    "job {job}: other bytes than one thread's before task {task}"
                ));
            }
            file.bytes.extend_from_slice(&bytes);
            writer.written = task;
        }
        let complete = writer.complete;
        if file.bytes.len() as u64 > file.synced && !writer.unsynced {
            writer.unsynced = true;
            self.writer_later(job, SYNC_EVERY_US, Step::Sync);
        }
        self.trouble(Source::Result(job), None);
        if complete {
            let takes = self.disk_time();
            self.writer_later(job, takes, Step::Commit);
        }
    }

    fn writer_later(&mut self, job: JobId, after: u64, step: Step) {
        let epoch = self.coordinator.epoch;
        self.schedule(self.now + after, Event::Writes { epoch, job, step });
    }

    pub(crate) fn writer_steps(&mut self, job: JobId, step: Step) {
        let fails = self.disk_fails();
        let Some(writer) = self.coordinator.writers.get_mut(&job) else {
            return;
        };
        match step {
            Step::Retry => {
                writer.retrying = false;
                self.write(job);
            }
            Step::Sync | Step::Commit if fails => {
                self.trouble(Source::Result(job), Some("no space is left".into()));
                self.writer_later(job, RETRY_US, step);
            }
            Step::Sync => {
                let task = writer.written;
                let len = self.disk.files[&job].bytes.len() as u64;
                let takes = self.disk_time();
                self.writer_later(job, takes, Step::Synced { task, len });
                self.trouble(Source::Result(job), None);
            }
            Step::Synced { task, len } => {
                writer.unsynced = false;
                let file = self.disk.files.get_mut(&job).expect("it was synced");
                if self.disk.lie != Some(Lie::ForgetsSyncs) {
                    file.synced = file.synced.max(len);
                }
                if file.bytes.len() as u64 > len {
                    writer.unsynced = true;
                    self.writer_later(job, SYNC_EVERY_US, Step::Sync);
                }
                self.tell_core(Input::Synced { job, task, len });
            }
            Step::Commit => self.commit_file(job),
        }
    }

    fn commit_file(&mut self, job: JobId) {
        self.trouble(Source::Result(job), None);
        let author = author_of(&self.plan_of(job).header);
        let expected = self.authors[author].expected();
        let file = self.disk.files.get_mut(&job).expect("it is whole");
        if file.bytes != expected {
            return self.fail(format!(
                "job {job} came to another result than one thread's"
            ));
        }
        file.synced = file.bytes.len() as u64;
        let hash = BlobHash::of(&expected);
        let len = file.synced;
        self.disk.results.insert(hash, expected);
        let outcome = Ok(BlobView { hash, len });
        self.tell_core(Input::Finished { job, outcome });
    }
}
