//! A core with a clock, a disk and outputs that a test looks through. Frames are
//! decoded: what a worker would see.

use super::disk::Disk;
use crate::{
    ClaimKey, Config, ConnectionId, Core, FromWorker, Group, Input, NewJob, Output, Plan, Request,
};
use bytes::Bytes;
use manyhands_protocol::api::JobView;
use manyhands_protocol::message::{Claim, EngineKind, Hello, JobHeader, ToWorker};
use manyhands_protocol::{
    BlobHash, Incarnation, JobId, LeaseId, MergeMode, Node, PROTOCOL_VERSION, SessionToken, codec,
};
use manyhands_scheduler::Micros;
use std::collections::VecDeque;
use std::sync::Arc;

pub(super) const MS: u64 = 1000;

pub(super) struct Rig {
    pub(super) core: Core,
    pub(super) now: Micros,
    pub(super) disk: Disk,
    /// The group that is on its way to the disk.
    pub(super) committing: Option<Group>,
    pub(super) outputs: VecDeque<Output>,
    connections: u64,
    requests: u64,
}

/// A grant as its worker sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    pub(super) claim: Claim,
}

pub(super) fn core(incarnation: u64, next_job: u64) -> Core {
    Core::new(Config {
        scheduler: manyhands_scheduler::Config {
            incarnation: Incarnation(incarnation),
            ..manyhands_scheduler::Config::default()
        },
        key: ClaimKey([9; 32]),
        next_job: JobId(next_job),
        max_workers: 100,
        pace_us: 2_000,
        keep_us: crate::KEEP_US,
        lease_merges_from: 16,
    })
}

