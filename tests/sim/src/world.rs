//! The simulated world: its clock, the queue of what will happen, everybody who
//! is in it. What each of them does is in their own files.

use crate::author::Author;
use crate::checks::Checks;
use crate::coordinator::Coordinator;
use crate::disk::Disk;
use crate::faults::Tally;
use crate::fleet::{self, Yardstick};
use crate::liar::Liar;
use crate::network::{LinkId, Network, Side};
use crate::results::Step;
use crate::rng::Rng;
use crate::setup::{Setup, route};
use crate::trace::Trace;
use crate::watch::WATCH_US;
use crate::worker::{Machine, Worker};
use bytes::Bytes;
use manyhands_coordinator_core::{Input, Plan};
use manyhands_protocol::{BlobHash, Failure, JobId, Node};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Someone who connects to the coordinator.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct PeerId(pub(crate) u64);

pub(crate) enum Peer {
    Worker(Box<Worker>),
    Liar(Box<Liar>),
}

/// Something that will happen. What is of one start of the coordinator names its
/// epoch and is nothing to another.
#[derive(Debug)]
pub(crate) enum Event {
    Arrival {
        link: LinkId,
        to: Side,
    },
    Drained {
        link: LinkId,
    },
    HelloDue {
        epoch: u64,
        link: LinkId,
    },
    WorkerTick {
        peer: PeerId,
    },
    SlotEnds {
        peer: PeerId,
        slot: u16,
        ticket: u64,
    },
    Loads {
        peer: PeerId,
        job: JobId,
        usable: bool,
    },
    WorkerJoins,
    Vanish,
    Flap {
        peer: PeerId,
    },
    Unmangle {
        peer: PeerId,
    },
    Liar {
        peer: PeerId,
    },
    CoordinatorStarts,
    Pump {
        epoch: u64,
    },
    CoreTick {
        epoch: u64,
    },
    CommitEnds {
        epoch: u64,
    },
    Merged {
        epoch: u64,
        job: JobId,
        node: Node,
        outcome: Result<Bytes, Failure>,
    },
    Stores {
        epoch: u64,
        job: JobId,
        result: Bytes,
    },
    Writes {
        epoch: u64,
        job: JobId,
        step: Step,
    },
    Author {
        author: usize,
    },
    Submission {
        author: usize,
    },
    Prepared {
        epoch: u64,
        author: usize,
        job: JobId,
    },
    Answer {
        author: usize,
    },
    Cancellation {
        author: usize,
    },
    Fault,
    Calm,
    Watch,
}

impl Event {
    /// Of which start of the coordinator it is, if of one.
    fn epoch(&self) -> Option<u64> {
        match self {
            Self::HelloDue { epoch, .. }
            | Self::Pump { epoch }
            | Self::CoreTick { epoch }
            | Self::CommitEnds { epoch }
            | Self::Merged { epoch, .. }
            | Self::Stores { epoch, .. }
            | Self::Writes { epoch, .. }
            | Self::Prepared { epoch, .. } => Some(*epoch),
            _ => None,
        }
    }
}

pub(crate) struct World {
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    pub(crate) rng: Rng,
    pub(crate) trace: Trace,
    pub(crate) tally: Tally,
    pub(crate) setup: Setup,
    pub(crate) network: Network,
    pub(crate) peers: BTreeMap<PeerId, Peer>,
    next_peer: u64,
    pub(crate) coordinator: Coordinator,
    pub(crate) disk: Disk,
    pub(crate) disk_full_until: u64,
    pub(crate) disk_slow_until: u64,
    /// Boundaries of commits until the coordinator dies, if it is to.
    pub(crate) crash_in: Option<u64>,
    pub(crate) boundaries: u64,
    pub(crate) authors: Vec<Author>,
    pub(crate) blobs: BTreeMap<BlobHash, Bytes>,
    pub(crate) plans: BTreeMap<JobId, Arc<Plan>>,
    pub(crate) checks: Checks,
    pub(crate) violation: Option<String>,
    pub(crate) yardstick: Yardstick,
}

/// Nothing of ours takes so long once all is calm.
const CALM_US: u64 = 6 * 3600 * 1_000_000;

impl World {
    pub(crate) fn new(setup: Setup, mut rng: Rng, keep: usize) -> Self {
        let mut blobs = BTreeMap::new();
        let draw = |index| {
            let mut author = Author::draw(&mut rng, &setup.jobs, index, &mut blobs);
            if let Some(fleet) = &setup.fleet {
                fleet::shape(&mut author, fleet);
            }
            author
        };
        let authors = (0..setup.authors as usize).map(draw).collect();
        let disk = Disk {
            lie: setup.lie,
            ..Disk::default()
        };
        Self {
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            rng,
            trace: Trace::new(keep),
            tally: Tally::default(),
            setup,
            network: Network::default(),
            peers: BTreeMap::new(),
            next_peer: 0,
            coordinator: Coordinator::default(),
            disk,
            disk_full_until: 0,
            disk_slow_until: 0,
            crash_in: None,
            boundaries: 0,
            authors,
            blobs,
            plans: BTreeMap::new(),
            checks: Checks::default(),
            violation: None,
            yardstick: Yardstick::default(),
        }
    }

