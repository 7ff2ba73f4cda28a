//! From a worker's frames to the driver's inputs. What breaks the protocol ends
//! the connection with a reason.

use super::assembly::{Assembly, Part};
use crate::app::App;
use crate::driver::{FromWorker, Input, Welcomed};
use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket};
use futures_util::StreamExt;
use futures_util::stream::SplitStream;
use manyhands_protocol::limits::MAX_SLOTS;
use manyhands_protocol::message::ToCoordinator;
use manyhands_protocol::{BlobHash, codec};
use std::sync::Arc;
use tokio::sync::{SemaphorePermit, mpsc};
use tokio_tungstenite::tungstenite::{self, error::ProtocolError};

/// How reading ended.
pub(super) enum End {
    /// The connection is closed, or the worker said goodbye.
    Gone,
    /// The worker broke the protocol.
    Refused(String),
}

pub(super) struct Reader {
    app: Arc<App>,
    from: Welcomed,
    stream: SplitStream<WebSocket>,
    want: mpsc::Sender<BlobHash>,
}

/// Each so many pieces of one partial count as a sign of life.
const PIECES_HEARD: u32 = 16;

impl Reader {
    pub(super) fn new(
        app: Arc<App>,
        from: Welcomed,
        stream: SplitStream<WebSocket>,
        want: mpsc::Sender<BlobHash>,
    ) -> Self {
        Self {
            app,
            from,
            stream,
            want,
        }
    }

    pub(super) async fn run(mut self) -> End {
        let app = Arc::clone(&self.app);
        let mut assembly = Assembly::default();
        let mut room: Option<SemaphorePermit<'_>> = None;
        let mut pieces = 0u32;
        loop {
            let frame = match self.frame().await {
                Ok(frame) => frame,
                Err(end) => return end,
            };
            let (message, bulk) = match codec::decode::<ToCoordinator>(frame) {
                Ok(decoded) => decoded,
                Err(error) => return End::Refused(error.to_string()),
            };
            let ToCoordinator::Partial {
                lease,
                node,
                offset,
                total,
                busy_us,
            } = message
            else {
                match self.message(message).await {
                    Ok(()) => continue,
                    Err(end) => return end,
                }
            };
            let part = Part {
                lease,
                node,
                total,
                busy_us,
            };
            app.metrics.partial_bytes.inc_by(bulk.len() as u64);
            let whole = match assembly.push(part, offset, bulk) {
                Ok(whole) => whole,
                Err(error) => return End::Refused(error.to_string()),
            };
            let Some(partial) = whole else {
                if room.is_none() {
                    // All of it before the second piece: those who wait hold
                    // next to nothing, so those who have room can go on.
                    let kib = u32::try_from(total.div_ceil(1024)).expect("under MAX_PARTIAL");
                    room = app.partial_kib.acquire_many(kib).await.ok();
                }
                pieces += 1;
                if pieces.is_multiple_of(PIECES_HEARD) && !self.tell(FromWorker::Alive).await {
                    return End::Gone;
                }
                continue;
            };
            room = None;
            if !self.tell(FromWorker::Partial { part, partial }).await {
                return End::Gone;
            }
        }
    }

    /// The next binary frame.
    async fn frame(&mut self) -> Result<Bytes, End> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Binary(frame))) => return Ok(frame),
                Some(Ok(Message::Text(_))) => {
                    return Err(End::Refused(
                        "a text frame; only binary ones are used".into(),
                    ));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_))) | None => return Err(End::Gone),
                Some(Err(error)) => return Err(broken(error)),
            }
        }
    }

    /// A message without bulk.
    async fn message(&mut self, message: ToCoordinator) -> Result<(), End> {
        let told = match message {
            ToCoordinator::Hello(_) => return Err(End::Refused("a second hello".into())),
            ToCoordinator::Partial { .. } => unreachable!("handled before"),
            ToCoordinator::Need(hashes) => {
                for hash in hashes {
                    if self.want.send(hash).await.is_err() {
                        return Err(End::Gone);
                    }
                }
                FromWorker::Alive
            }
            ToCoordinator::Failed {
                lease,
                node,
                failure,
            } => FromWorker::Failed {
                lease,
                node,
                failure,
            },
            ToCoordinator::Returned { lease } => FromWorker::Returned { lease },
            ToCoordinator::Progress { lease, done } => FromWorker::Progress { lease, done },
            ToCoordinator::Capacity { slots, hidden } => {
                let slots = u16::from_le_bytes(slots);
                if slots > MAX_SLOTS {
                    let reason = format!("{slots} slots; at most {MAX_SLOTS} are allowed");
                    return Err(End::Refused(reason));
                }
                FromWorker::Capacity { slots, hidden }
            }
            ToCoordinator::Log { job, text } => FromWorker::Log { job, text },
            ToCoordinator::Alive => FromWorker::Alive,
            ToCoordinator::Goodbye => FromWorker::Goodbye,
        };
        if self.tell(told).await {
            Ok(())
        } else {
            Err(End::Gone)
        }
    }

    async fn tell(&self, message: FromWorker) -> bool {
        let input = Input::Message {
            worker: self.from.worker,
            number: self.from.number,
            message,
        };
        self.app.driver.send(input).await.is_ok()
    }
}

/// Whether the peer broke the rules or the network broke.
fn broken(error: axum::Error) -> End {
    match error
        .into_inner()
        .downcast::<tungstenite::Error>()
        .map(|error| *error)
    {
        Ok(tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => End::Gone,
        Ok(error @ (tungstenite::Error::Capacity(_) | tungstenite::Error::Protocol(_))) => {
            End::Refused(error.to_string())
        }
        _ => End::Gone,
    }
}
