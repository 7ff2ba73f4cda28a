//! One block's round trip on loopback: from a partial sent to its
//! acknowledgement, by a worker that computes nothing.

use crate::Plan;
use crate::table::{median, milliseconds};
use futures_util::{SinkExt, StreamExt};
use manyhands_protocol::message::{EngineKind, Hello, ToCoordinator, ToWorker};
use manyhands_protocol::{LeaseId, Node, PROTOCOL_VERSION, codec};
use manyhands_tests::cluster::Cluster;
use manyhands_tests::jobs::Job;
use serde_json::json;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

const BLOCKS: usize = 2000;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(crate) async fn measure(_plan: &Plan) {
    let cluster = Cluster::start().await;
    let url = format!("{}/ws", cluster.url.replacen("http", "ws", 1));
    let (mut socket, _) = tokio_tungstenite::connect_async(&url)
        .await
        .expect("it connects");
    send(&mut socket, &hello(), &[]).await;
    // A picture one pixel wide, so that any four bytes a row are a result.
    let params = json!({ "width": 1, "height": 1 << 20, "iterations": 1, "samples": 1 });
    let running = cluster.run(&Job::new("mandelbrot", params), &[]);
    let mut times = Vec::new();
    let mut grants = VecDeque::new();
    while times.len() < BLOCKS {
        match grants.pop_front() {
            Some((lease, node)) => times.push(hand_in(&mut socket, lease, node, &mut grants).await),
            None => note_grant(receive(&mut socket).await, &mut grants),
        }
    }
    drop(running);
    println!(
        "round trip    one block on loopback: {} (median of {BLOCKS}); goal under 1 ms",
        milliseconds(median(&times))
    );
}

fn note_grant(message: ToWorker, grants: &mut VecDeque<(LeaseId, Node)>) {
    if let ToWorker::Grant { lease, node, .. } = message {
        grants.push_back((lease, node));
    }
}

/// Hands in one row of the block, waits until it is accepted, and returns the
/// rest, so that there are blocks enough.
async fn hand_in(
    socket: &mut Socket,
    lease: LeaseId,
    node: Node,
    grants: &mut VecDeque<(LeaseId, Node)>,
) -> Duration {
    let start = Instant::now();
    let first = Node::leaf(node.first());
    let header = ToCoordinator::Partial {
        lease,
        node: first,
        offset: 0,
        total: 4,
        busy_us: 1,
    };
    send(socket, &header, &[0; 4]).await;
    loop {
        match receive(socket).await {
            ToWorker::Accepted {
                lease: accepted,
                node,
            } if (accepted, node) == (lease, first) => break,
            other => note_grant(other, grants),
        }
    }
    let time = start.elapsed();
    send(socket, &ToCoordinator::Returned { lease }, &[]).await;
    time
}

fn hello() -> ToCoordinator {
    ToCoordinator::Hello(Hello {
        version: PROTOCOL_VERSION.to_le_bytes(),
        resume: None,
        held: Vec::new(),
        name: "round trip".into(),
        engine: EngineKind::Native,
        slots: 1u16.to_le_bytes(),
        memory: 1 << 30,
        simd: true,
    })
}

async fn send(socket: &mut Socket, message: &ToCoordinator, bulk: &[u8]) {
    let frame = codec::encode_with(message, bulk);
    socket
        .send(Message::Binary(frame.into()))
        .await
        .expect("the socket is open");
}

async fn receive(socket: &mut Socket) -> ToWorker {
    loop {
        let frame = socket
            .next()
            .await
            .expect("the socket is open")
            .expect("a frame");
        if let Message::Binary(bytes) = frame {
            return codec::decode(bytes).expect("a message").0;
        }
    }
}
