//! `manyhands new NAME`: writes a guest crate that builds, runs and is tested.

use crate::error::Error;
use crate::module::PROFILE;
use clap::Args;
use std::fmt::Write;
use std::path::{Component, Path, PathBuf};

/// Write a new guest crate, ready to build and run
#[derive(Args)]
pub(crate) struct New {
    /// The crate's folder; its last name is the crate's name
    #[arg(value_name = "NAME")]
    path: PathBuf,

    /// The folder of manyhands-guest-sdk [default: this checkout's, if there is
    /// one around, else the published version]
    #[arg(long, value_name = "PATH")]
    sdk: Option<PathBuf>,
}

impl New {
    /// Writes the crate.
    ///
    /// # Errors
    /// When the name is no crate name, the folder is there already, or it cannot
    /// be written.
    pub(crate) fn run(&self, json: bool) -> Result<(), Error> {
        let name = crate_name(&self.path)?;
        if self.path.exists() {
            return Err(Error::Exists {
                path: self.path.clone(),
            });
        }
        let sdk = match &self.sdk {
            Some(given) => SdkSource::Path(sdk_folder(given)?),
            None => SdkSource::find(&self.path),
        };
        for (file, text) in [
            ("Cargo.toml", manifest(name, &sdk)),
            ("src/lib.rs", LIB.to_owned()),
            ("README.md", readme(name)),
            (".gitignore", "/target\n".to_owned()),
        ] {
            let path = self.path.join(file);
            let folder = path.parent().expect("below the crate's folder");
            let written =
                std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, text));
            written.map_err(|source| Error::write(&path, source))?;
        }
        let path = self.path.display();
        crate::print::answer(json, &serde_json::json!({ "path": self.path }), || {
            format!(
                "{path} is ready:\n  manyhands run {path} --params '{EXAMPLE_PARAMS}'\n  \
                 manyhands check {path} --params '{EXAMPLE_PARAMS}'\n{}",
                sdk.hint()
            )
        })
    }
}

const EXAMPLE_PARAMS: &str = r#"{"n": 1000000}"#;

/// Where the new crate finds the SDK.
#[derive(Debug, PartialEq, Eq)]
enum SdkSource {
    /// A folder: absolute, or relative to the crate.
    Path(String),
    Version(&'static str),
}

impl SdkSource {
    /// The checkout around the new crate or around this program, if there is one.
    fn find(destination: &Path) -> Self {
        let here = std::path::absolute(destination).unwrap_or_default();
        if let Some(sdk) = checkout(&here) {
            return Self::Path(relative(&here, &sdk));
        }
        let program = std::env::current_exe().ok();
        match program.and_then(|program| checkout(&program)) {
            Some(sdk) => Self::Path(toml_path(&sdk)),
            None => Self::Version(env!("CARGO_PKG_VERSION")),
        }
    }
}

impl SdkSource {
    /// What may be missing to build the crate.
    fn hint(&self) -> &'static str {
        match self {
            Self::Path(_) => "",
            Self::Version(_) => {
                "no checkout of Manyhands is around: its Cargo.toml names the published guest SDK; --sdk \
                 PATH names the guest-sdk folder of a checkout instead\n"
            }
        }
    }
}

/// `guest-sdk` of the checkout that holds `path`.
fn checkout(path: &Path) -> Option<PathBuf> {
    path.ancestors()
        .skip(1)
        .map(|folder| folder.join("guest-sdk"))
        .find(|sdk| is_sdk(sdk))
}

