//! The WebSocket: frames in and out, no meaning. When to open one is the
//! session's to say.

use bytes::Bytes;
use js_sys::{ArrayBuffer, Uint8Array};
use wasm_bindgen::prelude::*;
use web_sys::{BinaryType, MessageEvent, WebSocket};

/// What a socket tells.
#[derive(Debug)]
pub(crate) enum SocketEvent {
    /// It is open.
    Open,
    /// It is closed, or could not be opened.
    Closed,
    /// A frame came.
    Frame(Bytes),
}

/// A socket that is open or on its way; closed when dropped, and silent then.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: WebSocket,
    // Kept because the socket calls them.
    _on_open: Closure<dyn FnMut()>,
    _on_close: Closure<dyn FnMut()>,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
}

impl Socket {
    /// Begins to open one.
    ///
    /// # Errors
    /// What the browser throws for an address it does not allow.
    pub(crate) fn open(
        url: &str,
        tell: impl Fn(SocketEvent) + Clone + 'static,
    ) -> Result<Self, JsValue> {
        let socket = WebSocket::new(url)?;
        socket.set_binary_type(BinaryType::Arraybuffer);
        let opened = tell.clone();
        let opened = Closure::<dyn FnMut()>::new(move || opened(SocketEvent::Open));
        let closed = tell.clone();
        let closed = Closure::<dyn FnMut()>::new(move || closed(SocketEvent::Closed));
        let message = Closure::<dyn FnMut(_)>::new(move |event: MessageEvent| {
            tell(SocketEvent::Frame(frame(&event.data())));
        });
        socket.set_onopen(Some(opened.as_ref().unchecked_ref()));
        // An error is always followed by this.
        socket.set_onclose(Some(closed.as_ref().unchecked_ref()));
        socket.set_onmessage(Some(message.as_ref().unchecked_ref()));
        Ok(Self {
            socket,
            _on_open: opened,
            _on_close: closed,
            _on_message: message,
        })
    }

    /// Sends a frame, or drops it if the socket is closing.
    pub(crate) fn send(&self, frame: &[u8]) {
        // Throws only before the socket is open, when there are no frames.
        self.socket
            .send_with_u8_array(frame)
            .expect("frames are sent on a socket that has opened");
    }

    /// Bytes that have not left the browser.
    pub(crate) fn buffered(&self) -> u64 {
        u64::from(self.socket.buffered_amount())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.socket.set_onopen(None);
        self.socket.set_onclose(None);
        self.socket.set_onmessage(None);
        // What was sent before still leaves.
        let _ = self.socket.close();
    }
}

/// A text frame is no message: the empty frame neither.
fn frame(data: &JsValue) -> Bytes {
    match data.dyn_ref::<ArrayBuffer>() {
        Some(buffer) => Uint8Array::new(buffer).to_vec().into(),
        None => Bytes::new(),
    }
}
