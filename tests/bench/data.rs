//! A job that reads much: its time beside that of the same module with the text
//! in memory, the rate at which the text leaves the coordinator, and what memory
//! and a second run cost.

use crate::coordinator::{Coordinator, submission};
use crate::corpus;
use crate::in_process::InProcess;
use crate::machine::{cpu_seconds, peak_mb};
use crate::plan::Plan;
use crate::stand_in::fetch;
use crate::table::{Row, Table, Unit, median, seconds};
use crate::threads;
use bytes::Bytes;
use manyhands_engine::runtime::Segment;
use manyhands_protocol::api::{InputFile, JobState, JobView};
use manyhands_protocol::{BlobHash, Split, segments_of};
use manyhands_tests::jobs::Job;
use manyhands_tests::process::Process;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PART: &str = "data";

/// Bytes of blobs that left the coordinator.
const SENT: &str = "manyhands_blob_bytes_total";

/// The text that all is measured with.
struct Text {
    folder: TempDir,
    file: PathBuf,
    bytes: Bytes,
}

impl Text {
    fn new(len: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("text.txt");
        let bytes = Bytes::from(corpus::text(len));
        fs::write(&file, &bytes).expect("the text is written");
        Self {
            folder,
            file,
            bytes,
        }
    }

    /// Ranges of the text that travel as one, in order.
    fn segments(&self) -> Vec<Bytes> {
        let cut = segments_of(&self.bytes, Split::default()).expect("lines");
        let ranges = cut
            .iter()
            .map(|cut| cut.offset as usize..(cut.offset + cut.len) as usize);
        ranges.map(|range| self.bytes.slice(range)).collect()
    }
}

/// What one round came to.
struct Round {
    alone: Duration,
    private: Duration,
    /// A worker that is handed the coordinator's file.
    shared: Twice,
    /// One that is sent the text, as on another machine.
    sent: Twice,
}

/// Two runs on an input that was uploaded.
struct Twice {
    first: Duration,
    again: Duration,
    /// Bytes that the second run was sent.
    sent_again: f64,
}

/// One of a round's kinds.
type Of = fn(&Round) -> &Twice;

/// Makes a worker one of another machine.
const SENT_ALL: &[&str] = &["--copy-inputs"];

pub(crate) async fn run(plan: &Plan, table: &mut Table) {
    let text = Text::new(plan.work(256 << 20, 4 << 20));
    times(&text, plan, table).await;
    rate(&text, plan, table).await;
    drop(text);
    memory(plan, table).await;
}

fn job() -> Job {
    Job::new("wordcount", json!({ "top": 50 }))
}

async fn times(text: &Text, plan: &Plan, table: &mut Table) {
    let segments = text.segments().into_iter();
    let segments = segments.map(|bytes| Arc::new(Segment::new(bytes, Split::default())));
    let here = InProcess::new(&job(), segments.collect(), threads());
    let (_, expected) = here.run();
    let cache = tempfile::tempdir().expect("a folder");
    let mut rounds = Vec::new();
    // The first one is there for the caches of compiled code and of files.
    for _ in 0..=plan.rounds {
        rounds.push(once(text, &here, &expected, cache.path()).await);
    }
    let rounds = &rounds[1..];
    let all = |of: fn(&Round) -> Duration| seconds(&rounds.iter().map(of).collect::<Vec<_>>());
    let alone = all(|round| round.alone);
    let size = format!("{} MiB of text", text.bytes.len() >> 20);
    let what = format!("{size}: one process, in memory already");
    table.add(Row::of(PART, what, Unit::Seconds, &alone));
    let what = format!("{size}, uploaded: coordinator and native worker");
    let shared = all(|round| round.shared.first);
    table.add(Row::ratio(PART, what, &shared, &alone).at_most(1.25));
    let what = format!("{size}, uploaded, sent as to another machine");
    let sent = all(|round| round.sent.first);
    table.add(Row::ratio(PART, what, &sent, &alone));
    let what = format!("{size}: `run`, from the command to its end");
    let private = all(|round| round.private);
    table.add(Row::ratio(PART, what, &private, &alone).at_most(1.25));
    let kinds: [(&str, Of); 2] = [
        ("once more", |round| &round.shared),
        ("sent before, once more", |round| &round.sent),
    ];
    for (kind, of) in kinds {
        let again: Vec<_> = rounds.iter().map(|round| of(round).again).collect();
        let what = format!("{size}, {kind}");
        table.add(Row::ratio(PART, what, &seconds(&again), &alone).at_most(1.25));
        let sent = rounds.iter().map(|round| of(round).sent_again / 1e6);
        let what = format!("{size}, {kind}: sent to it");
        let row = Row::of(PART, what, Unit::Megabytes, &sent.collect::<Vec<_>>());
        table.add(row.at_most(0.0));
    }
}

async fn once(text: &Text, here: &InProcess, expected: &[u8], cache: &Path) -> Round {
    let (alone, bytes) = here.run();
    assert_eq!(bytes, expected, "in one process");
    Round {
        alone,
        private: private(text, expected).await,
        shared: uploaded(text, cache, &[]).await,
        sent: uploaded(text, cache, SENT_ALL).await,
    }
}

