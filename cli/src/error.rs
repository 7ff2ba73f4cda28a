//! Every error that a command ends with: what happened, where, what to do, and
//! the exit code that programs see.

use crate::cuttings::{Difference, Fault};
use crate::report;
use manyhands_client::{ClientError, plain};
use manyhands_coordinator::{self as coordinator, ApiError, BlobError};
use manyhands_engine::admit::Refusal;
use manyhands_protocol::{JobId, SplitError};
use manyhands_worker_native as native;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What a program learns from a command's end; said in `--help`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// A guest failed, a job has no result, a check found a difference.
    Job = 1,
    /// What was asked for cannot be: options, module, parameters, inputs.
    Usage = 2,
    /// The coordinator cannot be reached, or a file not be read or written.
    Io = 3,
    /// Ctrl-C.
    Interrupted = 130,
}

/// The text of `--help` about exit codes.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    the job failed or was cancelled, or `check` found a difference
  2    what was asked for cannot be: options, module, parameters, inputs, ids
  3    the coordinator cannot be reached or has no space left, or a file cannot be
       read or written
  130  interrupted; the job was cancelled";

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file cannot be read.
    #[error("cannot read {}: {}", .path.display(), plain(.source))]
    Read { path: PathBuf, source: io::Error },
    /// A file cannot be written.
    #[error("cannot write {}: {}", .path.display(), plain(.source))]
    Write { path: PathBuf, source: io::Error },
    /// `--params` is not JSON.
    #[error("{place} is not JSON: {source}")]
    Params {
        place: String,
        source: serde_json::Error,
    },
    /// No file below the inputs.
    #[error("{} holds no file to take as input", .place.display())]
    NoInputs { place: PathBuf },
    /// Two inputs with the same path in the job.
    #[error(
        "two inputs are both called \"{name}\": {} and {}; name a folder that holds both",
        .first.display(), .second.display()
    )]
    SameName {
        name: String,
        first: PathBuf,
        second: PathBuf,
    },
    /// A name that other machines could not write.
    #[error("the name of {} is not UTF-8: rename it", .path.display())]
    FileName { path: PathBuf },
    /// An input has no end of a task.
    #[error("cannot cut {}: {source}", .path.display())]
    Cut { path: PathBuf, source: SplitError },
    /// The guest's tasks are records.
    #[error("this module's tasks are the records of an input: add --input FILE|DIR")]
    InputMissing,
    /// The guest's tasks are numbered by itself.
    #[error("this module takes no input: leave out --input")]
    InputUnwanted,

    /// MODULE is a folder without a crate.
    #[error("{} holds no Cargo.toml: name a guest crate's folder or a .wasm file", .folder.display())]
    NoCrate { folder: PathBuf },
    /// cargo does not start.
    #[error("cannot start cargo to build the guest: {}; install Rust from https://rustup.rs", plain(.source))]
    NoCargo { source: io::Error },
    /// cargo has shown its own errors before.
    #[error(
        "cannot build {}: see cargo's errors above (if the target is missing: \
         rustup target add wasm32-unknown-unknown)",
        .folder.display()
    )]
    Build { folder: PathBuf },
    /// The crate is a library for others only.
    #[error(
        "{} builds no module of its own: its Cargo.toml needs [lib] crate-type = [\"cdylib\"], and it \
         must name one crate, not a workspace",
        .folder.display()
    )]
    NoModule { folder: PathBuf },
    /// Admission refuses it.
    #[error("{module} is no guest: {source}")]
    Refused { module: String, source: Refusal },
    /// No thread for guests.
    #[error("cannot start a thread: {}", plain(.source))]
    Thread { source: io::Error },
    /// The process for guests does not start.
    #[error("cannot start {} to run guests: {}", .program.display(), plain(.source))]
    Child { program: PathBuf, source: io::Error },
    /// The guest failed under `check`.
    #[error("{}", fault(.0))]
    Fault(Fault),
    /// `check` of a job that cannot be cut.
    #[error("nothing to compare: give parameters for at least 2 tasks, this job has {tasks}")]
    NothingToCompare { tasks: u64 },
    /// `check` came to no comparison.
    #[error("nothing was compared within --time: {place} ran when it was up")]
    NothingInTime { place: String },
    /// The guest breaks its author's contract.
    #[error("{difference}{reasons}")]
    Differs {
        difference: Difference,
        reasons: &'static str,
    },

    /// The coordinator refuses, or is not there.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A coordinator in this process refuses a job.
    #[error(transparent)]
    Submit(#[from] ApiError),
    /// The port is taken.
    #[error(
        "{address} is occupied, perhaps by another coordinator: stop that one, or choose another \
         address with --listen (port 0 takes a free one)"
    )]
    Occupied { address: SocketAddr },
    /// The data folder is another's.
    #[error("another coordinator uses the folder {}: choose another with --data", .folder.display())]
    FolderInUse { folder: PathBuf },
    /// `--ephemeral` on a folder that has a journal.
    #[error(
        "{} holds the journal of a coordinator, whose results --ephemeral would throw away: choose \
         another folder with --data, or none",
        .folder.display()
    )]
    EphemeralOverJournal { folder: PathBuf },
    /// A key that can be guessed.
    #[error(
        "the key has {length} characters, and others can reach {address}: take at least {least}, or \
         leave --key and MANYHANDS_KEY out for a random one"
    )]
    ShortKey {
        length: usize,
        least: usize,
        address: SocketAddr,
    },
    /// A coordinator does not start.
    #[error(transparent)]
    Coordinator(coordinator::StartError),
    /// A coordinator closed by itself.
    #[error(
        "the coordinator has ended by itself; why is said above. Nothing that it acknowledged is lost: start it again on the \
         same folder"
    )]
    CoordinatorEnded,
    /// Nowhere to keep data.
    #[error("this system names no folder for data: choose one with --data")]
    NoDataFolder,
    /// `worker` without a place.
    #[error("name the coordinator: manyhands worker URL, or set MANYHANDS_COORDINATOR")]
    NoUrl,
    /// `worker --memory` that no job fits into.
    #[error("{}: a worker needs at least {} for guests and their inputs", report::memory(*.given), report::memory(*.least))]
    LittleMemory { given: u64, least: u64 },
    /// `--threads` for another machine.
    #[error(
        "--threads is for a run on this machine alone, and {named_by} names a coordinator: add --here, \
         or leave --threads out"
    )]
    ThreadsElsewhere { named_by: &'static str },
    /// `--detach` from oneself.
    #[error("--detach needs a coordinator that goes on: name one with --coordinator URL")]
    DetachHere,
    /// A worker does not start.
    #[error(transparent)]
    StartWorker(#[from] native::StartError),
    /// A worker cannot go on.
    #[error(transparent)]
    Worker(#[from] native::RunError),
    /// The coordinator wants this worker no more.
    #[error("the coordinator has ended this worker's session: {reason}")]
    WorkerEnded { reason: String },
    /// The job failed.
    #[error("job {id} ({name}) failed: {text}")]
    JobFailed {
        id: JobId,
        name: String,
        text: String,
    },
    /// Somebody else cancelled it.
    #[error("job {id} ({name}) was cancelled")]
    JobCancelled { id: JobId, name: String },
    /// There is no result yet.
    #[error("job {id} ({name}) has no result yet: it is {state}; `manyhands show {id}` tells more")]
    NotDone {
        id: JobId,
        name: String,
        state: String,
    },
    /// Ctrl-C.
    #[error("interrupted{}", .cancelled.map_or(String::new(), |id| format!("; job {id} is cancelled")))]
    Interrupted { cancelled: Option<JobId> },
    /// Ctrl-C, and the coordinator cannot be told.
    #[error(
        "interrupted, but job {id} goes on: {source}; `manyhands cancel {id}` takes it back later"
    )]
    NotCancelled { id: JobId, source: ClientError },
    /// The demo's guests are not built.
    #[error(
        "{} is missing: `cargo xtask demo`, in a checkout of Manyhands, builds what the show needs and \
         then runs it (the first time takes some ten minutes, nearly all of it compiling)",
        .path.display()
    )]
    NoGuest { path: PathBuf },
    /// The demo has nothing to count.
    #[error("there are no sources in {}: name a folder of texts with --corpus", .path.display())]
    NoCorpus { path: PathBuf },

    /// `new` over something.
    #[error("{} is there already: choose another name", .path.display())]
    Exists { path: PathBuf },
    /// `new` with a name that cargo refuses.
    #[error(
        "\"{name}\" is no name for a crate: use ASCII letters, digits, - and _, beginning with a letter"
    )]
    CrateName { name: String },
    /// `--sdk` elsewhere.
    #[error("{} is not the folder of manyhands-guest-sdk", .path.display())]
    NoSdk { path: PathBuf },
}

