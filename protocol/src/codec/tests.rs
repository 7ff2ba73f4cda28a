//! The codec against garbage, its limits, and changes of the encoding.

use super::*;
use crate::message::*;
use crate::*;
use proptest::prelude::*;

fn lease() -> LeaseId {
    LeaseId {
        incarnation: Incarnation(0x0102),
        counter: 0x0304,
    }
}

fn hello() -> Hello {
    Hello {
        version: PROTOCOL_VERSION.to_le_bytes(),
        resume: Some(SessionToken([7; 16])),
        held: vec![Claim {
            lease: lease(),
            job: JobId(1),
            node: Node::new(5, 9).unwrap(),
            proof: Proof([8; 16]),
        }],
        name: "lab-7".into(),
        engine: EngineKind::Browser,
        slots: 4u16.to_le_bytes(),
        memory: 1 << 30,
        simd: true,
        hidden: true,
    }
}

/// One of each, every field filled.
fn all_to_coordinator() -> Vec<ToCoordinator> {
    let node = Node::new(5, 9).unwrap();
    let failure = Failure {
        kind: FailureKind::Timeout,
        message: "late".into(),
    };
    vec![
        ToCoordinator::Hello(hello()),
        ToCoordinator::Need(vec![BlobHash([3; 32])]),
        ToCoordinator::Partial {
            lease: lease(),
            node,
            offset: 0,
            total: 0,
            busy_us: 250,
        },
        ToCoordinator::Failed {
            lease: lease(),
            node,
            failure: failure.clone(),
        },
        ToCoordinator::Returned { lease: lease() },
        ToCoordinator::Progress {
            lease: lease(),
            done: 17,
        },
        ToCoordinator::Capacity {
            slots: 2u16.to_le_bytes(),
            hidden: true,
        },
        ToCoordinator::Log {
            job: JobId(1),
            text: "hi".into(),
        },
        ToCoordinator::Alive,
        ToCoordinator::Goodbye,
        ToCoordinator::Unusable {
            job: JobId(1),
            failure,
        },
        ToCoordinator::Pong,
    ]
}

fn all_to_worker() -> Vec<ToWorker> {
    let (hash, node) = (BlobHash([4; 32]), Node::new(3, 1).unwrap());
    let header = JobHeader {
        job: JobId(1),
        name: "pi".into(),
        module: hash,
        module_len: 99,
        params: b"{}".to_vec(),
        tasks: 1000,
        merge: MergeMode::Reduce,
        split: Some(Split::Size(4096)),
        files: vec![FileRef {
            name: "table".into(),
            hash,
            len: 5,
        }],
        memory: 1 << 26,
        task_timeout_ms: 60_000,
    };
    let input = SegmentRef {
        hash,
        len: 12,
        first_task: 8,
        tasks: 8,
    };
    vec![
        ToWorker::Welcome {
            worker: WorkerId(2),
            session: SessionToken([9; 16]),
            incarnation: Incarnation(3),
            resumed: true,
            alive_every_ms: 5000,
        },
        ToWorker::Refused {
            reason: "too old".into(),
        },
        ToWorker::Job(header),
        ToWorker::Grant {
            lease: lease(),
            job: JobId(1),
            node,
            inputs: vec![input],
            proof: Proof([8; 16]),
        },
        ToWorker::Revoke { lease: lease() },
        ToWorker::Accepted {
            lease: lease(),
            node,
        },
        ToWorker::Forget { job: JobId(1) },
        ToWorker::Blob {
            hash,
            offset: 0,
            total: 0,
        },
        ToWorker::Gone { hash },
        ToWorker::Alive,
        ToWorker::Closing {
            after_ms: 1000,
            reason: "bye".into(),
        },
        ToWorker::Merge {
            lease: lease(),
            job: JobId(1),
            node: Node::leaf(6).parent().unwrap(),
            left: 3,
            right: 4,
        },
        ToWorker::Halves {
            lease: lease(),
            offset: 0,
            total: 0,
        },
        ToWorker::Ping,
    ]
}

#[test]
fn every_message_comes_back() {
    for message in all_to_coordinator() {
        let (back, bulk) = decode::<ToCoordinator>(encode(&message).into()).unwrap();
        assert_eq!((back, bulk.len()), (message, 0));
    }
    for message in all_to_worker() {
        let (back, bulk) = decode::<ToWorker>(encode(&message).into()).unwrap();
        assert_eq!((back, bulk.len()), (message, 0));
    }
}

