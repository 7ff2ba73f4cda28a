//! The folder that holds installed tools: one subfolder for each tool's
//! version, so that presence alone says that the version is right.

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result};

/// Names another folder than the user's cache.
const OVERRIDE: &str = "MANYHANDS_TOOLS";

/// Where tools are kept between runs, and between checkouts.
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `$MANYHANDS_TOOLS`, or `manyhands/tools` in the user's cache folder.
    pub(crate) fn locate() -> Result<Self> {
        let root = match std::env::var_os(OVERRIDE) {
            Some(folder) => PathBuf::from(folder),
            None => dirs::cache_dir()
                .with_context(|| format!("this user has no cache folder; set {OVERRIDE}"))?
                .join("manyhands/tools"),
        };
        Ok(Self { root })
    }

    /// The folder of one version of one tool.
    pub(crate) fn tool(&self, name: &str, version: &str) -> PathBuf {
        self.root.join(format!("{name}-{version}"))
    }

    /// Where cargo compiles the tools, so that they share what they depend on.
    pub(crate) fn build(&self) -> PathBuf {
        self.root.join("build")
    }

    /// Waits until no other process installs into this cache. The lock ends
    /// when the file is closed, also by a crash.
    pub(crate) fn lock(&self) -> Result<File> {
        let complaint = || format!("cannot write to {}", self.root.display());
        fs::create_dir_all(&self.root).with_context(complaint)?;
        let file = File::create(self.root.join("lock")).with_context(complaint)?;
        file.lock().with_context(complaint)?;
        Ok(file)
    }

    /// Removes the build folder: gigabytes that no later run asks for.
    pub(crate) fn clear_build(&self) {
        // What stays behind costs space and nothing else.
        let _ = fs::remove_dir_all(self.build());
    }

    #[cfg(test)]
    pub(crate) fn at(root: &std::path::Path) -> Self {
        Self { root: root.into() }
    }
}
