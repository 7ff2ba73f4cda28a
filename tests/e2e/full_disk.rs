//! A data folder on a disk that fills up in the middle of a job: the coordinator
//! says so, hands nothing out that it could not keep, and goes on when there is
//! space again, with nothing lost.

use manyhands_tests::cluster::{self, Cluster, Setup};
use manyhands_tests::jobs::Job;
use manyhands_tests::tiny_disk::{self, Filler};
use std::path::PathBuf;
use std::time::Duration;

const NO_SPACE: &str = "no space is left";

async fn on(disk: PathBuf) -> Cluster {
    let setup = Setup {
        data: Some(disk.join("data")),
        ..Setup::default()
    };
    Cluster::start_with(setup).await
}

/// Waits until the coordinator has noticed, and asserts that everyone is told
/// and nothing is handed out meanwhile.
async fn assert_in_trouble(cluster: &Cluster) {
    cluster
        .until("the coordinator is in trouble", async |client| {
            client.status().await.unwrap().trouble.is_some()
        })
        .await;
    let grants = cluster.metric("manyhands_grants_total").await;
    let (status, text) = cluster.health().await.unwrap();
    assert_eq!(status, 503, "{text}");
    assert!(text.contains(NO_SPACE), "{text}");
    let (code, printed) = cluster.command(&["workers"]).await;
    assert_eq!(code, Some(0));
    let told = format!("the coordinator hands nothing out: {NO_SPACE}");
    assert!(printed.contains(&told), "{printed}");
    // The disk stays full for longer than a block takes.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = cluster.metric("manyhands_grants_total").await;
    assert_eq!(after, grants, "leases were granted on a full disk");
    assert_eq!(cluster.health().await.unwrap().0, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_middle_of_a_job() {
    let name = "full_disk::in_the_middle_of_a_job";
    let Some(disk) = tiny_disk::of(48, name).await else {
        return;
    };
    let cluster = on(disk.clone()).await;
    let workers = [
        cluster.worker("first", 1).await,
        cluster.worker("second", 1).await,
    ];
    // Its result grows. Small partials would go on: where there is no space the
    // journal makes do with what it has.
    let job = Job::mandelbrot(1400);
    let mut running = cluster.run(&job, &[]);
    cluster.until_done(1, 8).await;
    let filler = Filler::new(&disk);
    assert_in_trouble(&cluster).await;
    running.line(NO_SPACE).await;
    drop(filler);
    cluster
        .until("the coordinator is well", async |client| {
            client.status().await.unwrap().trouble.is_none()
        })
        .await;
    assert_eq!(cluster.health().await.unwrap(), (200, "ok\n".to_owned()));
    let outcome = running.outcome().await;
    outcome.assert_bytes(&job.expected(), "with a full disk on the way");
    cluster.end(workers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn and_the_coordinator_killed() {
    let name = "full_disk::and_the_coordinator_killed";
    let Some(disk) = tiny_disk::of(48, name).await else {
        return;
    };
    let mut cluster = on(disk.clone()).await;
    let worker = cluster.worker("only", 2).await;
    let job = Job::mandelbrot(1400);
    let running = cluster.run(&job, &[]);
    cluster.until_done(1, 4).await;
    let done = cluster.newest().await.done;
    let filler = Filler::new(&disk);
    assert_in_trouble(&cluster).await;
    cluster.kill().await;
    let (code, printed) = cluster.start_in_vain().await;
    assert_eq!(code, Some(3), "{printed}");
    let error: Vec<&str> = printed.lines().collect();
    assert!(
        matches!(error[..], [line] if line.starts_with("error: no space is left") && line.contains("free some")),
        "{printed}"
    );
    drop(filler);
    cluster.start_again().await;
    let outcome = running.outcome().await;
    outcome.assert_bytes(&job.expected(), "after a kill on a full disk");
    // What was done before the disk was full is not done again: it was recorded, or
    // the worker has it still.
    let (tasks, handed_in) = (outcome.job.tasks, cluster::handed_in(worker).await);
    assert!(
        handed_in <= tasks + done / 10,
        "{handed_in} handed in for {tasks}, of which {done} were done"
    );
    cluster.end([]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_does_not_fit() {
    let name = "full_disk::an_upload_that_does_not_fit";
    let Some(disk) = tiny_disk::of(16, name).await else {
        return;
    };
    let cluster = on(disk).await;
    let worker = cluster.worker("only", 2).await;
    let great = Job::wordcount(24);
    let module = great.module().display().to_string();
    let options = great.options();
    let mut arguments = vec!["run", &module];
    arguments.extend(options.iter().map(String::as_str));
    let (code, printed) = cluster.command(&arguments).await;
    assert_eq!(code, Some(3), "{printed}");
    let lines: Vec<&str> = printed.lines().filter(|line| !line.is_empty()).collect();
    let folder = cluster.data.display().to_string();
    assert!(
        matches!(lines[..], [.., line] if line.starts_with("error: no space is left in the data folder")
            && line.contains(&folder) && line.ends_with("free some and try again")),
        "{printed}"
    );
    assert_eq!(
        lines.iter().filter(|line| line.contains("error")).count(),
        1,
        "{printed}"
    );
    assert!(cluster.client.jobs(None, 10).await.unwrap().jobs.is_empty());

    // Nothing of it stays: what fits is taken.
    let small = Job::wordcount(8);
    let outcome = cluster.run(&small, &[]).outcome().await;
    outcome.assert_bytes(&small.expected(), "after an upload that did not fit");
    cluster.end([worker]).await;
}
