//! Merges that the coordinator asks for: two partials come, what they come to
//! goes back, and none of it outlives the connection.

use super::coordinator::Coordinator;
use super::world::World;
use crate::{GrantFault, Input, Micros, Reason, Work};
use manyhands_protocol::message::{MergeMode, ToCoordinator};
use manyhands_protocol::{Node, limits};

/// A worker that has computed the first of four tasks.
fn busy() -> World {
    let mut world = World::welcomed(1, Coordinator::new(4, MergeMode::Reduce));
    world.coordinator.grant(Node::leaf(0));
    world.run_dry();
    world.heard();
    world
}

fn right_half() -> Node {
    Node::new(1, 1).unwrap()
}

#[test]
fn two_halves_come_and_what_they_come_to_goes_back() {
    let mut world = busy();
    let blocks = world.session.view().blocks_done;
    let lease = world.coordinator.ask_to_merge(right_half(), 2);
    world.run_dry();
    let (to, node, bytes) = world.coordinator.handed.last().expect("an answer").clone();
    assert_eq!((to, node), (lease, right_half()));
    assert_eq!(String::from_utf8(bytes).unwrap(), "(2 3)");
    let view = world.session.view();
    assert_eq!((view.leases.len(), view.retained_bytes), (0, 0));
    // Its tasks were computed elsewhere.
    assert_eq!((view.blocks_done, view.tasks_done), (blocks, 1));
}

#[test]
fn a_merge_ends_with_its_connection() {
    let mut world = busy();
    world.coordinator.ask_to_merge(right_half(), 2);
    world.deliver_all();
    assert!(matches!(world.slots[&0].work, Work::Merge { .. }));
    world.sever();
    assert!(world.slots[&0].cancelled);
    while !world.connecting {
        world.wait();
    }
    world.connect();
    let hello = world.heard().into_iter().find_map(|message| match message {
        ToCoordinator::Hello(hello) => Some(hello),
        _ => None,
    });
    assert_eq!(hello.expect("a hello").held, []);
}

#[test]
fn what_a_merge_came_to_is_not_sent_again() {
    let mut world = busy();
    world.coordinator.accepts = false;
    world.coordinator.ask_to_merge(right_half(), 2);
    world.run_dry();
    assert!(world.session.view().retained_bytes > 0);
    let handed = world.coordinator.handed.len();
    world.sever();
    assert_eq!(world.session.view().retained_bytes, 0);
    while !world.connecting {
        world.wait();
    }
    world.connect();
    world.run_dry();
    assert_eq!(world.coordinator.handed.len(), handed);
}

#[test]
fn who_leaves_gives_a_merge_back() {
    let mut world = busy();
    // The second half never comes.
    let lease = world.coordinator.ask_to_merge(right_half(), 1);
    world.deliver_all();
    assert_eq!(world.session.view().leases.len(), 1);
    let by = Micros::from_millis(60_000);
    world.handle(Input::Drain { by });
    world.run_dry();
    let heard = world.heard();
    assert!(
        heard.contains(&ToCoordinator::Returned { lease }),
        "{heard:?}"
    );
    assert!(heard.contains(&ToCoordinator::Goodbye), "{heard:?}");
}

#[test]
fn a_merge_that_fails_is_told() {
    let mut world = busy();
    world.bad_merges.insert(right_half());
    let lease = world.coordinator.ask_to_merge(right_half(), 2);
    world.run_dry();
    let heard = world.heard();
    let failed = heard.iter().any(|message| {
        matches!(message, ToCoordinator::Failed { lease: of, node, .. }
            if (*of, *node) == (lease, right_half()))
    });
    assert!(failed, "{heard:?}");
    assert_eq!(world.session.view().leases.len(), 0);
}

#[test]
fn nonsense_ends_the_connection() {
    let bad = |lease, fault| Reason::BadGrant { lease, fault };
    let mut world = busy();
    let lease = world.coordinator.ask_to_merge(Node::leaf(1), 0);
    world.deliver_all();
    assert_eq!(world.disconnects, [bad(lease, GrantFault::Merge)]);

    let mut world = busy();
    let lease = world.coordinator.ask_to_merge(Node::new(1, 7).unwrap(), 0);
    world.deliver_all();
    assert_eq!(world.disconnects, [bad(lease, GrantFault::Node)]);

    let mut world = busy();
    let lease = world.coordinator.ask_to_merge(right_half(), 1);
    world.coordinator.send_half(lease, 0, 2, b"x");
    world.deliver_all();
    assert_eq!(world.disconnects, [Reason::BadHalves(lease)]);

    let mut world = busy();
    let lease = world
        .coordinator
        .name_merge(right_half(), (limits::MAX_PARTIAL + 1, 1));
    world.deliver_all();
    assert_eq!(world.disconnects, [bad(lease, GrantFault::Merge)]);
}
