//! A driver and workers around a scheduler: they check each action, and hand in
//! what an honest worker would, in whatever parts and order. What they do when
//! is not decided here.

use super::rig::{Granted, Rig, failure, merged, reference};
use crate::{Action, Capacity, Config, Event};
use manyhands_protocol::{
    FailureKind, JobId, LeaseId, MergeMode, Node, Operand, Tree, WorkerId, evaluate,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;

/// One worker's side.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) capacity: Capacity,
    pub(super) connected: bool,
    pub(super) leases: VecDeque<Granted>,
    /// What of its leases it has handed in, or failed.
    handed: BTreeMap<LeaseId, Vec<Node>>,
    /// Was handed in; may come again after a lost connection.
    pub(super) sent: Vec<(Granted, Node)>,
}

impl Peer {
    pub(super) fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            connected: true,
            leases: VecDeque::new(),
            handed: BTreeMap::new(),
            sent: Vec::new(),
        }
    }
}

pub(super) struct Model {
    pub(super) rig: Rig,
    pub(super) peers: BTreeMap<WorkerId, Peer>,
    pub(super) jobs: BTreeMap<JobId, (Tree, MergeMode)>,
    /// Each with its left half, and what that is merged with in turn.
    pub(super) merges: VecDeque<(JobId, Node, Vec<Operand<String>>)>,
    pub(super) outputs: BTreeMap<JobId, String>,
    /// Nodes whose partials are in, or were emitted: disjoint.
    pub(super) stored: BTreeMap<JobId, BTreeSet<Node>>,
    pub(super) hold: bool,
    /// Jobs that a later incarnation has taken over: some contributions are
    /// forgotten.
    pub(super) restored: BTreeSet<JobId>,
    pub(super) over: BTreeSet<JobId>,
    /// Tasks that have failed once already; a second time might be the last.
    blamed: BTreeSet<(JobId, u64)>,
    leases: BTreeSet<LeaseId>,
    pub(super) next: u64,
}

impl Model {
    pub(super) fn new() -> Self {
        let config = Config {
            // Windows that matter for jobs this small.
            window_bytes: 300,
            window_blocks: 12,
            window_merges: 12,
            // Chains of some merges, and what is too long for one.
            chain_bytes: 60,
            // Quarantines in runs this short.
            strikes: 2,
            quarantine_us: 2_000_000,
            ..Config::default()
        };
        Self {
            rig: Rig::with(config),
            peers: BTreeMap::new(),
            jobs: BTreeMap::new(),
            merges: VecDeque::new(),
            outputs: BTreeMap::new(),
            stored: BTreeMap::new(),
            hold: false,
            restored: BTreeSet::new(),
            over: BTreeSet::new(),
            blamed: BTreeSet::new(),
            leases: BTreeSet::new(),
            next: 0,
        }
    }

    pub(super) fn handle(&mut self, event: Event<String>) {
        for action in self.rig.handle(event) {
            self.obey(action);
        }
    }

