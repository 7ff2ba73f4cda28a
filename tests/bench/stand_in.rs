//! Stand-ins for workers: real WebSockets and frames, and partials that are made
//! up at once, so that what is measured is the coordinator.

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use manyhands_protocol::limits::{MAX_FRAME, MAX_LIST};
use manyhands_protocol::message::{EngineKind, Hello, ToCoordinator, ToWorker};
use manyhands_protocol::{BlobHash, JobId, LeaseId, Node, PROTOCOL_VERSION, Tree, codec};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

/// Small, since there are thousands of stand-ins.
const BUFFER: usize = 4 << 10;

/// Read at once by one that fetches.
const FETCH_BUFFER: usize = 256 << 10;

/// Until the coordinator has said how often to speak.
const ALIVE: Duration = Duration::from_secs(10);

/// What a stand-in claims to be and hands in.
#[derive(Clone, Copy)]
pub(crate) struct Role {
    pub(crate) slots: u16,
    /// Bytes of a partial, for each of its tasks.
    pub(crate) bytes_per_task: usize,
    /// The slot time that each block is said to have taken, in microseconds.
    pub(crate) busy_us: u64,
}

/// A block to compute.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) lease: LeaseId,
    pub(crate) node: Node,
    pub(crate) tasks: u64,
}

/// What the coordinator said, where that needs more than courtesy.
pub(crate) enum News {
    Granted(Grant),
    Accepted(LeaseId),
    /// Asked back, and given back.
    Revoked(LeaseId),
    /// The job is over.
    Forgotten,
    /// Nothing to act upon.
    Noted,
}

pub(crate) struct StandIn {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    alive: Interval,
    role: Role,
    jobs: BTreeMap<JobId, Tree>,
    /// As long as the longest partial so far.
    zeros: Vec<u8>,
}

impl StandIn {
    /// Connects to the coordinator at `host:port` and is welcomed.
    pub(crate) async fn join(address: &str, role: Role) -> Self {
        Self::join_with(address, role, BUFFER).await
    }

    async fn join_with(address: &str, role: Role, read_buffer: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(read_buffer)
            .write_buffer_size(BUFFER)
            .max_write_buffer_size(2 * MAX_FRAME);
        let url = format!("ws://{address}/ws");
        let connected = connect_async_with_config(url, Some(config), true).await;
        let (stream, _) = connected.expect("the coordinator takes a connection");
        let mut joined = Self {
            stream,
            alive: interval(ALIVE),
            role,
            jobs: BTreeMap::new(),
            zeros: Vec::new(),
        };
        joined.feed(&ToCoordinator::Hello(hello(role)), &[]).await;
        joined.flush().await;
        match joined.message().await {
            ToWorker::Welcome { alive_every_ms, .. } => {
                joined.alive = interval(Duration::from_millis(alive_every_ms));
                joined
                    .alive
                    .set_missed_tick_behavior(MissedTickBehavior::Delay);
            }
            other => panic!("instead of a welcome: {other:?}"),
        }
        joined
    }

    /// What the coordinator says next; sends what was written before.
    ///
    /// # Panics
    /// When it turns the stand-in away.
    pub(crate) async fn next(&mut self) -> News {
        self.flush().await;
        let message = self.message().await;
        self.digest(message).await
    }

    /// What has come already.
    pub(crate) async fn ready(&mut self) -> Option<News> {
        let frame = self.stream.next().now_or_never()?;
        Some(self.digest(decoded(frame)).await)
    }

    /// Writes a block's partial, to be sent with the next [`flush`](Self::flush)
    /// or before the next wait.
    pub(crate) async fn answer(&mut self, grant: Grant) {
        let total = self.role.bytes_per_task * grant.tasks as usize;
        let mut zeros = std::mem::take(&mut self.zeros);
        zeros.resize(total.max(zeros.len()), 0);
        let message = ToCoordinator::Partial {
            lease: grant.lease,
            node: grant.node,
            offset: 0,
            total: total as u64,
            busy_us: self.role.busy_us,
        };
        self.feed(&message, &zeros[..total]).await;
        self.zeros = zeros;
    }

