//! A coordinator's start and its end, and what the same process may ask of it
//! without HTTP.

use crate::admissions::Admissions;
use crate::app::App;
use crate::blobs::{BlobError, Blobs, Durability};
use crate::board::Board;
use crate::config::Config;
use crate::driver::{self, Driver, Input, unix_ms};
use crate::error::ApiError;
use crate::guard::Guard;
use crate::guests::Guests;
use crate::inputs::{Cutting, InPlace, InputPart, KnownCuts};
use crate::journal::{Identity, Journal, JournalError, MemoryJournal, OpenError, SqliteJournal};
use crate::metrics::Metrics;
use crate::outputs::OutputFile;
use crate::{doors, guests, keeping, open_files, submit};
use axum::http::HeaderValue;
use manyhands_coordinator_core::{ClaimKey, Core, Damaged, Plan, Stored};
use manyhands_engine::compute::Compute;
use manyhands_engine::neighbour::Door;
use manyhands_protocol::api::{JobView, Submission};
use manyhands_protocol::{Incarnation, MergeMode};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
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
    #[error(transparent)]
    Data(#[from] BlobError),
    /// The journal in the data folder cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// What the journal has of a job does not fit together.
    #[error("{source}; nothing in {} was changed", folder.display())]
    Damaged {
        /// The data folder.
        folder: PathBuf,
        /// Which job, and what.
        source: Damaged,
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
pub(crate) const FAREWELL: Duration = Duration::from_secs(3);

/// Commits of partials begin at least so far apart.
const COMMIT_PACE_US: u64 = 2_000;

/// Bytes of two partials from which a worker merges them: below, it is sooner
/// done here than sent.
const LEASE_MERGES_FROM: u64 = 256 << 10;

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
        let (blobs, journal) = open(&config)?;
        let identity = journal.identity();
        let key = config
            .key
            .clone()
            // A variable that is set to nothing sets no key.
            .filter(|key| !key.is_empty())
            .or_else(|| (!address.ip().is_loopback()).then(|| own_key(&identity)));
        let compute = Compute::spawn(config.compute.clone());
        let (compute, events) = compute.map_err(|source| StartError::Compute {
            program: config.compute.program.clone(),
            source,
        })?;
        let (inputs, inbox) = mpsc::channel(driver::QUEUE);
        let (questions, asked) = mpsc::channel(driver::QUESTIONS);
        let (door, told) = open_door();
        let app = Arc::new(App {
            guard: Guard::new(address, &config.allow_hosts, key.clone()),
            blobs,
            admissions: Admissions::default(),
            cuts: KnownCuts::default(),
            segments: Arc::default(),
            door: told,
            compute,
            guests: Guests::default(),
            driver: inputs,
            questions,
            runtime: Handle::current(),
            board: Board::default(),
            journal,
            metrics: Metrics::new(),
            limits: config.limits,
            www_dir: config.www_dir,
            next_job: AtomicU64::new(identity.next_job.0),
            next_connection: AtomicU64::new(1),
            preparing: Semaphore::new(PREPARING),
            partial_kib: Semaphore::new((config.limits.partial_memory / 1024) as usize),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        let core = Core::new(manyhands_coordinator_core::Config {
            scheduler: manyhands_scheduler::Config {
                incarnation: identity.incarnation,
                ..config.scheduler
            },
            key: ClaimKey(identity.secret),
            next_job: identity.next_job,
            max_workers: open_files::room_for(config.limits.max_workers),
            keep_us: config.keep_us,
            pace_us: if config.ephemeral { 0 } else { COMMIT_PACE_US },
            lease_merges_from: LEASE_MERGES_FROM,
        });
        let mut driver = Driver::new(Arc::clone(&app), core);
        restore(&app, &mut driver, &config.data).await?;
        let closing = app.closing.clone();
        app.tasks.spawn(async move {
            // Whatever makes the driver end, a panic included: without it the
            // coordinator is of no use, and must not seem to be.
            let _closing = closing.drop_guard();
            driver.run(inbox, asked).await;
        });
        let listening = guests::listen(app.driver.clone(), events, app.closing.clone());
        app.tasks.spawn(listening);
        app.tasks
            .spawn(keeping::keep(Arc::clone(&app), config.keep));
        if let Some(door) = door {
            app.tasks.spawn(hand_over(Arc::clone(&app), door));
        }
        doors::open(&app, listener).map_err(listen)?;
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
            known: None,
        });
        let accepted = submit::submit(&self.app, submission, parts.collect(), false).await?;
        Ok(accepted.view)
    }

    /// Where the inputs of its jobs lie, for a worker of the same process, which need
    /// not have them sent.
    #[must_use]
    pub fn in_place(&self) -> InPlace {
        InPlace::new(Arc::clone(&self.app.segments))
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
        self.app.journal.close().await;
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        let _ = self.app.driver.try_send(Input::Close);
        self.app.closing.cancel();
    }
}

