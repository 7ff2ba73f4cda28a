//! Random sequences of everything that can happen to a [`Model`]. In the end one
//! honest worker is enough for the right result.

use super::model::{Model, Peer};
use super::rig::{Granted, spec};
use crate::{Capacity, Event, Phase};
use manyhands_protocol::message::EngineKind;
use manyhands_protocol::{JobId, MergeMode, WorkerId};
use proptest::prelude::*;

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
    /// Grants are held back, or not any more.
    Hold(bool),
    /// The coordinator is started anew.
    Restart(u64),
    /// A worker cannot run the job of a lease; not too many say so.
    Unusable {
        worker: usize,
        lease: usize,
    },
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
        1 => any::<bool>().prop_map(Op::Hold),
        1 => any::<u64>().prop_map(Op::Restart),
        1 => at().prop_map(|(worker, lease)| Op::Lie { worker, lease }),
        1 => at().prop_map(|(worker, lease)| Op::Unusable { worker, lease }),
    ]
}

impl Model {
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
            Op::Unusable { worker, lease } => {
                if let Some(granted) = self.lease(worker, lease) {
                    self.cannot_run(granted);
                }
            }
            Op::Pass(micros) => {
                self.rig.pass(micros);
                self.handle(Event::Tick);
            }
            Op::Hold(on) => self.hold(on),
            Op::Restart(keep) => self.restart(keep),
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
        self.peers.insert(worker, Peer::new(capacity));
        self.handle(Event::WorkerJoined {
            worker,
            capacity,
            held: Vec::new(),
        });
    }

    fn cannot_run(&mut self, granted: Granted) {
        let (worker, job) = (granted.worker, granted.job);
        if self.rig.scheduler.unfit(job).count() >= 2 {
            // One more, and the job might fail.
            return;
        }
        let peer = self.peers.get_mut(&worker).unwrap();
        peer.leases.retain(|held| held.job != job);
        let failure = super::rig::failure(manyhands_protocol::FailureKind::Crash);
        self.handle(Event::Unusable {
            worker,
            job,
            failure,
        });
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
        // Of one that is over nobody knows whose it was.
        let live = self.rig.scheduler.holds(granted.worker, lease);
        self.handle(Event::Partial {
            worker,
            lease,
            node,
            partial,
            len,
            busy_us: 0,
        });
        assert_eq!(self.peers.contains_key(&liar), !live);
    }
}

proptest! {
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
            let Some(progress) = model.rig.scheduler.job(model.rig.now, *job) else {
                // Over before the last restart.
                continue;
            };
            prop_assert_ne!(progress.phase, Phase::Running);
            prop_assert_eq!(progress.running, 0);
            if progress.phase == Phase::Done {
                prop_assert_eq!(progress.done, progress.tasks);
                let given = model.rig.scheduler.contributions(*job);
                let tasks = given.iter().map(|given| given.tasks).sum::<u64>();
                let whole = !model.restored.contains(job);
                prop_assert!(tasks <= progress.tasks && (tasks == progress.tasks || !whole));
            }
        }
    }
}
