//! Workers that die, tabs that close, workers that leave: the same bytes.

use manyhands_tests::browser::{Browser, Engine};
use manyhands_tests::cluster::{Cluster, shown_name, workers};
use manyhands_tests::jobs::Job;
use manyhands_tests::process::Signal;
use manyhands_tests::processes;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_and_a_closed_tab_cost_nothing_but_time() {
    let cluster = Cluster::start().await;
    let browser = Browser::start(Engine::Chromium).await.unwrap();
    for job in [Job::pi(1600), Job::mandelbrot(1400), Job::wordcount(48)] {
        let victim = cluster.worker("victim", 1).await;
        let tab = cluster.tab(&browser, 1).await;
        let running = cluster.run(&job, &[]);
        cluster.until_under_way().await;
        victim.signal(Signal::KILL).unwrap();
        tab.close().await.unwrap();
        let _heir = cluster.worker("heir", 2).await;
        let outcome = running.outcome().await;
        outcome.assert_bytes(&job.expected(), "while a worker is killed and a tab closed");
        outcome.assert_helped("heir");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_tab_gives_its_leases_back_at_once() {
    let cluster = Cluster::start().await;
    let browser = Browser::start(Engine::Chromium).await.unwrap();
    let tab = cluster.tab(&browser, 1).await;
    let job = Job::pi(400);
    let running = cluster.run(&job, &[]);
    cluster.until_under_way().await;
    let name = shown_name(Engine::Chromium);
    tab.close().await.unwrap();
    // A session that was said goodbye to is over, not merely disconnected.
    cluster
        .until("the tab's session is over", async |client| {
            let workers = workers(client).await;
            !workers.iter().any(|worker| worker.name.contains(name))
        })
        .await;
    let _heir = cluster.worker("heir", 2).await;
    running
        .outcome()
        .await
        .assert_bytes(&job.expected(), "after the tab was closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_hands_in_and_leaves() {
    let cluster = Cluster::start().await;
    let mut leaver = cluster.worker("leaver", 1).await;
    let job = Job::pi(600);
    let running = cluster.run(&job, &[]);
    cluster.until_under_way().await;
    leaver.signal(Signal::INT).unwrap();
    assert!(
        leaver.wait().await.unwrap().success(),
        "{}",
        leaver.printed()
    );
    assert!(
        leaver.printed().contains("thank you"),
        "{}",
        leaver.printed()
    );
    assert!(
        cluster.worker_view("leaver").await.is_none(),
        "it said goodbye"
    );
    let _heir = cluster.worker("heir", 2).await;
    let outcome = running.outcome().await;
    outcome.assert_bytes(&job.expected(), "after a worker left");
    outcome.assert_helped("leaver");
    assert_eq!(outcome.job.retries, 0, "what had begun was handed in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_compute_child_costs_a_retry_not_the_worker() {
    let cluster = Cluster::start().await;
    let worker = cluster.worker("native", 2).await;
    let job = Job::pi(600);
    let running = cluster.run(&job, &[]);
    cluster.until_under_way().await;
    let before = cluster.worker_view("native").await.unwrap().id;
    let children = processes::children(worker.id().unwrap());
    assert_eq!(children.len(), 1, "a worker has one compute child");
    processes::signal(&children, Signal::KILL);
    let outcome = running.outcome().await;
    outcome.assert_bytes(&job.expected(), "after the compute child was killed");
    assert_eq!(
        cluster.worker_view("native").await.unwrap().id,
        before,
        "the same session"
    );
}
