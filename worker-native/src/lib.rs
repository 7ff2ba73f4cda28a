//! The native worker: a socket to the coordinator, a pure session, a compute
//! child for the guests, and a thin driver between the three.
//!
//! - [`Worker`]: starts all of it, tells how it stands, drains.
//! - `driver`: the loop around [`manyhands_worker_core::Session`].
//! - `socket`: one WebSocket connection, off the driver's path.
//! - `rooms`: where blobs gather, so that the child need not be sent them.
//! - `nearby`: blobs that need not be sent.
//! - `machine`: what this machine is called and has.
//!
//! What to compute, and when to reconnect, is decided in the session; guests run
//! in the child alone.

mod driver;
mod machine;
mod nearby;
mod rooms;
mod socket;
mod url;
mod wording;

use driver::{Command, Driver};
use manyhands_engine::open_files;
pub use manyhands_engine::part::FileRange;
pub use manyhands_worker_core::{ConnectionView, End, LeaseView, View};
pub use nearby::Nearby;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;
pub use url::UrlError;

/// How a worker is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The coordinator: the link that volunteers get, `http://HOST:PORT/`.
    pub url: String,
    /// What the coordinator's people see.
    pub name: String,
    /// Threads that compute, 1 to 4096.
    pub threads: u16,
    /// Bytes of memory for guests and inputs together.
    pub memory: u64,
    /// Where compiled code is kept from one start to the next; `None` for
    /// nowhere. Several workers may share it.
    pub cache: Option<PathBuf>,
    /// Where inputs lie that need not be sent.
    pub inputs: Inputs,
    /// The executable that calls [`manyhands_engine::child::main`]: as a rule
    /// this process's own.
    pub child_program: PathBuf,
    /// The arguments that make it do so.
    pub child_args: Vec<OsString>,
}

impl Config {
    /// All threads of this machine and most of its memory, under its own name,
    /// without a cache.
    #[must_use]
    pub fn new(url: impl Into<String>, child_program: PathBuf, child_args: Vec<OsString>) -> Self {
        Self {
            url: url.into(),
            name: machine::name(),
            threads: machine::threads(),
            memory: machine::memory(),
            cache: None,
            inputs: Inputs::Shared,
            child_program,
            child_args,
        }
    }
}

/// Where a worker has its inputs from.
#[derive(Clone, Debug)]
pub enum Inputs {
    /// The coordinator's files, where it is on the same machine and hands them over;
    /// else they are sent.
    Shared,
    /// All are sent, whichever machine it is on, and kept in memory for the next job.
    Sent,
    /// They lie where this says; what does not is sent.
    Nearby(Arc<dyn Nearby>),
}

/// Why a worker does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The URL is no coordinator's.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The compute child's executable cannot be started.
    #[error("the compute process cannot be started: {0}")]
    Child(#[source] io::Error),
    /// A thread that reads inputs cannot be started.
    #[error("the thread that reads inputs cannot be started: {0}")]
    Thread(#[source] io::Error),
    /// No such number of threads.
    #[error("{0} threads: give 1 to {max}", max = manyhands_protocol::limits::MAX_SLOTS)]
    Threads(u16),
}

/// Why a worker that ran has ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The compute child dies as often as it is started.
    #[error("the compute process cannot be kept running: {0}")]
    Child(String),
    /// The driver broke one of its own invariants, which it has reported.
    #[error("the worker has stopped because of a defect of its own")]
    Defect,
}

/// A running worker. Dropping it ends it at once, without a goodbye.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use manyhands_worker_native::{Config, Worker};
/// use std::time::Duration;
///
/// let child = (std::env::current_exe()?, vec!["compute-child".into()]);
/// let mut worker = Worker::start(Config::new("http://127.0.0.1:7272/", child.0, child.1))?;
/// tokio::signal::ctrl_c().await?;
/// worker.drain(Duration::from_secs(5));
/// worker.finished().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Worker {
    commands: mpsc::UnboundedSender<Command>,
    view: watch::Receiver<View>,
    driver: AbortOnDropHandle<Result<End, RunError>>,
}

impl Worker {
    /// Starts a worker; it connects, and reconnects, by itself. Must be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// When the configuration cannot be, or the compute child does not start.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let max = manyhands_protocol::limits::MAX_SLOTS;
        if config.threads == 0 || config.threads > max {
            return Err(StartError::Threads(config.threads));
        }
        // Each large blob is an open file, and half of them may be blobs.
        open_files::raise();
        let (commands, inbox) = mpsc::unbounded_channel();
        let (driver, view) = Driver::new(config, inbox)?;
        let driver = AbortOnDropHandle::new(tokio::spawn(driver.run()));
        Ok(Self {
            commands,
            view,
            driver,
        })
    }

    /// Begins nothing new, hands in what is done, gives the rest back and leaves;
    /// what still runs after `grace` is stopped. May be repeated with a shorter one.
    pub fn drain(&self, grace: Duration) {
        // A worker that has ended needs no draining.
        let _ = self.commands.send(Command::Drain { grace });
    }

    /// How it stands; a new value some times a second while something changes.
    #[must_use]
    pub fn view(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// Waits for its end: after [`drain`](Self::drain), or when the coordinator
    /// wants it no more. Safe to cancel.
    ///
    /// # Errors
    /// When it cannot go on.
    pub async fn finished(&mut self) -> Result<End, RunError> {
        let ended = (&mut self.driver).await;
        ended.unwrap_or(Err(RunError::Defect))
    }
}