pub(super) fn job(id: u64, tasks: u64, merge: MergeMode) -> NewJob {
    let header = JobHeader {
        job: JobId(id),
        name: "a test".into(),
        module: BlobHash([1; 32]),
        module_len: 10,
        params: b"{}".to_vec(),
        tasks,
        merge,
        split: None,
        files: Vec::new(),
        memory: 1 << 20,
        task_timeout_ms: 1000,
    };
    let view = JobView {
        submitted_ms: 1_000_000,
        ..JobView::submitted(JobId(id), &header.name, merge, tasks)
    };
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
        spec: plan.spec().unwrap(),
        plan: Arc::new(plan),
        view,
    }
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(core(1, 1), Disk::default())
    }

    fn with(core: Core, disk: Disk) -> Self {
        Self {
            core,
            now: Micros(0),
            disk,
            committing: None,
            outputs: VecDeque::new(),
            connections: 0,
            requests: 0,
        }
    }

    /// The coordinator dies here and now; its successor finds what the disk has.
    pub(super) fn crash(self, incarnation: u64) -> Self {
        let mut disk = self.disk.clone();
        // Groups count from 1 in each incarnation.
        disk.groups = 0;
        let next_job = disk.next_job.max(1);
        let mut next = Self::with(core(incarnation, next_job), disk);
        next.connections = self.connections;
        for stored in next.disk.stored() {
            next.core.restore(next.now, 1_060_000, stored).unwrap();
        }
        next.settle();
        next
    }

    pub(super) fn handle(&mut self, input: Input) {
        self.core.handle(self.now, input);
        self.settle();
    }

    fn settle(&mut self) {
        self.core.flush(self.now);
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Commit(group) => {
                    let before = self.committing.replace(group);
                    assert!(before.is_none(), "two groups at a time");
                }
                output => self.outputs.push_back(output),
            }
        }
    }

    pub(super) fn wait(&mut self, micros: u64) {
        self.now = self.now + micros;
        self.handle(Input::Tick);
    }

    /// The group under way becomes durable.
    pub(super) fn commit(&mut self) {
        let group = self.committing.take().expect("a group under way");
        self.disk.commit(&group);
        self.handle(Input::Committed {
            group: group.number,
        });
    }

    /// Everything recorded becomes durable.
    pub(super) fn commit_all(&mut self) {
        while !self.core.is_settled() {
            while self.committing.is_none() {
                self.wait(2 * MS);
            }
            self.commit();
        }
    }

    pub(super) fn request(&mut self) -> Request {
        self.requests += 1;
        Request(self.requests)
    }

    /// Submits and commits.
    pub(super) fn submit(&mut self, job: NewJob) {
        let request = self.request();
        let job = Box::new(job);
        self.handle(Input::Submit { request, job });
        self.commit_all();
    }

    pub(super) fn hello(&self, held: Vec<Claim>, resume: Option<SessionToken>) -> Hello {
        Hello {
            version: PROTOCOL_VERSION.to_le_bytes(),
            resume,
            held,
            name: "by hand".into(),
            engine: EngineKind::Native,
            slots: 1u16.to_le_bytes(),
            memory: 4 << 30,
            simd: true,
            hidden: false,
        }
    }

    pub(super) fn connect(&mut self, hello: Hello) -> ConnectionId {
        self.connections += 1;
        let connection = ConnectionId(self.connections);
        self.handle(Input::Hello {
            connection,
            hello: Box::new(hello),
            fresh: SessionToken([self.connections as u8; 16]),
            unix_ms: 5,
        });
        connection
    }

    pub(super) fn worker(&mut self) -> ConnectionId {
        let hello = self.hello(Vec::new(), None);
        self.connect(hello)
    }

    pub(super) fn says(&mut self, connection: ConnectionId, message: FromWorker) {
        self.handle(Input::Message {
            connection,
            message,
        });
    }

    pub(super) fn hands_in(
        &mut self,
        connection: ConnectionId,
        (lease, node): (LeaseId, Node),
        partial: &[u8],
        busy_us: u64,
    ) {
        let partial = Bytes::copy_from_slice(partial);
        let message = FromWorker::Partial {
            lease,
            node,
            partial,
            busy_us,
        };
        self.says(connection, message);
    }

    /// The frames for a worker so far, without bulk.
    pub(super) fn frames(&mut self, to: ConnectionId) -> Vec<ToWorker> {
        let frames = self.frames_with_bulk(to).into_iter();
        frames.map(|(message, _)| message).collect()
    }

    /// The frames for a worker so far.
    pub(super) fn frames_with_bulk(&mut self, to: ConnectionId) -> Vec<(ToWorker, Bytes)> {
        let mut frames = Vec::new();
        self.outputs.retain(|output| match output {
            Output::Send { connection, frame }
            | Output::Close {
                connection,
                last: frame,
                ..
            } if *connection == to => {
                frames.push(codec::decode(frame.clone()).unwrap());
                false
            }
            _ => true,
        });
        frames
    }

    /// The leases among a worker's frames of which a partial is accepted.
    pub(super) fn receipts(&mut self, to: ConnectionId) -> Vec<LeaseId> {
        let frames = self.frames(to).into_iter();
        let receipts = frames.filter_map(|frame| match frame {
            ToWorker::Accepted { lease, .. } => Some(lease),
            _ => None,
        });
        receipts.collect()
    }

    /// The grants among a worker's frames.
    pub(super) fn grants(&mut self, to: ConnectionId) -> Vec<Grant> {
        let frames = self.frames(to).into_iter();
        let grants = frames.filter_map(|frame| match frame {
            ToWorker::Grant {
                lease,
                job,
                node,
                proof,
                ..
            } => Some(Grant {
                claim: Claim {
                    lease,
                    job,
                    node,
                    proof,
                },
            }),
            _ => None,
        });
        grants.collect()
    }

    /// All outputs that are not frames.
    pub(super) fn rest(&mut self) -> Vec<Output> {
        let frames = |output: &Output| matches!(output, Output::Send { .. } | Output::Close { .. });
        let (frames, rest): (VecDeque<_>, VecDeque<_>) = self.outputs.drain(..).partition(frames);
        self.outputs = frames;
        rest.into()
    }
}

impl Grant {
    pub(super) fn names(&self) -> (LeaseId, Node) {
        (self.claim.lease, self.claim.node)
    }
}
