//! The coordinator's process: its life and its sockets, as the real one's driver
//! and readers deal with them. The core decides; what it asks for is carried out
//! in `driving` and `results`.

use crate::network::{Item, LinkId, Side};
use crate::results::Writer;
use crate::world::{Event, World};
use bytes::Bytes;
use manyhands_coordinator_core::{
    ClaimKey, Config, ConnectionId, Core, FromWorker, Group, Input, Request,
};
use manyhands_protocol::limits::{MAX_PARTIAL, MAX_SLOTS, clip};
use manyhands_protocol::message::{MergeMode, ToCoordinator, ToWorker};
use manyhands_protocol::{
    BlobHash, Incarnation, JobId, LeaseId, Node, PROTOCOL_VERSION, SessionToken, codec,
};
use manyhands_scheduler::Micros;
use std::collections::BTreeMap;

/// How long a stranger may take to say hello.
const PATIENCE_US: u64 = 10_000_000;

/// How long the last commit may take when the coordinator closes.
const LAST_COMMIT_US: u64 = 2_000_000;

/// Blob bytes of one frame.
const BLOB_FRAME: usize = 64 << 10;

/// The time when the simulation begins, in milliseconds since 1970.
pub(crate) const UNIX_MS: u64 = 1_800_000_000_000;

/// What cannot be kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Source {
    Journal,
    Result(JobId),
}

/// Who waits for an answer of the core's.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waiting {
    /// A submission, and the id that was set aside for it.
    Submitted {
        author: usize,
        job: JobId,
    },
    Cancelled {
        author: usize,
        job: JobId,
    },
}

#[derive(Default, Debug)]
struct Connection {
    greeted: bool,
    assembly: Option<Assembly>,
}

#[derive(Debug)]
struct Assembly {
    part: (LeaseId, Node, u64, u64),
    bytes: Vec<u8>,
}

/// One start of the coordinator, or none.
#[derive(Default, Debug)]
pub(crate) struct Coordinator {
    pub(crate) core: Option<Core>,
    /// Counts starts and ends, so that what was meant for another is known.
    pub(crate) epoch: u64,
    pub(crate) start: u64,
    connections: BTreeMap<LinkId, Connection>,
    /// When no merge is under way any more.
    pub(crate) merging_until: u64,
    pub(crate) committing: Option<Group>,
    pub(crate) commit_failed: bool,
    pub(crate) troubles: BTreeMap<Source, String>,
    pub(crate) writers: BTreeMap<JobId, Writer>,
    pub(crate) waiting: BTreeMap<Request, Waiting>,
    pub(crate) next_request: u64,
    next_job: u64,
    pub(crate) pump_scheduled: bool,
    pub(crate) tick_at: Option<u64>,
    /// Deadlines in a row that had passed when they were set.
    pub(crate) overdue: u32,
    /// Set when it closes: it ends then at the latest.
    pub(crate) end_by: Option<u64>,
}

impl Coordinator {
    pub(crate) fn now(&self, now: u64) -> Micros {
        Micros(now - self.start)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.end_by.is_some()
    }
}

impl World {
    /// A coordinator starts on what the disk holds.
    pub(crate) fn start_coordinator(&mut self) {
        assert!(self.coordinator.core.is_none(), "two coordinators");
        self.disk.incarnation += 1;
        let scheduler = manyhands_scheduler::Config {
            incarnation: Incarnation(self.disk.incarnation),
            ..self.setup.scheduler.clone()
        };
        let core = Core::new(Config {
            scheduler,
            key: ClaimKey([7; 32]),
            next_job: JobId(self.disk.next_job.max(1)),
            max_workers: self.setup.max_workers,
            pace_us: 2_000,
            keep_us: manyhands_coordinator_core::KEEP_US,
            lease_merges_from: self.setup.lease_merges_from,
        });
        self.trace
            .note(self.now, "coordinator starts", &[self.disk.incarnation]);
        self.coordinator = Coordinator {
            core: Some(core),
            epoch: self.coordinator.epoch + 1,
            start: self.now,
            next_job: self.disk.next_job.max(1),
            ..Coordinator::default()
        };
        self.checks_at_start();
        let jobs: Vec<JobId> = self.disk.running.keys().copied().collect();
        for job in jobs {
            self.take_up(job);
        }
        self.pump();
    }

