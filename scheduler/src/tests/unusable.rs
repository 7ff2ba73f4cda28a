//! Jobs that some workers, or all, cannot run.

use super::rig::{Granted, Rig, capacity, failure, grants, spec};
use crate::{Action, Event, Phase, Waiting};
use manyhands_protocol::{FailureKind, JobId, LeaseId, MergeMode, WorkerId};
use std::collections::VecDeque;

const JOB: JobId = JobId(1);
const SECOND: u64 = 1_000_000;

fn cannot(rig: &mut Rig, worker: u64) -> Vec<Action<String>> {
    rig.handle(Event::Unusable {
        worker: WorkerId(worker),
        job: JOB,
        failure: failure(FailureKind::Crash),
    })
}

fn waiting(rig: &Rig) -> Option<Waiting> {
    rig.scheduler.waiting(JOB)
}

#[test]
fn one_good_worker_does_what_three_cannot_run() {
    let mut rig = Rig::new();
    let mut granted: VecDeque<Granted> = rig.start(64, MergeMode::Reduce, 2).into();
    for bad in 2..=4 {
        rig.join(bad, 2);
    }
    for bad in 2..=4 {
        // It has been granted something, or is sooner or later.
        rig.scheduler
            .workers
            .get_mut(&WorkerId(bad))
            .unwrap()
            .known
            .insert(JOB);
        let actions = cannot(&mut rig, bad);
        assert_eq!(grants(&actions), [], "{actions:?}");
    }
    let scheduler = &rig.scheduler;
    assert_eq!(scheduler.slots_of(&scheduler.jobs[&JOB]), 2);
    assert_eq!(waiting(&rig), None);
    let mut answers = 0;
    while rig.scheduler.job(rig.now, JOB).unwrap().phase == Phase::Running {
        let next = granted.pop_front().expect("the good one has work");
        rig.pass(1000);
        let actions = rig.answer(next);
        answers += 1;
        for granted in grants(&actions) {
            assert_eq!(granted.worker, WorkerId(1));
        }
        granted.extend(grants(&actions));
        for action in actions {
            if let Action::Merge { job, node, .. } = action {
                let (partial, len) = (String::new(), 0);
                let merged = Event::Merged {
                    job,
                    node,
                    partial,
                    len,
                };
                granted.extend(grants(&rig.handle(merged)));
            }
        }
        assert!(answers < 200);
        if rig.scheduler.job(rig.now, JOB).unwrap().done == 64 {
            return;
        }
    }
    panic!("the job ended early");
}

#[test]
fn its_leases_are_free_at_once_and_nobody_is_to_blame() {
    let mut rig = Rig::new();
    let granted = rig.start(2, MergeMode::Concat, 1);
    assert_eq!(granted.len(), 2);
    assert_eq!(grants(&rig.join(2, 1)), []);
    let again = grants(&cannot(&mut rig, 1));
    assert_eq!(again.len(), 2, "both go to the other");
    assert!(again.iter().all(|held| held.worker == WorkerId(2)));
    assert!(rig.scheduler.jobs[&JOB].attempts.is_empty());
    // The worker gives them back too: that means nothing any more.
    assert_eq!(rig.give_back(granted[0]), []);
    assert!(rig.scheduler.workers[&WorkerId(1)].available(rig.now));
    let unfit: Vec<_> = rig.scheduler.unfit(JOB).collect();
    assert_eq!(unfit, [(WorkerId(1), &failure(FailureKind::Crash))]);
    // Said again, or of a job that it was not granted, it changes nothing.
    assert_eq!(cannot(&mut rig, 1), []);
    let (worker, job) = (WorkerId(1), JobId(7));
    let failure = failure(FailureKind::Crash);
    let event = Event::Unusable {
        worker,
        job,
        failure,
    };
    assert_eq!(rig.handle(event), []);
}