    pub(crate) fn schedule(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((at.max(self.now), self.sequence), event);
    }

    /// Something does not hold: the run ends with the first such thing.
    pub(crate) fn fail(&mut self, what: String) {
        self.trace.note(self.now, "VIOLATION", &[]);
        self.trace.tell(|| what.clone());
        self.violation.get_or_insert(what);
    }

    pub(crate) fn next_peer(&mut self) -> PeerId {
        self.next_peer += 1;
        PeerId(self.next_peer)
    }

    pub(crate) fn plan_of(&self, job: JobId) -> Arc<Plan> {
        let plan = self.plans.get(&job);
        Arc::clone(plan.expect("a job that runs was prepared"))
    }

    pub(crate) fn begin(&mut self) {
        self.start_coordinator();
        for _ in 0..self.setup.workers {
            let machine = self.setup.machine(&mut self.rng);
            self.add_worker(machine);
        }
        for _ in 0..self.setup.liars {
            let route = route(&mut self.rng);
            self.add_liar(route);
        }
        self.schedule(WATCH_US, Event::Watch);
        if let Some(fleet) = self.setup.fleet {
            return self.begin_fleet(fleet);
        }
        for author in 0..self.authors.len() {
            let at = self.rng.below(self.setup.authors_within_us);
            self.schedule(at, Event::Author { author });
        }
        self.schedule(1, Event::Fault);
        self.schedule(self.setup.faults_until, Event::Calm);
    }

    /// Runs until every job is over after all faults are.
    pub(crate) fn run(&mut self) {
        self.begin();
        while self.violation.is_none() {
            let watching = self.step();
            if watching && self.now > self.setup.faults_until {
                if self.is_all_over() && self.coordinator.core.is_some() {
                    return self.end();
                }
                if self.now > self.setup.faults_until + CALM_US {
                    return self.fail("jobs are not over after hours of calm".into());
                }
            }
        }
    }

    /// The next thing happens; whether it was the watch.
    pub(crate) fn step(&mut self) -> bool {
        let Some(((at, _), event)) = self.queue.pop_first() else {
            self.fail("nothing will ever happen again".into());
            return false;
        };
        assert!(at >= self.now, "time goes back");
        self.now = at;
        let epoch = event.epoch();
        if epoch.is_some_and(|epoch| epoch != self.coordinator.epoch) {
            return false;
        }
        let watching = matches!(event, Event::Watch);
        self.happen(event);
        watching
    }

    /// A last restart: what was promised is there.
    fn end(&mut self) {
        self.stop_coordinator(true);
        self.start_coordinator();
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival { link, to } => self.arrivals(link, to),
            Event::Drained { link } => self.drained(link),
            Event::HelloDue { link, .. } => self.hello_due(link),
            Event::WorkerTick { peer } => self.worker_tick(peer),
            Event::SlotEnds { peer, slot, ticket } => self.slot_ends(peer, slot, ticket),
            Event::Loads { peer, job, usable } => self.loads(peer, job, usable),
            Event::WorkerJoins => {
                let machine = match self.now < self.setup.faults_until {
                    true => self.setup.machine(&mut self.rng),
                    false => Machine::good(&mut self.rng),
                };
                self.add_worker(machine);
            }
            Event::Vanish => self.vanish(),
            Event::Flap { peer } => self.flap(peer),
            Event::Unmangle { peer } => self.unmangle(peer),
            Event::Liar { peer } => self.liar_acts(peer),
            Event::CoordinatorStarts => {
                if self.coordinator.core.is_none() {
                    self.start_coordinator();
                }
            }
            Event::Pump { .. } => self.end_round(),
            Event::CoreTick { .. } => self.tell_core(Input::Tick),
            Event::CommitEnds { .. } => self.end_commit(),
            Event::Merged {
                job, node, outcome, ..
            } => self.tell_core(Input::Merged { job, node, outcome }),
            Event::Stores { job, result, .. } => self.store(job, result),
            Event::Writes { job, step, .. } => self.writer_steps(job, step),
            Event::Author { author } => self.author_wakes(author),
            Event::Submission { author } => self.submission(author),
            Event::Prepared { author, job, .. } => self.prepared(author, job),
            Event::Answer { author } => self.answer(author),
            Event::Cancellation { author } => self.cancellation(author),
            Event::Fault => self.fault(),
            Event::Calm => self.calm_down(),
            Event::Watch => self.watch(),
        }
    }
}
