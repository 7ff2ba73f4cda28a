//! Tools that the workspace needs beside Rust: what is missing is installed
//! once, into a cache folder of the user. Quick and silent when all is there.
//! What the tools are used for is the business of the other subcommands.

mod cache;
mod cargo_tools;
mod debian;
mod rust;

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::run::say;
use cache::Cache;
use cargo_tools::CargoTool;
pub(crate) use rust::wasm_target;

/// Tools that are at hand: a search path that holds them all.
pub(crate) struct Tools {
    path: OsString,
}

impl Tools {
    /// Lets `command` find the tools before anything else on the `PATH`.
    pub(crate) fn on_path<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("PATH", &self.path)
    }

    /// The path of `program`, one of the tools.
    pub(crate) fn find(&self, program: &str) -> Result<std::path::PathBuf> {
        crate::run::find_in(&self.path, program)
            .ok_or_else(|| anyhow::anyhow!("{program} is not on the PATH"))
    }
}

/// Everything that `cargo xtask ci` needs.
pub(crate) fn install_all() -> Result<()> {
    for_tests()?;
    for_checks()?;
    for_bench();
    valgrind()
}

/// What `cargo xtask test` needs: the wasm target, the test runners, three
/// browsers and their drivers.
pub(crate) fn for_tests() -> Result<Tools> {
    wasm_target()?;
    debian::browsers()?;
    install(&[
        CargoTool::NEXTEST,
        CargoTool::WASM_BINDGEN,
        CargoTool::WASM_PACK,
        CargoTool::GECKODRIVER,
    ])
}

/// What `cargo xtask instructions` needs.
pub(crate) fn valgrind() -> Result<()> {
    debian::valgrind()
}

/// What `cargo xtask bench` needs beside what tests do, and goes without where it
/// cannot be had.
pub(crate) fn for_bench() {
    if let Err(why) = debian::network() {
        say(format!("`namespaces` will be SKIPPED: {why:#}"));
    }
}

/// What `cargo xtask check` needs, but for counting instructions.
pub(crate) fn for_checks() -> Result<Tools> {
    wasm_target()?;
    formatter()?;
    rust::component("clippy", "clippy")?;
    install(&[CargoTool::DENY])
}

/// `cargo fmt`.
pub(crate) fn formatter() -> Result<()> {
    rust::component("rustfmt", "fmt")
}

fn install(tools: &[CargoTool]) -> Result<Tools> {
    let cache = Cache::locate()?;
    let path = cargo_tools::install(&cache, tools)?;
    Ok(Tools { path })
}
