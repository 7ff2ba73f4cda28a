//! Sessions that a coordinator started anew takes up by their claims.

use super::coordinator::{Coordinator, JOB, prove};
use super::world::World;
use crate::{Input, Work};
use manyhands_protocol::message::{Claim, Hello, MergeMode, ToCoordinator, ToWorker};
use manyhands_protocol::{JobId, LeaseId, Node, WorkerId};

fn reconnect(world: &mut World) {
    world.sever();
    world.heard();
    world.coordinator.start_anew();
    world.wait();
    world.connect();
}

fn hello(world: &mut World) -> Hello {
    let mut heard = world.heard().into_iter();
    match heard.next() {
        Some(ToCoordinator::Hello(hello)) => hello,
        other => panic!("{other:?} instead of a hello"),
    }
}

fn claim(lease: LeaseId, node: Node) -> Claim {
    let proof = prove(lease, JOB, node);
    let job = JOB;
    Claim {
        lease,
        job,
        node,
        proof,
    }
}

#[test]
fn all_that_was_held_goes_on() {
    for merge in [MergeMode::Reduce, MergeMode::Concat] {
        let mut world = World::welcomed(2, Coordinator::new(64, merge));
        world.coordinator.free.clear();
        world.coordinator.accepts = false;
        let nodes: Vec<Node> = (0..4).map(|at| Node::new(4, at).unwrap()).collect();
        let done = world.coordinator.grant(nodes[0]);
        world.deliver_all();
        world.run_dry();
        assert_eq!(world.coordinator.handed.len(), 1, "kept: not accepted");
        let begun = world.coordinator.grant(nodes[1]);
        let waiting = world.coordinator.grant(nodes[2]);
        world.deliver_all();
        let given: Vec<u64> = world.slots.values().map(|given| given.ticket).collect();
        assert_eq!(given.len(), 2);
        let (loaded, token) = (world.jobs.clone(), world.session.token());

        world.coordinator.accepts = true;
        reconnect(&mut world);
        world.deliver_all();
        let hello = hello(&mut world);
        let claims = [
            claim(done, nodes[0]),
            claim(begun, nodes[1]),
            claim(waiting, nodes[2]),
        ];
        assert_eq!(hello.held, claims);
        assert_eq!((hello.resume, world.session.token()), (token, token));
        let view = world.session.view();
        assert_eq!(view.worker, Some(WorkerId(101)));
        assert_eq!(view.leases.len(), 2);
        assert_eq!(world.coordinator.handed.len(), 2, "handed in once more");
        assert_eq!(world.coordinator.handed[0], world.coordinator.handed[1]);
        let now: Vec<u64> = world.slots.values().map(|given| given.ticket).collect();
        assert_eq!(now, given, "what ran goes on");
        assert!(world.slots.values().all(|given| !given.cancelled));

        // Its header comes again with the next grant of the job.
        let next = world.coordinator.grant(nodes[3]);
        assert_ne!(next.incarnation, done.incarnation);
        world.run_dry();
        assert_eq!(world.jobs, loaded, "it is not loaded again");
        assert_eq!(world.disconnects, []);
        assert_eq!(world.coordinator.leases(), []);
        let root = world.coordinator.tree.root().unwrap();
        let expected = world.coordinator.expected(root);
        assert_eq!(world.coordinator.result, Some(expected));
        assert_eq!(world.session.view().retained_bytes, 0);
    }
}

#[test]
fn a_block_is_not_run_twice() {
    let mut world = World::welcomed(2, Coordinator::new(64, MergeMode::Reduce));
    let root = world.coordinator.tree.root().unwrap();
    world.coordinator.grant(root);
    world.coordinator.free.clear();
    world.deliver_all();
    world.load_all();
    for _ in 0..3 {
        world.end_slot(0);
        reconnect(&mut world);
    }
    world.run_dry();
    let runs = world.runs.iter().filter_map(|(_, work)| match work {
        Work::Run { tasks, .. } => Some(tasks.end - tasks.start),
        Work::Merge { .. } => None,
    });
    assert_eq!(runs.sum::<u64>(), 64);
    let expected = world.coordinator.expected(root);
    assert_eq!(world.coordinator.result, Some(expected));
}

