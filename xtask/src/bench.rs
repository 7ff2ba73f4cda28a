//! `cargo xtask bench`: measures the system, optimised, on this machine. What is
//! measured and printed lies in `tests/bench`.

use anyhow::Result;
use clap::Args;

use crate::run::{self, cargo};
use crate::workspace::native_packages;
use crate::{guests, tools, web};

/// Options of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct Options {
    /// Parts to run [default: all]
    #[arg(value_name = "NAME", value_parser = ["compare", "tiny", "data", "latency", "round-trip",
        "durability", "blocks", "scheduler", "costs", "networks", "namespaces", "memory", "workers", "merging",
        "restart", "size", "page"])]
    names: Vec<String>,

    /// Rounds of each measurement; figures are medians over them
    #[arg(long, default_value_t = 3)]
    rounds: u32,

    /// Multiplies the work of the jobs that are compared; 40 makes each take 30 s
    /// and more
    #[arg(long, default_value_t = 1)]
    scale: u32,

    /// Only see that everything runs, with the build that tests use: the figures
    /// mean nothing
    #[arg(long)]
    short: bool,

    /// End with the table of BENCHMARKS.md
    #[arg(long)]
    markdown: bool,
}

impl Options {
    /// Every part, only to see that it runs.
    pub(crate) fn short() -> Self {
        Self {
            names: Vec::new(),
            rounds: 1,
            scale: 1,
            short: true,
            markdown: false,
        }
    }
}

/// Builds what is measured and measures it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let tools = tools::for_tests()?;
    tools::for_bench();
    let guests = guests::build()?;
    web::build()?;
    let profile = if options.short { "dev" } else { "release" };
    // The binary is started by the bench and must be built like it.
    run::step("build what is measured", || {
        let mut command = cargo();
        command.args(["build", "--profile", profile, "--bins"]);
        if options.short {
            // As tests are, so that nothing is compiled for this alone.
            command.args(["--tests", "--benches"]);
        }
        run::run(command.args(packages(options)))
    })?;
    run::run(
        tools.on_path(
            cargo()
                .args(["bench", "--profile", profile, "--bench", "system"])
                .args(packages(options))
                .arg("--")
                .args(arguments(options))
                .env("MANYHANDS_GUESTS", &guests.folder),
        ),
    )
}

/// Asked for together, so that they share their dependencies.
fn packages(options: &Options) -> Vec<&'static str> {
    if options.short {
        native_packages().to_vec()
    } else {
        vec!["--package", "manyhands-cli", "--package", "manyhands-tests"]
    }
}

/// What the bench itself is told.
fn arguments(options: &Options) -> Vec<String> {
    let mut arguments = options.names.clone();
    arguments.extend(["--rounds".to_owned(), options.rounds.to_string()]);
    arguments.extend(["--scale".to_owned(), options.scale.to_string()]);
    arguments.extend(options.short.then(|| "--short".to_owned()));
    arguments.extend(options.markdown.then(|| "--markdown".to_owned()));
    arguments
}
