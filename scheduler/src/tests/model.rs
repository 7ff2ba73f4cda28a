//! Random sequences of everything that can happen, with workers that hand in
//! what an honest worker would, in whatever parts and order. In the end one
//! honest worker is enough for the right result.

use super::rig::{Granted, Rig, failure, merged, reference, spec};
use crate::{Action, Capacity, Config, Event, Phase};
use manyhands_protocol::message::EngineKind;
use manyhands_protocol::{FailureKind, JobId, LeaseId, MergeMode, Node, Tree, WorkerId};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Clone, Debug)]
enum Op {
    Submit {
        tasks: u64,
        concat: bool,
    },
    Cancel(usize),
    Join {
        slots: u16,
        browser: bool,
        small: bool,
    },
    /// A worker hands a lease in: whole, or a part of it.
    Answer {
        worker: usize,
        lease: usize,
        part: u64,
        twice: bool,
    },
    Fail {
        worker: usize,
        lease: usize,
        part: u64,
        guest: bool,
    },
    GiveBack {
        worker: usize,
        lease: usize,
    },
    Progress {
        worker: usize,
        lease: usize,
        done: u64,
    },
    Capacity {
        worker: usize,
        slots: u16,
        hidden: bool,
    },
    Disconnect(usize),
    /// Back with some of its leases.
    Resume {
        worker: usize,
        keep: u64,
    },
    Leave(usize),
    /// The oldest or latest merge under way ends.
    Merge(bool),
    Pass(u64),
    /// A message for a lease of another.
    Lie {
        worker: usize,
        lease: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let (worker, lease) = (0..6_usize, 0..12_usize);
    let at = move || (worker.clone(), lease.clone());
    prop_oneof![
        2 => (0..200_u64, any::<bool>()).prop_map(|(tasks, concat)| Op::Submit { tasks, concat }),
        1 => (0..4_usize).prop_map(Op::Cancel),
        3 => (0..9_u16, any::<bool>(), any::<bool>())
            .prop_map(|(slots, browser, small)| Op::Join { slots, browser, small }),
        30 => (at(), 0..8_u64, any::<bool>())
            .prop_map(|((worker, lease), part, twice)| Op::Answer { worker, lease, part, twice }),
        4 => (at(), 0..8_u64, any::<bool>())
            .prop_map(|((worker, lease), part, guest)| Op::Fail { worker, lease, part, guest }),
        3 => at().prop_map(|(worker, lease)| Op::GiveBack { worker, lease }),
        1 => (at(), 0..99_u64)
            .prop_map(|((worker, lease), done)| Op::Progress { worker, lease, done }),
        2 => (0..6_usize, 0..5_u16, any::<bool>())
            .prop_map(|(worker, slots, hidden)| Op::Capacity { worker, slots, hidden }),
        2 => (0..6_usize).prop_map(Op::Disconnect),
        3 => (0..6_usize, any::<u64>()).prop_map(|(worker, keep)| Op::Resume { worker, keep }),
        1 => (0..6_usize).prop_map(Op::Leave),
        8 => any::<bool>().prop_map(Op::Merge),
        10 => prop_oneof![0..2_000_u64, 0..3_000_000_u64, 0..40_000_000_u64].prop_map(Op::Pass),
        1 => at().prop_map(|(worker, lease)| Op::Lie { worker, lease }),
    ]
}

/// One worker's side.
#[derive(Debug)]
struct Peer {
    capacity: Capacity,
    connected: bool,
    leases: VecDeque<Granted>,
    /// What of its leases it has handed in, or failed.
    handed: BTreeMap<LeaseId, Vec<Node>>,
    /// Was handed in; may come again after a lost connection.
    sent: Vec<(Granted, Node)>,
}

struct Model {
    rig: Rig,
    peers: BTreeMap<WorkerId, Peer>,
    jobs: BTreeMap<JobId, (Tree, MergeMode)>,
    merges: VecDeque<(JobId, Node, String, String)>,
    outputs: BTreeMap<JobId, String>,
    over: BTreeSet<JobId>,
    /// Tasks that have failed once already; a second time might be the last.
    blamed: BTreeSet<(JobId, u64)>,
    leases: BTreeSet<LeaseId>,
    next: u64,
}

impl Model {
    fn new() -> Self {
        let config = Config {
            // Windows that matter for jobs this small.
            window_bytes: 300,
            window_blocks: 12,
            ..Config::default()
        };
        Self {
            rig: Rig::with(config),
            peers: BTreeMap::new(),
            jobs: BTreeMap::new(),
            merges: VecDeque::new(),
            outputs: BTreeMap::new(),
            over: BTreeSet::new(),
            blamed: BTreeSet::new(),
            leases: BTreeSet::new(),
            next: 0,
        }
    }

