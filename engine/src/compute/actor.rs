//! The task that owns the child: it alone knows what is loaded and what is in
//! flight, so that a death can be made good (in `revive`).

mod modules;
mod revive;

use super::process::Process;
use super::{Config, Event, JobSpec, Merge, Work};
use crate::child::wire::{Command, LoadLengths, MergeLengths, Report, WorkHeader};
use crate::given::Given;
use crate::runtime::failure;
use bytes::Bytes;
use manyhands_protocol::{BlobHash, Failure, FailureKind, JobId};
use modules::Modules;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// What a handle asks for.
pub(super) enum Request {
    Load {
        job: JobId,
        spec: JobSpec,
    },
    Unload {
        job: JobId,
    },
    PutSegment {
        hash: BlobHash,
        bytes: Bytes,
    },
    ShareSegment {
        hash: BlobHash,
        given: Given,
    },
    DropSegment {
        hash: BlobHash,
    },
    /// Without a slot: on the one with least to do.
    Work {
        slot: Option<usize>,
        owner: Owner,
        job: JobId,
        work: Work,
    },
    Cancel {
        slot: usize,
    },
}

/// Who learns of a piece's end.
pub(super) enum Owner {
    Caller {
        piece: u64,
    },
    Call {
        answer: oneshot::Sender<Result<Bytes, Failure>>,
    },
}

/// A segment, for this child and those to come.
enum Kept {
    Copied(Bytes),
    Shared(Given),
}

/// A piece that the child has and has not answered.
struct InFlight {
    ticket: u64,
    owner: Owner,
    job: JobId,
    /// Kept to be done again, for a call.
    again: Option<Work>,
}

pub(super) struct Actor {
    config: Config,
    requests: mpsc::UnboundedReceiver<Request>,
    events: mpsc::UnboundedSender<Event>,
    process: Process,
    jobs: BTreeMap<JobId, JobSpec>,
    modules: Modules,
    segments: BTreeMap<BlobHash, Kept>,
    /// By slot, in the order the slot works.
    in_flight: Vec<VecDeque<InFlight>>,
    /// Work that waits for the next child: calls that were lost with one, and
    /// what is asked for while one ends itself.
    held: Vec<(usize, Owner, JobId, Work)>,
    next_ticket: u64,
    /// Whether this child has said that it is ready.
    ready: bool,
    /// Whether this child has named what was overdue: then that is the cause of its end.
    named_overdue: bool,
    /// Children in a row that died before they answered any work.
    deaths: u32,
}

impl Actor {
    pub(super) fn start(
        config: Config,
        requests: mpsc::UnboundedReceiver<Request>,
        events: mpsc::UnboundedSender<Event>,
    ) -> io::Result<Self> {
        let process = Process::start(&config)?;
        let in_flight = (0..config.slots).map(|_| VecDeque::new()).collect();
        Ok(Self {
            config,
            requests,
            events,
            process,
            jobs: BTreeMap::new(),
            modules: Modules::default(),
            segments: BTreeMap::new(),
            in_flight,
            held: Vec::new(),
            next_ticket: 1,
            ready: false,
            named_overdue: false,
            deaths: 0,
        })
    }

    pub(super) async fn run(mut self) {
        loop {
            tokio::select! {
                // Answers first, so that a slot is known to be free in time.
                biased;
                report = self.process.next() => match report {
                    Some((report, bulk)) => self.on_report(report, bulk),
                    None => {
                        let Some(next) = self.replace().await else { return };
                        self = next;
                    }
                },
                request = self.requests.recv() => match request {
                    Some(request) => self.on_request(request),
                    // Dropping the process kills it.
                    None => return,
                },
            }
        }
    }

    fn on_request(&mut self, request: Request) {
        match request {
            Request::Load { job, spec } => {
                self.send_load(job, &spec);
                self.jobs.insert(job, spec);
            }
            Request::Unload { job } => {
                if let Some(spec) = self.jobs.remove(&job) {
                    self.process.send(&Command::Unload { job }, Vec::new());
                    self.release_module(job, &spec);
                }
            }
            Request::PutSegment { hash, bytes } => self.keep_segment(hash, Kept::Copied(bytes)),
            Request::ShareSegment { hash, given } => {
                self.keep_segment(hash, Kept::Shared(given));
            }
            Request::DropSegment { hash } => {
                self.segments.remove(&hash);
                self.process
                    .send(&Command::DropSegment { hash }, Vec::new());
            }
            Request::Work {
                slot,
                owner,
                job,
                work,
            } => {
                let slot = slot.unwrap_or_else(|| self.idlest());
                self.send_work(slot, owner, job, work);
            }
            Request::Cancel { slot } => self.on_cancel(slot),
        }
    }

    fn keep_segment(&mut self, hash: BlobHash, segment: Kept) {
        self.send_segment(hash, &segment);
        self.segments.insert(hash, segment);
    }

