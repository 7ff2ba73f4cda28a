//! Jobs taken up again from what the journal holds. Nothing is believed that
//! would break an invariant later.

use crate::core::{Core, Partial};
use crate::jobs::Job;
use crate::record::{Plan, Stored};
use manyhands_protocol::message::SegmentRef;
use manyhands_protocol::{JobId, MergeMode, Tree};
use manyhands_scheduler::{Event, JobSpec, Micros};

/// Why a stored job cannot be taken up.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("job {job} in the journal is damaged: {what}")]
pub struct Damaged {
    /// Which.
    pub job: JobId,
    /// What does not fit together.
    pub what: &'static str,
}

impl Plan {
    /// What the scheduler needs to know of the job; `None` where its number of
    /// tasks is none that a job can have.
    ///
    /// `max_block` is derived from the segments, so that no block names more of
    /// them than a grant may.
    #[must_use]
    pub fn spec(&self) -> Option<JobSpec> {
        let tree = Tree::new(self.header.tasks)?;
        let bytes: u64 = self.segments.iter().map(|at| at.len).sum();
        Some(JobSpec {
            tree,
            merge: self.header.merge,
            weight: self.weight,
            memory: self.header.memory,
            simd: self.simd,
            bytes_per_task: bytes.div_ceil(tree.tasks().max(1)),
            max_block: max_block(&self.segments, manyhands_protocol::limits::MAX_LIST),
        })
    }
}

/// The most tasks a block may have, wherever it begins, so that its inputs are
/// at most `list` segments.
pub(crate) fn max_block(segments: &[SegmentRef], list: usize) -> u64 {
    // A range that touches more than `list` segments has all of the `list - 1`
    // between its first and its last, and a task of each of these two.
    let inner = segments.windows(list + 1).map(|window| {
        let (second, last) = (window[1], window[list]);
        last.first_task - second.first_task + 1
    });
    inner.min().unwrap_or(u64::MAX)
}

impl Core {
    /// Takes a job up again. Where the driver found less of a growing result
    /// than the journal says, it gives less in `stored.prefix`: what is missing
    /// is computed again.
    ///
    /// # Errors
    /// When what is stored does not fit together; nothing has changed then.
    pub fn restore(&mut self, now: Micros, unix_ms: u64, stored: Stored) -> Result<(), Damaged> {
        let job = stored.view.id;
        let damaged = |what| Damaged { job, what };
        let spec = check(&stored).map_err(damaged)?;
        let Stored {
            view,
            plan,
            prefix: (prefix, _),
            partials,
        } = stored;
        if let Some(key) = &plan.key {
            self.keys.runs(key, job);
        }
        let before = unix_ms.saturating_sub(view.submitted_ms);
        let view = view.as_ref().clone();
        self.jobs.insert(job, Job::new(plan, view, 0, now, before));
        self.touch(job);
        let partials = partials.into_iter().map(|(node, bytes, cost_us)| {
            let len = bytes.len() as u64;
            (node, Partial { bytes, cost_us }, len)
        });
        let event = Event::JobRestored {
            job,
            spec,
            prefix,
            partials: partials.collect(),
        };
        self.tell(now, event);
        Ok(())
    }
}

/// Whether the parts of a stored job fit together.
fn check(stored: &Stored) -> Result<JobSpec, &'static str> {
    let header = &stored.plan.header;
    let spec = stored.plan.spec().ok_or("its number of tasks")?;
    if header.job != stored.view.id || stored.view.state.is_over() {
        return Err("its state");
    }
    let mut task = 0;
    for segment in &stored.plan.segments {
        if segment.first_task != task {
            return Err("its inputs");
        }
        task = task.checked_add(segment.tasks).ok_or("its inputs")?;
    }
    if header.split.is_some() && task != header.tasks {
        return Err("its inputs");
    }
    let (mut next, _) = stored.prefix;
    if next > header.tasks || (next > 0 && header.merge == MergeMode::Reduce) {
        return Err("its prefix");
    }
    for (node, ..) in &stored.partials {
        let tree = spec.tree;
        if !tree.has(*node) || tree.canonical(*node) != *node || node.first() < next {
            return Err("its partials");
        }
        next = tree.range(*node).end;
    }
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use manyhands_protocol::BlobHash;

    #[test]
    fn no_block_of_the_allowed_size_touches_more_segments_than_a_grant_can_name() {
        let mut segments = Vec::new();
        let mut first_task = 0;
        for tasks in [3u64, 1, 1, 5, 1, 2, 1, 1, 9, 1] {
            segments.push(SegmentRef {
                hash: BlobHash([0; 32]),
                len: 1,
                first_task,
                tasks,
            });
            first_task += tasks;
        }
        let touched = |start: u64, end: u64| {
            let touches =
                |at: &&SegmentRef| at.first_task < end && at.first_task + at.tasks > start;
            segments.iter().filter(touches).count()
        };
        let widest = |tasks: u64| {
            let starts = 0..=first_task - tasks;
            starts.map(|at| touched(at, at + tasks)).max().unwrap()
        };
        for list in 1..segments.len() {
            let most = max_block(&segments, list);
            assert!(widest(most) <= list, "{list} segments, {most} tasks");
            assert!(widest(most + 1) > list, "{most} is the largest for {list}");
        }
        assert_eq!(max_block(&segments, segments.len()), u64::MAX);
    }
}