fn is_sdk(folder: &Path) -> bool {
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    manifest
        .lines()
        .any(|line| line.trim() == r#"name = "manyhands-guest-sdk""#)
}

/// `--sdk` as an absolute path.
fn sdk_folder(given: &Path) -> Result<String, Error> {
    let folder = given
        .canonicalize()
        .map_err(|source| Error::read(given, source))?;
    if is_sdk(&folder) {
        Ok(toml_path(&folder))
    } else {
        Err(Error::NoSdk {
            path: given.to_owned(),
        })
    }
}

/// The way from the folder `from` to `to`, which share a beginning.
fn relative(from: &Path, to: &Path) -> String {
    let shared = from
        .components()
        .zip(to.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    let way: PathBuf = up.chain(to.components().skip(shared)).collect();
    toml_path(&way)
}

fn toml_path(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "/")
}

fn crate_name(path: &Path) -> Result<&str, Error> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let good = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if good && name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        Ok(name)
    } else {
        Err(Error::CrateName {
            name: name.to_owned(),
        })
    }
}

fn manifest(name: &str, sdk_source: &SdkSource) -> String {
    let sdk = match sdk_source {
        // JSON and TOML quote strings alike.
        SdkSource::Path(path) => format!("{{ path = {} }}", serde_json::json!(path)),
        SdkSource::Version(version) => format!("\"{version}\""),
    };
    let note = match sdk_source {
        SdkSource::Path(_) => "",
        SdkSource::Version(_) => {
            "# If this version is not published yet: { path = \"CHECKOUT/guest-sdk\" }, the folder in a\n\
             # checkout of Manyhands, as `manyhands new --sdk PATH` writes it.\n"
        }
    };
    let mut profile = String::new();
    for (key, value) in PROFILE {
        writeln!(profile, "{key} = {value}").expect("writing to a string");
    }
    format!(
        r#"[package]
name = "{name}"
version = "0.1.0"
edition = "2024"

[lib]
crate-type = ["cdylib", "rlib"]

[dependencies]
{note}manyhands-guest-sdk = {sdk}
serde = {{ version = "1", features = ["derive"] }}

# How `manyhands run` builds this crate.
[profile.guest]
{profile}
# Not part of a workspace around it.
[workspace]
"#
    )
}

/// The new crate's code, which `cargo test` and `manyhands run` accept as it is.
const LIB: &str = include_str!("../../templates/guest.rs");

fn readme(name: &str) -> String {
    let run = format!("manyhands run . --params '{EXAMPLE_PARAMS}'");
    let check = format!("manyhands check . --params '{EXAMPLE_PARAMS}'");
    format!(
        "# {name}\n\nA job for [Manyhands](https://github.com/manyhands/manyhands).\n\n```sh\n\
         {test:<48}# natively\n\
         {run:<48}# on all cores of this machine\n\
         {check:<48}# the same bytes however it is cut\n```\n",
        test = "cargo test",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_crates() {
        assert_eq!(
            crate_name(Path::new("../jobs/my-job_2")).unwrap(),
            "my-job_2"
        );
        for bad in ["", "2fast", "a b", "..", "é"] {
            assert!(crate_name(Path::new(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_sdk_is_found_around_the_crate() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert_eq!(checkout(&root.join("mine")), None);
        std::fs::create_dir(root.join("guest-sdk")).unwrap();
        std::fs::write(
            root.join("guest-sdk/Cargo.toml"),
            "[package]\nname = \"manyhands-guest-sdk\"\n",
        )
        .unwrap();
        let destination = root.join("jobs/mine");
        assert_eq!(
            SdkSource::find(&destination),
            SdkSource::Path("../../guest-sdk".into())
        );
        assert!(sdk_folder(root).is_err());
        assert!(
            sdk_folder(&root.join("guest-sdk"))
                .unwrap()
                .ends_with("/guest-sdk")
        );
    }

    #[test]
    fn manifests_name_the_sdk() {
        let text = manifest("mine", &SdkSource::Version("0.1.0"));
        assert!(
            text.contains("PATH` writes it.\nmanyhands-guest-sdk = \"0.1.0\""),
            "{text}"
        );
        assert!(
            text.contains("[profile.guest]\ninherits = \"release\"\n"),
            "{text}"
        );
        let text = manifest("mine", &SdkSource::Path("../guest-sdk".into()));
        assert!(
            text.contains("manyhands-guest-sdk = { path = \"../guest-sdk\" }"),
            "{text}"
        );
    }
}
