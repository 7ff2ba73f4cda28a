//! Connections whose first bytes do not say what they are.

use crate::setup::{hello, soon, start};
use futures_util::{SinkExt, StreamExt};
use manyhands_protocol::codec;
use manyhands_protocol::message::{ToCoordinator, ToWorker};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

/// Long enough for the first byte to be looked at alone.
const PAUSE: Duration = Duration::from_millis(5);

/// What comes back for a request that is written byte by byte.
async fn slowly(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in request.as_bytes() {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::time::sleep(PAUSE).await;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_request_may_come_byte_by_byte() {
    let running = start().await;
    let request = format!(
        "GET /healthz HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
        running.addr()
    );
    let answer = soon("an answer", slowly(running.addr(), &request)).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("ok\n"), "{answer}");
    running.close().await;
}

#[tokio::test]
async fn a_worker_may_come_on_a_connection_that_did_not_look_like_one() {
    let running = start().await;
    let mut stream = TcpStream::connect(running.addr()).await.unwrap();
    // The first request of a connection that is kept decides who serves it.
    let look = format!("GET /healthz HTTP/1.1\r\nhost: {}\r\n\r\n", running.addr());
    stream.write_all(look.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok\n") {
        soon("an answer", stream.read_buf(&mut answer))
            .await
            .unwrap();
    }
    let url = format!("ws://{}/ws", running.addr());
    let upgraded = soon("an upgrade", client_async(url, stream)).await;
    let mut socket: WebSocketStream<TcpStream> = upgraded.unwrap().0;
    let said = codec::encode(&ToCoordinator::Hello(hello()));
    socket.send(Message::Binary(said.into())).await.unwrap();
    let Some(Ok(Message::Binary(frame))) = soon("a welcome", socket.next()).await else {
        panic!("the connection ended");
    };
    let (message, _) = codec::decode::<ToWorker>(frame).unwrap();
    assert!(
        matches!(message, ToWorker::Welcome { .. }),
        "instead of a welcome: {message:?}"
    );
    running.close().await;
}
