//! Workers that fail block after block, and jobs that fail on honest workers.

use super::rig::{Granted, Rig, accepted, failure, grants, spec};
use crate::{Action, Config, Event, Micros, Quarantine, Waiting};
use manyhands_protocol::{FailureKind, JobId, MergeMode, WorkerId};
use std::collections::VecDeque;

const SECOND: u64 = 1_000_000;
const BAD: WorkerId = WorkerId(1);
const GOOD: WorkerId = WorkerId(2);

/// Two workers at a job of single tasks. What each holds is in `held`.
struct Pair {
    rig: Rig,
    held: VecDeque<Granted>,
    seen: Vec<Action<String>>,
}

impl Pair {
    fn new(config: Config) -> Self {
        let mut pair = Self {
            rig: Rig::with(config),
            held: VecDeque::new(),
            seen: Vec::new(),
        };
        let mut single = spec(1 << 20, MergeMode::Reduce);
        single.max_block = 1;
        pair.rig.submit(1, single);
        for worker in [BAD, GOOD] {
            let actions = pair.rig.join(worker.0, 1);
            pair.note(actions);
        }
        pair
    }

    fn note(&mut self, actions: Vec<Action<String>>) {
        self.held.extend(grants(&actions));
        self.seen = actions;
    }

    fn take(&mut self, worker: WorkerId) -> Granted {
        let at = self.held.iter().position(|held| held.worker == worker);
        self.held.remove(at.expect("it holds a lease")).unwrap()
    }

    fn answers(&mut self, granted: Granted) {
        let actions = self.rig.answer(granted);
        self.note(actions);
    }

    /// The bad one fails at a task and the good one answers till that is done.
    fn strike(&mut self) {
        let guilty = self.take(BAD);
        self.rig.pass(1000);
        let actions = self.rig.fail(guilty, guilty.node, FailureKind::Crash);
        self.note(actions);
        while self.rig.scheduler.jobs[&JobId(1)].blocks.lacks(guilty.node) {
            let next = self.take(GOOD);
            self.rig.pass(1000);
            self.answers(next);
        }
    }

    /// The bad one returns what it was asked back.
    fn give_back(&mut self) {
        for held in std::mem::take(&mut self.held) {
            if held.worker == GOOD {
                self.held.push_back(held);
            } else {
                assert_eq!(grants(&self.rig.give_back(held)), []);
            }
        }
    }

    fn quarantine(&self) -> Option<Quarantine> {
        self.rig.scheduler.worker(BAD).unwrap().quarantine
    }

    /// Both say that they live until `at`; gives the grants of the bad one.
    fn wait(&mut self, at: Micros) -> usize {
        while self.rig.now < at {
            self.rig.now = at.min(self.rig.now + 10 * SECOND);
            for worker in [BAD, GOOD] {
                let actions = self.rig.handle(Event::Heard { worker });
                self.note(actions);
            }
        }
        self.held.iter().filter(|held| held.worker == BAD).count()
    }
}

#[test]
fn five_failures_in_a_row_that_work_elsewhere_quarantine_a_worker() {
    let mut pair = Pair::new(Config::default());
    for _ in 0..4 {
        pair.strike();
        assert_eq!(pair.quarantine(), None);
    }
    pair.strike();
    let until = pair.rig.now + 60 * SECOND;
    let quarantine = Quarantine {
        until,
        strikes: 5,
        failure: failure(FailureKind::Crash),
    };
    assert_eq!(pair.quarantine(), Some(quarantine));
    assert_eq!(pair.quarantine(), pair.quarantine());
    // Its lease is free and asked back; the answer is welcome all the same.
    let late = pair.take(BAD);
    let (worker, lease) = (late.worker, late.lease);
    assert!(pair.seen.contains(&Action::Revoke { worker, lease }));
    let progress = pair.rig.scheduler.worker(BAD).unwrap();
    assert_eq!((progress.leases, progress.connected), (0, true));
    pair.answers(late);
    assert_eq!(pair.seen[0], accepted(late, late.node, true));
    assert!(pair.quarantine().is_some());
    assert!(grants(&pair.seen).iter().all(|held| held.worker == GOOD));
    pair.give_back();
    assert_eq!(pair.wait(Micros(until.0 - 1)), 0);
    assert!(pair.wait(until) > 0, "it is over");
    assert_eq!(pair.quarantine(), None);
}

