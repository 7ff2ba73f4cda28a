//! Workers that fall silent, come back, pause and leave; memory and SIMD.

use super::rig::{Granted, Rig, capacity, grants, revoke, spec};
use crate::{Action, Event, Micros, Reason, Waiting};
use manyhands_protocol::{JobId, LeaseId, MergeMode, WorkerId};

const SECOND: u64 = 1_000_000;

fn resume(worker: u64, held: &[Granted]) -> Event<String> {
    let held: Vec<LeaseId> = held.iter().map(|held| held.lease).collect();
    let worker = WorkerId(worker);
    Event::WorkerResumed {
        worker,
        capacity: capacity(2),
        held,
    }
}

#[test]
fn a_goodbye_frees_leases_at_once() {
    let mut rig = Rig::new();
    let granted = rig.start(4, MergeMode::Reduce, 2);
    assert_eq!(rig.join(2, 2), [revoke(granted[1])]);
    let actions = rig.handle(Event::WorkerLeft {
        worker: WorkerId(1),
    });
    let again = grants(&actions);
    assert_eq!(again[0].node, granted[0].node);
    assert_eq!(again.len(), actions.len());
    assert_eq!(rig.scheduler.job(rig.now, JobId(1)).unwrap().retries, 2);
    assert_eq!(rig.scheduler.workers().collect::<Vec<_>>(), [WorkerId(2)]);
}

#[test]
fn a_bare_close_frees_leases_after_two_seconds() {
    let mut rig = Rig::new();
    let granted = rig.start(4, MergeMode::Reduce, 2);
    let worker = WorkerId(1);
    assert_eq!(rig.handle(Event::WorkerDisconnected { worker }), []);
    assert_eq!(rig.join(2, 2), []);
    while rig.now < Micros(2 * SECOND - 1) {
        assert_eq!(rig.tick((2 * SECOND - 1) - rig.now.0), []);
    }
    assert_eq!(grants(&rig.tick(1))[0].node, granted[0].node);
    assert!(!rig.scheduler.worker(worker).unwrap().connected);
    // The session goes on for ten minutes.
    rig.handle(Event::WorkerLeft {
        worker: WorkerId(2),
    });
    assert_eq!(rig.tick(3600 * SECOND), [Action::SessionEnded { worker }]);
    assert_eq!(rig.now, Micros(600 * SECOND));
    assert_eq!(rig.scheduler.next_deadline(), None);
}

#[test]
fn a_worker_that_is_back_in_time_keeps_what_it_holds() {
    let mut rig = Rig::new();
    let granted = rig.start(4, MergeMode::Reduce, 2);
    rig.handle(Event::WorkerDisconnected {
        worker: WorkerId(1),
    });
    rig.pass(SECOND);
    // One of two was lost: it is granted anew.
    let actions = rig.handle(resume(1, &granted[..1]));
    let again = grants(&actions);
    assert_eq!((again.len(), actions.len()), (1, 1));
    assert_eq!(again[0].node, granted[1].node);
    assert_ne!(again[0].lease, granted[1].lease);
    assert_eq!(rig.tick(5 * SECOND), []);
}

#[test]
fn a_worker_that_is_back_late_goes_on_where_nobody_else_has() {
    let mut rig = Rig::new();
    let granted = rig.start(4, MergeMode::Reduce, 2);
    rig.handle(Event::WorkerDisconnected {
        worker: WorkerId(1),
    });
    assert_eq!(rig.tick(5 * SECOND), []);
    assert_eq!(rig.scheduler.job(rig.now, JobId(1)).unwrap().running, 0);
    assert_eq!(rig.handle(resume(1, &granted)), []);
    assert_eq!(rig.scheduler.job(rig.now, JobId(1)).unwrap().running, 4);
    assert_eq!(rig.scheduler.worker(WorkerId(1)).unwrap().leases, 2);
}

