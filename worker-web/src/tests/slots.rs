//! Slots: the real `slot.js` in a real worker runs a guest.

use super::guest;
use super::mailbox::Mailbox;
use crate::failure;
use crate::jobs::Part;
use crate::orders::Order;
use crate::slot::{Slot, SlotEvent, Told};
use js_sys::WebAssembly::Module;
use js_sys::{Array, Uint8Array};
use manyhands_protocol::{Failure, FailureKind, JobId};
use wasm_bindgen::JsValue;
use wasm_bindgen_test::wasm_bindgen_test;

const JOB: JobId = JobId(7);

/// `slot.js` without a server.
pub(super) fn slot_url() -> String {
    let parts = Array::of1(&include_str!("../../../www/slot.js").into());
    let options = web_sys::BlobPropertyBag::new();
    options.set_type("text/javascript");
    let blob = web_sys::Blob::new_with_str_sequence_and_options(&parts, &options);
    web_sys::Url::create_object_url_with_blob(&blob.expect("a blob")).expect("its address")
}

fn slot(params: &str) -> (Slot, Mailbox<Told>) {
    slot_of(&guest::module(), params, &[])
}

/// A slot that has been taught the job of this guest.
pub(super) fn slot_of(wasm: &[u8], params: &str, files: &[(&str, &[u8])]) -> (Slot, Mailbox<Told>) {
    let events = Mailbox::new();
    let put = events.clone();
    let tell = move |event| match event {
        SlotEvent::Told(told) => put.put(told),
        SlotEvent::Broken(text) => panic!("{text}"),
    };
    let mut slot = Slot::start(&slot_url(), 1.0, tell).unwrap();
    let module = Module::new(&Uint8Array::from(wasm)).unwrap();
    let job = Order::job(JOB, &module, params.as_bytes(), files.iter().copied());
    slot.teach(JOB, &job);
    (slot, events)
}

pub(super) async fn end(events: &Mailbox<Told>) -> Told {
    events
        .find(|told| told.op() != "slice" && told.op() != "log")
        .await
}

pub(super) fn sum(told: &Told) -> u64 {
    assert_eq!(told.op(), "done");
    u64::from_le_bytes(told.partial().to_vec().try_into().expect("8 bytes"))
}

async fn failure_of(params: &str) -> Failure {
    failure_in(slot(params), vec![]).await
}

/// How a guest's first block fails.
pub(super) async fn failure_of_guest(wasm: &[u8], inputs: Vec<Part<'_>>) -> Failure {
    failure_in(slot_of(wasm, "-", &[]), inputs).await
}

async fn failure_in((slot, events): (Slot, Mailbox<Told>), inputs: Vec<Part<'_>>) -> Failure {
    slot.post(&Order::run(1, JOB, &(0..2), false, inputs));
    let told = end(&events).await;
    assert_eq!(told.op(), "failed");
    failure::of_told(&told, 3 << 20)
}

#[wasm_bindgen_test]
async fn a_block_runs_in_slices_and_gives_its_partial() {
    let (slot, events) = slot("-");
    // Past 2^53, where a double would lose the task's number.
    let tasks = (1 << 60)..(1 << 60) + 3000;
    slot.post(&Order::run(5, JOB, &tasks, false, vec![]));
    let mut slices = Vec::new();
    let told = loop {
        let told = events.next().await;
        assert_eq!(told.id(), 5.0);
        if told.op() != "slice" {
            break told;
        }
        slices.push(told.tasks() as u64);
    };
    assert_eq!(slices[0], 1, "the first slice is one task");
    assert!(
        slices.windows(2).all(|two| two[1] <= 4 * two[0]),
        "{slices:?}"
    );
    assert_eq!(slices.iter().sum::<u64>(), 3000);
    let expected = tasks.fold(0u64, u64::wrapping_add);
    assert_eq!(sum(&told), expected);
    assert!(told.busy() >= 0.0);
}

#[wasm_bindgen_test]
async fn single_steps_are_single() {
    let (slot, events) = slot("-");
    slot.post(&Order::run(6, JOB, &(10..15), true, vec![]));
    for _ in 0..5 {
        assert_eq!(events.next().await.tasks(), 1.0);
    }
    assert_eq!(events.next().await.tasks(), 0.0);
    assert_eq!(sum(&events.next().await), 60);
}