/// Where workers of this machine are handed inputs, and what they are told of it;
/// without it they are sent them.
fn open_door() -> (Option<Door>, Option<HeaderValue>) {
    let opened = getrandom::u64().map_err(io::Error::from);
    match opened.and_then(Door::open) {
        Ok(door) => {
            let told = HeaderValue::from_str(door.name()).expect("letters and digits");
            (Some(door), Some(told))
        }
        Err(error) => {
            tracing::debug!(%error, "inputs are sent to workers of this machine too");
            (None, None)
        }
    }
}

/// Hands the inputs of running jobs to workers of this machine.
async fn hand_over(app: Arc<App>, door: Door) {
    let (segments, handed) = (Arc::clone(&app.segments), app.metrics.shared_bytes.clone());
    let find = move |hash| {
        let place = segments.find(hash)?;
        handed.inc_by(place.len);
        Some(place.into())
    };
    app.closing.run_until_cancelled(door.serve(find)).await;
}

/// The data folder, which is this coordinator's alone from here on.
fn open(config: &Config) -> Result<(Arc<Blobs>, Arc<dyn Journal>), StartError> {
    let durability = match config.ephemeral {
        true => Durability::Unsynced,
        false => Durability::Synced,
    };
    let blobs = Blobs::open(&config.data, config.limits.max_blob, durability)?;
    let journal: Arc<dyn Journal> = match config.ephemeral {
        true => Arc::new(MemoryJournal::new(Incarnation(unix_ms()))),
        false => Arc::new(SqliteJournal::open(&config.data)?),
    };
    Ok((Arc::new(blobs), journal))
}

/// Takes up the jobs that were not over when an earlier coordinator ended.
async fn restore(app: &Arc<App>, driver: &mut Driver, folder: &Path) -> Result<(), StartError> {
    let stored = app.journal.stored().await?;
    app.blobs
        .retain_outputs(&stored.iter().map(|job| job.view.id).collect())?;
    let count = stored.len();
    for job in stored {
        restore_one(app, driver, folder, job).await?;
    }
    if count > 0 {
        tracing::info!(jobs = count, "taken up again");
    }
    Ok(())
}

async fn restore_one(
    app: &Arc<App>,
    driver: &mut Driver,
    folder: &Path,
    mut stored: Stored,
) -> Result<(), StartError> {
    let damaged = |source| StartError::Damaged {
        folder: folder.to_owned(),
        source,
    };
    let (job, plan) = (stored.view.id, Arc::clone(&stored.plan));
    let inputs = || {
        let what = "its inputs";
        damaged(Damaged { job, what })
    };
    let cutting = plan.header.split.map(|_| {
        let cutting = Cutting::stored(&plan.segments, &plan.places, &app.blobs);
        cutting.ok_or_else(inputs)
    });
    let cutting = cutting.transpose()?;
    let output = match plan.header.merge {
        MergeMode::Reduce => None,
        MergeMode::Concat => Some(output(app, &mut stored).await?),
    };
    app.guests.later(job, Arc::clone(&plan));
    driver.restore(stored, cutting, output).map_err(damaged)?;
    if let Some(missing) = lacks(app, &plan).await? {
        tracing::error!(%job, %missing, "this job is given up");
        driver.give_up(job, guests::crash(missing.to_string()));
    }
    Ok(())
}

/// A blob that the job needs and that somebody has taken away: workers would ask
/// for it for ever.
async fn lacks(app: &App, plan: &Plan) -> Result<Option<BlobError>, BlobError> {
    let files = plan.header.files.iter().map(|file| file.hash);
    let inputs = plan.blobs.iter().copied();
    for hash in [plan.header.module].into_iter().chain(files).chain(inputs) {
        match app.blobs.needed(hash).await {
            Ok(_) => {}
            Err(missing @ BlobError::Missing { .. }) => return Ok(Some(missing)),
            Err(other) => return Err(other),
        }
    }
    Ok(None)
}

/// The growing result of a job; where less is there than the journal says, all
/// of it is computed again.
async fn output(app: &Arc<App>, stored: &mut Stored) -> Result<OutputFile, BlobError> {
    let id = stored.view.id;
    match OutputFile::start(app, id, stored.prefix.1).await {
        Err(error @ BlobError::Short { .. }) => {
            tracing::error!(%error, "this job begins anew");
            stored.prefix = (0, 0);
            stored.partials.clear();
            OutputFile::start(app, id, 0).await
        }
        started => started,
    }
}

/// The key that is printed: 128 bits in digits that can be typed, the same at
/// each start on the same journal, so that authors' programs go on after one.
fn own_key(identity: &Identity) -> String {
    let key = blake3::derive_key("manyhands 2026-11 key of the HTTP API", &identity.secret);
    key[..16].iter().map(|byte| format!("{byte:02x}")).collect()
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
