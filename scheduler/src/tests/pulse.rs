//! Pings: what they measure, and what becomes of workers that do not answer.

use super::rig::{Rig, grants};
use crate::{Action, Event};
use manyhands_protocol::{MergeMode, WorkerId};

const SECOND: u64 = 1_000_000;
const FIRST: WorkerId = WorkerId(1);

fn pong(rig: &mut Rig, worker: WorkerId) -> Vec<Action<String>> {
    rig.handle(Event::Pong { worker })
}

#[test]
fn a_ping_tells_the_round_trip_and_an_answer_that_nobody_asked_for_nothing() {
    let mut rig = Rig::new();
    rig.start(1000, MergeMode::Reduce, 2);
    assert_eq!(rig.pinged, [FIRST]);
    rig.pass(300_000);
    pong(&mut rig, FIRST);
    let measured = |rig: &Rig| rig.scheduler.workers[&FIRST].round_trip;
    assert_eq!(measured(&rig), 300_000);
    rig.pass(SECOND);
    pong(&mut rig, FIRST);
    assert_eq!(measured(&rig), 300_000);
    pong(&mut rig, WorkerId(9));
}

/// Lets a worker with leases fall silent, after it has answered once, until its
/// blocks go to another.
fn lost() -> (Rig, Vec<super::rig::Granted>) {
    let mut rig = Rig::new();
    let granted = rig.start(4, MergeMode::Reduce, 4);
    pong(&mut rig, FIRST);
    rig.join(2, 4);
    let begun = rig.now;
    let taken = loop {
        let taken = grants(&rig.tick(SECOND));
        if !taken.is_empty() {
            break taken;
        }
        // The other one is there.
        let worker = WorkerId(2);
        rig.handle(Event::Heard { worker });
    };
    let silent = rig.now.since(begun);
    assert!((2 * SECOND..5 * SECOND).contains(&silent), "{silent}");
    assert!(granted[0].node.contains(taken[0].node));
    assert_eq!(rig.pinged, [FIRST, WorkerId(2), FIRST]);
    assert!(rig.scheduler.worker(FIRST).unwrap().connected);
    (rig, granted)
}

#[test]
fn the_blocks_of_one_that_does_not_answer_go_to_others() {
    let (mut rig, granted) = lost();
    // What it had done is welcome all the same.
    let actions = rig.answer(granted[0]);
    assert!(
        matches!(&actions[0], Action::Accepted { used: Some(_), .. }),
        "{actions:?}"
    );
}

#[test]
fn one_that_is_heard_again_has_its_blocks_again() {
    let (mut rig, granted) = lost();
    assert_eq!(rig.scheduler.worker(FIRST).unwrap().leases, 0);
    pong(&mut rig, FIRST);
    let leases = rig.scheduler.worker(FIRST).unwrap().leases;
    assert_eq!(leases, granted.len());
}

#[test]
fn one_that_has_never_answered_is_left_to_the_deadline() {
    let mut rig = Rig::new();
    rig.start(4, MergeMode::Reduce, 4);
    rig.pass(20 * SECOND);
    assert_eq!(rig.tick(1), []);
    assert_eq!(rig.pinged, [FIRST]);
}
