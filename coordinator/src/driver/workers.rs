//! The workers' sessions and connections, as the driver keeps them. Which of
//! them gets what is the scheduler's affair.

use super::Driver;
use axum::body::Bytes;
use manyhands_protocol::api::WorkerView;
use manyhands_protocol::message::{EngineKind, Hello, ToWorker};
use manyhands_protocol::{Incarnation, JobId, SessionToken, WorkerId, codec};
use manyhands_scheduler::Capacity;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::{mpsc, oneshot};

/// A socket's ends on the driver's side. Dropping it ends the connection.
pub(crate) struct Connection {
    pub(crate) frames: mpsc::Sender<Bytes>,
    /// Takes the last frame.
    pub(crate) closing: oneshot::Sender<Bytes>,
}

/// Who a connection belongs to. The number tells it from earlier ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Welcomed {
    pub(crate) worker: WorkerId,
    pub(crate) number: u64,
}

struct Worker {
    session: SessionToken,
    name: String,
    engine: EngineKind,
    joined_ms: u64,
    live: Option<Live>,
}

struct Live {
    number: u64,
    connection: Connection,
    /// Jobs whose headers went over it.
    headers: BTreeSet<JobId>,
}

pub(super) struct Workers {
    incarnation: Incarnation,
    alive_every_ms: u64,
    sessions: BTreeMap<WorkerId, Worker>,
    by_session: BTreeMap<SessionToken, WorkerId>,
    next_worker: u64,
    next_number: u64,
}

/// What came of a frame that was put into a worker's queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sent {
    /// It is on its way, or there is no connection and the scheduler knows.
    Fine,
    /// The queue is full or its reader has ended: the connection is dropped.
    Dropped,
}

