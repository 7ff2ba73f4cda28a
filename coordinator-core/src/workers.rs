//! The workers' sessions and connections. Which of them gets what is the
//! scheduler's affair.

use crate::inputs::ConnectionId;
use manyhands_protocol::message::{EngineKind, Hello};
use manyhands_protocol::{JobId, SessionToken, WorkerId};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// One session.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) session: SessionToken,
    pub(crate) name: String,
    pub(crate) engine: EngineKind,
    pub(crate) joined_ms: u64,
    live: Option<Live>,
}

#[derive(Debug)]
struct Live {
    connection: ConnectionId,
    /// Jobs whose headers went over it.
    headers: BTreeSet<JobId>,
}

impl Worker {
    pub(crate) fn connection(&self) -> Option<ConnectionId> {
        self.live.as_ref().map(|live| live.connection)
    }
}

#[derive(Debug)]
pub(crate) struct Workers {
    sessions: BTreeMap<WorkerId, Worker>,
    by_session: BTreeMap<SessionToken, WorkerId>,
    by_connection: BTreeMap<ConnectionId, WorkerId>,
    /// Connections that ended and were not taken note of.
    gone: Vec<ConnectionId>,
    next: u64,
}

impl Default for Workers {
    fn default() -> Self {
        Self {
            sessions: BTreeMap::new(),
            by_session: BTreeMap::new(),
            by_connection: BTreeMap::new(),
            gone: Vec::new(),
            next: 1,
        }
    }
}

impl Workers {
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(crate) fn get(&self, worker: WorkerId) -> Option<&Worker> {
        self.sessions.get(&worker)
    }

    /// Those that joined after this one, in that order.
    pub(crate) fn after(
        &self,
        worker: Option<WorkerId>,
    ) -> impl Iterator<Item = (WorkerId, &Worker)> {
        let from = worker.map_or(Bound::Unbounded, Bound::Excluded);
        let after = self.sessions.range((from, Bound::Unbounded));
        after.map(|(id, worker)| (*id, worker))
    }

    pub(crate) fn by_session(&self, session: SessionToken) -> Option<WorkerId> {
        self.by_session.get(&session).copied()
    }

    /// Whose connection it is now.
    pub(crate) fn by_connection(&self, connection: ConnectionId) -> Option<WorkerId> {
        self.by_connection.get(&connection).copied()
    }

    /// A session begins.
    pub(crate) fn join(&mut self, session: SessionToken, hello: &Hello, unix_ms: u64) -> WorkerId {
        let worker = WorkerId(self.next);
        self.next += 1;
        let entry = Worker {
            session,
            name: hello.name.clone(),
            engine: hello.engine,
            joined_ms: unix_ms,
            live: None,
        };
        self.sessions.insert(worker, entry);
        let before = self.by_session.insert(session, worker);
        assert!(before.is_none(), "two sessions with one token");
        worker
    }

    /// The session's connection is this one from now on; the one it takes the
    /// place of.
    pub(crate) fn connect(
        &mut self,
        worker: WorkerId,
        hello: &Hello,
        connection: ConnectionId,
    ) -> Option<ConnectionId> {
        let old = self.disconnect(worker);
        let entry = self.sessions.get_mut(&worker).expect("a session");
        entry.name.clone_from(&hello.name);
        entry.engine = hello.engine;
        entry.live = Some(Live {
            connection,
            headers: BTreeSet::new(),
        });
        self.by_connection.insert(connection, worker);
        old
    }

    /// The connection is gone, if there was one; the session stays.
    pub(crate) fn disconnect(&mut self, worker: WorkerId) -> Option<ConnectionId> {
        let live = self.sessions.get_mut(&worker)?.live.take()?;
        self.by_connection.remove(&live.connection);
        self.gone.push(live.connection);
        Some(live.connection)
    }

    /// The session is over; its connection, if there was one.
    pub(crate) fn remove(&mut self, worker: WorkerId) -> Option<ConnectionId> {
        let connection = self.disconnect(worker);
        if let Some(entry) = self.sessions.remove(&worker) {
            self.by_session.remove(&entry.session);
        }
        connection
    }

    pub(crate) fn connection(&self, worker: WorkerId) -> Option<ConnectionId> {
        self.sessions.get(&worker)?.connection()
    }

    /// Whether the worker was told of the job on its present connection.
    pub(crate) fn knows(&self, worker: WorkerId, job: JobId) -> bool {
        let live = self
            .sessions
            .get(&worker)
            .and_then(|entry| entry.live.as_ref());
        live.is_some_and(|live| live.headers.contains(&job))
    }

    /// Notes that the worker is told of the job; whether that is news to it.
    pub(crate) fn introduce(&mut self, worker: WorkerId, job: JobId) -> bool {
        let entry = self.sessions.get_mut(&worker);
        let live = entry.and_then(|entry| entry.live.as_mut());
        live.is_some_and(|live| live.headers.insert(job))
    }

    /// Notes that the worker is told to forget the job.
    pub(crate) fn forget(&mut self, worker: WorkerId, job: JobId) {
        let entry = self.sessions.get_mut(&worker);
        if let Some(live) = entry.and_then(|entry| entry.live.as_mut()) {
            live.headers.remove(&job);
        }
    }

    /// All connections, which are gone from now on.
    pub(crate) fn disconnect_all(&mut self) -> Vec<ConnectionId> {
        for entry in self.sessions.values_mut() {
            entry.live = None;
        }
        let connections = std::mem::take(&mut self.by_connection).into_keys();
        let connections: Vec<ConnectionId> = connections.collect();
        self.gone.extend(&connections);
        connections
    }

    /// Connections that ended since the last call.
    pub(crate) fn take_gone(&mut self) -> Vec<ConnectionId> {
        std::mem::take(&mut self.gone)
    }
}
