//! `cargo xtask demo`: builds all that the showcase needs and hands over to
//! `manyhands demo`, which runs the jobs and reports on them.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::run::{self, cargo};
use crate::workspace::Workspace;
use crate::{guests, tools, web};

/// Options of `cargo xtask demo`.
#[derive(Args)]
pub(crate) struct Options {
    /// Go on serving when the jobs are done
    #[arg(long)]
    keep: bool,
}

/// Builds, then becomes `manyhands demo`.
pub(crate) fn run(options: &Options) -> Result<()> {
    tools::wasm_target()?;
    let guests = guests::build()?;
    web::build()?;
    run::step("build manyhands", || {
        run::run(cargo().args(["build", "--package", "manyhands-cli"]))
    })?;
    let binary = Workspace::load()?
        .target
        .join("debug")
        .join(format!("manyhands{}", std::env::consts::EXE_SUFFIX));

    let mut command = Command::new(binary);
    command.arg("demo").arg("--guests").arg(guests.folder);
    command.arg("--corpus").arg(crate_sources()?);
    if options.keep {
        command.arg("--keep");
    }
    become_program(&mut command)
}

/// The sources that cargo has downloaded: hundreds of megabytes of real text
/// on every machine that has come this far.
fn crate_sources() -> Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(dirs::home_dir()?.join(".cargo")))
        .context("cannot tell where cargo keeps its downloads; set CARGO_HOME")?;
    let sources = home.join("registry/src");
    ensure!(
        sources.is_dir(),
        "cargo has left no sources in {}",
        sources.display()
    );
    Ok(sources)
}

/// Puts the demo in this process's place, so that Ctrl-C reaches it alone and
/// its goodbye is the last thing on the terminal.
#[cfg(unix)]
fn become_program(command: &mut Command) -> Result<()> {
    use std::os::unix::process::CommandExt;
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start {}", command.get_program().display()))
}

#[cfg(not(unix))]
fn become_program(command: &mut Command) -> Result<()> {
    run::run(command)
}
