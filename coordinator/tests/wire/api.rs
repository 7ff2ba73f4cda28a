//! The HTTP API: what it answers, errors above all.

use crate::guests;
use crate::setup::{Running, start, start_with, submission};
use manyhands_coordinator::{Config, Coordinator, StartError};
use manyhands_protocol::BlobHash;
use manyhands_protocol::api::{BroadcastFile, InputFile, JobState};
use serde_json::{Value, json};

/// What a refused request answers: status, code, message.
async fn refused(request: reqwest::RequestBuilder) -> (u16, String, String) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    let text = |field: &str| body[field].as_str().unwrap().to_owned();
    (status, text("code"), text("message"))
}

async fn submit_refused(running: &Running, body: Value) -> (u16, String, String) {
    let request = reqwest::Client::new().post(running.http("/api/v1/jobs"));
    refused(request.json(&body)).await
}

fn is(found: (u16, String, String), status: u16, code: &str, message: &str) {
    assert_eq!(found, (status, code.into(), message.into()));
}

#[tokio::test]
async fn bad_modules_are_refused_with_the_reason() {
    let running = start().await;
    let post = |body: Vec<u8>| {
        reqwest::Client::new()
            .post(running.http("/api/v1/modules"))
            .body(body)
    };
    is(
        refused(post(b"#!/bin/sh".to_vec())).await,
        422,
        "bad_module",
        "not a WebAssembly module: it does not begin with \"\\0asm\" and version 1",
    );
    let mut cut = guests::reduce(4);
    cut.truncate(cut.len() - 3);
    let (status, code, message) = refused(post(cut)).await;
    assert_eq!((status, &code[..]), (422, "bad_module"));
    assert!(message.starts_with("truncated: "), "{message}");
    let (status, code, _) = refused(post(vec![0; (64 << 20) + 1])).await;
    assert_eq!((status, &code[..]), (413, "too_large"));
    running.close().await;
}

#[tokio::test]
async fn bad_parameters_are_refused_in_the_guests_words() {
    let running = start().await;
    let module = running
        .client
        .upload_module(guests::reduce(4))
        .await
        .unwrap()
        .hash;
    let body = json!({ "name": "x", "module": module, "params": [1, 2] });
    let expected = "params must be an object";
    is(
        submit_refused(&running, body).await,
        422,
        "bad_params",
        expected,
    );
    // A refused submission leaves no job.
    assert!(running.client.jobs(None, 10).await.unwrap().jobs.is_empty());
    running.close().await;
}

#[tokio::test]
async fn parameters_are_refused_before_inputs_that_cannot_be_read() {
    let running = start().await;
    let module = running.client.upload_module(guests::over_records()).await;
    let mut wanted = submission(module.unwrap().hash);
    wanted.params = json!([1, 2]);
    let missing = vec![("a.txt".into(), running.folder().join("a.txt"))];
    let refused = running.submit_in_place(wanted, missing).await.unwrap_err();
    assert_eq!(refused.to_string(), "params must be an object");
    running.close().await;
}

#[tokio::test]
async fn bad_submissions() {
    let running = start().await;
    let plain = running
        .client
        .upload_module(guests::reduce(4))
        .await
        .unwrap()
        .hash;
    let records = running
        .client
        .upload_module(guests::over_records())
        .await
        .unwrap()
        .hash;
    let unknown = BlobHash::of(b"unknown");
    let input = json!([{ "path": "a.txt", "blob": unknown }]);
    let one = |module, field: &str, value| {
        let mut body = json!({ "name": "x", "module": module, "params": {} });
        body[field] = value;
        body
    };
    let text = format!("module {unknown} is not here: upload it first");
    is(
        submit_refused(&running, one(unknown, "name", "y".into())).await,
        404,
        "not_found",
        &text,
    );
    let text = "input a.txt is not here: upload it first";
    is(
        submit_refused(&running, one(records, "inputs", input)).await,
        404,
        "not_found",
        text,
    );
    let text = "this module's tasks are records of an input: give it some";
    is(
        submit_refused(&running, one(records, "name", "y".into())).await,
        400,
        "bad_input",
        text,
    );
    let text = "this module takes no inputs that could be split";
    is(
        submit_refused(&running, one(plain, "split", "lines".into())).await,
        400,
        "bad_input",
        text,
    );
    let text = "a job's weight is from 1 to 1000";
    is(
        submit_refused(&running, one(plain, "weight", 0.into())).await,
        400,
        "bad_input",
        text,
    );
    let text = "a guest's memory is from 64 KiB to 4 GiB";
    is(
        submit_refused(&running, one(plain, "memory", 5.into())).await,
        400,
        "bad_input",
        text,
    );
    let (status, code, message) =
        submit_refused(&running, one(plain, "memory", 65_536.into())).await;
    assert_eq!((status, &code[..]), (422, "bad_module"), "{message}");
    let (status, code, message) = submit_refused(&running, one(plain, "wieght", 7.into())).await;
    assert_eq!((status, &code[..]), (400, "bad_input"));
    assert!(message.contains("unknown field `wieght`"), "{message}");
    running.close().await;
}