#[test]
fn who_was_away_at_a_jobs_end_hears_of_it_later() {
    let mut rig = Rig::new();
    let granted = rig.start(4, MergeMode::Reduce, 2);
    rig.handle(Event::WorkerDisconnected {
        worker: WorkerId(1),
    });
    let job = JobId(1);
    assert_eq!(rig.handle(Event::JobCancelled { job }), []);
    let forget = Action::Forget {
        worker: WorkerId(1),
        job,
    };
    assert_eq!(rig.handle(resume(1, &granted)), [forget]);
    assert_eq!(rig.handle(resume(1, &[])), []);
}

#[test]
fn silence_ends_a_connection_and_any_byte_prevents_it() {
    let mut rig = Rig::new();
    rig.start(4, MergeMode::Reduce, 2);
    let worker = WorkerId(1);
    for _ in 0..3 {
        rig.pass(20 * SECOND);
        assert_eq!(rig.handle(Event::Heard { worker }), []);
    }
    assert_eq!(rig.tick(29 * SECOND), []);
    let mut actions = Vec::new();
    while actions.is_empty() {
        actions = rig.tick(60 * SECOND);
    }
    let reason = Reason::Silent(30);
    assert_eq!(actions, [Action::Disconnect { worker, reason }]);
    assert_eq!(rig.now, Micros(90 * SECOND));
    assert_eq!(rig.scheduler.job(rig.now, JobId(1)).unwrap().running, 0);
    assert_eq!(rig.handle(Event::WorkerDisconnected { worker }), []);
    assert_eq!(grants(&rig.handle(resume(1, &[]))).len(), 2);
}

#[test]
fn a_hidden_page_may_be_silent_for_minutes() {
    let mut rig = Rig::new();
    rig.start(1, MergeMode::Reduce, 2);
    let worker = WorkerId(1);
    let hidden = Event::WorkerCapacity {
        worker,
        slots: 2,
        hidden: true,
    };
    assert_eq!(rig.handle(hidden), []);
    assert_eq!(rig.tick(299 * SECOND), []);
    rig.now = Micros(300 * SECOND);
    let reason = Reason::Silent(300);
    assert_eq!(
        rig.handle(Event::Tick),
        [Action::Disconnect { worker, reason }]
    );
}

#[test]
fn a_paused_worker_keeps_its_leases_and_gets_none() {
    let mut rig = Rig::new();
    let granted = rig.start(1 << 20, MergeMode::Reduce, 2);
    let worker = WorkerId(1);
    let pause = |slots| Event::WorkerCapacity {
        worker,
        slots,
        hidden: false,
    };
    assert_eq!(rig.handle(pause(0)), []);
    assert_eq!(rig.answer(granted[0]).len(), 1);
    assert_eq!(rig.give_back(granted[1]), []);
    assert_eq!(rig.scheduler.waiting(JobId(1)), Some(Waiting::Paused));
    assert_eq!(rig.tick(2 * SECOND), []);
    assert!(!grants(&rig.handle(pause(1))).is_empty());
}

#[test]
fn a_job_waits_for_a_worker_it_fits() {
    let mut rig = Rig::new();
    let mut demanding = spec(4, MergeMode::Reduce);
    (demanding.memory, demanding.simd) = (1 << 30, true);
    rig.submit(1, demanding);
    let waiting = |rig: &Rig| rig.scheduler.waiting(JobId(1));
    assert_eq!(waiting(&rig), Some(Waiting::Worker));
    let join = |rig: &mut Rig, worker, memory, simd| {
        let worker = WorkerId(worker);
        let mut capacity = capacity(2);
        (capacity.memory, capacity.simd) = (memory, simd);
        rig.handle(Event::WorkerJoined {
            worker,
            capacity,
            held: Vec::new(),
        })
    };
    assert_eq!(join(&mut rig, 1, 1 << 29, true), []);
    assert_eq!(waiting(&rig), Some(Waiting::Memory(1 << 30)));
    assert_eq!(join(&mut rig, 2, 1 << 30, false), []);
    assert_eq!(waiting(&rig), Some(Waiting::Simd));
    let granted = grants(&join(&mut rig, 3, 1 << 30, true));
    assert_eq!(
        (granted[0].worker, granted[0].node.first()),
        (WorkerId(3), 0)
    );
    assert_eq!(waiting(&rig), None);
}
