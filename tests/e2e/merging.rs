//! Partials so large that workers merge them: the same bytes, also when one that
//! was asked to is killed.

use manyhands_tests::cluster::Cluster;
use manyhands_tests::jobs::Job;
use manyhands_tests::process::Signal;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn workers_merge_what_is_large() {
    let job = Job::new("tally", json!({ "tasks": 240, "keys": 20_000 }));
    let cluster = Cluster::start().await;
    let _first = cluster.worker("native-a", 1).await;
    let second = cluster.worker("native-b", 1).await;
    let running = cluster.run(&job, &[]);
    cluster.until_done(1, 4).await;
    second.signal(Signal::KILL).unwrap();
    let outcome = running.outcome().await;
    outcome.assert_bytes(&job.expected(), "merged by workers");
    let merged = cluster.metric("manyhands_leased_merges_total").await;
    assert!(merged > 0, "no worker was asked to merge");
}