#[tokio::test]
async fn what_is_not_there() {
    let running = start().await;
    let get = |path: &str| refused(reqwest::Client::new().get(running.http(path)));
    let text = "there is no job 7; `manyhands jobs` lists them";
    for path in [
        "/api/v1/jobs/7",
        "/api/v1/jobs/7/result",
        "/api/v1/jobs/7/events",
    ] {
        is(get(path).await, 404, "not_found", text);
    }
    is(
        get("/api/v1/jobs/x").await,
        404,
        "not_found",
        "\"x\" is no job's number",
    );
    let (status, code, message) = get("/api/v1/jobs?limit=all").await;
    assert_eq!((status, &code[..]), (400, "bad_input"), "{message}");
    let text = "there is no /nothing under /api/v1; /api/v1/openapi.json lists what is";
    is(get("/api/v1/nothing").await, 404, "not_found", text);
    let hash = BlobHash::of(b"x");
    let path = format!("/api/v1/blobs/{hash}");
    is(
        get(&path).await,
        404,
        "not_found",
        &format!("blob {hash} is not here"),
    );
    let text = "this address is for workers: `manyhands worker URL`";
    is(get("/ws").await, 400, "bad_input", text);
    running.close().await;
}

#[tokio::test]
async fn blobs_are_stored_once_and_come_back() {
    let running = start_with(|config| config.limits.max_blob = 1 << 20).await;
    let bytes = b"many hands ".repeat(50_000);
    let file = running.folder().join("file");
    std::fs::write(&file, &bytes).unwrap();
    let hash = BlobHash::of(&bytes);
    assert!(!running.client.has_blob(hash).await.unwrap());
    let view = running.client.upload_file(&file).await.unwrap();
    assert_eq!((view.hash, view.len), (hash, bytes.len() as u64));
    assert!(running.client.has_blob(hash).await.unwrap());
    let back = reqwest::get(running.http(&format!("/api/v1/blobs/{hash}")))
        .await
        .unwrap();
    assert_eq!(back.bytes().await.unwrap(), bytes);
    let error = running
        .client
        .upload_bytes(vec![0; (1 << 20) + 1])
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("too_large"));
    running.close().await;
}

#[tokio::test]
async fn results_that_are_not_there_say_why() {
    let running = start().await;
    let job = running.submit(guests::reduce(4)).await;
    let result = |from: &str| {
        let path = format!("/api/v1/jobs/{}/result{from}", job.id);
        refused(reqwest::Client::new().get(running.http(&path)))
    };
    let text = "job 1 is not done: 0 of 4 tasks are";
    is(result("").await, 409, "not_done", text);
    is(result("?from=0").await, 409, "not_done", text);
    let cancelled = running.client.cancel(job.id).await.unwrap();
    assert_eq!(cancelled.state, JobState::Cancelled);
    is(result("").await, 409, "not_done", "job 1 was cancelled");
    // Again is harmless.
    assert_eq!(
        running.client.cancel(job.id).await.unwrap().state,
        JobState::Cancelled
    );
    running.close().await;
}

#[tokio::test]
async fn jobs_are_listed_in_pages_the_newest_first() {
    let running = start().await;
    let module = running
        .client
        .upload_module(guests::reduce(4))
        .await
        .unwrap()
        .hash;
    for _ in 0..5 {
        running.client.submit(&submission(module)).await.unwrap();
    }
    let ids = |page: &manyhands_protocol::api::JobPage| {
        page.jobs.iter().map(|job| job.id.0).collect::<Vec<_>>()
    };
    let first = running.client.jobs(None, 2).await.unwrap();
    assert_eq!(ids(&first), [5, 4]);
    let second = running.client.jobs(first.next, 2).await.unwrap();
    assert_eq!(ids(&second), [3, 2]);
    let last = running.client.jobs(second.next, 2).await.unwrap();
    assert_eq!((ids(&last), last.next), (vec![1], None));
    running.close().await;
}