impl Error {
    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write {
            path: path.to_owned(),
            source,
        }
    }

    /// What a program learns of it.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Client(error) => of_client(error),
            Self::Submit(ApiError::Unavailable(_) | ApiError::NoSpace(_)) => Exit::Io,
            Self::Occupied { .. }
            | Self::FolderInUse { .. }
            | Self::Child { .. }
            | Self::Coordinator(_)
            | Self::CoordinatorEnded
            | Self::StartWorker(native::StartError::Child(_))
            | Self::Worker(_)
            | Self::WorkerEnded { .. } => Exit::Io,
            Self::JobFailed { .. } | Self::JobCancelled { .. } | Self::NotDone { .. } => Exit::Job,
            Self::Interrupted { .. } | Self::NotCancelled { .. } => Exit::Interrupted,
            Self::Read { .. } | Self::Write { .. } | Self::NoCargo { .. } | Self::Thread { .. } => {
                Exit::Io
            }
            Self::Fault(_) | Self::Differs { .. } | Self::NothingInTime { .. } => Exit::Job,
            _ => Exit::Usage,
        }
    }

    /// Tells a person, and a program if one asked, and ends with the code.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        if !self.is_reader_gone() {
            let text = without_number(&self.to_string());
            eprintln!("error: {text}");
            if json {
                let error = serde_json::json!({
                    "error": { "exit": self.exit() as u8, "message": text }
                });
                // Whoever does not read it has the exit code.
                let _ = crate::print::answer(true, &error, String::new);
            }
        }
        ExitCode::from(self.exit() as u8)
    }

    /// Whether nobody reads standard output any more (`manyhands jobs | head -1`):
    /// there is nothing to tell.
    fn is_reader_gone(&self) -> bool {
        matches!(self, Self::Write { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }
}

fn of_client(error: &ClientError) -> Exit {
    match error {
        ClientError::Url(_) | ClientError::Encrypted(_) => Exit::Usage,
        ClientError::Forgotten(_) => Exit::Job,
        ClientError::Refused(body) => match body.code.as_str() {
            "unavailable" | "no_space" => Exit::Io,
            "not_done" => Exit::Job,
            _ => Exit::Usage,
        },
        _ => Exit::Io,
    }
}

impl From<coordinator::StartError> for Error {
    fn from(error: coordinator::StartError) -> Self {
        match error {
            coordinator::StartError::Listen { address, source }
                if source.kind() == io::ErrorKind::AddrInUse =>
            {
                Self::Occupied { address }
            }
            coordinator::StartError::Data(BlobError::InUse { folder }) => {
                Self::FolderInUse { folder }
            }
            other => Self::Coordinator(other),
        }
    }
}

/// What went wrong with a guest under `check`, and what to do.
fn fault(fault: &Fault) -> String {
    match fault {
        Fault::Failed {
            place,
            task: None,
            failure,
        } => format!("{place}: {}", report::failure(None, failure)),
        Fault::Failed { task, failure, .. } => report::failure(*task, failure),
        other => other.to_string(),
    }
}

/// An error's text without the system's number: the words before it say the same.
fn without_number(text: &str) -> String {
    let mut left = text;
    let mut clean = String::with_capacity(text.len());
    while let Some((before, rest)) = left.split_once(" (os error ") {
        clean.push_str(before);
        left = rest.split_once(')').map_or("", |(_, after)| after);
    }
    clean + left
}

#[cfg(test)]
mod tests {
    use super::*;
    use manyhands_protocol::api::ErrorBody;

    #[test]
    fn numbers_of_the_system_are_left_out() {
        let text = "a: Permission denied (os error 13); b (os error 2)";
        assert_eq!(without_number(text), "a: Permission denied; b");
        assert_eq!(without_number("plain (text)"), "plain (text)");
    }

    #[test]
    fn a_full_disk_of_the_coordinator_is_no_fault_of_the_job() {
        let body = ErrorBody {
            code: "no_space".into(),
            message: "no space is left in the data folder /d: free some and try again".into(),
        };
        let error = Error::Client(ClientError::Refused(body));
        assert_eq!(error.exit(), Exit::Io);
        let forgotten = Error::Client(ClientError::Forgotten(JobId(7)));
        assert_eq!(forgotten.exit(), Exit::Job);
    }
}