    fn take_up(&mut self, job: JobId) {
        let stored = self.disk.stored(job);
        if stored.plan.header.merge == MergeMode::Concat {
            self.take_up_file(job, stored.prefix);
        }
        let (now, unix_ms) = (Micros(0), UNIX_MS + self.now / 1000);
        let core = self.coordinator.core.as_mut().expect("just started");
        if let Err(error) = core.restore(now, unix_ms, stored) {
            self.fail(format!("what was stored is not taken up: {error}"));
        }
    }

    /// The process is gone, with its memory and sockets. With `power`, clients
    /// do not learn of it by themselves.
    pub(crate) fn stop_coordinator(&mut self, power: bool) {
        if self.coordinator.core.take().is_none() {
            return;
        }
        self.coordinator.epoch += 1;
        self.trace
            .note(self.now, "coordinator ends", &[u64::from(power)]);
        if let Some(group) = self.coordinator.committing.take()
            && self.rng.permille(500)
        {
            // It had come to that.
            self.commit_to_disk(&group);
        }
        if self.disk.crash(&mut self.rng) {
            self.tally.add("torn write");
        }
        let links: Vec<LinkId> = self.coordinator.connections.keys().copied().collect();
        self.coordinator.connections.clear();
        for link in links {
            let learns = match power {
                true => self
                    .rng
                    .permille(300)
                    .then(|| self.rng.spread(1_000_000, 300_000_000)),
                false => Some(self.rng.between(100, 50_000)),
            };
            self.kill_side(link, Side::Server, learns);
        }
        self.checks_at_stop();
        let pause = self.rng.spread(100_000, self.setup.longest_absence_us);
        self.schedule(self.now + pause, Event::CoordinatorStarts);
    }

    /// SIGTERM.
    pub(crate) fn drain_coordinator(&mut self) {
        if self.coordinator.core.is_some() && !self.coordinator.is_draining() {
            let by = self.now + LAST_COMMIT_US;
            self.coordinator.end_by = Some(by);
            let epoch = self.coordinator.epoch;
            self.schedule(by, Event::Pump { epoch });
            self.tell_core(Input::Drain);
        }
    }

    /// An id for a job that is being prepared.
    pub(crate) fn next_job(&mut self) -> JobId {
        let id = self.coordinator.next_job;
        self.coordinator.next_job += 1;
        JobId(id)
    }

    /// Something came over a connection.
    pub(crate) fn server_receives(&mut self, link: LinkId, item: Item) {
        let there = self.coordinator.core.is_some() && !self.coordinator.is_draining();
        match item {
            Item::Open if there => {
                self.coordinator
                    .connections
                    .insert(link, Connection::default());
                self.transmit(link, Side::Client, Item::Opened);
                let epoch = self.coordinator.epoch;
                self.schedule(self.now + PATIENCE_US, Event::HelloDue { epoch, link });
            }
            // Nobody listens there.
            Item::Open => self.close_link(link, Side::Server),
            Item::Frame(frame) => self.frame(link, frame),
            Item::End => {
                if self.coordinator.connections.remove(&link).is_some() {
                    self.tell_core(Input::Closed {
                        connection: ConnectionId(link),
                    });
                }
                self.close_link(link, Side::Server);
            }
            Item::Opened => unreachable!("goes to clients"),
        }
    }

    /// A connection that is not a worker's yet, or not any more, ends.
    pub(crate) fn hello_due(&mut self, link: LinkId) {
        let connection = self.coordinator.connections.get(&link);
        if connection.is_some_and(|connection| !connection.greeted) {
            self.refuse(link, "no hello has come".into());
        }
    }

    /// Breaking the protocol ends a connection with a reason.
    fn refuse(&mut self, link: LinkId, reason: String) {
        self.check_refusal(link, &reason);
        let refused = ToWorker::Refused {
            reason: clip(reason),
        };
        self.hang_up(link, Some(codec::encode(&refused).into()));
        self.tell_core(Input::Closed {
            connection: ConnectionId(link),
        });
    }

    /// Ends a connection from the coordinator's side.
    pub(crate) fn hang_up(&mut self, link: LinkId, last: Option<Bytes>) {
        if self.coordinator.connections.remove(&link).is_some() {
            if let Some(last) = last {
                self.transmit(link, Side::Client, Item::Frame(last));
            }
            self.close_link(link, Side::Server);
        }
    }

