//! Connections that come and go.

use super::coordinator::{Coordinator, JOB, prove};
use super::world::World;
use crate::{ConnectionView, End, Input, Micros, Reason};
use manyhands_protocol::message::{Claim, MergeMode, ToCoordinator, ToWorker};
use manyhands_protocol::{Node, SessionToken};

fn waits_until(world: &World) -> Option<Micros> {
    match world.session.view().connection {
        ConnectionView::Waiting { until, .. } => Some(until),
        _ => None,
    }
}

#[test]
fn waits_stay_short_at_first_then_grow_with_jitter_and_end() {
    let mut world = World::new(1, Coordinator::new(1, MergeMode::Reduce));
    let (mut early, mut late) = (Vec::new(), Vec::new());
    while late.len() < 30 {
        assert!(std::mem::take(&mut world.connecting));
        world.handle(Input::Disconnected);
        let until = waits_until(&world).expect("it waits");
        let waits = if world.now < 10_000_000 {
            &mut early
        } else {
            &mut late
        };
        waits.push(until.0 - world.now);
        assert_eq!(world.session.next_deadline(), Some(until));
        world.wait();
    }
    for (at, wait) in early.iter().enumerate() {
        let most = 250_000_u64 << at.min(2);
        assert!(*wait <= most, "early wait {at} is {wait} µs");
    }
    for (at, wait) in late.iter().enumerate() {
        let most = (1_000_000_u64 << at.min(5)).min(30_000_000);
        assert!(*wait <= most, "late wait {at} is {wait} µs");
    }
    assert!(late.iter().max() > Some(&15_000_000), "{late:?}");
    let all: std::collections::BTreeSet<_> = early.iter().chain(&late).collect();
    assert_eq!(all.len(), early.len() + late.len(), "jitter");
}

#[test]
fn a_restart_of_two_seconds_is_over_in_two_more() {
    for seed in 0..200 {
        let coordinator = Coordinator::new(1, MergeMode::Reduce);
        let mut world = World::seeded(1, coordinator, seed);
        world.connect();
        world.deliver_all();
        world.now += 3_000_000;
        world.sever();
        let back = world.now + 2_000_000;
        while world.now < back {
            if std::mem::take(&mut world.connecting) {
                world.handle(Input::Disconnected);
            }
            world.wait();
        }
        assert!(world.connecting, "it waited for its turn to try");
        assert!(world.now - back <= 1_000_000, "seed {seed}");
    }
}

#[test]
fn a_good_connection_is_followed_by_a_short_wait() {
    let mut world = World::new(1, Coordinator::new(1, MergeMode::Reduce));
    for _ in 0..10 {
        world.connecting = false;
        world.handle(Input::Disconnected);
        world.wait();
    }
    world.connect();
    world.deliver_all();
    world.now += 6_000_000;
    world.sever();
    assert!(waits_until(&world).unwrap().0 - world.now <= 250_000);
}

#[test]
fn a_resumed_session_hands_in_what_was_done() {
    let mut world = World::welcomed(2, Coordinator::new(64, MergeMode::Reduce));
    let node = Node::new(5, 0).unwrap();
    let lease = world.coordinator.grant(node);
    world.deliver_all();
    world.load_all();
    world.sever();
    world.run_dry();
    let waiting = world.session.view().retained_bytes;
    assert!(waiting > 0, "it computed on without a connection");
    assert_eq!(world.coordinator.handed, []);
    world.heard();
    world.wait();
    world.connect();
    world.deliver_all();
    let heard = world.heard();
    let [ToCoordinator::Hello(hello)] = &heard[..] else {
        panic!("{heard:?}");
    };
    let claim = Claim {
        lease,
        job: JOB,
        node,
        proof: prove(lease, JOB, node),
    };
    assert_eq!(hello.held, [claim]);
    assert_eq!(hello.resume, world.session.token());
    assert_eq!(world.coordinator.handed.len(), 1);
    assert_eq!(world.session.view().retained_bytes, 0);
}

