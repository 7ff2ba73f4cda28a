//! Server-sent events: how a job stands, its log, its end.

use crate::guests;
use crate::setup::{soon, start};
use manyhands_client::News;
use manyhands_protocol::api::{JobEvent, JobState};
use manyhands_protocol::message::ToCoordinator;

#[tokio::test]
async fn watchers_see_the_log_and_the_end() {
    let running = start().await;
    let mut worker = running.worker().await;
    let job = running.submit(guests::concat(1)).await;
    worker.header().await;
    let grant = worker.grant().await;
    let line = |text: &str| ToCoordinator::Log {
        job: job.id,
        text: text.into(),
    };
    worker
        .socket
        .send(&line("before\u{1b}[2J anyone looked"))
        .await;
    let mut watch = running.client.watch(job.id);
    let mut texts = Vec::new();
    let mut states = Vec::new();
    let watched = async {
        while let Some(event) = watch.next().await.unwrap() {
            match event {
                News::Event(JobEvent::Log { text }) => {
                    texts.push(text);
                    if texts.len() == 1 {
                        worker.socket.send(&line("later")).await;
                        worker.hand_in(grant.lease, grant.node, b"done").await;
                    }
                }
                News::Event(JobEvent::Job(view)) => states.push(view.state),
                other => panic!("the coordinator is there: {other:?}"),
            }
        }
    };
    soon("the job's end", watched).await;
    assert_eq!(texts, ["before[2J anyone looked", "later"]);
    assert!(
        matches!(states.last(), Some(JobState::Done { len: 4, .. })),
        "{states:?}"
    );
    assert_eq!(states.iter().filter(|state| state.is_over()).count(), 1);
    // Whoever comes late sees the same.
    let mut watch = running.client.watch(job.id);
    let mut late = Vec::new();
    while let Some(event) = soon("an event", watch.next()).await.unwrap() {
        late.push(event);
    }
    assert_eq!(late.len(), 3);
    assert!(matches!(&late[2], News::Event(JobEvent::Job(view)) if view.done == 1));
    running.close().await;
}

#[tokio::test]
async fn workers_speak_only_of_jobs_they_were_given() {
    let running = start().await;
    let mut worker = running.worker().await;
    let mut other = running.worker().await;
    let job = running.submit(guests::concat(1)).await;
    // One of the two has the only task.
    let lone = async {
        tokio::select! {
            grant = async { worker.header().await; worker.grant().await } => (grant, true),
            grant = async { other.header().await; other.grant().await } => (grant, false),
        }
    };
    let (grant, first) = soon("a grant", lone).await;
    let (holder, stranger) = if first {
        (&mut worker, &mut other)
    } else {
        (&mut other, &mut worker)
    };
    let text = "said by a stranger".to_owned();
    stranger
        .socket
        .send(&ToCoordinator::Log { job: job.id, text })
        .await;
    stranger.socket.send(&ToCoordinator::Goodbye).await;
    while running.workers().await.len() > 1 {}
    holder.hand_in(grant.lease, grant.node, b"x").await;
    let mut watch = running.client.watch(job.id);
    while let Some(event) = soon("an event", watch.next()).await.unwrap() {
        assert!(matches!(event, News::Event(JobEvent::Job(_))), "{event:?}");
    }
    running.close().await;
}

#[tokio::test]
async fn the_stream_ends_when_the_coordinator_closes() {
    let running = start().await;
    let job = running.submit(guests::reduce(4)).await;
    let events = running.http(&format!("/api/v1/jobs/{}/events", job.id));
    let mut answer = reqwest::get(events).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let first = soon("the first event", answer.chunk())
        .await
        .unwrap()
        .unwrap();
    assert!(first.starts_with(b"event: job\ndata: {"), "{first:?}");
    running.close().await;
    let rest = async { while let Ok(Some(_)) = answer.chunk().await {} };
    soon("the stream's end", rest).await;
}