    /// The driver's and the peers' side of an action.
    fn obey(&mut self, action: Action<String>) {
        match action {
            Action::Grant {
                worker,
                lease,
                job,
                node,
            } => {
                assert!(self.leases.insert(lease), "{lease:?} was used twice");
                assert!(!self.over.contains(&job), "a grant of a job that is over");
                assert!(!self.hold, "a grant while held back");
                let progress = self.rig.scheduler.worker(worker).unwrap();
                assert_eq!(progress.quarantine, None);
                let (tree, _) = self.jobs[&job];
                assert!(tree.has(node));
                let peer = self.peers.get_mut(&worker).unwrap();
                assert!(
                    peer.connected && peer.capacity.slots > 0,
                    "{worker} cannot compute"
                );
                assert!(
                    peer.capacity.memory >= 1 << 20,
                    "{worker} has too little memory"
                );
                peer.leases.push_back(Granted {
                    worker,
                    lease,
                    job,
                    node,
                });
            }
            Action::Ping { .. } => unreachable!("the rig keeps these"),
            Action::Revoke { worker, lease } => {
                let peer = &self.peers[&worker];
                assert!(peer.connected);
                // Of an earlier incarnation's we do not know what was handed in.
                let ours = lease.incarnation == self.rig.scheduler.config().incarnation;
                assert!(
                    !ours || peer.leases.iter().any(|held| held.lease == lease),
                    "not held: {lease:?}"
                );
            }
            Action::Accepted {
                worker, node, used, ..
            } => {
                assert!(self.peers.contains_key(&worker));
                if let Some(job) = used {
                    let (tree, _) = self.jobs[&job];
                    assert!(tree.has(node));
                    self.store(job, tree.canonical(node));
                }
            }
            Action::Forget { worker, job } => {
                assert!(self.over.contains(&job), "forgotten too early");
                let peer = self.peers.get_mut(&worker).unwrap();
                assert!(peer.connected);
                peer.leases.retain(|held| held.job != job);
                peer.sent.retain(|(held, _)| held.job != job);
            }
            Action::Disconnect { worker, reason } => {
                if reason.ends_session() {
                    self.peers.remove(&worker).unwrap();
                } else {
                    let peer = self.peers.get_mut(&worker).unwrap();
                    assert!(std::mem::take(&mut peer.connected), "{worker} was away");
                }
            }
            Action::SessionEnded { worker } => {
                assert!(!self.peers.remove(&worker).unwrap().connected);
            }
            Action::Merge {
                job,
                node,
                operands,
            } => self.merges.push_back((job, node, operands)),
            Action::Emit { job, node, partial } => {
                let (tree, merge) = self.jobs[&job];
                assert_eq!(partial, reference(tree, merge, node));
                self.outputs.entry(job).or_default().push_str(&partial);
            }
            Action::Root { job, partial } => {
                assert!(self.over.insert(job), "{job} ended twice");
                self.outputs.insert(job, partial.unwrap_or_default());
                self.check(job);
            }
            Action::Complete { job } => {
                assert!(self.over.insert(job), "{job} ended twice");
                self.check(job);
            }
            Action::JobFailed { job, .. } => panic!("{job} failed for good"),
        }
    }

    fn check(&self, job: JobId) {
        let (tree, merge) = self.jobs[&job];
        let expected = tree.root().map(|root| reference(tree, merge, root));
        let output = self.outputs.get(&job).cloned().unwrap_or_default();
        assert_eq!(output, expected.unwrap_or_default());
    }

    pub(super) fn peer(&self, at: usize) -> Option<WorkerId> {
        let ids: Vec<WorkerId> = self.peers.keys().copied().collect();
        ids.get(at).copied()
    }

    pub(super) fn lease(&self, worker: usize, lease: usize) -> Option<Granted> {
        let peer = &self.peers[&self.peer(worker)?];
        // What reaches us from one that is away was sent before.
        peer.leases.get(lease % peer.leases.len().max(1)).copied()
    }

    /// A part of the lease that has not been handed in: the lease's own node,
    /// or one below it.
    fn part(&self, granted: Granted, part: u64) -> Option<Node> {
        let (tree, _) = self.jobs[&granted.job];
        let handed = self.peers[&granted.worker].handed.get(&granted.lease);
        let mut node = granted.node;
        for bit in 0..part.min(4) {
            match tree.halves(node) {
                Some((_, Some(right))) if part >> (bit % 3) & 1 == 1 => node = right,
                Some((left, _)) => node = left,
                None => break,
            }
        }
        let handed = handed.into_iter().flatten();
        let free = handed
            .clone()
            .all(|before| !before.overlaps(tree.canonical(node)));
        free.then_some(node)
    }

    /// Notes a part as handed in; drops the lease when that was all of it.
    fn hand_in(&mut self, granted: Granted, node: Node) {
        let (tree, _) = self.jobs[&granted.job];
        let peer = self.peers.get_mut(&granted.worker).unwrap();
        let handed = peer.handed.entry(granted.lease).or_default();
        handed.push(tree.canonical(node));
        let done: u64 = handed.iter().map(|node| tree.len(*node)).sum();
        if done == tree.len(granted.node) {
            peer.leases.retain(|held| held.lease != granted.lease);
        }
    }

    pub(super) fn answer(&mut self, granted: Granted, part: u64, twice: bool) {
        let Some(node) = self.part(granted, part) else {
            return;
        };
        let event = self.rig.partial(granted, node);
        self.hand_in(granted, node);
        self.handle(event.clone());
        if let Some(peer) = self.peers.get_mut(&granted.worker) {
            peer.sent.push((granted, node));
            if twice && !self.over.contains(&granted.job) {
                self.handle(event);
            }
        }
    }

