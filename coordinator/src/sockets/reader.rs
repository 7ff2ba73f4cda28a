//! From a worker's frames to the driver's inputs. What breaks the protocol ends
//! the connection with a reason.

use super::assembly::{Assembly, Part};
use crate::app::App;
use crate::driver::Input;
use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket};
use futures_util::StreamExt;
use futures_util::stream::SplitStream;
use manyhands_coordinator_core::{ConnectionId, FromWorker};
use manyhands_protocol::message::ToCoordinator;
use manyhands_protocol::{BlobHash, codec};
use std::sync::Arc;
use std::time::{Duration, Instant};
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
    from: ConnectionId,
    stream: SplitStream<WebSocket>,
    want: mpsc::Sender<BlobHash>,
}

/// Each so many pieces of one partial count as a sign of life.
const PIECES_HEARD: u32 = 16;

/// So does waiting for room, this often.
const WAITING_HEARD: Duration = Duration::from_secs(5);

/// How long the next piece of a partial may take, and, after as long, how many
/// bytes a second must have come: room is not held for those who do not send.
const PIECE_PATIENCE: Duration = Duration::from_secs(30);
const LEAST_RATE: u64 = 16 << 10;

/// The partial that is coming, with the room that it has.
#[derive(Default)]
struct Coming<'a> {
    assembly: Assembly,
    room: Option<SemaphorePermit<'a>>,
    began: Option<Instant>,
    pieces: u32,
}

impl Coming<'_> {
    fn patience(&self) -> Option<Duration> {
        self.assembly.so_far().map(|_| PIECE_PATIENCE)
    }

    fn keep_pace(&self) -> Result<(), End> {
        let took = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        let least = LEAST_RATE * took.as_secs();
        if took > PIECE_PATIENCE && self.assembly.so_far().is_some_and(|len| len < least) {
            let reason = format!("a partial comes slower than {LEAST_RATE} bytes a second");
            return Err(End::Refused(reason));
        }
        Ok(())
    }
}

impl Reader {
    pub(super) fn new(
        app: Arc<App>,
        from: ConnectionId,
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
        let mut coming = Coming::default();
        loop {
            let frame = match self.frame(coming.patience()).await {
                Ok(frame) => frame,
                Err(end) => return end,
            };
            let (message, bulk) = match codec::decode::<ToCoordinator>(frame) {
                Ok(decoded) => decoded,
                Err(error) => return End::Refused(error.to_string()),
            };
            let outcome = match message {
                ToCoordinator::Partial {
                    lease,
                    node,
                    offset,
                    total,
                    busy_us,
                } => {
                    let part = Part {
                        lease,
                        node,
                        total,
                        busy_us,
                    };
                    app.metrics.partial_bytes.inc_by(bulk.len() as u64);
                    self.piece(&app, &mut coming, part, offset, bulk).await
                }
                message => self.message(message).await,
            };
            if let Err(end) = outcome {
                return end;
            }
        }
    }

    /// A piece of a partial.
    async fn piece<'a>(
        &self,
        app: &'a App,
        coming: &mut Coming<'a>,
        part: Part,
        offset: u64,
        bulk: Bytes,
    ) -> Result<(), End> {
        let first = coming.assembly.so_far().is_none();
        let whole = coming.assembly.push(part, offset, bulk);
        let whole = whole.map_err(|error| End::Refused(error.to_string()))?;
        if let Some(partial) = whole {
            coming.room = None;
            return self.partial(part, partial).await;
        }
        if coming.assembly.so_far().is_none() {
            // The end of one that was of no use.
            return Ok(());
        }
        if first {
            coming.began = Some(Instant::now());
            let lease = part.lease;
            let from = self.from;
            let held = app.ask(|reply| Input::Holds { from, lease, reply }).await;
            if held.map_err(|_| End::Gone)? {
                self.make_room(app, coming, part.total).await?;
            } else {
                // Its lease is over, or never was its: the answer does not
                // depend on the bytes.
                coming.assembly.drop_rest();
                self.partial(part, Bytes::new()).await?;
            }
        }
        coming.keep_pace()?;
        coming.pieces = coming.pieces.wrapping_add(1);
        if coming.pieces.is_multiple_of(PIECES_HEARD) {
            self.tell(FromWorker::Heard).await?;
        }
        Ok(())
    }

    async fn partial(&self, part: Part, partial: Bytes) -> Result<(), End> {
        self.tell(FromWorker::Partial {
            lease: part.lease,
            node: part.node,
            partial,
            busy_us: part.busy_us,
        })
        .await
    }

    /// Waits for room for all of a partial before its second piece: those who
    /// wait hold next to nothing, so those who have room can go on. It is not
    /// the worker that is silent meanwhile.
    async fn make_room<'a>(
        &self,
        app: &'a App,
        coming: &mut Coming<'a>,
        total: u64,
    ) -> Result<(), End> {
        let kib = u32::try_from(total.div_ceil(1024)).expect("under MAX_PARTIAL");
        let room = app.partial_kib.acquire_many(kib);
        tokio::pin!(room);
        loop {
            match tokio::time::timeout(WAITING_HEARD, &mut room).await {
                Ok(room) => {
                    coming.room = room.ok();
                    coming.began = Some(Instant::now());
                    return Ok(());
                }
                Err(_) => self.tell(FromWorker::Heard).await?,
            }
        }
    }

    /// The next binary frame, within so long if something is to come.
    async fn frame(&mut self, patience: Option<Duration>) -> Result<Bytes, End> {
        loop {
            let next = self.stream.next();
            let next = match patience {
                Some(patience) => tokio::time::timeout(patience, next).await,
                None => Ok(next.await),
            };
            let Ok(next) = next else {
                return Err(End::Refused("a partial broke off in the middle".into()));
            };
            match next {
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
        if let ToCoordinator::Need(hashes) = &message {
            for hash in hashes {
                if self.want.send(*hash).await.is_err() {
                    return Err(End::Gone);
                }
            }
        }
        let told = FromWorker::of(message);
        let told = told.map_err(|reason| End::Refused(reason.to_string()))?;
        self.tell(told).await
    }

    async fn tell(&self, message: FromWorker) -> Result<(), End> {
        let input = Input::Message {
            from: self.from,
            message,
        };
        let sent = self.app.driver.send(input).await;
        sent.map_err(|_| End::Gone)
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
