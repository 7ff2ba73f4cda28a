//! What a seed decides before anything happens: machines, jobs, which kinds of
//! faults there are and how often. Each seed has its own mixture, so that some
//! runs see much of one kind and nothing of the others.

use crate::author::Jobs;
use crate::disk::Lie;
use crate::faults::Kind;
use crate::fleet::Fleet;
use crate::network::Route;
use crate::rng::Rng;
use crate::worker::Machine;
use manyhands_protocol::message::EngineKind;

const SECOND: u64 = 1_000_000;

/// Everything about a run that is not left to chance while it runs.
#[derive(Clone, Debug)]
pub struct Setup {
    pub(crate) scheduler: manyhands_scheduler::Config,
    pub(crate) max_workers: usize,
    /// Bytes of two partials from which workers merge them.
    pub(crate) lease_merges_from: u64,
    pub(crate) workers: u64,
    pub(crate) liars: u64,
    pub(crate) liars_fail: bool,
    pub(crate) authors: u64,
    pub(crate) jobs: Jobs,
    /// Authors come within so long.
    pub(crate) authors_within_us: u64,
    pub(crate) faults: Vec<Kind>,
    pub(crate) fault_every_us: u64,
    pub(crate) faults_until: u64,
    pub(crate) longest_absence_us: u64,
    /// Of a thousand answers to authors, and merges of the coordinator's.
    pub(crate) lost_answers: u64,
    pub(crate) failing_merges: u64,
    /// Faults of machines, of a thousand machines.
    pub(crate) faulty_machines: u64,
    /// The boundary of a commit, counted through the run, to crash at.
    pub(crate) crash_at: Option<u64>,
    /// Mutations that the checks have to notice.
    pub(crate) swaps_merges: bool,
    pub(crate) lie: Option<Lie>,
    /// Machines that are measured, in place of those that are drawn.
    pub(crate) fleet: Option<Fleet>,
}

impl Setup {
    /// A quiet run of one small job: what scenarios begin with.
    #[must_use]
    pub fn quiet() -> Self {
        Self {
            scheduler: manyhands_scheduler::Config::default(),
            max_workers: 10_000,
            lease_merges_from: u64::MAX,
            workers: 3,
            liars: 0,
            liars_fail: false,
            authors: 1,
            jobs: Jobs {
                most_tasks: 2_000,
                work_us: (5 * SECOND, 20 * SECOND),
                cancels: 0,
                poisons: 0,
                concats: 500,
                inputs: 300,
            },
            authors_within_us: SECOND,
            faults: Vec::new(),
            fault_every_us: SECOND,
            faults_until: SECOND,
            longest_absence_us: 5 * SECOND,
            lost_answers: 0,
            failing_merges: 0,
            faulty_machines: 0,
            crash_at: None,
            swaps_merges: false,
            lie: None,
            fleet: None,
        }
    }

