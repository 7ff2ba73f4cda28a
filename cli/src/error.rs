//! Every error that a command ends with: what happened, where, what to do, and
//! the exit code that programs see.

use crate::cuttings::{Difference, Fault};
use manyhands_client::ClientError;
use manyhands_coordinator::{self as coordinator, ApiError};
use manyhands_engine::admit::Refusal;
use manyhands_engine::runtime::{LoadError, StartError};
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
  3    the coordinator cannot be reached, or a file cannot be read or written
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
    /// It cannot be compiled.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// There is no engine.
    #[error(transparent)]
    Engine(#[from] StartError),
    /// No thread for guests.
    #[error("cannot start a thread: {}", plain(.source))]
    Thread { source: io::Error },
    /// The guest failed under `check`.
    #[error(transparent)]
    Fault(Fault),
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
    /// A coordinator does not start.
    #[error(transparent)]
    Coordinator(coordinator::StartError),
    /// A coordinator closed by itself.
    #[error(
        "the coordinator has closed by itself: its data folder cannot be written any more (see above)"
    )]
    CoordinatorEnded,
    /// Nowhere to keep data.
    #[error("this system names no folder for data: choose one with --data")]
    NoDataFolder,
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
    /// The demo's guests are not built.
    #[error("{} is missing: `cargo xtask demo` builds it first", .path.display())]
    NoGuest { path: PathBuf },

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
            Self::Submit(ApiError::Unavailable(_)) => Exit::Io,
            Self::Occupied { .. }
            | Self::Coordinator(_)
            | Self::CoordinatorEnded
            | Self::StartWorker(native::StartError::Child(_))
            | Self::Worker(_)
            | Self::WorkerEnded { .. } => Exit::Io,
            Self::JobFailed { .. } | Self::JobCancelled { .. } | Self::NotDone { .. } => Exit::Job,
            Self::Interrupted { .. } => Exit::Interrupted,
            Self::Read { .. }
            | Self::Write { .. }
            | Self::NoCargo { .. }
            | Self::Engine(_)
            | Self::Thread { .. } => Exit::Io,
            Self::Fault(_) | Self::Differs { .. } => Exit::Job,
            _ => Exit::Usage,
        }
    }

    /// Tells a person, and a program if one asked, and ends with the code.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        if !self.is_reader_gone() {
            eprintln!("error: {self}");
            if json {
                let error = serde_json::json!({
                    "error": { "exit": self.exit() as u8, "message": self.to_string() }
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
        ClientError::Url(_) => Exit::Usage,
        ClientError::Refused(body) => match body.code.as_str() {
            "unavailable" => Exit::Io,
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
            other => Self::Coordinator(other),
        }
    }
}

/// The system's words without its error number, as part of a sentence.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    let mut letters = text[..end].chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}
