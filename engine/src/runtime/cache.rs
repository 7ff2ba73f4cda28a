//! Compiled code on disk. Loading compiled code is as trusting as running a
//! program, so only files that this machine's user wrote are read: from a
//! folder that nobody else may write to, under a name made of the module's hash
//! and wasmtime's own hash of version, settings and processor. A file that is
//! torn is noticed by its checksum and written anew.

use crate::admit::Admitted;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;
use wasmtime::{Engine, Module, Result};

const MAGIC: &[u8; 8] = b"MHCODE\x01\n";
const HEADER: usize = MAGIC.len() + blake3::OUT_LEN;
const EXTENSION: &str = "code";

/// Beyond this many files the oldest are removed.
const MAX_FILES: usize = 256;

/// A folder of compiled modules, safe to share between processes.
pub(super) struct CodeCache {
    folder: PathBuf,
    compatibility: String,
}

impl CodeCache {
    /// `None`, with a warning, where the folder is not this user's alone.
    pub(super) fn open(folder: &Path, engine: &Engine) -> Option<Self> {
        if let Err(error) = claim(folder) {
            tracing::warn!(folder = %folder.display(), %error, "compiled code is not cached");
            return None;
        }
        let mut hasher = Blake3(blake3::Hasher::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let compatibility = hasher.0.finalize().to_hex()[..32].to_owned();
        let folder = folder.to_owned();
        Some(Self {
            folder,
            compatibility,
        })
    }

    /// The module's compiled code: from disk, or compiled now and kept.
    pub(super) fn module(&self, engine: &Engine, admitted: &Admitted) -> Result<Module> {
        let path = self.folder.join(format!(
            "{}-{}.{EXTENSION}",
            admitted.hash, self.compatibility
        ));
        if let Some(module) = read(&path).and_then(|code| deserialize(engine, &code)) {
            return Ok(module);
        }
        let code = engine.precompile_module(&admitted.wasm)?;
        // A full disk costs a compilation next time, nothing else.
        if let Err(error) = self.write(&path, &code) {
            tracing::warn!(path = %path.display(), %error, "compiled code was not kept");
        }
        // SAFETY: this engine has just made these bytes.
        unsafe { Module::deserialize(engine, &code) }
    }

    /// Under its final name only once it is whole, whoever else writes it.
    fn write(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let temporary = self
            .folder
            .join(format!("{}-{count}.tmp", std::process::id()));
        let outcome = write_file(&temporary, code).and_then(|()| fs::rename(&temporary, path));
        if outcome.is_err() {
            // It may not exist: then there is nothing to remove.
            let _ = fs::remove_file(&temporary);
        }
        outcome.and_then(|()| self.prune())
    }

    /// Removes the oldest files past [`MAX_FILES`], and what a killed process
    /// left half-written.
    fn prune(&self) -> io::Result<()> {
        let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            // Another process may be pruning at the same time.
            if let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified()) {
                files.push((modified, entry.path()));
            }
        }
        files.sort();
        let excess = files.len().saturating_sub(MAX_FILES);
        for (_, path) in files.into_iter().take(excess) {
            let _ = fs::remove_file(path);
        }
        Ok(())
    }
}

fn write_file(path: &Path, code: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create_new(path)?;
    file.write_all(MAGIC)?;
    file.write_all(blake3::hash(code).as_bytes())?;
    file.write_all(code)
}

/// The code in a file that is whole; `None` otherwise.
fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = fs::read(path).ok()?;
    let (magic, rest) = bytes.split_at_checked(MAGIC.len())?;
    let (checksum, code) = rest.split_at_checked(blake3::OUT_LEN)?;
    if magic != MAGIC || checksum != blake3::hash(code).as_bytes() {
        tracing::debug!(path = %path.display(), "ignoring a damaged file of compiled code");
        return None;
    }
    bytes.drain(..HEADER);
    Some(bytes)
}

fn deserialize(engine: &Engine, code: &[u8]) -> Option<Module> {
    // SAFETY: only this user can write to the folder, and the checksum says that
    // the bytes are what `write_file` was given: this engine's own output, for
    // its compatibility hash is in the name.
    let module = unsafe { Module::deserialize(engine, code) };
    module
        .inspect_err(|error| tracing::debug!(%error, "ignoring compiled code"))
        .ok()
}

/// Makes the folder, for this user alone, or checks that it is.
#[cfg(unix)]
fn claim(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let metadata = fs::metadata(folder)?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("the folder belongs to another user"));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(io::Error::other("others may write to the folder"));
    }
    Ok(())
}

/// Elsewhere the folder lies in the user's profile, which is protected.
#[cfg(not(unix))]
fn claim(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

/// wasmtime gives something to hash, not a hash; the standard hasher may
/// change with each Rust.
struct Blake3(blake3::Hasher);

impl Hasher for Blake3 {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
    fn finish(&self) -> u64 {
        let hash = self.0.finalize();
        u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("32 bytes"))
    }
}
