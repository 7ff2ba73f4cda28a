//! Guests that fail in every way there is: the job fails naming the one task,
//! workers and other jobs go on.

use manyhands_tests::browser::{Browser, Engine};
use manyhands_tests::cluster::{Cluster, PATIENCE, shown_name, workers};
use manyhands_tests::jobs::Job;
use serde_json::json;

fn misbehaving(how: &str) -> Job {
    Job::new(
        "misbehave",
        json!({ "tasks": 3000, "at": 1234, "how": how }),
    )
}

/// Each way to fail, and a part of what its author is told.
const WAYS: [(&str, &str); 5] = [
    ("error", "task 1234"),
    ("panic", "panicked at"),
    ("loop", "task 1234"),
    ("stack", "stack"),
    ("memory", "memory"),
];

/// Every failure names the task, and an honest job beside it ends well.
async fn fails_in_every_way(cluster: &Cluster) {
    let honest = Job::pi(400);
    let beside = cluster.run(&honest, &[]);
    for (how, told) in WAYS {
        let job = misbehaving(how);
        let options = ["--task-timeout", "1s", "--memory", "64MiB"];
        let (code, printed) = cluster.run(&job, &options).failure().await;
        assert_eq!(code, Some(1), "{how}: {printed}");
        assert!(
            printed.contains("task 1234"),
            "{how} names the task: {printed}"
        );
        assert!(printed.contains(told), "{how}: {printed}");
    }
    beside
        .outcome()
        .await
        .assert_bytes(&honest.expected(), "beside guests that fail");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_native_worker() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("native", 2).await;
    let before = cluster.worker_view("native").await.unwrap().id;
    fails_in_every_way(&cluster).await;
    assert_eq!(
        cluster.worker_view("native").await.unwrap().id,
        before,
        "the worker went on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_tab() {
    let cluster = Cluster::start().await;
    let browser = Browser::start(Engine::Chromium).await.unwrap();
    let tab = cluster.tab(&browser, 2).await;
    fails_in_every_way(&cluster).await;
    let name = shown_name(Engine::Chromium);
    let workers = workers(&cluster.client).await;
    assert!(
        workers.iter().any(|worker| worker.name.contains(name)),
        "the tab went on"
    );
    let idle = tab.wait_until("document.body.dataset.state === 'waiting'", PATIENCE);
    idle.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_parameters_bother_no_worker() {
    let cluster = Cluster::start().await;
    let (code, printed) = cluster.run(&misbehaving("refuse"), &[]).failure().await;
    assert_eq!(code, Some(2), "{printed}");
    assert!(
        printed.contains("these parameters are refused on purpose"),
        "{printed}"
    );
    assert!(cluster.client.jobs(None, 10).await.unwrap().jobs.is_empty());
}
