//! Which modules the child has, so that each is sent and compiled once: also for
//! one job after the other, while it is among those that were used last.

use super::Actor;
use crate::child::wire::Command;
use crate::compute::JobSpec;
use manyhands_protocol::{BlobHash, JobId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Modules that stay though no job uses them just now.
const KEPT: usize = 8;

/// A module, and the limit of memory that it is compiled under.
type Key = (BlobHash, u64);

fn key(spec: &JobSpec) -> Key {
    (spec.module, spec.memory_limit)
}

/// What the child has.
#[derive(Debug, Default)]
pub(super) struct Modules {
    /// With the jobs that use it.
    sent: BTreeMap<Key, BTreeSet<JobId>>,
    /// Those that none uses, the one used last at the end.
    idle: VecDeque<Key>,
}

impl Modules {
    /// A job uses a module from now on; `true` if the child lacks it.
    fn enter(&mut self, key: Key, job: JobId) -> bool {
        let known = self.sent.contains_key(&key);
        self.sent.entry(key).or_default().insert(job);
        self.idle.retain(|idle| *idle != key);
        !known
    }

    /// A job uses it no more; what is to go for that. Nothing, for a job that has
    /// not entered since the module failed.
    fn leave(&mut self, key: Key, job: JobId) -> Option<Key> {
        let jobs = self.sent.get_mut(&key)?;
        if jobs.remove(&job) && jobs.is_empty() {
            self.idle.push_back(key);
        }
        if self.idle.len() <= KEPT {
            return None;
        }
        let oldest = self.idle.pop_front()?;
        self.sent.remove(&oldest);
        Some(oldest)
    }

    /// It cannot be used: it is sent anew for the next job that names it.
    fn failed(&mut self, key: Key) -> bool {
        self.idle.retain(|idle| *idle != key);
        self.sent.remove(&key).is_some()
    }
}

impl Actor {
    /// Sends what the child lacks of a job's module.
    pub(super) fn send_module(&mut self, job: JobId, spec: &JobSpec) {
        let (module, memory) = key(spec);
        if self.modules.enter((module, memory), job) {
            let put = Command::PutModule { module, memory };
            self.process.send(&put, vec![spec.wasm.clone()]);
        }
    }

    pub(super) fn release_module(&mut self, job: JobId, spec: &JobSpec) {
        if let Some(key) = self.modules.leave(key(spec), job) {
            self.drop_module(key);
        }
    }

    /// The child could not compile it, which may have been for want of memory.
    pub(super) fn module_failed(&mut self, spec: &JobSpec) {
        let key = key(spec);
        if self.modules.failed(key) {
            self.drop_module(key);
        }
    }

    fn drop_module(&self, (module, memory): Key) {
        let drop = Command::DropModule { module, memory };
        self.process.send(&drop, Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Key {
        (BlobHash([number; 32]), 1)
    }

    #[test]
    fn modules_used_last_stay() {
        let mut modules = Modules::default();
        let [one, two] = [JobId(1), JobId(2)];
        assert!(modules.enter(key(0), one), "new");
        assert!(!modules.enter(key(0), two), "used by two jobs");
        assert_eq!(modules.leave(key(0), one), None, "one of them is left");
        for other in 1..=KEPT as u8 {
            assert!(modules.enter(key(other), one));
            assert_eq!(modules.leave(key(other), one), None);
        }
        assert_eq!(
            modules.leave(key(0), two),
            Some(key(1)),
            "not the one in use"
        );
        assert!(!modules.enter(key(0), one), "used last");
        assert!(modules.enter(key(1), one), "gone");
        assert_eq!(modules.leave(key(1), one), None);
        assert!(modules.failed(key(1)) && !modules.failed(key(1)));
        assert!(modules.enter(key(1), one), "sent anew");
    }

    #[test]
    fn jobs_of_a_module_that_failed_do_not_count_for_the_next() {
        let mut modules = Modules::default();
        let [one, two, three] = [JobId(1), JobId(2), JobId(3)];
        assert!(modules.enter(key(0), one));
        assert!(!modules.enter(key(0), two));
        assert!(modules.failed(key(0)));
        assert!(modules.enter(key(0), three), "sent anew");
        assert_eq!(modules.leave(key(0), one), None);
        assert_eq!(modules.leave(key(0), two), None);
        assert!(modules.idle.is_empty(), "it is in use");
        assert_eq!(modules.leave(key(0), three), None);
        assert_eq!(modules.idle.len(), 1);
    }
}
