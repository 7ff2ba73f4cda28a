//! `cargo xtask sim`: the seeded simulation of the whole system, for as long as
//! wanted, or one seed again. What is simulated lies in `tests/sim`.

use anyhow::{Result, ensure};
use clap::Args;

use crate::run::{self, cargo};

/// Options of `cargo xtask sim`.
#[derive(Args)]
pub(crate) struct Options {
    /// Replay this seed, with what happened
    #[arg(long, conflicts_with = "minutes")]
    seed: Option<u64>,

    /// The last so many lines of what happened in the replayed seed
    #[arg(long, default_value_t = 400, requires = "seed")]
    lines: u64,

    /// Run seeds for so many minutes
    #[arg(long)]
    minutes: Option<u64>,

    /// The first of these seeds; by the clock unless given
    #[arg(long, requires = "minutes")]
    from: Option<u64>,
}

/// Builds the simulation, optimised and with its assertions, and runs it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let words = [
        ("--seed", options.seed),
        ("--lines", options.seed.map(|_| options.lines)),
        ("--minutes", options.minutes),
        ("--from", options.from),
    ];
    ensure!(
        options.seed.is_some() || options.minutes.is_some(),
        "say which seed (--seed N), or for how long (--minutes M)"
    );
    let mut command = cargo();
    command.args([
        "run",
        "--profile",
        "sim",
        "--package",
        "manyhands-sim",
        "--",
    ]);
    for (word, value) in words {
        if let Some(value) = value {
            command.args([word, &value.to_string()]);
        }
    }
    run::run(&mut command)
}
