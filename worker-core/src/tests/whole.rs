//! Whole jobs by seed: any number of slots, any order of events, connections
//! that break, coordinators that start anew, pauses, revocations.

use super::coordinator::Coordinator;
use super::world::{Fault, World};
use crate::{ConnectionView, Input};
use manyhands_protocol::Node;
use manyhands_protocol::message::{MergeMode, ToCoordinator};

/// Decides what happens next.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n.max(1)
    }
}

/// Cuts a free node to a random level and grants one part; the rest is free.
fn grant_some(world: &mut World, dice: &mut Dice) {
    let coordinator = &mut world.coordinator;
    if coordinator.free.is_empty() || !world.open {
        return;
    }
    let at = dice.below(coordinator.free.len() as u64) as usize;
    let mut node: Node = coordinator.free.swap_remove(at);
    while dice.below(4) > 0
        && let Some((left, right)) = coordinator.tree.halves(node)
    {
        coordinator.free.extend(right);
        node = left;
    }
    coordinator.grant(node);
}

fn revoke_some(world: &mut World, dice: &mut Dice) {
    let leases = world.coordinator.leases();
    if let Some(lease) = leases.get(dice.below(leases.len() as u64) as usize)
        && world.open
    {
        world.coordinator.revoke(*lease);
    }
}

fn end_some_slot(world: &mut World, dice: &mut Dice) {
    let busy: Vec<u16> = world.slots.keys().copied().collect();
    if !busy.is_empty() {
        let slot = busy[dice.below(busy.len() as u64) as usize];
        world.now += dice.below(20_000);
        world.end_slot(slot);
    }
}

/// Breaks something, or goes on after a break.
fn disturb(world: &mut World, dice: &mut Dice) {
    match dice.below(12) {
        0 if world.open => world.sever(),
        1 if world.open => {
            world.coordinator.restart();
            world.sever();
        }
        2 => {
            let slots = dice.below(5) as u16;
            world.handle(Input::Capacity {
                slots,
                hidden: false,
            });
        }
        3 => world.crash(),
        4 => {
            for (slot, given) in std::mem::take(&mut world.slots) {
                let ticket = given.ticket;
                world.handle(Input::SlotLost { slot, ticket });
            }
        }
        5 | 6 => revoke_some(world, dice),
        _ => {}
    }
}

fn step(world: &mut World, dice: &mut Dice, disturbing: bool) {
    match dice.below(10) {
        0..3 => grant_some(world, dice),
        3..6 => {
            world.deliver();
        }
        6 => world.load_all(),
        7 if disturbing => disturb(world, dice),
        _ => end_some_slot(world, dice),
    }
    if world.connecting {
        world.connect();
    } else if !world.open {
        world.wait();
    }
}

/// After its job a session has nothing, does nothing, and says only that it is
/// alive.
fn assert_silent(world: &mut World) {
    let view = world.session.view();
    assert_eq!(view.connection, ConnectionView::Welcome);
    assert_eq!((view.leases.len(), view.busy_slots), (0, 0));
    assert_eq!(view.retained_bytes, 0);
    assert!(world.put.is_empty(), "segments are dropped");
    assert!(world.session.poll_output().is_none());
    world.wait();
    world.heard();
    for _ in 0..3 {
        world.deliver_all();
        world.wait();
    }
    assert_eq!(world.heard(), vec![ToCoordinator::Alive; 3]);
}

fn run_job(seed: u64, slots: u16, coordinator: Coordinator, disturbing: bool) -> World {
    let mut dice = Dice::new(seed);
    let mut world = World::welcomed(slots, coordinator);
    world.task_us = [1, 100, 40_000][dice.below(3) as usize];
    for _ in 0..60_000 {
        step(&mut world, &mut dice, disturbing);
        // A task that two disturbances in a row hit is blamed: it is tried again.
        let failed = std::mem::take(&mut world.coordinator.failed);
        world.coordinator.free.extend(failed.into_keys());
        let settled = world.coordinator.free.is_empty() && world.coordinator.leases().is_empty();
        if settled {
            break;
        }
    }
    world.handle(Input::Capacity {
        slots,
        hidden: false,
    });
    while !world.open {
        if world.connecting {
            world.connect();
        } else {
            world.wait();
        }
    }
    world.run_dry();
    assert_eq!(world.disconnects, [], "seed {seed}");
    world
}

fn assert_result(world: &World, seed: u64) {
    let root = world.coordinator.tree.root().unwrap();
    let expected = world.coordinator.expected(root);
    assert_eq!(world.coordinator.result, Some(expected), "seed {seed}");
}

#[test]
fn any_schedule_gives_the_same_bytes() {
    for seed in 0..300 {
        let mut dice = Dice::new(seed + 1000);
        let tasks = 1 + dice.below(300);
        let merge = [MergeMode::Reduce, MergeMode::Concat][seed as usize % 2];
        let slots = [1, 2, 3, 8][dice.below(4) as usize];
        let coordinator = Coordinator::new(tasks, merge);
        let mut world = run_job(seed, slots, coordinator, seed % 3 > 0);
        assert_result(&world, seed);
        assert_silent(&mut world);
    }
}

#[test]
fn inputs_reach_their_tasks() {
    for seed in 0..60 {
        let mut dice = Dice::new(seed + 2000);
        let file = |number: u64, dice: &mut Dice| -> String {
            let lines = 1 + dice.below(40);
            (0..lines)
                .map(|line| format!("{number}.{line}\n"))
                .collect()
        };
        let files: Vec<String> = (0..6).map(|number| file(number, &mut dice)).collect();
        let coordinator = Coordinator::with_lines(&files, MergeMode::Reduce);
        let mut world = run_job(seed, 3, coordinator, seed % 2 > 0);
        assert_result(&world, seed);
        assert_silent(&mut world);
    }
}

/// Whatever goes wrong in the guests, exactly the guilty tasks are named, and
/// all others are handed in.
#[test]
fn exactly_the_guilty_are_named() {
    let faults = [
        Fault::Trap { told: false },
        Fault::Trap { told: true },
        Fault::Endless,
        Fault::Crash,
    ];
    for seed in 0..200 {
        let mut dice = Dice::new(seed + 3000);
        let tasks = 1 + dice.below(120);
        let merge = [MergeMode::Reduce, MergeMode::Concat][seed as usize % 2];
        let mut world = World::welcomed(1 + dice.below(4) as u16, Coordinator::new(tasks, merge));
        for _ in 0..=dice.below(3) {
            let fault = faults[dice.below(4) as usize];
            world.faults.insert(dice.below(tasks), fault);
        }
        world
            .coordinator
            .grant(world.coordinator.tree.root().unwrap());
        world.coordinator.free.clear();
        for _ in 0..20_000 {
            world.deliver_all();
            world.load_all();
            end_some_slot(&mut world, &mut dice);
            if world.slots.is_empty() && world.coordinator.leases().is_empty() {
                break;
            }
        }
        world.run_dry();
        let guilty: Vec<Node> = world.faults.keys().map(|task| Node::leaf(*task)).collect();
        let named: Vec<Node> = world.coordinator.failed.keys().copied().collect();
        assert_eq!(named, guilty, "seed {seed}");
        let handed = world.coordinator.handed.iter();
        let covered: u64 = handed
            .map(|(_, node, _)| world.coordinator.tree.len(*node))
            .sum();
        assert_eq!(covered, tasks - guilty.len() as u64, "seed {seed}");
        assert_eq!(world.coordinator.leases(), []);
        assert_silent(&mut world);
    }
}
