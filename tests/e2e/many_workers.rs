//! A thousand idle workers on real sockets: what they cost the coordinator.

use futures_util::{SinkExt, StreamExt};
use manyhands_protocol::message::{EngineKind, Hello, ToCoordinator, ToWorker};
use manyhands_protocol::{PROTOCOL_VERSION, codec};
use manyhands_tests::cluster::Cluster;
use tokio_tungstenite::tungstenite::Message;

const WORKERS: usize = 1000;

fn hello(number: usize) -> Vec<u8> {
    codec::encode(&ToCoordinator::Hello(Hello {
        version: PROTOCOL_VERSION.to_le_bytes(),
        resume: None,
        held: Vec::new(),
        name: format!("idle-{number}"),
        engine: EngineKind::Native,
        slots: 4u16.to_le_bytes(),
        memory: 1 << 30,
        simd: true,
        hidden: false,
    }))
}

/// Resident memory of a process in bytes.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib << 10
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_idle_workers_fit_in_100_megabytes() {
    let cluster = Cluster::start().await;
    let url = format!("{}/ws", cluster.url.replacen("http", "ws", 1));
    let mut sockets = Vec::new();
    for number in 0..WORKERS {
        let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
        socket
            .send(Message::Binary(hello(number).into()))
            .await
            .unwrap();
        let frame = socket.next().await.unwrap().unwrap().into_data();
        let (message, _) = codec::decode::<ToWorker>(frame).unwrap();
        assert!(
            matches!(message, ToWorker::Welcome { resumed: false, .. }),
            "{message:?}"
        );
        sockets.push(socket);
    }
    assert_eq!(
        cluster.client.status().await.unwrap().workers,
        WORKERS as u64
    );
    let bytes = resident(cluster.coordinator.id().unwrap());
    assert!(
        bytes < 100_000_000,
        "{} MB for {WORKERS} idle workers",
        bytes / 1_000_000
    );
}
