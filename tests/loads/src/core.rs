//! A recorded block's way through sessions, scheduler and ledger.

use bytes::Bytes;
use manyhands_coordinator_core::{
    ClaimKey, Config, ConnectionId, Core, FromWorker, Input, NewJob, Output, Plan, Request,
};
use manyhands_protocol::api::JobView;
use manyhands_protocol::message::{EngineKind, Hello, JobHeader, ToWorker};
use manyhands_protocol::{
    BlobHash, Incarnation, JobId, LeaseId, MergeMode, Node, PROTOCOL_VERSION, SessionToken, codec,
};
use manyhands_scheduler::Micros;
use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;

const JOB: JobId = JobId(1);

/// Microseconds between two blocks: 40,000 a second.
const PACE: u64 = 25;

/// The core and all around it: sockets, disk and clock are not there; groups are
/// durable at once, and frames go nowhere.
#[derive(Debug)]
pub struct Rig {
    core: Core,
    now: Micros,
    granted: VecDeque<(ConnectionId, LeaseId, Node)>,
    /// The tasks and the bytes of the result so far.
    result: (u64, u64),
}

impl Rig {
    /// So many workers, of one slot each, at work.
    #[must_use]
    pub fn new(workers: u64) -> Self {
        let config = Config {
            scheduler: manyhands_scheduler::Config {
                incarnation: Incarnation(1),
                // Blocks of single tasks.
                native_target_us: 1,
                // Eight each: no more are granted than come in.
                max_depth: 8,
                ..manyhands_scheduler::Config::default()
            },
            key: ClaimKey([1; 32]),
            next_job: JobId(1),
            max_workers: usize::MAX,
            pace_us: 2_000,
            keep_us: manyhands_coordinator_core::KEEP_US,
            lease_merges_from: 256 << 10,
        };
        let mut rig = Self {
            core: Core::new(config),
            now: Micros(0),
            granted: VecDeque::new(),
            result: (0, 0),
        };
        let job = Box::new(job());
        let request = Request(1);
        rig.handle(Input::Submit { request, job });
        for worker in 1..=workers {
            rig.handle(hello(worker));
        }
        for _ in 0..workers * 10 {
            rig.block();
        }
        rig
    }

    fn handle(&mut self, input: Input) {
        self.core.handle(self.now, input);
        self.core.flush(self.now);
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Send { connection, frame } => self.sent(connection, frame),
                Output::Commit(group) => {
                    let group = black_box(group).number;
                    self.core.handle(self.now, Input::Committed { group });
                }
                Output::Append { partial, task, .. } => {
                    self.result = (task, self.result.1 + partial.len() as u64);
                }
                other => drop(black_box(other)),
            }
        }
    }

    /// A worker decodes what it is sent.
    fn sent(&mut self, connection: ConnectionId, frame: Bytes) {
        let (message, _) = codec::decode(frame).expect("a frame of the core's");
        if let ToWorker::Grant { lease, node, .. } = message {
            self.granted.push_back((connection, lease, node));
        }
    }

    /// The oldest block is handed in, scheduled, recorded, committed and
    /// acknowledged, and the next one granted.
    ///
    /// # Panics
    /// When nobody has work.
    pub fn block(&mut self) {
        self.now = self.now + PACE;
        let (connection, lease, node) = self.granted.pop_front().expect("all have work");
        let message = FromWorker::Partial {
            lease,
            node,
            partial: Bytes::from_static(&[0; 8]),
            // Worth a record.
            busy_us: 50_000,
        };
        self.handle(Input::Message {
            connection,
            message,
        });
    }

    /// The result's file is synced: what is in it is forgotten.
    pub fn sync(&mut self) {
        let (task, len) = self.result;
        let job = JOB;
        self.handle(Input::Synced { job, task, len });
    }
}

fn hello(worker: u64) -> Input {
    let mut fresh = SessionToken([0; 16]);
    fresh.0[..8].copy_from_slice(&worker.to_le_bytes());
    Input::Hello {
        connection: ConnectionId(worker),
        hello: Box::new(Hello {
            version: PROTOCOL_VERSION.to_le_bytes(),
            resume: None,
            held: Vec::new(),
            name: "bench".into(),
            engine: EngineKind::Native,
            slots: 1u16.to_le_bytes(),
            memory: 1 << 40,
            simd: true,
            hidden: false,
        }),
        fresh,
        unix_ms: 0,
    }
}

fn job() -> NewJob {
    let tasks = 1 << 50;
    let header = JobHeader {
        job: JOB,
        name: "bench".into(),
        module: BlobHash([1; 32]),
        module_len: 1,
        params: b"{}".to_vec(),
        tasks,
        merge: MergeMode::Concat,
        split: None,
        files: Vec::new(),
        memory: 1 << 20,
        task_timeout_ms: 1000,
    };
    let view = JobView::submitted(JOB, &header.name, header.merge, tasks);
    let plan = Plan {
        header,
        weight: 100,
        simd: false,
        segments: Vec::new(),
        places: Bytes::new(),
        blobs: Vec::new(),
        key: None,
    };
    NewJob {
        spec: plan.spec().expect("a tree has room for the tasks"),
        plan: Arc::new(plan),
        view,
    }
}
