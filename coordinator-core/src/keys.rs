//! Submissions by the keys that their submitters chose: one that comes twice is
//! the same job. What was submitted long ago, the journal knows.

use manyhands_protocol::JobId;
use manyhands_protocol::api::JobView;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Jobs that ended are remembered so far: a copy of their submission may have
/// been looked up in the journal before they were recorded, and be under way.
const ENDED: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Keys {
    running: BTreeMap<String, JobId>,
    ended: BTreeMap<String, Arc<JobView>>,
    /// The keys of those that ended, the oldest first.
    order: VecDeque<String>,
}

/// The job of a submission that came before.
#[derive(Debug)]
pub(crate) enum Same {
    Running(JobId),
    Ended(Arc<JobView>),
}

impl Keys {
    pub(crate) fn find(&self, key: &str) -> Option<Same> {
        let running = self.running.get(key).copied().map(Same::Running);
        running.or_else(|| self.ended.get(key).cloned().map(Same::Ended))
    }

    pub(crate) fn runs(&mut self, key: &str, job: JobId) {
        self.running.insert(key.to_owned(), job);
    }

    pub(crate) fn ends(&mut self, key: &str, view: Arc<JobView>) {
        self.running.remove(key);
        if self.ended.insert(key.to_owned(), view).is_none() {
            self.order.push_back(key.to_owned());
        }
        if self.order.len() > ENDED {
            let oldest = self.order.pop_front().expect("there are some");
            self.ended.remove(&oldest);
        }
    }
}