    pub(crate) fn has_connection(&self, link: LinkId) -> bool {
        self.coordinator.connections.contains_key(&link)
    }

    fn frame(&mut self, link: LinkId, frame: Bytes) {
        let Some(connection) = self.coordinator.connections.get_mut(&link) else {
            return;
        };
        if !connection.greeted {
            connection.greeted = true;
            return self.greet(link, frame);
        }
        let outcome = match codec::decode::<ToCoordinator>(frame) {
            Ok((message, bulk)) => self.message(link, message, &bulk),
            Err(error) => Err(error.to_string()),
        };
        if let Err(reason) = outcome {
            self.refuse(link, reason);
        }
    }

    fn greet(&mut self, link: LinkId, frame: Bytes) {
        if codec::hello_version(&frame) != Some(PROTOCOL_VERSION) {
            return self.refuse(link, "not a hello of this version".into());
        }
        let hello = match codec::decode::<ToCoordinator>(frame) {
            Ok((ToCoordinator::Hello(hello), _)) => hello,
            _ => return self.refuse(link, "the first frame is not a hello".into()),
        };
        if u16::from_le_bytes(hello.slots) > MAX_SLOTS {
            return self.refuse(link, "too many slots".into());
        }
        let mut fresh = SessionToken([0; 16]);
        fresh.0[..8].copy_from_slice(&self.rng.next().to_le_bytes());
        fresh.0[8..].copy_from_slice(&self.rng.next().to_le_bytes());
        self.tell_core(Input::Hello {
            connection: ConnectionId(link),
            hello: Box::new(hello),
            fresh,
            unix_ms: UNIX_MS + self.now / 1000,
        });
    }

    fn message(
        &mut self,
        link: LinkId,
        message: ToCoordinator,
        bulk: &Bytes,
    ) -> Result<(), String> {
        let message = match message {
            ToCoordinator::Partial {
                lease,
                node,
                offset,
                total,
                busy_us,
            } => match self.assemble(link, (lease, node, total, busy_us), offset, bulk)? {
                Some(partial) => FromWorker::Partial {
                    lease,
                    node,
                    partial,
                    busy_us,
                },
                None => return Ok(()),
            },
            ToCoordinator::Need(hashes) => {
                for hash in hashes {
                    self.send_blob(link, hash);
                }
                FromWorker::Heard
            }
            other => FromWorker::of(other).map_err(|reason| reason.to_string())?,
        };
        self.worker_says(link, message);
        Ok(())
    }

    /// Partials from their pieces.
    fn assemble(
        &mut self,
        link: LinkId,
        part: (LeaseId, Node, u64, u64),
        offset: u64,
        piece: &Bytes,
    ) -> Result<Option<Bytes>, String> {
        let connection = self
            .coordinator
            .connections
            .get_mut(&link)
            .expect("it speaks");
        let total = part.2;
        if total > MAX_PARTIAL {
            return Err("a partial that is too large".into());
        }
        let bytes = Vec::new();
        let open = connection.assembly.get_or_insert(Assembly { part, bytes });
        if open.part != part || offset != open.bytes.len() as u64 {
            return Err("pieces that do not fit together".into());
        }
        open.bytes.extend_from_slice(piece);
        if open.bytes.len() as u64 == total {
            let whole = connection.assembly.take().expect("it is there");
            return Ok(Some(whole.bytes.into()));
        }
        Ok(None)
    }

    fn send_blob(&mut self, link: LinkId, hash: BlobHash) {
        let blob = self.blobs.get(&hash).cloned();
        let Some(blob) = blob else {
            let frame = codec::encode(&ToWorker::Gone { hash }).into();
            return self.transmit(link, Side::Client, Item::Frame(frame));
        };
        let total = blob.len() as u64;
        let mut offset = 0;
        loop {
            let piece = blob.slice(offset..blob.len().min(offset + BLOB_FRAME));
            let at = offset as u64;
            let header = ToWorker::Blob {
                hash,
                offset: at,
                total,
            };
            let frame = codec::encode_with(&header, &piece).into();
            self.transmit(link, Side::Client, Item::Frame(frame));
            offset += piece.len();
            if offset == blob.len() {
                return;
            }
        }
    }
}
