//! What the scheduler's events cost, by the number of workers: `cargo bench
//! --package manyhands-scheduler`. Nothing but the scheduler runs.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use manyhands_protocol::message::EngineKind;
use manyhands_protocol::{JobId, LeaseId, MergeMode, Node, Tree, WorkerId};
use manyhands_scheduler::{Action, Capacity, Config, Event, JobSpec, Micros, Scheduler};
use std::collections::VecDeque;

const WORKERS: [u64; 4] = [10, 100, 1000, 10_000];

const JOB: JobId = JobId(1);

/// A scheduler whose workers answer in turn, each block a single task.
struct Rig {
    scheduler: Scheduler<()>,
    now: Micros,
    granted: VecDeque<(WorkerId, LeaseId, Node)>,
    actions: Vec<Action<()>>,
}

impl Rig {
    fn new(workers: u64) -> Self {
        let config = Config {
            native_target_us: 1,
            ..Config::default()
        };
        let mut rig = Self {
            scheduler: Scheduler::new(config),
            now: Micros(0),
            granted: VecDeque::new(),
            actions: Vec::new(),
        };
        let spec = JobSpec {
            tree: Tree::new(1 << 50).expect("fewer than 2^62 tasks"),
            merge: MergeMode::Reduce,
            weight: 100,
            memory: 0,
            simd: false,
            bytes_per_task: 0,
            max_block: u64::MAX,
        };
        rig.handle(Event::JobSubmitted { job: JOB, spec });
        for worker in 1..=workers {
            rig.handle(joined(WorkerId(worker)));
        }
        // Until all have been measured and have as many leases as they take.
        for _ in 0..workers * 20 {
            rig.block();
        }
        rig
    }

    /// Tells the scheduler something, and does what it asks for.
    fn handle(&mut self, event: Event<()>) {
        self.now = self.now + 1;
        let mut actions = std::mem::take(&mut self.actions);
        self.scheduler.handle(self.now, event, &mut actions);
        for action in actions.drain(..) {
            match action {
                Action::Grant {
                    worker,
                    lease,
                    node,
                    ..
                } => self.granted.push_back((worker, lease, node)),
                Action::Merge { job, node, .. } => self.handle(Event::Merged {
                    job,
                    node,
                    partial: (),
                    len: 8,
                }),
                other => drop(black_box(other)),
            }
        }
        if self.actions.capacity() == 0 {
            self.actions = actions;
        }
    }

    /// The oldest block is handed in: its partial, the merges that this allows,
    /// the next grants.
    fn block(&mut self) {
        let (worker, lease, node) = self.granted.pop_front().expect("all have work");
        self.handle(Event::Partial {
            worker,
            lease,
            node,
            partial: (),
            len: 8,
            busy_us: 50_000,
        });
    }
}

fn joined(worker: WorkerId) -> Event<()> {
    Event::WorkerJoined {
        worker,
        capacity: Capacity {
            engine: EngineKind::Native,
            slots: 4,
            memory: 1 << 40,
            simd: true,
            hidden: false,
        },
        held: Vec::new(),
    }
}

/// Completed blocks, a thousand at a time: two events each, since there is nearly a
/// merge for every block.
#[divan::bench(args = WORKERS)]
fn block(bencher: Bencher<'_, '_>, workers: u64) {
    let mut rig = Rig::new(workers);
    bencher
        .counter(ItemsCount::new(1000u32))
        .bench_local(move || (0..1000).for_each(|_| rig.block()));
}

/// A sign of life.
#[divan::bench(args = WORKERS)]
fn heard(bencher: Bencher<'_, '_>, workers: u64) {
    let mut rig = Rig::new(workers);
    let mut next = 0;
    bencher.counter(ItemsCount::new(1u32)).bench_local(move || {
        next = next % workers + 1;
        let worker = WorkerId(next);
        rig.handle(Event::Heard { worker });
    });
}

/// A worker that joins, is given work, and leaves: two events.
#[divan::bench(args = WORKERS)]
fn come_and_go(bencher: Bencher<'_, '_>, workers: u64) {
    let mut rig = Rig::new(workers);
    let mut next = workers;
    bencher.counter(ItemsCount::new(2u32)).bench_local(move || {
        next += 1;
        let worker = WorkerId(next);
        let before = rig.granted.len();
        rig.handle(joined(worker));
        rig.granted.truncate(before);
        rig.handle(Event::WorkerLeft { worker });
    });
}

fn main() {
    divan::main();
}
