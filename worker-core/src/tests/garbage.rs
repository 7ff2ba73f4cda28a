//! A coordinator that says anything: the session answers with a reason, and goes
//! on to the next connection.

use super::coordinator::{Coordinator, JOB};
use super::world::World;
use crate::{GrantFault, Input, Reason};
use manyhands_protocol::message::{JobHeader, MergeMode, SegmentRef, ToWorker};
use manyhands_protocol::{
    BlobHash, Incarnation, JobId, LeaseId, MAX_TASKS, Node, Proof, SessionToken, Split, WorkerId,
    codec,
};
use proptest::prelude::*;

fn lease(counter: u64) -> LeaseId {
    LeaseId {
        incarnation: Incarnation(1),
        counter,
    }
}

/// Few values of each kind, so that messages refer to each other; some are
/// extremes.
fn few() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0u64..4, 1 => Just(u64::MAX), 1 => Just(MAX_TASKS)]
}

fn node() -> impl Strategy<Value = Node> {
    (0u8..5, 0u64..6).prop_map(|(level, index)| Node::new(level, index).unwrap())
}

/// Contents 0 to 3 exist; their hashes are right.
fn content(number: u64) -> Vec<u8> {
    vec![b'\n'; (number % 4) as usize]
}

fn segment() -> impl Strategy<Value = SegmentRef> {
    (0u64..4, few(), few(), few()).prop_map(|(number, len, first_task, tasks)| SegmentRef {
        hash: BlobHash::of(&content(number)),
        len: if len < 3 { number } else { len },
        first_task,
        tasks,
    })
}

