//! What much unfinished work, and many finished jobs, cost.

use crate::coordinator::{Coordinator, submission};
use crate::guests::guest;
use crate::machine;
use crate::plan::Plan;
use crate::stand_in::{News, Role, StandIn};
use crate::table::{Row, Table, Unit, milliseconds};
use futures_util::StreamExt;
use manyhands_protocol::api::{JobState, JobView};
use manyhands_protocol::{JobId, MergeMode};
use serde_json::json;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// As many slots as one worker may hold leases.
const ROLE: Role = Role {
    slots: 512,
    bytes_per_task: 1,
    busy_us: 0,
};

/// Leases that each such worker holds at least.
const HELD: u64 = 500;

/// Submissions under way at the same time.
const AT_ONCE: usize = 8;

/// Jobs on a page, as the command line and the page ask for them.
const PAGE: usize = 50;

/// Single tasks, once a worker has answered its first blocks, and seems slow.
const SHORT_BLOCKS: [&str; 2] = ["--block-us", "1"];

pub(crate) async fn run(plan: &Plan, table: &mut Table) {
    outstanding(plan, table).await;
    finished(plan, table).await;
}

async fn outstanding(plan: &Plan, table: &mut Table) {
    let blocks: u64 = plan.work(1_000_000, 10_000);
    let folder = tempfile::tempdir().expect("a folder");
    let coordinator = Coordinator::start(folder.path(), &SHORT_BLOCKS).await;
    let idle = machine::resident_mb(coordinator.process());
    let held = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..blocks.div_ceil(HELD) {
        let worker = StandIn::join(&coordinator.address, ROLE).await;
        workers.spawn(hoard(worker, Arc::clone(&held)));
    }
    let joined = machine::resident_mb(coordinator.process());
    coordinator
        .submit(guest(MergeMode::Reduce, 1 << 40), json!({}))
        .await;
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    while held.load(Ordering::Relaxed) < blocks {
        tokio::select! {
            _ = ticks.tick() => {}
            ended = workers.join_next() => panic!("a worker ended early: {ended:?}"),
        }
    }
    let resident = machine::resident_mb(coordinator.process());
    let what = format!("{blocks} outstanding blocks, resident");
    let note = format!(
        "{} workers; {joined:.0} MB before the job, {idle:.0} MB before the workers",
        blocks.div_ceil(HELD)
    );
    let row = Row::of("memory", what, Unit::Megabytes, &[resident]);
    table.add(row.at_most(500.0).note(note));
    workers.shutdown().await;
    coordinator.kill().await;
}

/// Holds leases of single tasks for ever. The first blocks that a worker is given
/// have a task for each slot: it answers these, one after the other, and so
/// seems slow.
async fn hoard(mut worker: StandIn, held: Arc<AtomicU64>) {
    let mut first = VecDeque::new();
    let mut waiting = None;
    loop {
        match worker.next().await {
            News::Granted(grant) if grant.tasks > 1 => first.push_back(grant),
            News::Granted(_) => {
                held.fetch_add(1, Ordering::Relaxed);
            }
            News::Accepted(lease) if waiting == Some(lease) => waiting = None,
            News::Forgotten => return,
            News::Revoked(_) => panic!("asked back while most tasks are free"),
            News::Accepted(_) | News::Noted => {}
        }
        if waiting.is_none()
            && let Some(grant) = first.pop_front()
        {
            worker.answer(grant).await;
            waiting = Some(grant.lease);
        }
    }
}

async fn finished(plan: &Plan, table: &mut Table) {
    let jobs: u64 = plan.work(10_000, 100);
    let folder = tempfile::tempdir().expect("a folder");
    let coordinator = Coordinator::start(folder.path(), &[]).await;
    let module = coordinator
        .client
        .upload_module(guest(MergeMode::Concat, 0))
        .await;
    let module = module.expect("the module is admitted").hash.to_string();
    let submissions = futures_util::stream::iter(0..jobs).map(async |number| {
        let params = json!({ "number": number, "title": "one of many jobs" });
        let submission = submission(module.clone(), params);
        let job = coordinator.client.submit(&submission).await;
        job.expect("the job is accepted").id
    });
    let ids: Vec<JobId> = submissions.buffer_unordered(AT_ONCE).collect().await;
    let newest = *ids.iter().max().expect("some jobs");
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    while coordinator.client.status().await.expect("a status").running > 0 {
        ticks.tick().await;
    }
    for (what, before) in [
        ("the newest 50", None),
        ("50 from the middle", Some(JobId(newest.0 - jobs / 4))),
    ] {
        let mut times = Vec::new();
        for _ in 0..plan.work(200, 10) {
            let start = Instant::now();
            let page = coordinator.client.jobs(before, PAGE).await;
            times.push(start.elapsed());
            let jobs = page.expect("a page").jobs;
            let done = |job: &JobView| matches!(job.state, JobState::Done { .. });
            assert!(jobs.len() == PAGE && jobs.iter().all(done));
        }
        let what = format!("a page of {jobs} finished jobs: {what}");
        let row = Row::of("memory", what, Unit::Milliseconds, &milliseconds(&times));
        table.add(row.at_most(10.0).note("over HTTP, decoded"));
    }
    coordinator.kill().await;
}
