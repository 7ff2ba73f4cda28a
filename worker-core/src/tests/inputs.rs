//! Which blobs are asked for when, and what is kept.

use super::coordinator::{Coordinator, JOB};
use super::world::World;
use crate::blobs::CREDIT;
use crate::{Found, Input, Room, Rooms, Session, Work};
use bytes::Bytes;
use manyhands_protocol::message::{JobHeader, MergeMode, ToCoordinator, ToWorker};
use manyhands_protocol::{BlobHash, FailureKind, JobId, Node, codec};

/// Four files of a line each, so that a segment is a task.
fn files(len: usize) -> Vec<String> {
    let line = |fill: char| fill.to_string().repeat(len - 1) + "\n";
    ('a'..='h').map(line).collect()
}

#[test]
fn inputs_are_asked_for_in_the_order_of_leases_while_others_compute() {
    let coordinator = Coordinator::with_lines(&files(16), MergeMode::Concat);
    let mut world = World::welcomed(1, coordinator);
    let header = world.coordinator.header.clone();
    let [first, second] = [Node::new(1, 2).unwrap(), Node::new(1, 0).unwrap()];
    world.coordinator.grant(first);
    world.deliver_all();
    world.load_all();
    assert_eq!(world.slots.len(), 1);
    world.coordinator.grant(second);
    world.deliver_all();
    let mut expected = vec![header.module, header.files[0].hash];
    for node in [first, second] {
        let segments = world.coordinator.segments_of(node);
        expected.extend(segments.iter().map(|segment| segment.hash));
    }
    assert_eq!(
        world.coordinator.needed, expected,
        "all while the first runs"
    );
    assert_eq!(world.put.len(), 1, "what has not begun is not put");
    world.run_dry();
    assert!(world.put.is_empty());
    assert_eq!(world.coordinator.handed.len(), 2);
}

#[test]
fn a_piece_begins_as_soon_as_its_own_inputs_are_here() {
    let coordinator = Coordinator::with_lines(&files(16), MergeMode::Concat);
    let mut world = World::welcomed(2, coordinator);
    world.coordinator.serves = false;
    let root = world.coordinator.tree.root().unwrap();
    world.coordinator.grant(root);
    world.deliver_all();
    let needed = world.coordinator.needed.clone();
    assert_eq!(needed.len(), 2 + 8, "module, file, all segments");
    let serve = |world: &mut World, at: usize| {
        world.coordinator.serve(needed[at]);
        world.deliver_all();
        world.load_all();
        world.slots.len()
    };
    let busy: Vec<usize> = (0..5).map(|at| serve(&mut world, at)).collect();
    assert_eq!(busy, [0, 0, 1, 2, 2], "a slot for each segment");
    assert_eq!(world.put.len(), 2, "what waits is not put");
    // What has come meanwhile is next, though its sibling has not.
    world.end_slot(0);
    assert_eq!(world.runs.len(), 3);
    world.end_slot(1);
    assert_eq!(world.slots.len(), 1, "the rest has not come");
    for hash in &needed[5..] {
        world.coordinator.serve(*hash);
    }
    world.run_dry();
    assert_eq!(world.coordinator.handed.len(), 1);
    assert!(world.put.is_empty());
}

#[test]
fn pieces_are_cut_off_from_the_left() {
    let coordinator = Coordinator::with_lines(&files(16), MergeMode::Concat);
    let mut world = World::welcomed(1, coordinator);
    let root = world.coordinator.tree.root().unwrap();
    world.coordinator.grant(root);
    world.run_dry();
    let firsts = world.runs.iter().map(|run| match &run.1 {
        Work::Run { tasks, .. } => tasks.start,
        Work::Merge { .. } => panic!("chunks are joined by nobody"),
    });
    let firsts: Vec<u64> = firsts.collect();
    assert!(firsts.len() > 2, "it is cut: {firsts:?}");
    assert!(firsts.is_sorted(), "{firsts:?}");
}

