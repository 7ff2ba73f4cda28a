//! Which ids of jobs no later start gives out again, whatever a crash undoes: those of
//! jobs that workers may know of.

use manyhands_protocol::JobId;
use std::collections::VecDeque;

/// So many are set aside at once, and again when half of them are used.
const AHEAD: u64 = 32;

/// Ids set aside: a start begins with the first that is not.
#[derive(Debug)]
pub(crate) struct Ids {
    /// All before this one are, and that is durable.
    durable: u64,
    /// The same, as it was recorded last.
    recorded: u64,
    /// On their way, with their groups.
    pending: VecDeque<(u64, u64)>,
    /// No job had this id or a greater one.
    unused: u64,
}

impl Ids {
    /// Of a start whose first job will have this id.
    pub(crate) fn new(next: JobId) -> Self {
        Self {
            durable: next.0,
            recorded: next.0,
            pending: VecDeque::new(),
            unused: next.0,
        }
    }

    /// A job of this id is recorded: before which one ids are to be set aside with it,
    /// if some are.
    pub(crate) fn used(&mut self, job: JobId) -> Option<JobId> {
        self.unused = self.unused.max(job.0 + 1);
        if job.0 + AHEAD / 2 < self.recorded {
            return None;
        }
        self.recorded = self.unused + AHEAD;
        Some(JobId(self.recorded))
    }

    /// Nothing is to be set aside any more: the first id that was not used, if some were
    /// set aside in vain.
    pub(crate) fn give_back(&mut self) -> Option<JobId> {
        if self.recorded <= self.unused {
            return None;
        }
        self.recorded = self.unused;
        Some(JobId(self.recorded))
    }

    /// What was said last is recorded in this group.
    pub(crate) fn recorded_in(&mut self, group: u64) {
        self.pending.push_back((group, self.recorded));
    }

    /// A group is durable.
    pub(crate) fn committed(&mut self, group: u64) {
        while let Some((_, before)) = self.pending.pop_front_if(|(of, _)| *of <= group) {
            self.durable = before;
        }
    }

    /// Whether workers may know of the job before its submission is durable.
    pub(crate) fn is_set_aside(&self, job: JobId) -> bool {
        job.0 < self.durable
    }
}
