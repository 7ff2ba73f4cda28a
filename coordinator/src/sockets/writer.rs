//! To a worker: the driver's frames first, then the blobs it asked for, piece
//! by piece, read as the socket takes them.

use crate::app::App;
use crate::blobs::Place;
use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket};
use futures_util::SinkExt;
use futures_util::stream::SplitSink;
use manyhands_protocol::message::ToWorker;
use manyhands_protocol::{BlobHash, codec};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Read at once from a blob.
const CHUNK: u64 = 256 << 10;

/// Sent in one frame. Less than the protocol's most, since the socket keeps a
/// buffer as large as the largest frame that it has sent.
const FRAME: usize = 64 << 10;

pub(super) struct Writer {
    app: Arc<App>,
    sink: SplitSink<WebSocket, Message>,
    frames: mpsc::Receiver<Bytes>,
    wanted: mpsc::Receiver<BlobHash>,
    sending: Option<Sending>,
}

/// A blob on its way out.
struct Sending {
    hash: BlobHash,
    place: Place,
    sent: u64,
    /// Read and not sent.
    ready: Bytes,
}

/// The socket is broken, or nobody feeds it any more.
struct Ended;

impl From<axum::Error> for Ended {
    fn from(_: axum::Error) -> Self {
        Self
    }
}

impl Writer {
    pub(super) fn new(
        app: Arc<App>,
        sink: SplitSink<WebSocket, Message>,
        frames: mpsc::Receiver<Bytes>,
        wanted: mpsc::Receiver<BlobHash>,
    ) -> Self {
        Self {
            app,
            sink,
            frames,
            wanted,
            sending: None,
        }
    }

    /// Until the socket breaks or the driver lets go of it.
    pub(super) async fn run(&mut self) {
        while self.step().await.is_ok() {}
    }

    async fn step(&mut self) -> Result<(), Ended> {
        if let Ok(frame) = self.frames.try_recv() {
            return Ok(self.sink.feed(Message::Binary(frame)).await?);
        }
        if self.sending.is_some() {
            return self.send_piece().await;
        }
        if let Ok(hash) = self.wanted.try_recv() {
            return self.begin(hash).await;
        }
        self.sink.flush().await?;
        tokio::select! {
            biased;
            frame = self.frames.recv() => {
                let frame = frame.ok_or(Ended)?;
                Ok(self.sink.feed(Message::Binary(frame)).await?)
            }
            hash = self.wanted.recv() => self.begin(hash.ok_or(Ended)?).await,
        }
    }

    async fn begin(&mut self, hash: BlobHash) -> Result<(), Ended> {
        let place = match self.app.segments.find(hash) {
            Some(place) => Some(place),
            None => self.app.blobs.place(hash).await.unwrap_or_else(|error| {
                tracing::error!(%hash, %error, "a blob cannot be found");
                None
            }),
        };
        match place {
            Some(place) => {
                self.sending = Some(Sending {
                    hash,
                    place,
                    sent: 0,
                    ready: Bytes::new(),
                });
                Ok(())
            }
            None => self.gone(hash).await,
        }
    }

    async fn send_piece(&mut self) -> Result<(), Ended> {
        let sending = self.sending.as_mut().expect("a blob on its way");
        let total = sending.place.len;
        if sending.ready.is_empty() && total > 0 {
            let len = CHUNK.min(total - sending.sent) as usize;
            match sending.place.read(sending.sent, len).await {
                Ok(bytes) => sending.ready = bytes,
                Err(error) => {
                    let hash = sending.hash;
                    let file = sending.place.file.display();
                    tracing::error!(%hash, %file, %error, "a blob cannot be read");
                    self.sending = None;
                    return self.gone(hash).await;
                }
            }
        }
        let piece = sending.ready.split_to(FRAME.min(sending.ready.len()));
        let header = ToWorker::Blob {
            hash: sending.hash,
            offset: sending.sent,
            total,
        };
        sending.sent += piece.len() as u64;
        if sending.sent == total {
            self.sending = None;
        }
        self.app.metrics.blob_bytes.inc_by(piece.len() as u64);
        let frame = codec::encode_with(&header, &piece);
        Ok(self.sink.send(Message::Binary(frame.into())).await?)
    }

    async fn gone(&mut self, hash: BlobHash) -> Result<(), Ended> {
        let frame = codec::encode(&ToWorker::Gone { hash });
        Ok(self.sink.feed(Message::Binary(frame.into())).await?)
    }

    /// What is left in the queue, the last frame, and the close.
    pub(super) async fn finish(mut self, last: Option<Bytes>) {
        while let Ok(frame) = self.frames.try_recv() {
            if self.sink.feed(Message::Binary(frame)).await.is_err() {
                return;
            }
        }
        if let Some(last) = last
            && self.sink.feed(Message::Binary(last)).await.is_err()
        {
            return;
        }
        // Flushes; the peer may be gone already.
        let _ = self.sink.send(Message::Close(None)).await;
    }
}
