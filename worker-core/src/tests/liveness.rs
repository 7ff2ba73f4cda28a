//! Who is heard when: signs of life, connections that lead nowhere, sleep.

use super::coordinator::{ALIVE_MS, Coordinator};
use super::world::World;
use crate::{ConnectionView, Input, Micros, Reason};
use manyhands_protocol::Node;
use manyhands_protocol::message::{MergeMode, ToCoordinator, ToWorker};

const ALIVE: u64 = ALIVE_MS * 1000;
/// Three times as long, which is between the bounds.
const SILENCE: u64 = 3 * ALIVE;
const SLEEPS: [u64; 2] = [600_000_000, 36_000_000_000];

fn welcomed() -> World {
    let mut world = World::welcomed(2, Coordinator::new(64, MergeMode::Reduce));
    world.heard();
    world
}

fn alives(world: &mut World) -> usize {
    let heard = world.heard();
    let alive = |message: &&ToCoordinator| **message == ToCoordinator::Alive;
    heard.iter().filter(alive).count()
}

#[test]
fn an_idle_worker_asks_and_is_answered() {
    let mut world = welcomed();
    for at in 1..=100 {
        world.wait();
        assert_eq!(world.now, at * ALIVE, "one at a time");
        assert_eq!(world.heard(), [ToCoordinator::Alive]);
        assert!(world.deliver());
    }
    assert_eq!(world.disconnects, []);
}

#[test]
fn alive_is_said_when_either_side_was_silent() {
    // Only this side was.
    let mut world = welcomed();
    world.now = ALIVE / 2;
    world.tell(&ToWorker::Alive);
    assert_eq!(world.heard(), [], "an answer is not answered");
    assert_eq!(world.session.next_deadline(), Some(Micros(ALIVE)));
    // Only the other side was.
    world.handle(Input::Capacity {
        slots: 1,
        hidden: false,
    });
    world.heard();
    world.now = ALIVE;
    world.tell(&ToWorker::Alive);
    world.now = ALIVE + ALIVE / 2;
    world.handle(Input::Capacity {
        slots: 2,
        hidden: false,
    });
    world.heard();
    world.now = 2 * ALIVE - 1;
    world.handle(Input::Tick);
    assert_eq!(world.heard(), []);
    world.now = 2 * ALIVE;
    world.handle(Input::Tick);
    assert_eq!(world.heard(), [ToCoordinator::Alive]);
}

#[test]
fn an_idle_connection_that_leads_nowhere_is_given_up() {
    let mut world = welcomed();
    world.coordinator.answers = false;
    while world.disconnects.is_empty() {
        world.wait();
    }
    assert_eq!(world.disconnects, [Reason::Silent(SILENCE / 1_000_000)]);
    assert_eq!(world.now, ALIVE + SILENCE);
    assert_eq!(alives(&mut world), 3, "at most one in so much time");
    world.wait();
    assert!(world.connecting);
}

#[test]
fn a_busy_connection_that_leads_nowhere_is_given_up() {
    let mut world = welcomed();
    world.coordinator.answers = false;
    world.coordinator.accepts = false;
    world.coordinator.grant(Node::new(5, 0).unwrap());
    world.run_dry();
    let since = world.now;
    while world.disconnects.is_empty() {
        world.wait();
    }
    assert!(world.now - since <= 30_000_000, "{} µs", world.now - since);
    assert!(world.session.view().retained_bytes > 0);
}

#[test]
fn a_coordinator_that_answers_may_keep_us_waiting() {
    let mut world = welcomed();
    world.coordinator.accepts = false;
    world.coordinator.grant(Node::new(5, 0).unwrap());
    world.run_dry();
    for _ in 0..100 {
        world.wait();
        world.deliver_all();
    }
    assert_eq!(world.disconnects, [], "its disk may be full");
}

#[test]
fn who_wakes_connected_asks_and_waits() {
    for sleep in SLEEPS {
        for asked in [false, true] {
            let mut world = welcomed();
            world.coordinator.answers = false;
            if asked {
                world.wait();
            }
            world.heard();
            world.now += sleep;
            world.handle(Input::Tick);
            let woke = world.now;
            assert_eq!(world.heard(), [ToCoordinator::Alive], "one for all of it");
            assert_eq!(world.disconnects, [], "the silence was this side's");
            assert_eq!(world.session.next_deadline(), Some(Micros(woke + ALIVE)));
            while world.disconnects.is_empty() {
                world.wait();
            }
            assert_eq!(world.now - woke, SILENCE);
        }
    }
}

#[test]
fn who_wakes_and_is_answered_goes_on() {
    for sleep in SLEEPS {
        let mut world = welcomed();
        let root = world.coordinator.tree.root().unwrap();
        world.coordinator.grant(root);
        world.coordinator.free.clear();
        world.deliver_all();
        world.load_all();
        world.end_slot(0);
        world.wait();
        world.heard();
        world.now += sleep;
        world.handle(Input::Tick);
        let heard = world.heard();
        assert!(heard.len() <= 2, "progress and a sign of life: {heard:?}");
        assert!(heard.contains(&ToCoordinator::Alive));
        // What was held up by the sleep does not make this a slow machine.
        let awake = std::mem::replace(&mut world.task_us, sleep);
        world.end_slot(0);
        world.end_slot(1);
        world.task_us = awake;
        let given = world.slots.values().next().expect("it goes on");
        let crate::Work::Run { tasks, .. } = &given.work else {
            panic!("{given:?}");
        };
        assert!(tasks.end - tasks.start > 1, "{tasks:?}");
        world.run_dry();
        assert_eq!(world.disconnects, []);
        assert!(world.coordinator.result.is_some());
    }
}

#[test]
fn who_wakes_waiting_tries_once_and_soon_again() {
    for sleep in SLEEPS {
        let mut world = World::new(1, Coordinator::new(1, MergeMode::Reduce));
        while world.now < 300_000_000 {
            world.connecting = false;
            world.handle(Input::Disconnected);
            world.wait();
        }
        world.connecting = false;
        world.handle(Input::Disconnected);
        world.now += sleep;
        world.handle(Input::Tick);
        assert!(world.connecting, "one socket");
        world.handle(Input::Tick);
        // The network is not up yet.
        world.connecting = false;
        world.handle(Input::Disconnected);
        let ConnectionView::Waiting { until, .. } = world.session.view().connection else {
            panic!("it waits");
        };
        assert!(until.0 - world.now <= 250_000);
        // It sleeps again while the socket opens.
        world.wait();
        world.now += sleep;
        world.handle(Input::Tick);
        assert_eq!(world.disconnects, []);
        world.connect();
        world.now += sleep;
        world.deliver_all();
        assert_eq!(world.session.view().connection, ConnectionView::Welcome);
    }
}

#[test]
fn late_timers_of_a_hidden_page_are_no_sleep() {
    let mut world = welcomed();
    for _ in 0..10 {
        world.now += 60_000_000;
        world.handle(Input::Tick);
        assert_eq!(alives(&mut world), 1);
        assert!(world.deliver(), "frames come all the same");
    }
    assert_eq!(world.disconnects, []);
    world.coordinator.answers = false;
    for _ in 0..2 {
        world.now += 60_000_000;
        world.handle(Input::Tick);
    }
    assert_eq!(world.disconnects.len(), 1, "asked a minute ago");
}