fn header() -> impl Strategy<Value = JobHeader> {
    let tasks = prop_oneof![3 => 0u64..20, 1 => few()];
    (0u64..3, tasks, 0u64..4, few(), any::<[bool; 2]>()).prop_map(
        |(job, tasks, number, len, [split, reduce])| JobHeader {
            job: JobId(job),
            name: String::new(),
            module: BlobHash::of(&content(number)),
            module_len: if len < 3 { number } else { len },
            params: Vec::new(),
            tasks,
            merge: if reduce {
                MergeMode::Reduce
            } else {
                MergeMode::Concat
            },
            split: split.then_some(Split::Lines),
            files: Vec::new(),
            memory: 0,
            task_timeout_ms: 0,
        },
    )
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    let welcome = (any::<bool>(), few()).prop_map(|(resumed, alive_every_ms)| ToWorker::Welcome {
        worker: WorkerId(1),
        session: SessionToken([1; 16]),
        incarnation: Incarnation(1),
        resumed,
        alive_every_ms,
    });
    let grant = (
        0u64..8,
        0u64..3,
        node(),
        prop::collection::vec(segment(), 0..3),
    );
    let grant = grant.prop_map(|(counter, job, node, inputs)| ToWorker::Grant {
        lease: lease(counter),
        job: JobId(job),
        node,
        inputs,
        proof: Proof([1; 16]),
    });
    let accepted = (0u64..8, node()).prop_map(|(counter, node)| ToWorker::Accepted {
        lease: lease(counter),
        node,
    });
    let closing = few().prop_map(|after_ms| ToWorker::Closing {
        after_ms: after_ms.min(1000),
        reason: String::new(),
    });
    let reason = String::new();
    let message = prop_oneof![
        4 => welcome,
        8 => header().prop_map(ToWorker::Job),
        16 => grant,
        4 => (0u64..8).prop_map(|counter| ToWorker::Revoke { lease: lease(counter) }),
        4 => accepted,
        2 => (0u64..3).prop_map(|job| ToWorker::Forget { job: JobId(job) }),
        2 => (0u64..4).prop_map(|n| ToWorker::Gone { hash: BlobHash::of(&content(n)) }),
        1 => Just(ToWorker::Alive),
        1 => Just(ToWorker::Refused { reason }),
        1 => closing,
    ];
    let blob = (0u64..4, any::<bool>()).prop_map(|(number, good)| {
        let mut bytes = content(number);
        let hash = BlobHash::of(&bytes);
        if !good {
            bytes.fill(b'?');
        }
        let header = ToWorker::Blob {
            hash,
            offset: 0,
            total: bytes.len() as u64,
        };
        codec::encode_with(&header, &bytes)
    });
    prop_oneof![
        8 => message.prop_map(|message| codec::encode(&message)),
        4 => blob,
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

#[derive(Clone, Debug)]
enum Operation {
    Frame(Vec<u8>),
    Wait,
    Load,
    End,
    Capacity(u16),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        12 => frame().prop_map(Operation::Frame),
        2 => Just(Operation::Wait),
        2 => Just(Operation::Load),
        4 => Just(Operation::End),
        1 => (0u16..3).prop_map(Operation::Capacity),
    ]
}

/// The slots answer with any bytes: what the guest says is not under test.
fn end_any_slot(world: &mut World) {
    if let Some((slot, given)) = world.slots.pop_first() {
        world.handle(Input::SlotDone {
            slot,
            ticket: given.ticket,
            partial: vec![b'x'; 3].into(),
            busy_us: 1,
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn nothing_the_coordinator_says_is_a_panic(
        operations in prop::collection::vec(operation(), 1..80),
    ) {
        let mut world = World::new(2, Coordinator::new(1, MergeMode::Reduce));
        world.coordinator.deaf = true;
        for operation in operations {
            if world.finished.is_some() {
                break;
            }
            if world.connecting {
                world.connect();
                let welcome = ToWorker::Welcome {
                    worker: WorkerId(1),
                    session: SessionToken([1; 16]),
                    incarnation: Incarnation(1),
                    resumed: true,
                    alive_every_ms: 1000,
                };
                world.tell(&welcome);
            }
            match operation {
                Operation::Frame(frame) if world.open => world.handle(Input::Frame(frame.into())),
                Operation::Frame(_) | Operation::Wait => world.wait(),
                Operation::Load => world.load_all(),
                Operation::End => end_any_slot(&mut world),
                Operation::Capacity(slots) => {
                    world.handle(Input::Capacity { slots, hidden: false });
                }
            }
        }
        prop_assert!(world.session.view().busy_slots <= 2);
    }
}

fn reason_for(messages: &[ToWorker]) -> Option<Reason> {
    let mut world = World::welcomed(2, Coordinator::new(8, MergeMode::Reduce));
    let header = world.coordinator.header.clone();
    world.tell(&ToWorker::Job(header));
    for message in messages {
        if world.open {
            world.tell(message);
        }
    }
    world.disconnects.pop()
}

fn grant(counter: u64, node: Node, inputs: Vec<SegmentRef>) -> ToWorker {
    ToWorker::Grant {
        lease: lease(counter),
        job: JOB,
        node,
        inputs,
        proof: Proof([1; 16]),
    }
}

#[test]
fn bad_grants_are_named() {
    let bad = |fault| {
        let lease = lease(0);
        Some(Reason::BadGrant { lease, fault })
    };
    let root = Node::new(3, 0).unwrap();
    assert_eq!(reason_for(&[grant(0, root, Vec::new())]), None);
    let twice = [grant(0, root, Vec::new()), grant(0, root, Vec::new())];
    assert_eq!(reason_for(&twice), bad(GrantFault::Twice));
    let outside = grant(0, Node::leaf(8), Vec::new());
    assert_eq!(reason_for(&[outside]), bad(GrantFault::Node));
    let segment = SegmentRef {
        hash: BlobHash([0; 32]),
        len: 1,
        first_task: 0,
        tasks: 8,
    };
    let unwanted = grant(0, root, vec![segment]);
    assert_eq!(reason_for(&[unwanted]), bad(GrantFault::Segments));
    let unknown = ToWorker::Grant {
        lease: lease(0),
        job: JobId(9),
        node: root,
        inputs: Vec::new(),
        proof: Proof([1; 16]),
    };
    assert_eq!(reason_for(&[unknown]), Some(Reason::UnknownJob(JobId(9))));
}

#[test]
fn segments_have_to_cover_the_block() {
    let of = |first_task, tasks| SegmentRef {
        hash: BlobHash([first_task as u8; 32]),
        len: 1,
        first_task,
        tasks,
    };
    let outcome = |segments: &[SegmentRef]| {
        let mut world = World::welcomed(2, Coordinator::new(8, MergeMode::Reduce));
        let mut header = world.coordinator.header.clone();
        header.split = Some(Split::Lines);
        world.tell(&ToWorker::Job(header));
        world.tell(&grant(0, Node::new(2, 1).unwrap(), segments.to_vec()));
        world.disconnects.pop()
    };
    for good in [vec![of(4, 4)], vec![of(2, 3), of(5, 3)], vec![of(0, 8)]] {
        assert_eq!(outcome(&good), None, "{good:?}");
    }
    let bad = [
        vec![],
        vec![of(4, 3)],
        vec![of(5, 3)],
        vec![of(4, 2), of(7, 1)],
        vec![of(4, 3), of(6, 2)],
        vec![of(4, 5)],
        vec![of(4, 4), of(8, 0)],
        vec![of(4, u64::MAX)],
    ];
    let fault = GrantFault::Segments;
    let lease = lease(0);
    for segments in bad {
        let reason = Some(Reason::BadGrant { lease, fault });
        assert_eq!(outcome(&segments), reason, "{segments:?}");
    }
}
