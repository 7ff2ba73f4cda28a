//! The base of a tab's ratio: the same module on bare Web Workers of the same
//! browser, timed inside, between the start of the workers and their end.

use crate::in_process;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use manyhands_engine::admit::admit;
use manyhands_protocol::limits::DEFAULT_MEMORY;
use manyhands_tests::browser::Browser;
use manyhands_tests::cluster::PATIENCE;
use manyhands_tests::jobs::Job;
use std::time::Duration;

/// Longer than any job that is compared.
const LIMIT: Duration = PATIENCE.saturating_mul(20);

/// Runs the job on `threads` workers.
pub(crate) async fn run(job: &Job, browser: &Browser, threads: u16) -> Duration {
    let wasm = std::fs::read(job.module()).expect("the guest is built");
    // What tabs get is what admission puts out.
    let wasm = admit(&wasm, DEFAULT_MEMORY).expect("it is admitted").wasm;
    let params = job.params.to_string();
    let file =
        |kind: &'static str, text: &'static str| get(async move || ([(CONTENT_TYPE, kind)], text));
    let routes = Router::new()
        .route("/", file("text/html", include_str!("bare/index.html")))
        .route(
            "/page.js",
            file("text/javascript", include_str!("bare/page.js")),
        )
        .route(
            "/worker.js",
            file("text/javascript", include_str!("bare/worker.js")),
        )
        .route("/params.json", get(async move || params.clone()))
        .route(
            "/guest.wasm",
            get(async move || ([(CONTENT_TYPE, "application/wasm")], wasm.clone())),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port is free");
    let address = listener.local_addr().expect("it listens");
    let server = tokio::spawn(async move { axum::serve(listener, routes).await });
    let blocks = in_process::blocks(threads);
    let url = format!("http://{address}/?threads={threads}&blocks={blocks}");
    let tab = browser.open(&url).await.expect("the page opens");
    let ended = "document.title.startsWith('{') && JSON.parse(document.title)";
    let ended = tab.wait_until(ended, LIMIT).await.expect("it ends");
    tab.close().await.expect("the tab closes");
    server.abort();
    assert!(
        ended["bytes"].as_u64().is_some_and(|bytes| bytes > 0),
        "partials came"
    );
    Duration::from_secs_f64(ended["took"].as_f64().expect("a time") / 1e3)
}