#[test]
fn what_is_kept_is_used_before_what_has_to_come() {
    let coordinator = Coordinator::with_lines(&files(16), MergeMode::Concat);
    let mut world = World::welcomed(1, coordinator);
    world.coordinator.grant(Node::leaf(5));
    world.run_dry();
    world.coordinator.serves = false;
    world.coordinator.grant(Node::new(2, 1).unwrap());
    world.deliver_all();
    let [.., Work::Run { tasks, .. }] =
        &world.runs.iter().map(|run| &run.1).collect::<Vec<_>>()[..]
    else {
        panic!("a piece runs");
    };
    assert_eq!(*tasks, 5..6);
}

#[test]
fn what_cannot_be_had_of_a_block_that_has_begun_fails_alone() {
    let coordinator = Coordinator::with_lines(&files(16), MergeMode::Concat);
    let mut world = World::welcomed(1, coordinator);
    world.coordinator.serves = false;
    let root = world.coordinator.tree.root().unwrap();
    world.coordinator.grant(root);
    world.deliver_all();
    let needed = std::mem::take(&mut world.coordinator.needed);
    for hash in &needed[..3] {
        world.coordinator.serve(*hash);
    }
    world.deliver_all();
    world.load_all();
    assert_eq!(world.slots.len(), 1, "task 0 runs");
    world.coordinator.store.remove(&needed[2 + 3]);
    for hash in &needed[3..] {
        world.coordinator.serve(*hash);
    }
    world.deliver_all();
    // What was not cut off yet waits for the lost segment as a whole.
    let failed: Vec<Node> = world.coordinator.failed.keys().copied().collect();
    assert_eq!(failed, [Node::new(1, 1).unwrap()]);
    world.run_dry();
    let handed: Vec<Node> = world.coordinator.handed.iter().map(|part| part.1).collect();
    let others = [Node::leaf(0), Node::leaf(1), Node::new(2, 1).unwrap()];
    assert!(
        others
            .iter()
            .all(|node| { handed.iter().any(|part| part.contains(*node)) }),
        "{handed:?}"
    );
    assert_eq!(world.disconnects, []);
}

#[test]
fn credit_is_kept() {
    let len = 3 << 20;
    let coordinator = Coordinator::with_lines(&files(len), MergeMode::Concat);
    let mut world = World::welcomed(1, coordinator);
    world.coordinator.serves = false;
    let root = world.coordinator.tree.root().unwrap();
    world.coordinator.grant(root);
    world.deliver_all();
    assert_eq!(
        world.coordinator.needed.len(),
        2 + 2,
        "two small ones, 6 of 8 MiB"
    );
    let mut served = 0;
    while let Some(hash) = world.coordinator.needed.get(served).copied() {
        world.coordinator.serve(hash);
        served += 1;
        while world.deliver() {
            let asked = world.coordinator.needed[served..].iter();
            let asked: usize = asked.map(|hash| world.coordinator.store[hash].len()).sum();
            assert!(asked as u64 <= CREDIT);
        }
    }
    assert_eq!(served, 2 + 8);
    world.run_dry();
    assert_eq!(world.coordinator.handed.len(), 1);
}

#[test]
fn what_was_asked_for_is_asked_for_again_after_a_break() {
    let coordinator = Coordinator::with_lines(&files(16), MergeMode::Concat);
    let mut world = World::welcomed(1, coordinator);
    world.coordinator.serves = false;
    world.coordinator.grant(Node::new(1, 0).unwrap());
    world.deliver_all();
    let first = std::mem::take(&mut world.coordinator.needed);
    assert_eq!(first.len(), 4);
    world.sever();
    world.wait();
    world.connect();
    world.deliver_all();
    assert_eq!(world.coordinator.needed, first);
}

