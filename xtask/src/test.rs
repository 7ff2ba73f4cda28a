//! `cargo xtask test`: every test of the workspace, natively and in browsers.
//! Builds what the tests use first: guests, the page, the binary.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::guests::{self, Guests};
use crate::run::{self, cargo};
use crate::tools::{self, Tools};
use crate::web;
use crate::workspace::{self, XTASK, native_packages};

/// Options of `cargo xtask test`.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// Run only native tests whose names contain one of these
    filter: Vec<String>,
}

/// How long the tests of one browser may take, in seconds; a machine that
/// compiles at the same time is slow.
const BROWSER_TIMEOUT: &str = "300";

/// Runs the tests.
pub(crate) fn run(options: &Options) -> Result<()> {
    let tools = tools::for_tests()?;
    let guests = guests::build()?;
    web::build()?;
    native(&tools, &guests, &options.filter)?;
    if options.filter.is_empty() {
        run::step("test xtask", || {
            // As it was built to run this.
            let mut command = cargo();
            command.args([
                "nextest",
                "run",
                "--cargo-profile",
                "xtask",
                "--package",
                XTASK,
            ]);
            run::run(tools.on_path(&mut command))
        })?;
        run::step("test the examples in documentation", || {
            run::run(cargo().args(["test", "--doc"]).args(native_packages()))
        })?;
        run::step("test the page's worker in Chromium and Firefox", || {
            browsers(&tools)
        })?;
    }
    Ok(())
}

fn native(tools: &Tools, guests: &Guests, filter: &[String]) -> Result<()> {
    // The tests start the binary itself. Asked for together with the tests,
    // it shares its dependencies with them.
    run::step("build the binary and the tests", || {
        run::run(
            cargo()
                .args(["build", "--bins", "--tests"])
                .args(native_packages()),
        )
    })?;
    run::step("test", || {
        let mut command = cargo();
        command
            .args(["nextest", "run"])
            .args(native_packages())
            .args(filter)
            .env("MANYHANDS_GUESTS", &guests.folder);
        run::run(tools.on_path(&mut command))
    })
}

fn browsers(tools: &Tools) -> Result<()> {
    let mut command = Command::new(tools.find("wasm-pack")?);
    command
        .args(["test", "--mode", "no-install", "--headless"])
        .args(["--chrome", "--chromedriver"])
        .arg(tools.find("chromedriver")?)
        .args(["--firefox", "--geckodriver"])
        .arg(tools.find("geckodriver")?)
        .current_dir(workspace::root().join("worker-web"))
        .env("WASM_BINDGEN_TEST_TIMEOUT", BROWSER_TIMEOUT)
        .env("WASM_BINDGEN_TEST_DRIVER_TIMEOUT", BROWSER_TIMEOUT);
    run::run(tools.on_path(&mut command))
}
