//! `Host`, `Origin`, key and policy, as a browser or a stranger meets them.

use crate::guests;
use crate::setup::{start, start_with, submission};
use manyhands_client::Client;
use reqwest::header::{CONTENT_SECURITY_POLICY, HOST, ORIGIN};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

#[tokio::test]
async fn foreign_names_and_pages_are_refused_everywhere() {
    let running = start().await;
    let http = reqwest::Client::new();
    for path in [
        "/",
        "/api/v1/status",
        "/ws",
        "/healthz",
        "/metrics",
        "/hub.js",
    ] {
        let foreign = http
            .get(running.http(path))
            .header(HOST, "evil.example:7272");
        let answer = foreign.send().await.unwrap();
        assert_eq!(answer.status(), 403, "{path}");
        let body: serde_json::Value =
            serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(body["code"], "forbidden");
        let text = "this coordinator does not answer to the name \"evil.example:7272\"; \
                    --allow-host NAME lets it";
        assert_eq!(body["message"], text);
        let foreign = http
            .get(running.http(path))
            .header(ORIGIN, "http://evil.example");
        assert_eq!(foreign.send().await.unwrap().status(), 403, "{path}");
    }
    running.close().await;
}

#[tokio::test]
async fn foreign_pages_get_no_socket() {
    let running = start().await;
    let url = format!("ws://{}/ws", running.addr());
    let own = format!("http://{}", running.addr());
    for (origin, good) in [
        ("http://evil.example", false),
        ("null", false),
        (&own[..], true),
    ] {
        let mut request = (&url[..]).into_client_request().unwrap();
        request
            .headers_mut()
            .insert(ORIGIN, origin.parse().unwrap());
        let outcome = tokio_tungstenite::connect_async(request).await;
        match outcome {
            Ok(_) => assert!(good, "{origin}"),
            Err(Error::Http(answer)) => assert_eq!((answer.status().as_u16(), good), (403, false)),
            Err(other) => panic!("{other}"),
        }
    }
    running.close().await;
}

#[tokio::test]
async fn beyond_loopback_changing_state_needs_the_key() {
    let running = start_with(|config| config.listen = "0.0.0.0:0".parse().unwrap()).await;
    let key = running.key().expect("a key was made").to_owned();
    assert_eq!(key.len(), 32);
    let url = format!("http://127.0.0.1:{}", running.addr().port());
    let stranger = Client::new(&url, None).unwrap();
    let error = stranger.upload_module(guests::reduce(4)).await.unwrap_err();
    assert_eq!(error.code(), Some("forbidden"));
    let expected = "this needs the key that the coordinator printed when it started: \
                    --key KEY, or the header `Authorization: Bearer KEY`";
    assert_eq!(error.to_string(), expected);
    let author = Client::new(&url, Some(key)).unwrap();
    let module = author.upload_module(guests::reduce(4)).await.unwrap().hash;
    let error = stranger.submit(&submission(module)).await.unwrap_err();
    assert_eq!(error.code(), Some("forbidden"));
    let job = author.submit(&submission(module)).await.unwrap();
    assert_eq!(
        stranger.cancel(job.id).await.unwrap_err().code(),
        Some("forbidden")
    );
    assert_eq!(
        stranger.upload_bytes("x").await.unwrap_err().code(),
        Some("forbidden")
    );
    // Reading, and lending a hand, are free.
    assert_eq!(stranger.job(job.id).await.unwrap().id, job.id);
    assert_eq!(stranger.status().await.unwrap().running, 1);
    running.worker().await.header().await;
    running.close().await;
}

#[tokio::test]
async fn every_answer_has_the_policy() {
    let running = start().await;
    for path in ["/", "/none.js", "/api/v1/status"] {
        let answer = reqwest::get(running.http(path)).await.unwrap();
        let policy = answer.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
        let socket = format!("connect-src 'self' ws://{0} wss://{0};", running.addr());
        assert!(
            policy.starts_with("default-src 'none';") && policy.contains(&socket),
            "{policy}"
        );
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    }
    running.close().await;
}
