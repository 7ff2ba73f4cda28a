//! A busy scheduler: workers that answer in turn, each block a single task.
//! Nothing but the scheduler runs.

use manyhands_protocol::message::EngineKind;
use manyhands_protocol::{JobId, LeaseId, MergeMode, Node, Tree, WorkerId};
use manyhands_scheduler::{Action, Capacity, Config, Event, JobSpec, Micros, Scheduler};
use std::collections::VecDeque;
use std::hint::black_box;

/// How much there is of everything.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Workers that are connected.
    pub workers: u64,
    /// Slots of each.
    pub slots: u16,
    /// Blocks that each takes.
    pub depth: usize,
    /// Jobs that run.
    pub jobs: u64,
    /// How their partials are merged.
    pub merge: MergeMode,
    /// Whether the first block of each job is not answered, so that all others
    /// wait for it.
    pub withhold: bool,
}

impl Scale {
    /// One job, workers with four slots: eight blocks each.
    #[must_use]
    pub fn workers(workers: u64, merge: MergeMode) -> Self {
        Self {
            workers,
            slots: 4,
            depth: 8,
            jobs: 1,
            merge,
            withhold: false,
        }
    }
}

/// The scheduler and all around it.
#[derive(Debug)]
pub struct Rig {
    scheduler: Scheduler<()>,
    scale: Scale,
    now: Micros,
    granted: VecDeque<(WorkerId, LeaseId, Node)>,
    actions: Vec<Action<()>>,
    merges: Vec<(JobId, Node)>,
    next: u64,
    events: u64,
    blocks: u64,
    actions_hash: u64,
}

impl Rig {
    /// All have been measured and have as many blocks as they take.
    ///
    /// # Panics
    /// When a tree has no room for the tasks.
    #[must_use]
    pub fn new(scale: Scale) -> Self {
        let config = Config {
            native_target_us: 1,
            max_depth: scale.depth,
            // No worker has enough before it has that many.
            min_block_us: 1 << 40,
            window_blocks: usize::MAX,
            window_bytes: u64::MAX,
            ..Config::default()
        };
        let mut rig = Self {
            scheduler: Scheduler::new(config),
            scale,
            now: Micros(0),
            granted: VecDeque::new(),
            actions: Vec::new(),
            merges: Vec::new(),
            next: scale.workers,
            events: 0,
            blocks: 0,
            actions_hash: 0,
        };
        let spec = JobSpec {
            tree: Tree::new(1 << 50).expect("fewer than 2^62 tasks"),
            merge: scale.merge,
            weight: 100,
            memory: 0,
            simd: false,
            bytes_per_task: 0,
            max_block: u64::MAX,
        };
        for job in 1..=scale.jobs {
            let job = JobId(job);
            rig.handle(Event::JobSubmitted { job, spec });
        }
        for worker in 1..=scale.workers {
            rig.handle(joined(WorkerId(worker), scale.slots));
        }
        rig.granted
            .retain(|(_, _, node)| !scale.withhold || node.first() > 0);
        // A worker that has answered nothing yet gets few.
        let few = scale.depth.min(8) as u64;
        for _ in 0..scale.workers * (few + 2) {
            rig.block();
        }
        rig
    }

    /// Calls of `handle` so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Blocks handed in so far.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Blocks in the hands of workers, as far as they will be answered.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.granted.len()
    }

    /// Of all that was asked for, in its order.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.actions_hash
    }

    /// Tells the scheduler something, and does what it asks for.
    fn handle(&mut self, event: Event<()>) {
        self.tell(event);
        while let Some((job, node)) = self.merges.pop() {
            let (partial, len) = ((), 8);
            self.tell(Event::Merged {
                job,
                node,
                partial,
                len,
            });
        }
    }

    fn tell(&mut self, event: Event<()>) {
        self.now = self.now + 1;
        self.events += 1;
        self.scheduler.handle(self.now, event, &mut self.actions);
        for action in self.actions.drain(..) {
            match action {
                Action::Grant {
                    worker,
                    lease,
                    node,
                    job,
                    ..
                } => {
                    self.granted.push_back((worker, lease, node));
                    let words = [worker.0, lease.counter, job.0, node.first()];
                    for word in words {
                        let mixed = self.actions_hash.rotate_left(5) ^ word;
                        self.actions_hash = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    }
                }
                Action::Merge { job, node, .. } => self.merges.push((job, node)),
                other => drop(black_box(other)),
            }
        }
    }

    /// The oldest block is handed in: its partial, the merge that this allows,
    /// the next grants.
    ///
    /// # Panics
    /// When nobody has work.
    pub fn block(&mut self) {
        let (worker, lease, node) = self.granted.pop_front().expect("all have work");
        self.blocks += 1;
        self.handle(Event::Partial {
            worker,
            lease,
            node,
            partial: (),
            len: 8,
            busy_us: 50_000,
        });
    }

    /// A sign of life of the next worker.
    pub fn heard(&mut self) {
        self.next = self.next % self.scale.workers + 1;
        let worker = WorkerId(self.next);
        self.handle(Event::Heard { worker });
    }

    /// A worker joins, is given work, and leaves: two events.
    pub fn come_and_go(&mut self) {
        self.next += 1;
        let worker = WorkerId(self.next);
        let before = self.granted.len();
        self.handle(joined(worker, self.scale.slots));
        self.granted.truncate(before);
        self.handle(Event::WorkerLeft { worker });
    }
}

fn joined(worker: WorkerId, slots: u16) -> Event<()> {
    Event::WorkerJoined {
        worker,
        capacity: Capacity {
            engine: EngineKind::Native,
            slots,
            memory: 1 << 40,
            simd: true,
            hidden: false,
        },
        held: Vec::new(),
    }
}
