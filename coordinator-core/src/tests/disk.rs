//! A disk that carries records out as their documentation says.

use crate::{Group, Plan, Record, Stored};
use bytes::Bytes;
use manyhands_protocol::api::JobView;
use manyhands_protocol::{JobId, Node};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Default)]
pub(super) struct Disk {
    pub(super) groups: u64,
    /// The first id that is not set aside; 0 before some were.
    pub(super) next_job: u64,
    pub(super) jobs: BTreeMap<JobId, Job>,
}

#[derive(Clone)]
pub(super) struct Job {
    pub(super) view: Arc<JobView>,
    plan: Option<Arc<Plan>>,
    prefix: (u64, u64),
    pub(super) partials: BTreeMap<u64, (Node, u64, Bytes, u64)>,
    pub(super) result: Option<Bytes>,
}

impl Disk {
    pub(super) fn commit(&mut self, group: &Group) {
        self.groups += 1;
        assert_eq!(group.number, self.groups, "groups come in order");
        assert!(!group.records.is_empty(), "an empty group");
        for record in &group.records {
            self.carry_out(record);
        }
    }

    fn carry_out(&mut self, record: &Record) {
        match record {
            Record::Ids { next } => self.next_job = next.0,
            Record::Submitted { view, plan } => {
                let job = Job {
                    view: Arc::clone(view),
                    plan: Some(Arc::clone(plan)),
                    prefix: (0, 0),
                    partials: BTreeMap::new(),
                    result: None,
                };
                let before = self.jobs.insert(view.id, job);
                assert!(before.is_none(), "job {} twice", view.id);
            }
            Record::Partial {
                job,
                node,
                first,
                end,
                bytes,
                cost_us,
            } => {
                let job = self.jobs.get_mut(job).expect("a job before its partials");
                job.partials.retain(|at, _| at < first || at >= end);
                let row = (*node, *end, bytes.clone(), *cost_us);
                job.partials.insert(*first, row);
                let mut covered = 0;
                for (at, (_, end, ..)) in &job.partials {
                    assert!(*at >= covered, "stored partials overlap");
                    covered = *end;
                }
            }
            Record::Prefix { job, task, len } => {
                let job = self.jobs.get_mut(job).expect("a job before its prefix");
                job.prefix = (*task, *len);
                job.partials.retain(|at, _| at >= task);
            }
            Record::Over { view, result } => {
                let job = self.jobs.get_mut(&view.id).expect("a job before its end");
                job.view = Arc::clone(view);
                job.result.clone_from(result);
                job.plan = None;
                job.partials.clear();
            }
        }
    }

    /// What a successor is given.
    pub(super) fn stored(&self) -> Vec<Stored> {
        let running = self.jobs.values().filter_map(|job| {
            let partials = job.partials.values();
            let partials = partials.map(|(node, _, bytes, cost)| (*node, bytes.clone(), *cost));
            Some(Stored {
                view: Arc::clone(&job.view),
                plan: Arc::clone(job.plan.as_ref()?),
                prefix: job.prefix,
                partials: partials.collect(),
            })
        });
        running.collect()
    }
}
