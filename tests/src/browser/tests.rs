//! Each engine opens a page over plain HTTP, which starts a module worker, which
//! runs a Wasm module: what a volunteer's tab rests on.

use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener;

use super::{Browser, BrowserError, Engine};

const PAGE: &str = r#"<!doctype html><title>harness</title><script type="module">
    const worker = new Worker("/worker.js", { type: "module" });
    worker.onmessage = (message) => { window.answer = message.data; };
    worker.onerror = (error) => { window.answer = { error: error.message }; };
</script>"#;

/// The import makes a worker of any other type fail.
const WORKER: &str = r#"
    import { operands } from "/operands.js";
    const bytes = await (await fetch("/multiply.wasm")).arrayBuffer();
    const { instance } = await WebAssembly.instantiate(bytes);
    postMessage({ product: instance.exports.multiply(...operands) });
"#;

const MULTIPLY: &str = r#"(module (func (export "multiply") (param i32 i32) (result i32)
    (i32.mul (local.get 0) (local.get 1))))"#;

const LIMIT: Duration = Duration::from_secs(30);

async fn serve() -> String {
    let module = wat::parse_str(MULTIPLY).unwrap();
    let script = |text| ([(CONTENT_TYPE, "text/javascript")], text);
    let routes = Router::new()
        .route("/", get(|| async { ([(CONTENT_TYPE, "text/html")], PAGE) }))
        .route("/worker.js", get(move || async move { script(WORKER) }))
        .route(
            "/operands.js",
            get(move || async move { script("export const operands = [6, 7];") }),
        )
        .route(
            "/multiply.wasm",
            get(move || async move { ([(CONTENT_TYPE, "application/wasm")], module) }),
        );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

async fn computes_in_a_module_worker(engine: Engine) {
    let url = serve().await;
    let browser = Browser::start(engine).await.unwrap();
    let tab = browser.open(&url).await.unwrap();
    let answer = tab.wait_until("window.answer", LIMIT).await.unwrap();
    assert_eq!(answer, json!({ "product": 42 }));

    let seen = tab.run("return document.visibilityState", vec![]).await;
    assert_eq!(seen.unwrap(), json!("visible"));

    let agent = tab.run("return navigator.userAgent", vec![]).await.unwrap();
    let agent = agent.as_str().unwrap();
    let family = match engine {
        Engine::Chromium => agent.contains("Chrome/"),
        Engine::Firefox => agent.contains("Firefox/"),
        Engine::WebKit => agent.contains("AppleWebKit/") && !agent.contains("Chrome/"),
    };
    assert!(family, "{agent}");

    let picture = tab.screenshot().await.unwrap();
    assert!(picture.starts_with(b"\x89PNG\r\n"));

    let other = browser.open(&url).await.unwrap();
    tab.close().await.unwrap();
    let answer = other.wait_until("window.answer", LIMIT).await.unwrap();
    assert_eq!(answer, json!({ "product": 42 }));
}

#[tokio::test]
async fn chromium_computes_in_a_module_worker() {
    computes_in_a_module_worker(Engine::Chromium).await;
}

#[tokio::test]
async fn firefox_computes_in_a_module_worker() {
    computes_in_a_module_worker(Engine::Firefox).await;
}

#[tokio::test]
async fn webkit_computes_in_a_module_worker() {
    computes_in_a_module_worker(Engine::WebKit).await;
}

#[tokio::test]
async fn a_condition_that_fails_says_why() {
    let browser = Browser::start(Engine::Chromium).await.unwrap();
    let tab = browser.open("about:blank").await.unwrap();
    let never = tab
        .wait_until("window.never", Duration::from_millis(50))
        .await;
    assert!(
        matches!(&never, Err(BrowserError::Condition { condition, .. }) if condition == "window.never"),
        "{never:?}"
    );
    let thrown = tab
        .wait_until("nothing.at.all", LIMIT)
        .await
        .unwrap_err()
        .to_string();
    assert!(thrown.contains("nothing is not defined"), "{thrown}");
}
