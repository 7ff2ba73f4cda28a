//! Finds the files of `--input`: folders are walked, each file gets the path
//! that decides its place. Reads no contents.

use crate::error::Error;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A file of a job's inputs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Input {
    /// Its path in the job: the last name of the argument, and what lies below,
    /// joined by `/`. The same on every machine, wherever the folder stands.
    pub(crate) name: String,
    /// Where it is read.
    pub(crate) path: PathBuf,
}

/// All files of `arguments`, in the bytewise order of their names. Links to
/// files are followed, links to folders are not (they may lead in circles).
///
/// # Errors
/// When one cannot be read, when two have the same name, or when there is none.
pub(crate) fn find(arguments: &[PathBuf]) -> Result<Vec<Input>, Error> {
    find_if(arguments, |_| true)
}

/// As [`find`], of the files that `wanted` chooses by name.
///
/// # Errors
/// As [`find`].
pub(crate) fn find_if(
    arguments: &[PathBuf],
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Input>, Error> {
    let mut found = BTreeMap::new();
    for argument in arguments {
        let name = last_name(argument)?;
        let metadata = argument
            .metadata()
            .map_err(|source| Error::read(argument, source))?;
        let mut left = vec![(name, argument.clone(), metadata.is_dir())];
        while let Some((name, path, is_folder)) = left.pop() {
            if is_folder {
                entries(&name, &path, &mut left)?;
            } else if wanted(&name) {
                add(&mut found, name, path)?;
            }
        }
    }
    if found.is_empty() && !arguments.is_empty() {
        let place = arguments[0].clone();
        return Err(Error::NoInputs { place });
    }
    let inputs = found.into_iter().map(|(name, path)| Input { name, path });
    Ok(inputs.collect())
}

fn add(found: &mut BTreeMap<String, PathBuf>, name: String, path: PathBuf) -> Result<(), Error> {
    match found.insert(name.clone(), path.clone()) {
        Some(first) if first != path => Err(Error::SameName {
            name,
            first,
            second: path,
        }),
        _ => Ok(()),
    }
}

/// What `argument` is called, whether it is `corpus`, `../corpus/` or `.`.
fn last_name(argument: &Path) -> Result<String, Error> {
    let read = |source| Error::read(argument, source);
    let name = match argument.file_name() {
        Some(name) => name.to_owned(),
        None => {
            let whole = argument.canonicalize().map_err(read)?;
            whole.file_name().unwrap_or(whole.as_os_str()).to_owned()
        }
    };
    name.into_string().map_err(|_| Error::FileName {
        path: argument.to_owned(),
    })
}

/// The entries of one folder: name, path, and whether it is a folder itself.
fn entries(
    name: &str,
    folder: &Path,
    left: &mut Vec<(String, PathBuf, bool)>,
) -> Result<(), Error> {
    let read = |source| Error::read(folder, source);
    for entry in folder.read_dir().map_err(read)? {
        let entry = entry.map_err(read)?;
        let path = entry.path();
        let kind = entry.file_type().map_err(read)?;
        let last = entry.file_name().into_string();
        let last = last.map_err(|_| Error::FileName { path: path.clone() })?;
        let is_file = kind.is_file() || (kind.is_symlink() && path.is_file());
        if kind.is_dir() || is_file {
            left.push((format!("{name}/{last}"), path, kind.is_dir()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn names(arguments: &[PathBuf]) -> Vec<String> {
        find(arguments)
            .unwrap()
            .into_iter()
            .map(|input| input.name)
            .collect()
    }

    #[test]
    fn folders_are_walked_in_bytewise_order() {
        let folder = tempfile::tempdir().unwrap();
        let corpus = folder.path().join("corpus");
        fs::create_dir_all(corpus.join("a")).unwrap();
        for name in ["b", "a/z", "a-1", "B"] {
            fs::write(corpus.join(name), name).unwrap();
        }
        let expected = ["corpus/B", "corpus/a-1", "corpus/a/z", "corpus/b"];
        assert_eq!(names(std::slice::from_ref(&corpus)), expected);
        assert_eq!(
            names(&[corpus.join("a/..").canonicalize().unwrap()]),
            expected
        );
        assert_eq!(names(&[corpus.join("b"), corpus.join("a/z")]), ["b", "z"]);
        // Named twice is still one file.
        assert_eq!(names(&[corpus.join("b"), corpus.join("b")]), ["b"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_to_files_count_and_links_to_folders_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("in");
        fs::create_dir(&root).unwrap();
        fs::write(folder.path().join("text"), "x").unwrap();
        std::os::unix::fs::symlink("../text", root.join("link")).unwrap();
        std::os::unix::fs::symlink("..", root.join("circle")).unwrap();
        assert_eq!(names(&[root]), ["in/link"]);
    }

    #[test]
    fn what_cannot_be_taken_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let text = |arguments: &[PathBuf]| find(arguments).unwrap_err().to_string();
        let missing = folder.path().join("missing");
        let shown = missing.display();
        assert_eq!(
            text(std::slice::from_ref(&missing)),
            format!("cannot read {shown}: no such file or directory")
        );
        assert!(text(&[folder.path().to_owned()]).contains("holds no file"));
        for side in ["l", "r"] {
            fs::create_dir(folder.path().join(side)).unwrap();
            fs::write(folder.path().join(side).join("same"), "").unwrap();
        }
        let both = ["l/same", "r/same"].map(|path| folder.path().join(path));
        assert!(
            text(&both).contains("both called \"same\""),
            "{}",
            text(&both)
        );
    }
}
