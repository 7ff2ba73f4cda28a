//! `cargo xtask check`: formatting, lints, purity, what dependencies may be, and
//! what fixed work costs. Runs no test.

use anyhow::Result;

use crate::run::{self, cargo, say};
use crate::tools::{self, Tools};
use crate::workspace::{PURE, WASM, WORKER_WEB, Workspace};
use crate::{instructions, purity, web};

/// Runs all checks.
pub(crate) fn run() -> Result<()> {
    let tools = tools::for_checks()?;
    formatting()?;
    run::step("check that the pure crates are pure", purity::check)?;
    run::step("lint for this machine", native_lints)?;
    run::step("lint for the browser and for guests", wasm_lints)?;
    run::step("check licences, bans and sources of dependencies", || {
        let mut deny = cargo();
        deny.args(["deny", "check", "licenses", "bans", "sources"]);
        run::run(tools.on_path(&mut deny))
    })?;
    advisories(&tools)?;
    instructions::run(&instructions::Options::default())
}

/// Fails where rustfmt would change a line.
pub(crate) fn formatting() -> Result<()> {
    tools::formatter()?;
    run::step("check formatting", || {
        run::run(cargo().args(["fmt", "--all", "--check"]))
    })
}

fn native_lints() -> Result<()> {
    // The coordinator embeds the page and is linted with it, as it is tested.
    web::build()?;
    run::run(cargo().args([
        "clippy",
        "--workspace",
        "--exclude",
        WORKER_WEB,
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

/// Lints what is compiled to Wasm; that the pure crates build for it is shown
/// by the way.
fn wasm_lints() -> Result<()> {
    let workspace = Workspace::load()?;
    let guests = workspace
        .packages
        .iter()
        .filter(|package| package.is_guest());
    let mut clippy = cargo();
    clippy.args(["clippy", "--target", WASM, "--lib"]);
    for name in PURE
        .into_iter()
        .chain(guests.map(|guest| guest.name.as_str()))
    {
        clippy.args(["--package", name]);
    }
    run::run(clippy.args(["--", "-D", "warnings"]))?;

    let mut clippy = cargo();
    clippy.args([
        "clippy",
        "--target",
        WASM,
        "--all-targets",
        "--package",
        WORKER_WEB,
    ]);
    run::run(clippy.args(["--", "-D", "warnings"]))
}

/// Known vulnerabilities: the one check that needs more of the network than
/// the crates' registry, hence the one that may be left out.
fn advisories(tools: &Tools) -> Result<()> {
    if !run::succeeds(tools.on_path(cargo().args(["deny", "fetch", "db"]))) {
        say("advisories are NOT checked: their database cannot be fetched from here");
        return Ok(());
    }
    run::step("check advisories on dependencies", || {
        run::run(tools.on_path(cargo().args(["deny", "check", "advisories"])))
    })
}