    pub(super) fn fail(&mut self, granted: Granted, part: u64, guest: bool) {
        let Some(node) = self.part(granted, part) else {
            return;
        };
        let (tree, _) = self.jobs[&granted.job];
        let task = (granted.job, node.first());
        if tree.len(node) == 1 && !self.blamed.insert(task) {
            return;
        }
        self.hand_in(granted, node);
        let kind = if guest {
            FailureKind::Trap
        } else {
            FailureKind::Memory
        };
        self.handle(Event::Failed {
            worker: granted.worker,
            lease: granted.lease,
            node,
            failure: failure(kind),
        });
    }

    pub(super) fn resume(&mut self, id: WorkerId, keep: u64) {
        let peer = self.peers.get_mut(&id).unwrap();
        peer.connected = true;
        let mut bits = (0..64).map(|bit| keep >> bit & 1 == 1).cycle();
        peer.leases.retain(|_| bits.next().unwrap());
        let (capacity, sent) = (peer.capacity, peer.sent.clone());
        let held = peer.leases.iter().map(|held| held.lease).collect();
        assert!(self.rig.scheduler.worker(id).is_some());
        self.handle(Event::WorkerResumed {
            worker: id,
            capacity,
            held,
        });
        // Receipts may have been lost.
        self.send_again(id, sent.into_iter().rev().take(3));
    }

    pub(super) fn send_again(
        &mut self,
        id: WorkerId,
        sent: impl IntoIterator<Item = (Granted, Node)>,
    ) {
        for (granted, node) in sent {
            let kept = &self.peers[&id].sent;
            if kept.contains(&(granted, node)) {
                let event = self.rig.partial(granted, node);
                self.handle(event);
            }
        }
    }

    pub(super) fn merge(&mut self, oldest: bool) -> bool {
        let merge = if oldest {
            self.merges.pop_front()
        } else {
            self.merges.pop_back()
        };
        let Some((job, node, operands)) = merge else {
            return false;
        };
        let (tree, mode) = self.jobs[&job];
        let merge = |left: String, right: String| Ok::<_, Infallible>(merged(mode, &left, &right));
        let Ok(partial) = evaluate(operands, merge);
        assert_eq!(partial, reference(tree, mode, node));
        if self.rig.scheduler.merging(job, node) {
            self.store(job, node);
        }
        let len = partial.len() as u64;
        self.handle(Event::Merged {
            job,
            node,
            partial,
            len,
        });
        true
    }

    pub(super) fn hold(&mut self, on: bool) {
        self.hold = on;
        self.handle(Event::Hold { on });
    }

    /// A partial replaces those under it.
    pub(super) fn store(&mut self, job: JobId, node: Node) {
        let stored = self.stored.entry(job).or_default();
        stored.retain(|held| !node.contains(*held));
        assert!(stored.iter().all(|held| !held.contains(node)), "used twice");
        stored.insert(node);
    }

    /// All others go on saying that they live and do nothing more; one honest
    /// worker must be enough, though each further copy of what they hold is waited for
    /// twice as long.
    pub(super) fn finish(&mut self) {
        self.hold(false);
        self.next += 1;
        let honest = WorkerId(self.next);
        let capacity = super::rig::capacity(2);
        self.peers.insert(honest, Peer::new(capacity));
        self.handle(Event::WorkerJoined {
            worker: honest,
            capacity,
            held: Vec::new(),
        });
        let mut idle_us = 0;
        for _ in 0..20_000 {
            if self.jobs.keys().all(|job| self.over.contains(job)) {
                return;
            }
            while self.merge(true) {}
            let others: Vec<WorkerId> = self.peers.keys().copied().collect();
            for worker in others {
                self.handle(Event::Heard { worker });
            }
            match self.peers[&honest].leases.front().copied() {
                Some(granted) => {
                    idle_us = 0;
                    self.rig.pass(1000);
                    self.answer(granted, 0, false);
                }
                None => {
                    let due = self.rig.scheduler.next_deadline().expect("work is left");
                    self.rig.now = (self.rig.now + idle_us).max(due);
                    idle_us = (2 * idle_us).clamp(1000, 10_000_000);
                    self.handle(Event::Tick);
                }
            }
        }
        let stuck = self.jobs.keys().find(|job| !self.over.contains(job));
        panic!(
            "no progress: {:?}",
            self.rig.scheduler.job(self.rig.now, *stuck.unwrap())
        );
    }
}