#[test]
fn a_segment_is_asked_for_once_while_it_is_kept() {
    let coordinator = Coordinator::with_lines(&["one\ntwo\n".into()], MergeMode::Concat);
    let mut world = World::welcomed(1, coordinator);
    for task in 0..2 {
        world.coordinator.grant(Node::leaf(task));
        world.deliver_all();
        world.run_dry();
    }
    assert_eq!(
        world.coordinator.needed.len(),
        3,
        "module, file, one segment"
    );
    assert_eq!(world.coordinator.handed.len(), 2);
}

#[test]
fn what_cannot_be_had_fails_what_needs_it() {
    let coordinator = Coordinator::with_lines(&files(16), MergeMode::Concat);
    let mut world = World::welcomed(2, coordinator);
    let [first, second] = [Node::leaf(0), Node::leaf(1)];
    let lost = world.coordinator.segments_of(first)[0].hash;
    world.coordinator.store.remove(&lost);
    world.coordinator.grant(first);
    world.coordinator.grant(second);
    world.run_dry();
    assert_eq!(world.coordinator.failed[&first].kind, FailureKind::Crash);
    assert_eq!(world.coordinator.handed.len(), 1);
    // The same for what the job needs.
    let mut world = World::welcomed(2, Coordinator::new(4, MergeMode::Concat));
    let module = world.coordinator.header.module;
    world.coordinator.store.remove(&module);
    let root = world.coordinator.tree.root().unwrap();
    world.coordinator.grant(root);
    world.run_dry();
    let said = world.heard();
    let unusable = said.iter().any(|message| {
        matches!(message, ToCoordinator::Unusable { failure, .. } if failure.message.contains("no longer has"))
    });
    assert!(unusable, "{said:?}");
    assert_eq!(world.disconnects, []);
}

#[test]
fn other_bytes_than_asked_for_end_the_connection_at_the_second_time() {
    let mut world = World::welcomed(2, Coordinator::new(4, MergeMode::Concat));
    let module = world.coordinator.header.module;
    let other = Bytes::from_static(b"no  module");
    world.coordinator.store.insert(module, other);
    let root = world.coordinator.tree.root().unwrap();
    world.coordinator.grant(root);
    world.deliver_all();
    let asked = world.coordinator.needed.iter();
    assert_eq!(asked.filter(|hash| **hash == module).count(), 2);
    assert_eq!(world.disconnects, [crate::Reason::WrongHash(module)]);
}

#[test]
fn a_forgotten_job_leaves_nothing() {
    let coordinator = Coordinator::with_lines(&files(16), MergeMode::Concat);
    let mut world = World::welcomed(2, coordinator);
    let root = world.coordinator.tree.root().unwrap();
    world.coordinator.grant(root);
    world.deliver_all();
    world.load_all();
    assert_eq!((world.slots.len(), world.put.len()), (2, 2));
    world.tell(&ToWorker::Forget { job: JOB });
    assert!(world.slots.values().all(|given| given.cancelled));
    assert!(world.put.is_empty() && world.jobs.is_empty());
    world.run_dry();
    assert_eq!(world.session.view().busy_slots, 0);
    assert_eq!(world.coordinator.handed, []);
    // What it was asked for before may still come; what was not may not.
    let hash = BlobHash::of(b"x");
    let header = ToWorker::Blob {
        hash,
        offset: 0,
        total: 1,
    };
    world.handle(crate::Input::Frame(
        codec::encode_with(&header, b"x").into(),
    ));
    assert_eq!(world.disconnects, [crate::Reason::BadPiece(hash)]);
}

#[test]
fn a_revoked_lease_is_returned_unless_it_has_begun() {
    let mut world = World::welcomed(1, Coordinator::new(64, MergeMode::Reduce));
    let begun = world.coordinator.grant(Node::new(5, 0).unwrap());
    let waiting = world.coordinator.grant(Node::new(5, 1).unwrap());
    world.deliver_all();
    world.load_all();
    world.coordinator.revoke(waiting);
    world.coordinator.revoke(begun);
    world.deliver_all();
    let returned: Vec<_> = world.heard().into_iter().skip(1).collect();
    assert_eq!(returned, [ToCoordinator::Returned { lease: waiting }]);
    world.run_dry();
    assert_eq!(world.coordinator.handed.len(), 1);
}

