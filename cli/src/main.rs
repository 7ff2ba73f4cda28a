//! The one binary, `manyhands`: the command line, and nothing that computes.
//!
//! One file a subcommand in `commands/`; beside it what several of them share:
//! reading a job's description, finding inputs, building guests, following a
//! job, saving its result.

mod commands;
mod connection;
mod cuttings;
mod error;
mod follow;
mod human;
mod inputs;
mod interrupt;
mod job_args;
mod keep;
mod lab;
mod local;
mod memory;
mod module;
mod output;
mod print;
mod progress;
mod report;
mod size;

use clap::error::{ContextKind, ContextValue};
use clap::{Parser, Subcommand};
use error::{EXIT_CODES, Error};
use std::future::Future;
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Where options are listed that every command has.
const GLOBAL: &str = "Global options";

/// One function, every core of every machine that opens a page or starts a worker
#[derive(Parser)]
#[command(name = "manyhands", version, after_help = EXIT_CODES)]
struct Cli {
    /// Print one JSON object for programs, on standard output
    #[arg(long, global = true, help_heading = GLOBAL)]
    json: bool,

    /// Tell more on standard error; twice, much more (or set RUST_LOG)
    #[arg(short, long, global = true, help_heading = GLOBAL, action = clap::ArgAction::Count)]
    verbose: u8,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(commands::run::Run),
    Coordinator(commands::coordinator::Serve),
    Worker(commands::worker::Lend),
    Jobs(commands::jobs::Jobs),
    Show(commands::show::Show),
    Result(commands::result::ResultOf),
    Cancel(commands::cancel::Cancel),
    Workers(commands::workers::Workers),
    Check(commands::check::Check),
    New(commands::new::New),
    Demo(commands::demo::Demo),
    /// Runs guests for another manyhands process
    #[command(name = local::COMPUTE_CHILD, hide = true)]
    ComputeChild,
}

fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| with_hint(error).exit());
    if matches!(cli.command, Command::ComputeChild) {
        return manyhands_engine::child::main();
    }
    log_to_stderr(cli.verbose);
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(cli.json),
    }
}

/// `--input` takes as many names as follow it, MODULE among them.
fn with_hint(mut error: clap::Error) -> clap::Error {
    let missing = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::Strings(names)) => names.iter().any(|name| name == "<MODULE>"),
        _ => false,
    };
    if missing && std::env::args().any(|word| word == "--input") {
        let hint = "put MODULE before --input, or -- before it".to_owned();
        let hint = ContextValue::StyledStrs(vec![hint.into()]);
        error.insert(ContextKind::Suggested, hint);
    }
    error
}

fn run(cli: &Cli) -> Result<(), Error> {
    let json = cli.json;
    match &cli.command {
        Command::Run(run) => block_on(run.run(json)),
        Command::Coordinator(coordinator) => block_on(coordinator.run(json)),
        Command::Worker(worker) => block_on(worker.run(json)),
        Command::Jobs(jobs) => block_on(jobs.run(json)),
        Command::Show(show) => block_on(show.run(json)),
        Command::Result(result) => block_on(result.run(json)),
        Command::Cancel(cancel) => block_on(cancel.run(json)),
        Command::Workers(workers) => block_on(workers.run(json)),
        Command::Demo(demo) => block_on(demo.run(json)),
        Command::Check(check) => block_on(check.run(json)),
        Command::New(new) => new.run(json),
        Command::ComputeChild => unreachable!("main has answered it"),
    }
}

fn block_on(command: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|source| Error::Thread { source })?;
    let outcome = runtime.block_on(command);
    // A read that hangs (a pipe that nobody fills) does not keep the process.
    runtime.shutdown_background();
    outcome
}

/// Warnings, and what `--verbose` or RUST_LOG ask for.
fn log_to_stderr(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "warn,manyhands_coordinator=info,manyhands_engine=info,manyhands_worker_native=info",
        _ => {
            "info,manyhands_coordinator=debug,manyhands_engine=debug,manyhands_worker_native=debug"
        }
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let logging = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let colours = std::io::stderr().is_terminal();
    logging
        .with_target(false)
        .with_ansi(colours)
        .compact()
        .init();
}
