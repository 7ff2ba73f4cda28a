//! Several jobs, and ever so many.

use super::rig::{Granted, Rig, grants, spec};
use crate::{Action, Config, Event};
use manyhands_protocol::{JobId, MergeMode, WorkerId};
use std::collections::{BTreeMap, VecDeque};

/// One worker answers blocks of two jobs, each task taking a slot `cost`.
fn shares(weights: [u32; 2], costs: [u64; 2]) -> f64 {
    let mut rig = Rig::new();
    let mut queue = VecDeque::new();
    for (at, weight) in weights.into_iter().enumerate() {
        let mut spec = spec(1 << 40, MergeMode::Reduce);
        spec.weight = weight;
        spec.max_block = 1 << 16;
        rig.submit(at as u64, spec);
    }
    queue.extend(grants(&rig.join(9, 1)));
    let mut time: BTreeMap<JobId, u64> = BTreeMap::new();
    for _ in 0..400 {
        let granted: Granted = queue.pop_front().unwrap();
        let took = costs[granted.job.0 as usize] << granted.node.level();
        rig.pass(took);
        *time.entry(granted.job).or_default() += took;
        let event = Event::Partial {
            worker: granted.worker,
            lease: granted.lease,
            node: granted.node,
            partial: String::new(),
            len: 0,
            busy_us: took,
        };
        queue.extend(grants(&rig.handle(event)));
    }
    time[&JobId(0)] as f64 / time[&JobId(1)] as f64
}

#[test]
fn jobs_share_a_worker_by_weight_whatever_their_tasks_cost() {
    let even = shares([100, 100], [30, 30]);
    assert!((0.9..1.1).contains(&even), "{even}");
    let unequal_costs = shares([100, 100], [1000, 30]);
    assert!((0.85..1.15).contains(&unequal_costs), "{unequal_costs}");
    let weighted = shares([300, 100], [30, 200]);
    assert!((2.6..3.4).contains(&weighted), "{weighted}");
}

#[test]
fn a_late_job_has_no_claim_to_the_past() {
    // Before it comes, few blocks are to wait at the worker.
    let mut rig = Rig::with(Config {
        max_depth: 8,
        ..Config::default()
    });
    let mut bounded = spec(1 << 40, MergeMode::Reduce);
    bounded.max_block = 1 << 10;
    rig.submit(1, bounded);
    let mut queue: VecDeque<Granted> = grants(&rig.join(9, 1)).into();
    let mut late = 0;
    for round in 0..200 {
        if round == 100 {
            queue.extend(grants(&rig.submit(2, bounded)));
        }
        let granted = queue.pop_front().unwrap();
        late += u64::from(granted.job == JobId(2));
        rig.pass(100 << granted.node.level());
        let event = Event::Partial {
            worker: granted.worker,
            lease: granted.lease,
            node: granted.node,
            partial: String::new(),
            len: 0,
            busy_us: 0,
        };
        queue.extend(grants(&rig.handle(event)));
    }
    assert!((35..65).contains(&late), "{late} of 100 blocks");
}

#[test]
fn ten_thousand_jobs_are_served_in_turn() {
    let mut scheduler = crate::Scheduler::<()>::new(crate::Config::default());
    let mut actions = Vec::new();
    let now = crate::Micros(0);
    for job in 0..10_000 {
        let job = JobId(job);
        let spec = spec(1, MergeMode::Concat);
        scheduler.handle(now, Event::JobSubmitted { job, spec }, &mut actions);
    }
    let (worker, capacity) = (WorkerId(1), super::rig::capacity(1));
    scheduler.handle(
        now,
        Event::WorkerJoined {
            worker,
            capacity,
            held: Vec::new(),
        },
        &mut actions,
    );
    let mut complete = Vec::new();
    while !actions.is_empty() {
        for action in std::mem::take(&mut actions) {
            match action {
                Action::Grant {
                    worker,
                    lease,
                    node,
                    ..
                } => {
                    let (partial, len, busy_us) = ((), 1, 0);
                    let event = Event::Partial {
                        worker,
                        lease,
                        node,
                        partial,
                        len,
                        busy_us,
                    };
                    scheduler.handle(now, event, &mut actions);
                }
                Action::Complete { job } => complete.push(job.0),
                _ => {}
            }
        }
    }
    complete.sort_unstable();
    assert_eq!(complete, (0..10_000).collect::<Vec<_>>());
}
