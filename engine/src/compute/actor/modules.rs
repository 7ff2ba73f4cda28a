//! Which modules the child has, so that each is sent and compiled once: also for
//! one job after the other, while it is among those that were used last.

use super::Actor;
use crate::child::wire::Command;
use crate::compute::JobSpec;
use manyhands_protocol::BlobHash;
use std::collections::{BTreeMap, VecDeque};

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
    /// With the number of jobs that use it.
    sent: BTreeMap<Key, usize>,
    /// Those that none uses, the one used last at the end.
    idle: VecDeque<Key>,
}

impl Modules {
    /// A job uses a module from now on; `true` if the child lacks it.
    fn enter(&mut self, key: Key) -> bool {
        let known = self.sent.contains_key(&key);
        *self.sent.entry(key).or_default() += 1;
        self.idle.retain(|idle| *idle != key);
        !known
    }

    /// A job uses it no more; what is to go for that.
    fn leave(&mut self, key: Key) -> Option<Key> {
        let jobs = self.sent.get_mut(&key)?;
        *jobs -= 1;
        if *jobs == 0 {
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
    pub(super) fn send_module(&mut self, spec: &JobSpec) {
        let (module, memory) = key(spec);
        if self.modules.enter((module, memory)) {
            let put = Command::PutModule { module, memory };
            self.process.send(&put, vec![spec.wasm.clone()]);
        }
    }

    pub(super) fn release_module(&mut self, spec: &JobSpec) {
        if let Some(key) = self.modules.leave(key(spec)) {
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
        assert!(modules.enter(key(0)), "new");
        assert!(!modules.enter(key(0)), "used by two jobs");
        assert_eq!(modules.leave(key(0)), None, "one of them is left");
        for other in 1..=KEPT as u8 {
            assert!(modules.enter(key(other)));
            assert_eq!(modules.leave(key(other)), None);
        }
        assert_eq!(modules.leave(key(0)), Some(key(1)), "not the one in use");
        assert!(!modules.enter(key(0)), "used last");
        assert!(modules.enter(key(1)), "gone");
        assert_eq!(modules.leave(key(1)), None);
        assert!(modules.failed(key(1)) && !modules.failed(key(1)));
        assert!(modules.enter(key(1)), "sent anew");
    }
}
