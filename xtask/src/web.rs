//! `cargo xtask web`: compiles the page's worker and writes the ES module that
//! loads it into `www/pkg`. The page itself, in `www/`, is served as it lies.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use wasm_bindgen_cli_support::Bindgen;

use crate::run::{self, cargo, say};
use crate::tools;
use crate::workspace::{self, WASM, WORKER_WEB, Workspace};

/// Builds the page's worker unless it is up to date.
pub(crate) fn run() -> Result<()> {
    tools::wasm_target()?;
    build()
}

/// As `run`, for callers that have made sure of the target.
pub(crate) fn build() -> Result<()> {
    let module = run::step("build the page's worker", compile)?;
    let package = workspace::root().join("www/pkg");
    let stamp = package.join(STAMP);
    // How the module is bound stands in this very program.
    let xtask = std::env::current_exe().context("cannot find this program's own file")?;
    if is_newer(&stamp, &module) && is_newer(&stamp, &xtask) {
        return Ok(());
    }
    bind(&module, &package)?;
    say(format!("wrote {}", package.display()));
    Ok(())
}

/// Written last, so that a run which was interrupted is done again.
const STAMP: &str = ".complete";

fn compile() -> Result<PathBuf> {
    run::run(cargo().args([
        "build",
        "--profile",
        "web",
        "--target",
        WASM,
        "--package",
        WORKER_WEB,
        "--lib",
    ]))?;
    let folder = Workspace::load()?.target.join(WASM).join("web");
    Ok(folder.join(workspace::module_file(WORKER_WEB)))
}

/// Replaces `package` by an ES module around `module`, for pages and for
/// workers of type `module`.
fn bind(module: &Path, package: &Path) -> Result<()> {
    if package.exists() {
        fs::remove_dir_all(package)
            .with_context(|| format!("cannot empty {}", package.display()))?;
    }
    Bindgen::new()
        .input_path(module)
        .web(true)?
        .typescript(false)
        // hub.js leaves it to the module to find its Wasm beside itself.
        .omit_default_module_path(false)
        // Names would be a quarter of what a volunteer downloads.
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(package)
        .with_context(|| format!("wasm-bindgen refuses {}", module.display()))?;
    fs::write(package.join(STAMP), "").context("cannot write into www/pkg")
}

/// Whether `made` exists and was written after `source`.
fn is_newer(made: &Path, source: &Path) -> bool {
    let modified = |file: &Path| -> Option<SystemTime> { file.metadata().ok()?.modified().ok() };
    matches!((modified(made), modified(source)), (Some(made), Some(source)) if made >= source)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_absent_or_older_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let (made, source) = (folder.path().join("made"), folder.path().join("source"));
        fs::write(&source, "").unwrap();
        assert!(!is_newer(&made, &source));
        fs::write(&made, "").unwrap();
        assert!(is_newer(&made, &source));
        let later = SystemTime::now() + Duration::from_secs(60);
        fs::File::options()
            .write(true)
            .open(&source)
            .unwrap()
            .set_modified(later)
            .unwrap();
        assert!(!is_newer(&made, &source));
    }
}