/// When this fails, the encoding changed: raise `PROTOCOL_VERSION`, then write
/// the new fingerprint here.
#[test]
fn the_encoding_changes_only_with_the_version() {
    let mut frames = Vec::new();
    for message in all_to_coordinator() {
        frames.extend(encode(&message));
    }
    for message in all_to_worker() {
        frames.extend(encode(&message));
    }
    let fingerprint = (PROTOCOL_VERSION, &BlobHash::of(&frames).to_string()[..16]);
    assert_eq!(fingerprint, (4, "243b2cb9924c2e79"));
}

#[test]
fn the_version_is_readable_whatever_follows() {
    let frame = encode(&ToCoordinator::Hello(hello()));
    assert_eq!(hello_version(&frame), Some(PROTOCOL_VERSION));
    assert_eq!(hello_version(&[0, 2, 1, 255]), Some(0x0102));
    assert_eq!(hello_version(&encode(&ToCoordinator::Alive)), None);
    assert_eq!(hello_version(&[]), None);
}

#[test]
fn bulk_is_a_slice_of_its_frame() {
    let message = ToWorker::Blob {
        hash: BlobHash([1; 32]),
        offset: 4,
        total: 9,
    };
    let frame = Bytes::from(encode_with(&message, b"bytes"));
    let (back, bulk) = decode::<ToWorker>(frame.clone()).unwrap();
    assert_eq!((back, &bulk[..]), (message, &b"bytes"[..]));
    assert!(frame.as_ptr_range().contains(&bulk.as_ptr()), "not copied");
}

#[test]
fn limits_hold() {
    let huge = Bytes::from(vec![0; MAX_FRAME + 1]);
    assert_eq!(
        decode::<ToWorker>(huge),
        Err(DecodeError::TooLarge(MAX_FRAME + 1))
    );
    let mut frame = encode(&ToWorker::Alive);
    frame.push(1);
    assert_eq!(decode::<ToWorker>(frame.into()), Err(DecodeError::Bulk(1)));
    let past = ToWorker::Blob {
        hash: BlobHash([1; 32]),
        offset: u64::MAX,
        total: 9,
    };
    let mut frame = postcard::to_stdvec(&past).unwrap();
    frame.push(1);
    assert_eq!(decode::<ToWorker>(frame.into()), Err(DecodeError::Bulk(1)));
    let long = ToCoordinator::Log {
        job: JobId(1),
        text: "x".repeat(MAX_TEXT + 1),
    };
    let outcome = decode::<ToCoordinator>(encode(&long).into());
    assert_eq!(outcome, Err(DecodeError::Limit("a log line")));
    let long = ToCoordinator::Unusable {
        job: JobId(1),
        failure: Failure {
            kind: FailureKind::Crash,
            message: "x".repeat(MAX_TEXT + 1),
        },
    };
    let outcome = decode::<ToCoordinator>(encode(&long).into());
    assert_eq!(outcome, Err(DecodeError::Limit("a failure's text")));
}

#[test]
fn a_node_outside_the_algebra_is_malformed() {
    // Level 63 cannot be made through `Node::new`; it must not come off the wire.
    let good = encode(&ToCoordinator::Partial {
        lease: lease(),
        node: Node::new(5, 9).unwrap(),
        offset: 0,
        total: 0,
        busy_us: 0,
    });
    let at = 1 + 16;
    assert_eq!(good[at], 5, "the level's place");
    let mut bad = good.clone();
    bad[at] = 63;
    assert_eq!(
        decode::<ToCoordinator>(bad.into()),
        Err(DecodeError::Malformed)
    );
    let mut bad = good;
    bad[at + 8] = 0xff;
    assert_eq!(
        decode::<ToCoordinator>(bad.into()),
        Err(DecodeError::Malformed)
    );
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode::<ToWorker>(bytes.clone().into());
        let _ = decode::<ToCoordinator>(bytes.into());
    }

    #[test]
    fn damaged_frames_never_panic(pick in any::<usize>(), at in any::<usize>(), byte in any::<u8>(), cut in any::<usize>()) {
        let messages = all_to_coordinator();
        let mut frame = encode(&messages[pick % messages.len()]);
        let at = at % frame.len();
        frame[at] = byte;
        frame.truncate(1 + cut % frame.len());
        let _ = decode::<ToCoordinator>(frame.into());
        let messages = all_to_worker();
        let mut frame = encode(&messages[pick % messages.len()]);
        let at = at % frame.len();
        frame[at] = byte;
        let _ = decode::<ToWorker>(frame.into());
    }
}
