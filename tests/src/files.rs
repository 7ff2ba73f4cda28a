//! Where cargo and xtask have put what the tests run: the binary and the
//! guests. Builds nothing.

use std::env;
use std::path::{Path, PathBuf};

/// The `manyhands` binary that was built with this test.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn manyhands() -> PathBuf {
    let name = format!("manyhands{}", env::consts::EXE_SUFFIX);
    built(&profile_folder().join(name), "cargo build -p manyhands-cli")
}

/// The module of a guest, by the name of its library: `guest("pi")`.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn guest(name: &str) -> PathBuf {
    let folder = env::var_os("MANYHANDS_GUESTS").map_or_else(
        || profile_folder().join("../wasm32-unknown-unknown/guest"),
        PathBuf::from,
    );
    built(&folder.join(format!("{name}.wasm")), "cargo xtask guests")
}

/// The folder of cargo's profile that this very test was built under.
fn profile_folder() -> PathBuf {
    let test = env::current_exe().expect("a running test has a file");
    let folder = test.ancestors().nth(2);
    folder.expect("cargo puts tests two folders down").into()
}

fn built(file: &Path, how: &str) -> PathBuf {
    assert!(
        file.is_file(),
        "{} is missing: run `cargo xtask test`, or `{how}` first",
        file.display()
    );
    file.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "run `cargo xtask test`, or `cargo xtask guests` first")]
    fn a_missing_guest_says_how_to_build_it() {
        let _ = guest("no such guest");
    }
}
