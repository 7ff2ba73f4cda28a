//! To a worker: the driver's frames first, then the blobs it asked for, piece
//! by piece, read as the socket takes them.

use crate::app::App;
use crate::blobs::Place;
use crate::driver::Input;
use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket};
use futures_util::SinkExt;
use futures_util::stream::SplitSink;
use manyhands_protocol::message::ToWorker;
use manyhands_protocol::{BlobHash, codec};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Frames that are read at once from a blob.
const FRAMES: u64 = 4;

/// Sent in one frame. Less than the protocol's most, since the socket keeps a
/// buffer as large as the largest frame that it has sent.
const FRAME: u64 = 64 << 10;

/// Blobs whose sending is remembered: more than a worker's credit has, as a rule.
const SENT: usize = 256;

pub(super) struct Writer {
    app: Arc<App>,
    sink: SplitSink<WebSocket, Message>,
    frames: mpsc::Receiver<Bytes>,
    wanted: mpsc::Receiver<BlobHash>,
    sending: Option<Sending>,
    /// What was sent last, and may have come to the worker with other bytes.
    sent: VecDeque<BlobHash>,
}

/// A blob on its way out.
struct Sending {
    hash: BlobHash,
    place: Place,
    /// As far as it was read.
    read: u64,
    /// Read and not sent: frames, and how many of the blob's bytes each has.
    ready: VecDeque<(Vec<u8>, usize)>,
}

impl Sending {
    /// Reads the next frames, each behind its header. A blob of no bytes is one frame.
    async fn read(&mut self) -> io::Result<()> {
        let (from, total) = (self.read, self.place.len);
        let mut to = from;
        let mut parts = Vec::with_capacity(FRAMES as usize);
        while parts.len() < FRAMES as usize && (to < total || parts.is_empty()) {
            let len = FRAME.min(total - to) as usize;
            let header = ToWorker::Blob {
                hash: self.hash,
                offset: to,
                total,
            };
            parts.push((codec::encode_before(&header, len), len));
            to += len as u64;
        }
        self.ready = self.place.read_behind(from, parts).await?.into();
        self.read = to;
        Ok(())
    }
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
            sent: VecDeque::new(),
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
            None => match self.app.blobs.place(hash).await {
                Ok(place) => place,
                Err(error) => {
                    // This may pass, and says nothing of the blob.
                    tracing::error!(%hash, %error, "a blob cannot be found");
                    return self.gone(hash).await;
                }
            },
        };
        let Some(place) = place else {
            let why = format!("blob {hash} is not there any more");
            return self.lost(hash, why).await;
        };
        if self.sent.contains(&hash) {
            // Asked for twice: its bytes had another hash, as a rule.
            let found = match place.hash().await {
                Ok(found) => found,
                Err(error) => return self.unreadable(hash, &place, &error).await,
            };
            if found != hash {
                let file = place.file.display();
                let why = format!("{file} is not what it was when the job was submitted");
                return self.lost(hash, why).await;
            }
        }
        self.sending = Some(Sending {
            hash,
            place,
            read: 0,
            ready: VecDeque::new(),
        });
        Ok(())
    }

    async fn send_piece(&mut self) -> Result<(), Ended> {
        let sending = self.sending.as_mut().expect("a blob on its way");
        if sending.ready.is_empty()
            && let Err(error) = sending.read().await
        {
            let (hash, place) = (sending.hash, sending.place.clone());
            self.sending = None;
            return self.unreadable(hash, &place, &error).await;
        }
        let (frame, bytes) = sending.ready.pop_front().expect("the blob's next frame");
        if sending.ready.is_empty() && sending.read == sending.place.len {
            if self.sent.len() == SENT {
                self.sent.pop_front();
            }
            self.sent.push_back(sending.hash);
            self.sending = None;
        }
        self.app.metrics.blob_bytes.inc_by(bytes as u64);
        Ok(self.sink.send(Message::Binary(frame.into())).await?)
    }

    /// A blob that was there cannot be read. Where the file is gone or shorter, it
    /// never will be; else another try may do.
    async fn unreadable(
        &mut self,
        hash: BlobHash,
        place: &Place,
        error: &io::Error,
    ) -> Result<(), Ended> {
        let file = place.file.display();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => {
                let why = format!("{file} is not what it was when the job was submitted ({error})");
                self.lost(hash, why).await
            }
            _ => {
                tracing::error!(%hash, %file, %error, "a blob cannot be read");
                self.gone(hash).await
            }
        }
    }

    /// Tells the driver, so that the jobs that need the blob fail, and the worker.
    async fn lost(&mut self, hash: BlobHash, why: String) -> Result<(), Ended> {
        let told = self.app.driver.send(Input::Lost { hash, why }).await;
        told.map_err(|_| Ended)?;
        self.gone(hash).await
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