#[test]
fn what_was_not_accepted_is_sent_again() {
    let mut world = World::welcomed(2, Coordinator::new(8, MergeMode::Reduce));
    world.coordinator.accepts = false;
    let root = world.coordinator.tree.root().unwrap();
    world.coordinator.grant(root);
    world.run_dry();
    assert_eq!(world.coordinator.handed.len(), 1);
    world.coordinator.accepts = true;
    world.sever();
    world.wait();
    world.connect();
    world.deliver_all();
    let handed = &world.coordinator.handed;
    assert_eq!(handed.len(), 2);
    assert_eq!(handed[0], handed[1]);
    assert_eq!(world.session.view().retained_bytes, 0);
}

#[test]
fn a_coordinator_that_forgot_voids_all() {
    let mut world = World::welcomed(2, Coordinator::new(64, MergeMode::Reduce));
    world.coordinator.accepts = false;
    let [done, begun] = [Node::new(4, 0).unwrap(), Node::new(5, 1).unwrap()];
    world.coordinator.grant(done);
    world.deliver_all();
    world.run_dry();
    world.coordinator.grant(begun);
    world.deliver_all();
    assert_eq!(world.slots.len(), 2);
    world.coordinator.restart();
    world.sever();
    world.wait();
    world.connect();
    world.deliver_all();
    assert!(world.slots.values().all(|given| given.cancelled));
    assert!(world.jobs.is_empty());
    let view = world.session.view();
    assert_eq!((view.leases.len(), view.retained_bytes), (0, 0));
    world.run_dry();
    assert_eq!(world.coordinator.handed.len(), 1, "nothing is sent again");
    // The same job anew.
    world.coordinator.accepts = true;
    world.coordinator.grant(begun);
    world.run_dry();
    assert_eq!(world.coordinator.handed.len(), 2);
}

#[test]
fn refused_and_closed_connections_are_not_tried_at_once() {
    let mut world = World::new(1, Coordinator::new(1, MergeMode::Reduce));
    world.connect();
    let reason = "another version".to_owned();
    world.tell(&ToWorker::Refused {
        reason: reason.clone(),
    });
    assert_eq!(world.disconnects, [Reason::Refused(reason)]);
    assert!(waits_until(&world).unwrap().0 >= 15_000_000);
    world.wait();
    world.connect();
    world.deliver_all();
    let before = world.now;
    let reason = "restarting".to_owned();
    world.tell(&ToWorker::Closing {
        after_ms: 5_000,
        reason: reason.clone(),
    });
    let closing = Reason::Closing(reason);
    assert_eq!(closing.to_string(), "restarting", "its own words, once");
    assert_eq!(world.disconnects[1..], [closing]);
    let wait = waits_until(&world).unwrap().0 - before;
    assert!((5_000_000..=6_000_000).contains(&wait), "{wait}");
    world.wait();
    world.connect();
    world.deliver_all();
    let reason = "taken over".to_owned();
    world.tell(&ToWorker::Closing {
        after_ms: u64::MAX,
        reason: reason.clone(),
    });
    assert_eq!(world.finished, Some(End::Closed { reason }));
    assert_eq!(world.session.next_deadline(), None);
}

#[test]
fn a_second_welcome_and_a_message_before_it_are_out_of_turn() {
    let mut world = World::new(1, Coordinator::new(8, MergeMode::Reduce));
    world.connect();
    world.tell(&ToWorker::Alive);
    assert_eq!(world.disconnects, [Reason::OutOfTurn]);
    world.wait();
    world.connect();
    world.deliver_all();
    assert_eq!(
        world.session.token(),
        Some(SessionToken(3_u128.to_le_bytes()))
    );
    let welcome = ToWorker::Welcome {
        worker: manyhands_protocol::WorkerId(1),
        session: SessionToken([0; 16]),
        incarnation: manyhands_protocol::Incarnation(1),
        resumed: false,
        alive_every_ms: 1,
    };
    world.tell(&welcome);
    assert_eq!(world.disconnects[1..], [Reason::OutOfTurn]);
}