    pub(crate) async fn flush(&mut self) {
        self.stream.flush().await.expect("the connection stands");
    }

    async fn message(&mut self) -> ToWorker {
        loop {
            tokio::select! {
                biased;
                frame = self.stream.next() => return decoded(frame),
                _ = self.alive.tick() => {}
            }
            self.feed(&ToCoordinator::Alive, &[]).await;
            self.flush().await;
        }
    }

    async fn digest(&mut self, message: ToWorker) -> News {
        match message {
            ToWorker::Job(header) => {
                let tree = Tree::new(header.tasks).expect("a job's number of tasks");
                self.jobs.insert(header.job, tree);
                News::Noted
            }
            ToWorker::Grant {
                lease, job, node, ..
            } => {
                let tree = self.jobs.get(&job).expect("a header before the grant");
                let tasks = tree.len(node);
                News::Granted(Grant { lease, node, tasks })
            }
            ToWorker::Accepted { lease, .. } => News::Accepted(lease),
            ToWorker::Revoke { lease } => {
                // One that was answered already is over, and this is not heard.
                self.feed(&ToCoordinator::Returned { lease }, &[]).await;
                News::Revoked(lease)
            }
            ToWorker::Forget { job } => {
                self.jobs.remove(&job);
                News::Forgotten
            }
            ToWorker::Alive => News::Noted,
            ToWorker::Ping => {
                self.feed(&ToCoordinator::Pong, &[]).await;
                News::Noted
            }
            other => panic!("a stand-in is not prepared for {other:?}"),
        }
    }

    async fn feed(&mut self, message: &ToCoordinator, bulk: &[u8]) {
        let frame = Bytes::from(codec::encode_with(message, bulk));
        let fed = self.stream.feed(Message::Binary(frame)).await;
        fed.expect("the connection stands");
    }
}

/// Fetches blobs as a worker without slots, which does nothing with them; how many
/// bytes they have.
///
/// # Panics
/// When one of them is not to be had.
pub(crate) async fn fetch(address: &str, hashes: &[BlobHash]) -> u64 {
    let role = Role {
        slots: 0,
        bytes_per_task: 0,
        busy_us: 0,
    };
    let mut worker = StandIn::join_with(address, role, FETCH_BUFFER).await;
    for asked in hashes.chunks(MAX_LIST) {
        worker.feed(&ToCoordinator::Need(asked.to_vec()), &[]).await;
    }
    worker.flush().await;
    let (mut left, mut bytes) = (hashes.len(), 0);
    while left > 0 {
        let Some(Ok(Message::Binary(frame))) = worker.stream.next().await else {
            panic!("the connection has ended");
        };
        match codec::decode(frame).expect("a message") {
            (ToWorker::Blob { offset, total, .. }, bulk) => {
                bytes += bulk.len() as u64;
                left -= usize::from(offset + bulk.len() as u64 == total);
            }
            (ToWorker::Gone { hash }, _) => panic!("{hash} is not to be had"),
            _ => {}
        }
    }
    bytes
}

type Frame = Option<Result<Message, tokio_tungstenite::tungstenite::Error>>;

fn decoded(frame: Frame) -> ToWorker {
    match frame {
        Some(Ok(Message::Binary(frame))) => codec::decode(frame).expect("a message").0,
        other => panic!("instead of a frame: {other:?}"),
    }
}

fn hello(role: Role) -> Hello {
    Hello {
        version: PROTOCOL_VERSION.to_le_bytes(),
        resume: None,
        held: Vec::new(),
        name: "stand-in".into(),
        engine: EngineKind::Native,
        slots: role.slots.to_le_bytes(),
        // More than any number of guests may have.
        memory: 1 << 50,
        simd: true,
        hidden: false,
    }
}
