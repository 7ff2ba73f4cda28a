//! One worker's WebSocket: hello, then frames both ways until either side ends.
//!
//! Reading and writing wait for nothing of each other, and the driver waits for
//! neither: what it sends goes into a bounded queue, and a worker that lets that
//! fill up is disconnected.

mod assembly;
mod reader;
mod writer;

use crate::app::App;
use crate::driver::{Connection, Input};
use crate::error::ApiError;
use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequest, Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use manyhands_coordinator_core::ConnectionId;
use manyhands_protocol::limits::{MAX_FRAME, MAX_SLOTS, clip};
use manyhands_protocol::message::{Hello, ToCoordinator, ToWorker};
use manyhands_protocol::{NEIGHBOUR_HEADER, PROTOCOL_VERSION, codec};
use reader::{End, Reader};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use writer::Writer;

/// Each idle worker costs such a buffer, so it is small; a large frame is read
/// into a buffer of its own size.
const READ_BUFFER: usize = 4 << 10;

/// Frames of control the driver may have waiting for one worker: more than all
/// its own inputs, were they of one worker, come to in acknowledgements.
const QUEUE: usize = 2 * crate::driver::QUEUE;

/// Blobs a worker may have asked for and not been sent.
const WANTED: usize = 2 * manyhands_protocol::limits::MAX_LIST;

/// How long a stranger may take to say hello, and a last frame to leave.
const PATIENCE: Duration = Duration::from_secs(10);
const PARTING: Duration = Duration::from_secs(2);

/// `GET /ws`: a worker connects.
pub(crate) async fn connect(State(app): State<Arc<App>>, request: Request) -> Response {
    let upgrade = match WebSocketUpgrade::from_request(request, &()).await {
        Ok(upgrade) => upgrade,
        Err(_) => {
            let text = "this address is for workers: `manyhands worker URL`".to_owned();
            return ApiError::BadInput(text).into_response();
        }
    };
    let door = app.door.clone();
    let mut response = upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(READ_BUFFER)
        .max_write_buffer_size(2 * MAX_FRAME)
        .max_frame_size(MAX_FRAME)
        .max_message_size(MAX_FRAME)
        .on_upgrade(move |socket| {
            let tasks = app.tasks.clone();
            tasks.track_future(serve(app, socket))
        });
    // Of no use but to those on this machine, which find that out themselves: what is
    // between them and here may hide it.
    if let Some(door) = door {
        response.headers_mut().insert(NEIGHBOUR_HEADER, door);
    }
    response
}

async fn serve(app: Arc<App>, mut socket: WebSocket) {
    let hello = match tokio::time::timeout(PATIENCE, hello(&mut socket)).await {
        Ok(Ok(Some(hello))) => hello,
        Ok(Ok(None)) => return,
        Ok(Err(reason)) => return refuse(&app, socket, reason).await,
        Err(_) => return refuse(&app, socket, "no hello has come".into()).await,
    };
    let (frames, queue) = mpsc::channel(QUEUE);
    let (closing, closed) = oneshot::channel();
    let connection = Connection { frames, closing };
    let name = hello.name.clone();
    let id = ConnectionId(app.next_connection.fetch_add(1, Ordering::Relaxed));
    let connected = Input::Connected {
        id,
        hello: Box::new(hello),
        connection,
    };
    if app.driver.send(connected).await.is_err() {
        return refuse(&app, socket, ApiError::closing().to_string()).await;
    }
    let reason = exchange(&app, socket, id, queue, closed).await;
    if let Some(reason) = reason {
        app.metrics.refused.inc();
        tracing::warn!(connection = id.0, name, reason, "disconnected");
    }
    // A driver that has ended needs no news.
    let _ = app.driver.send(Input::Closed { id }).await;
}

/// Both directions until one ends; the reason, if the worker was to blame.
async fn exchange(
    app: &Arc<App>,
    socket: WebSocket,
    id: ConnectionId,
    queue: mpsc::Receiver<Bytes>,
    mut closed: oneshot::Receiver<Bytes>,
) -> Option<String> {
    let (sink, stream) = socket.split();
    let (want, wanted) = mpsc::channel(WANTED);
    let mut writer = Writer::new(Arc::clone(app), sink, queue, wanted);
    let reader = Reader::new(Arc::clone(app), id, stream, want);
    let (last, reason) = tokio::select! {
        end = reader.run() => match end {
            End::Gone => (None, None),
            End::Refused(reason) => (Some(refused_frame(reason.clone())), Some(reason)),
        },
        // The driver puts the last frame there before it lets go of the queue.
        () = writer.run() => (closed.try_recv().ok(), None),
        last = &mut closed => (last.ok(), None),
    };
    // A worker that does not read its last frame is left alone.
    let _ = tokio::time::timeout(PARTING, writer.finish(last)).await;
    reason
}

/// The first frame; `None` if the connection ended before.
async fn hello(socket: &mut WebSocket) -> Result<Option<Hello>, String> {
    let frame = match socket.recv().await {
        None | Some(Ok(Message::Close(_))) => return Ok(None),
        Some(Ok(Message::Binary(frame))) => frame,
        Some(Ok(_)) => return Err("the first frame is not a hello".into()),
        Some(Err(error)) => return Err(error.to_string()),
    };
    let Some(version) = codec::hello_version(&frame) else {
        return Err("the first frame is not a hello".into());
    };
    if version != PROTOCOL_VERSION {
        return Err(format!(
            "this coordinator speaks version {PROTOCOL_VERSION} of the protocol, the worker \
             version {version}: use the same release of manyhands on both sides"
        ));
    }
    match codec::decode::<ToCoordinator>(frame) {
        Ok((ToCoordinator::Hello(mut hello), _)) => {
            hello.name.retain(|c| !c.is_control());
            if u16::from_le_bytes(hello.slots) > MAX_SLOTS {
                return Err(format!("at most {MAX_SLOTS} slots are allowed"));
            }
            Ok(Some(hello))
        }
        Ok(_) => Err("the first frame is not a hello".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn refused_frame(reason: String) -> Bytes {
    let reason = clip(reason);
    codec::encode(&ToWorker::Refused { reason }).into()
}

/// Ends a connection that has not become a worker's.
async fn refuse(app: &App, mut socket: WebSocket, reason: String) {
    app.metrics.refused.inc();
    tracing::warn!(reason, "a connection was refused");
    let parting = async {
        // The peer may be gone already.
        let _ = socket.send(Message::Binary(refused_frame(reason))).await;
        let _ = socket.send(Message::Close(None)).await;
    };
    let _ = tokio::time::timeout(PARTING, parting).await;
}