    fn send_segment(&self, hash: BlobHash, segment: &Kept) {
        match segment {
            Kept::Copied(bytes) => {
                let put = Command::PutSegment { hash };
                self.process.send(&put, vec![bytes.clone()]);
            }
            Kept::Shared(given) => {
                let command = match given {
                    Given::Memory(memory) => Command::ShareSegment {
                        hash,
                        len: memory.len() as u64,
                    },
                    Given::Part(part) => Command::ReadSegment {
                        hash,
                        offset: part.offset,
                        len: part.len,
                    },
                };
                self.process.send_with(&command, given.clone());
            }
        }
    }

    fn on_cancel(&mut self, slot: usize) {
        if let Some(last) = self.in_flight[slot].back() {
            let ticket = last.ticket;
            let slot = slot as u32;
            self.process
                .send(&Command::Cancel { slot, ticket }, Vec::new());
        }
        let held = std::mem::take(&mut self.held);
        for (of, owner, job, work) in held {
            match owner {
                Owner::Caller { piece } if of == slot => self.tell(Event::Stopped { slot, piece }),
                owner => self.held.push((of, owner, job, work)),
            }
        }
    }

    fn idlest(&self) -> usize {
        let slots = self.in_flight.iter().enumerate();
        slots
            .min_by_key(|(_, queue)| queue.len())
            .map_or(0, |(slot, _)| slot)
    }

    fn send_load(&mut self, job: JobId, spec: &JobSpec) {
        self.send_module(job, spec);
        let mut bulk = vec![spec.params.clone()];
        bulk.extend(spec.files.values().cloned());
        let lengths = LoadLengths {
            params: spec.params.len() as u64,
            files: spec
                .files
                .iter()
                .map(|(name, bytes)| (name.clone(), bytes.len() as u64))
                .collect(),
        };
        let (limits, split) = (spec.limits(), spec.split);
        self.process.send(
            &Command::Load {
                job,
                module: spec.module,
                limits,
                split,
                lengths,
            },
            bulk,
        );
    }

