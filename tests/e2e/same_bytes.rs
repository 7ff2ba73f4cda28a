//! The same job by one thread, by native workers, by each browser's engine, and
//! by all of them together: the same bytes.

use manyhands_tests::browser::{Browser, Engine};
use manyhands_tests::cluster::{Cluster, shown_name};
use manyhands_tests::jobs::Job;

/// The three kinds of job: reduce, concat, reduce over an input. Each is about
/// two seconds of one thread, so that it comes in several blocks.
fn jobs() -> [Job; 3] {
    [Job::pi(300), Job::mandelbrot(700), Job::wordcount(24)]
}

async fn run_all(cluster: &Cluster, helper: &str, how: &str) {
    for job in jobs() {
        let outcome = cluster.run(&job, &[]).outcome().await;
        outcome.assert_bytes(&job.expected(), how);
        outcome.assert_helped(helper);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_one_two_and_five_native_workers() {
    let cluster = Cluster::start().await;
    let mut workers = Vec::new();
    for (number, threads) in [(1, 1), (2, 2), (5, 1)] {
        while workers.len() < number {
            let name = format!("native-{}", workers.len());
            workers.push(cluster.worker(&name, threads).await);
        }
        run_all(&cluster, "native", &format!("by {number} native workers")).await;
    }
}

async fn by_a_tab_of(engine: Engine) {
    let cluster = Cluster::start().await;
    let browser = Browser::start(engine).await.unwrap();
    let tab = cluster.tab(&browser, 2).await;
    run_all(
        &cluster,
        shown_name(engine),
        &format!("by a {engine:?} tab"),
    )
    .await;
    let blocks = tab
        .run("return Number(document.body.dataset.blocks)", vec![])
        .await
        .unwrap();
    assert!(
        blocks.as_u64().unwrap() >= 3,
        "the page counts what it did: {blocks}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn by_a_chromium_tab() {
    by_a_tab_of(Engine::Chromium).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_a_firefox_tab() {
    by_a_tab_of(Engine::Firefox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_a_webkit_tab() {
    by_a_tab_of(Engine::WebKit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_all_of_them_at_once() {
    let cluster = Cluster::start().await;
    let _first = cluster.worker("native-a", 1).await;
    let _second = cluster.worker("native-b", 1).await;
    let mut browsers = Vec::new();
    for engine in [Engine::Chromium, Engine::Firefox, Engine::WebKit] {
        let browser = Browser::start(engine).await.unwrap();
        let tab = cluster.tab(&browser, 1).await;
        browsers.push((browser, tab));
    }
    // Long enough that even the slowest of five on two cores gets its block in.
    for job in [Job::pi(2000), Job::mandelbrot(1600), Job::wordcount(64)] {
        let outcome = cluster.run(&job, &[]).outcome().await;
        outcome.assert_bytes(&job.expected(), "by all at once");
        for helper in ["native-a", "native-b"] {
            outcome.assert_helped(helper);
        }
        if job.guest == "pi" {
            for engine in [Engine::Chromium, Engine::Firefox, Engine::WebKit] {
                outcome.assert_helped(shown_name(engine));
            }
        }
    }
}