    /// The mixture that a seed stands for.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let share = rng.between(50, 700);
        let faults = Kind::ALL
            .into_iter()
            .filter(|_| rng.permille(share))
            .collect();
        let minutes = rng.between(1, 6);
        Self {
            workers: rng.spread(1, 12),
            liars: if rng.permille(300) {
                rng.between(1, 4)
            } else {
                0
            },
            liars_fail: rng.permille(200),
            authors: rng.spread(1, 8),
            jobs: Jobs {
                most_tasks: rng.one_of(&[50, 3_000, 1_000_000, 1_000_000_000]),
                work_us: (SECOND, rng.one_of(&[30, 300, 3_000, 10_000]) * SECOND),
                cancels: rng.one_of(&[0, 100, 300]),
                poisons: rng.one_of(&[0, 0, 100]),
                concats: rng.one_of(&[0, 300, 1000]),
                inputs: rng.one_of(&[0, 500]),
            },
            authors_within_us: rng.spread(SECOND / 100, minutes * 60 * SECOND),
            faults,
            fault_every_us: rng.spread(SECOND / 2, 60 * SECOND),
            faults_until: minutes * 60 * SECOND,
            longest_absence_us: rng.one_of(&[SECOND / 2, 20 * SECOND, 200 * SECOND]),
            lost_answers: rng.one_of(&[0, 100, 500]),
            failing_merges: rng.one_of(&[0, 0, 5, 50]),
            faulty_machines: rng.one_of(&[0, 0, 200, 600]),
            lease_merges_from: rng.one_of(&[1, 1, u64::MAX]),
            ..Self::quiet()
        }
    }

    /// A run that is measured: nothing goes wrong but that machines vanish.
    pub(crate) fn of_fleet(fleet: Fleet) -> Self {
        let forever = u64::MAX / 4;
        let mut quiet = Self::quiet();
        quiet.jobs.inputs = 0;
        Self {
            workers: fleet.machines,
            faults_until: forever,
            fleet: Some(fleet),
            ..quiet
        }
    }

    /// A machine of such a run.
    pub(crate) fn machine(&self, rng: &mut Rng) -> Machine {
        if let Some(fleet) = self.fleet {
            return fleet.machine(rng);
        }
        let tab = rng.permille(500);
        let faulty = rng.permille(self.faulty_machines);
        let rate = |rng: &mut Rng, most: u64| if faulty { rng.below(most) } else { 0 };
        Machine {
            engine: if tab {
                EngineKind::Browser
            } else {
                EngineKind::Native
            },
            slots: if tab {
                rng.between(1, 4)
            } else {
                rng.spread(1, 16)
            } as u16,
            memory: rng.one_of(&[1 << 26, 1 << 30, 8 << 30]),
            simd: rng.permille(800),
            speed: rng.spread(25, 400) as f64 / 100.0,
            route: route(rng),
            fails: rate(rng, 30),
            crashes: rate(rng, 15),
            losses: rate(rng, 30),
            bad_tasks: faulty && rng.permille(300),
            unusable: rate(rng, 100),
        }
    }

    /// A run with so many workers from the start.
    #[must_use]
    pub fn with_workers(self, workers: u64) -> Self {
        Self { workers, ..self }
    }

    /// A run with so many liars.
    #[must_use]
    pub fn with_liars(self, liars: u64) -> Self {
        Self { liars, ..self }
    }

    /// A run with so many authors, who come one after the other.
    #[must_use]
    pub fn with_authors(self, authors: u64) -> Self {
        Self { authors, ..self }
    }

    /// A run whose coordinator dies at this boundary of a commit: odd ones are
    /// before a group is written, even ones after.
    #[must_use]
    pub fn crashing_at(self, boundary: u64) -> Self {
        let crash_at = Some(boundary);
        Self { crash_at, ..self }
    }

    /// A run whose disk breaks its promises.
    #[must_use]
    pub fn with_lie(self, lie: Lie) -> Self {
        let lie = Some(lie);
        Self { lie, ..self }
    }

    /// A run whose coordinator now and then merges right before left.
    #[must_use]
    pub fn with_swapped_merges(self) -> Self {
        Self {
            swaps_merges: true,
            ..self
        }
    }

    /// A run with jobs of this merge mode only.
    #[must_use]
    pub fn only_concat(mut self, concat: bool) -> Self {
        self.jobs.concats = if concat { 1000 } else { 0 };
        self
    }

    /// A run with jobs of so much slot time, in seconds, of at most so many
    /// tasks.
    #[must_use]
    pub fn with_work(mut self, seconds: u64, most_tasks: u64) -> Self {
        self.jobs.work_us = (seconds * SECOND / 2, seconds * SECOND);
        self.jobs.most_tasks = most_tasks;
        self
    }

    /// A run with faults of these kinds, by their names in [`Tally`](crate::Tally),
    /// each so many seconds, for so many seconds.
    ///
    /// # Panics
    /// When there is no such kind.
    #[must_use]
    pub fn with_faults(mut self, names: &[&str], every_s: u64, seconds: u64) -> Self {
        let kind = |name: &&str| {
            let found = Kind::ALL.into_iter().find(|kind| kind.name() == *name);
            found.expect("a kind of fault")
        };
        self.faults = names.iter().map(kind).collect();
        self.fault_every_us = every_s * SECOND;
        self.faults_until = seconds * SECOND;
        self
    }
}

impl Machine {
    /// One that fits every job and never fails.
    pub(crate) fn good(rng: &mut Rng) -> Self {
        Self {
            engine: EngineKind::Native,
            slots: 4,
            memory: 8 << 30,
            simd: true,
            speed: 2.0,
            route: Route {
                bytes_per_ms: 10_000,
                ..route(rng)
            },
            fails: 0,
            crashes: 0,
            losses: 0,
            bad_tasks: false,
            unusable: 0,
        }
    }
}

pub(crate) fn route(rng: &mut Rng) -> Route {
    Route {
        latency_us: rng.spread(50, 150_000),
        jitter_us: rng.spread(10, 30_000),
        bytes_per_ms: rng.spread(100, 100_000),
        blocked_until: 0,
        mangled_until: 0,
    }
}
