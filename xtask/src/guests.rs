//! `cargo xtask guests`: compiles the examples, and the guests of the tests, to
//! Wasm. What is in them, and whether it is admitted, is not looked at here.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::run::{self, cargo};
use crate::workspace::{WASM, Workspace};
use crate::{tools, workspace};

/// The guests' modules after a build.
pub(crate) struct Guests {
    /// The folder that holds all of them.
    pub(crate) folder: PathBuf,
    /// Each module's path.
    pub(crate) modules: Vec<PathBuf>,
}

/// Builds the guests and prints their paths, one a line.
pub(crate) fn run() -> Result<()> {
    tools::wasm_target()?;
    for module in build()?.modules {
        println!("{}", module.display());
    }
    Ok(())
}

/// Builds every guest of the workspace under its own profile.
pub(crate) fn build() -> Result<Guests> {
    let workspace = Workspace::load()?;
    let guests: Vec<_> = workspace
        .packages
        .iter()
        .filter(|package| package.is_guest())
        .collect();
    ensure!(!guests.is_empty(), "there is no guest below examples/");

    run::step("build the guests", || {
        let mut command = cargo();
        command.args(["build", "--profile", "guest", "--target", WASM, "--lib"]);
        for guest in &guests {
            command.args(["--package", &guest.name]);
        }
        run::run(&mut command)
    })?;

    let folder = workspace.target.join(WASM).join("guest");
    let modules: Vec<_> = guests
        .iter()
        .filter_map(|guest| guest.cdylib.as_ref())
        .map(|library| folder.join(workspace::module_file(library)))
        .collect();
    for module in &modules {
        ensure!(
            module.is_file(),
            "cargo left no module at {}",
            module.display()
        );
    }
    Ok(Guests { folder, modules })
}
