//! `cargo xtask`: everything a newcomer or CI runs. One file a subcommand; the
//! files below `tools/` install what is missing. No knowledge of the system's
//! own protocol or results lives here.

mod bench;
mod checks;
mod ci;
mod demo;
mod guests;
mod instructions;
mod purity;
mod run;
mod sim;
mod test;
mod tools;
mod web;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks of the Manyhands workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the two showcase jobs on this machine, with a link for browsers
    Demo(demo::Options),
    /// Pass every test, browsers included; installs what is missing
    Test(test::Options),
    /// Check formatting, lints, licences and the purity of the pure crates
    Check,
    /// Do all that CI does: `test`, `bench --short`, then `check`
    Ci,
    /// Measure the system beside the bare runtime, in one run
    Bench(bench::Options),
    /// Count the instructions of fixed work and compare them with what is committed
    Instructions(instructions::Options),
    /// Simulate the whole system with faults, by seeds
    Sim(sim::Options),
    /// Install the tools that tests and checks need, once
    Tools,
    /// Build the page's worker into www/pkg
    Web,
    /// Build the example guests to Wasm and print their paths
    Guests,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Check => checks::run(),
        Command::Ci => ci::run(),
        Command::Bench(options) => bench::run(&options),
        Command::Instructions(options) => instructions::run(&options),
        Command::Sim(options) => sim::run(&options),
        Command::Tools => tools::install_all(),
        Command::Web => web::run(),
        Command::Guests => guests::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