impl Workers {
    pub(super) fn new(config: &manyhands_scheduler::Config) -> Self {
        Self {
            incarnation: config.incarnation,
            // Two may be lost before the deadline.
            alive_every_ms: config.deadline_us / 3000,
            sessions: BTreeMap::new(),
            by_session: BTreeMap::new(),
            next_worker: 1,
            next_number: 1,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn by_session(&self, session: SessionToken) -> Option<WorkerId> {
        self.by_session.get(&session).copied()
    }

    pub(super) fn join(&mut self, now_ms: u64, hello: Hello, connection: Connection) -> Welcomed {
        let worker = WorkerId(self.next_worker);
        self.next_worker += 1;
        let mut session = SessionToken([0; 16]);
        getrandom::fill(&mut session.0).expect("the system gives random bytes");
        self.by_session.insert(session, worker);
        let entry = Worker {
            session,
            name: hello.name,
            engine: hello.engine,
            joined_ms: now_ms,
            live: None,
        };
        self.sessions.insert(worker, entry);
        self.connect(worker, connection, false)
    }

    pub(super) fn resume(
        &mut self,
        worker: WorkerId,
        hello: Hello,
        connection: Connection,
    ) -> Welcomed {
        let entry = self
            .sessions
            .get_mut(&worker)
            .expect("a session found by its token");
        entry.name = hello.name;
        entry.engine = hello.engine;
        if let Some(old) = entry.live.take() {
            let reason = "another connection took this session over";
            let _ = old.connection.closing.send(closing(u64::MAX, reason));
        }
        self.connect(worker, connection, true)
    }

    fn connect(&mut self, worker: WorkerId, connection: Connection, resumed: bool) -> Welcomed {
        let number = self.next_number;
        self.next_number += 1;
        let entry = self
            .sessions
            .get_mut(&worker)
            .expect("a worker with a session");
        let welcome = ToWorker::Welcome {
            worker,
            session: entry.session,
            incarnation: self.incarnation,
            resumed,
            alive_every_ms: self.alive_every_ms,
        };
        let sent = connection.frames.try_send(codec::encode(&welcome).into());
        assert!(sent.is_ok(), "a new queue has room");
        entry.live = Some(Live {
            number,
            connection,
            headers: BTreeSet::new(),
        });
        Welcomed { worker, number }
    }

    pub(super) fn is_current(&self, worker: WorkerId, number: u64) -> bool {
        self.live(worker).is_some_and(|live| live.number == number)
    }

    pub(super) fn is_connected(&self, worker: WorkerId) -> bool {
        self.live(worker).is_some()
    }

    pub(super) fn connected(&self) -> impl Iterator<Item = WorkerId> + '_ {
        let live = self
            .sessions
            .iter()
            .filter(|(_, entry)| entry.live.is_some());
        live.map(|(worker, _)| *worker)
    }

    /// Whether the worker was told of the job on its present connection.
    pub(super) fn knows(&self, worker: WorkerId, job: JobId) -> bool {
        self.live(worker)
            .is_some_and(|live| live.headers.contains(&job))
    }

    /// Notes that the worker is told of the job; whether that is news to it.
    pub(super) fn introduce(&mut self, worker: WorkerId, job: JobId) -> bool {
        let entry = self
            .sessions
            .get_mut(&worker)
            .and_then(|entry| entry.live.as_mut());
        entry.is_some_and(|live| live.headers.insert(job))
    }

    /// Notes that the worker is told to forget the job; whether it knew it.
    pub(super) fn forget(&mut self, worker: WorkerId, job: JobId) -> bool {
        let entry = self
            .sessions
            .get_mut(&worker)
            .and_then(|entry| entry.live.as_mut());
        entry.is_some_and(|live| live.headers.remove(&job))
    }

    pub(super) fn who(&self, worker: WorkerId) -> Option<(&str, EngineKind)> {
        let entry = self.sessions.get(&worker)?;
        Some((&entry.name, entry.engine))
    }

    /// Queues a frame; never waits.
    pub(super) fn send(&mut self, worker: WorkerId, frame: Bytes) -> Sent {
        let Some(entry) = self.sessions.get_mut(&worker) else {
            return Sent::Fine;
        };
        let Some(live) = &entry.live else {
            return Sent::Fine;
        };
        if live.connection.frames.try_send(frame).is_ok() {
            return Sent::Fine;
        }
        entry.live = None;
        Sent::Dropped
    }

    /// The connection is gone; the session stays.
    pub(super) fn disconnect(&mut self, worker: WorkerId) {
        if let Some(entry) = self.sessions.get_mut(&worker) {
            entry.live = None;
        }
    }

    /// Ends the connection with a last frame; the session stays.
    pub(super) fn close(&mut self, worker: WorkerId, last: Bytes) {
        let live = self
            .sessions
            .get_mut(&worker)
            .and_then(|entry| entry.live.take());
        if let Some(live) = live {
            // It may have ended by itself.
            let _ = live.connection.closing.send(last);
        }
    }

    /// Ends the session, with a last frame if there is something to say.
    pub(super) fn remove(&mut self, worker: WorkerId, last: Option<Bytes>) {
        if let Some(last) = last {
            self.close(worker, last);
        }
        if let Some(entry) = self.sessions.remove(&worker) {
            self.by_session.remove(&entry.session);
        }
    }

    /// Tells all that the coordinator closes.
    pub(super) fn farewell(&mut self) {
        let frame = closing(1000, "the coordinator closes");
        for entry in self.sessions.values_mut() {
            if let Some(live) = entry.live.take() {
                let _ = live.connection.closing.send(frame.clone());
            }
        }
    }
}

impl Workers {
    fn live(&self, worker: WorkerId) -> Option<&Live> {
        self.sessions.get(&worker)?.live.as_ref()
    }
}

impl Driver {
    /// All workers with a session, as they stand.
    pub(super) fn worker_views(&self) -> Vec<WorkerView> {
        let views = self.workers.sessions.iter().filter_map(|(id, entry)| {
            let progress = self.scheduler.worker(*id)?;
            Some(WorkerView {
                id: *id,
                name: entry.name.clone(),
                engine: entry.engine,
                slots: progress.slots,
                connected: entry.live.is_some(),
                leases: progress.leases as u64,
                blocks: progress.blocks,
                tasks: progress.tasks,
                job: progress.job,
                joined_ms: entry.joined_ms,
            })
        });
        views.collect()
    }
}

pub(super) fn closing(after_ms: u64, reason: &str) -> Bytes {
    let reason = reason.to_owned();
    codec::encode(&ToWorker::Closing { after_ms, reason }).into()
}

/// What the scheduler knows of a worker that says hello.
pub(super) fn capacity(hello: &Hello) -> Capacity {
    Capacity {
        engine: hello.engine,
        slots: u16::from_le_bytes(hello.slots),
        memory: hello.memory,
        simd: hello.simd,
        hidden: false,
    }
}
