//! How results leave: in frames, no faster than the socket takes them, kept until
//! they are accepted.

use super::coordinator::{ALIVE_MS, Coordinator};
use super::world::World;
use crate::{Input, Micros};
use manyhands_protocol::limits;
use manyhands_protocol::message::{MergeMode, ToCoordinator, ToWorker};

#[test]
fn a_large_partial_goes_in_pieces_at_the_sockets_pace() {
    // A line is a task and a segment: the partial has chunks of 3 MiB.
    let line = |fill: char| fill.to_string().repeat((3 << 20) - 1) + "\n";
    let files: Vec<String> = ('a'..='d').map(line).collect();
    let mut world = World::welcomed(2, Coordinator::with_lines(&files, MergeMode::Concat));
    let root = world.coordinator.tree.root().unwrap();
    world.coordinator.grant(root);
    world.stuck = true;
    world.run_dry();
    let most = 4 << 20;
    assert!(world.buffered >= most, "{} bytes wait", world.buffered);
    assert!(world.buffered <= most + limits::MAX_FRAME as u64);
    assert_eq!(world.coordinator.handed, []);
    // A slow socket: half a MiB a second.
    let mut rounds = 0;
    while world.coordinator.handed.is_empty() {
        world.now += 1_000_000;
        world.buffered -= 512 << 10;
        let bytes = world.buffered;
        world.handle(Input::Buffered { bytes });
        rounds += 1;
        assert!(rounds < 100);
    }
    assert!(
        world.buffered < 2 << 20,
        "less waits once it is known to be slow"
    );
    assert_eq!(world.coordinator.handed[0].2.len(), 4 * ((3 << 20) + 1));
}

#[test]
fn results_are_kept_until_they_are_accepted() {
    let mut world = World::welcomed(2, Coordinator::new(8, MergeMode::Reduce));
    world.coordinator.accepts = false;
    let root = world.coordinator.tree.root().unwrap();
    let lease = world.coordinator.grant(root);
    world.run_dry();
    let view = world.session.view();
    let len = world.coordinator.result.as_ref().unwrap().len() as u64;
    assert_eq!((view.retained_bytes, view.tasks_done), (len, 0));
    let accepted = manyhands_protocol::message::ToWorker::Accepted { lease, node: root };
    world.tell(&accepted);
    world.tell(&accepted);
    let view = world.session.view();
    assert_eq!(
        (view.retained_bytes, view.tasks_done, view.blocks_done),
        (0, 8, 1)
    );
    assert!(view.busy_us >= 8 * world.task_us);
}

#[test]
fn a_short_block_is_not_cut() {
    let mut world = World::welcomed(4, Coordinator::new(1 << 12, MergeMode::Reduce));
    world.task_us = 10;
    let root = world.coordinator.tree.root().unwrap();
    let (left, right) = world.coordinator.tree.halves(root).unwrap();
    world.coordinator.grant(left);
    world.run_dry();
    let before = world.runs.len();
    assert!(before > 16, "unknown speed: several pieces a slot");
    let mut short = right.unwrap();
    for _ in 0..7 {
        (short, _) = world.coordinator.tree.halves(short).unwrap();
    }
    world.coordinator.grant(short);
    world.run_dry();
    assert_eq!(world.runs.len() - before, 1, "16 tasks of 10 µs");
}

#[test]
fn progress_is_told_once_a_second() {
    let mut world = World::welcomed(1, Coordinator::new(64, MergeMode::Reduce));
    let root = world.coordinator.tree.root().unwrap();
    let lease = world.coordinator.grant(root);
    world.deliver_all();
    world.load_all();
    world.heard();
    let ticket = world.slots[&0].ticket;
    let slot = 0;
    for (after_ms, tasks) in [(100, 3), (900, 5), (1500, 5), (2600, 7), (3700, 9)] {
        world.now = Micros::from_millis(after_ms).0;
        world.handle(Input::SlotProgress {
            slot,
            ticket,
            tasks,
        });
        world.tell(&ToWorker::Alive);
    }
    let told = world.heard();
    let progress = |done| ToCoordinator::Progress { lease, done };
    assert_eq!(told, [5, 7, 9].map(progress));
    assert_eq!(world.session.view().leases[0].done, 9);
    // Nothing changes: nothing is said of it, but that the worker is alive.
    world.now += Micros::from_millis(ALIVE_MS).0;
    world.handle(Input::Tick);
    assert_eq!(world.heard(), [ToCoordinator::Alive]);
}
