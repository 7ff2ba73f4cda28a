//! A coordinator with its workers and tabs, all real processes.

use crate::browser::{Browser, Engine, Tab};
use crate::files;
use crate::jobs::Job;
use crate::process::Process;
use manyhands_client::Client;
use manyhands_protocol::api::{JobView, WorkerView};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Command;

/// How long a thing that takes a second may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running coordinator in a folder of its own.
pub struct Cluster {
    /// Where it listens, without a slash at the end.
    pub url: String,
    /// Talks to it.
    pub client: Client,
    /// Its process.
    pub coordinator: Process,
    folder: TempDir,
}

/// A job that `manyhands run` follows.
pub struct Running {
    process: Process,
    out: PathBuf,
}

/// What a job came to.
pub struct Outcome {
    /// The result.
    pub bytes: Vec<u8>,
    /// The job at its end.
    pub job: JobView,
}

impl Cluster {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// As everything here does, when the system does not do what a test needs.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data").display().to_string();
        let arguments = ["coordinator", "--listen", "127.0.0.1:0", "--data", &data];
        let mut coordinator = Process::manyhands(arguments).unwrap();
        let url = coordinator
            .line(|line| line.trim().strip_prefix("volunteers open "))
            .await;
        let url = url.unwrap().trim().trim_end_matches('/').to_owned();
        let client = Client::new(&url, None).unwrap();
        Self {
            url,
            client,
            coordinator,
            folder,
        }
    }

    /// A native worker, once it is connected.
    pub async fn worker(&self, name: &str, threads: u16) -> Process {
        let threads = threads.to_string();
        let cache = self.folder.path().join("cache").display().to_string();
        let arguments = [
            "worker",
            &self.url,
            "--name",
            name,
            "--threads",
            &threads,
            "--cache",
            &cache,
        ];
        let mut worker = Process::manyhands(arguments).unwrap();
        let connected = worker
            .line(|line| line.starts_with("connected").then_some(line))
            .await;
        connected.unwrap();
        worker
    }

    /// A tab that lends `threads` threads, once it is connected.
    pub async fn tab(&self, browser: &Browser, threads: u16) -> Tab {
        let url = format!("{}/?auto=1&threads={threads}", self.url);
        let tab = browser.open(&url).await.unwrap();
        tab.wait_until("document.body.dataset.worker", PATIENCE)
            .await
            .unwrap();
        tab
    }

    /// Submits and follows a job as an author does.
    pub fn run(&self, job: &Job, more: &[&str]) -> Running {
        // Each run saves to a file of its own.
        let (_, out) = tempfile::NamedTempFile::new_in(self.folder.path())
            .unwrap()
            .keep()
            .unwrap();
        let mut command = Command::new(files::manyhands());
        command
            .arg("--json")
            .arg("run")
            .arg(job.module())
            .args(job.options())
            .args(more);
        command
            .args(["--coordinator", &self.url, "--out"])
            .arg(&out);
        Running {
            process: Process::start(command).unwrap(),
            out,
        }
    }

    /// Waits until something holds of the coordinator's view.
    pub async fn until(&self, what: &str, holds: impl AsyncFn(&Client) -> bool) {
        let mut ticks = tokio::time::interval(Duration::from_millis(25));
        let poll = async {
            while !holds(&self.client).await {
                ticks.tick().await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, poll).await;
        assert!(in_time.is_ok(), "{what}: not within {PATIENCE:?}");
    }

    /// Waits until the newest job is under way: some, and not most, of it done.
    pub async fn until_under_way(&self) {
        self.until("the job is under way", async |client| {
            let page = client.jobs(None, 1).await.unwrap();
            page.jobs.first().is_some_and(|job| job.done > 0)
        })
        .await;
    }

    /// The worker of this name.
    pub async fn worker_view(&self, name: &str) -> Option<WorkerView> {
        let workers = self.client.workers().await.unwrap();
        workers.into_iter().find(|worker| worker.name == name)
    }
}

impl Running {
    /// Waits for the result.
    pub async fn outcome(mut self) -> Outcome {
        let status = self.process.wait().await.unwrap();
        let printed = self.process.printed();
        assert!(status.success(), "{status}: {printed}");
        let answer = answer(&printed);
        let job = serde_json::from_value(answer["job"].clone()).unwrap();
        Outcome {
            bytes: fs::read(&self.out).unwrap(),
            job,
        }
    }

    /// Waits for the end of a job that fails: its exit code and what was
    /// printed.
    pub async fn failure(mut self) -> (Option<i32>, String) {
        let status = self.process.wait().await.unwrap();
        (status.code(), self.process.printed())
    }
}

/// The one JSON object among what was printed on both streams.
fn answer(printed: &str) -> Value {
    let mut lines = printed.lines().filter(|line| line.starts_with('{'));
    let last = lines
        .next_back()
        .unwrap_or_else(|| panic!("no answer in: {printed}"));
    serde_json::from_str(last).unwrap()
}

impl Outcome {
    /// Asserts the bytes without printing megabytes of them.
    pub fn assert_bytes(&self, expected: &[u8], how: &str) {
        let differ = self.bytes.iter().zip(expected).position(|(a, b)| a != b);
        let lengths = (self.bytes.len(), expected.len());
        assert!(
            differ.is_none() && lengths.0 == lengths.1,
            "{} {how}: lengths {lengths:?}, first difference at {differ:?}",
            self.job.name
        );
    }

    /// Asserts that a worker whose name holds `part` has computed some of it.
    pub fn assert_helped(&self, part: &str) {
        let helped = self
            .job
            .contributions
            .iter()
            .any(|one| one.name.contains(part) && one.tasks > 0);
        assert!(helped, "{part} has no part in {:?}", self.job.contributions);
    }
}

/// The name under which a browser's tab is shown.
pub fn shown_name(engine: Engine) -> &'static str {
    match engine {
        Engine::Chromium => "Chrom",
        Engine::Firefox => "Firefox",
        Engine::WebKit => "Safari",
    }
}
