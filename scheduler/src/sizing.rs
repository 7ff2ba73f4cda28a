//! How fast a worker is, and how large its next block shall be. Arithmetic
//! only: who asks decides what becomes of it.

use crate::config::Config;
use crate::event::JobSpec;
use manyhands_protocol::message::EngineKind;

/// Tasks of a slot's first block, however few bytes each has.
const MOST_FIRST_TASKS: u64 = 4;

/// The measured speed of one worker at one job, all its slots together.
///
/// Sums of tasks and of time, both fading, so that answers that come in
/// bunches (several slots, several leases) give the right quotient.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Speed {
    tasks: f64,
    micros: f64,
    /// The most tasks handed in at once.
    largest: u64,
}

impl Speed {
    /// Tasks a microsecond; `None` before the first result.
    pub(crate) fn rate(&self) -> Option<f64> {
        (self.tasks > 0.0).then(|| self.tasks / self.micros)
    }

    /// `tasks` took `elapsed` microseconds; older ones count half for every
    /// `half_life` that passes.
    pub(crate) fn measured(&mut self, tasks: u64, elapsed: u64, half_life: u64) {
        let fresh = tasks as f64;
        let elapsed = elapsed as f64;
        if fresh >= 4.0 * self.tasks {
            // Much larger than all before: those were mostly overhead. A bunch
            // may take no time of its own; then theirs stands.
            self.micros = if elapsed * 4.0 < self.micros {
                self.micros + elapsed
            } else {
                elapsed
            };
            self.tasks = fresh;
        } else {
            let keep = (-elapsed / half_life as f64).exp2();
            self.tasks = self.tasks * keep + fresh;
            self.micros = self.micros * keep + elapsed;
        }
        self.micros = self.micros.max(1.0);
        self.largest = self.largest.max(tasks);
    }

    /// A failure: its next block begins small again.
    pub(crate) fn shrink(&mut self) {
        self.largest = 0;
    }
}

/// What a block's size depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation {
    pub(crate) engine: EngineKind,
    /// A block is worth its message if it takes so long, in microseconds.
    pub(crate) least_us: u64,
    /// The same of one that fills the time to a near end.
    pub(crate) last_us: u64,
    /// What is left to that end once the worker has done what it has, if it is near.
    pub(crate) slack_us: Option<f64>,
    /// At least one.
    pub(crate) slots: u16,
    /// Bytes it has for guests and inputs.
    pub(crate) memory: u64,
    /// Of this worker at this job.
    pub(crate) speed: Speed,
    /// What its rate would be if its slots were as fast as the others' at this
    /// job.
    pub(crate) expected: Option<f64>,
    /// Its part of the speed of all workers at this job.
    pub(crate) share: f64,
    /// Tasks of the job that are free.
    pub(crate) free: u64,
    /// Mean bytes of the job's partials a task (`concat`), as far as known.
    pub(crate) output_per_task: u64,
    /// Mean bytes of the job's partials (`reduce`), as far as known.
    pub(crate) bytes_per_partial: u64,
}

/// How long a worker of this kind shall compute at one block, in microseconds.
pub(crate) fn target_us(config: &Config, engine: EngineKind) -> u64 {
    match engine {
        EngineKind::Native => config.native_target_us,
        EngineKind::Browser => config.browser_target_us,
    }
}

/// Near the end a block may be so many times shorter than its partial is worth.
const LAST_BLOCKS: u64 = 64;

/// A block's input is at most such a part of its worker's memory. No more than three
/// of them wait, and a native worker keeps inputs in an eighth of it.
const MEMORY_PARTS: u64 = 32;

/// A worker with such a share of a job's speed shares its end with nobody.
pub(crate) const ALONE: f64 = 0.99;

/// The time to a near end is filled at once if it is no more than so many times what
/// the last block takes at least: each block goes to a node's end, and leaves as much
/// undone again.
const LAST_PARTS: f64 = 16.0;

/// How long a block must take to be worth its partial's way and merging.
fn worth_us(config: &Config, bytes_per_partial: u64) -> u64 {
    (bytes_per_partial / 1024).saturating_mul(config.partial_us_per_kib)
}

