//! The browser worker: the hub of a tab, compiled to Wasm.
//!
//! The hub lives in a dedicated worker (`www/hub.js`). It owns the WebSocket and
//! the [`Session`](manyhands_worker_core::Session), compiles guests, and has N
//! slots (`www/slot.js`, dedicated workers too) run them. What to compute, and in
//! what order, is the session's; what a person sees is the page's.

mod clock;
mod driver;
mod failure;
mod jobs;
mod machine;
mod orders;
mod report;
mod slot;
mod socket;
mod start;
mod table;
#[cfg(all(test, target_arch = "wasm32"))]
mod tests;
mod timer;
mod watch;

use driver::{Driver, Event};
use js_sys::Function;
use manyhands_worker_core::Micros;
use std::cell::RefCell;
use std::rc::Rc;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// What `hub.js` says of the page and the machine.
    #[derive(Clone, Debug)]
    pub type Settings;
    /// Where the coordinator's socket is: `ws://…/ws`.
    #[wasm_bindgen(method, getter)]
    fn url(this: &Settings) -> String;
    /// Where `slot.js` is.
    #[wasm_bindgen(method, getter, js_name = slotUrl)]
    fn slot_url(this: &Settings) -> String;
    /// The browser's name, for people.
    #[wasm_bindgen(method, getter)]
    fn name(this: &Settings) -> String;
    /// How many slots to run.
    #[wasm_bindgen(method, getter)]
    fn slots(this: &Settings) -> u16;
    /// Bytes of memory to claim.
    #[wasm_bindgen(method, getter)]
    fn memory(this: &Settings) -> f64;
    /// How much of each slot's time to use, above 0 to 1.
    #[wasm_bindgen(method, getter)]
    fn share(this: &Settings) -> f64;
    /// Whether the page is hidden.
    #[wasm_bindgen(method, getter)]
    fn hidden(this: &Settings) -> bool;
}

/// A tab's worker: connects when it is made, and lives until it is freed.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Hub(Rc<RefCell<Driver>>);

#[wasm_bindgen]
impl Hub {
    /// Connects. `report` is called with a small plain object whenever something
    /// that a person may see has changed, some four times a second at most.
    #[wasm_bindgen(constructor)]
    #[must_use]
    pub fn new(settings: &Settings, report: Function) -> Self {
        Self(Driver::start(settings, report))
    }

    /// Computes on so many slots from now on.
    #[wasm_bindgen(js_name = setSlots)]
    pub fn set_slots(&self, slots: u16) {
        self.0.borrow_mut().on(Event::Slots(slots));
    }

    /// Uses this part of each slot's time, above 0 to 1.
    #[wasm_bindgen(js_name = setShare)]
    pub fn set_share(&self, share: f64) {
        self.0.borrow_mut().on(Event::Share(share));
    }

    /// Stops computing, or goes on; the connection stays.
    #[wasm_bindgen(js_name = setPaused)]
    pub fn set_paused(&self, paused: bool) {
        self.0.borrow_mut().on(Event::Paused(paused));
    }

    /// Says whether the page is hidden: a hidden page may be silent for long.
    #[wasm_bindgen(js_name = setHidden)]
    pub fn set_hidden(&self, hidden: bool) {
        self.0.borrow_mut().on(Event::Hidden(hidden));
    }

    /// Leaves, after so many milliseconds at most; 0 leaves at once.
    pub fn leave(&self, within_ms: u32) {
        let within = Micros::from_millis(u64::from(within_ms));
        self.0.borrow_mut().on(Event::Leave { within });
    }
}

/// A panic is a bug of ours: its text belongs into the console. (Tests have a
/// hook of their own.)
#[cfg_attr(not(test), wasm_bindgen(start))]
#[cfg_attr(test, expect(dead_code))]
fn show_panics() {
    std::panic::set_hook(Box::new(|info| {
        web_sys::console::error_1(&info.to_string().into());
    }));
}
