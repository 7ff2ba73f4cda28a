//! Who is overdue, and who only seems to be.

use crate::watch::Watch;
use manyhands_protocol::JobId;
use manyhands_worker_core::Micros;
use wasm_bindgen_test::wasm_bindgen_test;

const fn ms(millis: u64) -> Micros {
    Micros::from_millis(millis)
}

fn watch() -> Watch {
    let mut watch = Watch::default();
    watch.begin(ms(0), 0, 1, JobId(1), 100..200, ms(500));
    watch
}

#[wasm_bindgen_test]
fn a_slice_is_given_one_task_s_time() {
    let mut watch = watch();
    assert!(
        watch.overdue(ms(5_000), ms(5_000)).is_empty(),
        "opening may take longer"
    );
    watch.slice(ms(5_000), 0, 8, ms(0));
    assert_eq!(watch.next_deadline(), Some(ms(5_500)));
    assert_eq!(watch.get(0).unwrap().at(), None, "any of eight");
    watch.slice(ms(5_400), 0, 1, ms(0));
    assert_eq!(watch.get(0).unwrap().at(), Some(108));
    assert_eq!(watch.overdue(ms(5_900), ms(5_900)), [0]);
    assert_eq!(watch.tasks(), 8);
}

#[wasm_bindgen_test]
fn a_rest_is_no_silence() {
    let mut watch = watch();
    watch.slice(ms(0), 0, 1, ms(0));
    watch.slice(ms(400), 0, 0, ms(60_000));
    assert!(watch.overdue(ms(60_400), ms(60_400)).is_empty());
}

#[wasm_bindgen_test]
fn nobody_is_blamed_for_a_sleep() {
    let mut watch = watch();
    watch.slice(ms(0), 0, 1, ms(0));
    // The lid was closed for an hour.
    assert!(watch.overdue(ms(3_600_500), ms(500)).is_empty());
    assert!(watch.overdue(ms(3_601_400), ms(3_601_400)).is_empty());
    assert_eq!(watch.overdue(ms(3_601_500), ms(3_601_500)), [0]);
}

#[wasm_bindgen_test]
fn a_cancelled_slot_has_little_time() {
    let mut watch = watch();
    watch.slice(ms(0), 0, 1, ms(0));
    watch.cancel(0, ms(200));
    watch.slice(ms(100), 0, 1, ms(0));
    assert_eq!(watch.overdue(ms(200), ms(200)), [0]);
    assert!(watch.get(0).unwrap().cancelled);
}
