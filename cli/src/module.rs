//! MODULE on the command line: a `.wasm` file, or a guest crate's folder, which
//! is built first.

use crate::error::Error;
use bytes::Bytes;
use serde::Deserialize;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A module's bytes and what to call a job of it.
pub(crate) struct Module {
    /// The file's or the library's name.
    pub(crate) name: String,
    /// As they are, not admitted.
    pub(crate) wasm: Bytes,
}

/// The target of guests.
const TARGET: &str = "wasm32-unknown-unknown";

/// How guests are compiled, whatever their manifest says of other profiles. A
/// manifest with a `[profile.guest]` of its own (as `manyhands new` writes it)
/// has the last word.
pub(crate) const PROFILE: [(&str, &str); 7] = [
    ("inherits", r#""release""#),
    ("opt-level", "3"),
    ("lto", r#""fat""#),
    ("codegen-units", "1"),
    ("panic", r#""abort""#),
    ("debug", "false"),
    ("strip", r#""none""#),
];

/// Reads or builds the module at `path`.
///
/// # Errors
/// When the file cannot be read, or cargo cannot build a module of the folder.
pub(crate) fn load(path: &Path) -> Result<Module, Error> {
    let file = if path.is_dir() {
        build(path)?
    } else {
        path.to_owned()
    };
    let wasm = std::fs::read(&file).map_err(|source| Error::read(&file, source))?;
    let stem = file.file_stem().unwrap_or(file.as_os_str());
    Ok(Module {
        name: stem.to_string_lossy().into_owned(),
        wasm: wasm.into(),
    })
}

/// Builds the guest crate in `folder`; the module's path.
fn build(folder: &Path) -> Result<PathBuf, Error> {
    let manifest = folder.join("Cargo.toml");
    if !manifest.is_file() {
        return Err(Error::NoCrate {
            folder: folder.to_owned(),
        });
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--lib", "--target", TARGET, "--profile", "guest"]);
    command.arg("--message-format=json-render-diagnostics");
    command.arg("--manifest-path").arg(&manifest);
    if !has_guest_profile(&workspace_manifest(&manifest)) {
        for (key, value) in PROFILE {
            command
                .arg("--config")
                .arg(format!("profile.guest.{key}={value}"));
        }
    }
    if !std::io::stderr().is_terminal() {
        command.arg("--quiet");
    }
    // Cargo's progress and its errors are for the author to see as they come.
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output();
    let output = output.map_err(|source| Error::NoCargo { source })?;
    if !output.status.success() {
        return Err(Error::Build {
            folder: folder.to_owned(),
        });
    }
    let stdout = String::from_utf8_lossy(&output.stdout);
    artifact(&stdout, &manifest).ok_or_else(|| Error::NoModule {
        folder: folder.to_owned(),
    })
}

/// What cargo says of one thing it has built.
#[derive(Deserialize)]
struct Artifact {
    reason: String,
    manifest_path: PathBuf,
    target: ArtifactTarget,
    filenames: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct ArtifactTarget {
    kind: Vec<String>,
}

/// The one module among cargo's messages that belongs to `manifest`.
fn artifact(messages: &str, manifest: &Path) -> Option<PathBuf> {
    let manifest = manifest
        .canonicalize()
        .unwrap_or_else(|_| manifest.to_owned());
    let artifacts = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    let modules = artifacts
        .filter(|artifact| {
            artifact.reason == "compiler-artifact" && artifact.manifest_path == manifest
        })
        .filter(|artifact| artifact.target.kind.iter().any(|kind| kind == "cdylib"))
        .flat_map(|artifact| artifact.filenames);
    modules
        .into_iter()
        .find(|file| file.extension().is_some_and(|ending| ending == "wasm"))
}

/// The manifest whose profiles count: the workspace's, if there is one around.
fn workspace_manifest(manifest: &Path) -> PathBuf {
    let whole = manifest
        .canonicalize()
        .unwrap_or_else(|_| manifest.to_owned());
    let is_root = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .any(|line| line.trim_start().starts_with("[workspace"))
    };
    let above = whole
        .ancestors()
        .skip(1)
        .map(|folder| folder.join("Cargo.toml"));
    above.into_iter().find(is_root).unwrap_or(whole.clone())
}

fn has_guest_profile(manifest: &Path) -> bool {
    let text = std::fs::read_to_string(manifest).unwrap_or_default();
    text.lines().any(|line| line.trim() == "[profile.guest]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crates_own_module_is_found_among_the_messages() {
        let messages = r#"{"reason":"compiler-artifact","manifest_path":"/no/dep/Cargo.toml","target":{"kind":["cdylib"]},"filenames":["/t/dep.wasm"]}
{"reason":"build-script-executed","package_id":"x"}
not JSON at all
{"reason":"compiler-artifact","manifest_path":"/no/pi/Cargo.toml","target":{"kind":["cdylib","rlib"]},"filenames":["/t/libpi.rlib","/t/pi.wasm"]}
{"reason":"build-finished","success":true}"#;
        assert_eq!(
            artifact(messages, Path::new("/no/pi/Cargo.toml")),
            Some("/t/pi.wasm".into())
        );
        assert_eq!(artifact(messages, Path::new("/no/tau/Cargo.toml")), None);
    }

    #[test]
    fn the_workspaces_profiles_count() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let inner = root.join("examples/pi");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(inner.join("Cargo.toml"), "[package]\nname = \"pi\"\n").unwrap();
        assert_eq!(
            workspace_manifest(&inner.join("Cargo.toml")),
            inner.join("Cargo.toml")
        );
        std::fs::write(root.join("Cargo.toml"), "[workspace]\n[profile.guest]\n").unwrap();
        assert_eq!(
            workspace_manifest(&inner.join("Cargo.toml")),
            root.join("Cargo.toml")
        );
        assert!(has_guest_profile(&root.join("Cargo.toml")));
        assert!(!has_guest_profile(&inner.join("Cargo.toml")));
    }

    #[test]
    fn a_folder_without_a_crate_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = load(folder.path()).err().unwrap().to_string();
        assert!(
            error.ends_with("holds no Cargo.toml: name a guest crate's folder or a .wasm file"),
            "{error}"
        );
    }
}