    fn handle(&mut self, event: Event<String>) {
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
            Action::Revoke { worker, lease } => {
                let peer = &self.peers[&worker];
                assert!(peer.connected);
                assert!(
                    peer.leases.iter().any(|held| held.lease == lease),
                    "not held: {lease:?}"
                );
            }
            Action::Accepted {
                worker, node, job, ..
            } => {
                assert!(self.peers.contains_key(&worker));
                assert!(self.jobs[&job].0.has(node));
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
                left,
                right,
            } => {
                self.merges.push_back((job, node, left, right));
            }
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

    fn peer(&self, at: usize) -> Option<WorkerId> {
        let ids: Vec<WorkerId> = self.peers.keys().copied().collect();
        ids.get(at).copied()
    }

    fn lease(&self, worker: usize, lease: usize) -> Option<Granted> {
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

    fn answer(&mut self, granted: Granted, part: u64, twice: bool) {
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

    fn fail(&mut self, granted: Granted, part: u64, guest: bool) {
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

    fn resume(&mut self, id: WorkerId, keep: u64) {
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
        // Receipts may have been lost: it sends again.
        for (granted, node) in sent.into_iter().rev().take(3) {
            let kept = &self.peers[&id].sent;
            if kept.contains(&(granted, node)) {
                let event = self.rig.partial(granted, node);
                self.handle(event);
            }
        }
    }

    fn merge(&mut self, oldest: bool) -> bool {
        let merge = if oldest {
            self.merges.pop_front()
        } else {
            self.merges.pop_back()
        };
        let Some((job, node, left, right)) = merge else {
            return false;
        };
        let partial = merged(self.jobs[&job].1, &left, &right);
        self.handle(Event::Merged { job, node, partial });
        true
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Submit { tasks, concat } => self.submit(tasks, concat),
            Op::Cancel(at) => {
                let Some(job) = self.jobs.keys().nth(at).copied() else {
                    return;
                };
                self.over.insert(job);
                self.handle(Event::JobCancelled { job });
            }
            Op::Join {
                slots,
                browser,
                small,
            } => self.join(slots, browser, small),
            Op::Answer {
                worker,
                lease,
                part,
                twice,
            } => {
                if let Some(granted) = self.lease(worker, lease) {
                    self.answer(granted, part, twice);
                }
            }
            Op::Fail {
                worker,
                lease,
                part,
                guest,
            } => {
                if let Some(granted) = self.lease(worker, lease) {
                    self.fail(granted, part, guest);
                }
            }
            Op::GiveBack { worker, lease } => {
                if let Some(granted) = self.lease(worker, lease) {
                    let peer = self.peers.get_mut(&granted.worker).unwrap();
                    peer.leases.retain(|held| held.lease != granted.lease);
                    let (worker, lease) = (granted.worker, granted.lease);
                    self.handle(Event::Returned { worker, lease });
                }
            }
            Op::Progress {
                worker,
                lease,
                done,
            } => {
                if let Some(Granted { worker, lease, .. }) = self.lease(worker, lease) {
                    self.handle(Event::Progress {
                        worker,
                        lease,
                        done,
                    });
                }
            }
            Op::Lie { worker, lease } => self.lie(worker, lease),
            Op::Pass(micros) => {
                self.rig.pass(micros);
                self.handle(Event::Tick);
            }
            Op::Merge(oldest) => {
                self.merge(oldest);
            }
            Op::Capacity { .. } | Op::Disconnect(_) | Op::Resume { .. } | Op::Leave(_) => {
                self.step_presence(op);
            }
        }
    }

    fn step_presence(&mut self, op: Op) {
        let (Op::Capacity { worker: at, .. }
        | Op::Disconnect(at)
        | Op::Resume { worker: at, .. }
        | Op::Leave(at)) = op
        else {
            unreachable!();
        };
        let Some(worker) = self.peer(at) else { return };
        let peer = self.peers.get_mut(&worker).unwrap();
        match op {
            Op::Capacity { slots, hidden, .. } => {
                (peer.capacity.slots, peer.capacity.hidden) = (slots, hidden);
                self.handle(Event::WorkerCapacity {
                    worker,
                    slots,
                    hidden,
                });
            }
            Op::Disconnect(_) => {
                peer.connected = false;
                self.handle(Event::WorkerDisconnected { worker });
            }
            Op::Resume { keep, .. } => self.resume(worker, keep),
            _ => {
                self.peers.remove(&worker);
                self.handle(Event::WorkerLeft { worker });
            }
        }
    }

    fn submit(&mut self, tasks: u64, concat: bool) {
        if self.jobs.len() >= 4 {
            return;
        }
        let merge = if concat {
            MergeMode::Concat
        } else {
            MergeMode::Reduce
        };
        self.next += 1;
        let job = JobId(self.next);
        let spec = spec(tasks, merge);
        self.jobs.insert(job, (spec.tree, merge));
        self.handle(Event::JobSubmitted { job, spec });
    }

    fn join(&mut self, slots: u16, browser: bool, small: bool) {
        if self.peers.len() >= 6 {
            return;
        }
        self.next += 1;
        let worker = WorkerId(self.next);
        let engine = if browser {
            EngineKind::Browser
        } else {
            EngineKind::Native
        };
        let capacity = Capacity {
            engine,
            slots,
            memory: if small { 1 << 10 } else { 1 << 30 },
            simd: true,
            hidden: false,
        };
        let peer = Peer {
            capacity,
            connected: true,
            leases: VecDeque::new(),
            handed: BTreeMap::new(),
            sent: Vec::new(),
        };
        self.peers.insert(worker, peer);
        self.handle(Event::WorkerJoined { worker, capacity });
    }

    /// Someone speaks of another's lease: it is shown the door, nothing else.
    fn lie(&mut self, worker: usize, lease: usize) {
        let (Some(liar), Some(granted)) = (self.peer(0), self.lease(worker, lease)) else {
            return;
        };
        if granted.worker == liar {
            return;
        }
        let stolen = Granted {
            worker: liar,
            ..granted
        };
        let Event::Partial {
            worker,
            lease,
            node,
            len,
            ..
        } = self.rig.partial(stolen, granted.node)
        else {
            unreachable!();
        };
        let partial = "stolen".to_string();
        self.handle(Event::Partial {
            worker,
            lease,
            node,
            partial,
            len,
            busy_us: 0,
        });
        assert!(!self.peers.contains_key(&liar));
    }

    /// All others go on saying that they live and do nothing more; one honest
    /// worker must be enough.
    fn finish(&mut self) {
        self.next += 1;
        let honest = WorkerId(self.next);
        let capacity = super::rig::capacity(2);
        let peer = Peer {
            capacity,
            connected: true,
            leases: VecDeque::new(),
            handed: BTreeMap::new(),
            sent: Vec::new(),
        };
        self.peers.insert(honest, peer);
        self.handle(Event::WorkerJoined {
            worker: honest,
            capacity,
        });
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
                    self.rig.pass(1000);
                    self.answer(granted, 0, false);
                }
                None => {
                    let due = self.rig.scheduler.next_deadline().expect("work is left");
                    self.rig.now = self.rig.now.max(due);
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

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn whatever_happens_the_result_is_the_same(ops in proptest::collection::vec(op(), 0..250)) {
        let mut model = Model::new();
        model.submit(97, true);
        model.submit(150, false);
        for op in ops {
            model.step(op);
        }
        model.finish();
        for job in model.jobs.keys() {
            let progress = model.rig.scheduler.job(model.rig.now, *job).unwrap();
            prop_assert_ne!(progress.phase, Phase::Running);
            prop_assert_eq!(progress.running, 0);
            if progress.phase == Phase::Done {
                prop_assert_eq!(progress.done, progress.tasks);
                let given = model.rig.scheduler.contributions(*job);
                prop_assert_eq!(given.iter().map(|given| given.tasks).sum::<u64>(), progress.tasks);
            }
        }
    }
}
