//! The other end of the socket: a stand-in for the browser's `WebSocket` that a
//! test speaks through, with the protocol's real frames.

use super::mailbox::Mailbox;
use bytes::Bytes;
use js_sys::{Function, Uint8Array};
use manyhands_protocol::codec;
use manyhands_protocol::message::{ToCoordinator, ToWorker};
use wasm_bindgen::prelude::*;

#[wasm_bindgen(inline_js = r#"
let last = null;
export function stand_in(sent, real) {
    globalThis.realWebSocket ??= globalThis.WebSocket;
    if (real) {
        globalThis.WebSocket = globalThis.realWebSocket;
        return;
    }
    globalThis.WebSocket = class {
        bufferedAmount = 0;
        constructor(url) {
            last = this;
            this.url = url;
            queueMicrotask(() => this.onopen && this.onopen());
        }
        send(bytes) { sent(bytes.slice()); }
        close() { sent(null); }
    };
}
export function say(bytes) { last.onmessage(new MessageEvent('message', { data: bytes.buffer })); }
export function hang_up() { last.onclose(); }
"#)]
extern "C" {
    fn stand_in(sent: &Function, real: bool);
    fn say(bytes: Uint8Array);
    fn hang_up();
}

/// What a worker did to its socket.
#[derive(Clone, Debug)]
pub(super) enum Done {
    Sent(ToCoordinator, Bytes),
    Closed,
}

/// A coordinator in the test's hands; while it lives it is at every address.
pub(super) struct Coordinator {
    pub(super) done: Mailbox<Done>,
    sent: Closure<dyn FnMut(JsValue)>,
}

impl Coordinator {
    pub(super) fn new() -> Self {
        let done = Mailbox::new();
        let put = done.clone();
        let sent = Closure::<dyn FnMut(_)>::new(move |frame: JsValue| {
            put.put(match frame.dyn_into::<Uint8Array>() {
                Ok(frame) => {
                    let (message, bulk) = codec::decode(frame.to_vec().into()).unwrap();
                    Done::Sent(message, bulk)
                }
                Err(_) => Done::Closed,
            });
        });
        stand_in(sent.as_ref().unchecked_ref(), false);
        Self { done, sent }
    }

    /// Sends a message without bulk.
    pub(super) fn say(&self, message: &ToWorker) {
        say(Uint8Array::from(&codec::encode(message)[..]));
    }

    /// Sends a message with bulk.
    pub(super) fn say_with(&self, message: &ToWorker, bulk: &[u8]) {
        say(Uint8Array::from(&codec::encode_with(message, bulk)[..]));
    }

    /// Sends bytes that are no message.
    pub(super) fn babble(&self) {
        say(Uint8Array::from(&[0xff; 9][..]));
    }

    /// Loses the connection.
    pub(super) fn hang_up(&self) {
        hang_up();
    }

    /// The worker's next message that is wanted.
    pub(super) async fn hear<T>(&self, wanted: impl Fn(ToCoordinator, Bytes) -> Option<T>) -> T {
        loop {
            if let Done::Sent(message, bulk) = self.done.next().await
                && let Some(found) = wanted(message, bulk)
            {
                return found;
            }
        }
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        stand_in(self.sent.as_ref().unchecked_ref(), true);
    }
}
