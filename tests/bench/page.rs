//! What a person waits for who opens the link: something to see, and the first
//! block that their browser has computed. Each time with a fresh profile, so that
//! nothing is cached; the browser runs already.

use crate::coordinator::Coordinator;
use crate::plan::Plan;
use crate::table::{Row, Table, Unit};
use crate::threads;
use manyhands_tests::browser::{Browser, Engine, Tab};
use manyhands_tests::cluster::PATIENCE;
use manyhands_tests::http;
use manyhands_tests::jobs::Job;
use serde_json::json;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) async fn run(plan: &Plan, table: &mut Table) {
    let rounds = plan.rounds.max(plan.work(5, 1));
    let (mut paints, mut blocks) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let folder = tempfile::tempdir().expect("a folder");
        let coordinator = Coordinator::start(&folder.path().join("data"), &[]).await;
        if !is_built(&coordinator).await {
            println!("page        the page is not in the binary: `cargo xtask web`, then build");
            return;
        }
        paints.push(first_paint(&coordinator).await);
        blocks.push(first_block(&coordinator).await);
    }
    let what = "opening the page until its first contentful paint";
    let row = Row::of("page", what, Unit::Milliseconds, &paints);
    table.add(row.at_most(200.0).note("in Chromium, by its own clock"));
    let what = "opening the link until the first block is accepted";
    let row = Row::of("page", what, Unit::Milliseconds, &blocks);
    table.add(row.at_most(1000.0).note("`pi`, a job that waits"));
}

async fn is_built(coordinator: &Coordinator) -> bool {
    let answer = http::get(&format!("http://{}/", coordinator.address)).await;
    answer.expect("the coordinator answers").0 == 200
}

async fn chromium() -> Browser {
    let browser = Browser::start(Engine::Chromium).await;
    browser.expect("a browser starts")
}

/// Milliseconds from the start of the navigation, as Paint Timing has it.
async fn first_paint(coordinator: &Coordinator) -> f64 {
    let browser = chromium().await;
    let url = format!("http://{}/", coordinator.address);
    let tab = browser.open(&url).await.expect("the page opens");
    let paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime";
    number(&tab, paint).await
}

/// Milliseconds from the start of the navigation until the coordinator has
/// accepted a block of that tab.
async fn first_block(coordinator: &Coordinator) -> f64 {
    let browser = chromium().await;
    let samples = 1_000_000_000_000_u64;
    let params = json!({ "samples": samples, "samples_per_task": 100_000, "seed": 1 });
    let wasm = std::fs::read(Job::new("pi", params.clone()).module()).expect("the guest is built");
    let job = coordinator.submit(wasm, params).await.id;
    let url = format!(
        "http://{}/?auto=1&threads={}",
        coordinator.address,
        threads()
    );
    let accepted = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(2));
        loop {
            let view = coordinator.client.job(job).await.expect("it answers");
            if view.done > 0 {
                return SystemTime::now();
            }
            ticks.tick().await;
        }
    };
    let (tab, accepted) =
        tokio::join!(browser.open(&url), tokio::time::timeout(PATIENCE, accepted));
    let (tab, accepted) = (
        tab.expect("the page opens"),
        accepted.expect("a block comes"),
    );
    let since_epoch = accepted
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970");
    since_epoch.as_secs_f64() * 1e3 - number(&tab, "performance.timeOrigin").await
}

async fn number(tab: &Tab, expression: &str) -> f64 {
    let value = tab
        .wait_until(expression, PATIENCE)
        .await
        .expect("it comes");
    value.as_f64().expect("a number")
}
