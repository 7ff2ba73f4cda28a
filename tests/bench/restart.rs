//! How long a coordinator takes to be back after a crash.

use crate::coordinator::{Coordinator, submission};
use crate::guests::guest;
use crate::plan::Plan;
use crate::table::{Row, Table, Unit, seconds};
use futures_util::StreamExt;
use manyhands_protocol::MergeMode;
use serde_json::json;

/// Submissions under way at the same time.
const AT_ONCE: usize = 8;

pub(crate) async fn run(plan: &Plan, table: &mut Table) {
    let jobs: usize = plan.work(1000, 50);
    let folder = tempfile::tempdir().expect("a folder");
    let mut coordinator = Coordinator::start(folder.path(), &[]).await;
    let empty = coordinator.started;
    for mode in [MergeMode::Reduce, MergeMode::Concat] {
        let module = coordinator.client.upload_module(guest(mode, 1 << 30)).await;
        let module = module.expect("the module is admitted").hash.to_string();
        let submissions = futures_util::stream::iter(0..jobs / 2).map(async |number| {
            let submission = submission(module.clone(), json!({ "number": number }));
            let job = coordinator.client.submit(&submission).await;
            job.expect("the job is accepted");
        });
        submissions
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<()>>()
            .await;
    }
    let mut times = Vec::new();
    for _ in 0..plan.rounds {
        coordinator.kill().await;
        coordinator = Coordinator::start(folder.path(), &[]).await;
        times.push(coordinator.started);
        let status = coordinator.client.status().await;
        assert_eq!(status.expect("a status").running, jobs as u64);
    }
    let what = format!("start with {jobs} waiting jobs, until /healthz is well");
    let note = format!(
        "after SIGKILL, half of them `concat`; {:.3} s without jobs",
        empty.as_secs_f64()
    );
    let row = Row::of("restart", what, Unit::Seconds, &seconds(&times));
    table.add(row.at_most(2.0).note(note));
    coordinator.kill().await;
}
