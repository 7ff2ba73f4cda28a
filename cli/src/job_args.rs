//! The options that describe a job, shared by `run` and `check`, and how their
//! texts are read.

use crate::error::Error;
use crate::size::{Size, SizeError, duration};
use bytes::Bytes;
use clap::{Args, ValueHint};
use manyhands_protocol::limits::DEFAULT_TASK_TIMEOUT_MS;
use manyhands_protocol::{JobId, Split};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a job is made of, besides its module.
#[derive(Args, Clone, Debug)]
pub(crate) struct JobArgs {
    /// The guest's parameters: JSON, or @FILE to read it from a file [default: {}]
    #[arg(long, value_name = "JSON|@FILE")]
    pub(crate) params: Option<String>,

    /// Input files, or folders whose files are all taken; may be repeated
    #[arg(long, value_name = "FILE|DIR", num_args = 1.., value_hint = ValueHint::AnyPath)]
    pub(crate) input: Vec<PathBuf>,

    /// How the input is cut into tasks: `lines` (one line a task), `file` (one
    /// file a task), or a size such as 64KiB (whole lines of at least that)
    #[arg(long, value_name = "lines|file|SIZE", value_parser = split, requires = "input", default_value = "1MiB")]
    pub(crate) split: Split,

    /// A file that every task may read under NAME; may be repeated
    #[arg(long, value_name = "NAME=PATH", value_parser = named_file)]
    pub(crate) file: Vec<NamedFile>,

    /// Memory a guest may have, at most 4GiB
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    pub(crate) memory: Size,

    /// How long one task may run; one that takes longer fails the job, which
    /// names it [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) task_timeout: Option<Duration>,
}

/// A broadcast file of the command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NamedFile {
    /// What the guest asks for.
    pub(crate) name: String,
    /// Where it is read.
    pub(crate) path: PathBuf,
}

/// A text that is no `NAME=PATH`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("write NAME=PATH, the name that the guest asks for and the file's place")]
pub(crate) struct NamedFileError;

/// A text that is no `--split`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("write lines (one line a task), file (one file a task), or a size such as 64KiB")]
pub(crate) struct SplitArgError;

/// A text that is no job's number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a job's number, as `manyhands jobs` shows")]
pub(crate) struct JobIdError;

/// Reads the number of a job.
pub(crate) fn job_id(text: &str) -> Result<JobId, JobIdError> {
    text.parse().map(JobId).map_err(|_| JobIdError)
}

/// Reads `--split`.
fn split(text: &str) -> Result<Split, SplitArgError> {
    match text {
        "lines" => Ok(Split::Lines),
        "file" => Ok(Split::File),
        size => match size.parse() {
            Ok(Size(0)) | Err(SizeError) => Err(SplitArgError),
            Ok(Size(size)) => Ok(Split::Size(size)),
        },
    }
}

/// Reads `--file`.
fn named_file(text: &str) -> Result<NamedFile, NamedFileError> {
    let (name, path) = text.split_once('=').ok_or(NamedFileError)?;
    if name.is_empty() || path.is_empty() {
        return Err(NamedFileError);
    }
    Ok(NamedFile {
        name: name.to_owned(),
        path: path.into(),
    })
}

impl JobArgs {
    /// The parameters as a value; `{}` where none were given.
    ///
    /// # Errors
    /// When a file cannot be read or the text is not JSON.
    pub(crate) fn params(&self) -> Result<Value, Error> {
        let Some(text) = &self.params else {
            return Ok(Value::Object(serde_json::Map::new()));
        };
        let (text, place) = match text.strip_prefix('@') {
            None => (text.clone(), "--params".to_owned()),
            Some(path) => {
                let read = std::fs::read_to_string(path);
                let text = read.map_err(|source| Error::read(Path::new(path), source))?;
                (text, path.to_owned())
            }
        };
        serde_json::from_str(&text).map_err(|source| Error::Params { place, source })
    }

