//! Compiled code on disk: kept, found again, and never trusted when damaged or
//! when others can write to it.

use super::guests::plain;
use crate::runtime::{Guest, Inputs, Program, Runtime, Settings, Silent};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn load(cache: &Path) -> Program {
    let settings = Settings {
        slots: 1,
        cache: Some(cache.to_owned()),
    };
    Runtime::new(&settings)
        .unwrap()
        .load(&plain(), 1 << 20)
        .unwrap()
}

fn works(program: &Program) {
    let mut guest =
        Guest::new(program, Inputs::default(), Arc::default(), Arc::new(Silent)).unwrap();
    guest.run(0, 1).unwrap();
    assert_eq!(guest.take().unwrap(), 1u64.to_le_bytes());
}

fn files(cache: &Path) -> Vec<PathBuf> {
    fs::read_dir(cache)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

#[test]
fn compiled_code_is_kept_and_found() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("code");
    works(&load(&cache));
    let [file] = files(&cache).try_into().unwrap();
    let written = fs::metadata(&file).unwrap().modified().unwrap();
    works(&load(&cache));
    assert_eq!(files(&cache), std::slice::from_ref(&file));
    assert_eq!(
        fs::metadata(&file).unwrap().modified().unwrap(),
        written,
        "found, not written again"
    );
}

#[test]
fn a_damaged_file_is_ignored_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("code");
    works(&load(&cache));
    let [file] = files(&cache).try_into().unwrap();
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for damaged in [&whole[..whole.len() / 2], &whole[..10], b"", &flipped] {
        fs::write(&file, damaged).unwrap();
        works(&load(&cache));
        assert_eq!(fs::read(&file).unwrap(), whole, "written anew");
    }
}

#[cfg(unix)]
#[test]
fn a_folder_that_others_can_write_to_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("code");
    fs::create_dir(&cache).unwrap();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).unwrap();
    works(&load(&cache));
    assert!(files(&cache).is_empty());
    let made = folder.path().join("made");
    works(&load(&made));
    assert_eq!(
        fs::metadata(&made).unwrap().permissions().mode() & 0o777,
        0o700
    );
}

#[test]
fn a_full_folder_loses_its_oldest_files() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("code");
    load(&cache);
    fs::remove_file(files(&cache).remove(0)).unwrap();
    for n in 0..300 {
        fs::write(cache.join(format!("{n}.tmp")), b"left behind").unwrap();
    }
    works(&load(&cache));
    let left = files(&cache);
    assert_eq!(left.len(), 256);
    assert!(left.iter().any(|file| {
        file.extension()
            .is_some_and(|extension| extension == "code")
    }));
}
