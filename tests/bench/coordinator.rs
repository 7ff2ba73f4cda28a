//! The coordinator that is measured: the real binary, a process of its own.

use manyhands_client::{Client, News};
use manyhands_protocol::JobId;
use manyhands_protocol::api::{JobEvent, JobView, Submission};
use manyhands_tests::http;
use manyhands_tests::process::{Process, Signal};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Blocks of single tasks, whatever a worker's speed.
pub(crate) const SINGLE_TASKS: [&str; 2] = ["--block-tasks", "1"];

/// As long as an answer may be waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

pub(crate) struct Coordinator {
    pub(crate) client: Client,
    /// Where it listens: host and port.
    pub(crate) address: String,
    /// From the start of the process until `/healthz` said that all is well.
    pub(crate) started: Duration,
    process: Process,
}

impl Coordinator {
    /// Starts one on a free port and the data in this folder.
    pub(crate) async fn start(data: &Path, options: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", data, options, None).await
    }

    /// The same on some address, with a key where others could reach it.
    pub(crate) async fn start_at(
        listen: &str,
        data: &Path,
        options: &[&str],
        key: Option<&str>,
    ) -> Self {
        let data = data.display().to_string();
        let mut arguments = vec!["coordinator", "--listen", listen, "--data", &data];
        arguments.extend(options);
        arguments.extend(key.into_iter().flat_map(|key| ["--key", key]));
        let begin = Instant::now();
        let mut process = Process::manyhands(arguments).expect("the coordinator starts");
        let url = process
            .line(|line| line.trim().strip_prefix("volunteers open "))
            .await
            .expect("the coordinator listens");
        let url = url.trim().trim_end_matches('/').to_owned();
        let address = url.trim_start_matches("http://").to_owned();
        let answer = http::get(&format!("{url}/healthz")).await;
        assert_eq!(answer.expect("it answers").0, 200, "/healthz");
        Self {
            client: Client::new(&url, key.map(str::to_owned)).expect("its own address"),
            address,
            started: begin.elapsed(),
            process,
        }
    }

    /// The system's number of its process.
    pub(crate) fn process(&self) -> u32 {
        self.process.id().expect("it runs")
    }

    /// One of the counters that it shows to Prometheus.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let answer = http::get(&format!("http://{}/metrics", self.address)).await;
        let (_, text) = answer.expect("it answers");
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        let value = value.and_then(|rest| rest.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in:\n{text}"))
    }

    /// How long ago it had the result of this job, a small one, by its log: started with
    /// `-vv`.
    pub(crate) async fn had_result(&mut self, job: JobId) -> Duration {
        let said = format!("has its result job={job}");
        let line = self
            .process
            .line(|line| line.ends_with(&said).then_some(line));
        let line = line.await.expect("it had a result");
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let hour = Duration::from_hours(1).as_micros();
        // It was within the last hour: 2026-11-27T21:06:09.123456Z is how lines begin.
        let within = |from: usize, to: usize| line[from..to].parse::<f64>().expect("a time");
        let then = (within(14, 16) * 60.0 + within(17, 26)) * 1e6;
        let ago = (now.expect("it is past 1970").as_micros() + hour - then as u128) % hour;
        Duration::from_micros(ago as u64)
    }

    /// A crash.
    pub(crate) async fn kill(mut self) {
        self.process.signal(Signal::KILL).expect("it runs");
        self.process.wait().await.expect("it ends");
    }

    /// Uploads a module and submits a job of it.
    pub(crate) async fn submit(&self, wasm: Vec<u8>, params: Value) -> JobView {
        let submission = self.submission(wasm, params).await;
        let job = self.client.submit(&submission).await;
        job.expect("the job is accepted")
    }

    /// Uploads a module; a submission of it.
    pub(crate) async fn submission(&self, wasm: Vec<u8>, params: Value) -> Submission {
        let module = self.client.upload_module(wasm).await;
        let module = module.expect("the module is admitted").hash;
        submission(module.to_string(), params)
    }

    /// What this submission came to, as one learns who waits with it for the result.
    pub(crate) async fn wait(&self, submission: &Submission) -> JobView {
        assert!(submission.key.is_some(), "a job that is waited for again");
        loop {
            let waited = self.client.submit_and_wait(submission, LONGEST_WAIT).await;
            let job = waited.expect("the job is there").job;
            if job.state.is_over() {
                return job;
            }
        }
    }

    /// The job once it is over, and its end recorded.
    pub(crate) async fn over(&self, job: JobId) -> JobView {
        let mut watch = self.client.watch(job);
        let mut last = None;
        while let Some(news) = watch.next().await.expect("the coordinator tells") {
            if let News::Event(JobEvent::Job(view)) = news {
                last = Some(*view);
            }
        }
        last.expect("a last view")
    }

    /// A native worker, once it is connected.
    pub(crate) async fn worker(&self, threads: u16, cache: &Path) -> Process {
        self.worker_with(threads, cache, &[]).await
    }

    /// The same with further options.
    pub(crate) async fn worker_with(
        &self,
        threads: u16,
        cache: &Path,
        options: &[&str],
    ) -> Process {
        let url = format!("http://{}", self.address);
        let (threads, cache) = (threads.to_string(), cache.display().to_string());
        let mut arguments = vec!["worker", &url, "--threads", &threads, "--cache", &cache];
        arguments.extend(options);
        let mut worker = Process::manyhands(arguments).expect("the worker starts");
        let connected = worker
            .line(|line| line.starts_with("connected").then_some(line))
            .await;
        connected.expect("the worker connects");
        worker
    }
}

/// A submission of an uploaded module.
pub(crate) fn submission(module: String, params: Value) -> Submission {
    let json = json!({ "name": "bench", "module": module, "params": params });
    serde_json::from_value(json).expect("a submission")
}
