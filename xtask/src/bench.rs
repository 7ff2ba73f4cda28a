//! `cargo xtask bench`: measures the system, optimised, on this machine. What is
//! measured and printed lies in `tests/bench`.

use anyhow::Result;
use clap::Args;

use crate::run::{self, cargo};
use crate::{guests, tools, web};

/// Options of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct Options {
    /// Rounds of each job; figures are medians over them
    #[arg(long, default_value_t = 3)]
    rounds: u32,

    /// Multiplies the work of the comparisons; 10 makes jobs of 20 s and more
    #[arg(long, default_value_t = 1)]
    scale: u32,
}

/// Builds what is measured and measures it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let tools = tools::for_tests()?;
    let guests = guests::build()?;
    web::build()?;
    // The binary is started by the bench and must be built like it.
    run::step("build what is measured", || {
        run::run(cargo().args(["build", "--release"]).args(PACKAGES))
    })?;
    let rounds = options.rounds.to_string();
    let scale = options.scale.to_string();
    run::run(
        tools.on_path(
            cargo()
                .args(["bench", "--bench", "system"])
                .args(PACKAGES)
                .args(["--", "--rounds", &rounds, "--scale", &scale])
                .env("MANYHANDS_GUESTS", &guests.folder),
        ),
    )
}

/// Asked for together, so that they share their dependencies.
const PACKAGES: [&str; 4] = ["--package", "manyhands-cli", "--package", "manyhands-tests"];
