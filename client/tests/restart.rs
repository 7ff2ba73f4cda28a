//! A coordinator that goes away and comes back, played by a few lines of HTTP:
//! what one who watches or downloads sees of it.

use manyhands_client::{Client, ClientError, News};
use manyhands_protocol::api::{JobEvent, JobState, JobView, OutputShape};
use manyhands_protocol::{BlobHash, JobId, MergeMode};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

/// Answers one connection after the other, each with one text and nothing more.
/// Ends with what was asked of it: the request lines and their headers.
fn play(answers: Vec<Vec<u8>>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let player = std::thread::spawn(move || {
        let answer = |answer: Vec<u8>| {
            let (mut stream, _) = listener.accept().unwrap();
            let request = read_request(&stream);
            stream.write_all(&answer).unwrap();
            request
        };
        answers.into_iter().map(answer).collect()
    });
    (url, player)
}

fn read_request(stream: &TcpStream) -> String {
    let lines = BufReader::new(stream).lines().map(Result::unwrap);
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    head.join("\n")
}

fn answer(status: &str, len: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn json(status: &str, body: &str) -> Vec<u8> {
    answer(status, body.len(), body.as_bytes())
}

fn events(text: &str) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    format!("{head}{text}").into_bytes()
}

fn job(submitted_ms: u64, state: JobState) -> JobView {
    JobView {
        id: JobId(7),
        name: "pi".into(),
        state,
        merge: MergeMode::Reduce,
        tasks: 2,
        done: 1,
        running: 1,
        prefix: 0,
        output: OutputShape::default(),
        submitted_ms,
        elapsed_ms: 0,
        remaining_ms: None,
        retries: 0,
        waiting: None,
        params: serde_json::Value::Null,
        contributions: Vec::new(),
    }
}

fn job_event(view: &JobView) -> String {
    let event = JobEvent::Job(Box::new(view.clone()));
    format!("data: {}\n\n", serde_json::to_string(&event).unwrap())
}

fn log_event(id: &str, text: &str) -> String {
    format!("id: {id}\ndata: {{\"event\":\"log\",\"text\":\"{text}\"}}\n\n")
}

const CLOSING: &str = r#"{"code":"unavailable","message":"the coordinator is closing"}"#;

#[tokio::test]
async fn watching_goes_on_over_a_restart_and_shows_each_line_once() {
    let running = job(5, JobState::Running);
    let over = job(5, JobState::Cancelled);
    let (url, coordinator) = play(vec![
        events(&(job_event(&running) + &log_event("1-0", "a") + &log_event("1-1", "b"))),
        json("503 Service Unavailable", CLOSING),
        // Started anew: its log begins anew too.
        events(&(log_event("2-0", "c") + &job_event(&over))),
    ]);
    let mut watch = Client::new(&url, None).unwrap().watch(JobId(7));
    let mut seen = Vec::new();
    while let Some(news) = watch.next().await.unwrap() {
        seen.push(match news {
            News::Event(JobEvent::Log { text }) => text,
            News::Event(JobEvent::Job(view)) => format!("{}", view.state.is_over()),
            News::Away { .. } => "away".into(),
            News::Back => "back".into(),
        });
    }
    assert_eq!(seen, ["false", "a", "b", "away", "back", "c", "true"]);
    let asked = coordinator.join().unwrap();
    assert!(!asked[0].contains("last-event-id"), "{asked:?}");
    assert!(asked[2].contains("last-event-id: 1-1"), "{asked:?}");
}

#[tokio::test]
async fn a_job_that_was_forgotten_ends_the_watching() {
    let gone = r#"{"code":"not_found","message":"there is no job 7"}"#;
    let (url, _) = play(vec![
        events(&job_event(&job(5, JobState::Running))),
        json("404 Not Found", gone),
    ]);
    let mut watch = Client::new(&url, None).unwrap().watch(JobId(7));
    let error = loop {
        match watch.next().await {
            Ok(news) => assert!(news.is_some()),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ClientError::Forgotten(JobId(7))), "{error}");
}

#[tokio::test]
async fn another_job_of_the_same_number_is_not_taken_for_this_one() {
    let (url, _) = play(vec![events(&job_event(&job(9, JobState::Running)))]);
    let client = Client::new(&url, None).unwrap();
    let mut watch = client.watch(JobId(7)).of(&job(5, JobState::Running));
    let error = watch.next().await.unwrap_err();
    assert!(matches!(error, ClientError::Forgotten(JobId(7))), "{error}");
}

#[tokio::test]
async fn a_job_that_never_was_is_the_coordinators_to_say() {
    let body = r#"{"code":"not_found","message":"there is no job 7"}"#;
    let (url, _) = play(vec![json("404 Not Found", body)]);
    let error = Client::new(&url, None)
        .unwrap()
        .watch(JobId(7))
        .next()
        .await;
    assert_eq!(error.unwrap_err().to_string(), "there is no job 7");
}

#[tokio::test]
async fn a_download_that_was_cut_goes_on_where_it_stopped() {
    let result = b"three hands";
    let hash = BlobHash::of(result);
    let done = job(5, JobState::Done { len: 11, hash });
    let view = serde_json::to_string(&done).unwrap();
    let (url, coordinator) = play(vec![
        json("200 OK", &view),
        answer("200 OK", 11, &result[..5]),
        json("503 Service Unavailable", CLOSING),
        json("200 OK", &view),
        answer("200 OK", 6, &result[5..]),
    ]);
    let mut out = Vec::new();
    let client = Client::new(&url, None).unwrap();
    assert_eq!(client.result(JobId(7), &mut out).await.unwrap(), 11);
    assert_eq!(out, result);
    let asked = coordinator.join().unwrap();
    assert!(asked[4].contains("from=5"), "{asked:?}");
}
