//! The whole hub: from hello to partials, and what happens when things break.

use super::coordinator::{Coordinator, Done};
use super::guest;
use super::mailbox::Mailbox;
use super::slots::slot_url;
use crate::orders::set;
use crate::{Hub, Settings};
use bytes::Bytes;
use js_sys::{Function, Object, Reflect};
use manyhands_protocol::message::{EngineKind, JobHeader, SegmentRef, ToCoordinator, ToWorker};
use manyhands_protocol::{BlobHash, FailureKind, Incarnation, JobId, LeaseId, MergeMode, Node};
use manyhands_protocol::{Proof, SessionToken, Split, WorkerId};
use wasm_bindgen::prelude::*;
use wasm_bindgen_test::wasm_bindgen_test;

const JOB: JobId = JobId(3);

/// A hub, and what it reports.
struct Tab {
    hub: Hub,
    reports: Mailbox<JsValue>,
    _report: Closure<dyn FnMut(JsValue)>,
}

impl Tab {
    fn open(url: &str) -> Self {
        Self::open_as(url, false)
    }

    fn open_as(url: &str, hidden: bool) -> Self {
        let reports = Mailbox::new();
        let put = reports.clone();
        let report = Closure::<dyn FnMut(_)>::new(move |report| put.put(report));
        let settings = Object::new();
        set(&settings, "url", url);
        set(&settings, "slotUrl", slot_url());
        set(&settings, "name", "a test");
        set(&settings, "slots", 2);
        set(&settings, "memory", 1e9);
        set(&settings, "share", 1.0);
        set(&settings, "hidden", hidden);
        let function: &Function = report.as_ref().unchecked_ref();
        let hub = Hub::new(settings.unchecked_ref::<Settings>(), function.clone());
        Self {
            hub,
            reports,
            _report: report,
        }
    }

    async fn report(&self, state: &str) -> JsValue {
        let is = |report: &JsValue| get(report, "state").as_string().as_deref() == Some(state);
        self.reports.find(is).await
    }
}

fn get(report: &JsValue, key: &str) -> JsValue {
    Reflect::get(report, &key.into()).unwrap()
}

fn lease(counter: u64) -> LeaseId {
    let incarnation = Incarnation(1);
    LeaseId {
        incarnation,
        counter,
    }
}

async fn welcome(coordinator: &Coordinator) {
    let hello = |message, _| match message {
        ToCoordinator::Hello(hello) => Some(hello),
        _ => None,
    };
    let hello = coordinator.hear(hello).await;
    assert_eq!(hello.engine, EngineKind::Browser);
    assert_eq!(
        (hello.name.as_str(), hello.memory),
        ("a test", 1_000_000_000)
    );
    assert!(hello.simd, "engines of these years have SIMD128");
    coordinator.say(&ToWorker::Welcome {
        worker: WorkerId(12),
        session: SessionToken([0xab; 16]),
        incarnation: Incarnation(1),
        resumed: false,
        alive_every_ms: 15_000,
    });
}

fn header(params: &str, split: Option<Split>, task_timeout_ms: u64) -> ToWorker {
    let module = guest::module();
    ToWorker::Job(JobHeader {
        job: JOB,
        name: "sums".into(),
        module: BlobHash::of(&module),
        module_len: module.len() as u64,
        params: params.into(),
        tasks: 1000,
        merge: MergeMode::Reduce,
        split,
        files: vec![],
        memory: 1 << 20,
        task_timeout_ms,
    })
}

/// Serves what the hub needs until it sends a partial or a failure.
async fn outcome(coordinator: &Coordinator, blobs: &[&[u8]]) -> (ToCoordinator, Bytes) {
    loop {
        let Done::Sent(message, bulk) = coordinator.done.next().await else {
            panic!("the hub hung up");
        };
        match message {
            ToCoordinator::Need(hashes) => serve(coordinator, blobs, &hashes),
            ToCoordinator::Partial { .. } | ToCoordinator::Failed { .. } => return (message, bulk),
            _ => {}
        }
    }
}

fn serve(coordinator: &Coordinator, blobs: &[&[u8]], hashes: &[BlobHash]) {
    for hash in hashes.iter().copied() {
        let bytes = blobs.iter().find(|bytes| BlobHash::of(bytes) == hash);
        let bytes = bytes.expect("a blob that was named");
        let (offset, total) = (0, bytes.len() as u64);
        let piece = ToWorker::Blob {
            hash,
            offset,
            total,
        };
        coordinator.say_with(&piece, bytes);
    }
}

