//! A coordinator on a free port and a worker made by hand.

use futures_util::{SinkExt, StreamExt};
use manyhands_client::{Client, News};
use manyhands_coordinator::{Config, Coordinator};
use manyhands_engine::compute;
use manyhands_protocol::api::{JobEvent, JobState, JobView, Submission, WorkerView};
use manyhands_protocol::message::{
    Claim, EngineKind, Hello, JobHeader, SegmentRef, ToCoordinator, ToWorker,
};
use manyhands_protocol::{
    BlobHash, JobId, LeaseId, Node, PROTOCOL_VERSION, Proof, SessionToken, WorkerId, codec,
};
use std::ops::Deref;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Nothing here takes so long; a test that hangs says where.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let outcome = tokio::time::timeout(LIMIT, future).await;
    outcome.unwrap_or_else(|_| panic!("{what}: nothing within {LIMIT:?}"))
}

pub(crate) struct Running {
    coordinator: Coordinator,
    pub(crate) client: Client,
    folder: TempDir,
}

impl Deref for Running {
    type Target = Coordinator;
    fn deref(&self) -> &Coordinator {
        &self.coordinator
    }
}

pub(crate) async fn start() -> Running {
    start_with(|_| {}).await
}

pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), change);
    Running::start(folder, config).await
}

fn config(folder: &Path, change: impl FnOnce(&mut Config)) -> Config {
    let child = compute::Config {
        program: env!("CARGO_BIN_EXE_coordinator-compute-child").into(),
        args: Vec::new(),
        slots: 1,
        cache: None,
    };
    let mut config = Config::new(folder.join("data"), child);
    config.listen.set_port(0);
    change(&mut config);
    config
}

/// Why a job that is over has failed.
pub(crate) fn failure(over: JobView) -> String {
    let JobState::Failed { failure, .. } = over.state else {
        panic!("{over:?}");
    };
    failure.message
}

impl Running {
    async fn start(folder: TempDir, config: Config) -> Self {
        let coordinator = Coordinator::start(config).await.unwrap();
        let key = coordinator.key().map(str::to_owned);
        let client = Client::new(&coordinator.url(), key).unwrap();
        Self {
            coordinator,
            client,
            folder,
        }
    }

    /// Ends this coordinator in order; another one, at another port, takes its
    /// folder over.
    pub(crate) async fn succeed(self) -> Self {
        soon("shutdown", self.coordinator.shutdown()).await;
        let config = config(self.folder.path(), |_| {});
        Self::start(self.folder, config).await
    }
}

impl Running {
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub(crate) fn http(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr())
    }

    pub(crate) async fn close(self) {
        soon("shutdown", self.coordinator.shutdown()).await;
    }

    /// Uploads a module and submits a job of it.
    pub(crate) async fn submit(&self, wasm: Vec<u8>) -> JobView {
        let submission = self.uploaded(wasm).await;
        self.client.submit(&submission).await.unwrap()
    }

    /// Uploads a module; a submission of it.
    pub(crate) async fn uploaded(&self, wasm: Vec<u8>) -> Submission {
        let module = self.client.upload_module(wasm).await.unwrap();
        submission(module.hash)
    }

    /// The job once it is over.
    pub(crate) async fn over(&self, job: JobId) -> JobView {
        let mut watch = self.client.watch(job);
        let ended = async {
            let mut last = None;
            while let Some(event) = watch.next().await.unwrap() {
                if let News::Event(JobEvent::Job(view)) = event {
                    last = Some(*view);
                }
            }
            last.expect("a last view")
        };
        soon("the job's end", ended).await
    }

    pub(crate) async fn result(&self, job: JobId) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.client.result(job, &mut bytes).await.unwrap();
        bytes
    }

    /// The first hundred workers.
    pub(crate) async fn workers(&self) -> Vec<WorkerView> {
        self.client.workers(None, 100).await.unwrap().workers
    }

    /// A worker that has been welcomed.
    pub(crate) async fn worker(&self) -> Worker {
        let (worker, resumed) = self.worker_with(hello()).await;
        assert!(!resumed);
        worker
    }

    pub(crate) async fn worker_with(&self, hello: Hello) -> (Worker, bool) {
        let mut socket = self.socket().await;
        socket.send(&ToCoordinator::Hello(hello)).await;
        match socket.next().await {
            Some((
                ToWorker::Welcome {
                    worker,
                    session,
                    resumed,
                    ..
                },
                _,
            )) => {
                let worker = Worker {
                    id: worker,
                    session,
                    socket,
                };
                (worker, resumed)
            }
            other => panic!("instead of a welcome: {other:?}"),
        }
    }

    pub(crate) async fn socket(&self) -> Socket {
        let url = format!("ws://{}/ws", self.addr());
        let (stream, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        Socket(stream)
    }
}