/// The most tasks the next block may have: at least one.
pub(crate) fn block_tasks(config: &Config, spec: &JobSpec, at: &Situation) -> u64 {
    let usual = target_us(config, at.engine);
    let worth = worth_us(config, at.bytes_per_partial);
    let target = worth.clamp(usual, usual.saturating_mul(config.longest_block)) as f64;
    let slots = u64::from(at.slots);
    let rate = at.speed.rate();
    let by_time = match (rate, at.expected) {
        (Some(rate), _) => {
            let grown = at.speed.largest.saturating_mul(config.growth);
            ((rate * target) as u64).min(grown.max(slots))
        }
        // Others' speed tells something, but not about this machine.
        (None, Some(expected)) => ((expected * target) as u64 / config.growth).max(slots),
        (None, None) => slots * first_tasks(config, spec),
    };
    by_time
        .min(by_end(at, worth / LAST_BLOCKS))
        .min(by_bytes(config, spec, at))
        .min(spec.max_block)
        .max(1)
}

/// Near the end the blocks get smaller so that all end together; but a block must
/// stay worth its message, and the `worth_us` of its partial.
fn by_end(at: &Situation, worth_us: u64) -> u64 {
    if at.share > ALONE {
        return at.free;
    }
    let fair = (at.free as f64 * at.share / 2.0) as u64;
    let Some(rate) = at.speed.rate() else {
        return fair;
    };
    let tasks_in = |us: f64| (rate * us) as u64;
    let Some(slack) = at.slack_us else {
        return fair.max(tasks_in(at.least_us.max(worth_us) as f64));
    };
    let last = at.last_us.max(worth_us) as f64;
    // Half of the time, so that the next block can make up for what this one's time
    // was not.
    let little = LAST_PARTS * last;
    let part = if slack < little { slack } else { slack / 2.0 };
    let most = fair.max(tasks_in(little / 2.0));
    most.min(tasks_in(part.max(last)))
}

/// Tasks a slot while nothing is known of their time: bytes tell a little of it.
fn first_tasks(config: &Config, spec: &JobSpec) -> u64 {
    let by_bytes = config.first_input_bytes.checked_div(spec.bytes_per_task);
    by_bytes.map_or(1, |tasks| tasks.clamp(1, MOST_FIRST_TASKS))
}

fn by_bytes(config: &Config, spec: &JobSpec, at: &Situation) -> u64 {
    let input = most_input(config, at.memory);
    let by_input = input.checked_div(spec.bytes_per_task);
    let by_output = config.block_output_bytes.checked_div(at.output_per_task);
    by_input
        .unwrap_or(u64::MAX)
        .min(by_output.unwrap_or(u64::MAX))
}

/// Input bytes of one block of a worker that has so much memory.
pub(crate) fn most_input(config: &Config, memory: u64) -> u64 {
    config.block_input_bytes.min(memory / MEMORY_PARTS)
}

