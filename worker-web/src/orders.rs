//! What the hub posts to a slot: plain objects, with the buffers that move
//! along instead of being copied.

use crate::jobs::Part;
use js_sys::WebAssembly::Module;
use js_sys::{Array, BigInt, Map, Object, Reflect, Uint8Array, Uint32Array};
use manyhands_protocol::JobId;
use std::ops::Range;
use wasm_bindgen::JsValue;

/// A message for `slot.js`.
#[derive(Debug)]
pub(crate) struct Order {
    message: Object,
    transfer: Array,
}

impl Order {
    fn new(op: &str) -> Self {
        let message = Object::new();
        set(&message, "op", op);
        Self {
            message,
            transfer: Array::new(),
        }
    }

    /// How much of its time the slot may use.
    pub(crate) fn share(share: f64) -> Self {
        let order = Self::new("share");
        set(&order.message, "share", share);
        order
    }

    /// A job that pieces will name. The module is shared, files are copied.
    pub(crate) fn job<'a>(
        job: JobId,
        module: &Module,
        params: &[u8],
        files: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Self {
        let mut order = Self::new("job");
        set(&order.message, "job", job.to_string());
        set(&order.message, "module", module);
        order.move_bytes("params", params);
        // No plain object: it has a `constructor` without any file.
        let named = Map::new();
        for (name, bytes) in files {
            named.set(&name.into(), &order.copied(bytes));
        }
        set(&order.message, "files", &named);
        order
    }

    /// No piece names the job any more.
    pub(crate) fn forget(job: JobId) -> Self {
        let order = Self::new("forget");
        set(&order.message, "job", job.to_string());
        order
    }

    /// Run a block.
    pub(crate) fn run(
        ticket: u64,
        job: JobId,
        tasks: &Range<u64>,
        single_step: bool,
        inputs: Vec<Part<'_>>,
    ) -> Self {
        let mut order = Self::piece("run", ticket, job);
        set(&order.message, "first", BigInt::from(tasks.start));
        set(
            &order.message,
            "count",
            BigInt::from(tasks.end - tasks.start),
        );
        set(&order.message, "single", single_step);
        let list = Array::new();
        for part in inputs {
            let input = Object::new();
            set(&input, "first", BigInt::from(part.first));
            set(&input, "bytes", order.copied(part.bytes));
            let ends = Uint32Array::from(&part.ends[..]);
            order.transfer.push(&ends.buffer());
            set(&input, "ends", ends);
            list.push(&input);
        }
        set(&order.message, "inputs", list);
        order
    }

    /// Merge two partials.
    pub(crate) fn merge(ticket: u64, job: JobId, left: &[u8], right: &[u8]) -> Self {
        let mut order = Self::piece("merge", ticket, job);
        order.move_bytes("left", left);
        order.move_bytes("right", right);
        order
    }

    /// Stop at the end of the slice.
    pub(crate) fn cancel(ticket: u64) -> Self {
        let order = Self::new("cancel");
        set(&order.message, "id", ticket as f64);
        order
    }

    fn piece(op: &str, ticket: u64, job: JobId) -> Self {
        let order = Self::new(op);
        // Tickets count from 0: a double holds them.
        set(&order.message, "id", ticket as f64);
        set(&order.message, "job", job.to_string());
        order
    }

    fn move_bytes(&mut self, key: &str, bytes: &[u8]) {
        let copy = self.copied(bytes);
        set(&self.message, key, copy);
    }

    /// A copy outside our own memory, which moves with the message.
    fn copied(&mut self, bytes: &[u8]) -> Uint8Array {
        let copy = Uint8Array::from(bytes);
        self.transfer.push(&copy.buffer());
        copy
    }

    pub(crate) fn message(&self) -> &JsValue {
        &self.message
    }

    pub(crate) fn transfer(&self) -> &JsValue {
        &self.transfer
    }
}

/// Sets a property of a plain object.
pub(crate) fn set(object: &Object, key: &str, value: impl Into<JsValue>) {
    let done = Reflect::set(object, &key.into(), &value.into());
    assert_eq!(done, Ok(true), "plain objects take any property");
}