pub(crate) fn submission(module: BlobHash) -> Submission {
    let json = serde_json::json!({ "name": "a test", "module": module, "params": {} });
    serde_json::from_value(json).unwrap()
}

pub(crate) fn hello() -> Hello {
    Hello {
        version: PROTOCOL_VERSION.to_le_bytes(),
        resume: None,
        held: Vec::new(),
        name: "by hand".into(),
        engine: EngineKind::Native,
        slots: 1u16.to_le_bytes(),
        memory: 4 << 30,
        simd: true,
        hidden: false,
    }
}

pub(crate) struct Socket(pub(crate) WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub(crate) async fn send(&mut self, message: &ToCoordinator) {
        self.send_with(message, &[]).await;
    }

    pub(crate) async fn send_with(&mut self, message: &ToCoordinator, bulk: &[u8]) {
        self.send_raw(codec::encode_with(message, bulk)).await;
    }

    pub(crate) async fn send_raw(&mut self, frame: Vec<u8>) {
        self.0.send(Message::Binary(frame.into())).await.unwrap();
    }

    /// The next message; `None` once the connection is closed. Pings are passed
    /// over: a worker that has never answered one is left to its deadline.
    pub(crate) async fn next(&mut self) -> Option<(ToWorker, bytes::Bytes)> {
        loop {
            match soon("a frame", self.0.next()).await? {
                Ok(Message::Binary(frame)) => match codec::decode(frame).unwrap() {
                    (ToWorker::Ping, _) => {}
                    other => return Some(other),
                },
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The reason with which the coordinator ends the connection.
    pub(crate) async fn refusal(mut self) -> String {
        let reason = loop {
            let (message, _) = self.next().await.expect("a reason before the end");
            if let ToWorker::Refused { reason } = message {
                break reason;
            }
        };
        assert!(self.next().await.is_none(), "the connection is closed");
        reason
    }
}

pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) session: SessionToken,
    pub(crate) socket: Socket,
}

/// A grant as the worker sees it.
pub(crate) struct Grant {
    pub(crate) lease: LeaseId,
    pub(crate) job: JobId,
    pub(crate) node: Node,
    pub(crate) inputs: Vec<SegmentRef>,
    pub(crate) proof: Proof,
}

impl Grant {
    /// As a worker shows it to resume its session.
    pub(crate) fn claim(&self) -> Claim {
        Claim {
            lease: self.lease,
            job: self.job,
            node: self.node,
            proof: self.proof,
        }
    }
}

impl Worker {
    pub(crate) async fn header(&mut self) -> JobHeader {
        match self.socket.next().await {
            Some((ToWorker::Job(header), _)) => header,
            other => panic!("instead of a header: {other:?}"),
        }
    }

    pub(crate) async fn grant(&mut self) -> Grant {
        match self.socket.next().await {
            Some((
                ToWorker::Grant {
                    lease,
                    job,
                    node,
                    inputs,
                    proof,
                },
                _,
            )) => Grant {
                lease,
                job,
                node,
                inputs,
                proof,
            },
            other => panic!("instead of a grant: {other:?}"),
        }
    }

    /// Hands in a small partial in one piece.
    pub(crate) async fn hand_in(&mut self, lease: LeaseId, node: Node, partial: &[u8]) {
        let message = ToCoordinator::Partial {
            lease,
            node,
            offset: 0,
            total: partial.len() as u64,
            busy_us: 1000,
        };
        self.socket.send_with(&message, partial).await;
    }

    /// Computes whatever is granted until the job is over: `partial` of each
    /// node's tasks. The nodes whose partials were accepted.
    pub(crate) async fn work(
        &mut self,
        partial: impl Fn(std::ops::Range<u64>) -> Vec<u8>,
    ) -> Vec<Node> {
        let mut tree = None;
        let mut accepted = Vec::new();
        loop {
            match self
                .socket
                .next()
                .await
                .expect("the job's end before the connection's")
                .0
            {
                ToWorker::Job(header) => {
                    assert_eq!(header.params, b"{}");
                    tree = manyhands_protocol::Tree::new(header.tasks);
                }
                ToWorker::Grant { lease, node, .. } => {
                    let tree = tree.expect("a header before the grant");
                    let bytes = partial(tree.range(node));
                    self.hand_in(lease, node, &bytes).await;
                }
                ToWorker::Accepted { node, .. } => accepted.push(node),
                ToWorker::Forget { .. } => return accepted,
                ToWorker::Revoke { .. } => {}
                other => panic!("unexpected: {other:?}"),
            }
        }
    }
}