    fn send_work(&mut self, slot: usize, owner: Owner, job: JobId, work: Work) {
        if let Some(missing) = self.missing(job, &work) {
            let failure = failure(FailureKind::Crash, missing);
            self.answer(slot, owner, Err((failure, None)));
            return;
        }
        if self.named_overdue {
            self.held.push((slot, owner, job, work));
            return;
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let call = matches!(owner, Owner::Call { .. });
        let again = call.then(|| work.clone());
        let (work, bulk) = header(work);
        self.process.send(
            &Command::Work {
                slot: slot as u32,
                ticket,
                job,
                call,
                work,
            },
            bulk,
        );
        self.in_flight[slot].push_back(InFlight {
            ticket,
            owner,
            job,
            again,
        });
    }

    /// Whether the work names something that is not loaded.
    fn missing(&self, job: JobId, work: &Work) -> Option<String> {
        if !self.jobs.contains_key(&job) {
            return Some(format!("job {job} is not loaded"));
        }
        let Work::Run { segments, .. } = work else {
            return None;
        };
        let absent = segments
            .iter()
            .find(|(_, hash)| !self.segments.contains_key(hash))?;
        Some(format!("the segment {} is not loaded", absent.1))
    }

    fn on_report(&mut self, report: Report, bulk: Bytes) {
        match report {
            Report::Ready => self.ready = true,
            Report::Loaded { job } => self.tell(Event::Loaded { job }),
            Report::LoadFailed { job, reason } => {
                if let Some(spec) = self.jobs.get(&job).cloned() {
                    self.module_failed(&spec);
                }
                self.tell(Event::LoadFailed { job, reason });
            }
            Report::Done {
                slot,
                ticket,
                busy_micros,
            } => {
                if let Some((slot, piece)) = self.take(slot, ticket) {
                    self.answer(
                        slot,
                        piece.owner,
                        Ok((bulk, Duration::from_micros(busy_micros))),
                    );
                }
            }
            Report::Failed {
                slot,
                ticket,
                failure,
                at,
            } => {
                if let Some((slot, piece)) = self.take(slot, ticket) {
                    self.answer(slot, piece.owner, Err((failure, at)));
                }
            }
            Report::Stopped { slot, ticket } => match self.take(slot, ticket) {
                Some((
                    slot,
                    InFlight {
                        owner: Owner::Caller { piece },
                        ..
                    },
                )) => {
                    self.tell(Event::Stopped { slot, piece });
                }
                // A call was cancelled along with its slot: it is done again.
                Some((
                    slot,
                    InFlight {
                        owner,
                        job,
                        again: Some(work),
                        ..
                    },
                )) => {
                    self.send_work(slot, owner, job, work);
                }
                Some(_) | None => {}
            },
            Report::Unread { slot, ticket, hash } => self.on_unread(slot, ticket, hash),
            Report::Overdue {
                slot,
                ticket,
                first,
                count,
            } => self.on_overdue(slot, ticket, first, count),
            Report::Log { slot, job, line } => self.tell(Event::Log {
                job,
                slot: slot as usize,
                line,
            }),
            Report::Progress {
                slot,
                ticket,
                tasks,
            } => self.on_progress(slot, ticket, tasks),
        }
    }

    fn on_unread(&mut self, slot: u32, ticket: u64, hash: BlobHash) {
        let Some((slot, piece)) = self.take(slot, ticket) else {
            return;
        };
        match piece.owner {
            Owner::Caller { piece } => self.tell(Event::Unread { slot, piece, hash }),
            owner @ Owner::Call { .. } => {
                let text = format!("the file of the segment {hash} has changed");
                self.answer(slot, owner, Err((failure(FailureKind::Crash, text), None)));
            }
        }
    }

    fn on_overdue(&mut self, slot: u32, ticket: u64, first: u64, count: u64) {
        self.named_overdue = true;
        let Some((slot, piece)) = self.take(slot, ticket) else {
            return;
        };
        match piece.owner {
            Owner::Caller { piece } if count > 1 => {
                self.tell(Event::Overdue {
                    slot,
                    piece,
                    tasks: first..first + count,
                });
            }
            owner => {
                let limit = self
                    .jobs
                    .get(&piece.job)
                    .map_or(Duration::ZERO, |job| job.task_timeout);
                let failure = failure(FailureKind::Timeout, format!("took longer than {limit:?}"));
                self.answer(slot, owner, Err((failure, (count == 1).then_some(first))));
            }
        }
    }

    fn on_progress(&self, slot: u32, ticket: u64, tasks: f64) {
        let slot = slot as usize;
        let current = self.in_flight.get(slot).and_then(VecDeque::front);
        if let Some(InFlight {
            owner: Owner::Caller { piece },
            ticket: known,
            ..
        }) = current
            && *known == ticket
        {
            self.tell(Event::Progress {
                slot,
                piece: *piece,
                tasks,
            });
        }
    }

    /// The slot's piece with this ticket, which leaves the queue.
    fn take(&mut self, slot: u32, ticket: u64) -> Option<(usize, InFlight)> {
        let slot = slot as usize;
        self.deaths = 0;
        let queue = self.in_flight.get_mut(slot)?;
        let at = queue.iter().position(|piece| piece.ticket == ticket)?;
        Some((slot, queue.remove(at)?))
    }

    fn answer(
        &self,
        slot: usize,
        owner: Owner,
        outcome: Result<(Bytes, Duration), (Failure, Option<u64>)>,
    ) {
        match (owner, outcome) {
            (Owner::Caller { piece }, Ok((bytes, busy))) => self.tell(Event::Done {
                slot,
                piece,
                bytes,
                busy,
            }),
            (Owner::Caller { piece }, Err((failure, at))) => self.tell(Event::Failed {
                slot,
                piece,
                failure,
                at,
            }),
            // The caller may have gone away.
            (Owner::Call { answer }, outcome) => {
                drop(
                    answer.send(
                        outcome
                            .map(|(bytes, _)| bytes)
                            .map_err(|(failure, _)| failure),
                    ),
                );
            }
        }
    }

    fn tell(&self, event: Event) {
        // Without a listener, the handles still serve calls.
        let _ = self.events.send(event);
    }
}

fn header(work: Work) -> (WorkHeader, Vec<Bytes>) {
    match work {
        Work::Open => (WorkHeader::Open, Vec::new()),
        Work::Run {
            tasks,
            single_step,
            segments,
        } => {
            assert!(tasks.start < tasks.end, "a block has tasks");
            let (first, count) = (tasks.start, tasks.end - tasks.start);
            (
                WorkHeader::Run {
                    first,
                    count,
                    single_step,
                    segments,
                },
                Vec::new(),
            )
        }
        Work::Merge(merge) => {
            let mut bulk = Vec::new();
            (WorkHeader::Merge(lengths(merge, &mut bulk)), bulk)
        }
        Work::Merges(merges) => {
            let mut bulk = Vec::new();
            let merges = merges.into_iter().map(|merge| lengths(merge, &mut bulk));
            (WorkHeader::Merges(merges.collect()), bulk)
        }
        Work::Whole(merge) => {
            let mut bulk = Vec::new();
            (WorkHeader::Whole(lengths(merge, &mut bulk)), bulk)
        }
        Work::Finish { partial } => (WorkHeader::Finish, vec![partial]),
    }
}

/// Of a merge's partials, which go to the bulk.
fn lengths(merge: Merge, bulk: &mut Vec<Bytes>) -> MergeLengths {
    let operands = merge.operands.into_iter().map(|operand| {
        operand.map(|partial| {
            let len = partial.len() as u64;
            bulk.push(partial);
            len
        })
    });
    MergeLengths(operands.collect())
}