    /// The parameters as guests get them: keys sorted, no white space.
    ///
    /// # Errors
    /// As [`params`](Self::params).
    pub(crate) fn canonical_params(&self) -> Result<Vec<u8>, Error> {
        let mut params = self.params()?;
        params.sort_all_objects();
        Ok(params.to_string().into_bytes())
    }

    /// The broadcast files, read.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(crate) fn files(&self) -> Result<BTreeMap<String, Bytes>, Error> {
        let read = |file: &NamedFile| {
            let bytes =
                std::fs::read(&file.path).map_err(|source| Error::read(&file.path, source))?;
            Ok((file.name.clone(), bytes.into()))
        };
        self.file.iter().map(read).collect()
    }

    /// The limit on one task in milliseconds.
    pub(crate) fn task_timeout_ms(&self) -> u64 {
        let given = self.task_timeout.map(|limit| limit.as_millis() as u64);
        given.unwrap_or(DEFAULT_TASK_TIMEOUT_MS)
    }

    /// The split, for a job that has inputs.
    pub(crate) fn split(&self) -> Option<Split> {
        (!self.input.is_empty()).then_some(self.split)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use serde_json::json;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        job: JobArgs,
    }

    fn job(words: &[&str]) -> JobArgs {
        let line = Line::try_parse_from(std::iter::once(&"job").chain(words));
        line.unwrap_or_else(|error| panic!("{error}")).job
    }

    #[test]
    fn splits() {
        assert_eq!(split("lines"), Ok(Split::Lines));
        assert_eq!(split("file"), Ok(Split::File));
        assert_eq!(split("64KiB"), Ok(Split::Size(65_536)));
        assert_eq!(split("0"), Err(SplitArgError));
        assert_eq!(split("paragraphs"), Err(SplitArgError));
    }

    #[test]
    fn defaults() {
        let job = job(&[]);
        assert_eq!(job.params().unwrap(), json!({}));
        assert_eq!(job.memory, Size(manyhands_protocol::limits::DEFAULT_MEMORY));
        assert_eq!(job.task_timeout_ms(), 60_000);
        assert_eq!(job.split(), None, "no input, no split");
    }

    #[test]
    fn inputs_are_whole_lines_of_a_mebibyte_unless_said_otherwise() {
        assert_eq!(job(&["--input", "a", "b"]).split(), Some(Split::default()));
        let lines = job(&["--input", "a", "--split", "lines"]);
        assert_eq!(lines.split(), Some(Split::Lines));
        assert!(
            Line::try_parse_from(["job", "--split", "lines"]).is_err(),
            "nothing to split"
        );
    }

    #[test]
    fn parameters_come_as_text_or_from_a_file() {
        let given = job(&["--params", r#"{"n": 3, "a": {"z": 1, "b": 2}}"#]);
        assert_eq!(
            given.params().unwrap(),
            json!({"n": 3, "a": {"z": 1, "b": 2}})
        );
        assert_eq!(
            given.canonical_params().unwrap(),
            br#"{"a":{"b":2,"z":1},"n":3}"#
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[1, 2]").unwrap();
        let at = format!("@{}", file.path().display());
        assert_eq!(job(&["--params", &at]).params().unwrap(), json!([1, 2]));

        let error = job(&["--params", "{n: 3}"])
            .params()
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("--params is not JSON: key must be a string"),
            "{error}"
        );
        let error = job(&["--params", "@/no/such"])
            .params()
            .unwrap_err()
            .to_string();
        assert_eq!(error, "cannot read /no/such: no such file or directory");
    }

    #[test]
    fn files_have_names() {
        let model = NamedFile {
            name: "model".into(),
            path: "a=b.bin".into(),
        };
        assert_eq!(named_file("model=a=b.bin"), Ok(model));
        for text in ["model", "=path", "model="] {
            assert_eq!(named_file(text), Err(NamedFileError), "{text}");
        }
    }
}
