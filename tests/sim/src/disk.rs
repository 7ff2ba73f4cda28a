//! The disk: the journal as the records' documentation has it, the growing files
//! of results with what a crash leaves of them, and results. When operations
//! take place, and when they fail, is decided elsewhere.

use crate::rng::Rng;
use bytes::Bytes;
use manyhands_coordinator_core::{Group, Plan, Record, Stored};
use manyhands_protocol::api::JobView;
use manyhands_protocol::{BlobHash, JobId, Node};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A job that is not over.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) view: Arc<JobView>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) prefix: (u64, u64),
    /// By first task: the node, its end, the partial, what it cost.
    pub(crate) partials: BTreeMap<u64, (Node, u64, Bytes, u64)>,
}

/// A result that grows.
#[derive(Clone, Default, Debug)]
pub(crate) struct File {
    pub(crate) bytes: Vec<u8>,
    /// So many of them survive a crash.
    pub(crate) synced: u64,
}

/// A way in which this disk breaks its promises, to show that this is noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lie {
    /// Every so-manieth group is reported durable and is not.
    LosesGroups(u64),
    /// Groups are carried out without their last record.
    TearsGroups,
    /// A sync of a growing result does nothing.
    ForgetsSyncs,
}

#[derive(Default, Debug)]
pub(crate) struct Disk {
    pub(crate) running: BTreeMap<JobId, Kept>,
    pub(crate) over: BTreeMap<JobId, Arc<JobView>>,
    pub(crate) keys: BTreeMap<String, JobId>,
    pub(crate) next_job: u64,
    pub(crate) incarnation: u64,
    pub(crate) files: BTreeMap<JobId, File>,
    pub(crate) results: BTreeMap<BlobHash, Bytes>,
    pub(crate) lie: Option<Lie>,
    /// Groups carried out.
    pub(crate) commits: u64,
    /// The most partials that were stored of one job.
    pub(crate) most_partials: usize,
}

impl Disk {
    /// Carries out a group, whole.
    pub(crate) fn commit(&mut self, group: &Group) -> Result<(), String> {
        self.commits += 1;
        let mut records = group.records.as_slice();
        match self.lie {
            Some(Lie::LosesGroups(every)) if self.commits.is_multiple_of(every) => return Ok(()),
            Some(Lie::TearsGroups) => records = &records[..records.len() - 1],
            _ => {}
        }
        for record in records {
            self.carry_out(record)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Ids { next } => {
                self.next_job = next.0;
                Ok(())
            }
            Record::Submitted { view, plan } => self.submitted(view, plan),
            Record::Partial {
                job,
                node,
                first,
                end,
                bytes,
                cost_us,
            } => {
                let kept = self.kept(*job)?;
                let within: Vec<u64> = kept.partials.range(first..end).map(|(at, _)| *at).collect();
                for at in within {
                    kept.partials.remove(&at);
                }
                let partial = (*node, *end, bytes.clone(), *cost_us);
                kept.partials.insert(*first, partial);
                let stored = kept.partials.len();
                self.most_partials = self.most_partials.max(stored);
                Ok(())
            }
            Record::Prefix { job, task, len } => {
                let kept = self.kept(*job)?;
                if (*task, *len) < kept.prefix {
                    return Err(format!("job {job}: a prefix that shrinks to {task}"));
                }
                kept.prefix = (*task, *len);
                kept.partials = kept.partials.split_off(task);
                Ok(())
            }
            Record::Over { view, result } => {
                if let Some(result) = result {
                    self.results.insert(BlobHash::of(result), result.clone());
                }
                if self.over.insert(view.id, Arc::clone(view)).is_some() {
                    return Err(format!("job {} is over twice", view.id));
                }
                self.running.remove(&view.id);
                Ok(())
            }
        }
    }

    fn submitted(&mut self, view: &Arc<JobView>, plan: &Arc<Plan>) -> Result<(), String> {
        let id = view.id;
        if id.0 >= self.next_job {
            return Err(format!("job {id}'s id may be another's after a crash"));
        }
        if let Some(key) = &plan.key {
            let before = self.keys.insert(key.clone(), id);
            if let Some(before) = before.filter(|before| *before != id) {
                return Err(format!(
                    "{key} was submitted twice, as {before} and as {id}"
                ));
            }
        }
        let kept = Kept {
            view: Arc::clone(view),
            plan: Arc::clone(plan),
            prefix: (0, 0),
            partials: BTreeMap::new(),
        };
        if self.over.contains_key(&id) || self.running.insert(id, kept).is_some() {
            return Err(format!("job {id} is submitted twice"));
        }
        Ok(())
    }

    fn kept(&mut self, job: JobId) -> Result<&mut Kept, String> {
        let kept = self.running.get_mut(&job);
        kept.ok_or_else(|| format!("a record of job {job}, which is not there"))
    }

    /// What a coordinator that starts finds of a job.
    pub(crate) fn stored(&self, job: JobId) -> Stored {
        let kept = &self.running[&job];
        let partials = kept.partials.values();
        Stored {
            view: Arc::clone(&kept.view),
            plan: Arc::clone(&kept.plan),
            prefix: kept.prefix,
            partials: partials
                .map(|(node, _, bytes, cost)| (*node, bytes.clone(), *cost))
                .collect(),
        }
    }

    /// Whether tasks of a job are safe: stored, in the synced prefix, or of a
    /// job that is over.
    pub(crate) fn holds(&self, job: JobId, tasks: &std::ops::Range<u64>) -> bool {
        if self.over.contains_key(&job) {
            return true;
        }
        let Some(kept) = self.running.get(&job) else {
            return false;
        };
        let before = kept.partials.range(..=tasks.start).next_back();
        tasks.end <= kept.prefix.0 || before.is_some_and(|(_, (_, end, ..))| *end >= tasks.end)
    }

    /// Power fails: what was not synced of growing results is there in part, or
    /// is garbage.
    pub(crate) fn crash(&mut self, rng: &mut Rng) -> bool {
        let mut torn = false;
        for file in self.files.values_mut() {
            let rest = file.bytes.len() as u64 - file.synced;
            let left = file.synced + rng.below(rest + 1);
            file.bytes.truncate(left as usize);
            if left > file.synced && rng.permille(500) {
                torn = true;
                let from = rng.between(file.synced, left - 1) as usize;
                for byte in &mut file.bytes[from..] {
                    *byte ^= 0x5a;
                }
            }
        }
        torn
    }
}
