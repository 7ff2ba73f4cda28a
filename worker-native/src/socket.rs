//! One WebSocket connection, in a task of its own: frames out of a queue, frames
//! and news into the driver's inbox. Never reconnects.

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use manyhands_engine::neighbour::Neighbour;
use manyhands_protocol::NEIGHBOUR_HEADER;
use manyhands_protocol::limits::MAX_FRAME;
use std::pin::pin;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use tokio_util::task::AbortOnDropHandle;

/// How long a goodbye may take: the other side may have gone.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Frames that wait for the driver before the socket is read no further.
const INBOX: usize = 256;

/// Bytes handed to the operating system between two flushes.
const BATCH: usize = 256 << 10;

/// What happens on the connection, in order.
#[derive(Debug)]
pub(crate) enum News {
    Connected {
        /// A coordinator of this machine.
        neighbour: Option<Neighbour>,
    },
    Frame(Bytes),
    /// So many bytes of the frames given to [`Socket::send`] are with the system.
    Written(usize),
    /// It could not be opened, or has ended.
    Disconnected(String),
}

/// A connection, or one that is being opened. Dropping it cuts it.
pub(crate) struct Socket {
    outgoing: Option<mpsc::UnboundedSender<Outgoing>>,
    news: mpsc::Receiver<News>,
    task: AbortOnDropHandle<()>,
}

enum Outgoing {
    Frame(Vec<u8>),
    /// Say this and close.
    Close(String),
}

/// This side has said all it will say.
struct Goodbye;

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl Socket {
    /// Begins to open a connection; [`News::Connected`] says when it is open, and,
    /// where inputs are `shared`, whether to a coordinator of this machine.
    pub(crate) fn open(url: String, shared: bool) -> Self {
        let (outgoing, queue) = mpsc::unbounded_channel();
        let (tell, news) = mpsc::channel(INBOX);
        let task = AbortOnDropHandle::new(tokio::spawn(connection(url, shared, queue, tell)));
        Self {
            outgoing: Some(outgoing),
            news,
            task,
        }
    }

    /// Queues a frame.
    pub(crate) fn send(&self, frame: Vec<u8>) {
        // A connection that has ended says so itself.
        let _ = self
            .outgoing
            .as_ref()
            .map(|outgoing| outgoing.send(Outgoing::Frame(frame)));
    }

    /// What happens next. Safe to cancel. Ends with [`News::Disconnected`].
    pub(crate) async fn next(&mut self) -> News {
        let ended = || News::Disconnected("the connection's task has ended".to_owned());
        self.news.recv().await.unwrap_or_else(ended)
    }

    /// What has happened already.
    pub(crate) fn ready(&mut self) -> Option<News> {
        self.news.try_recv().ok()
    }

    /// Sends what is queued, says `reason` and closes.
    pub(crate) async fn close(mut self, reason: String) {
        if let Some(outgoing) = self.outgoing.take() {
            let _ = outgoing.send(Outgoing::Close(reason));
        }
        // Nobody listens any more, so that the reading half cannot wait for it.
        self.news.close();
        // Past the limit the connection is cut by dropping it.
        let _ = tokio::time::timeout(CLOSE_LIMIT, &mut self.task).await;
    }
}

async fn connection(
    url: String,
    shared: bool,
    queue: mpsc::UnboundedReceiver<Outgoing>,
    news: mpsc::Sender<News>,
) {
    let config = WebSocketConfig::default()
        .read_buffer_size(64 << 10)
        .max_message_size(Some(MAX_FRAME))
        .max_frame_size(Some(MAX_FRAME));
    let reason = match connect_async_with_config(url, Some(config), true).await {
        Err(error) => describe(&error),
        Ok((stream, response)) => {
            let neighbour = match shared {
                true => neighbour(&stream, &response).await,
                false => None,
            };
            // An error means that the driver has turned away: `write` ends by itself.
            let _ = news.send(News::Connected { neighbour }).await;
            let (sink, stream) = stream.split();
            let mut reading = pin!(read(stream, &news));
            tokio::select! {
                reason = &mut reading => reason,
                written = write(sink, queue, &news) => match written {
                    // Closing with unread bytes in hand would reset the connection and
                    // lose what the other side has not read yet: read to its end.
                    Ok(Goodbye) => reading.await,
                    Err(reason) => reason,
                },
            }
        }
    };
    let _ = news.send(News::Disconnected(reason)).await;
}

/// Connects to the coordinator as a neighbour, if it is on this machine.
async fn neighbour(stream: &Stream, response: &Response) -> Option<Neighbour> {
    let MaybeTlsStream::Plain(tcp) = stream.get_ref() else {
        return None;
    };
    // A coordinator elsewhere is not to choose what is asked here. Behind a forwarder it
    // has an address of this machine, and can name no socket but a door.
    if tcp.local_addr().ok()?.ip() != tcp.peer_addr().ok()?.ip() {
        return None;
    }
    let name = response.headers().get(NEIGHBOUR_HEADER)?.to_str().ok()?;
    match Neighbour::connect(name).await {
        Ok(neighbour) => Some(neighbour),
        Err(error) => {
            tracing::debug!(%error, "the coordinator is no neighbour");
            None
        }
    }
}