/// A driver that can read blobs itself, and has been granted all tasks.
fn fetching(slots: u16) -> World {
    let coordinator = Coordinator::with_lines(&files(16), MergeMode::Concat);
    let mut world = World::near(slots, coordinator);
    let root = world.coordinator.tree.root().unwrap();
    world.coordinator.grant(root);
    world.deliver_all();
    world
}

#[test]
fn what_the_driver_can_read_itself_does_not_come_from_the_coordinator() {
    let mut world = fetching(1);
    let sought = std::mem::take(&mut world.sought);
    assert_eq!(sought.len(), 2 + 8, "module, file, all segments");
    assert_eq!(world.coordinator.needed, []);
    // All but the module and one segment.
    let missing = [sought[0], sought[5]];
    for hash in &sought {
        let found = match missing.contains(hash) {
            true => Found::Nothing,
            false => Found::Bytes(world.coordinator.store[hash].clone()),
        };
        world.handle(Input::Fetched { hash: *hash, found });
    }
    world.run_dry();
    assert_eq!(world.coordinator.needed, missing);
    assert_eq!(
        world.sought,
        [],
        "what it does not have is not sought again"
    );
    assert_eq!(world.coordinator.handed.len(), 1);
    assert_eq!(world.disconnects, []);
}

#[test]
fn a_driver_that_is_near_no_more_looks_for_nothing() {
    let mut world = fetching(1);
    assert!(!std::mem::take(&mut world.sought).is_empty());
    world.sever();
    world.near = false;
    world.wait();
    world.connect();
    world.deliver_all();
    assert_eq!(world.sought, []);
    world.run_dry();
    assert_eq!(world.coordinator.needed.len(), 2 + 8, "all is sent");
    assert_eq!(world.coordinator.handed.len(), 1);
}

/// Segments lie where slots read them; the driver has put them.
fn reading_where_it_lies(slots: u16) -> World {
    let mut world = fetching(slots);
    let sought = std::mem::take(&mut world.sought);
    for hash in &sought[2..] {
        let bytes = world.coordinator.store[hash].clone();
        world.put.insert(*hash, bytes);
        let found = Found::Put;
        world.handle(Input::Fetched { hash: *hash, found });
    }
    for hash in &sought[..2] {
        let found = Found::Bytes(world.coordinator.store[hash].clone());
        world.handle(Input::Fetched { hash: *hash, found });
    }
    world.load_all();
    world
}

#[test]
fn slots_read_segments_where_they_lie() {
    let mut world = reading_where_it_lies(1);
    world.run_dry();
    assert_eq!(world.coordinator.needed, []);
    assert_eq!(world.coordinator.handed.len(), 1);
    assert!(world.put.is_empty(), "all were dropped");
}

#[test]
fn a_segment_that_is_not_what_it_was_is_asked_for_and_its_work_run_again() {
    let mut world = reading_where_it_lies(1);
    let hash = first_segment(&world, 0);
    world.coordinator.serves = false;
    cannot_read(&mut world, hash);
    assert!(!world.put.contains_key(&hash), "dropped");
    assert_eq!(world.coordinator.needed, [hash]);
    assert_waits_for(&mut world, [hash]);
}

/// A driver that reads segments where they lie, of which the first is the module of
/// another job too, and has other bytes by now. Its hash.
fn reading_a_module_that_changed(serves: bool) -> (World, BlobHash) {
    let mut world = reading_where_it_lies(1);
    let hash = first_segment(&world, 0);
    world
        .put
        .insert(hash, Bytes::from_static(b"other bytes than"));
    world.coordinator.serves = serves;
    let header = JobHeader {
        job: JobId(6),
        module: hash,
        module_len: 16,
        ..world.coordinator.header.clone()
    };
    world.tell(&ToWorker::Job(header));
    world.deliver_all();
    world.load_all();
    assert_eq!(world.coordinator.needed[0], hash, "its bytes are needed");
    (world, hash)
}

