//! Parts of the Rust toolchain that rustup can add: the Wasm target, rustfmt,
//! clippy.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::run;
use crate::workspace::{self, WASM};

/// Makes sure that the standard library for Wasm is there.
pub(crate) fn wasm_target() -> Result<()> {
    let library = run::output(rustc().args(["--print", "target-libdir", "--target", WASM]))?;
    if Path::new(library.trim()).is_dir() {
        return Ok(());
    }
    add("target", WASM)
}

/// Makes sure that the component `name` is there, which brings `subcommand` to
/// cargo.
pub(crate) fn component(name: &str, subcommand: &str) -> Result<()> {
    if run::succeeds(run::cargo().args([subcommand, "--version"])) {
        return Ok(());
    }
    add("component", name)
}

fn add(kind: &str, name: &str) -> Result<()> {
    if run::find("rustup").is_none() {
        bail!("the {kind} {name} is missing: install Rust by rustup, or {name} as your Rust came");
    }
    run::step(&format!("install the {kind} {name}"), || {
        run::run(
            Command::new("rustup")
                .args([kind, "add", name])
                .current_dir(workspace::root()),
        )
    })
}

fn rustc() -> Command {
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.current_dir(workspace::root());
    command
}