#[test]
fn each_further_quarantine_is_twice_as_long_and_takes_one_strike() {
    let mut pair = Pair::new(Config {
        strikes: 2,
        ..Config::default()
    });
    pair.strike();
    let mut length = 60 * SECOND;
    for _ in 0..9 {
        assert_eq!(pair.quarantine(), None);
        pair.strike();
        let until = pair.quarantine().unwrap().until;
        assert_eq!(until, pair.rig.now + length.min(3600 * SECOND));
        pair.give_back();
        pair.wait(until);
        length *= 2;
    }
}

#[test]
fn a_used_partial_wipes_the_strikes_out() {
    let mut pair = Pair::new(Config::default());
    for _ in 0..3 {
        for _ in 0..4 {
            pair.strike();
        }
        let honest = pair.take(BAD);
        pair.rig.pass(1000);
        pair.answers(honest);
        assert_eq!(pair.seen[0], accepted(honest, honest.node, true));
    }
    assert_eq!(pair.quarantine(), None);
}

#[test]
fn a_job_that_fails_gives_no_strikes_and_takes_back_what_it_gave() {
    for strikes in [2, 3] {
        let mut pair = Pair::new(Config {
            strikes,
            ..Config::default()
        });
        pair.strike();
        pair.strike();
        assert_eq!(pair.quarantine().is_some(), strikes == 2);
        let mut other = spec(1 << 20, MergeMode::Reduce);
        other.max_block = 1;
        let actions = pair.rig.submit(2, other);
        pair.note(actions);
        let guilty = pair.take(GOOD);
        let kind = FailureKind::Error;
        let actions = pair.rig.fail(guilty, guilty.node, kind);
        pair.note(actions);
        // Whoever has it next fails too.
        while !pair
            .seen
            .iter()
            .any(|action| matches!(action, Action::JobFailed { .. }))
        {
            let at = pair.held.iter().position(|held| held.node == guilty.node);
            let actions = match at.and_then(|at| pair.held.remove(at)) {
                Some(again) => pair.rig.fail(again, again.node, kind),
                None => {
                    let next = pair.take(if strikes == 2 { GOOD } else { BAD });
                    pair.rig.pass(1000);
                    pair.rig.give_back(next);
                    pair.rig.tick(2 * SECOND)
                }
            };
            pair.note(actions);
        }
        assert_eq!(pair.quarantine(), None, "the job was to blame");
        pair.held.retain(|held| held.job == JobId(2));
        assert!(!pair.held.is_empty());
        let conduct = &pair.rig.scheduler.workers[&BAD].conduct;
        assert_eq!(conduct.until(), None);
    }
}

#[test]
fn who_is_quarantined_counts_for_nothing() {
    let mut pair = Pair::new(Config {
        strikes: 1,
        ..Config::default()
    });
    pair.strike();
    let scheduler = &pair.rig.scheduler;
    assert_eq!(scheduler.slots_of(&scheduler.jobs[&JobId(1)]), 1);
    // The only other who has not failed at it is quarantined: the good one
    // tries again itself.
    let failing = pair.take(GOOD);
    let actions = pair.rig.fail(failing, failing.node, FailureKind::Timeout);
    let again = grants(&actions);
    assert_eq!((again[0].worker, again[0].node), (GOOD, failing.node));
    let waiting = |pair: &Pair| pair.rig.scheduler.waiting(JobId(1));
    assert_eq!(waiting(&pair), None);
    pair.rig.handle(Event::WorkerLeft { worker: GOOD });
    assert_eq!(waiting(&pair), Some(Waiting::Quarantined));
    // Back with its leases: they do not become its own again.
    pair.rig.handle(Event::WorkerDisconnected { worker: BAD });
    let held: Vec<_> = pair.held.iter().filter(|held| held.worker == BAD).collect();
    let held: Vec<_> = held.iter().map(|held| held.lease).collect();
    assert!(!held.is_empty());
    let actions = pair.rig.handle(Event::WorkerResumed {
        worker: BAD,
        capacity: super::rig::capacity(1),
        held: held.clone(),
    });
    let revoked = held.iter().map(|lease| Action::Revoke {
        worker: BAD,
        lease: *lease,
    });
    assert_eq!(actions, revoked.collect::<Vec<_>>());
    assert_eq!(pair.rig.scheduler.worker(BAD).unwrap().leases, 0);
}
