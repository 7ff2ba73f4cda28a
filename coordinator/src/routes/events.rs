//! Watching a job: server-sent events, from what was logged so far to its end.

use super::{job_id, jobs};
use crate::app::App;
use crate::board::Watching;
use crate::error::ApiError;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt, stream};
use manyhands_protocol::Incarnation;
use manyhands_protocol::api::{ErrorBody, JobEvent, JobView};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

/// A job's events: how it stands now, up to ten times a second while it
/// changes, and at its end; its guests' log lines, those of before included
/// unless `Last-Event-ID` says that they were seen. The stream ends with the job.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/events", tag = "jobs",
    params(
        ("id" = u64, Path, description = "the job's number"),
        ("Last-Event-ID" = Option<String>, Header, description = "the last id that an earlier stream gave"),
    ),
    responses(
        (status = 200, body = JobEvent, content_type = "text/event-stream"),
        (status = 404, body = ErrorBody),
    ),
)]
pub(crate) async fn watch(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let job = job_id(&id)?;
    let events = match app.board.get(job) {
        Some(entry) => {
            let log = app.journal.identity().incarnation;
            let seen = headers.get("last-event-id");
            let seen = seen.and_then(|id| LineId::parse(id.to_str().ok()?));
            let watcher = Watcher::new(entry.watch(), log, seen);
            let events = stream::unfold(watcher, |mut watcher| async {
                Some((watcher.next().await?, watcher))
            });
            events.left_stream()
        }
        None => {
            let view = jobs::find(&app, job).await?;
            stream::iter([(job_event(&view), None)]).right_stream()
        }
    };
    let closing = app.closing.clone().cancelled_owned();
    let events = events
        .take_until(closing)
        .map(|(event, id)| Ok(encode(&event, id)));
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

fn job_event(view: &JobView) -> JobEvent {
    JobEvent::Job(Box::new(view.clone()))
}

fn encode(event: &JobEvent, id: Option<LineId>) -> Event {
    let name = match event {
        JobEvent::Job(_) => "job",
        JobEvent::Log { .. } => "log",
    };
    let data = serde_json::to_string(event).expect("events can be written as JSON");
    let event = Event::default().event(name).data(data);
    match id {
        Some(LineId { log, line }) => event.id(format!("{}-{line}", log.0)),
        None => event,
    }
}

/// A line's place in a job's log. A coordinator that is started anew begins a
/// log of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct LineId {
    log: Incarnation,
    line: u64,
}

impl LineId {
    fn parse(text: &str) -> Option<Self> {
        let (log, line) = text.split_once('-')?;
        Some(Self {
            log: Incarnation(log.parse().ok()?),
            line: line.parse().ok()?,
        })
    }
}

/// One who watches. Holds what was not sent yet: at most the tail; live lines
/// stay in a ring of fixed size, and of views only the last one counts.
struct Watcher {
    waiting: VecDeque<Arc<str>>,
    watching: Watching,
    log: Incarnation,
    /// The number of the next line.
    line: u64,
    first: bool,
    over: bool,
}

type Numbered = (JobEvent, Option<LineId>);

impl Watcher {
    fn new(mut watching: Watching, log: Incarnation, seen: Option<LineId>) -> Self {
        let mut waiting = std::mem::take(&mut watching.tail);
        let mut line = watching.first;
        if let Some(seen) = seen.filter(|seen| seen.log == log) {
            let known = seen.line.saturating_add(1).saturating_sub(line);
            let known = waiting
                .len()
                .min(usize::try_from(known).unwrap_or(usize::MAX));
            waiting.drain(..known);
            line += known as u64;
        }
        Self {
            waiting,
            watching,
            log,
            line,
            first: true,
            over: false,
        }
    }

    async fn next(&mut self) -> Option<Numbered> {
        if self.over {
            return None;
        }
        if let Some(line) = self.waiting.pop_front() {
            return Some(self.log(&line));
        }
        if std::mem::take(&mut self.first) {
            self.watching.view.mark_changed();
        }
        loop {
            // Lines first, so that a job's end comes after all of them.
            match self.watching.lines.try_recv() {
                Ok(line) => return Some(self.log(&line)),
                Err(TryRecvError::Lagged(lines)) => return Some(self.lagged(lines)),
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
                    return Some((job_event(&view), None));
                }
                line = self.watching.lines.recv() => match line {
                    Ok(line) => return Some(self.log(&line)),
                    Err(RecvError::Lagged(lines)) => return Some(self.lagged(lines)),
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }

    fn log(&mut self, line: &str) -> Numbered {
        let text = line.into();
        self.line += 1;
        self.numbered(text)
    }

    fn lagged(&mut self, lines: u64) -> Numbered {
        self.line += lines;
        self.numbered(format!(
            "({lines} lines came faster than they could be shown)"
        ))
    }

    /// An event that brings up to the line before the next.
    fn numbered(&self, text: String) -> Numbered {
        let id = LineId {
            log: self.log,
            line: self.line - 1,
        };
        (JobEvent::Log { text }, Some(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Entry;
    use manyhands_protocol::JobId;
    use manyhands_protocol::MergeMode;

    fn entry() -> Arc<Entry> {
        let view = JobView::submitted(JobId(1), "pi", MergeMode::Reduce, 1);
        Entry::new(Arc::new(view), None)
    }

    async fn lines(watcher: &mut Watcher, count: usize) -> Vec<(String, u64)> {
        let mut lines = Vec::new();
        while lines.len() < count {
            if let (JobEvent::Log { text }, Some(id)) = watcher.next().await.unwrap() {
                lines.push((text, id.line));
            }
        }
        lines
    }

    #[tokio::test]
    async fn one_who_comes_back_gets_the_lines_it_has_not_seen() {
        let entry = entry();
        for line in ["a", "b", "c"] {
            entry.log(line);
        }
        let own = Incarnation(4);
        let mut watcher = Watcher::new(entry.watch(), own, LineId::parse("4-0"));
        entry.log("d");
        let expected = [("b".into(), 1), ("c".into(), 2), ("d".into(), 3)];
        assert_eq!(lines(&mut watcher, 3).await, expected);
        // Another log: all of this one is new.
        for seen in ["3-2", "5-0", "x", ""] {
            let mut watcher = Watcher::new(entry.watch(), own, LineId::parse(seen));
            assert_eq!(lines(&mut watcher, 4).await.len(), 4, "{seen}");
        }
        let all = LineId::parse("4-18446744073709551615");
        let mut watcher = Watcher::new(entry.watch(), own, all);
        entry.log("e");
        assert_eq!(lines(&mut watcher, 1).await, [("e".into(), 4)]);
    }

    #[tokio::test]
    async fn lines_that_were_dropped_count() {
        let entry = entry();
        let long = "x".repeat(100 << 10);
        for _ in 0..5 {
            entry.log(&long);
        }
        let mut watcher = Watcher::new(entry.watch(), Incarnation(1), LineId::parse("1-0"));
        let numbers: Vec<u64> = lines(&mut watcher, 2)
            .await
            .into_iter()
            .map(|(_, n)| n)
            .collect();
        assert_eq!(numbers, [3, 4]);
    }
}
