//! `manyhands worker URL`: lends this machine.

use crate::connection::{COORDINATOR_VARIABLE, variable};
use crate::error::Error;
use crate::interrupt::interrupted;
use crate::local::{code_cache, compute_child};
use crate::size::Size;
use crate::{human, memory, print};
use clap::Args;
use manyhands_client::{Client, ClientError};
use manyhands_worker_native::{Config, ConnectionView, End, Inputs, View, Worker};
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;

/// Lend this machine to a coordinator
#[derive(Args)]
#[command(
    after_help = "Guests run in a process of their own, in a sandbox: they cannot read files, open \
    connections or tell the time. Ctrl-C hands in what is done, gives the rest back and leaves; a second one \
    leaves at once."
)]
pub(crate) struct Lend {
    /// The coordinator: the link that volunteers get
    /// [env: MANYHANDS_COORDINATOR]
    #[arg(value_name = "URL")]
    url: Option<String>,

    /// Threads to compute on [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    threads: Option<u16>,

    /// What the coordinator shows [default: this machine's name]
    #[arg(long)]
    name: Option<String>,

    /// Memory for guests and inputs together, at least 64MiB [default: three
    /// quarters of what is free]
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,

    /// Have all inputs sent and keep them in memory, though the coordinator is
    /// on this machine: its files are read in place otherwise
    #[arg(long)]
    copy_inputs: bool,

    /// Where compiled code is kept [default: the user's cache folder]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

/// How long what runs may go on after Ctrl-C: its pieces take a fraction of a
/// second each, and what has not begun is given back.
const GRACE: Duration = Duration::from_secs(3);

/// The least memory that lets a guest run at all.
const LEAST_MEMORY: u64 = 64 << 20;

impl Lend {
    pub(crate) async fn run(&self, json: bool) -> Result<(), Error> {
        memory::keep_some();
        let url = self.url.clone().filter(|url| !url.is_empty());
        let url = url.or_else(|| variable(COORDINATOR_VARIABLE));
        let url = url.ok_or(Error::NoUrl)?;
        if let Some(Size(given)) = self.memory.filter(|memory| memory.0 < LEAST_MEMORY) {
            let least = LEAST_MEMORY;
            return Err(Error::LittleMemory { given, least });
        }
        let (program, args) = compute_child()?;
        let mut config = Config::new(url.clone(), program, args);
        config.cache = self.cache.clone().or_else(code_cache);
        config.threads = self.threads.unwrap_or(config.threads);
        config.memory = self.memory.map_or(config.memory, |memory| memory.0);
        if self.copy_inputs {
            config.inputs = Inputs::Sent;
        }
        if let Some(name) = &self.name {
            config.name.clone_from(name);
        }
        // Before anyone is told that it is there: who is, may end it at once.
        let stop = interrupted();
        eprintln!(
            "{}: {} for {url}",
            config.name,
            human::counted(config.threads.into(), "thread"),
        );
        let mut worker = Worker::start(config)?;
        let teller = tokio::spawn(tell(worker.view(), url));
        let end = until_end(&mut worker, stop).await;
        teller.abort();
        let view = worker.view().borrow().clone();
        match end? {
            End::Drained => print::answer(json, &summary(&view), || farewell(&view)),
            End::Closed { reason } => Err(Error::WorkerEnded { reason }),
        }
    }
}

/// Waits for the end, leaving in order at the first Ctrl-C.
async fn until_end(worker: &mut Worker, stop: impl Future<Output = ()>) -> Result<End, Error> {
    tokio::select! {
        end = worker.finished() => return Ok(end?),
        () = stop => {}
    }
    eprintln!(
        "leaving: what is done is handed in, the rest given back; Ctrl-C again leaves at once"
    );
    worker.drain(GRACE);
    tokio::select! {
        end = worker.finished() => Ok(end?),
        () = interrupted() => Err(Error::Interrupted { cancelled: None }),
    }
}

/// Says when the connection comes and goes.
async fn tell(mut view: watch::Receiver<View>, url: String) {
    let mut told = None;
    while view.changed().await.is_ok() {
        let view = view.borrow_and_update().clone();
        let line = connection(&view, &url).await;
        if line.is_some() && line != told {
            eprintln!("{}", line.as_deref().unwrap_or_default());
            told = line;
        }
    }
}

async fn connection(view: &View, url: &str) -> Option<String> {
    match &view.connection {
        ConnectionView::Welcome => {
            let worker = view
                .worker
                .map_or(String::new(), |worker| format!(" as worker {worker}"));
            Some(format!("connected{worker}"))
        }
        ConnectionView::Waiting {
            reason: Some(reason),
            ..
        } => Some(format!("{reason}; trying again")),
        ConnectionView::Waiting { reason: None, .. } => Some(absence(url).await),
        ConnectionView::Connecting | ConnectionView::Finished => None,
    }
}

/// Why a coordinator does not let this worker in, asked on the plain way: a
/// failed WebSocket does not tell a closed port from another program behind it.
async fn absence(url: &str) -> String {
    let asked = match Client::new(url, None) {
        Ok(client) => client.status().await,
        Err(error) => Err(error),
    };
    match asked {
        Err(ClientError::Unreachable { reason, .. } | ClientError::Cut { reason, .. }) => {
            format!("no coordinator answers at {url} ({reason}); trying again until one does")
        }
        Err(other) => format!("{other}; trying again"),
        Ok(_) => format!("the connection to {url} was lost; trying again"),
    }
}

fn summary(view: &View) -> serde_json::Value {
    json!({
        "worker": view.worker,
        "blocks": view.blocks_done,
        "tasks": view.tasks_done,
        "busy_ms": view.busy_us / 1000,
    })
}

fn farewell(view: &View) -> String {
    format!(
        "thank you: {} in {}, {} of thread time\n",
        human::counted(view.tasks_done, "task"),
        human::counted(view.blocks_done, "block"),
        human::millis(view.busy_us / 1000)
    )
}
