//! What one who waits for a single task waits for: a warm job through a
//! connection that is kept, and `manyhands run` typed where nothing is warm.

use crate::coordinator::{Coordinator, submission};
use crate::plan::Plan;
use crate::table::{Row, Table, Unit, median, milliseconds, quantile};
use crate::{machine, threads};
use manyhands_client::Client;
use manyhands_protocol::api::Submission;
use manyhands_tests::files;
use serde_json::json;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A job that takes longer is lost.
const LOST: Duration = Duration::from_secs(10);

/// Jobs that find connections, caches and files cold.
const WARM_UP: usize = 20;

pub(crate) async fn run(plan: &Plan, table: &mut Table) {
    warm(plan, table, &[], "durable").await;
    warm(plan, table, &["--ephemeral"], "--ephemeral").await;
    cold(plan, table);
}

/// A job of one task, from the submission to the bytes of its result.
async fn warm(plan: &Plan, table: &mut Table, options: &[&str], how: &str) {
    let (mut middles, mut slow, mut syncs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let coordinator = Coordinator::start(&data, options).await;
        let _worker = coordinator
            .worker(threads(), &folder.path().join("code"))
            .await;
        let wasm = std::fs::read(files::guest("pi")).expect("the guest was built");
        let module = coordinator.client.upload_module(wasm).await;
        let module = module.expect("the module is admitted").hash.to_string();
        let mut times = Vec::new();
        for seed in 0..WARM_UP + plan.work(1000, 20) {
            // Another seed each time: no result is there already.
            let params = json!({ "samples": 1000, "seed": seed });
            let once = one(&coordinator.client, &submission(module.clone(), params)).await;
            if seed >= WARM_UP {
                times.push(once);
            }
            if seed % 100 == 99 {
                syncs.extend(machine::sync_ms(&data, 5));
            }
        }
        let times = milliseconds(&times);
        middles.push(quantile(&times, 0.5));
        slow.push(quantile(&times, 0.99));
    }
    let sync = if syncs.is_empty() {
        0.0
    } else {
        median(&syncs)
    };
    let what = format!("one warm task, {how}, submission to result, median");
    let row = Row::of("latency", what, Unit::Milliseconds, &middles);
    table.add(row.at_most(1.0 + sync).note(format!("sync {sync:.3} ms")));
    let what = format!("one warm task, {how}, submission to result, 99 %");
    table.add(Row::of("latency", what, Unit::Milliseconds, &slow));
}

async fn one(client: &Client, submission: &Submission) -> Duration {
    let start = Instant::now();
    let waited = client.submit_and_wait(submission, LOST).await;
    let took = start.elapsed();
    let result = waited.expect("it is accepted").bytes();
    assert!(!result.expect("a small result").is_empty());
    took
}

/// `manyhands run` of 10^6 samples with nothing cached, from the start of the
/// process until it has ended.
fn cold(plan: &Plan, table: &mut Table) {
    let mut times = Vec::new();
    for _ in 0..plan.work(7 * plan.rounds, 1) {
        let home = tempfile::tempdir().expect("a folder");
        times.push(typed(home.path()));
    }
    let what = "`manyhands run` of pi, 10^6 samples, nothing compiled";
    let row = Row::of("latency", what, Unit::Milliseconds, &milliseconds(&times));
    table.add(row.at_most(300.0));
}

/// As a user with this home types it.
fn typed(home: &Path) -> Duration {
    let mut command = Command::new(files::manyhands());
    command
        .arg("run")
        .arg(files::guest("pi"))
        .args(["--here", "--params", r#"{"samples":1000000}"#])
        .env("HOME", home)
        .env("XDG_CACHE_HOME", home.join("cache"))
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let start = Instant::now();
    let output = command.output().expect("the binary starts");
    let took = start.elapsed();
    assert!(output.status.success(), "{}", output.status);
    let result = String::from_utf8_lossy(&output.stdout);
    assert!(result.contains("\"pi\""), "{result}");
    took
}