#[tokio::test]
async fn files_of_a_job_are_checked() {
    let running = start().await;
    let module = running
        .client
        .upload_module(guests::reduce(4))
        .await
        .unwrap()
        .hash;
    let blob = running.client.upload_bytes("words").await.unwrap().hash;
    let mut wanted = submission(module);
    wanted.files = vec![
        BroadcastFile {
            name: "a".into(),
            blob
        };
        2
    ];
    let error = running.client.submit(&wanted).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the file name \"a\" is given twice or too long"
    );
    wanted.files = vec![BroadcastFile {
        name: "a".into(),
        blob: BlobHash::of(b""),
    }];
    let error = running.client.submit(&wanted).await.unwrap_err();
    assert_eq!(error.to_string(), "file a is not here: upload it first");
    wanted.files = Vec::new();
    wanted.inputs = vec![InputFile {
        path: "in".into(),
        blob,
    }];
    let error = running.client.submit(&wanted).await.unwrap_err();
    assert_eq!(error.to_string(), "this module takes no inputs");
    running.close().await;
}

/// The routes of the table, as the source has them.
fn routes() -> Vec<String> {
    let table = include_str!("../../src/routes/mod.rs");
    let api = table
        .split("let api")
        .nth(1)
        .unwrap()
        .split("fallback")
        .next()
        .unwrap();
    let paths = api
        .split("route(\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap());
    paths.map(|path| format!("/api/v1{path}")).collect()
}

#[tokio::test]
async fn the_openapi_document_lists_every_route() {
    let running = start().await;
    let answer = reqwest::get(running.http("/api/v1/openapi.json"))
        .await
        .unwrap();
    let document: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let mut listed: Vec<_> = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    let mut expected = routes();
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
    assert!(listed.len() > 10);
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for name in [
        "JobView",
        "Submission",
        "WorkerPage",
        "WorkerView",
        "ErrorBody",
        "JobEvent",
    ] {
        assert!(schemas.contains_key(name), "{name} of {:?}", schemas.keys());
    }
    let created = &document["paths"]["/api/v1/jobs"]["post"]["responses"]["201"];
    let body = &created["content"]["application/json"]["schema"]["$ref"];
    assert_eq!(body, "#/components/schemas/Submitted");
    let either = schemas["Submitted"]["oneOf"].as_array().unwrap();
    let names = either.iter().map(|one| one["$ref"].as_str().unwrap());
    let expected = ["JobView", "Waited"].map(|name| format!("#/components/schemas/{name}"));
    assert_eq!(names.collect::<Vec<_>>(), expected);
    running.close().await;
}

#[tokio::test]
async fn health_and_metrics() {
    let running = start().await;
    let text = |path: &str| {
        let url = running.http(path);
        async { reqwest::get(url).await.unwrap().text().await.unwrap() }
    };
    assert_eq!(text("/healthz").await, "ok\n");
    running.submit(guests::reduce(4)).await;
    let metrics = text("/metrics").await;
    assert!(
        metrics.contains("\nmanyhands_jobs_submitted_total 1\n"),
        "{metrics}"
    );
    assert!(metrics.ends_with("# EOF\n"));
    running.close().await;
}

#[tokio::test]
async fn what_a_coordinator_cannot_start_with_is_one_line() {
    let running = start().await;
    let folder = running.folder().join("other");
    let child = manyhands_engine::compute::Config {
        program: "/nonexistent".into(),
        args: Vec::new(),
        slots: 1,
        cache: None,
    };
    let mut config = Config::new(folder, child);
    config.listen = running.addr();
    let error = Coordinator::start(config.clone())
        .await
        .map(drop)
        .unwrap_err();
    let text = format!(
        "cannot listen on {}: Address already in use",
        running.addr()
    );
    assert!(error.to_string().starts_with(&text), "{error}");
    config.listen.set_port(0);
    let error = Coordinator::start(config.clone())
        .await
        .map(drop)
        .unwrap_err();
    assert!(matches!(error, StartError::Compute { .. }), "{error}");
    config.data = running.folder().join("data");
    let error = Coordinator::start(config).await.map(drop).unwrap_err();
    let text = "another coordinator uses the folder ";
    assert!(error.to_string().starts_with(text), "{error}");
    running.close().await;
}
