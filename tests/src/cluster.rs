//! A coordinator with its workers and tabs, all real processes. The coordinator
//! can be ended, in order or not, and started again on its folder and port.

use crate::browser::{Browser, Engine, Tab};
use crate::jobs::Job;
use crate::process::{Process, Signal};
use crate::{http, port, processes};
use manyhands_client::Client;
use manyhands_protocol::api::{JobView, WorkerView};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

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
    /// Its data folder.
    pub data: PathBuf,
    options: Vec<String>,
    folder: TempDir,
}

/// How a [`Cluster`] is set up.
#[derive(Default)]
pub struct Setup {
    /// The coordinator's data folder; `None` for one of the cluster's own.
    pub data: Option<PathBuf>,
    /// More options of `manyhands coordinator`.
    pub options: Vec<&'static str>,
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
        Self::start_with(Setup::default()).await
    }

    /// Starts one.
    pub async fn start_with(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = setup.data.unwrap_or_else(|| folder.path().join("data"));
        let address = format!("127.0.0.1:{}", port::lasting().unwrap());
        let mut options = vec!["--listen".to_owned(), address.clone()];
        options.extend(setup.options.into_iter().map(str::to_owned));
        let mut coordinator = coordinator(folder.path(), &data, &options);
        listens(&mut coordinator).await;
        let url = format!("http://{address}");
        let client = Client::new(&url, None).unwrap();
        Self {
            url,
            client,
            coordinator,
            data,
            options,
            folder,
        }
    }

    /// Ends the coordinator as a crash would; it is gone when this is done.
    pub async fn kill(&mut self) {
        self.coordinator.signal(Signal::KILL).unwrap();
        self.coordinator.wait().await.unwrap();
    }

    /// Ends the coordinator in order.
    pub async fn terminate(&mut self) {
        self.coordinator.signal(Signal::TERM).unwrap();
        let status = self.coordinator.wait().await.unwrap();
        let printed = self.coordinator.printed();
        assert_eq!(status.code(), Some(0), "after SIGTERM: {printed}");
    }

    /// Starts the coordinator again where the last one has ended: the same
    /// folder, port and options.
    pub async fn start_again(&mut self) {
        self.coordinator = coordinator(self.folder.path(), &self.data, &self.options);
        listens(&mut self.coordinator).await;
    }

    /// As [`start_again`](Self::start_again), of a coordinator that does not come
    /// up: its exit code and what it printed.
    pub async fn start_in_vain(&mut self) -> (Option<i32>, String) {
        self.coordinator = coordinator(self.folder.path(), &self.data, &self.options);
        let status = self.coordinator.wait().await.unwrap();
        (status.code(), self.coordinator.printed())
    }

    /// Ends workers, then the coordinator, all in order: each exits with 0, and
    /// nothing that they started is left.
    pub async fn end(mut self, workers: impl IntoIterator<Item = Process>) {
        for worker in workers {
            leave(worker).await;
        }
        self.terminate().await;
        self.assert_no_orphans().await;
    }

    /// Asserts that all processes of this cluster have ended, those that they
    /// started themselves included.
    pub async fn assert_no_orphans(&self) {
        let mut left = Vec::new();
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        let gone = async {
            loop {
                left = processes::of(self.folder.path());
                if left.is_empty() {
                    return;
                }
                ticks.tick().await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(10), gone).await;
        assert!(in_time.is_ok(), "processes that nobody ends: {left:?}");
    }

    /// A native worker, once it is connected.
    pub async fn worker(&self, name: &str, threads: u16) -> Process {
        self.worker_at(&self.url, name, threads).await
    }

    /// A native worker that reaches the coordinator at another address.
    pub async fn worker_at(&self, url: &str, name: &str, threads: u16) -> Process {
        let mut command = processes::command(self.folder.path());
        command.args(["worker", url, "--name", name, "--threads"]);
        command.arg(threads.to_string());
        command.arg("--cache").arg(self.folder.path().join("cache"));
        let mut worker = Process::start(command).unwrap();
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
        self.run_at(&self.url, job, more)
    }

    /// The same over another address of the coordinator.
    pub fn run_at(&self, url: &str, job: &Job, more: &[&str]) -> Running {
        // Each run saves to a file of its own.
        let (_, out) = tempfile::NamedTempFile::new_in(self.folder.path())
            .unwrap()
            .keep()
            .unwrap();
        let mut command = processes::command(self.folder.path());
        command
            .arg("--json")
            .arg("run")
            .arg(job.module())
            .args(job.options())
            .args(more);
        command.args(["--coordinator", url, "--out"]).arg(&out);
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

    /// The newest job, as it stands.
    pub async fn newest(&self) -> JobView {
        let page = self.client.jobs(None, 1).await.unwrap();
        page.jobs.into_iter().next().expect("a job was submitted")
    }

    /// Waits until so large a share of the newest job is done.
    pub async fn until_done(&self, part: u64, of: u64) {
        let what = format!("{part}/{of} of the job is done");
        self.until(&what, async |client| {
            let page = client.jobs(None, 1).await.unwrap();
            let job = page.jobs.first();
            job.is_some_and(|job| job.done > 0 && job.done * of >= job.tasks * part)
        })
        .await;
    }

    /// What `/healthz` answers: the status and the text.
    pub async fn health(&self) -> std::io::Result<(u16, String)> {
        http::get(&format!("{}/healthz", self.url)).await
    }

    /// A number of `/metrics`, such as `manyhands_grants_total`.
    pub async fn metric(&self, name: &str) -> u64 {
        let (_, text) = http::get(&format!("{}/metrics", self.url)).await.unwrap();
        let mut values = text.lines().filter_map(|line| line.strip_prefix(name));
        let value = values.find_map(|rest| rest.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in:\n{text}"))
    }

    /// Runs any other command against this coordinator to its end: its exit code,
    /// and what it printed.
    pub async fn command(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = processes::command(self.folder.path());
        command.args(arguments);
        command.args(["--coordinator", &self.url]);
        let mut process = Process::start(command).unwrap();
        let status = process.wait().await.unwrap();
        (status.code(), process.printed())
    }

    /// The worker of this name.
    pub async fn worker_view(&self, name: &str) -> Option<WorkerView> {
        let workers = workers(&self.client).await;
        workers.into_iter().find(|worker| worker.name == name)
    }
}

/// The workers of a coordinator that has some hundreds at most.
///
/// # Panics
/// When it does not answer.
pub async fn workers(client: &Client) -> Vec<WorkerView> {
    let page = client.workers(None, 500).await;
    page.expect("the coordinator answers").workers
}

fn coordinator(folder: &Path, data: &Path, options: &[String]) -> Process {
    let mut command = processes::command(folder);
    command.arg("coordinator").args(options);
    command.arg("--data").arg(data);
    Process::start(command).unwrap()
}

async fn listens(coordinator: &mut Process) {
    let listens = coordinator.line(|line| line.trim().strip_prefix("volunteers open "));
    listens.await.unwrap();
}

impl Running {
    /// What it printed so far of what was waited for.
    pub async fn line(&mut self, part: &str) -> String {
        let found = self
            .process
            .line(|line| line.contains(part).then_some(line));
        found.await.unwrap()
    }

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

/// Has a worker leave in order; what it printed.
async fn leave(mut worker: Process) -> String {
    worker.signal(Signal::INT).unwrap();
    let status = worker.wait().await.unwrap();
    let printed = worker.printed();
    assert_eq!(status.code(), Some(0), "{printed}");
    printed
}

/// Has a worker leave in order; the tasks that it has handed in, as it says then.
///
/// # Panics
/// When it leaves in another way, or without a word.
pub async fn handed_in(worker: Process) -> u64 {
    let printed = leave(worker).await;
    let thanks = printed
        .lines()
        .find_map(|line| line.strip_prefix("thank you: "));
    let digits = thanks.expect("a farewell").split(" task").next().unwrap();
    let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap()
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