#[wasm_bindgen_test]
async fn a_block_goes_from_grant_to_partial() {
    let coordinator = Coordinator::new();
    let tab = Tab::open("ws://there/ws");
    welcome(&coordinator).await;
    let report = tab.report("waiting").await;
    assert_eq!(get(&report, "worker"), "12");
    assert_eq!(get(&report, "token"), JsValue::from("ab".repeat(16)));
    coordinator.say(&header("-", None, 60_000));
    let node = Node::new(6, 3).unwrap();
    let grant = |lease, node| ToWorker::Grant {
        lease,
        job: JOB,
        node,
        inputs: vec![],
        proof: Proof([1; 16]),
    };
    coordinator.say(&grant(lease(1), node));
    let (message, bytes) = outcome(&coordinator, &[&guest::module()]).await;
    let ToCoordinator::Partial {
        lease: from,
        node: of,
        ..
    } = message
    else {
        panic!("{message:?}");
    };
    let expected: u64 = (192..256).sum();
    assert_eq!(
        (from, of, &bytes[..]),
        (lease(1), node, &expected.to_le_bytes()[..])
    );
    coordinator.say(&ToWorker::Accepted {
        lease: lease(1),
        node,
    });
    let done = tab
        .reports
        .find(|report| get(report, "tasks") == 64.0)
        .await;
    assert_eq!(get(&done, "blocks"), 1.0);

    // A pause hands in what is done; no more is asked for.
    tab.hub.set_paused(true);
    let capacity = |message, _| match message {
        ToCoordinator::Capacity { slots, .. } => Some(u16::from_le_bytes(slots)),
        _ => None,
    };
    assert_eq!(coordinator.hear(capacity).await, 0);
    tab.report("paused").await;
    tab.hub.leave(0);
    coordinator
        .hear(|message, _| (message == ToCoordinator::Goodbye).then_some(()))
        .await;
    tab.report("stopped").await;
    assert!(matches!(coordinator.done.next().await, Done::Closed));
}

#[wasm_bindgen_test]
async fn inputs_are_cut_and_reach_their_tasks() {
    let coordinator = Coordinator::new();
    let _tab = Tab::open("ws://there/ws");
    welcome(&coordinator).await;
    coordinator.say(&header("i", Some(Split::Lines), 60_000));
    let lines = b"one\nand two\n\nfour\n";
    let segment = SegmentRef {
        hash: BlobHash::of(lines),
        len: lines.len() as u64,
        first_task: 0,
        tasks: 4,
    };
    // Only two of the segment's tasks are in the block.
    coordinator.say(&ToWorker::Grant {
        lease: lease(1),
        job: JOB,
        node: Node::new(1, 0).unwrap(),
        inputs: vec![segment],
        proof: Proof([1; 16]),
    });
    let (message, partial) = outcome(&coordinator, &[&guest::module(), lines]).await;
    assert!(
        matches!(message, ToCoordinator::Partial { .. }),
        "{message:?}"
    );
    assert_eq!(
        &partial[..],
        12u64.to_le_bytes(),
        "\"one\\n\" and \"and two\\n\""
    );
}

#[wasm_bindgen_test]
async fn an_endless_task_is_named_and_the_tab_goes_on() {
    let coordinator = Coordinator::new();
    let _tab = Tab::open("ws://there/ws");
    welcome(&coordinator).await;
    coordinator.say(&header("l", None, 300));
    let node = Node::leaf(5);
    coordinator.say(&ToWorker::Grant {
        lease: lease(1),
        job: JOB,
        node,
        inputs: vec![],
        proof: Proof([1; 16]),
    });
    let (message, _) = outcome(&coordinator, &[&guest::module()]).await;
    let ToCoordinator::Failed {
        node: guilty,
        failure,
        ..
    } = message
    else {
        panic!("{message:?}");
    };
    assert_eq!((guilty, failure.kind), (node, FailureKind::Timeout));
    assert!(failure.message.contains("300 ms"), "{failure:?}");
}

#[wasm_bindgen_test]
async fn a_page_that_is_hidden_says_so_at_once() {
    for hidden in [true, false] {
        let coordinator = Coordinator::new();
        let tab = Tab::open_as("ws://there/ws", hidden);
        let hello = |message, _| match message {
            ToCoordinator::Hello(hello) => Some(hello),
            _ => None,
        };
        assert_eq!(coordinator.hear(hello).await.hidden, hidden);
        tab.hub.leave(0);
    }
}

#[wasm_bindgen_test]
async fn a_lost_connection_is_resumed() {
    let coordinator = Coordinator::new();
    let tab = Tab::open("ws://there/ws");
    welcome(&coordinator).await;
    tab.report("waiting").await;
    coordinator.hang_up();
    tab.report("offline").await;
    let hello = |message, _| match message {
        ToCoordinator::Hello(hello) => Some(hello),
        _ => None,
    };
    let hello = coordinator.hear(hello).await;
    assert_eq!(hello.resume, Some(SessionToken([0xab; 16])));
    // Garbage ends the connection, and nothing else.
    coordinator.babble();
    coordinator.hear(hello_again).await;
    tab.hub.leave(0);
}

fn hello_again<T>(message: ToCoordinator, _: T) -> Option<()> {
    matches!(message, ToCoordinator::Hello(_)).then_some(())
}

#[wasm_bindgen_test]
async fn a_refused_connection_is_tried_again() {
    // Nothing listens here; the browser's own WebSocket finds out.
    let tab = Tab::open("ws://127.0.0.1:65533/ws");
    let first = tab.report("offline").await;
    assert!(get(&first, "retryMs").as_f64().unwrap() >= 0.0);
    tab.report("connecting").await;
    let second = tab.report("offline").await;
    assert!(get(&second, "retryMs").as_f64().unwrap() >= 0.0);
    tab.hub.leave(0);
    tab.report("stopped").await;
}
