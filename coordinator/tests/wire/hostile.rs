//! What peers must not do: each ends its own connection, with a reason, and
//! nothing else.

use crate::guests;
use crate::setup::{Running, hello, start, start_with};
use futures_util::SinkExt;
use manyhands_protocol::limits::{MAX_FRAME, MAX_PARTIAL};
use manyhands_protocol::message::{ToCoordinator, ToWorker};
use manyhands_protocol::{Incarnation, LeaseId, Node, PROTOCOL_VERSION};
use tokio_tungstenite::tungstenite::Message;

/// The job still ends right, by another worker.
async fn still_works(running: &Running) {
    let mut worker = running.worker().await;
    let job = running.submit(guests::concat(3)).await;
    worker
        .work(|tasks| vec![b'x'; (tasks.end - tasks.start) as usize])
        .await;
    running.over(job.id).await;
    assert_eq!(running.result(job.id).await, b"xxx");
}

#[tokio::test]
async fn a_foreign_version_is_told_so() {
    let running = start().await;
    let mut old = hello();
    old.version = 9u16.to_le_bytes();
    let mut socket = running.socket().await;
    socket.send(&ToCoordinator::Hello(old)).await;
    assert_eq!(
        socket.refusal().await,
        format!(
            "this coordinator speaks version {PROTOCOL_VERSION} of the protocol, the worker version 9: \
             use the same release of manyhands on both sides"
        )
    );
    running.close().await;
}

#[tokio::test]
async fn first_frames_that_are_no_hello() {
    let running = start().await;
    for frame in [&b""[..], b"GET / HTTP/1.1", &[8], &[255; 40]] {
        let mut socket = running.socket().await;
        socket.send_raw(frame.to_vec()).await;
        assert_eq!(socket.refusal().await, "the first frame is not a hello");
    }
    let mut socket = running.socket().await;
    let [low, high] = PROTOCOL_VERSION.to_le_bytes();
    socket.send_raw(vec![0, low, high, 9, 9, 9]).await;
    assert_eq!(socket.refusal().await, "not a message of this protocol");
    still_works(&running).await;
    running.close().await;
}

#[tokio::test]
async fn garbage_later() {
    let running = start().await;
    let mut worker = running.worker().await;
    worker.socket.send_raw(vec![200; 100]).await;
    assert_eq!(
        worker.socket.refusal().await,
        "not a message of this protocol"
    );
    let mut worker = running.worker().await;
    worker.socket.send(&ToCoordinator::Hello(hello())).await;
    assert_eq!(worker.socket.refusal().await, "a second hello");
    let mut worker = running.worker().await;
    worker
        .socket
        .0
        .send(Message::Text("hello?".into()))
        .await
        .unwrap();
    assert_eq!(
        worker.socket.refusal().await,
        "a text frame; only binary ones are used"
    );
    still_works(&running).await;
    running.close().await;
}

#[tokio::test]
async fn a_huge_frame() {
    let running = start().await;
    let mut worker = running.worker().await;
    // The coordinator stops reading at its header, so sending may fail.
    let frame = Message::Binary(vec![0; 2 * MAX_FRAME].into());
    let _ = worker.socket.0.feed(frame).await;
    let _ = worker.socket.0.flush().await;
    // What is left of it unread may make the connection end without a word.
    while let Some((message, _)) = worker.socket.next().await {
        assert!(matches!(message, ToWorker::Refused { .. }), "{message:?}");
    }
    still_works(&running).await;
    running.close().await;
}

#[tokio::test]
async fn a_lease_that_it_does_not_hold() {
    let running = start().await;
    let mut worker = running.worker().await;
    let lease = LeaseId {
        incarnation: Incarnation(5),
        counter: 77,
    };
    worker.hand_in(lease, Node::leaf(0), b"forged").await;
    let reason = worker.socket.refusal().await;
    assert_eq!(reason, "lease 5.77 was never granted to this worker");
    still_works(&running).await;
    running.close().await;
}

#[tokio::test]
async fn a_node_outside_its_lease() {
    let running = start().await;
    let mut worker = running.worker().await;
    let job = running.submit(guests::concat(3)).await;
    worker.header().await;
    let grant = worker.grant().await;
    worker
        .hand_in(grant.lease, Node::leaf(1000), b"forged")
        .await;
    let reason = worker.socket.refusal().await;
    assert!(reason.starts_with("task 1000 is not in lease "), "{reason}");
    running.client.cancel(job.id).await.unwrap();
    still_works(&running).await;
    running.close().await;
}

#[tokio::test]
async fn partials_that_do_not_fit_together() {
    let running = start().await;
    let lease = LeaseId {
        incarnation: Incarnation(5),
        counter: 1,
    };
    let piece = |offset, total| ToCoordinator::Partial {
        lease,
        node: Node::leaf(0),
        offset,
        total,
        busy_us: 0,
    };
    let mut worker = running.worker().await;
    worker.socket.send_with(&piece(5, 20), b"later").await;
    let reason = worker.socket.refusal().await;
    assert_eq!(reason, "a piece at byte 5 of a partial; byte 0 is next");
    let mut worker = running.worker().await;
    worker
        .socket
        .send_with(&piece(0, MAX_PARTIAL + 1), b"a lot")
        .await;
    let reason = worker.socket.refusal().await;
    assert_eq!(
        reason,
        "a partial of 1073741825 bytes; at most 1073741824 are allowed"
    );
    still_works(&running).await;
    running.close().await;
}

#[tokio::test]
async fn a_name_without_end_is_refused() {
    let running = start().await;
    let mut long = running.uploaded(guests::concat(1)).await;
    long.name = "x".repeat(2_000_000);
    let refused = running.client.submit(&long).await.unwrap_err().to_string();
    assert!(refused.contains("at most 1024 bytes"), "{refused}");
    assert_eq!(running.client.status().await.unwrap().running, 0);
    running.close().await;
}

#[tokio::test]
async fn room_is_kept_for_none_but_partials_of_leases() {
    // Room for one largest partial.
    let running = start_with(|config| config.limits.partial_memory = 1 << 30).await;
    let job = running.submit(guests::concat(1)).await;
    let mut worker = running.worker().await;
    worker.header().await;
    let grant = worker.grant().await;
    let mut stranger = running.worker().await;
    let mut lease = grant.lease;
    lease.counter += 100;
    let message = |lease, offset, total| ToCoordinator::Partial {
        lease,
        node: grant.node,
        offset,
        total,
        busy_us: 1,
    };
    stranger
        .socket
        .send_with(&message(lease, 0, 1 << 30), b"x")
        .await;
    let reason = stranger.socket.refusal().await;
    assert!(reason.contains("never granted"), "{reason}");
    // Whoever has the lease finds all of the room free.
    let half = vec![7; 200_000];
    for offset in [0, 200_000] {
        let message = message(grant.lease, offset, 400_000);
        worker.socket.send_with(&message, &half).await;
    }
    running.over(job.id).await;
    assert_eq!(running.result(job.id).await, vec![7; 400_000]);
    running.close().await;
}
