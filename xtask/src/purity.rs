//! Proves that the pure crates are pure: nothing they depend on reads a clock,
//! randomness or a socket. (That their own code does not is left to the
//! `clippy.toml` in each of their folders.)

use anyhow::{Result, bail, ensure};

use crate::run::{self, cargo};
use crate::workspace::PURE;

/// Crates through which a clock, randomness, threads, sockets or a browser
/// come in. A name that ends in `-` stands for all names that begin with it.
const IMPURE: [&str; 23] = [
    "ahash",
    "async-",
    "axum",
    "chrono",
    "fastrand",
    "futures-",
    "getrandom",
    "hyper",
    "js-sys",
    "mio",
    "nix",
    "quanta",
    "rand",
    "rayon",
    "reqwest",
    "rustix",
    "smol",
    "socket2",
    "time",
    "tokio",
    "tokio-",
    "wasm-bindgen",
    "web-",
];

/// Fails naming the first impure dependency.
pub(crate) fn check() -> Result<()> {
    for package in PURE {
        let tree = run::output(cargo().args([
            "tree",
            "--package",
            package,
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ]))?;
        let names: Vec<_> = tree
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        // A tree without its root is an answer to some other question.
        ensure!(names.first() == Some(&package), "cargo tree said:\n{tree}");
        if let Some(name) = names.iter().find(|name| is_impure(name)) {
            bail!(
                "{package} must stay pure, but depends on {name}: see `cargo tree -p {package} -i {name}`"
            );
        }
    }
    Ok(())
}

fn is_impure(name: &str) -> bool {
    IMPURE
        .iter()
        .any(|banned| name == *banned || (banned.ends_with('-') && name.starts_with(banned)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_family_is_banned_by_its_prefix() {
        assert!(is_impure("tokio"));
        assert!(is_impure("tokio-util"));
        assert!(is_impure("web-sys"));
        assert!(!is_impure("webbing"));
        assert!(!is_impure("bytes"));
    }
}
