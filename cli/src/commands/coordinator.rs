//! `manyhands coordinator`: serves workers, authors and the page.

use crate::connection::variable;
use crate::error::Error;
use crate::interrupt::interrupted;
use crate::keep::{self, keep};
use crate::local::coordinators_child;
use crate::print;
use crate::size::duration;
use clap::Args;
use manyhands_coordinator::{
    Config, Coordinator, DEFAULT_LISTEN, JOURNAL_FILE, Keep, page_is_built,
};
use serde_json::json;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Start a coordinator: it hands out the work and serves the page for volunteers
#[derive(Args)]
#[command(
    after_help = "It listens on this machine alone unless told otherwise; on 0.0.0.0:7272 others can reach \
    it, and submitting needs the key that it prints. Lending a browser or a worker never needs one. Ctrl-C or \
    SIGTERM ends it; started again on the same folder it goes on with its jobs, and so do workers and runs."
)]
pub(crate) struct Serve {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value_t = DEFAULT_LISTEN)]
    listen: SocketAddr,

    /// The folder of jobs, uploads and results [default: the user's data folder]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Forget all jobs at the end: nothing is recorded or synced; what is uploaded
    /// meanwhile lies in --data, or in a temporary folder
    #[arg(long, conflicts_with = "keep_jobs")]
    ephemeral: bool,

    /// What is kept of jobs that are over: an age, a size of their results, both,
    /// or all; such as 12h, 50GB, 7d,50GB
    #[arg(long, value_name = "AGE[,SIZE]|all", value_parser = keep, default_value = keep::DEFAULT)]
    keep_jobs: Keep,

    /// A name that browsers may use for this machine besides its addresses; may
    /// be repeated
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,

    /// What changing anything needs [default: nothing on this machine, a random
    /// key beyond] [env: MANYHANDS_KEY]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Threads that check, merge and finish what workers send
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,

    /// Silence after which a worker is taken for dead [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = duration, hide = true)]
    deadline: Option<Duration>,

    /// Serve the page from this folder instead of the one built in
    #[arg(long, value_name = "DIR", hide = true)]
    www: Option<PathBuf>,

    /// How long a block shall take a worker, in microseconds
    #[arg(long, value_name = "US", hide = true, value_parser = clap::value_parser!(u64).range(1..))]
    block_us: Option<u64>,

    /// The most tasks of a block; 1 for measuring what a block costs
    #[arg(long, value_name = "N", hide = true, value_parser = clap::value_parser!(u64).range(1..))]
    block_tasks: Option<u64>,

    /// The slot time, in microseconds, that a partial must have taken to be
    /// recorded; 0 records all, for measuring what a record costs
    #[arg(long, value_name = "US", hide = true)]
    keep_us: Option<u64>,
}

/// The shortest key that may guard what others can reach.
const SHORTEST_KEY: usize = 8;

impl Serve {
    pub(crate) async fn run(&self, json: bool) -> Result<(), Error> {
        let key = self.key()?;
        let folder = self.folder()?;
        let mut config = Config {
            listen: self.listen,
            ephemeral: self.ephemeral,
            keep: self.keep_jobs,
            key,
            allow_hosts: self.allow_host.clone(),
            www_dir: self.www.clone(),
            ..Config::new(
                folder.path().to_owned(),
                coordinators_child(usize::from(self.threads))?,
            )
        };
        if let Some(deadline) = self.deadline {
            config.scheduler.deadline_us = deadline.as_micros() as u64;
        }
        if let Some(target) = self.block_us {
            config.scheduler.native_target_us = target;
            config.scheduler.browser_target_us = target;
        }
        if let Some(tasks) = self.block_tasks {
            config.scheduler.block_tasks = tasks;
        }
        config.keep_us = self.keep_us.unwrap_or(config.keep_us);
        // Before anyone is told that it listens: who is, may end it at once.
        let stop = interrupted();
        let coordinator = Coordinator::start(config).await?;
        let facts = json!({
            "listen": coordinator.addr(),
            "url": coordinator.url(),
            "key": coordinator.key(),
        });
        print::answer(json, &facts, || welcome(&coordinator))?;
        if self.www.is_none() && !page_is_built() {
            eprintln!(
                "the page for volunteers is not in this program: `cargo xtask web`, then cargo build again, \
                 puts it there; `manyhands worker` does without"
            );
        }
        tokio::select! {
            () = stop => {}
            () = coordinator.closed() => return Err(Error::CoordinatorEnded),
        }
        eprintln!("closing");
        tokio::select! {
            () = coordinator.shutdown() => Ok(()),
            () = interrupted() => Err(Error::Interrupted { cancelled: None }),
        }
    }

    /// The key that was chosen, if one was. Whoever can reach a coordinator can
    /// also guess at its key.
    fn key(&self) -> Result<Option<String>, Error> {
        let given = self.key.clone().filter(|key| !key.is_empty());
        let key = given.or_else(|| variable("MANYHANDS_KEY"));
        let length = key.as_ref().map_or(SHORTEST_KEY, |key| key.chars().count());
        if length < SHORTEST_KEY && !self.listen.ip().is_loopback() {
            return Err(Error::ShortKey {
                length,
                least: SHORTEST_KEY,
                address: self.listen,
            });
        }
        Ok(key)
    }

    fn folder(&self) -> Result<Folder, Error> {
        match &self.data {
            Some(data) if self.ephemeral && data.join(JOURNAL_FILE).exists() => {
                Err(Error::EphemeralOverJournal {
                    folder: data.clone(),
                })
            }
            Some(data) => Ok(Folder::Lasting(data.clone())),
            None if self.ephemeral => {
                let folder = tempfile::Builder::new().prefix("manyhands-").tempdir();
                let folder = folder.map_err(|source| Error::write(&std::env::temp_dir(), source));
                folder.map(Folder::Temporary)
            }
            None => {
                let own = dirs::data_local_dir().map(|own| own.join("manyhands"));
                own.map(Folder::Lasting).ok_or(Error::NoDataFolder)
            }
        }
    }
}

/// Where the data is.
enum Folder {
    Lasting(PathBuf),
    /// Removed at the end.
    Temporary(TempDir),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Lasting(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

/// What to tell whom.
fn welcome(coordinator: &Coordinator) -> String {
    let url = coordinator.url();
    let mut text = format!(
        "Manyhands {} listens on {}\n  volunteers open  {url}\n  servers run      manyhands worker {url}\n  \
         authors run      manyhands run MODULE --coordinator {url}\n",
        env!("CARGO_PKG_VERSION"),
        coordinator.addr(),
    );
    if let Some(key) = coordinator.key() {
        text.push_str(&format!("  authors need     MANYHANDS_KEY={key}\n"));
    }
    text
}
