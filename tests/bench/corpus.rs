//! Real text of any size: what people wrote, as far as cargo has downloaded it to
//! build this. The same bytes on one machine, each time.

use std::fs;
use std::path::{Path, PathBuf};

/// Endings of files that people write.
const TEXTS: [&str; 7] = ["rs", "md", "txt", "toml", "html", "c", "h"];

/// `len` bytes of it: file after file in the order of their paths, begun anew
/// where they do not suffice.
///
/// # Panics
/// When there is none.
pub(crate) fn text(len: usize) -> Vec<u8> {
    let home = || std::env::home_dir().map(|home| home.join(".cargo"));
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let sources = cargo.or_else(home).expect("a home folder");
    let mut files = Vec::new();
    find(&sources.join("registry/src"), &mut files);
    files.sort();
    let mut text = Vec::with_capacity(len);
    while text.len() < len {
        let before = text.len();
        for file in &files {
            let bytes = fs::read(file).expect("a text can be read");
            let room = len - text.len();
            text.extend_from_slice(&bytes[..bytes.len().min(room)]);
            if text.len() == len {
                break;
            }
        }
        assert!(text.len() > before, "no text in {}", sources.display());
    }
    text
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("cargo's sources can be listed") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            find(&path, files);
        } else if path
            .extension()
            .is_some_and(|ending| TEXTS.iter().any(|text| *text == ending))
        {
            files.push(path);
        }
    }
}