/// Two runs, one after the other, by a worker with these options.
async fn uploaded(text: &Text, cache: &Path, options: &[&str]) -> Twice {
    let data = tempfile::tempdir().expect("a folder");
    let served = Served::start(data.path()).await;
    let worker = served.coordinator.worker_with(threads(), cache, options);
    let _worker = worker.await;
    // From now on the worker has the module and its code.
    let few = served.upload_bytes(b"a few words\n").await;
    served.counted(few).await;
    let hash = served.upload(text).await;
    let first = served.counted(hash).await;
    let sent = served.coordinator.metric(SENT).await;
    let again = served.counted(hash).await;
    let sent_again = served.coordinator.metric(SENT).await - sent;
    served.coordinator.kill().await;
    Twice {
        first,
        again,
        sent_again,
    }
}

/// The whole process of `manyhands run`, which reads the text in place.
async fn private(text: &Text, expected: &[u8]) -> Duration {
    let out = text.folder.path().join("out.json");
    let mut arguments = vec!["run".to_owned(), job().module().display().to_string()];
    let params = job().params.to_string();
    arguments.extend(["--here".to_owned(), "--params".to_owned(), params]);
    for (option, path) in [("--input", &text.file), ("--out", &out)] {
        arguments.extend([option.to_owned(), path.display().to_string()]);
    }
    let start = Instant::now();
    let mut process = Process::manyhands(arguments).expect("the run starts");
    let status = process.wait().await.expect("the run ends");
    let time = start.elapsed();
    assert!(status.success(), "{}", process.printed());
    assert_eq!(fs::read(&out).expect("a result"), expected, "in private");
    time
}

/// A coordinator that has the module.
struct Served {
    coordinator: Coordinator,
    module: BlobHash,
}

impl Served {
    async fn start(data: &Path) -> Self {
        let coordinator = Coordinator::start(data, &[]).await;
        let wasm = fs::read(job().module()).expect("the guest is built");
        let module = coordinator.client.upload_module(wasm).await;
        let module = module.expect("the module is admitted").hash;
        Self {
            coordinator,
            module,
        }
    }

    async fn upload(&self, text: &Text) -> BlobHash {
        let uploaded = self.coordinator.client.upload_file(&text.file).await;
        uploaded.expect("it is uploaded").hash
    }

    async fn upload_bytes(&self, bytes: &'static [u8]) -> BlobHash {
        let uploaded = self.coordinator.client.upload_bytes(bytes).await;
        uploaded.expect("it is uploaded").hash
    }

    async fn submit(&self, input: BlobHash) -> JobView {
        let mut submission = submission(self.module.to_string(), job().params);
        submission.inputs = vec![InputFile {
            path: "text".to_owned(),
            blob: input,
        }];
        let submitted = self.coordinator.client.submit(&submission).await;
        submitted.expect("the job is accepted")
    }

    /// From the submission to the news of the result.
    async fn counted(&self, input: BlobHash) -> Duration {
        let start = Instant::now();
        let submitted = self.submit(input).await;
        let over = self.coordinator.over(submitted.id).await;
        let time = start.elapsed();
        assert!(matches!(over.state, JobState::Done { .. }), "{over:?}");
        time
    }
}

/// How fast a worker that does nothing with it is sent the whole text.
async fn rate(text: &Text, plan: &Plan, table: &mut Table) {
    let data = tempfile::tempdir().expect("a folder");
    let served = Served::start(data.path()).await;
    let hash = served.upload(text).await;
    // It waits for workers, and its input is to be had meanwhile.
    served.submit(hash).await;
    let segments = text.segments();
    let hashes: Vec<BlobHash> = segments.iter().map(|bytes| BlobHash::of(bytes)).collect();
    let (mut rates, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        let before = cpu_seconds(served.coordinator.process());
        let start = Instant::now();
        let bytes = fetch(&served.coordinator.address, &hashes).await;
        let megabytes = bytes as f64 / 1e6;
        assert_eq!(bytes, text.bytes.len() as u64, "what has come");
        rates.push(megabytes / start.elapsed().as_secs_f64());
        cpu.push(cpu_seconds(served.coordinator.process()) - before);
    }
    served.coordinator.kill().await;
    let note = format!(
        "with {:.2} s of the coordinator's processor time",
        median(&cpu)
    );
    let row = Row::of(
        PART,
        "input leaves the coordinator",
        Unit::MegabytesPerSecond,
        &rates,
    );
    table.add(row.at_least(500.0).note(note));
}

/// The most memory a coordinator takes for a small and for a large input. The small
/// one too is longer than what may be on its way to a worker at once, so that only
/// the inputs' sizes differ.
async fn memory(plan: &Plan, table: &mut Table) {
    let cache = tempfile::tempdir().expect("a folder");
    let (small, large) = plan.work((256 << 20, 1 << 30), (1 << 20, 4 << 20));
    let mut peaks = Vec::new();
    for len in [small, large] {
        let text = Text::new(len);
        let data = tempfile::tempdir().expect("a folder");
        let served = Served::start(data.path()).await;
        let worker = served
            .coordinator
            .worker_with(threads(), cache.path(), SENT_ALL);
        let _worker = worker.await;
        let hash = served.upload(&text).await;
        served.counted(hash).await;
        peaks.push(peak_mb(served.coordinator.process()));
        served.coordinator.kill().await;
    }
    let what = format!(
        "coordinator's peak, {} MiB of text against {} MiB",
        large >> 20,
        small >> 20
    );
    let note = format!("{:.1} MB against {:.1} MB", peaks[1], peaks[0]);
    let row = Row::of(PART, what, Unit::Megabytes, &[peaks[1] - peaks[0]]);
    table.add(row.at_most(32.0).note(note));
}
