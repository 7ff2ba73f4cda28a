//! What a coordinator is started with.

use crate::journal::Keep;
use manyhands_engine::compute;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Where a coordinator listens unless told otherwise: this machine only.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7272);

/// Settings of a [`Coordinator`](crate::Coordinator).
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The folder of the journal, blobs and results. Two coordinators must not
    /// share one.
    pub data: PathBuf,
    /// Whether jobs are forgotten with the process: nothing is recorded or
    /// synced.
    pub ephemeral: bool,
    /// What is kept of jobs that are over.
    pub keep: Keep,
    /// What changing state needs. `None`: nothing on loopback, a random key
    /// beyond.
    pub key: Option<String>,
    /// Names, beyond `localhost` and addresses, that the coordinator answers to.
    pub allow_hosts: Vec<String>,
    /// How the process is started that runs guests' `open`, `merge` and `finish`.
    pub compute: compute::Config,
    /// Serves the page from this folder instead of what is embedded.
    pub www_dir: Option<PathBuf>,
    /// How blocks are chosen; the incarnation is set at the start.
    pub scheduler: manyhands_scheduler::Config,
    /// Partials that took less slot time than this, in microseconds, are computed
    /// again after a crash rather than recorded.
    pub keep_us: u64,
    /// What strangers may cost.
    pub limits: Limits,
}

impl Config {
    /// The defaults: [`DEFAULT_LISTEN`], no key on loopback, the embedded page.
    #[must_use]
    pub fn new(data: PathBuf, compute: compute::Config) -> Self {
        Self {
            listen: DEFAULT_LISTEN,
            data,
            ephemeral: false,
            keep: Keep::default(),
            key: None,
            allow_hosts: Vec::new(),
            compute,
            www_dir: None,
            scheduler: manyhands_scheduler::Config::default(),
            keep_us: manyhands_coordinator_core::KEEP_US,
            limits: Limits::default(),
        }
    }
}

/// Bounds on what peers can make a coordinator hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The largest upload, and the largest result, in bytes.
    pub max_blob: u64,
    /// The most workers with a session.
    pub max_workers: usize,
    /// Bytes of partials that have come in part, over all workers; must hold
    /// the largest partial.
    pub partial_memory: u64,
    /// Bytes of all broadcast files of one job.
    pub max_files_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_blob: 1 << 40,
            max_workers: 20_000,
            partial_memory: 2 << 30,
            max_files_bytes: 1 << 30,
        }
    }
}
