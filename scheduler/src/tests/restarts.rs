//! The coordinator of a [`Model`] dies and is started anew, with what it had
//! stored and whoever comes back.

use super::model::Model;
use super::rig::reference;
use crate::{Event, Scheduler};
use manyhands_protocol::{Incarnation, JobId, LeaseId, MergeMode};
use std::collections::BTreeMap;

impl Model {
    /// The coordinator dies and is started anew; `keep` says what it had
    /// stored, which workers come back, and with which leases.
    pub(super) fn restart(&mut self, keep: u64) {
        let mut bits = (0..64).map(|bit| keep >> bit & 1 == 1).cycle();
        let mut config = self.rig.scheduler.config().clone();
        config.incarnation = Incarnation(config.incarnation.0 + 1);
        self.rig.scheduler = Scheduler::new(config);
        self.merges.clear();
        self.hold = false;
        for job in self.jobs.keys().copied().collect::<Vec<_>>() {
            if !self.over.contains(&job) {
                self.restore(job, &mut bits);
            }
        }
        for (id, mut peer) in std::mem::take(&mut self.peers) {
            if !bits.next().unwrap() && !bits.next().unwrap() {
                continue;
            }
            peer.connected = true;
            peer.leases.retain(|_| bits.next().unwrap());
            // What it handed in last it still keeps: the receipt is lost.
            let unsure = peer.sent.split_off(peer.sent.len().saturating_sub(3));
            peer.sent.clone_from(&unsure);
            let all = peer
                .leases
                .iter()
                .chain(unsure.iter().map(|(held, _)| held));
            let held: BTreeMap<LeaseId, _> = all
                .map(|held| (held.lease, (held.lease, held.job, held.node)))
                .collect();
            let capacity = peer.capacity;
            self.peers.insert(id, peer);
            self.handle(Event::WorkerJoined {
                worker: id,
                capacity,
                held: held.into_values().collect(),
            });
            self.send_again(id, unsure);
        }
    }

    /// One job as it was stored: a prefix that is synced, some partials.
    fn restore(&mut self, job: JobId, bits: &mut impl Iterator<Item = bool>) {
        let (tree, merge) = self.jobs[&job];
        let output = self.outputs.remove(&job).unwrap_or_default();
        let mut prefix = 0;
        let mut kept = Vec::new();
        for node in self.stored.remove(&job).unwrap_or_default() {
            let text = reference(tree, merge, node);
            let end = prefix_len(&output, prefix) + text.len();
            let emitted = merge == MergeMode::Concat && node.first() == prefix;
            if emitted && end <= output.len() && bits.next().unwrap() {
                prefix = tree.range(node).end;
            } else if bits.next().unwrap() {
                self.store(job, node);
                kept.push((node, text.clone(), text.len() as u64));
            }
        }
        let len = prefix_len(&output, prefix);
        for node in tree.cover(0..prefix) {
            self.store(job, tree.canonical(node));
        }
        self.outputs.insert(job, output[..len].to_string());
        self.restored.insert(job);
        let spec = super::rig::spec(tree.tasks(), merge);
        self.handle(Event::JobRestored {
            job,
            spec,
            prefix,
            partials: kept,
        });
    }
}

/// The bytes of a `concat` job's first `tasks` tasks.
fn prefix_len(output: &str, tasks: u64) -> usize {
    let ends = output.match_indices(',').map(|(at, _)| at + 1);
    ends.take(tasks as usize).last().unwrap_or(0)
}
