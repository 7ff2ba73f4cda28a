//! Pausing, draining, leaving.

use super::coordinator::Coordinator;
use super::world::World;
use crate::{End, Input, Micros};
use manyhands_protocol::Node;
use manyhands_protocol::message::{MergeMode, ToCoordinator};

const HOURS: Micros = Micros::from_millis(10_000_000);

/// One lease half done on two slots, one not begun.
fn at_work(merge: MergeMode) -> World {
    let mut world = World::welcomed(2, Coordinator::new(64, merge));
    world.coordinator.grant(Node::new(5, 0).unwrap());
    world.coordinator.grant(Node::new(5, 1).unwrap());
    world.coordinator.free.clear();
    world.deliver_all();
    world.load_all();
    world.end_slot(0);
    assert_eq!(world.slots.len(), 2);
    world.heard();
    world
}

fn free_tasks(world: &World) -> u64 {
    let free = world.coordinator.free.iter();
    free.map(|node| world.coordinator.tree.len(*node)).sum()
}

fn handed_tasks(world: &World) -> u64 {
    let handed = world.coordinator.handed.iter();
    handed
        .map(|(_, node, _)| world.coordinator.tree.len(*node))
        .sum()
}

#[test]
fn draining_hands_in_what_is_done_and_returns_the_rest() {
    for merge in [MergeMode::Reduce, MergeMode::Concat] {
        let mut world = at_work(merge);
        world.handle(Input::Drain { by: HOURS });
        assert_eq!(free_tasks(&world), 32, "what has not begun, at once");
        assert_eq!(world.finished, None);
        world.run_dry();
        assert_eq!(world.finished, Some(End::Drained));
        let heard = world.heard();
        assert_eq!(heard.last(), Some(&ToCoordinator::Goodbye));
        let slots = [0, 0];
        let hidden = false;
        assert_eq!(heard[0], ToCoordinator::Capacity { slots, hidden });
        assert!(handed_tasks(&world) >= 12, "three pieces");
        assert_eq!(handed_tasks(&world) + free_tasks(&world), 64);
        assert_eq!(world.coordinator.leases(), []);
        assert_eq!(world.session.next_deadline(), None);
    }
}

#[test]
fn an_idle_worker_leaves_at_once() {
    let mut world = World::welcomed(2, Coordinator::new(64, MergeMode::Reduce));
    world.handle(Input::Drain { by: HOURS });
    assert_eq!(world.finished, Some(End::Drained));
    assert_eq!(world.heard().last(), Some(&ToCoordinator::Goodbye));
    // One that is not even connected, too.
    let mut world = World::new(2, Coordinator::new(64, MergeMode::Reduce));
    world.handle(Input::Drain { by: HOURS });
    assert_eq!(world.finished, Some(End::Drained));
    assert_eq!(world.heard(), []);
}

#[test]
fn time_that_is_up_leaves_at_once() {
    let mut world = at_work(MergeMode::Reduce);
    world.handle(Input::Drain { by: HOURS });
    assert_eq!(world.finished, None);
    assert!(world.session.next_deadline() <= Some(HOURS));
    world.handle(Input::Drain {
        by: Micros(world.now),
    });
    assert_eq!(world.finished, Some(End::Drained));
    assert!(world.slots.values().all(|given| given.cancelled));
    assert_eq!(world.heard().last(), Some(&ToCoordinator::Goodbye));
    assert_eq!(free_tasks(&world) + handed_tasks(&world), 64);
}

#[test]
fn a_pause_gives_back_and_ends() {
    let mut world = at_work(MergeMode::Reduce);
    let hidden = true;
    world.handle(Input::Capacity { slots: 0, hidden });
    let slots = [0, 0];
    assert_eq!(world.heard()[0], ToCoordinator::Capacity { slots, hidden });
    assert_eq!(world.slots.len(), 2, "what runs goes on");
    world.run_dry();
    assert!(handed_tasks(&world) >= 12);
    assert_eq!(handed_tasks(&world) + free_tasks(&world), 64);
    assert!(world.session.view().leases.is_empty());
    // A grant that was on its way comes back.
    let late = world.coordinator.grant(Node::leaf(63));
    world.deliver_all();
    let returned = ToCoordinator::Returned { lease: late };
    assert_eq!(world.heard().last(), Some(&returned));
    world.handle(Input::Capacity {
        slots: 3,
        hidden: false,
    });
    for node in std::mem::take(&mut world.coordinator.free) {
        world.coordinator.grant(node);
    }
    world.run_dry();
    let root = world.coordinator.tree.root().unwrap();
    let expected = world.coordinator.expected(root);
    assert_eq!(world.coordinator.result, Some(expected));
}

#[test]
fn fewer_slots_finish_what_they_run() {
    let mut world = at_work(MergeMode::Reduce);
    world.handle(Input::Capacity {
        slots: 1,
        hidden: false,
    });
    assert_eq!(world.slots.len(), 2);
    world.end_slot(1);
    assert_eq!(world.slots.keys().collect::<Vec<_>>(), [&0]);
    world.handle(Input::Capacity {
        slots: 4,
        hidden: false,
    });
    assert_eq!(world.slots.len(), 4);
    world.run_dry();
    assert_eq!(handed_tasks(&world), 64);
}
