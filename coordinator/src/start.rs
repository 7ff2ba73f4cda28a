//! A coordinator's start and its end, and what the same process may ask of it
//! without HTTP.

use crate::app::App;
use crate::blobs::{BlobError, Blobs};
use crate::board::Board;
use crate::config::Config;
use crate::driver::{self, Driver, Input, unix_ms};
use crate::error::ApiError;
use crate::guard::Guard;
use crate::inputs::{InputPart, SegmentIndex};
use crate::journal::MemoryJournal;
use crate::metrics::Metrics;
use crate::{guests, routes, submit};
use axum::serve::ListenerExt;
use manyhands_engine::compute::Compute;
use manyhands_protocol::Incarnation;
use manyhands_protocol::api::{JobView, Submission};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Why a coordinator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}; --listen ADDRESS chooses another (port 0: a free one)"
    )]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The data folder does not work.
    #[error("cannot use {}: {source}", folder.display())]
    Data {
        /// Which.
        folder: PathBuf,
        /// Why.
        source: BlobError,
    },
    /// The compute child does not start.
    #[error("cannot start {} to run guests: {source}", program.display())]
    Compute {
        /// The program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// How long a farewell may take before what is left is dropped.
const FAREWELL: Duration = Duration::from_secs(3);

/// Submissions that are prepared at the same time: each may hold a module and
/// reads its inputs.
const PREPARING: usize = 4;

/// A running coordinator. Dropping the handle closes it without waiting;
/// [`shutdown`](Self::shutdown) waits.
pub struct Coordinator {
    app: Arc<App>,
    address: SocketAddr,
    key: Option<String>,
}

impl Coordinator {
    /// Starts listening. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// When the address, the data folder or the compute child cannot be used.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let listen = |source| StartError::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let key = config
            .key
            .clone()
            .or_else(|| (!address.ip().is_loopback()).then(random_key));
        let data = |source| StartError::Data {
            folder: config.data.clone(),
            source,
        };
        let blobs = Arc::new(Blobs::open(&config.data, config.limits.max_blob).map_err(data)?);
        let compute = Compute::spawn(config.compute.clone());
        let (compute, events) = compute.map_err(|source| StartError::Compute {
            program: config.compute.program.clone(),
            source,
        })?;
        let (inputs, inbox) = mpsc::channel(driver::QUEUE);
        let app = Arc::new(App {
            guard: Guard::new(address, &config.allow_hosts, key.clone()),
            blobs,
            segments: SegmentIndex::default(),
            compute,
            driver: inputs,
            board: Board::default(),
            journal: Arc::new(MemoryJournal::default()),
            metrics: Metrics::new(),
            limits: config.limits,
            www_dir: config.www_dir,
            next_job: AtomicU64::new(1),
            preparing: Semaphore::new(PREPARING),
            partial_kib: Semaphore::new((config.limits.partial_memory / 1024) as usize),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        let scheduler = manyhands_scheduler::Config {
            incarnation: Incarnation(unix_ms()),
            ..config.scheduler
        };
        let driver = Driver::new(Arc::clone(&app), scheduler);
        let closing = app.closing.clone();
        app.tasks.spawn(async move {
            driver.run(inbox).await;
            // Also when the journal made it end.
            closing.cancel();
        });
        let listening = guests::listen(app.driver.clone(), events, app.closing.clone());
        app.tasks.spawn(listening);
        serve(&app, listener);
        tracing::info!(%address, "listening");
        Ok(Self { app, address, key })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// What changing state needs: to be printed for the operator.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The link for volunteers. Where it listens on all addresses, the one by
    /// which this machine reaches others.
    #[must_use]
    pub fn url(&self) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(outward(address.is_ipv6()).unwrap_or(match address {
                SocketAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
                SocketAddr::V6(_) => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
            }));
        }
        format!("http://{address}/")
    }

    /// Submits a job whose inputs are files of this machine, read in place. They
    /// must stay as they are until the job is over. `submission.inputs` is not
    /// looked at; each input is the name that decides the order, and the file.
    ///
    /// # Errors
    /// As `POST /api/v1/jobs`.
    pub async fn submit_in_place(
        &self,
        submission: Submission,
        inputs: Vec<(String, PathBuf)>,
    ) -> Result<Arc<JobView>, ApiError> {
        let parts = inputs.into_iter().map(|(name, file)| InputPart {
            name,
            file: file.into(),
        });
        submit::submit(&self.app, submission, parts.collect()).await
    }

    /// Resolves when the coordinator has closed by itself: its journal failed.
    pub async fn closed(&self) {
        self.app.closing.cancelled().await;
    }

    /// Says farewell to workers and waits until all is put away.
    pub async fn shutdown(self) {
        let _ = self.app.driver.send(Input::Close).await;
        self.app.closing.cancel();
        self.app.tasks.close();
        if tokio::time::timeout(FAREWELL, self.app.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("some connections did not end in time");
        }
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        let _ = self.app.driver.try_send(Input::Close);
        self.app.closing.cancel();
    }
}

fn serve(app: &Arc<App>, listener: TcpListener) {
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection without TCP_NODELAY");
        }
    });
    let closing = app.closing.clone().cancelled_owned();
    let server = axum::serve(listener, routes::router(Arc::clone(app)));
    app.tasks.spawn(async move {
        if let Err(error) = server.with_graceful_shutdown(closing).await {
            tracing::error!(%error, "the server ended");
        }
    });
}

/// 128 bits, in digits that can be typed.
fn random_key() -> String {
    let mut key = [0; 16];
    getrandom::fill(&mut key).expect("the system gives random bytes");
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The address this machine would reach others from; no packet is sent.
fn outward(v6: bool) -> Option<IpAddr> {
    // Addresses set aside for documentation (RFC 5737, RFC 3849).
    let (from, to) = match v6 {
        false => ("0.0.0.0:0", "192.0.2.1:9"),
        true => ("[::]:0", "[2001:db8::1]:9"),
    };
    let socket = UdpSocket::bind(from).ok()?;
    socket.connect(to).ok()?;
    Some(socket.local_addr().ok()?.ip())
}
