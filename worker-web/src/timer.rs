//! One timer of the event loop, armed again and again.

use crate::clock;
use manyhands_worker_core::Micros;
use wasm_bindgen::prelude::*;

/// Calls back once after each time it is armed; not at all once dropped.
#[derive(Debug)]
pub(crate) struct Timer {
    on_time: Closure<dyn FnMut()>,
    armed: Option<(Micros, i32)>,
}

impl Timer {
    pub(crate) fn new(on_time: impl FnMut() + 'static) -> Self {
        Self {
            on_time: Closure::new(on_time),
            armed: None,
        }
    }

    /// When it was to fire last.
    pub(crate) fn armed_for(&self) -> Option<Micros> {
        self.armed.map(|(at, _)| at)
    }

    /// Forgets that it was armed: it has fired.
    pub(crate) fn fired(&mut self) {
        self.armed = None;
    }

    /// Fires at `at` and at no other time.
    pub(crate) fn arm(&mut self, now: Micros, at: Option<Micros>) {
        if self.armed_for() == at {
            return;
        }
        self.disarm();
        let Some(at) = at else { return };
        // Rounded up: a timer that fires early would only be armed again. A day
        // at most, since a browser takes more than 2^31 for none.
        let millis = at.since(now).0.div_ceil(1000).min(86_400_000) as i32;
        let callback = self.on_time.as_ref().unchecked_ref();
        let id = clock::scope()
            .set_timeout_with_callback_and_timeout_and_arguments_0(callback, millis)
            .expect("a timer can be set");
        self.armed = Some((at, id));
    }

    fn disarm(&mut self) {
        if let Some((_, id)) = self.armed.take() {
            clock::scope().clear_timeout_with_handle(id);
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.disarm();
    }
}