/// How long `tasks` take a worker of this rate, in microseconds: fewer tasks
/// than slots take as long as one.
pub(crate) fn duration_us(tasks: u64, slots: u16, rate: f64) -> u64 {
    (tasks.max(u64::from(slots)) as f64 / rate) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use manyhands_protocol::{MergeMode, Tree};

    fn spec(n: u64) -> JobSpec {
        JobSpec {
            tree: Tree::new(n).unwrap(),
            merge: MergeMode::Concat,
            weight: 100,
            memory: 0,
            simd: false,
            bytes_per_task: 0,
            max_block: u64::MAX,
        }
    }

    fn at(speed: Speed) -> Situation {
        Situation {
            engine: EngineKind::Native,
            least_us: 10_000,
            last_us: 1_250,
            slack_us: None,
            slots: 4,
            memory: 1 << 30,
            speed,
            expected: None,
            share: 0.5,
            free: 1 << 40,
            output_per_task: 0,
            bytes_per_partial: 0,
        }
    }

    #[test]
    fn blocks_begin_small_and_reach_the_target_in_a_few_round_trips() {
        let config = Config::default();
        let mut speed = Speed::default();
        // A task takes a nanosecond, a round trip 1 ms.
        let mut rounds = 0;
        loop {
            let tasks = block_tasks(&config, &spec(1 << 41), &at(speed));
            if rounds == 0 {
                assert_eq!(tasks, 4);
            }
            let took = tasks / 1000;
            if took > 900_000 {
                assert!(took < 1_100_000, "{took}");
                break;
            }
            speed.measured(tasks, 1000 + took, config.native_target_us);
            rounds += 1;
        }
        assert!(rounds <= 8, "{rounds}");
    }

    #[test]
    fn first_blocks_of_a_job_with_inputs_have_some_bytes_a_slot() {
        let config = Config::default();
        let first = |bytes_per_task| {
            let spec = JobSpec {
                bytes_per_task,
                ..spec(1 << 41)
            };
            block_tasks(&config, &spec, &at(Speed::default()))
        };
        // Four slots: no input, a few lines, 2 MiB, and more than all should have.
        assert_eq!([0, 40, 2 << 20, 1 << 30].map(first), [4, 16, 8, 1]);
    }

    #[test]
    fn answers_in_a_bunch_give_the_speed_of_all() {
        let mut speed = Speed::default();
        for _ in 0..3 {
            speed.measured(1, 1000, 1_000_000);
            for _ in 0..7 {
                speed.measured(1, 0, 1_000_000);
            }
        }
        let rate = speed.rate().unwrap();
        assert!((0.0079..0.0081).contains(&rate), "{rate}");
        // A larger block that comes with a smaller one took its time too.
        speed.measured(1000, 0, 1_000_000);
        assert!(speed.rate().unwrap() < 0.4);
    }

    #[test]
    fn a_slow_stretch_shows_within_two_blocks() {
        let mut speed = Speed::default();
        for _ in 0..20 {
            speed.measured(1000, 1_000_000, 1_000_000);
        }
        speed.measured(1000, 4_000_000, 1_000_000);
        speed.measured(1000, 4_000_000, 1_000_000);
        assert!(speed.rate().unwrap() < 0.0003);
    }

    #[test]
    fn blocks_with_large_partials_are_longer() {
        let config = Config::default();
        let mut speed = Speed::default();
        speed.measured(1 << 20, 1 << 20, 1 << 20);
        let mut at = at(speed);
        at.bytes_per_partial = 200 << 10;
        assert_eq!(block_tasks(&config, &spec(1), &at), 1_000_000, "as usual");
        at.bytes_per_partial = 2 << 20;
        assert_eq!(block_tasks(&config, &spec(1), &at), 8_192_000);
        at.bytes_per_partial = 1 << 40;
        assert_eq!(block_tasks(&config, &spec(1), &at), 16_000_000, "at most");
        at.bytes_per_partial = 2 << 20;
        at.free = 100;
        assert_eq!(block_tasks(&config, &spec(1), &at), 128_000, "the end");
    }

    #[test]
    fn the_last_blocks_fill_the_time_to_the_shared_end() {
        let config = Config::default();
        let mut speed = Speed::default();
        speed.measured(1 << 20, 1 << 20, 1 << 20);
        let mut at = at(speed);
        let mut sized = |slack_us| {
            at.slack_us = Some(slack_us);
            block_tasks(&config, &spec(1), &at)
        };
        assert_eq!(sized(1e9), 1_000_000, "far away");
        assert_eq!(sized(400_000.0), 200_000, "a half");
        assert_eq!(sized(15_000.0), 15_000, "all of it");
        assert_eq!(sized(900.0), 1_250, "so much at least");
        assert_eq!(sized(-9.0), 1_250, "late already");
        at.free = 100_000;
        let mut sized = |slack_us| {
            at.slack_us = Some(slack_us);
            block_tasks(&config, &spec(1), &at)
        };
        assert_eq!(sized(400_000.0), 25_000, "no more than is fair");
        at.share = 1.0;
        at.free = 777_777;
        assert_eq!(block_tasks(&config, &spec(1), &at), 777_777, "alone");
    }

    #[test]
    fn the_end_bytes_and_bounds_make_blocks_smaller() {
        let config = Config::default();
        let mut speed = Speed::default();
        speed.measured(1 << 20, 1 << 20, 1 << 20);
        let mut at = at(speed);
        assert_eq!(block_tasks(&config, &spec(1), &at), 1_000_000);
        at.free = 400_000;
        assert_eq!(block_tasks(&config, &spec(1), &at), 100_000);
        at.free = 100;
        assert_eq!(block_tasks(&config, &spec(1), &at), 10_000);
        at.free = 1 << 40;
        let mut bounded = spec(1);
        bounded.bytes_per_task = 1 << 20;
        assert_eq!(block_tasks(&config, &bounded, &at), 32, "a part of 1 GiB");
        at.memory = 1 << 40;
        assert_eq!(block_tasks(&config, &bounded, &at), 256);
        bounded.bytes_per_task = 1 << 40;
        assert_eq!(block_tasks(&config, &bounded, &at), 1);
        bounded.bytes_per_task = 0;
        bounded.max_block = 7;
        assert_eq!(block_tasks(&config, &bounded, &at), 7);
        at.output_per_task = 8 << 20;
        assert_eq!(block_tasks(&config, &bounded, &at), 2);
    }
}