/// Which segment the slot's piece reads first.
fn first_segment(world: &World, slot: u16) -> BlobHash {
    let Work::Run { segments, .. } = &world.slots[&slot].work else {
        panic!("not a run");
    };
    segments[0].hash
}

/// The lease is handed in once these have come, not before.
fn assert_waits_for(world: &mut World, blobs: impl IntoIterator<Item = BlobHash>) {
    world.run_dry();
    assert_eq!(world.coordinator.handed.len(), 0, "it is waited for");
    for hash in blobs {
        world.coordinator.serve(hash);
    }
    world.run_dry();
    assert_eq!(world.coordinator.handed.len(), 1);
    assert!(world.put.is_empty());
}

/// The first slot says that the segment is not what it was.
fn cannot_read(world: &mut World, hash: BlobHash) {
    let given = world.slots.remove(&0).expect("it runs");
    let ticket = given.ticket;
    world.handle(Input::SlotUnread {
        slot: 0,
        ticket,
        hash,
    });
}

#[test]
fn a_segment_that_came_meanwhile_stands_in_for_what_it_was() {
    let (mut world, hash) = reading_a_module_that_changed(true);
    cannot_read(&mut world, hash);
    assert_eq!(world.put[&hash], world.coordinator.store[&hash]);
    world.run_dry();
    assert_eq!(world.coordinator.handed.len(), 1);
    assert!(world.put.is_empty());
}

#[test]
fn a_segment_that_is_on_its_way_is_waited_for() {
    let (mut world, hash) = reading_a_module_that_changed(false);
    cannot_read(&mut world, hash);
    assert!(!world.put.contains_key(&hash), "dropped");
    world.run_dry();
    let needed = std::mem::take(&mut world.coordinator.needed);
    assert_eq!(needed.iter().filter(|needed| **needed == hash).count(), 1);
    assert_waits_for(&mut world, needed);
}

#[test]
fn a_segment_that_cannot_be_had_any_more_fails_its_tasks() {
    let (mut world, hash) = reading_a_module_that_changed(false);
    world.coordinator.store.remove(&hash);
    world.coordinator.serve(hash);
    world.deliver_all();
    world.coordinator.serves = true;
    cannot_read(&mut world, hash);
    world.run_dry();
    let failed: Vec<Node> = world.coordinator.failed.keys().copied().collect();
    assert!(failed[0].contains(Node::leaf(0)), "{failed:?}");
    assert_eq!(world.disconnects, []);
}

#[test]
fn what_died_beside_a_segment_that_is_asked_for_waits_for_it() {
    let mut world = reading_where_it_lies(2);
    // The first slot came to it too.
    let hash = first_segment(&world, 1);
    world.coordinator.serves = false;
    cannot_read(&mut world, hash);
    world.crash();
    assert_waits_for(&mut world, [hash]);
}

/// Gives each blob a room that adds a line to it.
#[derive(Debug)]
struct Marked(Vec<u8>);

impl Rooms for Marked {
    fn room(&mut self, _hash: BlobHash, _len: u64) -> Box<dyn Room> {
        Box::new(Self(Vec::new()))
    }
}

impl Room for Marked {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn whole(self: Box<Self>) -> Bytes {
        Bytes::from([&self.0[..], b"marked"].concat())
    }
}

#[test]
fn blobs_gather_where_the_driver_says() {
    let coordinator = Coordinator::new(4, MergeMode::Concat);
    let marking = |session: Session| session.gathering_in(Box::new(Marked(Vec::new())));
    let mut world = World::set_up(1, coordinator, marking);
    let root = world.coordinator.tree.root().unwrap();
    world.coordinator.grant(root);
    world.unchecked = true;
    world.deliver_all();
    let bundle = &world.jobs[&JOB];
    assert!(bundle.module.ends_with(b"marked"));
    assert_eq!(world.disconnects, [], "what came was as it should be");
}
