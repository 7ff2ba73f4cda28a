//! Tools that cargo compiles from their crates. Versions are pinned here, so
//! that two machines test with the same tools.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::cache::Cache;
use crate::run;

/// A program that `cargo install` can give.
#[derive(Clone, Copy)]
pub(crate) struct CargoTool {
    /// The crate.
    name: &'static str,
    version: &'static str,
    /// The program of it that is used here.
    program: &'static str,
    /// Whether another version that the user has installed does as well.
    any_version: bool,
    /// Flags of `cargo install` that leave out what is not needed here.
    flags: &'static [&'static str],
}

impl CargoTool {
    /// Runs native tests, each in a process of its own.
    pub(crate) const NEXTEST: Self = Self {
        flags: &["--no-default-features", "--features", "default-no-update"],
        ..Self::named("cargo-nextest", "0.9.151")
    };
    /// Holds the runner of tests inside browsers, which must have the very
    /// version of the `wasm-bindgen` crate.
    pub(crate) const WASM_BINDGEN: Self = Self {
        program: "wasm-bindgen-test-runner",
        any_version: false,
        flags: &["--bin=wasm-bindgen", "--bin=wasm-bindgen-test-runner"],
        ..Self::named("wasm-bindgen-cli", "0.2.130")
    };
    /// Drives tests inside browsers.
    pub(crate) const WASM_PACK: Self = Self::named("wasm-pack", "0.15.1");
    /// Firefox's WebDriver.
    pub(crate) const GECKODRIVER: Self = Self::named("geckodriver", "0.37.1");
    /// Checks licences, sources and advisories of dependencies.
    pub(crate) const DENY: Self = Self::named("cargo-deny", "0.20.2");

    const fn named(name: &'static str, version: &'static str) -> Self {
        Self {
            name,
            version,
            program: name,
            any_version: true,
            flags: &[],
        }
    }

    /// The folder that has the program already, if any.
    fn installed(&self, cache: &Cache) -> Option<PathBuf> {
        let kept = cache.tool(self.name, self.version).join("bin");
        if run::find_in(kept.as_os_str(), self.program).is_some() {
            return Some(kept);
        }
        let found = run::find(self.program)?;
        (self.any_version || self.is_version_of(&found))
            .then(|| found.parent().map(PathBuf::from))
            .flatten()
    }

    fn is_version_of(&self, program: &PathBuf) -> bool {
        Command::new(program)
            .arg("--version")
            .output()
            .is_ok_and(|output| {
                String::from_utf8_lossy(&output.stdout)
                    .split_whitespace()
                    .any(|word| word == self.version)
            })
    }

    /// Compiles the tool for quick compilation, not for speed: a fresh CI
    /// machine spends more on building it than on running it.
    fn command(&self, cache: &Cache) -> Command {
        let mut command = run::cargo();
        command
            .args(["install", self.name, "--version", self.version, "--root"])
            .arg(cache.tool(self.name, self.version))
            .arg("--quiet")
            // Without --locked: a lock file may name what a mirror lacks.
            .args(self.flags)
            .env("CARGO_TARGET_DIR", cache.build())
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
            .env("CARGO_PROFILE_RELEASE_LTO", "false")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0");
        command
    }
}

/// Installs those of `tools` that are missing. Returns a search path that
/// begins with all of them and goes on with this process's own.
pub(crate) fn install(cache: &Cache, tools: &[CargoTool]) -> Result<OsString> {
    if tools.iter().any(|tool| tool.installed(cache).is_none()) {
        let _lock = cache.lock()?;
        for tool in tools {
            // Asked again: another process may have done it meanwhile.
            if tool.installed(cache).is_none() {
                let name = format!("install {} {}", tool.name, tool.version);
                run::step(&name, || run::run(&mut tool.command(cache)))?;
            }
        }
        cache.clear_build();
    }

    let own = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = Vec::new();
    for tool in tools {
        let folder = tool.installed(cache).with_context(|| {
            format!(
                "{} {} did not bring {}",
                tool.name, tool.version, tool.program
            )
        })?;
        folders.push(folder);
    }
    // What was found on the PATH keeps its place there: putting its folder
    // first would let it hide other programs.
    folders.retain(|folder| env::split_paths(&own).all(|other| other != *folder));
    folders.extend(env::split_paths(&own));
    env::join_paths(folders).context("a folder on the PATH has a name that cannot be there")
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// `rustc` stands for a tool that is on the PATH in some other version.
    const RUSTC: CargoTool = CargoTool::named("rustc", "0.0.1");

    #[test]
    fn a_program_of_the_cache_goes_before_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let bin = cache.tool("rustc", "0.0.1").join("bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("rustc"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(bin.join("rustc"), fs::Permissions::from_mode(0o755)).unwrap();

        let path = install(&cache, &[RUSTC]).unwrap();
        assert_eq!(run::find_in(&path, "rustc"), Some(bin.join("rustc")));
    }

    #[test]
    fn another_version_on_the_path_does_only_where_any_does() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let path = install(&cache, &[RUSTC]).unwrap();
        assert_eq!(run::find_in(&path, "rustc"), run::find("rustc"));

        let exact = CargoTool {
            any_version: false,
            ..RUSTC
        };
        assert_eq!(exact.installed(&cache), None);
    }

    #[test]
    fn the_test_runner_has_the_version_of_the_library() {
        let lock = fs::read_to_string(crate::workspace::root().join("Cargo.lock")).unwrap();
        let entry = format!(
            "name = \"wasm-bindgen\"\nversion = \"{}\"\n",
            CargoTool::WASM_BINDGEN.version
        );
        assert!(lock.contains(&entry), "Cargo.lock has another wasm-bindgen");
    }
}
