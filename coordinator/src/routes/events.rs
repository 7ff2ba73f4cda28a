//! Watching a job: server-sent events, from what was logged so far to its end.

use super::{job_id, jobs};
use crate::app::App;
use crate::board::Watching;
use crate::error::ApiError;
use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt, stream};
use manyhands_protocol::api::{ErrorBody, JobEvent, JobView};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

/// A job's events: how it stands now, up to ten times a second while it
/// changes, and at its end; its guests' log lines, those of before included.
/// The stream ends with the job.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/events", tag = "jobs",
    params(("id" = u64, Path, description = "the job's number")),
    responses(
        (status = 200, body = JobEvent, content_type = "text/event-stream"),
        (status = 404, body = ErrorBody),
    ),
)]
pub(crate) async fn watch(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let job = job_id(&id)?;
    let events = match app.board.get(job) {
        Some(entry) => {
            let events = stream::unfold(Watcher::new(entry.watch()), |mut watcher| async {
                Some((watcher.next().await?, watcher))
            });
            events.left_stream()
        }
        None => {
            let view = jobs::find(&app, job).await?;
            stream::iter([job_event(&view)]).right_stream()
        }
    };
    let closing = app.closing.clone().cancelled_owned();
    let events = events.take_until(closing).map(|event| Ok(encode(&event)));
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

fn job_event(view: &JobView) -> JobEvent {
    JobEvent::Job(Box::new(view.clone()))
}

fn encode(event: &JobEvent) -> Event {
    let name = match event {
        JobEvent::Job(_) => "job",
        JobEvent::Log { .. } => "log",
    };
    let data = serde_json::to_string(event).expect("events can be written as JSON");
    Event::default().event(name).data(data)
}

/// One who watches. Holds what was not sent yet: at most the tail; live lines
/// stay in a ring of fixed size, and of views only the last one counts.
struct Watcher {
    waiting: VecDeque<Arc<str>>,
    watching: Watching,
    first: bool,
    over: bool,
}

impl Watcher {
    fn new(mut watching: Watching) -> Self {
        let waiting = std::mem::take(&mut watching.tail);
        Self {
            waiting,
            watching,
            first: true,
            over: false,
        }
    }

    async fn next(&mut self) -> Option<JobEvent> {
        if self.over {
            return None;
        }
        if let Some(line) = self.waiting.pop_front() {
            return Some(log(&line));
        }
        if std::mem::take(&mut self.first) {
            self.watching.view.mark_changed();
        }
        loop {
            // Lines first, so that a job's end comes after all of them.
            match self.watching.lines.try_recv() {
                Ok(line) => return Some(log(&line)),
                Err(TryRecvError::Lagged(lines)) => return Some(lagged(lines)),
                Err(TryRecvError::Empty | TryRecvError::Closed) => {}
            }
            tokio::select! {
                changed = self.watching.view.changed() => {
                    changed.ok()?;
                    // A line may have come before this very view.
                    if !self.watching.lines.is_empty() {
                        self.watching.view.mark_changed();
                        continue;
                    }
                    let view = Arc::clone(&self.watching.view.borrow_and_update());
                    self.over = view.state.is_over();
                    return Some(job_event(&view));
                }
                line = self.watching.lines.recv() => match line {
                    Ok(line) => return Some(log(&line)),
                    Err(RecvError::Lagged(lines)) => return Some(lagged(lines)),
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }
}

fn log(line: &str) -> JobEvent {
    JobEvent::Log { text: line.into() }
}

fn lagged(lines: u64) -> JobEvent {
    JobEvent::Log {
        text: format!("({lines} lines came faster than they could be shown)"),
    }
}
