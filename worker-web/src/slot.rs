//! One slot: a dedicated worker that runs `slot.js`.

use crate::orders::Order;
use js_sys::{Array, Uint8Array};
use manyhands_protocol::JobId;
use wasm_bindgen::prelude::*;
use web_sys::{MessageEvent, Worker};

#[wasm_bindgen]
extern "C" {
    /// What `slot.js` posts.
    #[derive(Clone, Debug)]
    pub(crate) type Told;
    /// `slice`, `done`, `cancelled`, `failed`, or `log`.
    #[wasm_bindgen(method, getter)]
    pub(crate) fn op(this: &Told) -> String;
    /// The ticket of the order it is about.
    #[wasm_bindgen(method, getter)]
    pub(crate) fn id(this: &Told) -> f64;
    /// `slice`: how many tasks are about to run; 0 between slices.
    #[wasm_bindgen(method, getter)]
    pub(crate) fn tasks(this: &Told) -> f64;
    /// `slice`: how long the slot rests, in milliseconds.
    #[wasm_bindgen(method, getter)]
    pub(crate) fn rest(this: &Told) -> f64;
    /// Milliseconds the guest has run.
    #[wasm_bindgen(method, getter)]
    pub(crate) fn busy(this: &Told) -> f64;
    /// `done`: what the work came to.
    #[wasm_bindgen(method, getter)]
    pub(crate) fn partial(this: &Told) -> Uint8Array;
    /// `failed`: `error`, `trap`, `stack` or `memory`.
    #[wasm_bindgen(method, getter)]
    pub(crate) fn kind(this: &Told) -> String;
    /// `failed`, `log`: for the author.
    #[wasm_bindgen(method, getter)]
    pub(crate) fn text(this: &Told) -> String;
    /// `failed`: pairs of a function's name and offset, innermost first.
    #[wasm_bindgen(method, getter)]
    pub(crate) fn frames(this: &Told) -> Array;
}

/// What a slot tells.
#[derive(Debug)]
pub(crate) enum SlotEvent {
    /// It posted something.
    Told(Told),
    /// Its script is broken, or cannot be loaded.
    Broken(String),
}

/// A worker; ended when dropped, whatever it does then, and silent.
#[derive(Debug)]
pub(crate) struct Slot {
    worker: Worker,
    /// Jobs it has been sent.
    knows: Vec<JobId>,
    // Kept because the worker calls them.
    _on_message: Closure<dyn FnMut(MessageEvent)>,
    _on_error: Closure<dyn FnMut(JsValue)>,
}

impl Slot {
    /// Starts a worker.
    ///
    /// # Errors
    /// What the browser throws, for an address it does not allow say.
    pub(crate) fn start(
        url: &str,
        share: f64,
        tell: impl Fn(SlotEvent) + Clone + 'static,
    ) -> Result<Self, JsValue> {
        let worker = Worker::new(url)?;
        let told = tell.clone();
        let message = Closure::<dyn FnMut(_)>::new(move |event: MessageEvent| {
            told(SlotEvent::Told(event.data().unchecked_into()));
        });
        let error = Closure::<dyn FnMut(_)>::new(move |event: JsValue| {
            tell(SlotEvent::Broken(message_of(&event)));
        });
        worker.set_onmessage(Some(message.as_ref().unchecked_ref()));
        worker.set_onerror(Some(error.as_ref().unchecked_ref()));
        let slot = Self {
            worker,
            knows: Vec::new(),
            _on_message: message,
            _on_error: error,
        };
        slot.post(&Order::share(share));
        Ok(slot)
    }

    /// Has it do something.
    pub(crate) fn post(&self, order: &Order) {
        self.worker
            .post_message_with_transfer(order.message(), order.transfer())
            .expect("orders can be posted");
    }

    /// Whether it has the job already.
    pub(crate) fn knows(&self, job: JobId) -> bool {
        self.knows.contains(&job)
    }

    /// Sends it a job.
    pub(crate) fn teach(&mut self, job: JobId, order: &Order) {
        self.post(order);
        self.knows.push(job);
    }

    /// Has it forget a job.
    pub(crate) fn forget(&mut self, job: JobId) {
        if self.knows(job) {
            self.knows.retain(|known| *known != job);
            self.post(&Order::forget(job));
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.worker.set_onmessage(None);
        self.worker.set_onerror(None);
        self.worker.terminate();
    }
}

/// An error event has a text unless the script could not be loaded.
fn message_of(event: &JsValue) -> String {
    let text = js_sys::Reflect::get(event, &"message".into()).ok();
    text.and_then(|text| text.as_string())
        .unwrap_or_else(|| "its script cannot be loaded".to_owned())
}