#[wasm_bindgen_test]
async fn partials_merge_in_a_fresh_instance() {
    let (slot, events) = slot("-");
    for ticket in 1..4u64 {
        let (left, right) = (ticket.to_le_bytes(), 40u64.to_le_bytes());
        slot.post(&Order::merge(ticket, JOB, &left, &right));
        assert_eq!(sum(&end(&events).await), ticket + 40);
    }
}

#[wasm_bindgen_test]
async fn failures_have_kinds_and_texts() {
    let error = failure_of("e").await;
    assert_eq!(
        (error.kind, error.message.as_str()),
        (FailureKind::Error, "no such luck")
    );
    let panic = failure_of("p").await;
    assert_eq!(panic.kind, FailureKind::Trap);
    assert!(
        panic
            .message
            .starts_with("panicked at 'odd', src/lib.rs:7\n  at "),
        "{panic:?}"
    );
    let frame = panic.message.lines().nth(1).unwrap_or_default();
    assert!(frame.starts_with("  at misbehave (0x"), "{panic:?}");
    let trap = failure_of("t").await;
    assert_eq!(trap.kind, FailureKind::Trap);
    assert!(!trap.message.contains("panicked"));
    assert_eq!(failure_of("s").await.kind, FailureKind::Stack);
    let memory = failure_of("m").await;
    assert_eq!(memory.kind, FailureKind::Memory);
    assert!(
        memory
            .message
            .starts_with("out of memory: the job allows 3 MiB"),
        "{memory:?}"
    );
    let outside = failure_of("o").await;
    assert_eq!(outside.kind, FailureKind::Trap);
    assert!(
        outside
            .message
            .starts_with("input_len: task 1000 is outside"),
        "{outside:?}"
    );
}

#[wasm_bindgen_test]
async fn tasks_read_their_inputs() {
    let (slot, events) = slot("i");
    let parts = vec![
        Part {
            first: 8,
            bytes: b"xxone",
            ends: vec![2, 5],
        },
        Part {
            first: 10,
            bytes: b"three",
            ends: vec![5],
        },
    ];
    slot.post(&Order::run(1, JOB, &(9..11), false, parts));
    let lines = [events.find(is_log).await, events.find(is_log).await];
    assert_eq!(lines.map(|told| told.text()), ["one", "three"]);
    assert_eq!(sum(&end(&events).await), 8);
}

pub(super) fn is_log(told: &Told) -> bool {
    told.op() == "log"
}

#[wasm_bindgen_test]
async fn a_cancel_comes_through_between_slices() {
    let (slot, events) = slot("-");
    slot.post(&Order::run(1, JOB, &(0..1 << 60), false, vec![]));
    assert_eq!(events.next().await.op(), "slice");
    slot.post(&Order::cancel(1));
    assert_eq!(end(&events).await.op(), "cancelled");
    // The slot goes on with the next piece.
    slot.post(&Order::run(2, JOB, &(1..3), false, vec![]));
    assert_eq!(sum(&end(&events).await), 3);
}

#[wasm_bindgen_test]
async fn a_share_rests_between_slices() {
    let (slot, events) = slot("-");
    slot.post(&Order::share(0.25));
    slot.post(&Order::run(1, JOB, &(0..1 << 60), false, vec![]));
    let rest = events.find(|told| told.rest() > 0.0).await;
    assert_eq!(rest.tasks(), 0.0);
    slot.post(&Order::cancel(1));
    assert_eq!(end(&events).await.op(), "cancelled");
}

#[wasm_bindgen_test]
async fn a_missing_script_is_reported() {
    let events = Mailbox::new();
    let put = events.clone();
    let tell = move |event| put.put(matches!(event, SlotEvent::Broken(_)));
    let _slot = Slot::start("blob:nowhere", 1.0, tell);
    // Engines differ: some throw at once.
    if let Ok(_slot) = &_slot {
        assert!(events.next().await);
    } else {
        assert_ne!(_slot.unwrap_err(), JsValue::NULL);
    }
}
