//! The watch: every few simulated seconds it looks whether all is bounded, and
//! whether something comes of jobs while an honest worker is there.

use crate::world::{Event, Peer, World};
use manyhands_protocol::JobId;
use manyhands_protocol::api::JobState;
use std::collections::{BTreeMap, BTreeSet};

/// How often the watch looks.
pub(crate) const WATCH_US: u64 = 5_000_000;

/// So long nothing may come of jobs while an honest worker is there.
const STUCK_US: u64 = 600_000_000;

impl World {
    /// How everything stands, for those who look for the cause of a violation.
    pub(crate) fn describe(&mut self) {
        for (id, peer) in &self.peers {
            if let Peer::Worker(worker) = peer {
                let view = worker.session.view();
                let words = (
                    id.0,
                    worker.link,
                    worker.machine.slots,
                    worker.machine.speed,
                );
                self.trace
                    .tell(|| format!("worker {words:?} {:?} {:?}", view.connection, view.leases));
            }
        }
        let Some(core) = &self.coordinator.core else {
            return;
        };
        let now = self.coordinator.now(self.now);
        for view in core.worker_page(now, None, usize::MAX).workers {
            let words = (
                &view.name,
                view.leases,
                view.slots,
                view.connected,
                &view.quarantine,
            );
            self.trace.tell(|| format!("{words:?}"));
        }
        for view in core.running().filter_map(|job| core.view(now, job)) {
            let words = (
                view.id.0,
                &view.state,
                view.tasks,
                view.done,
                view.running,
                &view.waiting,
            );
            self.trace.tell(|| format!("job {words:?}"));
        }
    }

    pub(crate) fn watch(&mut self) {
        self.schedule(self.now + WATCH_US, Event::Watch);
        let mut leases = 0;
        let mut progress = self.disk.over.len() as u64;
        let mut quarantined = BTreeSet::new();
        if let Some(core) = &self.coordinator.core {
            let now = self.coordinator.now(self.now);
            for view in core.worker_page(now, None, usize::MAX).workers {
                leases += view.leases;
                if view.quarantine.is_some() {
                    quarantined.insert(view.name);
                }
            }
            let running: Vec<JobId> = core.running().collect();
            let views = running.iter().filter_map(|job| core.view(now, *job));
            progress += views
                .map(|view| view.done + u64::from(view.state == JobState::Finishing))
                .sum::<u64>();
            progress += core.counts().merges;
        }
        self.checks.most_leases = self.checks.most_leases.max(leases);
        if leases > 100_000 {
            self.fail(format!("{leases} leases are out"));
        }
        self.watch_workers(&quarantined);
        self.watch_progress(progress);
    }

    fn watch_workers(&mut self, quarantined: &BTreeSet<String>) {
        let mut well = BTreeMap::new();
        let mut fault = None;
        for (id, peer) in &self.peers {
            let Peer::Worker(worker) = peer else {
                continue;
            };
            let view = worker.session.view();
            if view.leases.len() > 4096 || view.retained_bytes > 1 << 30 {
                fault = Some(format!(
                    "worker {} holds {} leases",
                    id.0,
                    view.leases.len()
                ));
            }
            let Some(link) = worker.link.filter(|_| worker.is_welcome()) else {
                continue;
            };
            let route = self.network.links.get(&link).map(|link| &link.route);
            let clear = route.is_some_and(|route| {
                route.blocked_until <= self.now && route.mangled_until <= self.now
            });
            let awake = worker.frozen_until <= self.now && !worker.paused && !worker.draining;
            let machine = &worker.machine;
            let capable = machine.simd && machine.memory >= 1 << 30 && machine.unusable == 0;
            let trusted = !quarantined.contains(&format!("worker-{}", id.0));
            if clear && awake && capable && trusted {
                let since = self
                    .checks
                    .well
                    .get(id)
                    .filter(|(before, _)| *before == link);
                well.insert(*id, (link, since.map_or(self.now, |(_, since)| *since)));
            }
        }
        self.checks.well = well;
        if let Some(fault) = fault {
            self.fail(fault);
        }
    }

    fn watch_progress(&mut self, progress: u64) {
        let works = self.coordinator.core.is_some()
            && self.coordinator.troubles.is_empty()
            && !self.coordinator.is_draining()
            && !self.disk_fails();
        let idle = self.disk.running.is_empty();
        if self.checks.progress != progress || !works || idle {
            self.checks.progress = progress;
            self.checks.progress_at = self.now;
        }
        let since = self.now.saturating_sub(STUCK_US);
        let well = self.checks.well.values().any(|(_, well)| *well < since);
        if self.checks.progress_at < since && well {
            let jobs: Vec<JobId> = self.disk.running.keys().copied().collect();
            self.fail(format!("nothing has come of jobs {jobs:?} for ten minutes"));
        }
    }
}
