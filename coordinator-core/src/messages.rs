//! What workers say, and what they are told in answer.

use crate::core::{Core, Partial};
use crate::inputs::{ConnectionId, FromWorker};
use crate::outputs::Output;
use bytes::Bytes;
use manyhands_protocol::message::{Claim, Hello, ToWorker};
use manyhands_protocol::{JobId, LeaseId, Node, SessionToken, WorkerId};
use manyhands_scheduler::{Capacity, Event, Micros, Reason};

impl Core {
    pub(crate) fn hello(
        &mut self,
        now: Micros,
        connection: ConnectionId,
        hello: &Hello,
        fresh: SessionToken,
        unix_ms: u64,
    ) {
        let known = hello
            .resume
            .and_then(|token| self.workers.by_session(token));
        if known.is_none() && self.workers.len() >= self.config.max_workers {
            let reason = "this coordinator has as many workers as it takes".to_owned();
            let last = ToWorker::Refused {
                reason: reason.clone(),
            };
            self.counts.refused += 1;
            return self.close(connection, &last, Some(reason));
        }
        let capacity = capacity(hello);
        if let Some(worker) = known {
            self.welcome(worker, hello, connection, true);
            let held = hello.held.iter().map(|claim| claim.lease).collect();
            let event = Event::WorkerResumed {
                worker,
                capacity,
                held,
            };
            return self.tell(now, event);
        }
        // Nobody here, or of an earlier start of this coordinator: that shows
        // in what it was granted then.
        let claims = hello
            .resume
            .map(|token| (token, self.proven(token, &hello.held)));
        let claims = claims.filter(|(_, proven)| !proven.is_empty());
        let resumed = claims.is_some();
        let (token, proven) = claims.unwrap_or((fresh, Vec::new()));
        let worker = self.workers.join(token, hello, unix_ms);
        self.welcome(worker, hello, connection, resumed);
        for claim in &proven {
            if let Some(job) = self.jobs.get_mut(&claim.job) {
                job.meet(worker, &hello.name, hello.engine);
            }
        }
        let held = proven
            .iter()
            .map(|claim| (claim.lease, claim.job, claim.node));
        let event = Event::WorkerJoined {
            worker,
            capacity,
            held: held.collect(),
        };
        self.tell(now, event);
    }

    /// The claims that this coordinator, or one before it, granted.
    fn proven(&self, token: SessionToken, held: &[Claim]) -> Vec<Claim> {
        let key = self.config.key;
        let proven = held.iter().filter(|claim| key.accepts(token, claim));
        proven.copied().collect()
    }

    fn welcome(
        &mut self,
        worker: WorkerId,
        hello: &Hello,
        connection: ConnectionId,
        resumed: bool,
    ) {
        if let Some(old) = self.workers.connect(worker, hello, connection) {
            let last = ToWorker::Closing {
                after_ms: u64::MAX,
                reason: "another connection took this session over".into(),
            };
            self.close(old, &last, None);
        }
        let session = self.workers.get(worker).expect("just connected").session;
        let welcome = ToWorker::Welcome {
            worker,
            session,
            incarnation: self.config.scheduler.incarnation,
            resumed,
            // Two may be lost before the deadline.
            alive_every_ms: self.config.scheduler.deadline_us / 3000,
        };
        self.send(worker, &welcome);
    }

    pub(crate) fn message(&mut self, now: Micros, worker: WorkerId, message: FromWorker) {
        let event = match message {
            FromWorker::Partial {
                lease,
                node,
                partial: bytes,
                busy_us,
            } => return self.partial(now, worker, (lease, node), bytes, busy_us),
            FromWorker::Failed {
                lease,
                node,
                failure,
            } => {
                self.counts.failures += 1;
                if self.merge_answered(now, worker, lease, None) {
                    return;
                }
                Event::Failed {
                    worker,
                    lease,
                    node,
                    failure,
                }
            }
            FromWorker::Unusable { job, failure } => {
                self.counts.failures += 1;
                Event::Unusable {
                    worker,
                    job,
                    failure,
                }
            }
            FromWorker::Returned { lease } => {
                if self.merge_answered(now, worker, lease, None) {
                    return;
                }
                Event::Returned { worker, lease }
            }
            FromWorker::Progress { lease, done } => Event::Progress {
                worker,
                lease,
                done,
            },
            FromWorker::Capacity { slots, hidden } => {
                if slots == 0 {
                    // It may be about to leave, once it has its receipts.
                    self.ledger.hurry();
                }
                Event::WorkerCapacity {
                    worker,
                    slots,
                    hidden,
                }
            }
            FromWorker::Log { job, text } => {
                // Strangers may speak of what they were given, nothing else.
                if self.workers.knows(worker, job) {
                    self.outputs.push_back(Output::Log { job, text });
                }
                Event::Heard { worker }
            }
            FromWorker::Heard => Event::Heard { worker },
            FromWorker::Alive => {
                self.send(worker, &ToWorker::Alive);
                Event::Heard { worker }
            }
            FromWorker::Pong => Event::Pong { worker },
            FromWorker::Goodbye => return self.left(now, worker),
        };
        self.tell(now, event);
    }

    /// A partial of a block, or what a merge came to.
    fn partial(
        &mut self,
        now: Micros,
        worker: WorkerId,
        (lease, node): (LeaseId, Node),
        bytes: Bytes,
        cost_us: u64,
    ) {
        if self.merge_answered(now, worker, lease, Some((node, &bytes))) {
            return;
        }
        let len = bytes.len() as u64;
        let partial = Partial { bytes, cost_us };
        let event = Event::Partial {
            worker,
            lease,
            node,
            partial,
            len,
            busy_us: cost_us,
        };
        self.tell_of_partial(now, event);
    }

    pub(crate) fn left(&mut self, now: Micros, worker: WorkerId) {
        self.workers.remove(worker);
        self.tell(now, Event::WorkerLeft { worker });
    }

    pub(crate) fn grant(&mut self, worker: WorkerId, lease: LeaseId, job: JobId, node: Node) {
        let entry = self.workers.get(worker).expect("a worker with a lease");
        let session = entry.session;
        let running = self
            .jobs
            .get_mut(&job)
            .expect("a job that gives out leases");
        running.meet(worker, &entry.name, entry.engine);
        let inputs = running.inputs(node);
        let header = running.header.clone();
        if self.workers.introduce(worker, job) {
            self.send_frame(worker, header);
        }
        self.counts.grants += 1;
        let grant = ToWorker::Grant {
            lease,
            job,
            node,
            inputs,
            proof: self.config.key.prove(session, lease, job, node),
        };
        self.send(worker, &grant);
        self.touch(job);
    }

    /// The scheduler has lost patience or trust in a worker.
    pub(crate) fn dismiss(&mut self, worker: WorkerId, reason: Reason) {
        self.counts.refused += 1;
        let text = reason.to_string();
        let (connection, last) = if reason.ends_session() {
            let reason = text.clone();
            (self.workers.remove(worker), ToWorker::Refused { reason })
        } else {
            let last = ToWorker::Closing {
                after_ms: 0,
                reason: text.clone(),
            };
            (self.workers.disconnect(worker), last)
        };
        if let Some(connection) = connection {
            self.close(connection, &last, Some(text));
        }
    }
}

/// What the scheduler knows of a worker that says hello.
fn capacity(hello: &Hello) -> Capacity {
    Capacity {
        engine: hello.engine,
        slots: u16::from_le_bytes(hello.slots),
        memory: hello.memory,
        simd: hello.simd,
        hidden: hello.hidden,
    }
}
