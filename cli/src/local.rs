//! A coordinator and a worker inside this process: what `run` uses when there is
//! no coordinator, and `demo` shows.

use crate::error::Error;
use manyhands_client::Client;
use manyhands_coordinator::{Config, Coordinator, InPlace};
use manyhands_engine::compute;
use manyhands_protocol::BlobHash;
use manyhands_worker_native::{self as native, End, FileRange, Inputs, Nearby, Worker};
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The hidden subcommand that runs guests.
pub(crate) const COMPUTE_CHILD: &str = "compute-child";

/// How long a worker may take to leave when its work is over anyway.
const PARTING: Duration = Duration::from_millis(500);

/// This program, and the arguments that make it a compute child.
///
/// # Errors
/// When the system does not tell where this program is.
pub(crate) fn compute_child() -> Result<(PathBuf, Vec<OsString>), Error> {
    let program = std::env::current_exe()
        .map_err(|source| Error::read(Path::new("this program's own path"), source))?;
    Ok((program, vec![COMPUTE_CHILD.into()]))
}

/// Where compiled code is kept from one start to the next.
pub(crate) fn code_cache() -> Option<PathBuf> {
    Some(dirs::cache_dir()?.join("manyhands").join("code"))
}

/// The compute child of a coordinator: it only opens, merges and finishes.
///
/// # Errors
/// As [`compute_child`].
pub(crate) fn coordinators_child(slots: usize) -> Result<compute::Config, Error> {
    let (program, args) = compute_child()?;
    Ok(compute::Config {
        program,
        args,
        slots,
        cache: code_cache(),
    })
}

/// The coordinator's inputs, which the worker reads where they lie.
#[derive(Debug)]
struct Here(InPlace);

impl Nearby for Here {
    fn find(&self, hash: BlobHash) -> Option<FileRange> {
        self.0.find(hash)
    }
}

/// A coordinator with one worker, both in this process.
pub(crate) struct Local {
    /// To submit files in place.
    pub(crate) coordinator: Coordinator,
    /// The way in for all else.
    pub(crate) client: Client,
    worker: Worker,
    worker_ended: bool,
    /// Kept, and removed at the end.
    _folder: tempfile::TempDir,
}

impl Local {
    /// Starts both, on a free port of this machine alone.
    ///
    /// # Errors
    /// When one of them does not start.
    pub(crate) async fn start(threads: Option<u16>) -> Result<Self, Error> {
        Self::start_at(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0), threads).await
    }

    /// Starts both, listening on `listen`.
    ///
    /// # Errors
    /// When one of them does not start.
    pub(crate) async fn start_at(listen: SocketAddr, threads: Option<u16>) -> Result<Self, Error> {
        let folder = tempfile::Builder::new().prefix("manyhands-").tempdir();
        let folder = folder.map_err(|source| Error::write(&std::env::temp_dir(), source))?;
        let config = Config {
            listen,
            // Whatever it does ends with this process.
            ephemeral: true,
            ..Config::new(folder.path().to_owned(), coordinators_child(1)?)
        };
        let coordinator = Coordinator::start(config).await?;
        let (program, args) = compute_child()?;
        let own = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), coordinator.addr().port());
        let link = if coordinator.addr().ip().is_unspecified() {
            format!("http://{own}/")
        } else {
            coordinator.url()
        };
        let mut config = native::Config::new(link.clone(), program, args);
        config.cache = code_cache();
        config.inputs = Inputs::Nearby(Arc::new(Here(coordinator.in_place())));
        config.threads = threads.unwrap_or(config.threads);
        let worker = Worker::start(config)?;
        let client = Client::new(&link, coordinator.key().map(str::to_owned))?;
        Ok(Self {
            coordinator,
            client,
            worker,
            worker_ended: false,
            _folder: folder,
        })
    }

    /// Waits until one of the two has ended by itself, which is an error.
    pub(crate) async fn broken(&mut self) -> Error {
        let outcome = tokio::select! {
            outcome = self.worker.finished() => outcome,
            () = self.coordinator.closed() => return Error::CoordinatorEnded,
        };
        self.worker_ended = true;
        match outcome {
            Ok(End::Closed { reason }) => Error::WorkerEnded { reason },
            Ok(End::Drained) => unreachable!("nobody has asked it to leave"),
            Err(error) => Error::Worker(error),
        }
    }

    /// Ends both.
    pub(crate) async fn shutdown(mut self) {
        if !self.worker_ended {
            self.worker.drain(PARTING);
            if let Err(error) = self.worker.finished().await {
                tracing::warn!(%error, "the worker did not leave in order");
            }
        }
        self.coordinator.shutdown().await;
    }
}