#[test]
fn it_holds_for_the_session_and_the_job_waits_for_another() {
    let mut rig = Rig::new();
    rig.start(8, MergeMode::Reduce, 2);
    assert_eq!(cannot(&mut rig, 1), []);
    assert_eq!(waiting(&rig), Some(Waiting::Unusable(1)));
    let text = "waiting for a worker that can run it: 1 cannot";
    assert_eq!(waiting(&rig).unwrap().to_string(), text);
    let worker = WorkerId(1);
    rig.handle(Event::WorkerDisconnected { worker });
    assert_eq!(waiting(&rig), Some(Waiting::Worker));
    let resumed = Event::WorkerResumed {
        worker,
        capacity: capacity(2),
        held: Vec::new(),
    };
    assert_eq!(rig.handle(resumed), [], "not on this session");
    let (slots, hidden) = (4, false);
    let more = Event::WorkerCapacity {
        worker,
        slots,
        hidden,
    };
    assert_eq!(rig.handle(more), []);
    assert_eq!(rig.tick(20 * SECOND), []);
    // Other jobs are no matter, nor is another session.
    assert!(!grants(&rig.submit(2, spec(8, MergeMode::Reduce))).is_empty());
    rig.handle(Event::WorkerLeft { worker });
    let again = grants(&rig.join(2, 2));
    assert!(again.iter().any(|held| held.job == JOB));
    assert_eq!(waiting(&rig), None);
}

#[test]
fn what_nobody_can_run_fails() {
    let mut rig = Rig::new();
    rig.start(8, MergeMode::Reduce, 2);
    for worker in 1..=2 {
        if worker > 1 {
            assert!(!grants(&rig.join(worker, 2)).is_empty());
        }
        assert_eq!(cannot(&mut rig, worker), []);
    }
    assert!(!grants(&rig.join(3, 2)).is_empty());
    // While there is one who may yet run it, it goes on.
    let mut small = capacity(2);
    small.memory = 1;
    for (worker, capacity) in [(4, small), (5, capacity(0))] {
        rig.handle(Event::WorkerJoined {
            worker: WorkerId(worker),
            capacity,
            held: Vec::new(),
        });
    }
    assert_eq!(cannot(&mut rig, 3), []);
    assert_eq!(waiting(&rig), Some(Waiting::Paused));
    // The one that paused leaves.
    let actions = rig.handle(Event::WorkerLeft {
        worker: WorkerId(5),
    });
    let failed = Action::JobFailed {
        job: JOB,
        task: None,
        failure: failure(FailureKind::Crash),
    };
    assert_eq!(actions[0], failed);
    assert_eq!(
        rig.scheduler.job(rig.now, JOB).unwrap().phase,
        Phase::Failed
    );
}

#[test]
fn two_of_three_are_not_enough_and_the_third_is_the_last_word() {
    let mut rig = Rig::new();
    rig.start(8, MergeMode::Reduce, 2);
    for worker in 2..=3 {
        cannot(&mut rig, worker - 1);
        rig.join(worker, 2);
    }
    let actions = cannot(&mut rig, 3);
    assert!(matches!(actions[0], Action::JobFailed { task: None, .. }));
    assert_eq!(cannot(&mut rig, 3), []);
}

#[test]
fn who_cannot_run_it_is_no_other_to_leave_a_task_to() {
    let mut rig = Rig::new();
    let granted = rig.start(2, MergeMode::Concat, 1);
    rig.join(2, 1);
    rig.scheduler
        .workers
        .get_mut(&WorkerId(2))
        .unwrap()
        .known
        .insert(JOB);
    cannot(&mut rig, 2);
    let again = grants(&rig.fail(granted[0], granted[0].node, FailureKind::Memory));
    assert_eq!(
        (again[0].worker, again[0].node),
        (WorkerId(1), granted[0].node)
    );
}

#[test]
fn leases_of_another_incarnation_are_freed_too() {
    let mut rig = Rig::with(crate::Config {
        incarnation: manyhands_protocol::Incarnation(2),
        ..crate::Config::default()
    });
    rig.submit(1, spec(4, MergeMode::Reduce));
    let lease = LeaseId {
        incarnation: manyhands_protocol::Incarnation(1),
        counter: 3,
    };
    let node = super::rig::node(2, 0);
    rig.handle(Event::WorkerJoined {
        worker: WorkerId(1),
        capacity: capacity(4),
        held: vec![(lease, JOB, node)],
    });
    assert_eq!(rig.scheduler.job(rig.now, JOB).unwrap().running, 4);
    assert!(rig.scheduler.holds(WorkerId(1), lease));
    assert_eq!(cannot(&mut rig, 1), []);
    assert_eq!(rig.scheduler.job(rig.now, JOB).unwrap().running, 0);
    assert!(!rig.scheduler.holds(WorkerId(1), lease));
}
