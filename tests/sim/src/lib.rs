//! Seeded simulation of a whole system: the real decisions of the coordinator
//! (`coordinator-core` with the scheduler and the ledger) and of the workers
//! (`worker-core`) on a made-up network, disk and clock, with made-up guests,
//! authors and liars.
//!
//! A seed decides everything that happens. [`check`] runs one twice, compares
//! what happened, and tells what did not hold.

mod author;
mod checks;
mod coordinator;
mod disk;
mod driving;
mod faults;
mod fleet;
mod guest;
mod liar;
mod network;
mod results;
mod rng;
mod setup;
mod slots;
mod trace;
mod watch;
mod worker;
mod world;

pub use disk::Lie;
pub use faults::Tally;
pub use fleet::{Fleet, Measured, at_best, climb_us, distinct};
pub use setup::Setup;

use rng::Rng;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::World;

/// Lines kept of a run that failed.
const LINES: usize = 400;

/// What a run was like.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Of all that happened: equal runs have equal ones.
    pub hash: u64,
    /// How many things happened.
    pub events: u64,
    /// Simulated time, in microseconds.
    pub simulated_us: u64,
    /// Faults by kind.
    pub faults: Tally,
    /// Boundaries of commits that were passed.
    pub boundaries: u64,
    /// Coordinators that were started.
    pub starts: u64,
    /// The most leases that were out at a time.
    pub most_leases: u64,
    /// The most partials that were stored of one job.
    pub most_partials: usize,
    /// What does not hold, if something does not.
    pub violation: Option<String>,
    /// The last lines of what happened, where they were asked for.
    pub lines: Vec<String>,
}

/// A seed that shows a fault.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which.
    pub seed: u64,
    /// What does not hold.
    pub what: String,
    /// The last of what happened before.
    pub lines: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "seed {}: {}", self.seed, self.what)?;
        write!(f, "replay it with: cargo xtask sim --seed {}", self.seed)
    }
}

impl std::error::Error for Violation {}

/// Runs a seed's own mixture of machines, jobs and faults, keeping so many lines
/// of what happens.
#[must_use]
pub fn run(seed: u64, lines: usize) -> Outcome {
    let mut rng = Rng::new(seed);
    let setup = Setup::draw(&mut rng);
    run_world(World::new(setup, rng, lines))
}

/// Runs a scenario with a seed for what is left to chance.
#[must_use]
pub fn run_setup(setup: Setup, seed: u64, lines: usize) -> Outcome {
    run_world(World::new(setup, Rng::new(seed), lines))
}

fn run_world(mut world: World) -> Outcome {
    // The product's own assertions are checks like any other.
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    if let Err(panic) = ended {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied());
        world.fail(format!("panicked: {}", text.unwrap_or("without a word")));
    }
    if world.violation.is_some() {
        world.describe();
    }
    Outcome {
        hash: world.trace.hash(),
        events: world.trace.events(),
        simulated_us: world.now,
        faults: world.tally,
        boundaries: world.boundaries,
        starts: world.disk.incarnation,
        most_leases: world.checks.most_leases,
        most_partials: world.disk.most_partials,
        violation: world.violation,
        lines: world.trace.into_lines(),
    }
}

/// Measures a fleet, with a seed for what is left to chance.
///
/// # Errors
/// What does not hold: the checks of all runs are made here too.
pub fn measure(fleet: Fleet, seed: u64) -> Result<Measured, Box<Violation>> {
    let mut world = World::new(Setup::of_fleet(fleet), Rng::new(seed), 0);
    let measured = world.run_fleet(fleet);
    match (world.violation.take(), measured) {
        (None, Some(measured)) => Ok(measured),
        (what, _) => Err(Box::new(Violation {
            seed,
            what: what.unwrap_or_else(|| "the job has not begun".into()),
            lines: world.trace.into_lines(),
        })),
    }
}

/// Runs a seed twice: everything holds, and both runs are the same.
///
/// # Errors
/// What does not hold, with the last of what happened.
pub fn check(seed: u64) -> Result<Outcome, Box<Violation>> {
    check_with(seed, |lines| run(seed, lines))
}

/// As [`check`], for a scenario.
///
/// # Errors
/// What does not hold, with the last of what happened.
pub fn check_setup(setup: &Setup, seed: u64) -> Result<Outcome, Box<Violation>> {
    check_with(seed, |lines| run_setup(setup.clone(), seed, lines))
}

fn check_with(seed: u64, run: impl Fn(usize) -> Outcome) -> Result<Outcome, Box<Violation>> {
    let (first, second) = (run(0), run(0));
    let same = first.hash == second.hash && first.events == second.events;
    let what = match &first.violation {
        Some(what) => what.clone(),
        None if !same => "two runs of it differ".to_owned(),
        None => return Ok(first),
    };
    let lines = run(LINES).lines;
    Err(Box::new(Violation { seed, what, lines }))
}
