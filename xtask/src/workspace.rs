//! What cargo knows about this workspace: its root, its build folder, its
//! packages. Builds nothing.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::run;

/// The target triple of guests and of the page's worker.
pub(crate) const WASM: &str = "wasm32-unknown-unknown";

/// The page's worker: compiled for the browser, never natively.
pub(crate) const WORKER_WEB: &str = "manyhands-worker-web";

/// This program's own package. It is built alone, as `cargo xtask` builds it,
/// so that its dependencies are not compiled once more with other features.
pub(crate) const XTASK: &str = "manyhands-xtask";

/// The crates that read no clock, no randomness and no socket.
pub(crate) const PURE: [&str; 4] = [
    "manyhands-protocol",
    "manyhands-scheduler",
    "manyhands-worker-core",
    "manyhands-coordinator-core",
];

/// The folder that holds the workspace's Cargo.toml.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace's folder")
}

/// Arguments that select every package with native tests. The same selection
/// is used for each native build, so that cargo unifies features alike and
/// compiles each dependency once.
pub(crate) fn native_packages() -> [&'static str; 5] {
    ["--workspace", "--exclude", WORKER_WEB, "--exclude", XTASK]
}

/// The file name of the module that cargo makes of the library `name`.
pub(crate) fn module_file(name: &str) -> String {
    format!("{}.wasm", name.replace('-', "_"))
}

/// A member of the workspace.
pub(crate) struct Package {
    /// Its name in Cargo.toml.
    pub(crate) name: String,
    /// Its folder, relative to the root, with `/` between the parts.
    pub(crate) folder: String,
    /// The name of its library if that is compiled to a module or shared object.
    pub(crate) cdylib: Option<String>,
}

impl Package {
    /// Whether this is a guest: an example, or a guest that only tests use.
    pub(crate) fn is_guest(&self) -> bool {
        self.cdylib.is_some()
            && (self.folder.starts_with("examples/") || self.folder.starts_with("tests/guests/"))
    }
}

/// One reading of `cargo metadata`.
pub(crate) struct Workspace {
    /// Where cargo puts what it builds.
    pub(crate) target: PathBuf,
    /// The members, in cargo's order.
    pub(crate) packages: Vec<Package>,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn load() -> Result<Self> {
        let text =
            run::output(run::cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
        Self::parse(&text, root())
    }

    fn parse(text: &str, root: &Path) -> Result<Self> {
        let metadata: Value = serde_json::from_str(text).context("cargo metadata is no JSON")?;
        let target = metadata["target_directory"]
            .as_str()
            .context("cargo metadata names no target_directory")?;
        let packages = metadata["packages"]
            .as_array()
            .context("cargo metadata lists no packages")?
            .iter()
            .map(|package| parse_package(package, root))
            .collect::<Result<_>>()?;
        Ok(Self {
            target: target.into(),
            packages,
        })
    }
}

fn parse_package(package: &Value, root: &Path) -> Result<Package> {
    let name = package["name"].as_str().context("a package has no name")?;
    let manifest = package["manifest_path"]
        .as_str()
        .with_context(|| format!("{name} has no manifest_path"))?;
    let folder = Path::new(manifest)
        .parent()
        .and_then(|folder| folder.strip_prefix(root).ok())
        .with_context(|| format!("{manifest} lies outside {}", root.display()))?;
    let cdylib = package["targets"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|target| {
            target["crate_types"]
                .as_array()
                .is_some_and(|types| types.iter().any(|kind| kind == "cdylib"))
        })
        .and_then(|target| target["name"].as_str());
    Ok(Package {
        name: name.into(),
        folder: folder.to_string_lossy().replace('\\', "/"),
        cdylib: cdylib.map(Into::into),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_are_the_modules_below_examples_and_test_guests() {
        let text = r#"{"target_directory": "/t", "packages": [
            {"name": "pi", "manifest_path": "/w/examples/pi/Cargo.toml",
             "targets": [{"name": "pi", "crate_types": ["cdylib", "rlib"]}]},
            {"name": "trap", "manifest_path": "/w/tests/guests/trap/Cargo.toml",
             "targets": [{"name": "trap_guest", "crate_types": ["cdylib"]}]},
            {"name": "web", "manifest_path": "/w/worker-web/Cargo.toml",
             "targets": [{"name": "web", "crate_types": ["cdylib"]}]},
            {"name": "tool", "manifest_path": "/w/examples/tool/Cargo.toml",
             "targets": [{"name": "tool", "crate_types": ["bin"]}]}]}"#;
        let workspace = Workspace::parse(text, Path::new("/w")).unwrap();
        assert_eq!(workspace.target, Path::new("/t"));
        let guests: Vec<_> = workspace
            .packages
            .iter()
            .filter(|package| package.is_guest())
            .map(|package| (package.name.as_str(), package.cdylib.as_deref().unwrap()))
            .collect();
        assert_eq!(guests, [("pi", "pi"), ("trap", "trap_guest")]);
    }

    #[test]
    fn this_workspace_has_the_packages_that_are_named_here() {
        let workspace = Workspace::load().unwrap();
        for name in PURE.into_iter().chain([WORKER_WEB, XTASK]) {
            assert!(
                workspace
                    .packages
                    .iter()
                    .any(|package| package.name == name),
                "{name} is no member of the workspace"
            );
        }
    }
}