async fn read(mut stream: SplitStream<Stream>, news: &mpsc::Sender<News>) -> String {
    while let Some(message) = stream.next().await {
        match message {
            Ok(Message::Binary(bytes)) => {
                // Once the driver has turned away, go on reading until the close
                // frame has been answered.
                let _ = news.send(News::Frame(bytes)).await;
            }
            Ok(Message::Close(frame)) => {
                let said = frame.map(|frame| frame.reason.to_string());
                let said = said.filter(|reason| !reason.is_empty());
                return said.unwrap_or_else(|| "closed by the coordinator".to_owned());
            }
            // Pings are answered by the library; text means nothing here.
            Ok(_) => {}
            Err(error) => return describe(&error),
        }
    }
    "closed by the coordinator".to_owned()
}

async fn write(
    mut sink: SplitSink<Stream, Message>,
    mut queue: mpsc::UnboundedReceiver<Outgoing>,
    news: &mpsc::Sender<News>,
) -> Result<Goodbye, String> {
    let mut next = queue.recv().await;
    while let Some(outgoing) = next.take() {
        let mut written = 0;
        let mut following = Some(outgoing);
        while let Some(outgoing) = following.take() {
            let outcome = match outgoing {
                Outgoing::Frame(frame) => {
                    written += frame.len();
                    sink.feed(Message::binary(frame)).await
                }
                Outgoing::Close(reason) => return say_goodbye(sink, reason).await,
            };
            if let Err(error) = outcome {
                return Err(describe(&error));
            }
            if written < BATCH {
                following = queue.try_recv().ok();
            }
        }
        if let Err(error) = sink.flush().await {
            return Err(describe(&error));
        }
        let _ = news.send(News::Written(written)).await;
        next = queue.recv().await;
    }
    Ok(Goodbye)
}

async fn say_goodbye(
    mut sink: SplitSink<Stream, Message>,
    mut reason: String,
) -> Result<Goodbye, String> {
    // A close frame has room for 123 bytes.
    reason.truncate(reason.floor_char_boundary(123));
    let frame = CloseFrame {
        code: CloseCode::Normal,
        reason: reason.as_str().into(),
    };
    let sent = sink.send(Message::Close(Some(frame))).await;
    sent.map(|()| Goodbye).map_err(|error| describe(&error))
}

/// The error in a user's words.
fn describe(error: &Error) -> String {
    match error {
        Error::Io(error) => without_code(&error.to_string()),
        Error::Http(response) => match response.body() {
            Some(body) if !body.is_empty() && body.len() < 500 => {
                format!(
                    "{}: {}",
                    response.status(),
                    String::from_utf8_lossy(body).trim()
                )
            }
            _ => response.status().to_string(),
        },
        other => other.to_string(),
    }
}

/// An operating system's error without its number.
fn without_code(text: &str) -> String {
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn server() -> (String, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        (
            format!("ws://{}/ws", listener.local_addr().unwrap()),
            listener,
        )
    }

    async fn accept(listener: &TcpListener) -> WebSocketStream<TcpStream> {
        let (stream, _) = listener.accept().await.unwrap();
        tokio_tungstenite::accept_async(stream).await.unwrap()
    }

    #[tokio::test]
    async fn frames_go_both_ways_and_what_is_written_is_counted() {
        let (url, listener) = server().await;
        let mut socket = Socket::open(url, true);
        let mut peer = accept(&listener).await;
        assert!(matches!(socket.next().await, News::Connected { .. }));
        socket.send(vec![7; 300_000]);
        socket.send(vec![8; 5]);
        assert_eq!(
            peer.next().await.unwrap().unwrap(),
            Message::binary(vec![7; 300_000])
        );
        assert_eq!(
            peer.next().await.unwrap().unwrap(),
            Message::binary(vec![8; 5])
        );
        let mut written = 0;
        while written < 300_005 {
            let News::Written(bytes) = socket.next().await else {
                panic!("only written")
            };
            written += bytes;
        }
        peer.send(Message::binary(vec![1, 2, 3])).await.unwrap();
        let News::Frame(frame) = socket.next().await else {
            panic!("a frame")
        };
        assert_eq!(frame, [1, 2, 3][..]);
    }

    #[tokio::test]
    async fn a_close_sends_what_is_queued_first() {
        let (url, listener) = server().await;
        let mut socket = Socket::open(url, true);
        let mut peer = accept(&listener).await;
        assert!(matches!(socket.next().await, News::Connected { .. }));
        socket.send(vec![9]);
        let peer = async move {
            assert_eq!(
                peer.next().await.unwrap().unwrap(),
                Message::binary(vec![9])
            );
            let Message::Close(Some(frame)) = peer.next().await.unwrap().unwrap() else {
                panic!("a close frame")
            };
            frame.reason.to_string()
        };
        let ((), reason) = tokio::join!(socket.close("drained".into()), peer);
        assert_eq!(reason, "drained");
    }

    #[tokio::test]
    async fn a_frame_past_the_limit_ends_the_connection() {
        let (url, listener) = server().await;
        let mut socket = Socket::open(url, true);
        let mut peer = accept(&listener).await;
        assert!(matches!(socket.next().await, News::Connected { .. }));
        // The peer may see the connection end before all is sent.
        let _ = peer.send(Message::binary(vec![0; MAX_FRAME + 1])).await;
        let News::Disconnected(reason) = socket.next().await else {
            panic!("no such frame")
        };
        assert!(
            reason.contains("too long") || reason.contains("too large") || reason.contains("size"),
            "{reason}"
        );
    }

    #[tokio::test]
    async fn nobody_there_is_said_in_plain_words() {
        let (url, listener) = server().await;
        drop(listener);
        let mut socket = Socket::open(url, true);
        let News::Disconnected(reason) = socket.next().await else {
            panic!("nobody listens")
        };
        assert_eq!(reason, "Connection refused");
    }
}
