//! The scheduler's settings.

use manyhands_protocol::Incarnation;

/// Settings of a [`Scheduler`](crate::Scheduler); times are microseconds.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Stands in every lease id: greater at each start of the coordinator.
    pub incarnation: Incarnation,
    /// The time a block shall take a native worker, all its slots together.
    pub native_target_us: u64,
    /// The same for a browser: what a closed tab costs.
    pub browser_target_us: u64,
    /// Blocks are not made smaller than this for the sake of the job's end.
    pub min_block_us: u64,
    /// The same of those that fill the time to an end that is near and known.
    pub last_block_us: u64,
    /// `reduce`: how long a block shall take for each KiB of its partial, in
    /// microseconds, at least: what is large is merged by the worker that has it,
    /// and seldom travels.
    pub partial_us_per_kib: u64,
    /// How many times the usual target a block may take for that.
    pub longest_block: u64,
    /// The most tasks of one block.
    pub block_tasks: u64,
    /// How much larger than the largest block a worker has finished of a job
    /// its next one may be.
    pub growth: u64,
    /// The round trip assumed before one was measured.
    pub round_trip_us: u64,
    /// The most leases a worker holds. It takes so many only where they cover no
    /// more than two round trips: where blocks take microseconds.
    pub max_depth: usize,
    /// Input bytes of one block, unless a single task has more: fewer where the worker
    /// has little memory. It keeps them until the block is done, and begins with the
    /// first that come.
    pub block_input_bytes: u64,
    /// Input bytes that a slot's first block may have, as long as that is a few
    /// tasks: to bring them takes longer than to compute them.
    pub first_input_bytes: u64,
    /// Expected bytes of one block's partial (`concat`), unless a single task
    /// gives more.
    pub block_output_bytes: u64,
    /// `concat`: bytes held, and expected from blocks at work, ahead of the
    /// prefix. `reduce`: bytes held, or being merged, past the first task that is
    /// not done.
    pub window_bytes: u64,
    /// `concat`: partials held, and blocks at work, ahead of the prefix: room for
    /// some of each of ten thousand workers.
    pub window_blocks: usize,
    /// `reduce`: merges under way.
    pub window_merges: usize,
    /// `reduce`: the most bytes that partials have together which are merged one after
    /// another in one [`Action::Merge`](crate::Action::Merge).
    pub chain_bytes: u64,
    /// Silence after which a worker is taken for dead.
    pub deadline_us: u64,
    /// The same while its page is hidden.
    pub hidden_deadline_us: u64,
    /// How long leases stand after a bare close.
    pub grace_us: u64,
    /// How long a worker may come back to its session.
    pub session_us: u64,
    /// How long a worker that gave a lease back unasked gets no other.
    pub rest_us: u64,
    /// How often idle workers look for stragglers to duplicate.
    pub straggler_check_us: u64,
    /// How long a block whose duration nobody can predict may take before it
    /// counts as overdue.
    pub patience_us: u64,
    /// Failures of one task before its job fails, where its guest is to blame
    /// (`Error`, `Trap`).
    pub guest_attempts: u32,
    /// Failures of one task, of whatever kind, before its job fails.
    pub attempts: u32,
    /// Tasks that failed on a worker and came out elsewhere before it is
    /// quarantined, with no partial of its own used in between; 0 counts as 1.
    pub strikes: u32,
    /// How long a worker's first quarantine is; each further one is twice as
    /// long, up to an hour.
    pub quarantine_us: u64,
}

impl Default for Config {
    fn default() -> Self {
        const SECOND: u64 = 1_000_000;
        Self {
            incarnation: Incarnation(1),
            native_target_us: SECOND,
            browser_target_us: 300_000,
            min_block_us: 10_000,
            last_block_us: 125,
            partial_us_per_kib: 4_000,
            longest_block: 16,
            block_tasks: u64::MAX,
            growth: 16,
            round_trip_us: 20_000,
            max_depth: 512,
            block_input_bytes: 256 << 20,
            first_input_bytes: 4 << 20,
            block_output_bytes: 16 << 20,
            window_bytes: 64 << 20,
            window_blocks: 1 << 16,
            window_merges: 4096,
            chain_bytes: 64 << 10,
            deadline_us: 30 * SECOND,
            hidden_deadline_us: 300 * SECOND,
            grace_us: 2 * SECOND,
            session_us: 600 * SECOND,
            rest_us: SECOND,
            straggler_check_us: 100_000,
            patience_us: 10 * SECOND,
            guest_attempts: 2,
            attempts: 3,
            strikes: 5,
            quarantine_us: 60 * SECOND,
        }
    }
}