#[test]
fn blobs_on_their_way_are_asked_for_again() {
    let lines = "one\ntwo\nthree\nfour\n".to_owned();
    let coordinator = Coordinator::with_lines(&[lines], MergeMode::Concat);
    let mut world = World::welcomed(1, coordinator);
    world.coordinator.serves = false;
    let root = world.coordinator.tree.root().unwrap();
    world.coordinator.grant(root);
    world.deliver_all();
    let first = std::mem::take(&mut world.coordinator.needed);
    assert_eq!(first.len(), 3, "module, file, segment");
    world.coordinator.serves = true;
    reconnect(&mut world);
    world.run_dry();
    assert_eq!(world.coordinator.needed, first);
    let expected = world.coordinator.expected(root);
    assert_eq!(world.coordinator.result, Some(expected));
}

#[test]
fn what_was_accepted_in_part_is_returned_behind_the_rest() {
    let mut world = World::welcomed(2, Coordinator::new(64, MergeMode::Reduce));
    world.coordinator.accepts = false;
    let pair = Node::new(1, 0).unwrap();
    let lease = world.coordinator.grant(pair);
    world.deliver_all();
    world.load_all();
    // A pause leaves the two halves as they are: all is handed in.
    let (slots, hidden) = (0, false);
    world.handle(Input::Capacity { slots, hidden });
    world.run_dry();
    let handed = world.coordinator.handed.clone();
    let [(_, first, _), (_, second, _)] = &handed[..] else {
        panic!("two halves: {handed:?}");
    };
    world.tell(&ToWorker::Accepted {
        lease,
        node: *first,
    });
    reconnect(&mut world);
    world.deliver_all();
    assert_eq!(hello(&mut world).held, [claim(lease, pair)]);
    let again: Vec<Node> = world.coordinator.handed[2..].iter().map(|h| h.1).collect();
    assert_eq!(again, [*second]);
    assert_eq!(world.coordinator.leases(), [], "it was given back");
}

#[test]
fn jobs_without_a_claim_are_forgotten() {
    let mut world = World::welcomed(2, Coordinator::new(64, MergeMode::Reduce));
    let mut other = world.coordinator.header.clone();
    other.job = JobId(9);
    world.tell(&ToWorker::Job(other));
    let root = world.coordinator.tree.root().unwrap();
    world.coordinator.grant(root);
    world.deliver_all();
    world.load_all();
    assert_eq!(world.jobs.keys().collect::<Vec<_>>(), [&JOB, &JobId(9)]);
    reconnect(&mut world);
    world.deliver_all();
    assert_eq!(world.jobs.keys().collect::<Vec<_>>(), [&JOB]);
}

#[test]
fn a_hello_says_what_can_be_counted_on() {
    let mut world = World::new(4, Coordinator::new(64, MergeMode::Reduce));
    let hidden = true;
    world.handle(Input::Capacity { slots: 3, hidden });
    world.connect();
    // What changes before the welcome is told after it.
    let hidden = false;
    world.handle(Input::Capacity { slots: 2, hidden });
    let first = hello(&mut world);
    assert_eq!((first.slots, first.hidden), ([3, 0], true));
    world.deliver_all();
    let slots = [2, 0];
    assert_eq!(world.heard(), [ToCoordinator::Capacity { slots, hidden }]);
    world.handle(Input::Capacity { slots: 2, hidden });
    assert_eq!(world.heard(), [], "nothing new");
}

#[test]
fn the_last_blocks_of_a_job_that_is_over_count() {
    for handed in [true, false] {
        let mut world = World::welcomed(2, Coordinator::new(64, MergeMode::Reduce));
        world.coordinator.accepts = false;
        world.coordinator.grant(Node::new(5, 0).unwrap());
        world.deliver_all();
        if !handed {
            world.load_all();
            world.sever();
        }
        world.run_dry();
        assert_eq!(world.coordinator.handed.len(), usize::from(handed));
        assert_eq!(world.session.view().tasks_done, 0);
        if !handed {
            world.wait();
            world.coordinator.remembers = false;
            world.connect();
            world.deliver_all();
        }
        world.tell(&ToWorker::Forget { job: JOB });
        let view = world.session.view();
        let counted = (view.tasks_done, view.blocks_done, view.retained_bytes);
        let expected = if handed { (32, 1, 0) } else { (0, 0, 0) };
        assert_eq!(counted, expected);
        assert_eq!(view.busy_us > 0, handed);
    }
}
